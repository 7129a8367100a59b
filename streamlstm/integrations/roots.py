"""Files that another program may ask for: only those below folders that the user has allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

SEARCH = getattr(os, "O_PATH", os.O_RDONLY)
"""Opens a folder to look up names in it; on Linux this needs no permission to list them."""


class AllowedFolders:
    """Opens regular files below some folders, for reading, and nothing else.

    folders  existing folders, at least one

    Symbolic links are resolved first: one that leads out of the folders is refused. The file is then opened part by
    part from / on, without following links, so that a link that appears meanwhile is refused too. What is outside is
    refused with the same message whether it exists or not. Raises ValueError for what is not a folder.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> _ = Path(folder.name, "a.log").write_text("hello")
    >>> AllowedFolders([folder.name]).open("a.log").read()
    b'hello'
    >>> AllowedFolders([folder.name]).open("/etc/passwd")
    Traceback (most recent call last):
    PermissionError: /etc/passwd is not below a folder that may be read
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]]) -> None:
        if not folders:
            raise ValueError("name at least one folder that may be read")
        for folder in folders:
            if not os.path.isdir(folder):
                raise ValueError(f"{folder} is not a folder")
        self._roots = [Path(os.path.realpath(folder)) for folder in folders]

    def __str__(self) -> str:
        return ", ".join(map(str, self._roots))

    def open(self, path: str) -> BinaryIO:
        """The file with this path, which is absolute or relative to one of the folders.

        Raises PermissionError for a path that leads elsewhere, and OSError for one that is not a readable regular file.
        """
        outside = PermissionError(f"{path} is not below a folder that may be read")
        if not _is_path(path):
            raise outside
        candidates = [Path(os.path.realpath(root / path)) for root in self._roots]
        inside = [file for file in candidates if any(root in file.parents for root in self._roots)]
        if not inside:
            raise outside
        try:
            descriptor = _open(next((file for file in inside if file.is_file()), inside[0]))
        except OSError as error:
            raise type(error)(f"{path} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{path} is not a regular file")
        return os.fdopen(descriptor, "rb")


def _is_path(path: str) -> bool:
    """Whether the system can be asked for it."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _open(file: Path) -> int:
    """A descriptor of a file with an absolute path, none of whose parts is a symbolic link; a FIFO does not block."""
    folder = os.open(file.anchor, SEARCH | os.O_DIRECTORY)
    try:
        for part in file.parts[1:-1]:
            below = os.open(part, SEARCH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
