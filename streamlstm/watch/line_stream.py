"""What a watcher knows of a stream of lines, besides the model that reads it: scores, and which lines are familiar."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..ranges import Whole, check_values
from .baseline import Baseline, BaselinesByAge
from .familiar import FamiliarLines

BURST_LINES = 3
"""If this many more lines were flagged than were not, flagged lines are learned from."""


@dataclass
class History:
    """What is kept of a key even when its model is dropped.

    early   the scores of the first lines that each of its models read
    excess  recently flagged lines minus lines not flagged, from 0 to BURST_LINES
    """

    early: BaselinesByAge = field(default_factory=BaselinesByAge)
    excess: int = 0

    @property
    def is_burst(self) -> bool:
        """Whether lines were flagged in a burst: the stream has changed."""
        return self.excess >= BURST_LINES

    def count(self, flagged: bool) -> None:
        """Count a line in `excess`."""
        self.excess = min(max(self.excess + (1 if flagged else -1), 0), BURST_LINES)

    def describe(self) -> dict[str, Any]:
        """The history as JSON values."""
        return {"alarms": self.excess, "early": self.early.describe()}

    @classmethod
    def from_description(cls, values: dict[str, Any]) -> History:
        """The history that `describe` described. Raises ValueError if it is not one."""
        check_values(values, {"alarms": Whole(0, BURST_LINES), "early": [dict]}, "the history of a stream")
        return cls(BaselinesByAge(values["early"]), values["alarms"])


@dataclass
class LineStream:
    """The lines of one stream: their scores, and which of them are familiar.

    familiar  None if all lines are to be read in full
    """

    familiar: FamiliarLines | None = None
    baseline: Baseline = field(default_factory=Baseline)
    history: History = field(default_factory=History)

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
