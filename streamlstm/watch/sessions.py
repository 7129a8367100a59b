"""Watch the sessions of a log: which of them cost more bits than usual, by their lines, their number and their order.

A session is the lines that have something in common, for example the name of a request or of a block of data. A limited
number of sessions are open; they end when they are idle. The lines are taken as event types
(`templates.event_type_of`), so that reading one costs microseconds; the network reads the text of a type once, when it
comes first. The score of a session is in bits:

- content: what the text of each type costs that no earlier session had, predicted after the types known so far;
- number and order of the types: see `event_scores`.

Its z says how far the score lies above the median of recent sessions, in robust standard deviations: the upper
quartile minus the median over 0.6745, but at least MIN_DEVIATION. A session is flagged if its z exceeds the threshold
and enough sessions were seen before. Flagged sessions are not learned from, unless they come in a burst.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from ..checkpoint import read_checkpoint, write_checkpoint
from ..predictor import StreamPredictor
from ..ranges import FINITE, Maybe, Real, Whole, check_count, check_number, check_values
from ..system.files import check_target
from .budget import Budget, lower_edge
from .event_scores import EventNumbers, EventOrder
from .keyed_streams import MAX_KEY_LENGTH, KeyPattern, without_word
from .lines import BURST_LINES, History
from .log_clock import LogClock, Place, check_source, checked_seconds
from .templates import MAX_TYPES, EventTypes, event_type_of
from .verdicts import alarm_id
from .watcher import MAX_LINE_BYTES, WARMUP, BaseWatcher

MAX_ORDERED = 1000
"""The order of this many lines of a session is kept; further lines are only counted."""

MAX_NEW = 100
"""So many new event types of a session are kept; further ones only count as new."""

_SYMBOL = Whole(-MAX_NEW, MAX_TYPES)
OPEN_DESCRIBED = ([_SYMBOL], [(_SYMBOL, Whole(1))], [(str, Real(0))], Real(-FINITE, FINITE), Whole(), Whole())
"""What `OpenSession.describe` returns; see `ranges`."""


@dataclass
class OpenSession:
    """The events of a session so far.

    symbols  the type of each event, at most MAX_ORDERED: that of a known type, or -1 - i for the i-th of `new`
    counts   how often each symbol occurred
    new      the event types that were not known when they came, with what their text cost in bits
    seconds  when the last event came, by the time of its source
    n_lines  how many there were
    number   the number of the session, in the order in which they began
    source   the number of the source of the last event, by the clock of `OpenSessions`
    line     the number of the last event in its source
    """

    symbols: array[int] = field(default_factory=lambda: array("i"))
    counts: Counter[int] = field(default_factory=Counter)
    new: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    n_lines: int = 0
    number: int = 0
    source: int = -1
    line: int = 0

    def add(self, symbol: int) -> None:
        """Add an event of a known type."""
        self.n_lines += 1
        self.counts[symbol] += 1
        if len(self.symbols) < MAX_ORDERED:
            self.symbols.append(symbol)

    def add_new(self, event_type: str, bits: float) -> None:
        """Add an event of a type that is not known."""
        if event_type not in self.new and len(self.new) < MAX_NEW:
            self.new[event_type] = bits
        names = list(self.new)
        self.add(-1 - names.index(event_type) if event_type in self.new else 0)

    def resolved(self, known: dict[str, int]) -> tuple[list[int], Counter[int], dict[str, float]]:
        """Symbols, counts and new types, with what is known by now; what is new has the symbol 0."""
        symbol_of = {-1 - index: known.get(name, 0) for index, name in enumerate(self.new)}
        counts: Counter[int] = Counter()
        for symbol, n in self.counts.items():
            counts[symbol_of.get(symbol, symbol)] += n
        symbols = [symbol_of.get(symbol, symbol) for symbol in self.symbols]
        return symbols, counts, {name: bits for name, bits in self.new.items() if name not in known}

    def describe(self) -> list[Any]:
        """The state as JSON values, for `from_description`."""
        new = list(self.new.items())  # a list: their order counts
        return [self.symbols.tolist(), list(self.counts.items()), new, self.seconds, self.n_lines, self.number]

    @classmethod
    def from_description(cls, described: list[Any], n_types: int) -> OpenSession:
        """The session that `describe` described, with `n_types` known types.

        Raises ValueError if it is not one.
        """
        check_values(described, OPEN_DESCRIBED, "a session")
        symbols, counts, new, seconds, n_lines, number = described
        counted, named = Counter(dict(counts)), dict(new)
        possible = range(-len(named), n_types + 1)
        if len(named) > MAX_NEW or len(symbols) > MAX_ORDERED or any(s not in possible for s in (*symbols, *counted)):
            raise ValueError(f"a session has {len(symbols)} symbols in order and {len(named)} new types")
        if any(n < 1 for n in counted.values()) or counted.total() != n_lines:
            raise ValueError(f"a session of {n_lines} lines has the counts {list(counted.values())[:20]}")
        return cls(array("i", symbols), counted, named, seconds, n_lines, number)


class OpenSessions:
    """The open sessions by their name, that with the oldest last event first.

    idle_seconds  a session has ended if, by the clock, more than this has passed in the source of its last event
    max_open      the number of sessions to keep; of more, the one whose last event is the oldest ends
    clock         tells the time of each source

    When the clock finds that a gap came before the last few lines, their sessions count as if all had come last: they
    end late by the time between these lines, and never early.

    >>> clock = LogClock()
    >>> sessions = OpenSessions(idle_seconds=60.0, max_open=2, clock=clock)
    >>> for name, seconds in (("a", 0.0), ("b", 50.0), ("a", 90.0), ("", 120.0)):
    ...     place = clock.observe(seconds)
    ...     ended = list(sessions.ended(place))
    ...     if name:
    ...         sessions.get(name, place).add(1)
    >>> [(name, session.n_lines) for name, session in ended], len(sessions)
    ([('b', 1)], 1)
    """

    def __init__(self, idle_seconds: float, max_open: int, clock: LogClock) -> None:
        self._idle_seconds, self._max_open, self._clock = idle_seconds, max_open, clock
        self._sessions: OrderedDict[str, OpenSession] = OrderedDict()
        self._by_source: dict[int, OrderedDict[str, OpenSession]] = {}  # in the same order
        self._n_begun = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, name: str, place: Place) -> OpenSession:
        """The session of this name, to which the event at this place is added now; a new one if it is not open."""
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = OpenSession(number=self._n_begun)
            self._n_begun += 1
        else:
            self._leave_source(name, session)
        session.source, session.line = place.source, place.line
        session.seconds = self._clock.time(place.source) or 0.0
        self._sessions.move_to_end(name)
        self._by_source.setdefault(place.source, OrderedDict())[name] = session
        return session

    def ended(self, place: Place) -> Iterator[tuple[str, OpenSession]]:
        """Take out the sessions that have ended now that there is an event at this place: those that are too many,
        those of a source that was forgotten, and those that were idle in the source of the event."""
        time, same = self._clock.time(place.source), self._by_source.get(place.source, OrderedDict())
        if time is not None and place.since >= 0:
            for session in takewhile(lambda each: each.line >= place.since, reversed(same.values())):
                session.seconds = time
        while self._sessions:
            name, session = next(iter(self._sessions.items()))
            if len(self._sessions) <= self._max_open and self._clock.time(session.source) is not None:
                break
            yield name, self._take_out(name)
        while same and time is not None:
            name, session = next(iter(same.items()))
            if time - session.seconds <= self._idle_seconds:
                break
            yield name, self._take_out(name)

    def all_ended(self) -> Iterator[tuple[str, OpenSession]]:
        """Take out all sessions, in the order in which they began."""
        for name in sorted(self._sessions, key=lambda each: self._sessions[each].number):
            yield name, self._take_out(name)

    def _take_out(self, name: str) -> OpenSession:
        session = self._sessions.pop(name)
        self._leave_source(name, session)
        return session

    def _leave_source(self, name: str, session: OpenSession) -> None:
        same = self._by_source[session.source]
        del same[name]
        if not same:
            del self._by_source[session.source]

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `restore`; the clock is not in it."""
        sessions = [[name, *session.describe()] for name, session in self._sessions.items()]
        places = [[session.source, session.line] for session in self._sessions.values()]
        return {"n_begun": self._n_begun, "sessions": sessions, "places": places}

    def restore(self, described: dict[str, Any], n_types: int, clock: LogClock) -> None:
        """Continue from what `describe` returned, with `n_types` known types and the clock that was used with it.

        Raises ValueError, with nothing changed, if it is not that.
        """
        named = {"n_begun": Whole(), "sessions": [(str, *OPEN_DESCRIBED)], "places?": [(Whole(), Whole())]}
        check_values(described, named, "the open sessions")
        sessions = [(name, OpenSession.from_description(each, n_types)) for name, *each in described["sessions"]]
        places = described.get("places", [[0, 0]] * len(sessions))  # version 1.0 knew one source
        for (_, session), (source, line) in zip(sessions, places, strict=True):
            session.source, session.line = source, line
        self._n_begun, self._sessions, self._clock = described["n_begun"], OrderedDict(sessions), clock
        self._by_source = {}
        for name, session in self._sessions.items():
            self._by_source.setdefault(session.source, OrderedDict())[name] = session


