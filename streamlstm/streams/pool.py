"""Many keyed streams that share one model: the most recently used are in memory, the others in a store on disk.

Every stream begins as a copy of the model, and then depends on its own symbols only: not on other streams, on the order
in which streams are read, on the number of threads, or on where the stream was kept in between. But a stream keeps
counts in a limited number of pages: only the first symbols, ten at least, are predicted to the last bit as by a fork.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checkpoint import Arrays, dump_checkpoint, parse_checkpoint
from ..codec.coder import identity
from ..kernels.arrays import F32
from ..predictor import Learn, StreamPredictor
from ..predictor.stream import ParkedStream
from ..predictor.stream_reader import StreamReader
from ..ranges import check_count, check_number
from ..system.process import n_cores
from ..vocabulary import Symbols, Tokens
from .cache import HotStream, Limits, PoolStats, StreamCache
from .store import Key, StreamStore

if TYPE_CHECKING:
    from typing_extensions import Self


class StreamCodec:
    """The stored form of streams over one model; see `cache.Codec`.

    reader    a reader of the model
    identity  identifies the model
    """

    def __init__(self, reader: StreamReader, identity: bytes) -> None:
        self._reader, self._identity = reader, identity.hex()

    def nbytes(self, parked: ParkedStream) -> int:
        """How many bytes a stream takes, without the model."""
        return self._reader.nbytes(parked)

    def to_arrays(self, parked: ParkedStream) -> tuple[Arrays, dict[str, Any]]:
        """The stored form of a stream."""
        arrays, values = self._reader.to_arrays(parked)
        return arrays, values | {"model": self._identity}

    def from_arrays(self, arrays: Arrays, values: dict[str, Any]) -> ParkedStream:
        """The stream with a stored form, which is not checked."""
        return self._reader.from_arrays(arrays, values)

    def parse(self, content: bytes, name: str) -> ParkedStream:
        """The stream of these bytes, called `name` in errors. Raises ValueError if they are not valid."""
        arrays, values = parse_checkpoint(content, name, "crc32")
        if values.get("model") != self._identity:
            raise ValueError(f"{name} is of another model, or of a pool with other options")
        try:
            return self._reader.checked_stream(arrays, values)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{name} cannot be used: {what}") from None


MEMORY_BUDGET = 10**9
"""The most bytes of streams in memory, by default."""

MAX_PAGES = 8192
"""The most pages of 64 bytes in which a stream keeps counts, by default."""

MOST_PAGES, MOST_THREADS = 2**26, 1024
"""The most that `max_pages` and `threads` may be."""


class StreamPool:
    """Many keyed streams that share one model.

    predictor      the model: each stream begins as a copy of it as it is now
    learn          what the streams learn: "memory" (the network does not change, and is shared), "all" or "nothing"
    store          path of an SQLite file, to which `save` writes the streams. None: they end with the pool, and those
                   that do not fit into memory are in a temporary file meanwhile
    memory_budget  the most bytes of streams in memory, without the model and the streams that are being read
    max_pages      the most pages of 64 bytes in which a stream keeps counts. It uses up to 512 pages, or one for every
                   four symbols if that is more; when all are in use, it forgets the least used counts, and its
                   predictions differ from those of a fork of the model
    max_keys       the most streams; beyond that the least recently used one is forgotten. None: no limit
    ttl            seconds without use after which a stream is forgotten: no method finds it any more. None: never
    threads        how many threads `observe_many` uses; 0: one per core
    clock          returns the time in seconds, for `ttl`

    A key is a str or bytes. Raises ValueError for an option out of range, TypeError for a key of another type, and the
    errors of `StreamStore` for a store that cannot be used.

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
        memory_budget = check_count("memory_budget", memory_budget, 1)
        max_pages = check_count("max_pages", max_pages, 64, MOST_PAGES)
        max_keys = None if max_keys is None else check_count("max_keys", max_keys, 1)
        threads = check_count("threads", threads, 0, MOST_THREADS)
        ttl = None if ttl is None else check_number("ttl", ttl, 0, math.inf, above=True)
        if not isinstance(predictor, StreamPredictor):
            raise TypeError(f"predictor must be a StreamPredictor, the model of all streams, not {predictor!r}")
        model = predictor.fork()
        model.learn = learn
        self._model, self._max_pages, self._threads = model, max_pages, threads or n_cores()
        model_identity = identity(model) + max_pages.to_bytes(4, "little")
        self._readers = [model.stream_reader(max_pages)]
        self._codec = StreamCodec(self._readers[0], model_identity)
        self._first = self._readers[0].park()
        self._readers[0].resume(self._first.copy())
        self._executor, self._lock = ThreadPoolExecutor(self._threads), Lock()
        self._active: HotStream[ParkedStream] | None = None  # the current stream of the first reader
        self._active_key: Key = ""
        kept = None if store is None else StreamStore(store, model_identity)
        limits = Limits(memory_budget, max_keys, ttl)
        self._cache = StreamCache(self._codec, limits, kept, model_identity, clock)
        self._has_store = kept is not None

    # Streams

    def observe(self, key: Key, text: Symbols) -> F32:
        """Let a stream observe symbols; returns their surprisals in bits, float32 [n]. A new key begins a stream.

        Raises, with nothing changed: ValueError if the vocabulary lacks a symbol, and OSError if streams have to be
        moved to the disk and it is full.
        """
        tokens = self._model.vocabulary.encode(text)
        self._activate(key, create=True)
        return self._readers[0].read(tokens)

    def observe_many(self, texts: Mapping[Key, Symbols]) -> dict[Key, F32]:
        """Let each stream observe its text, several streams at a time: the same bits as one after the other.

        Raises ValueError, with nothing changed, if the vocabulary lacks a symbol. Raises OSError if streams have to be
        moved to the disk and it is full; then some streams have observed their text, see `n_symbols`.
        """
        waiting = deque((_checked(key), self._model.vocabulary.encode(text)) for key, text in texts.items())
        n_readers = min(self._threads, len(waiting))
        while len(self._readers) < n_readers:
            self._readers.append(self._model.stream_reader(self._max_pages))
        self._park()
        self._cache.expire()
        found: dict[Key, F32] = {}
        readers = self._readers[:n_readers]
        futures = [self._executor.submit(self._read_waiting, reader, waiting, found) for reader in readers]
        try:
            for future in futures:
                future.result()
        finally:
            with self._lock:
                waiting.clear()  # after an error the other threads stop soon
            wait(futures)
        return {key: found[key] for key in texts}

    def _read_waiting(self, reader: StreamReader, waiting: deque[tuple[Key, Tokens]], found: dict[Key, F32]) -> None:
        """Let one stream after another observe its tokens, until none is waiting. Each thread runs this once."""
        while True:
            with self._lock:
                if not waiting:
                    return
                key, tokens = waiting.popleft()
                hot = self._load(self._cache, key, create=True)  # no stream expires while it is read
                hot.in_use = True
            try:
                found[key] = reader.resume_and_read(hot.parked, tokens)
            finally:
                hot.parked, hot.in_use = reader.park(), False
            with self._lock:
                self._cache.measure(key)

    def predict(self, key: Key) -> F32:
        """The distribution of the next symbol of a stream, float32 [V]. Raises KeyError for an unknown key."""
        self._activate(key, create=False)
        return self._readers[0].distribution.copy()

    def top(self, key: Key, k: int = 5) -> list[tuple[str | bytes, float]]:
        """The k most probable next symbols of a stream with their probabilities. Raises KeyError for an unknown key."""
        k = check_count("k", k, 0)
        probabilities = self.predict(key)
        order = np.argsort(-probabilities, kind="stable")[:k]
        return [(self._model.vocabulary.symbol(int(token)), float(probabilities[token])) for token in order]

    def reader(self, key: Key) -> StreamPredictor:
        """A frozen predictor that stands where a stream stands, for functions such as `complete` and `top_characters`.

        It is independent of the pool: what it reads changes no stream, and it does not follow the stream. For a key
        that is not known it stands where streams begin, and no stream begins.
        """
        self._park()
        hot = self._streams.load(_checked(key), to_ask=True)
        return self._model.of_stream(self._first if hot is None else hot.parked, self._max_pages)

    def fork(self, key: Key, new_key: Key) -> None:
        """Begin a stream as a copy of another one.

        Raises KeyError for an unknown key, and ValueError if there is a stream `new_key` already.
        """
        if new_key in self:
            raise ValueError(f"there is a stream {new_key!r} already; forget it first")
        hot = self._load(self._cache, key)
        self._park()
        self._cache.add(new_key, hot.parked.copy())

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
        """A stream as bytes, without the model, for `restore` in a pool over the same model.

        Raises KeyError for an unknown key.
        """
        hot = self._load(self._streams, key, to_ask=True)
        self._park()
        return dump_checkpoint(*self._codec.to_arrays(hot.parked), "crc32")

    def restore(self, key: Key, content: bytes) -> None:
        """Create or replace a stream from what `snapshot` returned.

        Raises, with nothing changed: ValueError if it is damaged, of another version, or of another model or pool, and
        OSError if streams have to be moved to the disk and it is full.
        """
        parked = self._codec.parse(content, "the snapshot")
        exists = key in self
        self._cache.trim()  # what may fail comes first
        if exists:
            self._remove(key)
        self._cache.add(key, parked)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._cache):,} streams over {self._model!r}>"

    def __contains__(self, key: object) -> bool:
        return _checked(key) in self._streams

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._streams)

    def stats(self) -> PoolStats:
        """How many streams there are, how many of them are in memory, and how often streams were moved."""
        return self._streams.stats()

    # Saving

    def save(self) -> None:
        """Write all streams to the store: after a crash they are as they are now.

        Raises ValueError for a pool without a store. Raises OSError if the store cannot be written; the store and the
        pool are then unchanged.
        """
        if not self._has_store:
            raise ValueError("this pool has no store; name a file: StreamPool(…, store='streams.db')")
        self._park()
        self._streams.save()

    def close(self) -> None:
        """Close the pool and its store. What has changed since `save` is lost."""
        self._executor.shutdown()
        self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _remove(self, key: Key) -> None:
        """Remove a stream."""
        self._park()
        self._cache.remove(key)

    @property
    def _streams(self) -> StreamCache[ParkedStream]:
        """The streams without those that have expired: as whatever is asked of the pool must see them."""
        self._cache.expire()
        return self._cache

    # The reader

    def _activate(self, key: Key, *, create: bool) -> None:
        """Let the first reader resume a stream, unless that is its current one; it may be created, or is only asked."""
        hot = self._load(self._streams, key, create=create, to_ask=not create)
        if hot is not self._active:
            self._park()
            self._readers[0].resume(hot.parked)
            hot.in_use, self._active, self._active_key = True, hot, key

    def _park(self) -> None:
        """Park the current stream of the first reader, if there is one."""
        if self._active is not None:
            self._active.parked, self._active.in_use = self._readers[0].park(), False
            self._cache.measure(self._active_key)
            self._active = None

    def _load(
        self, streams: StreamCache[ParkedStream], key: Key, *, create: bool = False, to_ask: bool = False
    ) -> HotStream[ParkedStream]:
        """Bring a stream into memory, or create it. Raises KeyError if there is none and it may not be created."""
        hot = streams.load(_checked(key), to_ask=to_ask)
        if hot is None:
            if not create:
                raise _unknown(key)
            hot = streams.add(key, self._first.copy())
        return hot


def _checked(key: object) -> Key:
    """The key itself. Raises TypeError if it is not a str or bytes."""
    if not isinstance(key, str | bytes):
        raise TypeError(f"a key must be str or bytes, not {type(key).__name__}")
    return key


def _unknown(key: Key) -> KeyError:
    return KeyError(f"there is no stream {key!r}; `observe` begins one")
