"""The sessions that have begun and not ended yet: a limited number of them, which end when they are idle."""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_ORDERED = 1000
"""The order of this many lines of a session is kept; further lines are only counted."""

MAX_NEW = 100
"""So many new event types of a session are kept; further ones only count as new."""


@dataclass
class OpenSession:
    """The events of a session so far.

    symbols  the type of each event, at most MAX_ORDERED: that of a known type, or -1 - i for the i-th of `new`
    counts   how often each symbol occurred
    new      the event types that were not known when they came, with what their text cost in bits
    seconds  when the last event came, by the clock of `OpenSessions`
    n_lines  how many there were
    number   the number of the session, in the order in which they began
    """

    symbols: array[int] = field(default_factory=lambda: array("i"))
    counts: Counter[int] = field(default_factory=Counter)
    new: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    n_lines: int = 0
    number: int = 0

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

        Raises ValueError or TypeError if it is not one.
        """
        symbols, counts, new, seconds, n_lines, number = described
        counted = Counter({int(symbol): int(n) for symbol, n in counts})
        named = {str(name): float(bits) for name, bits in new}
        possible = range(-len(named), n_types + 1)
        if len(named) > MAX_NEW or len(symbols) > MAX_ORDERED or any(s not in possible for s in (*symbols, *counted)):
            raise ValueError(f"a session has {len(symbols)} symbols in order and {len(named)} new types")
        if any(n < 1 for n in counted.values()) or counted.total() != n_lines:
            raise ValueError(f"a session of {n_lines} lines has the counts {list(counted.values())[:20]}")
        return cls(array("i", symbols), counted, named, float(seconds), int(n_lines), int(number))


class OpenSessions:
    """The open sessions by their name, that with the oldest last event first.

    idle_seconds  a session without an event for longer than this has ended
    max_open      the number of sessions to keep; of more, the one that was idle longest ends

    Time is the sum of the differences between the times of events, each from 0 to 2 · idle_seconds: a clock that jumps
    ends at most the sessions that are open.

    >>> sessions = OpenSessions(idle_seconds=60.0, max_open=2)
    >>> for name, seconds in (("a", 0.0), ("b", 50.0), ("a", 90.0)):
    ...     sessions.pass_time(seconds)
    ...     sessions.get(name).add(1)
    >>> sessions.pass_time(120.0)
    >>> [(name, session.n_lines) for name, session in sessions.ended()], len(sessions)
    ([('b', 1)], 1)
    """

    def __init__(self, idle_seconds: float, max_open: int) -> None:
        self._idle_seconds, self._max_open = idle_seconds, max_open
        self._sessions: OrderedDict[str, OpenSession] = OrderedDict()
        self._clock, self._n_begun = 0.0, 0
        self._time: float | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def pass_time(self, seconds: float | None) -> None:
        """Move on to the time of an event, in seconds; None if it is not known, and then no time passes."""
        if seconds is None:
            return
        if self._time is not None:
            self._clock += min(max(seconds - self._time, 0.0), 2 * self._idle_seconds)
        self._time = seconds

    def get(self, name: str) -> OpenSession:
        """The session of this name, to which an event is added now; a new one if it is not open."""
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = OpenSession(number=self._n_begun)
            self._n_begun += 1
        self._sessions.move_to_end(name)
        session.seconds = self._clock
        return session

    def ended(self) -> Iterator[tuple[str, OpenSession]]:
        """Take out the sessions that have ended, those that were idle longest first."""
        while self._sessions:
            name, session = next(iter(self._sessions.items()))
            if len(self._sessions) <= self._max_open and self._clock - session.seconds <= self._idle_seconds:
                return
            del self._sessions[name]
            yield name, session

    def all_ended(self) -> Iterator[tuple[str, OpenSession]]:
        """Take out all sessions, in the order in which they began."""
        for name in sorted(self._sessions, key=lambda each: self._sessions[each].number):
            yield name, self._sessions.pop(name)

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `restore`."""
        sessions = [[name, *session.describe()] for name, session in self._sessions.items()]
        return {"clock": self._clock, "time": self._time, "n_begun": self._n_begun, "sessions": sessions}

    def restore(self, described: dict[str, Any], n_types: int) -> None:
        """Continue from what `describe` returned, with `n_types` known types.

        Raises ValueError, TypeError or KeyError if it is not that.
        """
        sessions = [(str(name), OpenSession.from_description(each, n_types)) for name, *each in described["sessions"]]
        clock, time, n_begun = float(described["clock"]), described["time"], int(described["n_begun"])
        self._time = None if time is None else float(time)
        self._clock, self._n_begun, self._sessions = clock, n_begun, OrderedDict(sessions)
