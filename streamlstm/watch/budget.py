"""A budget of alarms: a threshold that follows the recent scores, so that about as many alarms are raised as wanted.

A budget of N alarms per period, which is a number of lines or a time, is spent as from a token bucket:

- The bucket receives N tokens per period, evenly, and holds at most max(2N, 4). An alarm costs one; without one none is
  raised.
- The threshold is the score that a fraction of the recent lines exceeds. The fraction is the tokens received per line,
  times the square of twice the part to which the bucket is filled. So the bucket is half full when the rate is as
  wanted, and the threshold rises and falls with what was spent. Lines that could not have been raised count as lines
  without a score, so that the fraction is one of alarms.
- When scores fall for good, the recent lines still have high ones. So the fraction grows while an alarm is overdue: it
  about doubles with each further token, and each alarm divides the growth by 1.25.
- As long as the recent lines are too few for one alarm, the threshold is START_THRESHOLD while the bucket is a quarter
  full or more, and else the largest score so far.
- A line that is silenced (`verdicts`) takes a token as if it were raised, so that a verdict adds no alarms. Such
  tokens are spared: a line that would be held, because there is no other token, takes one of them.
- A kind of line is raised once per period. Further lines of it are counted, and the next record of the kind tells
  their number. Where there are too few kinds for the budget, the bucket fills up. When it is more than three quarters
  full, kinds are raised again sooner: the fuller it is, the sooner. Not so with a floor: the budget is a limit then.

The recent scores are a histogram in bounded memory, which forgets. A score belongs to a bin, 32 to 64 of which cover a
factor of two. Two tables of counts alternate: once the newer one has `window` lines, it takes the place of the older
one. So the histogram is of the last one to two windows. The counts are integers and the bins follow from the bits of a
score, so that all results are the same on every machine.

Everything that decides is saved, and nothing depends on a clock: time is what `log_clock` makes of the times of lines.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..ranges import FINITE, Maybe, Real, Whole, check_values

BINS_PER_OCTAVE = 64
MIN_EXPONENT, MAX_EXPONENT = -4, 15
N_BINS = 2 + (MAX_EXPONENT - MIN_EXPONENT) * BINS_PER_OCTAVE
"""Bin 0 is of scores below 2^(MIN_EXPONENT - 1) and of those that are not a number; the last one of those from
2^(MAX_EXPONENT - 1) on."""

_COUNTED = [(Whole(0, N_BINS - 1), Whole())]
SCORES_DESCRIBED = {"newer": _COUNTED, "n_newer": Whole(), "older": _COUNTED, "n_older": Whole()}
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
            check_values(described, SCORES_DESCRIBED, "the histogram of scores")
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


MAX_KINDS = 10_000
"""The most kinds of lines that are remembered; the one raised longest ago is forgotten."""

START_THRESHOLD = 7.0
"""The threshold before there are enough recent lines; see `watch.THRESHOLD`."""

MIN_WINDOW = 1_000
"""The least number of lines after which the older half of the scores is forgotten."""

WINDOW_ALARMS = 2
"""The window is at least as long as this many alarms should take."""

GROWING, SHRINKING, MAX_GROWTH = 0.7, 1.25, 64.0
"""How fast the fraction grows while an alarm is overdue, what an alarm divides the growth by, and the most growth."""

NEARLY_FULL = 0.75
"""How full the bucket is when kinds begin to be raised again before the period is over."""

RATE_LINES = 1_000
"""The time between two lines is averaged over about this many lines."""

MOST = 1e12
"""The most alarms, lines and seconds of a budget."""

MAX_LENGTH = 50
"""A longer text is no budget."""

DESCRIBED = {
    "account": (Real(0), Real(0), Real(0), Whole(0, RATE_LINES), Maybe(Real(-FINITE, FINITE))),
    "counts": (Whole(), Whole(), Whole()),
    "kinds": [(str, Real(0), Whole())],
    "scores": object,
    "overdue": (Real(0), Real(1, MAX_GROWTH)),
    "spared?": Real(0),
}
"""What `BudgetKeeper.describe` returns; see `ranges`."""

SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


@dataclass(frozen=True)
class Budget:
    """How many alarms there should be per period.

    n_alarms  the number of alarms
    lines     the period as a number of lines; None if it is a time
    seconds   the period as a time; None if it is a number of lines

    Raises ValueError for a budget that is not one: not a number, of no alarms or no period, or of both kinds.

    >>> Budget.parse("5/hour"), Budget.parse("10/10000")
    (Budget(n_alarms=5.0, lines=None, seconds=3600.0), Budget(n_alarms=10.0, lines=10000, seconds=None))
    """

    n_alarms: float
    lines: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        period = self.seconds if self.lines is None else self.lines
        if period is None or (self.lines is not None and self.seconds is not None):
            raise ValueError("a budget is a number of alarms per number of lines, or per seconds: give one of the two")
        for name, value in (("n_alarms", self.n_alarms), ("the period", period)):
            if not 0 < value <= MOST:
                raise ValueError(f"{name} of a budget must be more than 0 and at most {MOST:.0e}, not {value}")
        if self.lines is not None and self.n_alarms > self.lines / 2:
            raise ValueError(f"{self.n_alarms:g}/{self.lines}: a budget must be at most one alarm in two lines")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget from a text like `5/hour`, `2/minute`, `20/day` or `10/10000` (lines). Raises ValueError."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)/(?:(\d+)|(\d*)(second|minute|hour|day)s?)", text.replace(" ", ""))
        if match is None or len(text) > MAX_LENGTH:
            shown = text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"
            raise ValueError(f"a budget is N/hour, N/minute, N/day or N/LINES, for example 10/10000, not {shown!r}")
        if match[4]:
            return cls(float(match[1]), seconds=int(match[3] or 1) * SECONDS[match[4]])
        return cls(float(match[1]), lines=int(match[2]))


SILENT = ("normal", "mute")
"""The decisions of a reader by which a kind is not raised; see `verdicts`."""


class Judgement(NamedTuple):
    """What a threshold or a budget says of a line.

    is_unusual  whether its score reaches the threshold
    is_raised   whether it is an alarm: it is unusual, its kind was not raised recently, and the budget allows it
    n_before    for an alarm, the number of lines of its kind that were not raised since the last alarm of its kind
    decision    what a reader has said of such lines, which is taken into account; "" if nothing: see `verdicts`
    is_new      whether it is raised because its kind is new, although its score alone is usual
    """

    is_unusual: bool
    is_raised: bool
    n_before: int
    decision: str = ""
    is_new: bool = False

    @property
    def is_silenced(self) -> bool:
        """Whether it would be unusual, had a reader not said that it is normal or muted."""
        return (self.is_unusual or self.is_new) and self.decision in SILENT

    @property
    def is_flagged(self) -> bool:
        """Whether it is unusual after what a reader has said."""
        return self.decision == "watch" or ((self.is_unusual or self.is_new) and self.decision != "normal")

    @property
    def reason(self) -> str:
        """Why it is unusual: its score, its kind that is new, or what a reader has said; "" if it is not."""
        if not self.is_flagged:
            return ""
        return "score" if self.is_unusual else "new kind" if self.is_new else "watched"


USUAL, ALARM = Judgement(False, False, 0), Judgement(True, True, 0)
NEW_KIND = Judgement(False, True, 0, is_new=True)
"""The judgements without a budget."""


@dataclass
class _Kind:
    """When a kind of line was raised last, in tokens received by then, and how many lines of it were not since."""

    raised_at: float
    n_since: int = 0


class BudgetKeeper:
    """Decide for each line of a stream whether to raise it, such that a budget is kept.

    budget  the budget
    floor   no line with a score up to this is unusual

    n_raised, n_repeated, n_held  lines raised; unusual lines not raised because their kind was; and because the bucket
                                  was empty

    >>> keeper = BudgetKeeper(Budget.parse("1/100"))
    >>> for n in range(300):
    ...     keeper.receive()
    ...     usual = keeper.judge(1.0 + n % 7 / 10, kind=f"usual {n % 7}")
    >>> [keeper.judge(50.0, kind="strange")[:2] for _ in range(2)]
    [(True, True), (True, False)]
    """

    def __init__(self, budget: Budget, floor: float = 0.0) -> None:
        self.budget, self._floor = budget, floor
        self._capacity = max(2 * budget.n_alarms, 4.0)
        self._tokens = self._capacity / 2
        self._spared = 0.0  # tokens that lines which were silenced have taken; with the others at most the capacity
        self._received, self._raised_at = 0.0, 0.0  # tokens, in all, and until the last alarm
        self._growth = 1.0  # of the fraction, because alarms are overdue
        self._rate = budget.n_alarms / budget.lines if budget.lines else 0.0  # received per line
        self._n_rates = 0
        self._time: float | None = None
        self._scores = RecentScores(MIN_WINDOW)
        self._kinds: OrderedDict[str, _Kind] = OrderedDict()
        self.n_raised, self.n_repeated, self.n_held = 0, 0, 0

    @property
    def threshold(self) -> float:
        """The score that a line must reach now to be unusual."""
        edge = self._edge()
        return float("inf") if edge >= N_BINS else max(lower_edge(edge), self._floor)

    def judge(self, score: float, kind: str, *, is_silenced: bool = False, is_new: bool = False) -> Judgement:
        """Decide about a line, after `receive`; `kind_of` tells the kind of a line.

        is_silenced  whether a line of this kind is not to be raised: it takes a token all the same, so that no less
                     unusual line is raised in its place; but that token is there for a line that would be held
        is_new       whether the line is to be raised whatever its score, if there is a token, because its kind is new
        """
        known = self._kinds.get(kind)
        is_due = not self.is_repeated(kind)
        is_unusual = score > self._floor and bin_of(score) >= self._edge()
        is_raised = (is_unusual or is_new) and is_due and self._tokens + (0 if is_silenced else self._spared) >= 1
        self._scores.add(score if is_due else None)
        n_before = known.n_since if known else 0
        if is_raised:
            self._spend(is_silenced)
            self._raised_at, self._growth = self._received, max(self._growth / SHRINKING, 1.0)
            self._remember(kind)
            self.n_raised += not is_silenced
            is_raised, n_before = not is_silenced, 0 if is_silenced else n_before
            return Judgement(is_unusual, is_raised, n_before, is_new=is_new and not is_unusual)
        if is_silenced:
            return Judgement(is_unusual, False, 0)
        if is_unusual and known and not is_due:
            known.n_since += 1
            self.n_repeated += 1
        elif is_unusual:
            self.n_held += 1
            if known:
                known.n_since += 1
        return Judgement(is_unusual, False, 0)

    def _spend(self, is_silenced: bool) -> None:
        """Take a token for an alarm, or for a line that is silenced; of those, some are spared for other lines."""
        from_spared = max(1 - self._tokens, 0.0)
        self._tokens = max(self._tokens - 1, 0.0)
        self._spared += 1.0 if is_silenced else -from_spared
        self._spared = min(max(self._spared, 0.0), self._capacity - self._tokens)

    def is_repeated(self, kind: str) -> bool:
        """Whether a kind of line was raised recently, so that a further line of it is not raised now."""
        known = self._kinds.get(kind)
        return known is not None and self._received - known.raised_at < self._interval()

    def may_raise(self, kind: str) -> bool:
        """Whether an unusual line of this kind would be raised now."""
        return self._tokens + self._spared >= 1 and not self.is_repeated(kind)

    def repeated(self, n: int) -> list[tuple[str, int]]:
        """The n kinds with most lines that were not raised since they were raised last, with the number of lines."""
        pairs = [(kind, state.n_since) for kind, state in self._kinds.items() if state.n_since]
        return sorted(pairs, key=lambda pair: -pair[1])[:n]

    def _remember(self, kind: str) -> None:
        self._kinds[kind] = _Kind(self._received)
        self._kinds.move_to_end(kind)
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)

    def _interval(self) -> float:
        """For how long a kind is not raised again, in tokens received."""
        if self._floor > 0:
            return self.budget.n_alarms
        free = 1 - self._tokens / self._capacity
        return self.budget.n_alarms * min(free / (1 - NEARLY_FULL), 1.0)

    def receive(self, now: float = 0.0) -> None:
        """Add the tokens that the budget gives for the next line.

        now  how much time has passed since the first line, in seconds, as `LogClock.now`; it must not go back
        """
        amount = self._rate
        if self.budget.seconds is not None:
            passed = 0.0 if self._time is None else min(max(now - self._time, 0.0), MOST)  # a file may say any time
            self._time = now
            amount = self.budget.n_alarms * passed / self.budget.seconds
            self._n_rates = min(self._n_rates + 1, RATE_LINES)
            self._rate += (amount - self._rate) / self._n_rates
        self._tokens = min(self._tokens + amount, self._capacity)
        self._spared = min(self._spared, self._capacity - self._tokens)
        self._received += amount
        if self._received - self._raised_at > 1:
            self._growth = min(self._growth * (1 + GROWING * amount), MAX_GROWTH)
        if self._rate > 0:
            self._scores.window = max(MIN_WINDOW, int(min(WINDOW_ALARMS / self._rate, 1e12)))

    def _edge(self) -> int:
        """The lowest bin whose lines are unusual."""
        n_lines = self._scores.n_lines
        if self._rate * n_lines < 1 and 4 * self._tokens >= self._capacity:
            return bin_of(START_THRESHOLD)
        fraction = min(self._rate * (2 * self._tokens / self._capacity) ** 2 * self._growth, 0.5)
        return self._scores.bin_exceeded_by(int(fraction * n_lines))

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `restore`."""
        kinds = [[kind, state.raised_at, state.n_since] for kind, state in self._kinds.items()]
        bucket = [self._tokens, self._received, self._rate, self._n_rates, self._time]
        counts = [self.n_raised, self.n_repeated, self.n_held]
        described = {"account": bucket, "counts": counts, "kinds": kinds, "scores": self._scores.describe()}
        return {**described, "overdue": [self._raised_at, self._growth], "spared": self._spared}

    def restore(self, described: dict[str, Any]) -> None:
        """Continue from what `describe` returned. With another budget, only the scores and the kinds are taken over.

        Raises ValueError, with nothing changed, if it is not such a description.
        """
        check_values(described, DESCRIBED, "the budget")
        scores = RecentScores(self._scores.window, described["scores"])
        tokens, self._received, rate, n_rates, time = described["account"]
        self._tokens = min(tokens, self._capacity)
        self._spared = min(described.get("spared", 0.0), self._capacity - self._tokens)
        self._raised_at, self._growth = described["overdue"]
        if self.budget.seconds is not None:
            self._rate, self._n_rates, self._time = rate, n_rates, time
        self._kinds = OrderedDict((kind, _Kind(at, n)) for kind, at, n in described["kinds"])
        self._scores = scores
        self.n_raised, self.n_repeated, self.n_held = described["counts"]
