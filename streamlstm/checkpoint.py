"""Checkpoints: named arrays and JSON-able values in one .safetensors file, written completely or not at all."""

import contextlib
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
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT = 2
"""The version of the format; it increases when a new version writes what an older one would misread."""
OLDEST = 2
"""The oldest that is read: that of version 1.0."""

LEFTOVER_SECONDS = 60.0
"""A temporary file that was written to within this time may still be in use."""

Arrays = dict[str, npt.NDArray[Any]]
Checksum = Literal["sha256", "crc32"]


def write_checkpoint(path: str | os.PathLike[str], arrays: Arrays, values: dict[str, Any]) -> None:
    """Write `arrays` and the JSON-able `values` to `path`.

    Raises ValueError for a number that is not finite, OSError if the file cannot be written. On any error, and after a
    crash, an older file of that name is unchanged.
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
    deleted, and `path` is unchanged.
    """
    check_target(path)
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    created = 0o666 if mode is None else mode
    try:
        with io.BufferedWriter(_NamedFile(temporary, path, created)) as file:
            yield file
            file.flush()
            with _naming(path):
                os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(target.parent)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Delete the temporary files of `path` that a process left when it was killed; those of the last minute stay."""
    target = Path(path).resolve()
    for file in target.parent.glob(f".{glob.escape(target.name[:50])}.{'[0-9a-f]' * 16}.part"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > LEFTOVER_SECONDS:
                file.unlink()


class _NamedFile(io.FileIO):
    """A new file whose errors name the file that it replaces, as `open` does: "No space left on device" names none."""

    def __init__(self, temporary: Path, path: str | os.PathLike[str], mode: int) -> None:
        super().__init__(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode))
        self._path = path

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        with _naming(self._path):
            return super().write(data)


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give an OSError in this context the path as its file name, if it has none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the renaming of a file in it survive a crash of the system, where the system can do so: not on Windows."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
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
