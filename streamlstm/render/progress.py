"""A progress bar on stderr: only on a terminal, and only for work of more than a second."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """Steps done of `total`, their rate in symbols, the time left, and a note.

    total             all steps, or None where nobody knows
    done              steps done before (a resumed run)
    symbols_per_step  what a step counts for in the rate
    """

    def __init__(self, total: int | None, done: int, symbols_per_step: int) -> None:
        self._total, self._done, self._symbols = total, done, symbols_per_step
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._possible = sys.stderr.isatty()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, step: int, note: str) -> None:
        """Say that `step` steps are done."""
        seconds = time.monotonic() - self._started
        if not self._possible or seconds < 1:
            return
        if self._progress is None:
            self._progress = Progress(
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._progress.add_task("", total=self._total)
            self._progress.start()
        rate = (step - self._done) * self._symbols / seconds
        self._progress.update(self._task, completed=step, description=f"{rate:,.0f} symbols/s, {note}")
