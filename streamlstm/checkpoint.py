"""Checkpoints: named arrays and JSON values in one .safetensors file, written completely or not at all."""

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from functools import cache, reduce
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from .system.files import check_is_file, write_atomically

FORMAT = 2
"""The version of the format; it increases when a new version writes what an older one would misread."""
OLDEST = 2
"""The oldest that is read: that of version 1.0."""

LONGEST_HEADER = 100_000_000
"""The most bytes of a header that safetensors reads."""

_DTYPES = {"F64", "F32", "F16", "I64", "U64", "I32", "U32", "I16", "U16", "I8", "U8", "BOOL", "C64"}
"""The types of numbers that NumPy has."""


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


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and values of a checkpoint file.

    Raises OSError if the file cannot be read, and ValueError with one line for a file that is truncated, corrupt, not
    written by streamlstm, or written by a newer version or one before 1.0, and for a number that is not finite.
    """
    check_is_file(path)
    with open(path, "rb") as file:
        return parse_checkpoint(_read_content(file), os.fspath(path))


def read_header(path: str | os.PathLike[str]) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """The shapes of the arrays of a checkpoint file by name, and its values. Of a regular file no array is read.

    Raises as `read_checkpoint` does, except for what only arrays tell: a wrong checksum, a number that is not finite.
    """
    check_is_file(path)
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
