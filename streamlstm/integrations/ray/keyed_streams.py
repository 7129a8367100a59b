"""Keyed streams on a Ray cluster: a few actors, each of which has a shard, the streams of some of the keys."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from ...logs.formats import Event
from ...predictor import StreamPredictor
from .readers import QueuedRecord, Reading, Result, ScoreStreams, StreamReader
from .storage import StreamStore


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


if TYPE_CHECKING:
    from typing_extensions import Self

BATCH_BYTES = 1 << 18
"""A shard gets a batch when this many bytes wait for it: about eight seconds of work for the bundled model."""

MAX_WAITING_BYTES = 1 << 22
"""The most bytes that wait for a shard, by default."""

MAX_WAITING_RECORDS = 100_000
"""The most records that wait for a shard."""

POLL_SECONDS = 0.02
"""How often the shards are polled while records come."""

SILENT_SECONDS = 60.0
"""If a shard has not answered for so long, a warning is logged, and another one each time this has doubled."""


class ShardStats(NamedTuple):
    """What a shard is doing.

    n_waiting      records that wait or are being read
    waiting_bytes  their bytes
    lag_seconds    how long the oldest of them has waited
    n_done         records that are done
    n_resent       how often a batch was sent again because the actor had died
    """

    n_waiting: int
    waiting_bytes: int
    lag_seconds: float
    n_done: int
    n_resent: int


@dataclass
class Batch:
    """Records for a shard, which are sent together.

    records  by key, in the order of their offsets
    n        their number
    n_bytes  their bytes
    since    when the first of them came
    """

    records: dict[str, list[QueuedRecord]] = field(default_factory=dict)
    n: int = 0
    n_bytes: int = 0
    since: float = 0.0

    def add(self, key: str, record: QueuedRecord, n_bytes: int) -> None:
        """Add a record of a size."""
        self.since = self.since if self.n else time.monotonic()
        self.records.setdefault(key, []).append(record)
        self.n, self.n_bytes = self.n + 1, self.n_bytes + n_bytes


class ShardHandle:
    """The actor of a shard, and the records that it is to read.

    location  of the store

    queue     the records that have not been sent

    At most one batch is on its way, because Ray may change the order of tasks when it retries them.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._actor = self._start()
        self._sent: Batch | None = None
        self._answer: Any = None
        self._warned, self.n_done, self.n_resent = SILENT_SECONDS, 0, 0
        self.queue = Batch()

    def _start(self) -> Any:
        options: dict[str, Any] = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": -1}
        return ray.remote(Shard).options(scheduling_strategy="SPREAD", **options).remote(self._location)

    @property
    def is_busy(self) -> bool:
        """Whether a batch is on its way."""
        return self._sent is not None

    @property
    def is_idle(self) -> bool:
        """Whether all records are done."""
        return self._sent is None and not self.queue.n

    def send(self) -> None:
        """Send the records in the queue."""
        self._sent, self.queue = self.queue, Batch()
        self._submit()

    def _submit(self) -> None:
        assert self._sent is not None
        self._answer = self._actor.process.remote(self._sent.records)

    def results(self, timeout: float) -> list[Result]:
        """The results of the batch, if they come in time. A batch whose actor or answer is lost is sent again.

        Raises what the shard raised: OSError if its store cannot be used, for example.
        """
        if self._sent is None or not ray.wait([self._answer], timeout=timeout)[0]:
            self._warn_if_silent()
            return []
        try:
            results: list[Result] = ray.get(self._answer)
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            if getattr(error, "actor_init_failed", False):
                raise ValueError(f"a shard cannot start: {str(error).strip().splitlines()[-1]}") from error
            self.n_resent += 1
            if isinstance(error, ActorDiedError):
                self._actor = self._start()
            time.sleep(POLL_SECONDS)
            self._submit()
            return []
        self.n_done += self._sent.n
        self._sent, self._answer, self._warned = None, None, SILENT_SECONDS
        return results

    def _warn_if_silent(self) -> None:
        seconds = 0.0 if self._sent is None else time.monotonic() - self._sent.since
        if seconds >= self._warned:
            self._warned = 2 * seconds
            logging.getLogger("streamlstm").warning("a shard has not answered for %.0f s; is a node missing?", seconds)

    def stats(self) -> ShardStats:
        """What the shard is doing."""
        batches = [batch for batch in (self._sent, self.queue) if batch is not None and batch.n]
        lag = time.monotonic() - batches[0].since if batches else 0.0
        n, n_bytes = sum(batch.n for batch in batches), sum(batch.n_bytes for batch in batches)
        return ShardStats(n, n_bytes, lag, self.n_done, self.n_resent)

    def stop(self) -> None:
        """End the actor."""
        ray.kill(self._actor)


