"""What watchers of lines and of sessions have in common: which of them are unusual, and which of those are raised."""

from __future__ import annotations

import math

from .budget import Budget, BudgetKeeper, Verdict

THRESHOLD = 7.0
"""The default threshold without a budget; see `watcher`."""


class BaseWatcher:
    """A threshold for z or, with a budget of alarms, one that follows the recent z.

    threshold  what z must exceed; with a budget the least threshold. Default: THRESHOLD, and 0 with a budget
    alarms     the budget, as a text or a `Budget`; None: all that is unusual is raised

    Raises ValueError for a threshold that is not finite, and for a text that is not a budget.
    """

    def __init__(self, threshold: float | None, alarms: str | Budget | None) -> None:
        if threshold is None:
            threshold = THRESHOLD if alarms is None else 0.0
        if not math.isfinite(threshold):
            raise ValueError(f"threshold must be a finite number, not {threshold}")
        budget = Budget.parse(alarms) if isinstance(alarms, str) else alarms
        self._threshold = threshold
        self._keeper = None if budget is None else BudgetKeeper(budget, floor=threshold)

    @property
    def budget(self) -> Budget | None:
        """The budget of alarms; None if there is none."""
        return None if self._keeper is None else self._keeper.budget

    @property
    def threshold(self) -> float:
        """What z must exceed to be unusual; with a budget, the value of the moment."""
        return self._threshold if self._keeper is None else self._keeper.threshold

    def repeated(self, n: int = 5) -> list[tuple[str, int]]:
        """With a budget, the n kinds of which most were not raised since their last alarm, and how many.

        The kind of a session is its first reason.
        """
        return [] if self._keeper is None else self._keeper.repeated(n)

    def _receive(self, seconds: float | None) -> None:
        """Give the budget, if there is one, its part for the next line or session, which has this time."""
        if self._keeper is not None:
            self._keeper.receive(seconds)

    def _judge(self, z: float, kind: str) -> Verdict:
        """What the threshold or the budget says of the next line or session."""
        if self._keeper is None:
            return Verdict(z > self._threshold, z > self._threshold, 0)
        return self._keeper.judge(z, kind)
