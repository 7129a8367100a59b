"""How far a reader is behind the end of its input."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

MARK_SECONDS = 1.0
"""The least time between two measurements that are kept."""

MAX_MARKS = 1_000
"""The most that are kept; of more, every second one is dropped."""


class Lag(NamedTuple):
    """How far a reader is behind.

    n_bytes  bytes that were written and not read
    n_lines  about as many lines, by the mean length of those read
    seconds  for how long at least the next line has been there
    """

    n_bytes: int
    n_lines: int
    seconds: float


class LagMeter:
    """Measures how long a reader has been behind, from where the end of the input was at which time.

    It needs no time stamps, and a monotonic clock, so that nothing depends on clocks being right.

    >>> meter = LagMeter()
    >>> meter.measure(n_read=0, n_unread=1000, n_lines=0, now=0.0)
    Lag(n_bytes=1000, n_lines=10, seconds=0.0)
    >>> meter.measure(n_read=500, n_unread=900, n_lines=50, now=30.0)
    Lag(n_bytes=900, n_lines=90, seconds=30.0)
    >>> meter.measure(n_read=1400, n_unread=0, n_lines=140, now=40.0).seconds
    0.0
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()  # a time, and where the end was then

    def measure(self, n_read: int, n_unread: int, n_lines: int, now: float) -> Lag:
        """The lag now.

        n_read    the number of bytes read so far
        n_unread  the number of bytes that are there and were not read
        n_lines   the number of lines read so far
        now       in seconds
        """
        end = n_read + n_unread
        marks = self._marks
        while marks and marks[0][1] <= n_read:
            marks.popleft()
        if n_unread and (not marks or (end > marks[-1][1] and now - marks[-1][0] >= MARK_SECONDS)):
            marks.append((now, end))
        if len(marks) > MAX_MARKS:
            self._marks = marks = deque(list(marks)[::2])
        mean = n_read / n_lines if n_lines else 100.0
        return Lag(n_unread, -(-n_unread // max(int(mean), 1)), now - marks[0][0] if n_unread and marks else 0.0)
