"""The clock of a log: how much time has passed by the times of its lines, in each source and in all of them.

The times in a log cannot be trusted one by one. Threads write a moment late, hosts have different zones, devices count
from 1970 until they know better, a bug prints the year 9999, and clocks are set. So each source, a file or a connection
that lines come from, has clocks that are *known*. A line is *on time* by a known clock if its time is at most JITTER
earlier than the latest time of the source, and at most a *step* later. What a line shows that is on time by none counts
only when BELIEVED lines have shown it without one in between that is on time.

The step is STEP or, if more, twice the longest time that lately passed between two lines of the source. A source that
was silent may also be later by what passed in the others meanwhile.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

MAX_SECONDS = 1e12
"""No calendar has a time beyond: it is in the year 33,658. Times in milliseconds since 1970 are."""

JITTER, STEP = 300.0, 60.0
"""Time zones differ by 900 seconds or more; what threads and hosts that share a clock write differs by less."""

BELIEVED = 8
"""After so many lines a clock that was set, or a gap, is believed. In a random mixture of two clocks the second one is
taken for the first one after a gap with a probability of 1 in 2^BELIEVED."""

LONGEST_GAP = 30 * 86_400.0
"""After a longer gap, the clock was set."""

MAX_GAP_SECONDS = 3_600.0
"""A gap that had to be believed counts in the time of all sources as at most this long: it may be an error."""

MAX_CLOCKS, MAX_RUNS = 8, 4
"""The most clocks of a source that are known, and that may become so."""

MAX_SOURCES = 10_000
"""Of more sources, the one without a line for longest is forgotten."""

MAX_COMPARED = 64
"""A new source is compared with this many others, those that had lines last."""

_DECAY = 63 / 64


def checked_seconds(seconds: object) -> float | None:
    """A time as a number, or None as it is. Raises ValueError if it is no number of seconds in any calendar."""
    if seconds is None:
        return None
    try:
        value = math.nan if isinstance(seconds, (str, bytes, bytearray, bool)) else float(seconds)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not abs(value) <= MAX_SECONDS:
        raise ValueError(
            f"seconds must be a number from -1e12 to 1e12, or None if the time is unknown, not {seconds!r}"
        )
    return value


class Place(NamedTuple):
    """Where a line is.

    source  the number of its source
    line    its number in the source
    since   if not -1: a gap before the line of this number is believed now; it and those after it are at this time
    """

    source: int
    line: int
    since: int = -1


@dataclass
class _Clock:
    """A known clock of a source.

    offset       what it shows minus the time of the source
    start, mark  the earliest and the latest time that it has shown
    """

    offset: float
    start: float
    mark: float


@dataclass
class _Run:
    """Lines by a clock that is not known.

    first, mark  the time of the first line, and the latest time
    begun        the number of its first line, of the lines of the source
    widest       the longest time between two lines
    is_other     whether it runs beside a known clock: lines by that one came after it was seen for the first time
    n_lines      how many there were, with none on time in between
    """

    first: float
    mark: float
    begun: int
    widest: float = 0.0
    is_other: bool = False
    n_lines: int = 0


@dataclass
class _Source:
    """What is known of a source; `own` is its time by its lines, and `time` counts what was waited for lines, too.

    number  identifies it
    shared  where it is in the time of all sources
    seen    the time of all sources when its last line came
    last    what its last line showed
    """

    number: int
    shared: float
    seen: float
    last: float = 0.0
    own: float = 0.0
    time: float = 0.0
    longest: float = 0.0  # the longest time between two lines lately
    n_lines: int = 0
    clocks: list[_Clock] = field(default_factory=list)  # the one that was used last is the first
    runs: list[_Run] = field(default_factory=list)

    def show(self, seconds: float, elsewhere: float) -> tuple[float, int]:
        """Take the time of a line; `elsewhere` is what has passed in other sources since the last one.

        Returns how much counts in all sources, and the number of the first line of a run that is believed now, or -1.
        """
        if not self.clocks:
            self.clocks, self.last = [_Clock(seconds - self.own, seconds, seconds)], seconds
        latest = self.own + elsewhere + max(STEP, 2 * self.longest)
        clock = next((each for each in self.clocks if self.own - JITTER <= seconds - each.offset <= latest), None)
        passed, begun = self._doubted(seconds, elsewhere) if clock is None else (self._on_time(clock, seconds), -1)
        if clock is not None:
            self.longest = max(passed - elsewhere, self.longest * _DECAY)
        self.time = max(self.time, self.own)
        return passed, begun

    def _on_time(self, clock: _Clock, seconds: float) -> float:
        self.clocks.remove(clock)
        self.clocks.insert(0, clock)
        for run in self.runs:
            run.is_other, run.n_lines = True, 0
        self.last = clock.mark = max(clock.mark, seconds)
        passed = max(seconds - clock.offset - self.own, 0.0)
        self.own += passed
        return passed

    def _doubted(self, seconds: float, elsewhere: float) -> tuple[float, int]:
        now = (
            self.clocks[0].offset + self.own
        )  # what the clock that was used last shows: runs before and after it differ
        fitting = [
            run
            for run in self.runs
            if run.mark - JITTER <= seconds <= run.mark + LONGEST_GAP and (run.mark < now) == (seconds < now)
        ]
        run = min(fitting, key=lambda each: abs(seconds - each.mark), default=None)
        if run is None:
            run = _Run(seconds, seconds, self.n_lines, is_other=self._is_behind(seconds))
        else:
            self.runs.remove(run)
            if run.n_lines == 0:
                run.first, run.mark, run.begun, run.widest = seconds, seconds, self.n_lines, 0.0
            run.widest = max(run.widest, seconds - run.mark)
            run.mark = max(run.mark, seconds)
        run.n_lines += 1
        self.last = run.mark
        if run.n_lines >= BELIEVED:
            return min(self._believe(run), max(MAX_GAP_SECONDS, elsewhere)), run.begun
        self.runs = [*self.runs, run][-MAX_RUNS:]
        return 0.0, -1

    def _is_behind(self, seconds: float) -> bool:
        """Whether this is what a known clock has shown, which does not go on as the others do."""
        return any(abs(seconds - each.mark) <= JITTER and seconds - each.offset < self.own for each in self.clocks)

    def _believe(self, run: _Run) -> float:
        """Make the clock of a run known; returns how much time has passed, with the gap before it if it is one."""
        clock = self.clocks[0]
        gap = run.first - clock.offset - self.own
        if not run.is_other and 0 < gap <= LONGEST_GAP:
            self.longest = max(self.longest, run.widest, gap if gap <= MAX_GAP_SECONDS else 0.0)
        else:
            clock = _Clock(run.first - self.own, run.first, run.first)
            self.clocks = [clock, *self.clocks][:MAX_CLOCKS]
            self.longest = max(self.longest, run.widest)
        clock.mark = max(clock.mark, run.mark)
        passed = max(run.mark - clock.offset - self.own, 0.0)
        self.own += passed
        return passed

    def describe(self, name: str) -> list[Any]:
        """The state as JSON values, for `from_description`."""
        values = [self.number, self.n_lines, self.shared, self.seen, self.last, self.own, self.time, self.longest]
        clocks = [[each.offset, each.start, each.mark] for each in self.clocks]
        runs = [[r.first, r.mark, r.begun, r.widest, int(r.is_other), r.n_lines] for r in self.runs]
        return [name, values, clocks, runs]

    @classmethod
    def from_description(cls, values: list[Any], clocks: list[Any], runs: list[Any]) -> _Source:
        """The source that `describe` described. Raises ValueError or TypeError if it is not one."""
        number, n_lines, *numbers = values
        shared, seen, last, own, time, longest = map(_finite, numbers)
        known = [_Clock(*map(_finite, each)) for each in clocks]
        others = [
            _Run(_finite(first), _finite(mark), int(begun), _finite(widest), bool(is_other), int(n))
            for first, mark, begun, widest, is_other, n in runs
        ]
        if len(known) > MAX_CLOCKS or len(others) > MAX_RUNS or min(own, longest, number, n_lines) < 0:
            raise ValueError(f"a source of lines cannot have {len(known)} clocks and be {values}")
        return cls(int(number), shared, seen, last, own, time, longest, int(n_lines), known, others)


class LogClock:
    """The time of each source of a log, and that of all sources, which is what has passed since the first line.

    now  the time of all sources, in seconds: that of the source in which most has passed, counted from where the time
         of all sources was when it began. A source that begins at a time at which another one was, or at most an hour
         before, is taken to have the clock of that one: it counts when it comes to a later time. So files that are
         read one after the other and cover the same time count once.

    Time never goes back. For a source with up to MAX_CLOCKS clocks that run as true time does, each wrong by any
    constant, and with lines that come at most JITTER late, it holds that

    - a line whose time is wrong, or fewer than BELIEVED in a row, let no more than a step pass;
    - a clock that is set forward or back, also by years, lets pass what BELIEVED lines after it show, and from then on
      what it shows. If it was set forward by LONGEST_GAP or less, that counts too, as it cannot be told from a gap: in
      the source, and in the time of all sources up to MAX_GAP_SECONDS. So does a second clock that is ahead, if its
      lines are BELIEVED in a row when they come for the first time;
    - a gap that is longer than a step counts BELIEVED lines after its end;
    - clocks that are known cost nothing, in whatever order their lines come.

    A line without a time lets none pass. Memory is bounded. `wait` tells that no line came from a source.

    >>> clock = LogClock()
    >>> for seconds in (100.0, 101.0, 253402300799.0, 103.0, -62135596800.0, 104.5, 104.0):
    ...     place = clock.observe(seconds, "a.log")
    >>> clock.now, clock.time(0)
    (4.5, 4.5)
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._sources: OrderedDict[str, _Source] = OrderedDict()  # the one with the last line is at the end
        self._times: dict[int, _Source] = {}
        self._n_sources = 0
        self._is_unnamed = False  # its one source is that of a version that did not name sources

    def observe(self, seconds: float | None, name: str = "") -> Place:
        """Take a line of a source, and its time if it has one; returns where it is."""
        source = self._named(name)
        self._sources.move_to_end(name)
        source.n_lines += 1
        begun = -1
        if seconds is not None:
            if not source.clocks:
                source.shared = self._place_of(seconds)
            passed, begun = source.show(seconds, self.now - source.seen)
            source.shared += passed
            source.seen = self.now = max(self.now, source.shared)
        return Place(source.number, source.n_lines, begun)

    def wait(self, seconds: float, name: str = "") -> Place:
        """Take that no line came from a source until its clock, that of its last line, showed this time.

        Returns where its last line is. It lets no time pass for all sources.
        """
        source = self._named(name)
        if source.clocks:
            source.time = max(source.time, source.own + max(seconds - source.last, 0.0))
        return Place(source.number, source.n_lines)

    def time(self, number: int) -> float | None:
        """How much time has passed in a source, by its number; None if the source was forgotten."""
        source = self._times.get(number)
        return None if source is None else source.time

    def _named(self, name: str) -> _Source:
        if self._is_unnamed:
            self._sources = OrderedDict((name, source) for source in self._sources.values())
            self._is_unnamed = False
        return self._sources.get(name) or self._begin(name)

    def _begin(self, name: str) -> _Source:
        """A new source."""
        source = self._sources[name] = self._times[self._n_sources] = _Source(self._n_sources, self.now, self.now)
        self._n_sources += 1
        if len(self._sources) > MAX_SOURCES:
            del self._times[self._sources.popitem(last=False)[1].number]
        return source

    def _place_of(self, seconds: float) -> float:
        """Where a source whose first time is this one begins, in the time of all sources."""
        places = [
            each.shared - (clock.mark - seconds)
            for each in islice(reversed(self._sources.values()), MAX_COMPARED)
            for clock in each.clocks[:1]
            if clock.start - MAX_GAP_SECONDS <= seconds <= clock.mark
        ]
        return max(places, default=self.now)

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `from_description`."""
        sources = [source.describe(name) for name, source in self._sources.items()]
        return {"now": self.now, "n_sources": self._n_sources, "sources": sources, "unnamed": self._is_unnamed}

    @classmethod
    def from_description(cls, described: dict[str, Any]) -> LogClock:
        """The clock that `describe` described. Raises ValueError, TypeError or KeyError if it is not one."""
        clock = cls()
        clock.now, clock._n_sources = _finite(described["now"]), int(described["n_sources"])
        clock._is_unnamed = bool(described["unnamed"])
        for name, values, clocks, runs in described["sources"]:
            source = _Source.from_description(values, clocks, runs)
            clock._sources[str(name)] = clock._times[source.number] = source
        n = len(clock._sources)
        if not n == len(clock._times) <= MAX_SOURCES or any(each >= clock._n_sources for each in clock._times):
            raise ValueError(f"a clock cannot have {len(described['sources'])} such sources")
        return clock

    @classmethod
    def of_version_1_0(cls, seconds: float | None, time: float) -> LogClock:
        """The clock of version 1.0: one source, of which this is the latest time, and how much has passed in it.

        The first source that has a line next continues it. Raises ValueError or TypeError for impossible times.
        """
        clock = cls()
        source, clock._is_unnamed = clock._begin(""), True
        source.own = source.time = _finite(time)
        if seconds is not None:
            clock.observe(_finite(seconds))
            clock._is_unnamed = True
        return clock


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a clock cannot show {value!r} seconds")
    return number
