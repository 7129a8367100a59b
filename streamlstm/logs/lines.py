"""Blocks of bytes as lines, in bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple

MAX_RAW_BYTES = 2**20
"""Of a longer line only the beginning is kept. Messages are truncated further; this is for the JSON around them."""


class RawLine(NamedTuple):
    """A line as it came.

    data      the line with its newline, at most MAX_RAW_BYTES bytes of it
    n_bytes   its length in the input
    """

    data: bytes
    n_bytes: int


class LineSplitter:
    r"""Split blocks of bytes into lines.

    NUL bytes at the beginning of a line are dropped: a file that is truncated while it is written gets a hole there.

    n_nuls  the number of NUL bytes dropped

    >>> splitter = LineSplitter()
    >>> [line.data for line in splitter.feed(b"one\ntw")], [line.data for line in splitter.feed(b"o\nthr")]
    ([b'one\n'], [b'two\n'])
    >>> splitter.rest()
    RawLine(data=b'thr', n_bytes=3)
    """

    def __init__(self, limit: int = MAX_RAW_BYTES) -> None:
        self.n_nuls = 0
        self._limit = limit
        self._parts = bytearray()
        self._n_bytes = 0

    @property
    def n_waiting(self) -> int:
        """The number of bytes since the last newline."""
        return self._n_bytes

    @property
    def is_in_hole(self) -> bool:
        """Whether there were only NUL bytes since the last newline."""
        return self._n_bytes > 0 and not self._parts

    def feed(self, block: bytes) -> Iterator[RawLine]:
        """The lines that end in this block, with their newlines."""
        start = 0
        while (end := block.find(b"\n", start) + 1) > 0:
            if self._n_bytes == 0 and end - start <= self._limit and block[start]:
                yield RawLine(block[start:end], end - start)
            else:
                self._append(block[start:end])
                yield self.rest()
            start = end
        self._append(block[start:])

    def rest(self) -> RawLine:
        """What follows the last newline; the splitter then begins anew."""
        line = RawLine(bytes(self._parts), self._n_bytes)
        self._parts.clear()
        self._n_bytes = 0
        return line

    def _append(self, part: bytes) -> None:
        self._n_bytes += len(part)
        if not self._parts:
            content = part.lstrip(b"\0")
            self.n_nuls += len(part) - len(content)
            part = content
        self._parts += part[: self._limit - len(self._parts)]
