"""Inputs that cannot be followed, as bytes: pipes and compressed files."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import os
import zlib
from importlib.util import find_spec
from typing import Any, BinaryIO, cast

from ..system.input import is_live, open_input
from ..system.process import Interruptible
from .follow import BLOCK, FilePlace

MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2"}
"""The first bytes of a compressed file. Of gzip, xz and bzip2 the standard library has readers."""

DAMAGED = (EOFError, OSError, lzma.LZMAError, zlib.error, ValueError, RuntimeError)
"""What the readers raise for a file that is truncated or damaged."""

_BZIP2_BLOCK = b"1AY&SY"


def compression_of(path: str) -> str:
    """The compression of a file: gzip, xz, zstd or bzip2; "" for any other file. Raises OSError if it is unreadable."""
    with open_input(path) as file:
        head = file.read(10)
    for magic, name in MAGIC.items():
        if head.startswith(magic) and (name != "bzip2" or head[4:] == _BZIP2_BLOCK):
            return name
    return ""


class Pipe:
    """The bytes of stdin or of another pipe, as they come.

    path     of the pipe; - for stdin
    control  ends reading when a signal comes

    is_live  whether it may be written to while it is read; a regular file as stdin is not
    """

    rotation, is_complete = 0, False

    def __init__(self, path: str, control: Interruptible) -> None:
        self.path, self.offset, self.is_at_end = path, 0, False
        self.notes: list[str] = []
        self._control = control
        file = open_input(path)
        self.is_live = is_live(file)
        self._file: Any = file.detach() if isinstance(file, io.BufferedReader) else file

    def is_ready(self, seconds: float) -> bool:
        """Whether bytes, or the end, come within this time."""
        return self._control.wait(seconds, self._file)

    def read(self) -> bytes:
        """The next bytes, as soon as there are any; b"" at the end or after a signal."""
        data = self._control.read(self._file, BLOCK if self.offset else 128)
        self.offset += len(data)
        self.is_at_end = not data
        return data

    def place(self, offset: int) -> FilePlace:
        """A pipe has no places to continue from."""
        return FilePlace(0, 0, b"")

    def n_unread(self) -> int:
        """0: how much a pipe holds is not known."""
        return 0

    def close(self) -> None:
        """Close the pipe."""
        self._file.close()

    def advance(self) -> None:
        """Nothing follows a pipe."""


class CompressedFile:
    """The bytes of a compressed file.

    path         of the file
    compression  as `compression_of` names it
    place        where to continue: the offset counts uncompressed bytes. If the inode is not that of the file, it is
                 another one, and `rotation` increases

    Raises OSError if the file cannot be read, ValueError if its compression needs a library that is not installed.
    """

    is_complete = False

    def __init__(self, path: str, compression: str, place: FilePlace | None = None, rotation: int = 0) -> None:
        self.path, self.rotation, self.offset, self.is_at_end = path, rotation, 0, False
        self.notes: list[str] = []
        self._raw = open_input(path)
        self._size = os.fstat(self._raw.fileno()).st_size
        self._file = _decompressed(self._raw, compression, path)
        self._inode = os.fstat(self._raw.fileno()).st_ino
        if place is not None and place.inode == self._inode:
            while self.offset < place.offset and self._read(min(BLOCK, place.offset - self.offset)):
                pass
        elif place is not None and place.offset:
            self.notes.append(f"{path} is another file than before; reading from the beginning")
            self.rotation += 1

    def read(self) -> bytes:
        """The next bytes; b"" at the end. A file that is damaged or truncated ends there, with a note."""
        data = self._read(BLOCK)
        self.is_at_end = not data
        return data

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except DAMAGED as error:
            self.notes.append(f"{self.path} is damaged or truncated after {self.offset:,} bytes: {error}")
            return b""
        self.offset += len(data)
        return data

    def place(self, offset: int) -> FilePlace:
        """The position of an offset in the uncompressed bytes."""
        return FilePlace(self._inode, offset, b"")

    def n_unread(self) -> int:
        """The number of compressed bytes that were not read yet."""
        return max(self._size - self._raw.tell(), 0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()

    def advance(self) -> None:
        """Nothing follows a compressed file."""


def _decompressed(raw: BinaryIO, compression: str, path: str) -> BinaryIO:
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if compression == "xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if compression == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(raw))
    return _zstd(raw, path)


def _zstd(raw: BinaryIO, path: str) -> BinaryIO:
    """From Python 3.14 on the standard library can read it."""
    module: Any
    if _is_there("compression.zstd"):
        module = importlib.import_module("compression.zstd")
        return cast(BinaryIO, module.ZstdFile(raw))
    if _is_there("zstandard"):
        module = importlib.import_module("zstandard")
        return io.BufferedReader(module.ZstdDecompressor().stream_reader(raw, read_across_frames=True))
    raise ValueError(f"{path} is compressed with zstd, which requires: pip install 'streamlstm[zstd]'")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