IDLE_SECONDS = 300.0
MAX_OPEN = 10_000
MIN_DEVIATION = 2.0
"""The smallest robust standard deviation, in bits."""

REASON_BITS = 4.0
"""A number or a step of the order that costs less than this is no reason."""

DESCRIBED = {
    "types": dict,
    "open": dict,
    "numbers": dict,
    "order": dict,
    "scores": dict,
    "counts": [Whole()],
    "n": (Whole(), Whole(), Whole(0, BURST_LINES), Whole(0, 1)),
    "budget": Maybe(dict),
    "clock?": dict,
    "has_regex?": bool,
    "position": object,
    "verdicts?": object,
}
"""What `SessionWatcher.save` saves; see `ranges`."""


@dataclass(frozen=True)
class EndedSession:
    """A session that has ended.

    session      its name
    score        its surprisal in bits: the sum of the next three
    content      what the text of its new event types costs
    number       what the numbers of its events cost
    order        what their order costs
    reasons      what costs most, in words
    n_lines      the number of its lines
    z            robust standard deviations above the median of recent sessions
    flagged      whether the session is unusual: its z exceeds the threshold, and the warm-up is over
    raised       whether it is an alarm: it is flagged and, with a budget, the budget allows it
    n_before     for an alarm, how many sessions with the same first reason were flagged but not raised before
    probability  for a flagged session, the fraction of recent ones with a score about as high or higher
    verdict      what a reader has said of sessions of its kind: "normal", "watch", "mute", or "" for nothing
    """

    session: str
    score: float
    content: float
    number: float
    order: float
    reasons: list[str]
    n_lines: int
    z: float = 0.0
    flagged: bool = False
    raised: bool = False
    n_before: int = 0
    probability: float | None = None
    verdict: str = ""

    @property
    def kind(self) -> str:
        """What sessions of a kind have in common: the first reason, "" if there is none."""
        return self.reasons[0] if self.reasons else ""

    @property
    def id(self) -> str:
        """The id by which a verdict names the alarms of this kind, the same in all runs and versions."""
        return alarm_id(self.kind)


