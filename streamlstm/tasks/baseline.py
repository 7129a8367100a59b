"""What is usual of late: the median and the spread of the recent scores of a stream of lines, and their length."""

from collections import deque
from collections.abc import Iterable
from typing import Any

FEWEST, RECENT = 50, 500
"""The baseline is the latter half of the lines, at least and at most so many: the first ones, from which most was
learned, say little of what is usual later."""


class Baseline:
    """The median and the MAD of the RECENT last scores; O(log n) to add one and O(log² n) to ask, n the steps.

    Scores are counted in steps of 1/512 bit up to 32 bits, in a tree of partial sums (Fenwick 1994).
    """

    STEPS, LEVELS = 512, 14

    def __init__(self, recent: Iterable[int] = (), n_scores: int = 0, mean_length: float = 1.0) -> None:
        self._counts = [0] * ((1 << self.LEVELS) + 1)
        self.recent: deque[int] = deque(recent)
        self.n_scores = n_scores  # over all saves and loads
        self.mean_length = mean_length  # of the lines, in characters; older ones count less and less
        for place in self.recent:
            self._change(place, 1)

    def describe(self) -> dict[str, Any]:
        """What makes a baseline like this one."""
        return {"recent": list(self.recent), "n_scores": self.n_scores, "mean_length": self.mean_length}

    def add(self, score: float, length: int) -> None:
        """Count the score of a line; the oldest is dropped if it is not recent any more."""
        place = min(int(score * self.STEPS), (1 << self.LEVELS) - 1)
        self.recent.append(place)
        self._change(place, 1)
        self.n_scores += 1
        self.mean_length += (max(length, 1) - self.mean_length) / min(self.n_scores, RECENT)
        if len(self.recent) > min(max(self.n_scores // 2, FEWEST), RECENT):
            self._change(self.recent.popleft(), -1)

    def median_and_mad(self) -> tuple[float, float]:
        """Both in bits; of an even number of scores the lower of the two in the middle."""
        rank = (len(self.recent) + 1) // 2
        median = self._place_of(rank)
        low, high = -1, 1
        while self._within(median, high) < rank:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if self._within(median, middle) < rank:
                low = middle
            else:
                high = middle
        return median / self.STEPS, high / self.STEPS

    def _change(self, place: int, by: int) -> None:
        place += 1
        while place < len(self._counts):
            self._counts[place] += by
            place += place & -place

    def _within(self, place: int, distance: int) -> int:
        """How many scores lie at most so far from this place."""
        return self._up_to(place + distance) - self._up_to(place - distance - 1)

    def _up_to(self, place: int) -> int:
        """How many scores lie at this place or below."""
        place, count = min(place + 1, 1 << self.LEVELS), 0
        while place > 0:
            count += self._counts[place]
            place &= place - 1
        return count

    def _place_of(self, rank: int) -> int:
        """The place of the score with this rank, from 1."""
        place = 0
        for level in range(self.LEVELS, -1, -1):
            following = place + (1 << level)
            if following < len(self._counts) and self._counts[following] < rank:
                place = following
                rank -= self._counts[following]
        return place
