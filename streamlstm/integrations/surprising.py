"""The end of a file, and the most surprising lines in it."""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from ..predictor import StreamPredictor
from ..watch.surprising import WARMUP_FRACTION, SurprisingKinds, SurprisingLine
from ..watch.watcher import WARMUP

BLOCK = 1 << 20

TIME = re.compile(rb"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?")
"""A date, or a date and a time, as ISO 8601 writes them."""


class Position(NamedTuple):
    """Where a line is.

    number  of the line in its file, from 1
    offset  of its first byte in the file
    """

    number: int
    offset: int


class Tail(NamedTuple):
    """The last lines of a file.

    lines   with their newlines
    number  of the first of them in the file, from 1
    offset  of its first byte
    """

    lines: list[bytes]
    number: int
    offset: int


def read_tail(file: BinaryIO, max_bytes: int) -> Tail:
    """The last lines of a file, in all at most `max_bytes`, or the end of its last line if that alone is longer."""
    size = file.seek(0, 2)
    start = max(0, size - max_bytes)
    file.seek(0)
    n_newlines, left, is_line_start = 0, start, True
    while left and (block := file.read(min(BLOCK, left))):
        n_newlines += block.count(b"\n")
        left -= len(block)
        is_line_start = block.endswith(b"\n")
    data = file.read(size - start)
    if not is_line_start:
        cut = data.find(b"\n") + 1 or len(data)
        if cut < len(data):
            data, start, n_newlines = data[cut:], start + cut, n_newlines + 1
    return Tail(_split(data), n_newlines + 1, start)


def surprising_lines(predictor: StreamPredictor, tail: Tail, top: int, since: str = "") -> list[SurprisingLine]:
    """The lines with the largest z, one of each kind, the largest first, with their `Position`; see `SurprisingKinds`.

    top    how many at most
    since  only lines from here on: the number of a line, or a date and time in ISO 8601 or the beginning of one, as the
           lines show it; a line without one counts as one of the line before it

    The predictor changes. The lines before serve to learn what is usual, and so do the first lines, which are not
    reported themselves: a hundred, or in a file of fewer than 400 lines a quarter of them. Raises ValueError for any
    other `since` and for a negative `top`.
    """
    if top < 0:
        raise ValueError(f"top must be at least 0, not {top}")
    first = _first_since(tail, since)
    warmup = min(WARMUP, len(tail.lines) // WARMUP_FRACTION)
    kinds = SurprisingKinds[Position](predictor, warmup=warmup, thorough=True)
    offset = tail.offset
    for index, data in enumerate(tail.lines):
        text = data.removesuffix(b"\n").decode("utf-8", "surrogateescape")
        kinds.take(text, Position(tail.number + index, offset), is_reported=index >= first)
        offset += len(data)
    return kinds.top(top)


def _first_since(tail: Tail, since: str) -> int:
    """The index of the first line from `since` on."""
    if not since:
        return 0
    if since.isascii() and since.isdigit():
        return max(0, int(since) - tail.number)
    wanted = since.encode("utf-8", "surrogateescape").replace(b"T", b" ")
    if not re.fullmatch(rb"\d{4}-\d\d(-\d\d( \d\d(:\d\d(:\d\d)?)?)?)?", wanted):
        raise ValueError(f"since must be a line number or a date and time such as 2026-11-26 14:30, not {since!r}")
    times = (TIME.search(line) for line in tail.lines)
    stamps = (None if time is None else time[0].replace(b"T", b" ")[: len(wanted)] for time in times)
    return next((index for index, stamp in enumerate(stamps) if stamp and stamp >= wanted), len(tail.lines))


def _split(data: bytes) -> list[bytes]:
    """The lines with their newlines; the last one may have none."""
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])