class KeyedStreams:
    """Streams by key on a Ray cluster, to which the program is connected. Each record is read exactly once.

    storage        a folder for snapshots and results that all nodes can reach: a path, or a URL that fsspec can open
    predictor      the model: each stream begins as a copy of it. None: the bundled model `small`
    reading        what is done with the records: `ScoreStreams` or `WatchStreams`
    shards         how many actors, of one CPU each, share the keys
    on_results     is called with results as they become durable, those of a key in their order
    batch_seconds  how long a record waits for others before it is sent to its shard
    max_waiting    the most bytes that wait for a shard

    A record has a key, an offset that increases from record to record of its key, and an item. When a worker, a node or
    the program dies, send the records again from any place before the end, for example from those after
    `offset(key)`: those that are done are not read again. `results` has each record once.

    >>> streams = KeyedStreams("s3://bucket/streams", shards=8)  # doctest: +SKIP
    >>> streams.send("web-1", 0, "GET /index.html 200")          # doctest: +SKIP
    >>> streams.flush()                                          # doctest: +SKIP
    """

    def __init__(
        self,
        storage: str,
        predictor: StreamPredictor | None = None,
        reading: Reading = ScoreStreams(),  # noqa: B008  it cannot change
        *,
        shards: int = 2,
        on_results: Callable[[list[Result]], object] = lambda results: None,
        batch_seconds: float = 1.0,
        max_waiting: int = MAX_WAITING_BYTES,
    ) -> None:
        self._store = StreamStore(storage)
        self._store.open(predictor, reading)
        self.on_results, self._batch_seconds, self._max_waiting = on_results, batch_seconds, max_waiting
        self._shards: list[ShardHandle] = []
        self._last_offsets: dict[str, int] = {}
        self._polled = time.monotonic()
        self.rescale(shards)

    def send(self, key: str, offset: int, item: str | bytes | Event) -> None:
        """Take a record: a text, which is a line if it is to be watched, or then also an event. Waits while too much
        waits for its shard.

        Raises ValueError for an offset that is not above the last one of the key, and what a shard raised: OSError if
        the storage cannot be used.
        """
        if not offset > self._last_offsets.get(key, -1):
            raise ValueError(f"the offset of {key!r} must be above {self._last_offsets.get(key, -1)}, not {offset}")
        self._last_offsets[key] = offset
        shard = self._shards[shard_of(key, len(self._shards))]
        item = item.encode("utf-8", "surrogateescape") if isinstance(item, str) else item
        shard.queue.add(key, QueuedRecord(offset, item), len(item.line if isinstance(item, Event) else item))
        if shard.queue.n_bytes >= BATCH_BYTES or time.monotonic() - self._polled >= POLL_SECONDS:
            self.poll()
        while shard.queue.n_bytes >= self._max_waiting or shard.queue.n >= MAX_WAITING_RECORDS:
            self._collect(shard, timeout=1.0)

    def poll(self) -> None:
        """Send what has waited long enough, and take what is done; to be called now and then while no record comes."""
        self._polled = time.monotonic()
        for shard in self._shards:
            self._collect(shard, timeout=0)

    def _collect(self, shard: ShardHandle, timeout: float, at_once: bool = False) -> None:
        """Take what a shard has done, and send its queue if it is full or has waited long enough, or in any case."""
        results = shard.results(timeout)
        queue = shard.queue
        is_due = queue.n_bytes >= BATCH_BYTES or time.monotonic() - queue.since >= self._batch_seconds
        if queue.n and not shard.is_busy and (at_once or is_due):
            shard.send()
        if results:
            self.on_results(results)

    def flush(self) -> None:
        """Wait until all records are done."""
        while not all(shard.is_idle for shard in self._shards):
            for shard in self._shards:
                self._collect(shard, timeout=POLL_SECONDS, at_once=True)

    def rescale(self, shards: int) -> None:
        """Let another number of actors share the keys, once all records are done. Raises ValueError below 1."""
        if shards < 1:
            raise ValueError(f"shards must be at least 1, not {shards}")
        self.flush()
        self.stop()
        self._shards = [ShardHandle(self._store.location) for _ in range(shards)]

    def offset(self, key: str) -> int | None:
        """The offset of the last record of a key that is done; None if none is."""
        return self._store.offset(key)

    def results(self) -> list[Result]:
        """The results of all records that are done, each once, by key and offset."""
        return self._store.all_results()

    def save_position(self, position: Any) -> None:
        """Wait until all records are done, and keep the position in their source, as JSON values."""
        self.flush()
        self._store.save_position(position)

    def position(self) -> Any:
        """What `save_position` kept, perhaps in another run; None if there is none."""
        return self._store.position()

    def stats(self) -> list[ShardStats]:
        """What each shard is doing."""
        return [shard.stats() for shard in self._shards]

    def stop(self) -> None:
        """End the actors. Records that are not done are lost, unless they are sent again."""
        for shard in self._shards:
            shard.stop()
        self._shards = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.flush()
        self.stop()
