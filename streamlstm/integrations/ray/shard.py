"""A shard of keyed streams: the streams of some of the keys, in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

from .readers import QueuedRecord, Result, StreamReader
from .stream_store import StreamStore


class Shard:
    """Reads records of keys, and commits each batch of records before it returns the results.

    location  of the store, which has the model and says how it reads
    """

    def __init__(self, location: str) -> None:
        self._store = StreamStore(location)
        self._reader: StreamReader = self._store.reading().reader(self._store.model())
        self._offsets: dict[str, int] = {}  # of the last record that the stream of each key has read

    def process(self, batch: Mapping[str, Sequence[QueuedRecord]]) -> list[Result]:
        """Read the next records of some keys. They are durable when the results are returned.

        Records that are done already are not read again, but their results are returned too. Raises OSError if the
        store cannot be used; the batch may then be sent again.
        """
        return [result for key, records in batch.items() for result in self._process(key, records)]

    def _process(self, key: str, records: Sequence[QueuedRecord]) -> Sequence[Result]:
        """The results of records of one key."""
        try:
            done = self._load(key)
            new = [record for record in records if record.offset > done]
            if not new:
                return self._store.results(key, records[0].offset, records[-1].offset)
            results = self._reader.read(key, new)
            self._store.commit(key, (new[0].offset, new[-1].offset), results, self._reader.snapshot(key))
            self._offsets[key] = new[-1].offset
        except BaseException:
            self._forget(key)
            raise
        is_whole = len(new) == len(records)
        return results if is_whole else self._store.results(key, records[0].offset, records[-1].offset)

    def _load(self, key: str) -> int:
        """Load the stream of a key, and return the offset of the last record that it has read; -1 if none."""
        if key not in self._offsets or key not in self._reader:
            offset, snapshot = self._store.load(key)
            if snapshot is not None:
                self._reader.restore(key, snapshot)
            self._offsets[key] = offset
        return self._offsets[key]

    def _forget(self, key: str) -> None:
        """Let a stream be loaded from the store again."""
        self._offsets.pop(key, None)
        if key in self._reader:
            self._reader.forget(key)


@lru_cache(maxsize=100_000)
def shard_of(key: str, n_shards: int) -> int:
    """The shard of a key, by rendezvous hashing: when a shard is added or removed, only its own keys move.

    >>> moved = [key for key in map(str, range(900)) if shard_of(key, 2) != shard_of(key, 3)]
    >>> {shard_of(key, 3) for key in moved}, 240 < len(moved) < 360
    ({2}, True)
    """
    name = key.encode("utf-8", "surrogatepass")
    salts = (index.to_bytes(8, "big") for index in range(n_shards))
    weights = [hashlib.blake2b(name, digest_size=8, salt=salt).digest() for salt in salts]
    return weights.index(max(weights))
