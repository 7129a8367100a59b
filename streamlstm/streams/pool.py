"""Many keyed streams over one model: those in use lie in memory, the others in a store on disk.

Every stream begins where the model stands, and then depends on its own symbols only: never on other streams, on their
order, on the number of threads, or on where it lay in between.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..kernels.arrays import F32
from ..kernels.cores import n_cores
from ..predictor import Learn, StreamPredictor
from ..tasks.compress import identity
from ..vocabulary import Symbols, Tokens
from .cache import HotStream, Limits, PoolStats, StreamCache
from .codec import StreamCodec
from .store import Key, StreamStore

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..predictor.lane import Lane
    from ..predictor.parked import ParkedStream

MEMORY_BUDGET = 10**9
"""How many bytes of streams are kept in memory by default."""

MAX_PAGES = 8192
"""The most pages of 64 bytes in which a stream keeps counts, by default."""


class StreamPool:
    """Many keyed streams over one model.

    predictor      the model: each stream begins as a copy of it as it is now
    learn          what the streams learn: "memory" (the network stays as it is, and is shared), "all" or "nothing"
    store          path of a file that keeps the streams (SQLite); `save` writes to it. None: they end with the pool;
                   those that do not fit into memory lie in a temporary file meanwhile
    memory_budget  bytes of streams to keep in memory; the model and what is being read come on top
    max_pages      the most pages of 64 bytes in which a stream keeps counts. It takes up to 512, and one for every four
                   symbols if those are more; when there are no more, the least used ones are forgotten
    max_keys       the most streams; the one that was used longest ago is forgotten. None: no limit
    ttl            seconds after which a stream that was not used is forgotten. None: never
    threads        how many threads `observe_many` uses; 0: one per core
    clock          returns the time in seconds, for `ttl`

    A key is a str or bytes. Raises ValueError for an option out of its range, TypeError for a key of another type, and
    what `StreamStore` raises for a store that cannot be used.

    >>> from streamlstm import Config, StreamPredictor, StreamPool
    >>> pool = StreamPool(StreamPredictor(config=Config(hidden=16, layers=1)))
    >>> bits = pool.observe("web-1", "GET /index.html 200\\n" * 20)
    >>> bool(bits[:20].mean() > 2 * bits[-20:].mean())
    True
    >>> bits = pool.observe_many({"web-1": "GET /item 200\\n", "db-1": "checkpoint complete\\n"})
    >>> len(pool), pool.n_symbols("web-1"), "db-2" in pool
    (2, 414, False)
    """

    def __init__(
        self,
        predictor: StreamPredictor,
        learn: Learn = "memory",
        store: str | os.PathLike[str] | None = None,
        *,
        memory_budget: int = MEMORY_BUDGET,
        max_pages: int = MAX_PAGES,
        max_keys: int | None = None,
        ttl: float | None = None,
        threads: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, value, least in (
            ("memory_budget", memory_budget, 1),
            ("max_pages", max_pages, 64),
            ("max_keys", max_keys, 1),
            ("threads", threads, 0),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ValueError(f"{name} must be a whole number from {least} on, not {value!r}")
        if ttl is not None and not ttl > 0:
            raise ValueError(f"ttl must be above 0 seconds, not {ttl}")
        model = predictor.fork()
        model.learn = learn
        self._model, self._max_pages, self._threads = model, max_pages, threads or n_cores()
        model_identity = identity(model) + max_pages.to_bytes(4, "little")
        self._lanes = [model.lane(max_pages)]
        self._codec = StreamCodec(self._lanes[0], model_identity)
        self._first = self._lanes[0].park()
        self._lanes[0].resume(self._first.copy())
        self._executor, self._lock = ThreadPoolExecutor(self._threads), Lock()
        self._active: HotStream[ParkedStream] | None = None  # the stream that the first lane has
        self._active_key: Key = ""
        kept = None if store is None else StreamStore(store, model_identity)
        limits = Limits(memory_budget, max_keys, ttl)
        self._streams = StreamCache(self._codec, limits, kept, StreamStore(None, model_identity), clock)
        self._has_store = kept is not None

    # Streams

    def observe(self, key: Key, text: Symbols) -> F32:
        """Let a stream observe symbols; returns their surprisals in bits. A key that is not known begins a stream.

        Raises, with nothing changed: ValueError for a symbol that the vocabulary does not have, OSError if streams have
        to give way and the disk is full.
        """
        tokens = self._model.vocabulary.encode(text)
        self._activate(key, create=True)
        return self._lanes[0].read(tokens)

    def observe_many(self, texts: Mapping[Key, Symbols]) -> dict[Key, F32]:
        """Let each stream observe its text, several at a time; the same bits as one after the other.

        Raises ValueError, with nothing changed, for a symbol that the vocabulary does not have; OSError if streams have
        to give way and the disk is full: then some have observed their text, see `n_symbols`.
        """
        waiting = deque((_checked(key), self._model.vocabulary.encode(text)) for key, text in texts.items())
        n_lanes = min(self._threads, len(waiting))
        while len(self._lanes) < n_lanes:
            self._lanes.append(self._model.lane(self._max_pages))
        self._park()
        found: dict[Key, F32] = {}
        readers = [self._executor.submit(self._read_waiting, lane, waiting, found) for lane in self._lanes[:n_lanes]]
        try:
            for reader in readers:
                reader.result()
        finally:
            with self._lock:
                waiting.clear()  # after an error the other threads stop soon
            wait(readers)
        return {key: found[key] for key in texts}

    def _read_waiting(self, lane: Lane, waiting: deque[tuple[Key, Tokens]], found: dict[Key, F32]) -> None:
        """Let one stream after another observe its tokens until none is waiting; in a thread of its own."""
        while True:
            with self._lock:
                if not waiting:
                    return
                key, tokens = waiting.popleft()
                hot = self._load(key, create=True)
                hot.in_use = True
            try:
                found[key] = lane.resume_and_read(hot.parked, tokens)
            finally:
                hot.parked, hot.in_use = lane.park(), False
            with self._lock:
                self._streams.measure(key)

    def predict(self, key: Key) -> F32:
        """The distribution of the next symbol of a stream, float32 [V]. Raises KeyError for an unknown key."""
        self._activate(key)
        return self._lanes[0].distribution.copy()

    def top(self, key: Key, k: int = 5) -> list[tuple[str | bytes, float]]:
        """The k most probable next symbols of a stream with their probabilities. Raises KeyError for an unknown key."""
        probabilities = self.predict(key)
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [(self._model.vocabulary.symbol(int(token)), float(probabilities[token])) for token in order]

    def fork(self, key: Key, new_key: Key) -> None:
        """Begin a stream as a copy of another one.

        Raises KeyError for an unknown key, and ValueError if there is a stream `new_key` already.
        """
        if new_key in self:
            raise ValueError(f"there is a stream {new_key!r} already; forget it first")
        hot = self._load(key)
        self._park()
        self._streams.add(new_key, hot.parked.copy())

    def forget(self, key: Key) -> None:
        """Remove a stream, from the store too once `save` is called. Raises KeyError for an unknown key."""
        if key not in self:
            raise _unknown(key)
        self._remove(key)

    def n_symbols(self, key: Key) -> int:
        """How many symbols a stream has observed. Raises KeyError for an unknown key."""
        self._park()
        n = self._streams.n_symbols(_checked(key))
        if n is None:
            raise _unknown(key)
        return n

    def snapshot(self, key: Key) -> bytes:
        """All that a stream has of its own, for `restore` by a pool over the same model. Raises KeyError."""
        hot = self._load(key)
        self._park()
        return self._codec.dump(hot.parked)

    def restore(self, key: Key, content: bytes) -> None:
        """Begin or replace a stream with what `snapshot` returned.

        Raises ValueError, with nothing changed, if it is damaged, of another version, or of another model or pool.
        """
        parked = self._codec.parse(content, "the snapshot")
        if key in self:
            self._remove(key)
        self._streams.add(key, parked)

    def __contains__(self, key: object) -> bool:
        return _checked(key) in self._streams

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._streams)

    def stats(self) -> PoolStats:
        """What the pool is doing."""
        return self._streams.stats()

    # Saving

    def save(self) -> None:
        """Write all streams to the store: a crash later on leaves them as they are now.

        Raises ValueError for a pool without a store. Raises OSError if the store cannot be written; it and the pool are
        then as before.
        """
        if not self._has_store:
            raise ValueError("this pool has no store; name a file: StreamPool(…, store='streams.db')")
        self._park()
        self._streams.save()

    def close(self) -> None:
        """End the pool. What has changed since `save` is lost."""
        self._executor.shutdown()
        self._streams.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remove(self, key: Key) -> None:
        """Remove a stream."""
        self._park()
        self._streams.remove(key)

    # The lane

    def _activate(self, key: Key, create: bool = False) -> None:
        """Let the first lane go on with a stream."""
        hot = self._load(key, create)
        if hot is not self._active:
            self._park()
            self._lanes[0].resume(hot.parked)
            hot.in_use, self._active, self._active_key = True, hot, key

    def _park(self) -> None:
        """Take the stream out of the first lane."""
        if self._active is not None:
            self._active.parked, self._active.in_use = self._lanes[0].park(), False
            self._streams.measure(self._active_key)
            self._active = None

    def _load(self, key: Key, create: bool = False) -> HotStream[ParkedStream]:
        """A stream, brought into memory. Raises KeyError unless it may be created."""
        hot = self._streams.load(_checked(key))
        if hot is None:
            if not create:
                raise _unknown(key)
            hot = self._streams.add(key, self._first.copy())
        return hot


def _checked(key: object) -> Key:
    """A key. Raises TypeError for what cannot be one."""
    if not isinstance(key, str | bytes):
        raise TypeError(f"a key must be str or bytes, not {type(key).__name__}")
    return key


def _unknown(key: Key) -> KeyError:
    return KeyError(f"there is no stream {key!r}; `observe` begins one")
