"""The sessions that have begun and not ended yet: a limited number of them, which end when they are idle."""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from ..ranges import FINITE, Real, Whole, check_values
from .event_types import MAX_TYPES
from .log_clock import LogClock, Place

MAX_ORDERED = 1000
"""The order of this many lines of a session is kept; further lines are only counted."""

MAX_NEW = 100
"""So many new event types of a session are kept; further ones only count as new."""

_SYMBOL = Whole(-MAX_NEW, MAX_TYPES)
DESCRIBED = ([_SYMBOL], [(_SYMBOL, Whole(1))], [(str, Real(0))], Real(-FINITE, FINITE), Whole(), Whole())
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
        check_values(described, DESCRIBED, "a session")
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
        named = {"n_begun": Whole(), "sessions": [(str, *DESCRIBED)], "places?": [(Whole(), Whole())]}
        check_values(described, named, "the open sessions")
        sessions = [(name, OpenSession.from_description(each, n_types)) for name, *each in described["sessions"]]
        places = described.get("places", [[0, 0]] * len(sessions))  # version 1.0 knew one source
        for (_, session), (source, line) in zip(sessions, places, strict=True):
            session.source, session.line = source, line
        self._n_begun, self._sessions, self._clock = described["n_begun"], OrderedDict(sessions), clock
        self._by_source = {}
        for name, session in self._sessions.items():
            self._by_source.setdefault(session.source, OrderedDict())[name] = session
