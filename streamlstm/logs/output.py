"""The file to which records are written, such that none is lost or written twice if the program is killed."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

from ..checkpoint import ends_within_line, naming, sync_folder
from ..ranges import Maybe, Whole, check_values
from ..tasks.signals import Interruptible

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
            self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
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
            os.fsync(self._number)
        return {"path": os.path.abspath(self.path), "size": os.fstat(self._number).st_size}

    def close(self) -> None:
        """Write all records and close the file."""
        try:
            self.flush()
        finally:
            with naming(self.path):
                os.close(self._number)
