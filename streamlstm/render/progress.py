"""A progress bar on stderr. It appears only on a terminal, and after a second of work."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """A progress bar: steps done, symbols per second, a note, and the times elapsed and left.

    total             the number of all steps, or None if it is not known
    done              the number of steps done by an earlier run
    symbols_per_step  the symbols in a step, for the rate
    """

    def __init__(self, total: int | None, done: int, symbols_per_step: int) -> None:
        self._total, self._done, self._symbols = total, done, symbols_per_step
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._is_terminal = sys.stderr.isatty()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, step: int, note: str) -> None:
        """Show that `step` steps are done."""
        seconds = time.monotonic() - self._started
        if not self._is_terminal or seconds < 1:
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