class SessionWatcher(BaseWatcher):
    """Score sessions, and flag those that are unusual compared with recent ones.

    predictor      used and modified by the watcher
    session_regex  the session of a line is the match of this regular expression (of its first group, if it has one);
                   None: the caller names the session in `observe`. The match is not part of the type of the line; of a
                   name that the caller gives, whole words are not.
    idle_seconds   a session without a line for longer than this has ended, by the times passed to `observe`, in the
                   source of its last line
    max_open       the number of open sessions to keep; of more, the one that was idle longest ends
    threshold      sessions with a larger z are flagged
    warmup         sessions before any is flagged
    learn_flagged  also learn from flagged sessions
    alarms         a budget, as that of `Watcher`; a number of lines is one of sessions here

    `position` is JSON-serialisable, and saved and restored with the watcher: for the caller's position in its input.

    Memory is bounded. Raises ValueError for an option that is out of range or not a valid regular expression.

    >>> from streamlstm import Config, StreamPredictor
    >>> watcher = SessionWatcher(StreamPredictor(config=Config(hidden=16, layers=1)), session_regex=r"job-\\d+")
    >>> usual = [[f"job-{n} begins", f"job-{n} reads", f"job-{n} reads", f"job-{n} ends"] for n in range(100)]
    >>> watcher.fit(usual)
    >>> watcher.score(usual[0]) < 2, watcher.score(usual[0][:3]) > 6, watcher.score(["job-7 on fire", *usual[0]]) > 20
    (True, True, True)
    >>> [ended for line in usual[7][:2] for ended in watcher.observe(line)]
    []
    >>> [(ended.session, ended.flagged, ended.reasons) for ended in watcher.finish()]
    [('job-7', True, ['1 × # reads'])]
    """

    def __init__(
        self,
        predictor: StreamPredictor,
        *,
        session_regex: str | None = None,
        idle_seconds: float = IDLE_SECONDS,
        max_open: int = MAX_OPEN,
        threshold: float | None = None,
        warmup: int = WARMUP,
        learn_flagged: bool = False,
        alarms: str | Budget | None = None,
    ) -> None:
        super().__init__(predictor, threshold, warmup, learn_flagged, alarms)
        idle_seconds = check_number("idle_seconds", idle_seconds, 0, math.inf, above=True)
        max_open = check_count("max_open", max_open, 1, floats=True)
        self._pattern, self._has_regex = KeyPattern(session_regex), session_regex is not None
        self._open = OpenSessions(idle_seconds, max_open, self._clock)
        self._types = EventTypes(predictor)
        self._numbers, self._order = EventNumbers(), EventOrder()
        self._history, self._is_fitted = History(), False
        self._n_sessions, self._n_outside = 0, 0

    def __repr__(self) -> str:
        counts = f"{self._n_sessions:,} sessions, {self._counts.flagged:,} flagged, {len(self._open):,} open"
        return f"<{type(self).__name__}: {counts}, {self._predictor!r}>"

    @property
    def n_sessions(self) -> int:
        """The number of sessions that have ended."""
        return self._n_sessions

    @property
    def n_open(self) -> int:
        """The number of open sessions."""
        return len(self._open)

    @property
    def n_outside(self) -> int:
        """The number of lines that belong to no session; they are not scored."""
        return self._n_outside

    def fit(self, sessions: Iterable[Sequence[str | bytes]]) -> None:
        """Learn from whole sessions, lists of lines, that are known to be usual; the warm-up is then over.

        Raises ValueError, with nothing changed, if the vocabulary lacks a symbol.
        """
        types: dict[str, str] = {}  # one object for each, as there can be many lines
        read = [[types.setdefault(each, each) for each in self._types_of(lines)] for lines in sessions]
        for event_type in types:
            self._types.check(event_type)
        for event_types in read:
            session = self._whole(event_types, self._types.bits)
            self._scores.add(self._scored("", session).score)
            self._learn(session)
            self._is_fitted = True

    def score(self, session: Sequence[str | bytes]) -> float:
        """The surprisal of a whole session, a list of lines, in bits. Changes nothing."""
        return self._scored("", self._whole(self._types_of(session), self._types.foreseen_bits)).score

    def observe(
        self, line: str | bytes, *, session: str | None = None, seconds: float | None = None, source: str = ""
    ) -> list[EndedSession]:
        """Take the next line. Returns the sessions that have ended by now.

        session  the session of the line; default: what `session_regex` finds
        seconds  the time of the line, None if it is not known; only differences between lines of a source matter
        source   where the line comes from, such as a file or a host: sources may have different clocks

        Raises, with nothing changed: ValueError if the vocabulary lacks a symbol or `seconds` is not a time, and
        TypeError for a source that is not a str.
        """
        line, seconds = _text_of(line), checked_seconds(seconds)
        check_source(source)
        name, event_type = self._read(line, session)
        symbol = self._types.symbols.get(event_type)
        bits = self._types.bits(event_type) if name and symbol is None else 0.0
        place = self._clock.observe(seconds, source)
        counts = self._counts
        self._counts = counts._replace(lines=counts.lines + 1, characters=counts.characters + len(line) + 1)
        ended = self._end(self._open.ended(place))
        if not name:
            self._n_outside += 1
            return ended
        opened = self._open.get(name, place)
        symbol = self._types.symbols.get(event_type)  # known by now, if a session that ended had it
        if symbol is None:
            opened.add_new(event_type, bits)
        else:
            opened.add(symbol)
        return ended + self._end(self._open.ended(Place(place.source, place.line)))

    def pass_time(self, seconds: float, *, source: str = "") -> list[EndedSession]:
        """The sessions that have ended because no line came from a source until its clock showed this time.

        Raises ValueError, with nothing changed, if `seconds` is not a time.
        """
        time = checked_seconds(seconds)
        check_source(source)
        return [] if time is None else self._end(self._open.ended(self._clock.wait(time, source)))

    def finish(self) -> list[EndedSession]:
        """End all open sessions, at the end of the input."""
        return self._end(self._open.all_ended())

    def _whole(self, event_types: Iterable[str], bits_of: Callable[[str], float]) -> OpenSession:
        """The session of all these events; `bits_of` tells what the text of a new type costs."""
        session = OpenSession()
        for event_type in event_types:
            symbol = self._types.symbols.get(event_type)
            if symbol is None:
                session.add_new(event_type, bits_of(event_type))
            else:
                session.add(symbol)
        return session

    def _types_of(self, lines: Sequence[str | bytes]) -> list[str]:
        """The event types of the lines of a whole session."""
        return [self._read(_text_of(line), None)[1] for line in lines]

    def _read(self, line: str, session: str | None) -> tuple[str, str]:
        """The name of the session of a line, and the event type of the line: the name is not part of it."""
        if session is not None:
            name = session[:MAX_KEY_LENGTH]
            return name, event_type_of(without_word(line, name))
        name, replaced = self._pattern.replaced(line)
        return name, event_type_of(replaced)

    def _end(self, sessions: Iterable[tuple[str, OpenSession]]) -> list[EndedSession]:
        return [self._judged(name, session) for name, session in sessions]

    def _judged(self, name: str, session: OpenSession) -> EndedSession:
        found = self._scored(name, session)
        is_warm = self._is_fitted or self._n_sessions >= self._warmup
        z = self._z(found.score)
        if is_warm and self._keeper is not None:
            self._keeper.receive(self._clock.now)
        judged = self._judge(z, found.kind, is_warm=is_warm)
        unusual = judged.is_unusual and judged.decision != "normal"
        if not unusual or self._learn_flagged or self._history.is_burst:
            self._learn(session)
        self._history.count(unusual)
        self._scores.add(found.score)
        probability = self._scores.count_from(found.score) / self._scores.n_lines if judged.is_flagged else None
        self._n_sessions += 1
        self._count(judged)
        flagged, raised, n_before = judged.is_flagged, judged.is_raised, judged.n_before
        found = replace(found, z=z, flagged=flagged, raised=raised, n_before=n_before)
        return replace(found, probability=probability, verdict=judged.decision)

    def _z(self, score: float) -> float:
        n = self._scores.n_lines
        if not n:
            return 0.0
        median = lower_edge(self._scores.bin_exceeded_by(n // 2))
        upper = lower_edge(self._scores.bin_exceeded_by(n // 4))
        return (score - median) / max((upper - median) / 0.6745, MIN_DEVIATION)

    def _scored(self, name: str, session: OpenSession) -> EndedSession:
        """The session with its score."""
        symbols, counts, new = session.resolved(self._types.symbols)
        number, order = self._numbers.cost(counts), self._order.cost(symbols)
        content = 0.0
        for bits in new.values():
            content += bits
        reasons = [f"new: {each}" for each in sorted(new, key=lambda each: -new[each])[:3]]
        if number.symbol > 0 and number.bits > REASON_BITS:
            reasons.append(f"{counts[number.symbol]} × {self._types.name(number.symbol)}")
        if order.step >= 0 and order.bits > REASON_BITS:
            before = self._types.name(symbols[order.step - 1]) if order.step else "the beginning"
            reasons.append(f"{self._types.name(symbols[order.step])} after {before}")
        total = content + number.bits + order.bits
        return EndedSession(name, total, content, number.bits, order.bits, reasons, session.n_lines)

    def _learn(self, session: OpenSession) -> None:
        self._types.learn(session.new)
        symbols, counts, _ = session.resolved(self._types.symbols)
        self._numbers.add(counts)
        self._order.add(symbols)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything needed to continue to one file, atomically; it is also a model for `StreamPredictor.load`.

        Raises OSError if `path` cannot be written, ValueError if this was loaded from the file of a `Watcher`, whose
        state it would erase there.
        """
        check_target(path)
        self._check_other(path)
        arrays, values = self._predictor.to_checkpoint()
        write_checkpoint(path, arrays, {**values, "sessions": self._describe()})

    def _describe(self) -> dict[str, Any]:
        return {
            **self._state(),
            "types": self._types.describe(),
            "open": self._open.describe(),
            "numbers": self._numbers.describe(),
            "order": self._order.describe(),
            "n": [self._n_sessions, self._n_outside, self._history.streak, int(self._is_fitted)],
            "has_regex": self._has_regex,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], **options: Any) -> SessionWatcher:
        """The watcher that `save` wrote, which continues to the last bit; for any other model, a new watcher.

        options  those of `SessionWatcher`, which are not saved

        Raises OSError if the file cannot be read; ValueError if it is not a whole, valid checkpoint, or if a watcher
        with a `session_regex` saved it, in version 1.1 or later, and none is given.
        """
        watcher = cls(StreamPredictor.load(path), **options)
        watcher.restore(path)
        return watcher

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Continue with the sessions that `save` wrote to `path`; do nothing if it is any other model.

        The watcher must be new, and its predictor loaded from the same file. Raises OSError and ValueError as `load`
        does.
        """
        _, values = read_checkpoint(path)
        if "sessions" not in values:
            if "watch" in values:
                self._note_other(path, "the lines that a Watcher has watched")
            return
        saved = values["sessions"]
        try:
            check_values(saved, DESCRIBED, "the watcher")
            clock = _clock_of(saved)
            self._types.restore(saved["types"])
            n_types = len(self._types.symbols)
            numbers = EventNumbers.from_description(saved["numbers"], n_types)
            order = EventOrder.from_description(saved["order"])
            self._open.restore(saved["open"], n_types, clock)
            self._restore_state(saved, clock)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
            raise ValueError(f"{path} is not a usable model: its sessions are inconsistent: {error!r}") from None
        if saved.get("has_regex") and not self._has_regex:
            raise ValueError(f"{path} has sessions by a regular expression; give it again (session_regex)")
        self._numbers, self._order = numbers, order
        self._n_sessions, self._n_outside, streak, is_fitted = saved["n"]
        self._history, self._is_fitted = History(streak=streak), bool(is_fitted)


def _text_of(line: str | bytes) -> str:
    """A line as text, without its newline, truncated."""
    line = line if isinstance(line, str) else line[:MAX_LINE_BYTES].decode("utf-8", "surrogateescape")
    return line[:MAX_LINE_BYTES].rstrip("\n")


def _clock_of(saved: dict[str, Any]) -> LogClock:
    """The clock that was saved. Raises ValueError, TypeError or KeyError if it is not one."""
    if "clock" in saved:
        return LogClock.from_description(saved["clock"])
    return LogClock.of_version_1_0(saved["open"]["time"], saved["open"]["clock"])
