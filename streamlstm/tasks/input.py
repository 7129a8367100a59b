"""Input as it arrives: blocks of bytes or text from a file or a pipe, and ctrl-C between two of them."""

import codecs
import os
import signal
import stat
import sys
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import BinaryIO

from ..vocabulary import Tokens, Vocabulary

BLOCK = 8192
"""The most bytes that are read at once, so that ctrl-C and a slow reader never wait long."""


FIRST_BLOCK = 128


class Interruptible:
    """Within this context ctrl-C ends `blocks` after the block at work; a second one ends the program.

    `interrupted` tells afterwards whether it came.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self._waiting = False

    def __enter__(self) -> "Interruptible":
        self._previous = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._waiting or self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def read(self, source: BinaryIO, size: int) -> bytes:
        """What is there to read, or b"" at the end or after ctrl-C."""
        try:
            self._waiting = True
            if self.interrupted:
                return b""
            return source.read1(size) if hasattr(source, "read1") else source.read(size)
        except KeyboardInterrupt:
            self.interrupted = True
            return b""
        finally:
            self._waiting = False


def open_input(path: str) -> BinaryIO:
    """The file `path`, or stdin for "-". Raises OSError with a plain message where it cannot be read."""
    if path == "-":
        if sys.stdin is None:
            raise OSError("stdin is closed; name a file")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a directory; name a file, or - for stdin")
    return open(path, "rb")


def is_live(source: BinaryIO) -> bool:
    """Whether more may be written to the source while we read: anything but a regular file."""
    try:
        return not stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def pieces(text: str, control: Interruptible) -> Iterator[str]:
    """Known text in pieces, until its end or ctrl-C."""
    for first in range(0, len(text), BLOCK):
        if control.interrupted:
            return
        yield text[first : first + BLOCK]


def tokens(parts: Iterator[bytes] | Iterator[str], vocabulary: Vocabulary) -> Iterator[Tokens]:
    """The tokens of parts of one stream; an unknown symbol is refused with its position in the whole of it."""
    position = 0
    for part in parts:
        block = vocabulary.encode(part, position)
        position += len(block)
        yield block


def blocks(source: BinaryIO, control: Interruptible) -> Iterator[bytes]:
    """Blocks of bytes as they arrive, until the end or ctrl-C; the first are small, to be answered soon."""
    size = FIRST_BLOCK
    while data := control.read(source, size):
        yield data
        size = min(2 * size, BLOCK)


def text_blocks(source: BinaryIO, control: Interruptible) -> Iterator[str]:
    """Blocks of UTF-8 text; a character that is split between two reads comes whole, one that is broken as U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for data in blocks(source, control):
        if text := decoder.decode(data):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text
