"""A shard of keyed streams: the streams of some of the keys, in one process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..kernels.arrays import F32
from ..streams.pool import StreamPool
from .stream_store import Result, StreamStore

MAX_KEYS = 10_000
"""How many streams a shard keeps in memory and in its temporary file; others are loaded from the store again."""


class Waiting(NamedTuple):
    """A record that waits to be read: its offset and its text."""

    offset: int
    text: bytes


class Shard:
    """Reads records of keys, and commits each batch of records before it returns the results.

    location  of the store
    """

    def __init__(self, location: str) -> None:
        self._store = StreamStore(location)
        predictor, options = self._store.model()
        self._pool = StreamPool(predictor, max_keys=MAX_KEYS, threads=1, **options)
        self._offsets: dict[str, int] = {}  # of the last record that each stream in the pool has read

    def process(self, batch: Mapping[str, Sequence[Waiting]]) -> list[Result]:
        """Read the next records of some keys. They are durable when the results are returned.

        Records that are done already are not read again, but their results are returned too. Raises OSError if the
        store cannot be used; the batch may then be sent again.
        """
        return [result for key, records in batch.items() for result in self._process(key, records)]

    def _process(self, key: str, records: Sequence[Waiting]) -> list[Result]:
        """The results of records of one key."""
        try:
            done = self._load(key)
            new = [record for record in records if record.offset > done]
            if not new:
                return self._stored(key, records)
            bits = self._pool.observe(key, b"".join(record.text for record in new))
            results = _results(key, new, bits)
            self._store.commit(key, results, self._pool.snapshot(key))
            self._offsets[key] = new[-1].offset
        except BaseException:
            self._forget(key)
            raise
        return results if len(new) == len(records) else self._stored(key, records)

    def _load(self, key: str) -> int:
        """Bring a stream into the pool, and return the offset of the last record that it has read; -1 if none."""
        if key not in self._offsets or key not in self._pool:
            offset, snapshot = self._store.load(key)
            if snapshot is not None:
                self._pool.restore(key, snapshot)
            self._offsets[key] = offset
        return self._offsets[key]

    def _stored(self, key: str, records: Sequence[Waiting]) -> list[Result]:
        """The results of records that are done."""
        offsets = {record.offset for record in records}
        stored = self._store.results(key, records[0].offset, records[-1].offset)
        return [result for result in stored if result.offset in offsets]

    def _forget(self, key: str) -> None:
        """Let a stream be loaded from the store again."""
        self._offsets.pop(key, None)
        if key in self._pool:
            self._pool.forget(key)


def _results(key: str, records: Sequence[Waiting], bits: F32) -> list[Result]:
    """The result of each record, from the surprisals of their bytes."""
    ends = np.cumsum([len(record.text) for record in records])
    parts = np.split(bits.astype(np.float64), ends[:-1])
    return [
        Result(key, record.offset, float(part.sum()), len(record.text))
        for record, part in zip(records, parts, strict=True)
    ]


@lru_cache(maxsize=100_000)
def shard_of(key: str, n_shards: int) -> int:
    """The shard of a key, by rendezvous hashing: when a shard is added or removed, only its own keys move.

    >>> moved = [key for key in map(str, range(900)) if shard_of(key, 2) != shard_of(key, 3)]
    >>> {shard_of(key, 3) for key in moved}, 240 < len(moved) < 360
    ({2}, True)
    """
    name = key.encode("utf-8", "surrogatepass")
    weights = [
        hashlib.blake2b(name, digest_size=8, salt=index.to_bytes(8, "big")).digest() for index in range(n_shards)
    ]
    return weights.index(max(weights))
