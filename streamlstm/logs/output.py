"""Where alarms go: to a file, and to a command.

An `OutputFile` loses no record and has none twice if the program is killed and continued. An `AlertCommand` is run for
each alarm, at a bounded rate.
"""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..ranges import Maybe, Whole, check_values
from ..system.files import ends_within_line, naming, sync_folder
from ..system.portable import end_group, open_binary, start_group, sync
from ..system.process import Interruptible

DESCRIBED = {"path": str, "size": Whole()}
"""What `OutputFile.describe` returns; see `ranges`."""

RETRY_SECONDS = 2.0
"""The time between two attempts to write to a full disk."""


class OutputFile:
    """Records, appended to a file.

    `describe` makes sure that all of them are on the disk. What was written after it is removed when the file is opened
    with the description: the records are then written again. Records begin on a line of their own, even if the last one
    there was written in part. If the disk is full, it waits until there is space or a signal comes, so that nothing is
    lost. It has what the printer needs of a binary file.

    path       of the file
    control    ends waiting when a signal comes
    described  what `describe` returned; None to append

    Raises OSError if the file cannot be written, ValueError for a description that is not one.
    """

    def __init__(self, path: str, control: Interruptible, described: dict[str, Any] | None = None) -> None:
        self.path, self._control = path, control
        self._pending = bytearray()
        check_values(described, Maybe(DESCRIBED), "what was written last")
        with naming(path):
            self._number = open_binary(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            size = os.fstat(self._number).st_size
            if not size:
                sync_folder(Path(path).resolve().parent)
            if described is not None and described["path"] == os.path.abspath(path):
                self._cut(size, described["size"])
        if ends_within_line(path):
            self._pending += b"\n"

    def _cut(self, size: int, saved: int) -> None:
        """Remove what was written after the position was saved."""
        if size >= saved:
            os.ftruncate(self._number, saved)
        else:
            message = "%s has %s bytes fewer than when it was saved; records may be missing"
            logging.getLogger("streamlstm").warning(message, self.path, f"{saved - size:,}")

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written to the file."""
        return os.fstat(self._number).st_size == 0

    def isatty(self) -> bool:
        """False."""
        return False

    def write(self, data: bytes) -> int:
        """Take a record; `flush` writes it."""
        self._pending += data
        return len(data)

    def flush(self) -> None:
        """Write all records. Raises OSError if the disk is full and a signal comes."""
        is_full = False
        while self._pending:
            size = os.fstat(self._number).st_size
            try:
                with naming(self.path):
                    del self._pending[: os.write(self._number, self._pending)]
            except OSError as error:
                written = os.fstat(self._number).st_size - size  # a write that fails may have been done
                del self._pending[: max(written, 0)]
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or self._control.interrupted:
                    raise
                if not is_full:
                    logging.getLogger("streamlstm").warning("%s: %s; waiting for space", self.path, error.strerror)
                is_full = True
                self._control.wait(RETRY_SECONDS)

    def describe(self) -> dict[str, Any]:
        """The position up to which the file is on disk, as JSON values."""
        self.flush()
        with naming(self.path):
            sync(self._number)
        return {"path": os.path.abspath(self.path), "size": os.fstat(self._number).st_size}

    def close(self) -> None:
        """Write all records and close the file."""
        try:
            self.flush()
        finally:
            with naming(self.path):
                os.close(self._number)


TIMEOUT_SECONDS = 30.0
"""A command that takes longer is killed, with all that it started."""

BURST, INTERVAL_SECONDS = 10, 6.0
"""This many commands may run without a pause; then one per interval is run."""

MAX_WAITING = 100
"""Further alarms are dropped, and counted."""

END_SECONDS = 10.0
"""At the end, the waiting alarms have this much time."""


class AlertCommand:
    """Run a shell command for each alarm, one after the other, with the record on its stdin.

    It runs beside the program, which never waits for it. The record is not a part of the command line, so that nothing
    in a log is executed. Output of the command goes to stderr.

    command  for `sh -c`, and on Windows for `cmd`
    waiting  records for which it is still to be run

    At the end, `close` runs it without a pause for those that wait, for at most END_SECONDS. Then the running one is
    killed. `waiting` keeps its record and the others, so that they can be saved.

    n_run, n_failed, n_dropped  commands that ran; of them, those that failed or were killed; alarms without a command
    """

    def __init__(self, command: str, waiting: Iterable[str] = ()) -> None:
        self._command = command
        self._waiting = deque(waiting)
        self._changed = threading.Condition()
        self._is_ending = self._is_closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self.n_run, self.n_failed, self.n_dropped = 0, 0, 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __call__(self, record: str) -> None:
        """Take an alarm. It is dropped if too many wait."""
        with self._changed:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(record)
                self._changed.notify()
                return
        self.n_dropped += 1
        if self.n_dropped & (self.n_dropped - 1) == 0:
            message = "alarms come faster than the command of --exec may run; %s dropped so far"
            logging.getLogger("streamlstm").warning(message, f"{self.n_dropped:,}")

    def waiting(self) -> list[str]:
        """The records for which the command has not ended yet."""
        with self._changed:
            return list(self._waiting)

    def close(self) -> None:
        """Run the command for the alarms that wait, as long as END_SECONDS allow, and stop."""
        if self._is_ending:
            return
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        self._thread.join(END_SECONDS)
        with self._changed:
            self._is_closed = True
            n_left = len(self._waiting)
        if n_left:
            self._kill()
            self._thread.join(1)
            message = "the command of --exec did not end in time and was killed; alarms left: %s"
            logging.getLogger("streamlstm").warning(message, f"{n_left:,}")

    def _work(self) -> None:
        allowance, refilled = float(BURST), time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_ending)
                if self._is_closed or not self._waiting:
                    return
                record = self._waiting[0]
                now = time.monotonic()
                allowance, refilled = min(allowance + (now - refilled) / INTERVAL_SECONDS, BURST), now
                if allowance < 1 and not self._is_ending:
                    self._changed.wait_for(lambda: self._is_ending, (1 - allowance) * INTERVAL_SECONDS)
            allowance = max(allowance - 1, 0.0)
            self._run(record.encode("utf-8", "surrogateescape"))
            with self._changed:
                if not self._is_closed:
                    self._waiting.popleft()

    def _run(self, record: bytes) -> None:
        self.n_run += 1
        try:
            self._process = start_group(self._command)
            self._process.communicate(record, TIMEOUT_SECONDS)
            problem = f"exit code {self._process.returncode}" if self._process.returncode else ""
        except subprocess.TimeoutExpired:
            self._kill()
            problem = f"killed after {TIMEOUT_SECONDS:.0f} s"
        except OSError as error:
            problem = str(error)
        if problem:
            self.n_failed += 1
            if self.n_failed & (self.n_failed - 1) == 0:
                message = "the command of --exec failed: %s (%s times so far)"
                logging.getLogger("streamlstm").warning(message, problem, f"{self.n_failed:,}")

    def _kill(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            end_group(process)
