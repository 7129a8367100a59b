"""Input as it arrives: blocks of bytes or text from a file or a pipe, until the end or a signal to stop."""

from __future__ import annotations

import codecs
import os
import signal
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from ..vocabulary import Tokens, Vocabulary

BLOCK = 8192
"""The most bytes that are read at once, so that a signal never has to wait long for the block at hand."""

FIRST_BLOCK = 128
"""The size of the first block; each following block may be twice as large, up to `BLOCK`."""

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that ask a program to stop. Windows has no SIGHUP."""


REPEAT_SECONDS = 0.1
"""A signal that follows another within this time is the same request: `timeout` and shells send signals twice."""


class Interrupted(KeyboardInterrupt):
    """Raised when a signal stops the program.

    exit_code  128 + the number of the signal: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP
    at_once    whether it was a second request to stop
    """

    def __init__(self, number: int, at_once: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code, self.at_once = 128 + number, at_once


def exit_at_once(number: int, frame: FrameType | None) -> None:
    """A signal handler that ends the process without cleaning up."""
    os._exit(128 + number)


def handle_stop_signals(handler: Any) -> dict[int, Any]:
    """Set the handler of the `STOP_SIGNALS`, and return the previous handlers by signal.

    SIGHUP stays ignored where it is ignored: that is how `nohup` works.
    """
    numbers = [number for number in STOP_SIGNALS if not _is_ignored_hangup(number)]
    return {number: signal.signal(number, handler) for number in numbers}


def _is_ignored_hangup(number: int) -> bool:
    return number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN


class Interruptible:
    """A context in which SIGINT, SIGTERM and SIGHUP end `blocks` after the block at hand.

    A second signal raises `Interrupted`. With `raises=True` the first one does.

    interrupted  whether a signal has come
    exit_code    128 + its number; 0 if none has come
    """

    def __init__(self, raises: bool = False) -> None:
        self.interrupted, self.exit_code = False, 0
        self._raises, self._is_waiting = raises, False
        self._time = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruptible:
        self._previous = handle_stop_signals(self.interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def interrupt(self, number: int, frame: FrameType | None = None) -> None:
        """Do what is done when this signal comes."""
        is_second = self.interrupted
        if is_second and time.monotonic() - self._time < REPEAT_SECONDS:
            return
        self.interrupted, self.exit_code, self._time = True, 128 + number, time.monotonic()
        if is_second or self._raises or self._is_waiting:
            raise Interrupted(number, at_once=is_second)

    def raise_if_interrupted(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.interrupted:
            raise Interrupted(self.exit_code - 128)

    def read(self, source: BinaryIO, size: int) -> bytes:
        """Up to `size` bytes, as soon as there are any; b"" at the end of the source or after a signal."""
        try:
            self._is_waiting = True
            if self.interrupted:
                return b""
            return source.read1(size) if hasattr(source, "read1") else source.read(size)
        except Interrupted as error:
            if error.at_once:
                raise
            return b""
        finally:
            self._is_waiting = False


def open_input(path: str) -> BinaryIO:
    """The file `path`, or stdin for "-", opened for reading. Raises OSError if it cannot be read."""
    if path == "-":
        if sys.stdin is None:
            raise OSError("stdin is closed; name a file")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a directory; name a file, or - for stdin")
    return open(path, "rb")


def is_live(source: BinaryIO) -> bool:
    """Whether the source may still be written to while it is read: true of everything but a regular file."""
    try:
        return not stat.S_ISREG(os.fstat(source.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def blocks(source: BinaryIO, control: Interruptible) -> Iterator[bytes]:
    """Blocks of bytes as they arrive, until the end or a signal. The first ones are small, to be processed soon."""
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
