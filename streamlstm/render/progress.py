"""A progress bar on stderr. It appears only on a terminal, and after a second of work."""

import os
import sys
import time
from types import TracebackType
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .escape import terminal_text


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
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._progress.add_task("", total=self._total)
            self._progress.start()
        rate = (step - self._done) * self._symbols / seconds
        self._progress.update(self._task, completed=step, description=f"{rate:,.0f} symbols/s, {terminal_text(note)}")


class FilesBar:
    """A progress bar over the bytes of files that are read one after the other.

    visible  whether to show it at all; it is not shown either if one of them is not a regular file
    """

    def __init__(self, files: list[str], visible: bool) -> None:
        self._done, self._bar = 0, None
        if visible and sys.stderr.isatty() and all(os.path.isfile(file) for file in files):
            self._sizes = {file: os.path.getsize(file) for file in files}
            self._bar = Bar(sum(self._sizes[file] for file in files), 0, 1)

    def __enter__(self) -> "FilesBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def show(self, file: str, source: BinaryIO) -> None:
        """Show that a file has been read up to the position of its source."""
        if self._bar is not None:
            self._bar.show(self._done + source.tell(), file)

    def done(self, file: str) -> None:
        """Show that a file has been read."""
        if self._bar is not None:
            self._done += self._sizes[file]
