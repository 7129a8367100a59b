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
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
"""Locks of files; None on Windows."""

FORMAT = 2
"""The version of the format; it increases when a new version writes what an older one would misread."""
OLDEST = 2
"""The oldest that is read: that of version 1.0."""

LONGEST_HEADER = 100_000_000
"""The most bytes of a header that safetensors reads."""

_DTYPES = {"F64", "F32", "F16", "I64", "U64", "I32", "U32", "I16", "U16", "I8", "U8", "BOOL", "C64"}
"""The types of numbers that NumPy has."""

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
                    os.fsync(file.fileno())
                file.close()
        with naming(path):
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, target)
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
    _check_is_file(path)
    with open(path, "rb") as file:
        return parse_checkpoint(_read_content(file), os.fspath(path))


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """The shapes of the arrays of a checkpoint file by name, and its values. Of a regular file no array is read.

    Raises as `read_checkpoint` does, except for what only arrays tell: a wrong checksum, a number that is not finite.
    """
    _check_is_file(path)
    if not Path(path).is_file():  # a pipe
        arrays, values = read_checkpoint(path)
        return {name: array.shape for name, array in arrays.items()}, values
    name = os.fspath(path)
    open(path, "rb").close()  # an OSError names the file
    with _refusing(name), safe_open(path, framework="numpy") as file:
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        for each in slices.values():
            if each.get_dtype() not in _DTYPES:
                raise KeyError(each.get_dtype())
        shapes, metadata = {key: tuple(each.get_shape()) for key, each in slices.items()}, file.metadata() or {}
    values, _ = _values_in(metadata, name, "sha256")
    del values["format"]
    return shapes, values


def _check_is_file(path: str | os.PathLike[str]) -> None:
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a model")


def _read_content(file: BinaryIO) -> bytes:
    """The content of a checkpoint file, and one byte of what follows it: as much as its header says, and no more.

    So a device that never ends is not read until there is no more memory.
    """
    start = file.read(8)
    n_header = int.from_bytes(start, "little")
    if len(start) < 8 or n_header > LONGEST_HEADER:
        return start
    header = _read_up_to(file, n_header)
    return start + header + _read_up_to(file, _end_of_arrays(header) + 1)


def _read_up_to(file: BinaryIO, n: int) -> bytes:
    """The next n bytes, or fewer if there are not so many; what is not there takes no memory."""
    parts = []
    while n > 0 and (part := file.read(min(n, 1 << 22))):
        parts.append(part)
        n -= len(part)
    return b"".join(parts)


def _end_of_arrays(header: bytes) -> int:
    """Where the last array ends, counted from the end of the header; 0 for a header that is not valid."""
    try:
        ends = [entry["data_offsets"][1] for name, entry in json.loads(header).items() if name != "__metadata__"]
        return int(max([0, *ends]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
        return 0


def parse_checkpoint(content: bytes, name: str, checksum: Checksum = "sha256") -> tuple[Arrays, dict[str, Any]]:
    """The arrays and values in the content of a checkpoint file, called `name` in errors.

    Raises ValueError as `read_checkpoint` does. Nothing larger than the content is allocated, whatever its header says.
    """
    with _refusing(name):
        arrays: Arrays = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    values, expected = _values_in(metadata, name, checksum)
    if expected != digest(arrays, values, checksum):
        raise ValueError(f"{name} is damaged: its content does not match its checksum")
    del values["format"]
    _check_finite(name, arrays)
    return arrays, values


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Let an error in this context, in which the header of a file is read, say so."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{name} is not a model: it has numbers of type {error}") from None
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        what = " ".join(str(error).split()).replace("deserializing header:", "deserializing:")
        raise ValueError(f"{name} is not a model, or it is damaged: {what}") from None


def _values_in(metadata: dict[str, Any], name: str, checksum: Checksum) -> tuple[dict[str, Any], Any]:
    """The values in the metadata of a file, and the checksum. Raises ValueError if this version does not read them."""
    try:
        values = json.loads(metadata.get("streamlstm", ""))
        expected, version = values.pop(checksum), values["format"]
        if not isinstance(version, int) or version < 1:
            raise ValueError("not the version of a format")
        json.dumps(values)  # which the checksum needs
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{name} is a safetensors file, but streamlstm did not write it") from None
    if version < OLDEST:
        raise ValueError(f"{name} was written before version 1.0; streamlstm 0.1 or 0.2, whichever wrote it, reads it")
    if version > FORMAT:
        raise ValueError(f"{name} was written by a newer streamlstm; this one reads formats up to {FORMAT}")
    return values, expected


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
