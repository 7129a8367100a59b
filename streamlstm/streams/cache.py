"""The streams of a pool or a watcher: the most recently used in memory, up to a budget, and the others on disk."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from ..checkpoint import Arrays, dump_checkpoint
from .store import Key, Stored, StreamStore


class Parked(Protocol):
    """A stream that is not in use."""

    @property
    def n_symbols(self) -> int:
        """How many symbols it has seen."""


S = TypeVar("S", bound=Parked)

OVERHEAD = 1024
"""About how many bytes Python's objects take for a stream in memory."""


class PoolStats(NamedTuple):
    """How many streams a pool has, and how often they were moved since it was opened.

    n_streams    all streams
    n_hot        those in memory
    hot_bytes    how many bytes these take
    n_loaded     how often a stream was loaded from the disk
    n_evicted    how often one was moved to the disk to free memory
    n_forgotten  how many were forgotten because of `max_keys` or `ttl`
    """

    n_streams: int
    n_hot: int
    hot_bytes: int
    n_loaded: int
    n_evicted: int
    n_forgotten: int


class Limits(NamedTuple):
    """The most bytes in memory, the most streams, and the most seconds without use; None for no limit."""

    memory_budget: int
    max_keys: int | None
    ttl: float | None


class Codec(Protocol[S]):
    """The stored form of a stream: arrays and JSON values."""

    def to_arrays(self, parked: S) -> tuple[Arrays, dict[str, Any]]:
        """The stored form of a stream."""

    def from_arrays(self, arrays: Arrays, values: dict[str, Any]) -> S:
        """The stream with a stored form, which is not checked."""

    def parse(self, content: bytes, name: str) -> S:
        """The stream in a checkpoint, called `name` in errors. Raises ValueError if it is not valid."""

    def nbytes(self, parked: S) -> int:
        """How many bytes a stream takes in memory."""


def packed(arrays: Arrays, values: Any) -> bytes:
    """Arrays and JSON values as bytes for this process only, since `unpacked` checks nothing.

    This takes a tenth of a checkpoint's time.

    >>> unpacked(packed({"a": np.arange(3)}, 7))
    ({'a': array([0, 1, 2])}, 7)
    """
    described = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    header = json.dumps([described, values]).encode()
    contents = [np.ascontiguousarray(array).data for array in arrays.values()]
    return b"".join([len(header).to_bytes(8, "little"), header, *contents])


def unpacked(content: bytes) -> tuple[Arrays, Any]:
    """The arrays, as copies, and the values."""
    start = 8 + int.from_bytes(content[:8], "little")
    described, values = json.loads(content[8:start])
    arrays: Arrays = {}
    for name, kind, shape in described:
        arrays[name] = np.ndarray(shape, kind, content, start).copy()
        start += arrays[name].nbytes
    return arrays, values


@dataclass
class HotStream(Generic[S]):
    """A stream in memory.

    parked       the stream
    nbytes       how many bytes it takes
    seconds      when it was last used
    has_changed  whether it has changed since it was written to the disk
    in_use       whether a reader reads for it: then it stays in memory
    """

    parked: S
    nbytes: int
    seconds: float
    has_changed: bool
    in_use: bool = False


