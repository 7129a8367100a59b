"""Checkpoints: named arrays and JSON values in one .safetensors file, written completely or not at all."""

import contextlib
import errno
import glob
import hashlib
import io
import json
import os
import secrets
import stat
import time
import zlib
from collections.abc import Iterator
from functools import cache, reduce
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
"""Locks of files; None on Windows."""

FORMAT = 2
"""The version of the format; it increases when a new version writes what an older one would misread."""
OLDEST = 2
"""The oldest that is read: that of version 1.0."""

LEFTOVER_SECONDS = 60.0
"""A temporary file that was written to within this time stays: a process may be about to lock it."""

Arrays = dict[str, npt.NDArray[Any]]
Checksum = Literal["sha256", "crc32"]


def write_checkpoint(path: str | os.PathLike[str], arrays: Arrays, values: dict[str, Any]) -> None:
    """Write `arrays` and the JSON values `values` to `path`.

    Raises ValueError for a number that is not finite, OSError if the file cannot be written. After an error or a crash,
    the file is what it was before, or the new one; see `opened_atomically`.
    """
    _check_finite(path, arrays)
    write_atomically(path, dump_checkpoint(arrays, values))


def dump_checkpoint(arrays: Arrays, values: dict[str, Any], checksum: Checksum = "sha256") -> bytes:
    """The content of a checkpoint file; with "crc32" as checksum it is written and checked in a fifth of the time."""
    values = {"format": FORMAT, **values}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = json.dumps({**values, checksum: digest(contiguous, values, checksum)}, sort_keys=True)
    return save(contiguous, {"streamlstm": metadata})


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
def opened_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file in the folder of `path`, which replaces `path` once it is complete and on the disk.

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
                os.fsync(file.fileno())
                file.close()
        with naming(path):
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, target)
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
        return file.seek(0, os.SEEK_END) > 0 and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
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
        super().__init__(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))
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
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(handle)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and values of a checkpoint file.

    Raises OSError if the file cannot be read, and ValueError with one line for a file that is truncated, corrupt, not
    written by streamlstm, or written by a newer version or one before 1.0, and for a number that is not finite.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a model")
    return parse_checkpoint(Path(path).read_bytes(), os.fspath(path))


def parse_checkpoint(content: bytes, name: str, checksum: Checksum = "sha256") -> tuple[Arrays, dict[str, Any]]:
    """The arrays and values in the content of a checkpoint file, called `name` in errors.

    Raises ValueError as `read_checkpoint` does. Nothing larger than the content is allocated, whatever its header says.
    """
    try:
        arrays: Arrays = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except KeyError as error:
        raise ValueError(f"{name} is not a model: it has numbers of type {error}") from None
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{name} is not a model, or it is damaged: {' '.join(str(error).split())}") from None
    try:
        values = json.loads(metadata.get("streamlstm", ""))
        expected, version = values.pop(checksum), values["format"]
        if not isinstance(version, int) or version < 1:
            raise ValueError("not the version of a format")
        is_intact = expected == digest(arrays, values, checksum)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{name} is a safetensors file, but streamlstm did not write it") from None
    if version < OLDEST:
        raise ValueError(f"{name} was written before version 1.0; streamlstm 0.1 or 0.2, whichever wrote it, reads it")
    if version > FORMAT:
        raise ValueError(f"{name} was written by a newer streamlstm; this one reads formats up to {FORMAT}")
    if not is_intact:
        raise ValueError(f"{name} is damaged: its content does not match its checksum")
    del values["format"]
    _check_finite(name, arrays)
    return arrays, values


def _check_finite(path: str | os.PathLike[str], arrays: Arrays) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{path} is not a usable model: {name!r} holds a number that is not finite")


def digest(arrays: Arrays, values: dict[str, Any], checksum: Checksum = "sha256") -> str:
    """SHA-256 or CRC-32 of all arrays and values, as a hexadecimal number."""
    parts: list[Any] = [json.dumps(values, sort_keys=True).encode()]
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        parts += [f"{name} {_type_name(array.dtype)} {array.shape}".encode(), array.reshape(-1).view(np.uint8)]
    if checksum == "crc32":
        return f"{reduce(lambda crc, part: zlib.crc32(part, crc), parts, 0):08x}"
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@cache
def _type_name(dtype: np.dtype[Any]) -> str:
    """The name of a type, which NumPy takes long to make."""
    return str(dtype)
