"""A folder on a disk or in an object store, whose files are written completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from ...checkpoint import opened_atomically
from ..extras import missing_extra

try:
    import fsspec.core
    from fsspec.implementations.local import LocalFileSystem
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None


class Storage:
    """A folder, which is created when the first file is written to it.

    location  a path, or a URL that fsspec can open: s3://bucket/folder, gs://…, memory://…

    The names of files are relative to the folder, with slashes. Raises ValueError for a URL that fsspec cannot open.

    >>> folder = Storage("memory://example")
    >>> folder.write("a/1", b"one")
    >>> folder.read("a/1"), folder.read("a/2"), folder.names("a"), folder.names("b")
    (b'one', None, ['1'], [])
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self._files, self._root = open_files(os.fspath(location))
        self._is_local = isinstance(self._files, LocalFileSystem)
        self.location: str = self._files.unstrip_protocol(self._root)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        with suppress(FileNotFoundError):
            return cast(bytes, self._files.cat_file(self._path(name)))
        return None

    def reading(self, name: str) -> Any:
        """Open a file to read parts of it."""
        return self._files.open(self._path(name), "rb")

    def __contains__(self, name: str) -> bool:
        return bool(self._files.exists(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        if self._is_local:
            with self.opened(name) as file:
                file.write(content)
        else:
            self._files.pipe_file(self._path(name), content)

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a temporary file that becomes the file of this name once it is complete. An error leaves no file."""
        path = self._path(name)
        if self._is_local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with opened_atomically(path) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile() as file:
            yield cast(BinaryIO, file)
            file.flush()
            self._files.put_file(file.name, path)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def names(self, folder: str = "") -> list[str]:
        """The names of the files and folders in a folder, sorted, without those that begin with a dot."""
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in paths]
        return sorted(name for name in names if not name.startswith("."))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)


def require_utf8(name: str) -> None:
    """Raise ValueError for the name of a file that is not in UTF-8: Ray and Parquet cannot take it."""
    if not name.isprintable() and any("\ud800" <= character <= "\udfff" for character in name):
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise ValueError(f"{shown}: the name is not in UTF-8, as Ray needs it; rename it, or do without --engine")


def open_files(location: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path in it.

    Raises ValueError for a URL that fsspec cannot open, and for a name that is not in UTF-8.
    """
    require_utf8(location)
    try:
        files, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{location} cannot be opened: {' '.join(str(error).split())}") from None
    return files, path
