"""What the shards of keyed streams do with records: measure how surprising each is, or watch the lines of each key."""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Union

import numpy as np

from ...logs.formats import Event
from ...predictor import Learn, StreamPredictor
from ...render.lines import format_json
from ...streams.pool import MAX_PAGES, StreamPool
from ...system.portable import memory_bytes
from ...watch.watcher import Watcher

MAX_KEYS = 10_000
"""How many streams a shard keeps in memory and in its temporary file; others are loaded from the store again."""

WATCHER_BYTES = 80
"""What a watcher takes in memory for each page of its model's memory, which is most of it: 84 MB with `small`."""


class Surprisal(NamedTuple):
    """The surprisal of a record.

    key, offset  of the record
    bits         in total
    n_bytes      its length
    """

    key: str
    offset: int
    bits: float
    n_bytes: int


class Alarm(NamedTuple):
    """A line that was raised, or any line if all are kept.

    key, offset  of the line
    record       JSON, as `watch --format jsonl` writes it
    """

    key: str
    offset: int
    record: str


Result = Union[Surprisal, Alarm]
"""What is kept of a record; each has a key and an offset."""


class QueuedRecord(NamedTuple):
    """A record that is to be read.

    offset  increases from record to record of a key
    item    what a reader reads: bytes or, to be watched, also an event
    """

    offset: int
    item: Any


class StreamReader(Protocol):
    """Reads the records of many keys. What it finds depends on the records of the key only."""

    def __contains__(self, key: object) -> bool:
        """Whether it has the stream of a key."""

    def read(self, key: str, records: Sequence[QueuedRecord]) -> Sequence[Result]:
        """Read the next records of a key, whose stream begins if there is none; returns what is to be kept of them."""

    def snapshot(self, key: str) -> bytes:
        """The stream of a key, for `restore`."""

    def restore(self, key: str, content: bytes) -> None:
        """Begin a stream with what `snapshot` returned."""

    def forget(self, key: str) -> None:
        """End the stream of a key."""


@dataclass(frozen=True)
class ScoreStreams:
    """The records of each key are read as one stream of bytes, by a `StreamPool`. The results are `Surprisal`.

    learn      what the streams learn: "memory", "all" or "nothing"
    max_pages  the most pages in which a stream keeps counts
    """

    learn: Learn = "memory"
    max_pages: int = MAX_PAGES
    result = Surprisal

    def reader(self, predictor: StreamPredictor) -> StreamReader:
        """What reads the records in a shard."""
        return _ScoreReader(predictor, self)


@dataclass(frozen=True)
class WatchStreams:
    """The lines of each key are watched by a `Watcher` of their own. The results are `Alarm`.

    options  of the watchers, as JSON can hold them; those for keys are not valid, since each key has a watcher
    all      whether all lines are kept, not only alarms

    A budget per time goes by the time stamps of events; a text has none. A shard keeps as many watchers in memory as
    fit into half of its CPU's share of the memory of its machine; the others are loaded from the store again.

    Raises ValueError for options that are not valid.

    >>> WatchStreams({"key_regex": "host-[0-9]+"})
    Traceback (most recent call last):
    ValueError: key_regex is not an option of WatchStreams, which has a watcher for each key that `send` is given
    """

    options: dict[str, Any]
    all: bool = False
    result = Alarm

    def __post_init__(self) -> None:
        for name in ("key_regex", "keyed", "max_keys", "memory_budget"):
            if name in self.options:
                why = "which has a watcher for each key that `send` is given"
                raise ValueError(f"{name} is not an option of WatchStreams, {why}")

    def reader(self, predictor: StreamPredictor) -> StreamReader:
        """What reads the events in a shard."""
        return _WatchReader(predictor, self)


Reading = Union[ScoreStreams, WatchStreams]

READINGS = {"scores": ScoreStreams, "watch": WatchStreams}
"""The ways to read by their names in a store."""


class _ScoreReader:
    def __init__(self, predictor: StreamPredictor, how: ScoreStreams) -> None:
        self._pool = StreamPool(predictor, how.learn, max_pages=how.max_pages, max_keys=MAX_KEYS, threads=1)

    def __contains__(self, key: object) -> bool:
        return key in self._pool

    def read(self, key: str, records: Sequence[QueuedRecord]) -> list[Surprisal]:
        texts = [record.item for record in records]
        bits = self._pool.observe(key, b"".join(texts)).astype(np.float64)
        parts = np.split(bits, np.cumsum([len(text) for text in texts])[:-1])
        rows = zip(records, parts, texts, strict=True)
        return [Surprisal(key, record.offset, float(part.sum()), len(text)) for record, part, text in rows]

    def snapshot(self, key: str) -> bytes:
        return self._pool.snapshot(key)

    def restore(self, key: str, content: bytes) -> None:
        self._pool.restore(key, content)

    def forget(self, key: str) -> None:
        self._pool.forget(key)


class _WatchReader:
    def __init__(self, predictor: StreamPredictor, how: WatchStreams) -> None:
        self._predictor, self._how = predictor, how
        self._watchers: OrderedDict[object, Watcher] = OrderedDict()  # the one that was used last is at the end
        self._max_watchers = max(memory_of_shard() // (WATCHER_BYTES << predictor.config.memory_bits), 1)
        self._new()

    def _new(self) -> Watcher:
        return Watcher(self._predictor.fork(), **self._how.options)

    def __contains__(self, key: object) -> bool:
        return key in self._watchers

    def read(self, key: str, records: Sequence[QueuedRecord]) -> list[Alarm]:
        if key not in self._watchers:
            self._keep(key, self._new())
        self._watchers.move_to_end(key)
        watcher, results = self._watchers[key], []
        for offset, item in records:
            event = item if isinstance(item, Event) else _event_of(key, offset, item)
            _check_time(watcher, event)
            line = watcher.observe(event.text + "\n", key=event.key, seconds=event.seconds)
            if line.raised or self._how.all:
                results.append(Alarm(key, offset, format_json(line, event)))
        return results

    def _keep(self, key: str, watcher: Watcher) -> None:
        """Keep a watcher instead of the one that was used longest ago, if there are too many: its lines are durable."""
        while len(self._watchers) >= self._max_watchers:
            self._watchers.popitem(last=False)
        self._watchers[key] = watcher

    def snapshot(self, key: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "watcher")
            self._watchers[key].save(path)
            with open(path, "rb") as file:
                return file.read()

    def restore(self, key: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "watcher")
            with open(path, "wb") as file:
                file.write(content)
            self._keep(key, Watcher.load(path, **self._how.options))

    def forget(self, key: str) -> None:
        del self._watchers[key]


def memory_of_shard() -> int:
    """Half of the memory of this machine in bytes, divided by its CPUs, of which a shard has one."""
    return memory_bytes() // (2 * (os.cpu_count() or 1))


def _event_of(key: str, offset: int, line: bytes) -> Event:
    """The event of a text that was sent."""
    return Event(line.decode("utf-8", "surrogateescape").removesuffix("\n"), path=key, offset=offset)


def _check_time(watcher: Watcher, event: Event) -> None:
    """Raise ValueError if there is a budget per time, and the log begins without a time stamp: no alarm would come."""
    is_timed = watcher.budget is not None and watcher.budget.seconds is not None
    if is_timed and not watcher.counts.lines and event.seconds is None:
        raise ValueError(f"{event.path} begins without a time stamp; give a budget per number of lines: 10/10000")
