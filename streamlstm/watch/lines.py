"""What is known of the lines of a stream, besides the model that reads it: their scores, and which are familiar.

How unusual a score is, its z, is its distance from the median of recent scores in robust standard deviations: 1.4826
times the median absolute deviation (MAD), but at least MIN_DEVIATION, because the MAD is too small where nearly all
lines are alike. Short lines are weak evidence: z is multiplied by n / SHORT_LINE for a line of fewer characters, and,
because the mean of few characters varies more than that of many, by sqrt(n / m), m being the mean length of the lines
or LONG_LINE, whichever is less. Neither factor exceeds 1.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checkpoint import Arrays
from ..kernels.arrays import F64
from ..ranges import Real, Whole, check_values, whole_number
from .familiar import FamiliarLines


def is_noted(n: int) -> bool:
    """Whether there is a note for the nth occurrence, n being at least 1: for the 1st, 2nd, 4th, 8th, …

    >>> [n for n in range(1, 20) if is_noted(n)]
    [1, 2, 4, 8, 16]
    """
    return n & (n - 1) == 0


SPAN_MARGIN, MIN_SPAN_BITS = 2.0, 8.0
"""A span is a run of characters whose surprisals exceed the median score plus SPAN_MARGIN by MIN_SPAN_BITS in all."""


def surprising_spans(excess: F64) -> list[tuple[int, int]]:
    """The parts (start, end) of a line that sum to at least MIN_SPAN_BITS.

    excess  float64 [n], the surprisal of each character minus what is usual

    They are those that one finds by taking the part with the largest sum first, of several the one that ends first and
    is shortest, and then those to its left and right in the same way. This finds them in linear time, as in Ruzzo and
    Tompa, A linear time algorithm for finding all maximal scoring subsequences (1999).

    >>> surprising_spans(np.array([-1.0, 5, 6, -2, 7, -1, -1, 1]))
    [(1, 5)]
    """
    sums = [0.0, *np.cumsum(excess).tolist()]
    edges = np.flatnonzero(np.diff(excess > 0, prepend=False, append=False)).tolist()
    starts: list[int] = []
    ends: list[int] = []
    lower: list[int] = []  # by part so far: the index of the last one before it that begins with a lower sum, or -1
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        while True:
            before, least = len(starts) - 1, sums[start]
            while before >= 0 and sums[starts[before]] >= least:
                before = lower[before]
            if before < 0 or sums[ends[before]] >= sums[end]:
                break
            start = starts[before]  # the sum of both, with what is between, is larger than that of either
            del starts[before:], ends[before:], lower[before:]
        starts.append(start)
        ends.append(end)
        lower.append(before)
    return [(a, b) for a, b in zip(starts, ends, strict=True) if sums[b] - sums[a] >= MIN_SPAN_BITS]


MIN_RECENT, MAX_RECENT = 50, 500
"""A baseline keeps the latter half of the scores, within these bounds: the model learns most from the first lines, so
their scores say little about later ones."""

MAX_RECENT_BY_AGE = 100
"""A baseline of `BaselinesByAge` keeps at most this many scores."""

MIN_DEVIATION = 0.3
"""The smallest robust standard deviation, in bits per character."""

SHORT_LINE, LONG_LINE = 16, 96

MAX_STEP = 2**14 - 1
DESCRIBED = {"recent": [Whole(0, MAX_STEP)], "n_scores": Whole(), "mean_length": Real(1)}
"""What `Baseline.describe` returns; see `ranges`."""


class Baseline:
    """The median and MAD of the most recent scores of a stream of lines, and the mean length of the lines.

    recent       the scores kept, oldest first, in steps of 1/512 bit and below 32 bits
    n_scores     the number of scores added, including those no longer kept
    mean_length  in characters, weighted towards recent lines
    max_recent   the most scores to keep; each takes 4 bytes

    Raises ValueError, TypeError or OverflowError for values out of range.

    >>> baseline = Baseline()
    >>> for score in (1.0, 2.0, 4.0):
    ...     baseline.add(score, length=80)
    >>> baseline.median_and_mad()
    (2.0, 1.0)
    """

    STEPS, MAX_STEP = 512, MAX_STEP

    def __init__(
        self, recent: Iterable[int] = (), n_scores: int = 0, mean_length: float = 1.0, max_recent: int = MAX_RECENT
    ) -> None:
        self.recent = array("H", recent)
        self._sorted = array("H", sorted(self.recent))
        self.n_scores = n_scores
        self._max_recent = max_recent
        self._center: tuple[float, float] | None = None  # what `median_and_mad` returned; None after a change
        self._mad = 0  # in steps, when it was asked last
        if self._sorted and self._sorted[-1] > self.MAX_STEP:
            raise ValueError(f"a score must be at most {self.MAX_STEP} steps, not {self._sorted[-1]}")
        whole_number(n_scores, "n_scores", least=len(self.recent))
        if not 1 <= mean_length < math.inf:
            raise ValueError(f"mean_length must be at least 1, not {mean_length}")
        self.mean_length = float(mean_length)

    @classmethod
    def from_description(cls, described: dict[str, Any], max_recent: int = MAX_RECENT) -> Baseline:
        """The baseline that `describe` described. Raises ValueError or TypeError if it is not one."""
        check_values(described, DESCRIBED, "a baseline")
        return cls(**described, max_recent=max_recent)

    def describe(self) -> dict[str, Any]:
        """The arguments `recent`, `n_scores` and `mean_length` of an equal baseline, as JSON values."""
        return {"recent": self.recent.tolist(), "n_scores": self.n_scores, "mean_length": self.mean_length}

    def add(self, score: float, length: int) -> None:
        """Add the score of a line in bits per character, and its length in characters."""
        step = min(int(score * self.STEPS), self.MAX_STEP)
        self._center = None
        self.recent.append(step)
        insort(self._sorted, step)
        self.n_scores += 1
        self.mean_length += (max(length, 1) - self.mean_length) / min(self.n_scores, MAX_RECENT)
        if len(self.recent) > min(max(self.n_scores // 2, MIN_RECENT), self._max_recent):
            del self._sorted[bisect_left(self._sorted, self.recent.pop(0))]

    def median_and_mad(self) -> tuple[float, float]:
        """The median and the MAD of the recent scores, in bits; of two middle values the lower one.

        Raises ValueError if there are no scores.
        """
        if self._center is None:
            if not self.recent:
                raise ValueError("a baseline without scores has no median")
            rank = (len(self.recent) + 1) // 2
            median = self._sorted[rank - 1]
            mad = self._mad = self._distance_of(median, rank)
            self._center = median / self.STEPS, mad / self.STEPS
        return self._center

    def _distance_of(self, median: int, rank: int) -> int:
        """The least distance from the median within which there are `rank` scores. Often it is what it was before."""
        scores, mad = self._sorted, self._mad
        within = bisect_right(scores, median + mad) - bisect_left(scores, median - mad)
        closer = bisect_right(scores, median + mad - 1) - bisect_left(scores, median - mad + 1) if mad else 0
        if closer < rank <= within:
            return mad
        # They are neighbours: in the first run that reaches as far above the median as below, or in the one before it.
        runs = range(len(scores) - rank + 1)
        first = bisect_left(runs, 2 * median, key=lambda start: scores[start] + scores[start + rank - 1])
        nearest = [start for start in (first - 1, first) if start in runs]
        return min(max(median - scores[start], scores[start + rank - 1] - median) for start in nearest)

    def compare(self, score: float, length: int) -> tuple[float, float]:
        """The median of the recent scores, and the z of a new score; the score itself and 0 if it is the first."""
        if not self.recent:
            return score, 0.0
        median, mad = self.median_and_mad()
        evidence = min(length / SHORT_LINE, 1.0) * math.sqrt(min(length / min(self.mean_length, LONG_LINE), 1.0))
        return median, (score - median) / max(1.4826 * mad, MIN_DEVIATION) * evidence


class BaselinesByAge:
    """A baseline for each age of a model, which is the number of lines that it has read: for 0, 1, 2–3, 4–7, 8–15, …

    described  what `describe` returned; default: all are empty

    >>> baselines = BaselinesByAge()
    >>> for score in (1.0, 2.0, 4.0):
    ...     baselines.add(score, length=80, age=6)
    >>> baselines.latest(7, n_scores=3).median_and_mad()
    (2.0, 1.0)
    """

    def __init__(self, described: Iterable[dict[str, Any]] = ()) -> None:
        self._baselines = [Baseline.from_description(values, MAX_RECENT_BY_AGE) for values in described]

    def add(self, score: float, length: int, age: int) -> None:
        """Add the score of a line as `Baseline.add` does; `age` is that of the model before it."""
        index = age.bit_length()
        while index >= len(self._baselines):
            self._baselines.append(Baseline(max_recent=MAX_RECENT_BY_AGE))
        self._baselines[index].add(score, length)

    def latest(self, age: int, n_scores: int) -> Baseline | None:
        """The baseline for the greatest age, up to this one, with at least this many scores; None if none has."""
        candidates = self._baselines[: age.bit_length() + 1]
        return next((baseline for baseline in reversed(candidates) if baseline.n_scores >= n_scores), None)

    def describe(self) -> list[dict[str, Any]]:
        """The argument of equal baselines, as JSON values."""
        return [baseline.describe() for baseline in self._baselines]


BURST_LINES = 3
"""If this many more lines were flagged than were not, flagged lines are learned from."""


@dataclass
class History:
    """What is kept of a key even when its model is dropped.

    early   the scores of the first lines that each of its models read
    streak  recently flagged lines minus lines not flagged, from 0 to BURST_LINES
    """

    early: BaselinesByAge = field(default_factory=BaselinesByAge)
    streak: int = 0

    @property
    def is_burst(self) -> bool:
        """Whether lines were flagged in a burst: the stream has changed."""
        return self.streak >= BURST_LINES

    def count(self, flagged: bool) -> None:
        """Count a line in `streak`."""
        self.streak = min(max(self.streak + (1 if flagged else -1), 0), BURST_LINES)

    def describe(self) -> dict[str, Any]:
        """The history as JSON values; version 1.0 called the streak so."""
        return {"alarms": self.streak, "early": self.early.describe()}

    @classmethod
    def from_description(cls, values: dict[str, Any]) -> History:
        """The history that `describe` described. Raises ValueError if it is not one."""
        check_values(values, {"alarms": Whole(0, BURST_LINES), "early": [dict]}, "the history of a stream")
        return cls(BaselinesByAge(values["early"]), values["alarms"])


FIRST_CHECK, LAST_CHECK = 100, 6_400
"""After so many lines it is decided for the first time whether a start is over, and when it is over at the latest."""

USUAL_NEW = 1_000
"""A start is over if fewer than one line in so many begins a new kind."""


@dataclass
class Start:
    """The beginning of a stream, in which too many kinds are new for any of them to be unusual.

    It is over when, after 100, 200, 400, … lines, at most one in USUAL_NEW of the latter half began a new kind.

    n_lines  the lines so far
    n_new    lines that began a new kind, since n_lines was half of the next check
    is_over  whether it is over

    >>> start = Start()
    >>> for n in range(900):
    ...     start.count(is_new=n % 10 == 0 and n < 300)
    >>> start.n_lines, start.is_over
    (800, True)
    """

    n_lines: int = 0
    n_new: int = 0
    is_over: bool = False

    def count(self, is_new: bool) -> None:
        """Count a line, unless the start is over."""
        if self.is_over:
            return
        self.n_lines += 1
        self.n_new += is_new
        n = self.n_lines
        if n >= FIRST_CHECK and n % FIRST_CHECK == 0 and (n // FIRST_CHECK) & (n // FIRST_CHECK - 1) == 0:
            self.is_over = self.n_new * USUAL_NEW <= n // 2 or n >= LAST_CHECK
            self.n_new = 0
        elif n == FIRST_CHECK // 2:
            self.n_new = 0

    def describe(self) -> list[int]:
        """The state as JSON values."""
        return [self.n_lines, self.n_new, int(self.is_over)]


@dataclass
class LineStream:
    """The lines of one stream: their scores, and which of them are familiar.

    familiar  None if all lines are to be read in full
    start     whether kinds are still new, where that is asked
    """

    familiar: FamiliarLines | None = None
    baseline: Baseline = field(default_factory=Baseline)
    history: History = field(default_factory=History)
    start: Start = field(default_factory=Start)

    def reference(self, warmup: int) -> Baseline:
        """The baseline that the next line is compared with."""
        age = self.baseline.n_scores
        early = self.history.early.latest(age, warmup) if age < warmup else None
        return early or self.baseline

    def add_score(self, score: float, length: int, warmup: int) -> None:
        """Add the score of a line to the baselines."""
        age = self.baseline.n_scores
        if age < warmup:
            self.history.early.add(score, length, age)
        self.baseline.add(score, length)

    def describe(self, arrays: Arrays, prefix: str) -> dict[str, Any]:
        """The state as JSON values; that of familiar lines is added to `arrays`, with a prefix to their names."""
        described = {**self.history.describe(), "baseline": self.baseline.describe()}
        if self.start.n_lines:
            described["start"] = self.start.describe()
        return described if self.familiar is None else described | {"familiar": self.familiar.describe(arrays, prefix)}

    @classmethod
    def from_description(
        cls, described: dict[str, Any], arrays: Arrays, prefix: str, familiar: FamiliarLines | None
    ) -> LineStream:
        """What `describe` described, with its familiar lines in `familiar`, which is empty.

        Raises ValueError, TypeError or KeyError if it is not that.
        """
        if familiar is not None and "familiar" in described:
            familiar.restore(described["familiar"], arrays, prefix)
        baseline = Baseline.from_description(described["baseline"])
        start = described.get("start", [0, 0, 0])
        check_values(start, (Whole(0, LAST_CHECK), Whole(0, LAST_CHECK), Whole(0, 1)), "the start of a stream")
        return cls(familiar, baseline, History.from_description(described), Start(start[0], start[1], bool(start[2])))
