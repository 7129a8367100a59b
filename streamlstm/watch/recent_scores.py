"""How many of the recent lines had a score at least as high: a histogram in bounded memory, which forgets.

A score belongs to a bin, 32 to 64 of which cover a factor of two. Two tables of counts alternate: once the newer one
has `window` lines, it takes the place of the older one. So the histogram is of the last one to two windows. The
counts are integers and the bins follow from the bits of a score, so that all results are the same on every machine.
"""

import math
from typing import Any

from ..ranges import Whole, check_values

BINS_PER_OCTAVE = 64
MIN_EXPONENT, MAX_EXPONENT = -4, 15
N_BINS = 2 + (MAX_EXPONENT - MIN_EXPONENT) * BINS_PER_OCTAVE
"""Bin 0 is of scores below 2^(MIN_EXPONENT - 1) and of those that are not a number; the last one of those from
2^(MAX_EXPONENT - 1) on."""

_COUNTED = [(Whole(0, N_BINS - 1), Whole())]
DESCRIBED = {"newer": _COUNTED, "n_newer": Whole(), "older": _COUNTED, "n_older": Whole()}
"""What `RecentScores.describe` returns; see `ranges`."""


def bin_of(score: float) -> int:
    """The bin of a score; it increases with the score.

    >>> bin_of(-1.0), bin_of(7.0) < bin_of(7.3), bin_of(1e9) == N_BINS - 1
    (0, True, True)
    """
    if not score > 0:
        return 0
    mantissa, exponent = math.frexp(score)  # 0.5 <= mantissa < 1
    if exponent < MIN_EXPONENT:
        return 0
    if exponent >= MAX_EXPONENT or score == math.inf:
        return N_BINS - 1
    return 1 + (exponent - MIN_EXPONENT) * BINS_PER_OCTAVE + int((mantissa - 0.5) * (2 * BINS_PER_OCTAVE))


def lower_edge(index: int) -> float:
    """The lowest score of a bin; 0 for bin 0."""
    octave, step = divmod(index - 1, BINS_PER_OCTAVE)
    return math.ldexp(0.5 + step / (2 * BINS_PER_OCTAVE), octave + MIN_EXPONENT) if index > 0 else 0.0


class RecentScores:
    """A histogram of recent scores, and the bin from which on at most a given number of scores lie.

    window  the lines after which the older half is forgotten; may be changed at any time

    Raises ValueError for a description that is not one of `describe`.

    >>> recent = RecentScores(window=1000)
    >>> for score in (1.0, 2.0, 3.0, 9.0):
    ...     recent.add(score)
    >>> recent.n_lines, recent.count_from(2.0), recent.bin_exceeded_by(1) <= bin_of(9.0)
    (4, 3, True)
    """

    def __init__(self, window: int, described: dict[str, Any] | None = None) -> None:
        self.window = window
        self._newer, self._older = [0] * N_BINS, [0] * N_BINS
        self._n_newer, self._n_older = 0, 0
        if described is not None:
            check_values(described, DESCRIBED, "the histogram of scores")
            self._n_newer, self._newer = _parsed(described["newer"], described["n_newer"])
            self._n_older, self._older = _parsed(described["older"], described["n_older"])
        self._edge = N_BINS
        self._n_above = 0  # scores in bins from _edge on

    @property
    def n_lines(self) -> int:
        """The number of lines in the histogram, those without a score included."""
        return self._n_newer + self._n_older

    def add(self, score: float | None) -> None:
        """Count a line; None for one that has no score."""
        if self._n_newer >= self.window:
            self._older, self._n_older = self._newer, self._n_newer
            self._newer, self._n_newer = [0] * N_BINS, 0
            self._edge, self._n_above = N_BINS, 0
        self._n_newer += 1
        if score is not None:
            index = bin_of(score)
            self._newer[index] += 1
            self._n_above += index >= self._edge

    def count_from(self, score: float) -> int:
        """The number of recent scores in the bin of this score and above it."""
        first = bin_of(score)
        return sum(self._newer[first:]) + sum(self._older[first:])

    def bin_exceeded_by(self, n: int) -> int:
        """The lowest bin such that at most n scores lie in it or above it. Takes constant time on average."""
        edge, above, newer, older = self._edge, self._n_above, self._newer, self._older
        while above > n:
            above -= newer[edge] + older[edge]
            edge += 1
        while edge > 0 and above + newer[edge - 1] + older[edge - 1] <= n:
            edge -= 1
            above += newer[edge] + older[edge]
        self._edge, self._n_above = edge, above
        return edge

    def describe(self) -> dict[str, Any]:
        """The histogram as JSON values."""
        newer, older = ([[i, n] for i, n in enumerate(counts) if n] for counts in (self._newer, self._older))
        return {"newer": newer, "n_newer": self._n_newer, "older": older, "n_older": self._n_older}


def _parsed(pairs: Any, n_lines: Any) -> tuple[int, list[int]]:
    counts = [0] * N_BINS
    for index, count in pairs:
        counts[index] = count
    if n_lines < sum(counts):
        raise ValueError(f"a histogram of {sum(counts)} scores cannot be of {n_lines!r} lines")
    return n_lines, counts
