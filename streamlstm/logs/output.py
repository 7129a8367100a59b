"""The file to which records are written, such that none is lost or doubled when the program is killed."""

from __future__ import annotations

import errno
import logging
import os
from typing import Any

from ..tasks.signals import Interruptible

RETRY_SECONDS = 2.0
"""The time between two attempts to write to a full disk."""


class OutputFile:
    """Records, appended to a file.

    `describe` makes sure that all of them are on the disk. What was written after it is removed when the file is opened
    with the description: the records are then written again. If the disk is full, it waits until there is space or a
    signal comes, so that nothing is lost. It has what the printer needs of a binary file.

    path       of the file
    control    ends waiting when a signal comes
    described  what `describe` returned; None to append

    Raises OSError if the file cannot be written.
    """

    def __init__(self, path: str, control: Interruptible, described: dict[str, Any] | None = None) -> None:
        self.path, self._control = path, control
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._pending = bytearray()
        size = os.fstat(self._number).st_size
        if described is not None and described["path"] == os.path.abspath(path):
            if size >= described["size"]:
                os.ftruncate(self._number, int(described["size"]))
            else:
                message = "%s has %s bytes fewer than when it was saved; records may be missing"
                logging.getLogger("streamlstm").warning(message, path, f"{described['size'] - size:,}")

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
            try:
                del self._pending[: os.write(self._number, self._pending)]
            except OSError as error:
                error.filename = self.path
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or self._control.interrupted:
                    raise
                if not is_full:
                    logging.getLogger("streamlstm").warning("%s: %s; waiting for space", self.path, error.strerror)
                is_full = True
                self._control.wait(RETRY_SECONDS)

    def describe(self) -> dict[str, Any]:
        """The JSON-able position up to which the file is on the disk."""
        self.flush()
        os.fsync(self._number)
        return {"path": os.path.abspath(self.path), "size": os.fstat(self._number).st_size}

    def close(self) -> None:
        """Write all records and close the file."""
        self.flush()
        os.close(self._number)
