"""The clock of a log: how much time has passed by the times of its lines, in each source and in all of them.

The times in a log cannot be trusted one by one. Threads write a moment late, hosts have different zones, devices count
from 1970 until they know better, a bug prints the year 9999, and clocks are set. So each source, a file or a connection
that lines come from, has one *high-water mark*: the time that its lines have reached. Time passes when lines raise it.
Lines of clocks that are behind it let no time pass, however many clocks there are, nor do single lines far ahead of it.

A step of at most STEP counts at once. A *gap*, which is more, is a claim that nothing happened meanwhile. BELIEVED
lines must lie beyond it, with none at the mark in between. It counts only when lines have followed that could have
refuted it, and is dropped when SEEN of them show times from inside of it, as those of a clock that is behind would. The
more lines are behind the mark, the longer this takes. When AWAY lines in a row are not near the mark, their clock was
set: the mark goes to where they are, and gaps before which it goes back are taken back. What cannot be known makes time
slow rather than fast.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from ..ranges import FINITE, Maybe, Real, Whole, check_values

JITTER, STEP = 300.0, 60.0
"""Time zones differ by 900 seconds or more; what threads and hosts that share a clock write differs by less."""

BELIEVED = 8
"""So many lines beyond a gap raise the mark, to the earliest of them. Fewer lines of a wrong time do nothing."""

AWAY = 32
"""After so many lines away from the mark a clock was set. With 24, blocks of 30 lines of 100 hosts made two hours
five, by gaps from each of them to the next; with 64, a clock that is set back often loses more."""

PROOF, PROOF_BEHIND, SEEN = 24, 512, 2
"""A gap counts after PROOF more lines, and PROOF_BEHIND times the fraction of lines that are behind the mark: one line
in a hundred is enough to refute it. SEEN is more than one, so that a single wrong time takes no gap away."""

LONGEST_GAP = 30 * 86_400.0
"""After a longer gap, the clock was set."""

MAX_GAP_SECONDS = 3_600.0
"""A step counts in the time of all sources as at most this long: it may be an error."""

MAX_USUAL = 86_400.0
"""The most that counts as the usual time between lines."""

N_STEPS = 15
"""The usual time between lines is the median of so many: a mean or the longest would follow a few false gaps."""

MAX_PROOF, MAX_GAPS = 1024, 1600
"""The proof of a gap takes twice as many lines after each one that was dropped, and 4 times after one that was taken
back, up to MAX_PROOF; each that counts halves it. Of more gaps that do not count yet, the first is dropped."""

MAX_LEFT = 32
"""So many clocks that the mark went back from, and gaps that counted, are remembered."""

MAX_SOURCES = 10_000
"""Of more sources, the one without a line for longest is forgotten."""

MAX_COMPARED = 64
"""A new source is compared with this many others, those that had lines last."""

MAX_SECONDS = 1e15
"""The most time that can have passed."""

_BEHIND_RATE = 1 / 256


def checked_seconds(seconds: object) -> float | None:
    """A time as a number, or None as it is. Raises ValueError if it is not a finite number."""
    if seconds is None:
        return None
    try:
        value = math.nan if isinstance(seconds, (str, bytes, bytearray, bool)) else float(seconds)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"seconds must be a number that is finite, or None if the time is unknown, not {seconds!r}")
    return value


def check_source(source: object) -> None:
    """Raise TypeError if this cannot be the name of a source, which is saved as a text."""
    if not isinstance(source, str):
        raise TypeError(f"source must be a str, not {source!r}")


class Place(NamedTuple):
    """Where a line is.

    source  the number of its source
    line    its number in the source
    since   if not -1: a gap before the line of this number counts now; it and those after it are at this time
    """

    source: int
    line: int
    since: int = -1


@dataclass
class _Gap:
    """A gap in a source that does not count yet.

    begin, end  from where to where the mark was raised
    counts      how much it counts in the time of all sources
    since       the number of the first line beyond it, of the lines of the source
    line        the number of the line with which it was believed
    proof       how many lines must follow if none are behind the mark
    n_seen      how many lines have shown a time inside of it
    """

    begin: float
    end: float
    counts: float
    since: int
    line: int
    proof: int
    n_seen: int = 0


@dataclass
class _Source:
    """What is known of a source; `own` is its time by its lines, and `time` counts what was waited for lines, too.

    number        identifies it
    shared        where it is in the time of all sources
    seen          the time of all sources when its last line came
    last          what its last line showed, or the mark if that is at most JITTER later
    start, mark   what was shown first since a clock was set, and the high-water mark; None before the first time
    behind        the fraction of lines that are behind the mark, lately
    proof         how many lines must follow a gap to prove it, if none are behind the mark
    steps         the last steps of the mark
    ahead         the lines beyond a gap that is not believed yet, as what they show and their number, by what they show
    away, n_away  what the last lines away from the mark show, and how many there were in a row
    walked, top   what has passed by these after the first few, and the latest; less than 0 if of several clocks
    left          the clocks that the mark went back from, as what they show minus `own`: what they show later is no gap
    gaps          those that do not count yet
    counted       the last ones that did, as their length and how much they counted in the time of all sources
    debt          how much of that was taken back: so much time of all sources must pass before more counts
    """

    number: int
    shared: float
    seen: float
    last: float = 0.0
    own: float = 0.0
    time: float = 0.0
    start: float = 0.0
    mark: float | None = None
    walked: float = 0.0
    top: float = 0.0
    debt: float = 0.0
    usual: float = 0.0
    behind: float = 0.0
    n_lines: int = 0
    n_away: int = 0
    proof: int = PROOF
    steps: list[float] = field(default_factory=lambda: [0.0] * N_STEPS)
    ahead: list[tuple[float, int]] = field(default_factory=list)
    away: list[float] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    gaps: list[_Gap] = field(default_factory=list)
    counted: list[tuple[float, float]] = field(default_factory=list)

    def show(self, seconds: float, elsewhere: float) -> tuple[float, int]:
        """Take the time of a line; `elsewhere` is what has passed in other sources since the last one.

        Returns how much counts in all sources, and the number of the first line after a gap that counts now, or -1.
        """
        if self.mark is None:
            self.start = self.mark = seconds
        passed, since = self._moved(seconds, elsewhere), -1
        is_behind = seconds < self.mark - JITTER
        self.last = seconds if is_behind else max(seconds, self.mark)
        self.behind += (is_behind - self.behind) * max(_BEHIND_RATE, 1 / self.n_lines)
        while self.gaps and self.n_lines - self.gaps[0].line >= self.gaps[0].proof + int(PROOF_BEHIND * self.behind):
            gap = self.gaps.pop(0)
            self.own += gap.end - gap.begin
            self.counted = [*self.counted[1 - MAX_LEFT :], (gap.end - gap.begin, gap.counts)]
            passed += gap.counts
            since = gap.since if since < 0 else since
            self.proof = max(self.proof // 2, PROOF)
        self.time = max(self.time, self.own)
        repaid = min(self.debt, passed)
        self.debt -= repaid
        return passed - repaid, since

    def _moved(self, seconds: float, elsewhere: float) -> float:
        """Move the mark. Returns how much counts at once."""
        assert self.mark is not None
        step = seconds - self.mark
        if -JITTER <= step <= max(STEP, 2 * self.usual) + elsewhere:
            self.ahead.clear()
            self.n_away = 0
            return self._raised(step, elsewhere, self.n_lines, 0) if step > 0 else 0.0
        if 0 < step <= LONGEST_GAP:
            insort(self.ahead, (seconds, self.n_lines))
            self.n_away = 0
            if len(self.ahead) < BELIEVED:
                return 0.0
            first, _ = self.ahead[0]
            if any(abs(first - self.own - each) <= JITTER + 2 * AWAY * self.usual for each in self.left):
                self._set(first)
                return 0.0
            return self._raised(first - self.mark, elsewhere, min(line for _, line in self.ahead), self.proof)
        return self._left(seconds)

    def _raised(self, step: float, elsewhere: float, since: int, proof: int) -> float:
        """Raise the mark by a step. Returns how much counts at once."""
        assert self.mark is not None
        begin, self.mark = self.mark, self.mark + step
        self.ahead = [each for each in self.ahead if each[0] > self.mark]
        self.steps = [*self.steps[1:], step]
        if step > STEP / 2 or self.usual > STEP / 2:
            self.usual = min(sorted(self.steps)[N_STEPS // 2], MAX_USUAL)
        counts = min(step, max(MAX_GAP_SECONDS, elsewhere))
        if step <= STEP + elsewhere:
            self.own += step
            return counts
        self.gaps = [*self.gaps, _Gap(begin, self.mark, counts, since, self.n_lines, proof)][-MAX_GAPS:]
        return 0.0

    def _left(self, seconds: float) -> float:
        """Take a line away from the mark, in the past or beyond the longest gap. Returns how much counts at once."""
        assert self.mark is not None
        for gap in self.gaps:
            gap.n_seen += gap.begin < seconds < gap.end - JITTER
        self._keep([gap for gap in self.gaps if gap.n_seen < SEEN])
        step = seconds - self.top
        if self.n_away == 0:
            self.walked, self.top = 0.0, seconds
        elif not -JITTER <= step <= STEP:
            self.walked = -AWAY * STEP  # not one clock
        elif step > 0:
            self.walked, self.top = self.walked + step * (self.n_away >= BELIEVED // 2), seconds
        self.n_away += 1
        self.away = [*self.away[-8:], seconds]
        if self.n_away < AWAY:
            return 0.0
        middle = sorted(self.away)[len(self.away) // 2]
        mark = max(each for each in self.away if each <= middle + JITTER)
        self._keep([gap for gap in self.gaps if not (mark < gap.end - JITTER and gap.begin < self.mark)])
        if mark < self.mark:
            self._take_back(self.mark - mark)
        self._set(mark)
        walked = max(self.walked, 0.0)
        self.own += walked
        return walked

    def _keep(self, gaps: list[_Gap]) -> None:
        """Drop all gaps but these; further ones take longer to prove."""
        if len(gaps) < len(self.gaps):
            self.gaps, self.proof = gaps, min(2 * self.proof, MAX_PROOF)

    def _take_back(self, seconds: float) -> None:
        """Take back what gaps have counted, as a clock goes on that much earlier; remember the clocks beyond them."""
        assert self.mark is not None
        left, back = [self.mark - self.own], 0.0
        while self.counted and back + self.counted[-1][0] <= seconds + JITTER:
            size, counts = self.counted.pop()
            self.proof = min(4 * self.proof, MAX_PROOF)
            self.debt = min(self.debt + counts, MAX_SECONDS)
            back += size
            left.append(left[0] - back)
        self.left = [*self.left, *left[:MAX_LEFT]][-MAX_LEFT:]

    def _set(self, mark: float) -> None:
        """Set the mark to where lines of another clock are."""
        self.start = self.mark = mark
        self.n_away = 0
        self.ahead.clear()

    def describe(self, name: str) -> dict[str, Any]:
        """The state as JSON values, for `from_description`."""
        described = {"name": name, **vars(self), "gaps": [list(vars(gap).values()) for gap in self.gaps]}
        return described | {key: [list(pair) for pair in described[key]] for key in ("ahead", "counted")}

    @classmethod
    def from_description(cls, described: dict[str, Any]) -> _Source:
        """The source that `describe` described. Raises ValueError if it is not one."""
        check_values(described, SOURCE_DESCRIBED, "a source of lines")
        values = {key: value for key, value in described.items() if key in SOURCE_DESCRIBED and key != "name"}
        for key in ("ahead", "counted"):
            values[key] = [tuple(pair) for pair in values[key]]
        values["gaps"] = [_Gap(*numbers) for numbers in values["gaps"]]
        source = cls(**values)
        mark = math.inf if source.mark is None else source.mark
        limits = ((source.ahead, BELIEVED - 1), (source.away, 9), (source.gaps, MAX_GAPS))
        is_possible = (
            all(len(each) <= most for each, most in (*limits, (source.left, MAX_LEFT), (source.counted, MAX_LEFT)))
            and source.ahead == sorted(source.ahead)
            and all(seconds > mark for seconds, _ in source.ahead[:1])
            and all(gap.begin <= gap.end <= gap.begin + MAX_SECONDS for gap in source.gaps)
        )
        if not is_possible:
            raise ValueError(f"a source of lines cannot be {described}")
        return source

    @classmethod
    def of_earlier(cls, values: list[Any], clocks: list[Any]) -> _Source:
        """The source that a version before 1.1 described, which knew several clocks: the one used last goes on."""
        number, n_lines, shared, seen, last, own, time, _ = values
        start = clocks[0][0] + own if clocks else 0.0
        source = cls(number, shared, seen, last, own, time, start, start if clocks else None)
        source.n_lines = n_lines
        check_values(source.describe(""), SOURCE_DESCRIBED, "a source of lines")
        return source


_ANY, _PASSED, _SHARED = Real(-FINITE, FINITE), Real(0, MAX_SECONDS), Real(-MAX_SECONDS, MAX_SECONDS)
_NUMBER = Whole(0, 2**53)
SOURCE_DESCRIBED = {
    "name": str,
    "number": _NUMBER,
    "n_lines": _NUMBER,
    "n_away": Whole(0, AWAY - 1),
    "proof": Whole(PROOF, MAX_PROOF),
    "shared": _SHARED,
    "seen": _SHARED,
    "last": _ANY,
    "own": _PASSED,
    "time": _PASSED,
    "start": _ANY,
    "mark": Maybe(_ANY),
    "walked": Real(-AWAY * STEP, AWAY * STEP),
    "top": _ANY,
    "debt": _PASSED,
    "usual": Real(0, MAX_USUAL),
    "behind": Real(0, 1),
    "steps": (Real(0, FINITE),) * N_STEPS,
    "ahead": [(_ANY, _NUMBER)],
    "away": [_ANY],
    "left": [_ANY],
    "counted": [(_PASSED, _PASSED)],
    "gaps": [(_ANY, _ANY, _PASSED, *(_NUMBER,) * 4)],
}
DESCRIBED = {"now": _SHARED, "n_sources": _NUMBER, "unnamed": bool, "sources": [object]}
"""What `LogClock.describe` returns; see `ranges`."""


class LogClock:
    """The time of each source of a log, and that of all sources, which is what has passed since the first line.

    now  the time of all sources, in seconds: that of the source in which most has passed, counted from where the time
         of all sources was when it began. A source that begins at a time at which another one was, or at most an hour
         before, is taken to have the clock of that one: it counts when it comes to a later time. So files that are
         read one after the other and cover the same time count once.

    Time never goes back. Clocks in one source that run as true time does, each wrong by any constant, in whatever order
    their lines come, let pass no more than true time, and what they differ by, as far as that looks like gaps that no
    line has refuted yet: a few hours at most in what was measured, until it is taken back. Less can pass.

    - Clocks behind the one that is furthest ahead cost nothing, nor do fewer than BELIEVED wrong times in a row.
    - A clock that is set back or by years counts from AWAY lines later; one that is set forward by LONGEST_GAP or less
      cannot be told from a gap: it counts in its source, and in the time of all sources up to MAX_GAP_SECONDS.
    - A gap counts PROOF + BELIEVED lines after its end, and later the more lines are behind the mark.

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
            if source.mark is None:
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
        if source.mark is not None:
            waited = min(max(seconds - source.last, 0.0), MAX_SECONDS / 10)
            source.time = min(max(source.time, source.own + waited), MAX_SECONDS)
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
            each.shared - (each.mark - seconds)
            for each in islice(reversed(self._sources.values()), MAX_COMPARED)
            if each.mark is not None and each.start - MAX_GAP_SECONDS <= seconds <= each.mark
        ]
        return max(places, default=self.now)

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `from_description`."""
        sources = [source.describe(name) for name, source in self._sources.items()]
        return {"now": self.now, "n_sources": self._n_sources, "sources": sources, "unnamed": self._is_unnamed}

    @classmethod
    def from_description(cls, described: dict[str, Any]) -> LogClock:
        """The clock that `describe` described. Raises ValueError, TypeError or KeyError if it is not one."""
        check_values(described, DESCRIBED, "the clock")
        clock = cls()
        clock.now, clock._n_sources, clock._is_unnamed = (described[key] for key in ("now", "n_sources", "unnamed"))
        for each in described["sources"]:
            is_now = isinstance(each, dict)
            source = _Source.from_description(each) if is_now else _Source.of_earlier(each[1], each[2])
            clock._sources[each["name"] if is_now else str(each[0])] = clock._times[source.number] = source
        n = len(clock._sources)
        if not n == len(clock._times) <= MAX_SOURCES or any(each >= clock._n_sources for each in clock._times):
            raise ValueError(f"a clock cannot have {len(described['sources'])} such sources")
        return clock

    @classmethod
    def of_version_1_0(cls, seconds: float | None, time: float) -> LogClock:
        """The clock of version 1.0: one source, of which this is the latest time, and how much has passed in it.

        The first source that has a line next continues it. Raises ValueError for impossible times.
        """
        check_values([seconds, time], (Maybe(_ANY), _PASSED), "the clock")
        clock = cls()
        source, clock._is_unnamed = clock._begin(""), True
        source.own = source.time = time
        if seconds is not None:
            clock.observe(seconds)
            clock._is_unnamed = True
        return clock
