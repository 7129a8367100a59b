"""Input as it arrives: blocks of bytes or text from a file or a pipe, until the end or a signal to stop."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from .portable import open_pipe

if TYPE_CHECKING:
    from ..vocabulary import Tokens, Vocabulary
    from .process import Interruptible

BLOCK = 8192
"""The most bytes that are read at once, so that a signal never has to wait long for the block at hand."""

FIRST_BLOCK = 128
"""The size of the first block; each following block may be twice as large, up to `BLOCK`."""


def open_input(path: str) -> BinaryIO:
    """The file `path`, or stdin for "-", opened for reading. Raises OSError if it cannot be read."""
    if path == "-":
        if sys.stdin is None:
            raise OSError("stdin is closed; name a file")
        return _opened(io.FileIO(os.dup(sys.stdin.fileno())))
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a directory; name a file, or - for stdin")
    return _opened(io.FileIO(path))


def _opened(file: io.FileIO) -> BinaryIO:
    return open_pipe(file) if is_live(file) else io.BufferedReader(file)


def is_live(source: BinaryIO | io.FileIO) -> bool:
    """Whether the source may still be written to while it is read: true of everything but a regular file."""
    try:
        return not stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def blocks(source: BinaryIO, control: Interruptible) -> Iterator[bytes]:
    """Blocks of bytes as they arrive, until the end or a signal.

    The first ones are small, so that output starts early.
    """
    size = FIRST_BLOCK
    while data := control.read(source, size):
        yield data
        size = min(2 * size, BLOCK)


def text_blocks(source: BinaryIO, control: Interruptible) -> Iterator[str]:
    """Blocks of UTF-8 text, cut at whole characters. Invalid bytes become U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for data in blocks(source, control):
        if text := decoder.decode(data):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def chunks(text: str, control: Interruptible) -> Iterator[str]:
    """Chunks of a known text, until its end or a signal."""
    for first in range(0, len(text), BLOCK):
        if control.interrupted:
            return
        yield text[first : first + BLOCK]


def tokens(parts: Iterable[bytes] | Iterable[str], vocabulary: Vocabulary) -> Iterator[Tokens]:
    """The tokens of each part of a stream. An error names the position of an unknown symbol in the whole stream."""
    position = 0
    for part in parts:
        block = vocabulary.encode(part, position)
        position += len(block)
        yield block
