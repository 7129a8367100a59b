"""A part of a log, from one time to another: which of its lines lie in it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import NamedTuple

from .timestamps import EPOCH, ShownTime, iso_shown, shown_time

DAY, YEAR = 86_400.0, 366 * 86_400.0
"""After so much, a time without a date, or without a year, is shown again: `shown_time` puts the latter in 1972."""

_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?", re.ASCII)


class Bound(NamedTuple):
    """A time that a user gave: with a date, or a time of day.

    time      with a date as it is, or on 1 January 1970
    is_clock  whether it is a time of day
    """

    time: ShownTime
    is_clock: bool

    @classmethod
    def of(cls, name: str, text: str) -> Bound:
        """The bound in a text. Raises ValueError with the name of what was given, if it is none."""
        clock = _CLOCK.fullmatch(text)
        time = iso_shown(f"1970-01-01 {clock[1]:0>2}{text[clock.end(1) :]}" if clock else text)
        if time is None:
            example = "a date and time such as 2026-11-26 22:40, or a time of day such as 22:40"
            raise ValueError(f"{name} must be {example}, not {text!r}")
        return cls(time, clock is not None)

    def after(self, start: ShownTime, period: float) -> ShownTime:
        """The time that is meant, in a log whose times begin at `start` and recur after `period`, 0 if they do not."""
        seconds = self.time.seconds
        if self.is_clock or period == DAY:
            seconds = start.seconds - start.seconds % DAY + seconds % DAY
            seconds += DAY if (seconds, self.time.fraction) < start[:2] else 0
        elif period == YEAR:
            seconds = _nearest(_in_1972(seconds), start.seconds, YEAR)
        return self.time._replace(seconds=seconds)


class TimeWindow:
    """Tells of one line after the other whether its time lies in a part of the log.

    since  the first time, or "" for the beginning of the log
    until  the last time, or "" for the end of the log

    Both are a date and time in ISO 8601, or the beginning of one, or a time of day, HH:MM or HH:MM:SS: the first such
    time in the log, and for `until` the first one after `since`. Times are compared as the lines show them, or if both
    have an offset from UTC, as moments. A line without a time counts as the one before it. Times without a date or a
    year go on when the day or the year ends, if no gap is longer than half of it.

    `now` is the time of the last line, in seconds; None before the first time. Raises ValueError for any other text.

    >>> window = TimeWindow("22:40", "2026-11-27 00:10")
    >>> [window.take(f"2026-11-{time}") for time in ("26 21:00:01", "26 22:40:00", "26 23:00:00", "27 00:10:01")]
    [False, True, True, False]
    """

    def __init__(self, since: str = "", until: str = "") -> None:
        self._since = Bound.of("since", since) if since else None
        self._until = Bound.of("until", until) if until else None
        self._bounds: tuple[ShownTime | None, ShownTime | None] | None = None
        self._is_in = self._since is None
        self.now: float | None = None

    def take(self, stamp: str) -> bool:
        """Whether the next line, which has this time stamp, lies in the window."""
        time = shown_time(stamp) if stamp else None
        if time is None:
            return self._is_in
        period = DAY if time.seconds < DAY else YEAR if _year_is_missing(time) else 0.0
        if period and self.now is not None:
            time = time._replace(seconds=_nearest(time.seconds, self.now, period))
        self.now = time.seconds
        since, until = self._bounds = self._bounds or self._found(time, period)
        self._is_in = (since is None or time.is_from(since)) and (until is None or until.is_from(time))
        return self._is_in

    def _found(self, start: ShownTime, period: float) -> tuple[ShownTime | None, ShownTime | None]:
        since = self._since and self._since.after(start, period)
        return since, self._until and self._until.after(since or start, period)


def _year_is_missing(time: ShownTime) -> bool:
    return 2 * 365 * DAY <= time.seconds < 2 * 365 * DAY + YEAR


def _in_1972(seconds: float) -> float:
    """The same day and time of the year 1972, which has a 29 February."""
    return ((EPOCH + timedelta(seconds=seconds)).replace(year=1972) - EPOCH).total_seconds()


def _nearest(seconds: float, other: float, period: float) -> float:
    """The time nearest to another one, of those that lie a multiple of a period from `seconds`."""
    return seconds + period * round((other - seconds) / period)
