"""The end of a file, and the most surprising lines in it."""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

from ..logs.timestamps import iso_shown
from ..predictor import StreamPredictor
from ..ranges import check_count
from ..watch.surprising import WARMUP_FRACTION, SurprisingKinds, SurprisingLine
from ..watch.watcher import WARMUP

BLOCK = 1 << 20

DATE = re.compile(rb"\d{4}-\d\d-\d\d[0-9T :.,Z+-]*")
"""A date in a line, and what may be the time behind it."""


class Position(NamedTuple):
    """Where a line is.

    number  of the line in its file, from 1; 0 if it is not known
    offset  of its first byte in the file
    """

    number: int
    offset: int


class Tail(NamedTuple):
    """The last lines of a file.

    lines   with their newlines
    number  of the first of them in the file, from 1; 0 if it is not known
    offset  of its first byte
    """

    lines: list[bytes]
    number: int
    offset: int


def read_tail(file: BinaryIO, max_bytes: int, max_counted: int | None = None) -> Tail:
    """The last lines of a file, in all at most `max_bytes`, or the end of its last line if that alone is longer.

    max_counted  if more bytes are before them, these are not read, and the number of the first line is 0: not known
    """
    size = file.seek(0, 2)
    start = max(0, size - max_bytes)
    is_counted = max_counted is None or start <= max_counted
    left = start if is_counted else 1
    file.seek(start - left if start else 0)
    n_newlines, is_line_start = 0, True
    while start and left and (block := file.read(min(BLOCK, left))):
        n_newlines += block.count(b"\n")
        left -= len(block)
        is_line_start = block.endswith(b"\n")
    data = file.read(size - start)
    if not is_line_start:
        cut = data.find(b"\n") + 1 or len(data)
        if cut < len(data):
            data, start, n_newlines = data[cut:], start + cut, n_newlines + 1
    return Tail(_split(data), n_newlines + 1 if is_counted else 0, start)


def surprising_lines(predictor: StreamPredictor, tail: Tail, top: int, since: str = "") -> list[SurprisingLine]:
    """The lines with the largest z, one of each kind, the largest first, with their `Position`; see `SurprisingKinds`.

    top    how many at most
    since  only lines from here on: the number of a line (all digits: "2026" is a line), or a date and time in ISO 8601
           or the beginning of one; a line without one counts as one of the line before it. Times are compared as the
           lines show them, or if both have an offset, as moments

    The predictor changes. The lines before serve to learn what is usual, and so do the first lines, which are not
    reported themselves: a hundred, or in a file of fewer than 400 lines a quarter of them. Raises ValueError for any
    other `since` and for a negative `top`.
    """
    top = check_count("top", top, 0)
    first = _first_since(tail, since)
    warmup = min(WARMUP, len(tail.lines) // WARMUP_FRACTION)
    kinds = SurprisingKinds[Position](predictor, warmup=warmup, thorough=True)
    offset = tail.offset
    for index, data in enumerate(tail.lines):
        text = data.removesuffix(b"\n").decode("utf-8", "surrogateescape")
        number = tail.number + index if tail.number else 0
        kinds.take(text, Position(number, offset), is_reported=index >= first)
        offset += len(data)
    return kinds.top(top)


def _first_since(tail: Tail, since: str) -> int:
    """The index of the first line from `since` on."""
    if not since:
        return 0
    if since.isascii() and since.isdigit():
        if not tail.number:
            raise ValueError("the lines of so long a file are not numbered; give since as a date and time")
        return max(0, int(since) - tail.number) if len(since) <= 18 else len(tail.lines)
    wanted = iso_shown(since)
    if wanted is None:
        raise ValueError(f"since must be a line number or a date and time such as 2026-11-26 14:30, not {since!r}")
    for index, line in enumerate(tail.lines):
        found = DATE.search(line)
        shown = None if found is None else iso_shown(found[0].decode("ascii"), is_prefix=True)
        if shown is not None and shown.is_from(wanted):
            return index
    return len(tail.lines)


def _split(data: bytes) -> list[bytes]:
    """The lines with their newlines; the last one may have none."""
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])