class StreamCache(Generic[S]):
    """The streams of a pool: the most recently used are in memory, the others on disk.

    codec   turns streams into bytes and back
    limits  how much may be kept
    store   `save` writes to it; None if there is none. It is closed if the cache cannot be made
    model   identifies the model of the streams
    clock   returns the time in seconds; if it goes back, it is taken to stand still

    Streams that have changed since `save` are in a temporary store, which begins with the first of them. Its copies of
    streams in memory are outdated.
    """

    def __init__(
        self,
        codec: Codec[S],
        limits: Limits,
        store: StreamStore | None,
        model: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._codec, self._limits, self._store, self._model, self._clock = codec, limits, store, model, clock
        self._evicted = StreamStore(None, model, on_disk=False)
        self._latest = float("-inf")  # the latest time that the clock has told
        self._hot: OrderedDict[Key, HotStream[S]] = OrderedDict()  # the most recently used one is at the end
        self._removed: set[Key] = set()  # removed streams that are still in the store
        self._by_age: Iterator[tuple[Key, float]] = iter(())  # those that `_oldest_stored` has not looked at
        self._oldest_of_store: tuple[Key, float] | None = None
        self._hot_bytes, self._n_loaded, self._n_evicted, self._n_forgotten = 0, 0, 0, 0
        try:
            self._restart_ages()
            self._n_streams = 0 if store is None else len(store)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return self._n_streams

    def __contains__(self, key: Key) -> bool:
        return self.n_symbols(key) is not None

    def __iter__(self) -> Iterator[Key]:
        yield from list(self._hot)
        evicted = {key for key in self._evicted if key not in self._hot}
        yield from evicted
        if self._store is not None:
            others = (key for key in self._store if key not in evicted)
            yield from (key for key in others if key not in self._hot and key not in self._removed)

    def stats(self) -> PoolStats:
        """The sizes and counts of the moment."""
        counts = self._n_loaded, self._n_evicted, self._n_forgotten
        return PoolStats(self._n_streams, len(self._hot), self._hot_bytes, *counts)

    def save(self, values: Mapping[str, bytes] | None = None) -> None:
        """Write all changes to the store, or none of them. If its file was deleted, everything is written to a new one.

        values  what the caller stores with the streams, see `StreamStore.value`

        Raises OSError if it cannot be written, or if another file is in its place.
        """
        assert self._store is not None
        self.expire()
        if self._store.is_there:  # a file that was moved away stays as it is
            self._write(self._store, self._changed(), self._evicted.all_dropped(), values or {})
        if not self._store.is_there:
            self.move_to(self._store.successor(), values)

    def move_to(self, store: StreamStore, values: Mapping[str, bytes] | None = None) -> None:
        """Write all streams to another store, which is empty and replaces the current one; otherwise like `save`.

        After an error, the other store is deleted.
        """
        self.expire()
        old = self._store
        dropped = chain(() if old is None else old.all_dropped(), self._evicted.all_dropped())
        try:
            self._write(store, ((key, self._content_of(key)) for key in self), dropped, values or {})
        except BaseException:
            store.delete_file()
            raise
        if old is not None:
            old.close()
        self._store = store
        self._restart_ages()

    def _changed(self) -> Iterator[tuple[Key, Stored]]:
        """The streams that have changed since they were written to the store."""
        for key in self._evicted:
            if key not in self._hot:
                yield key, self._content_of(key)
        for key, hot in self._hot.items():
            if hot.has_changed:
                yield key, self._stored(hot)

    def _content_of(self, key: Key) -> Stored:
        """An existing stream as it is stored, wherever it is."""
        if key in self._hot:
            return self._stored(self._hot[key])
        evicted = self._evicted.get(key)
        if evicted is not None:
            return evicted._replace(content=dump_checkpoint(*unpacked(evicted.content), "crc32"))
        stored = self._from_store(key)
        assert stored is not None
        return stored

    def _write(
        self,
        store: StreamStore,
        streams: Iterable[tuple[Key, Stored]],
        dropped: Iterable[tuple[Key, bytes]],
        values: Mapping[str, bytes],
    ) -> None:
        try:
            if store is self._store:
                for key in self._removed:
                    store.delete(key)
            for key, stored in streams:
                store.put(key, stored)
            for key, content in dropped:
                store.put_dropped(key, content)
            for name, value in values.items():
                store.put_value(name, value)
            store.commit()
        except BaseException:
            store.roll_back()
            self._restart_ages()
            raise
        self._removed.clear()
        self._restart_ages()
        self._evicted.close()
        self._evicted = StreamStore(None, self._model, on_disk=False)
        for hot in self._hot.values():
            hot.has_changed = False

    def load(self, key: Key, *, to_ask: bool = False) -> HotStream[S] | None:
        """Bring a stream into memory, as the most recently used one; None if there is none.

        First, streams are evicted if those in memory exceed the budget. Raises OSError, with nothing changed, if the
        disk is full.

        to_ask  whether the stream will not change: if the disk is full, it is then loaded, but not kept in memory
        """
        is_full = False
        try:
            self.trim()
        except OSError:
            if not to_ask:
                raise
            is_full = True
        hot = self._hot.get(key)
        if hot is not None:
            self._hot.move_to_end(key)
            hot.seconds, hot.has_changed = self._now(), True
            return hot
        evicted = self._evicted.get(key)
        found = evicted or self._from_store(key)
        if found is None:
            return None
        if evicted is None:
            parked = self._codec.parse(found.content, f"the stream {key!r} in the store")
        else:
            parked = self._codec.from_arrays(*unpacked(found.content))
        self._n_loaded += 1
        return HotStream(parked, 0, found.seconds, False) if is_full else self._heat(key, parked)

    def n_symbols(self, key: Key) -> int | None:
        """How many symbols a stream has observed; None if there is none."""
        if key in self._hot:
            return self._hot[key].parked.n_symbols
        n = self._evicted.n_symbols(key)
        if n is None and self._store is not None and key not in self._removed:
            n = self._store.n_symbols(key)
        return n

    def _from_store(self, key: Key) -> Stored | None:
        """A stream in the store that is neither in memory nor evicted; None if there is none."""
        return None if self._store is None or key in self._removed else self._store.get(key)

    def add(self, key: Key, parked: S) -> HotStream[S]:
        """Add a new stream. Others are evicted as in `load`, and the oldest forgotten if there are too many."""
        self.trim()
        self._n_streams += 1
        hot = self._heat(key, parked)
        while self._limits.max_keys is not None and self._n_streams > self._limits.max_keys:
            self._forget(self.oldest()[0])
        return hot

    def _heat(self, key: Key, parked: S) -> HotStream[S]:
        self._hot[key] = hot = HotStream(parked, 0, self._now(), True)
        self.measure(key)
        return hot

    def measure(self, key: Key) -> None:
        """Measure how many bytes a stream takes now, if it is in memory."""
        hot = self._hot.get(key)
        if hot is not None:
            nbytes = self._codec.nbytes(hot.parked) + OVERHEAD
            self._hot_bytes += nbytes - hot.nbytes
            hot.nbytes = nbytes

    def remove(self, key: Key) -> None:
        """Remove a stream, wherever it is."""
        hot = self._hot.pop(key, None)
        if hot is not None:
            self._hot_bytes -= hot.nbytes
        self._evicted.delete(key)
        if self._store is not None and self._store.n_symbols(key) is not None:
            self._removed.add(key)
        self._n_streams -= 1

    def _forget(self, key: Key) -> None:
        self.remove(key)
        self._n_forgotten += 1

    def drop(self, key: Key, content: bytes) -> None:
        """Remove a stream, and keep other bytes in its place, on the disk: see `StreamStore.put_dropped`."""
        self._temporary().put_dropped(key, content)
        self.remove(key)

    def dropped(self, key: Key) -> bytes | None:
        """The bytes that `drop` kept in place of a stream; None if there are none."""
        content = self._evicted.dropped(key)
        return self._store.dropped(key) if content is None and self._store is not None else content

    def trim(self) -> None:
        """Evict the least recently used streams, until those in memory fit into the budget.

        Streams in use stay, and so does the last one. Raises OSError if the disk is full.
        """
        while self._hot_bytes > self._limits.memory_budget and len(self._hot) > 1:
            key = next((key for key, hot in self._hot.items() if not hot.in_use), None)
            if key is None:
                return
            self._evict(key, self._hot[key])

    def _evict(self, key: Key, hot: HotStream[S]) -> None:
        """Move a stream to the disk."""
        if hot.has_changed:
            content = packed(*self._codec.to_arrays(hot.parked))
            self._temporary().put(key, Stored(hot.seconds, hot.parked.n_symbols, content))
        del self._hot[key]
        self._hot_bytes -= hot.nbytes
        self._n_evicted += 1

    def _temporary(self) -> StreamStore:
        """The temporary store, on the disk."""
        if not self._evicted.on_disk:
            self._evicted = StreamStore(None, self._model, beside=self._store.path if self._store else None)
        return self._evicted

    def oldest(self) -> tuple[Key, float]:
        """The least recently used stream, and when it was last used. Raises ValueError if there is none."""
        hot = next(((key, hot.seconds) for key, hot in self._hot.items()), None)
        found = [pair for pair in (self._oldest_evicted(), self._oldest_stored(), hot) if pair is not None]
        if not found:
            raise ValueError("the store is damaged: it has fewer streams than it says")
        return min(found, key=lambda pair: pair[1])

    def _oldest_evicted(self) -> tuple[Key, float] | None:
        """The same among the evicted. Outdated copies before it are deleted, so that they are skipped once only."""
        outdated, found = [], None
        for key, seconds in self._evicted.oldest():
            if key not in self._hot:
                found = key, seconds
                break
            outdated.append(key)
        for key in outdated:
            self._evicted.delete(key)
        return found

    def _oldest_stored(self) -> tuple[Key, float] | None:
        """The same of the streams that are in the store only. A stream that is skipped is skipped until `save`."""
        while self._oldest_of_store is not None and not self._is_only_stored(self._oldest_of_store[0]):
            self._oldest_of_store = next(self._by_age, None)
        return self._oldest_of_store

    def _restart_ages(self) -> None:
        """Let `_oldest_stored` begin with the oldest stream in the store again."""
        self._by_age = iter(()) if self._store is None else self._store.oldest()
        self._oldest_of_store = next(self._by_age, None)

    def _is_only_stored(self, key: Key) -> bool:
        return key not in self._hot and key not in self._removed and self._evicted.n_symbols(key) is None

    def _now(self) -> float:
        self._latest = max(self._latest, self._clock())
        return self._latest

    def expire(self) -> None:
        """Forget all streams that have not been used for too long. No other method looks at the time limit."""
        ttl = self._limits.ttl
        while ttl is not None and self._n_streams:
            key, seconds = self.oldest()
            if self._now() - seconds <= ttl:
                return
            self._forget(key)

    def _stored(self, hot: HotStream[S]) -> Stored:
        content = dump_checkpoint(*self._codec.to_arrays(hot.parked), "crc32")
        return Stored(hot.seconds, hot.parked.n_symbols, content)

    def close(self) -> None:
        """Close both stores."""
        self._evicted.close()
        if self._store is not None:
            self._store.close()
