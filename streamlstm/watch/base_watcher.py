"""What watchers of lines and of sessions have in common: which of them are unusual, and which of those are raised."""

from __future__ import annotations

import os
from typing import Any

from ..ranges import check_count, check_number
from .budget import Budget, BudgetKeeper, Verdict
from .log_clock import LogClock

THRESHOLD = 7.0
"""The default threshold without a budget; see `watcher`."""


class BaseWatcher:
    """A threshold for z or, with a budget of alarms, one that follows the recent z.

    threshold  what z must exceed; with a budget the least threshold. Default: THRESHOLD, and 0 with a budget
    alarms     the budget, as a text or a `Budget`; None: all that is unusual is raised

    Raises ValueError for a threshold that is not finite, and for what is not a budget.
    """

    def __init__(self, threshold: float | None, alarms: str | Budget | None) -> None:
        if threshold is None:
            threshold = THRESHOLD if alarms is None else 0.0
        threshold = check_number("threshold", threshold)
        budget = Budget.parse(alarms) if isinstance(alarms, str) else alarms
        if budget is not None and not isinstance(budget, Budget):
            raise ValueError(f"alarms must be a text such as '5/hour' or '10/10000', or a Budget, not {alarms!r}")
        self._threshold = threshold
        self._clock = LogClock()
        self._other: tuple[str, str] | None = None  # a file that was loaded, and what of it was not
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
        n = check_count("n", n, 0)
        return [] if self._keeper is None else self._keeper.repeated(n)

    @property
    def _needs_time(self) -> bool:
        """Whether the budget, if there is one, is per time."""
        return self._keeper is not None and self._keeper.budget.seconds is not None

    def _receive(self) -> None:
        """Give the budget, if there is one, its part for the next line or session."""
        if self._keeper is not None:
            self._keeper.receive(self._clock.now)

    def _judge(self, z: float, kind: str) -> Verdict:
        """What the threshold or the budget says of the next line or session."""
        if self._keeper is None:
            return Verdict(z > self._threshold, z > self._threshold, 0)
        return self._keeper.judge(z, kind)

    def _restore_budget(self, saved: dict[str, Any], clock: LogClock) -> None:
        """Continue with a budget that was saved, and with the clock that goes with it.

        Raises ValueError, TypeError or KeyError, with nothing changed, if something is not what was saved.
        """
        budget = saved["budget"]
        if self._keeper is not None and budget is not None:
            if "clock" not in saved:  # version 1.0, where the account had the time of a line
                budget = {**budget, "account": [*budget["account"][:4], clock.now]}
            self._keeper.restore(budget)
        self._clock = clock

    def _note_other(self, path: str | os.PathLike[str], what: str) -> None:
        """Take that the file `path` is that of another kind of watcher, of which it has `what`: do not erase that."""
        self._other = os.path.realpath(path), what

    def _check_other(self, path: str | os.PathLike[str]) -> None:
        """Raise ValueError if saving to `path` would erase what another kind of watcher has saved there."""
        if self._other is not None and self._other[0] == os.path.realpath(path):
            raise ValueError(f"{path} has {self._other[1]}, which would be lost; save to another file")
