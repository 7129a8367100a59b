"""Files that are written completely or not at all."""

import contextlib
import errno
import glob
import io
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .portable import fcntl, open_binary, read_at, replace_file, sync

LEFTOVER_SECONDS = 60.0
"""A temporary file that was written to within this time stays: a process may be about to lock it."""


def check_target(path: str | os.PathLike[str], *others: str | os.PathLike[str]) -> None:
    """Raise OSError, before any work is done, if `path` cannot be written or is the same file as one of `others`."""
    target = Path(path).resolve()
    if target in [Path(name).resolve() for name in others]:
        raise OSError(f"{path} is named twice and would be overwritten; name another file to write")
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a directory; name a file in it")
    if target.exists() and not target.is_file():
        raise OSError(f"{path} is a device or a pipe; name a regular file")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"cannot write to {path}: its folder is missing or not writable")


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file `path` by one with this content; see `opened_atomically`."""
    with opened_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def opened_atomically(path: str | os.PathLike[str], is_synced: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of `path`, which replaces `path` once it is complete and on the disk.

    is_synced  whether it must be on the disk before; without, a crash of the system may leave an empty file

    The file keeps the permissions of `path`; a new one gets the usual permissions. On an error the temporary file is
    deleted, and `path` is as before; only if the error came when it was replaced, it may be the new file. A process
    that is killed may leave the temporary file, which is deleted when `path` is written again after a minute or more.
    """
    check_target(path)
    target = Path(path).resolve()
    remove_leftovers(target)
    temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    created = 0o666 if mode is None else mode
    try:
        with naming(path):
            file = io.BufferedWriter(_NamedFile(temporary, path, created))
        with file:
            _try_to_lock(file.fileno())
            yield file
            with naming(path):
                file.flush()
                if is_synced:
                    sync(file.fileno())
                file.close()
        with naming(path):
            if mode is not None:
                os.chmod(temporary, mode)
            replace_file(temporary, target)
            if is_synced:
                sync_folder(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def append_text(path: str | os.PathLike[str], text: str) -> None:
    """Append lines to a file, or create it. They begin on a line of their own, see `ends_within_line`."""
    with naming(path), open(path, "ab") as file:
        file.write(("\n" * ends_within_line(path) + text).encode())


def ends_within_line(path: str | os.PathLike[str]) -> bool:
    """Whether the last line of a file has no end: who wrote it was killed, or the disk was full."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return file.seek(0, os.SEEK_END) > 0 and read_at(file.fileno(), 1, file.tell() - 1) != b"\n"
    return False


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete the temporary files of `path` that a process left when it was killed.

    Those of the last minute stay, and those that a process is still writing to.
    """
    target = Path(path).resolve()
    for file in target.parent.glob(f".{glob.escape(target.name[:50])}.{'[0-9a-f]' * 16}.part"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > LEFTOVER_SECONDS and not _is_locked(file):
                file.unlink()


def _try_to_lock(number: int) -> bool:
    """Lock an open file, so that other processes see that it is in use; returns whether no other process has done so.

    The lock ends with the process, however that ends. Where the system or the file system has no such locks, all files
    can be locked.
    """
    if fcntl is not None:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _is_locked(path: Path) -> bool:
    """Whether a process is writing to a temporary file."""
    with open(path, "rb") as file:
        return not _try_to_lock(file.fileno())


class _NamedFile(io.FileIO):
    """A new file whose errors name the file that it replaces, as `open` does: "No space left on device" names none."""

    def __init__(self, temporary: Path, path: str | os.PathLike[str], mode: int) -> None:
        super().__init__(temporary, "xb", opener=lambda name, flags: open_binary(name, flags, mode))
        self._path = path

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        with naming(self._path):
            return super().write(data)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let an OSError in this context name this path, and not a temporary file or none at all."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def sync_folder(folder: Path) -> None:
    """Make the renaming of a file in it survive a crash of the system, where the system can do so: not on Windows.

    Raises OSError if the disk could not be written.
    """
    try:
        handle = open_binary(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        sync(handle)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(handle)


def check_is_file(path: str | os.PathLike[str]) -> None:
    """Raise IsADirectoryError or ValueError for what is no regular file."""
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a model")
