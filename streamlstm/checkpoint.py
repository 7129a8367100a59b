"""A checkpoint: named arrays and plain values in one .safetensors file that is whole or is not there."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

FORMAT = 1
"""Raised when a new version writes what an older one would misread."""

Arrays = dict[str, npt.NDArray[Any]]


def write_checkpoint(path: str | os.PathLike[str], arrays: Arrays, values: dict[str, Any]) -> None:
    """Write `arrays` and the JSON-able `values` to `path`: all of it, or on any error nothing.

    A temporary file in the same folder is filled, synced and renamed, so a crash leaves the old file whole.
    """
    _check_finite(path, arrays)
    write_atomically(path, dump_checkpoint(arrays, values))


def dump_checkpoint(arrays: Arrays, values: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    values = {"format": FORMAT, **values}
    about = json.dumps({**values, "sha256": _digest(arrays, values)}, sort_keys=True)
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(contiguous, {"streamlstm": about})


def check_target(path: str | os.PathLike[str], *others: str | os.PathLike[str]) -> None:
    """Raise OSError with one line where `path` could not be written, or is one of the others: now, not after hours."""
    target = Path(path).resolve()
    if target in [Path(name).resolve() for name in others]:
        raise OSError(f"{path} is named twice and would be written over; name another file to write")
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a directory; name a file in it")
    if target.exists() and not target.is_file():
        raise OSError(f"{path} is a device or a pipe; name a regular file")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"cannot write to {path}: its folder is missing or not writable")


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file `path` by `content`, never leaving a part of it."""
    with opened_atomically(path) as file:
        file.write(content)


@contextlib.contextmanager
def opened_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when all is written and synced, and of which an error leaves nothing."""
    check_target(path)
    target = Path(path).resolve()
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mode = target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    with contextlib.suppress(OSError):  # not every system can sync a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and values of a checkpoint.

    Raises OSError where there is no such file, and ValueError with one line for a file that is truncated, corrupt,
    foreign (not ours), newer than this version, or that holds a number that is not finite.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a directory, not a model")
    return parse_checkpoint(Path(path).read_bytes(), os.fspath(path))


def parse_checkpoint(content: bytes, name: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and values of the content of a checkpoint file; `name` is what errors call it.

    Raises ValueError as `read_checkpoint` does.
    """
    try:
        arrays: Arrays = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{name} is not a model, or it is damaged: {error}") from None
    try:
        values = json.loads(metadata.get("streamlstm", ""))
        checksum, is_known = values.pop("sha256"), values["format"] in range(1, FORMAT + 1)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{name} is a safetensors file, but not one that streamlstm wrote") from None
    if checksum != _digest(arrays, values):
        raise ValueError(f"{name} is damaged: its content does not match its checksum")
    if not is_known:
        raise ValueError(f"{name} was written by a newer streamlstm; this one reads up to format {FORMAT}")
    del values["format"]
    _check_finite(name, arrays)
    return arrays, values


def _check_finite(path: str | os.PathLike[str], arrays: Arrays) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{path} is no usable model: {name} holds a number that is not finite")


def _digest(arrays: Arrays, values: dict[str, Any]) -> str:
    """SHA-256 over all that is stored."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
