"""Files that another program may ask for: only those below folders that the user has allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from ..system.portable import open_below

MAX_LINKS = 40
"""How many symbolic links a path may lead through, as in Linux."""


class AllowedFolders:
    """Opens regular files below some folders, for reading, and nothing else.

    folders  existing folders, at least one

    `..` takes away the part before it, whatever that is. Symbolic links below the folders are resolved: one that leads
    out of them is refused. The file is then opened part by part from / on, without following links, so that a link that
    appears meanwhile is refused too. Nothing outside is looked at, so what is outside is refused with the same message
    whether it exists or not. Raises ValueError for what is not a folder.

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
        self._names = [Path(os.path.abspath(folder)) for folder in folders]

    def __str__(self) -> str:
        return ", ".join(map(str, self._roots))

    def open(self, path: str) -> BinaryIO:
        """The file with this path, which is absolute or relative to one of the folders.

        Raises PermissionError for a path that leads elsewhere, and OSError for one that is not a readable regular file.
        """
        outside = PermissionError(f"{path} is not below a folder that may be read")
        if not _is_path(path):
            raise outside
        inside = [file for root in self._roots if (file := self._resolved(os.path.join(root, path))) is not None]
        if not inside:
            raise outside
        try:
            descriptor = open_below(next((file for file in inside if file.is_file()), inside[0]))
        except OSError as error:
            raise type(error)(f"{path} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{path} is not a regular file")
        return os.fdopen(descriptor, "rb")

    def _resolved(self, path: str) -> Path | None:
        """The path without symbolic links, or None if it leads out of the folders on the way.

        Only links below the folders are looked at.
        """
        for _ in range(MAX_LINKS):
            root, parts = self._below(Path(os.path.normpath(path)))
            if root is None:
                return None
            for n in range(len(parts)):
                try:
                    target = os.readlink(root.joinpath(*parts[: n + 1]))
                except OSError:  # it is not a link
                    continue
                path = os.path.join(root, *parts[:n], target, *parts[n + 1 :])
                break
            else:
                return root.joinpath(*parts)
        return None

    def _below(self, path: Path) -> tuple[Path | None, tuple[str, ...]]:
        """The folder that a path is below, however the user named it, and the parts below it."""
        for root, name in zip(self._roots * 2, self._roots + self._names, strict=True):
            if name in path.parents:
                return root, path.relative_to(name).parts
        return None, ()


def _is_path(path: str) -> bool:
    """Whether the system can be asked for it."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False
