"""Characters gathered into units: words, lines or all of them, each with the place where it stands.

What is known of each character comes in chunks, as the text streams; a unit may reach over many of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint32]

NEWLINE, RETURN = 10, 13
BROKEN = (0xDC80, 0xDCFF)
"""The lone surrogates that stand for bytes that are no UTF-8, first and last (Python's `surrogateescape`)."""
SPACES = np.array([point for point in range(0x3001) if chr(point).isspace()], dtype=np.uint32)


@dataclass(frozen=True)
class Scores:
    """n units of a text, in their order, with their surprisals and places.

    bits       float64 [n]
    n_symbols  int64 [n], how many symbols each was charged for
    lines      int64 [n], from 1
    columns    int64 [n], from 1, in characters (code points) of the line
    offsets    int64 [n], from 0, in bytes of the input
    texts      n strings without the white space that ends them; a byte that is no UTF-8 stands as Python's
               `surrogateescape` writes it
    """

    bits: F64
    n_symbols: I64
    lines: I64
    columns: I64
    offsets: I64
    texts: list[str]

    def rows(self, which: slice) -> Scores:
        """Some of the units."""
        return Scores(
            self.bits[which].copy(),
            self.n_symbols[which].copy(),
            self.lines[which],
            self.columns[which],
            self.offsets[which],
            self.texts[which],
        )


def code_points(text: str) -> Points:
    """The code points of a text, uint32 [n]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def byte_widths(points: Points) -> I64:
    """How many bytes of UTF-8 each code point takes, int64 [n]; 1 for what stands for a broken byte."""
    widths = 1 + (points >= 0x80) + (points >= 0x800).astype(np.int64) + (points >= 0x10000)
    widths[(points >= BROKEN[0]) & (points <= BROKEN[1])] = 1
    return widths


def is_space(points: Points) -> npt.NDArray[np.bool_]:
    """Which code points are white space, bool [n]."""
    if not len(points):
        return np.zeros(0, dtype=np.bool_)
    table = np.zeros(max(int(points.max()), int(SPACES[-1])) + 1, dtype=np.bool_)
    table[SPACES] = True
    spaces: npt.NDArray[np.bool_] = table[points]
    return spaces


@dataclass(frozen=True)
class Chunk:
    """Characters of a text that were observed together, n of them, m symbols: surprisals and places."""

    text: str
    points: Points
    symbol_bits: npt.NDArray[np.float32]
    bits: F64
    n_symbols: I64
    lines: I64
    columns: I64
    offsets: I64
    ended: bool


class Place:
    """Where the next character of a text stands."""

    def __init__(self) -> None:
        self.line, self.column, self.offset = 1, 1, 0

    def move(self, points: Points, widths: I64) -> tuple[I64, I64, I64]:
        """Line, column and byte offset of each of these characters; then stand behind them."""
        n = len(points)
        indices = np.arange(n + 1)
        ends = np.zeros(n + 1, dtype=np.int64)  # 1 behind each newline
        ends[1:] = points == NEWLINE
        lines = self.line + np.cumsum(ends)
        columns = indices - np.maximum.accumulate(np.where(ends == 1, indices, 1 - self.column)) + 1
        offsets = np.concatenate([[0], np.cumsum(widths)]) + self.offset
        self.line, self.column, self.offset = int(lines[-1]), int(columns[-1]), int(offsets[-1])
        return lines[:-1], columns[:-1], offsets[:-1]


class Resets:
    """Before which characters of a text the context is forgotten."""

    def __init__(self, reset: str) -> None:
        self._reset = reset
        self._at_start = True  # of a line
        self._blank = True  # nothing but white space in this line so far
        self._after_blank = True  # the line before it was blank; the text begins as if there were one

    def before(self, points: Points) -> list[int]:
        """Indices among these characters, which follow those of the last call."""
        if self._reset not in ("line", "blank-line") or not len(points):
            return []
        newlines = np.flatnonzero(points == NEWLINE)
        starts = newlines + 1
        content = np.concatenate([[0 if self._blank else 1], ~is_space(points)]).cumsum()
        before = np.concatenate([[0], content[starts]])  # content up to the end of each line
        blank = np.concatenate([[self._after_blank], np.diff(before) == 0])
        if self._at_start:
            starts = np.concatenate([[0], starts])
        else:
            blank = blank[1:]
        self._blank = bool(content[-1] == before[-1])
        self._after_blank = bool(blank[-1]) if len(blank) else self._after_blank
        self._at_start = bool(points[-1] == NEWLINE)
        inside = starts < len(points)
        starts, blank = starts[inside], blank[: len(starts)][inside]
        if self._reset == "blank-line":
            starts = starts[blank & (points[starts] != NEWLINE) & (points[starts] != RETURN)]
        return [int(start) for start in starts]


class Units:
    """Characters gathered into units; the last one stays open until it is known to be complete.

    A separator is what a unit's text does not reach over: white space for words, a newline for lines. A unit begins
    behind one, a word at the next character that is none.
    """

    def __init__(self, by: str, leading: bool) -> None:
        self._by, self._leading = by, leading
        self._behind_separator = True
        self._open: Scores | None = None  # one unit, without its text
        self._text: list[str] = []  # the parts of its text
        self._held_bits, self._held_symbols = 0.0, 0  # of white space whose word has not come yet

    def add(self, chunk: Chunk) -> Scores:
        """The units that this chunk completes."""
        separators = self._separators(chunk.points)
        behind = np.concatenate([[self._behind_separator], separators])
        starts = np.flatnonzero(behind[:-1] & ~separators if self._by == "word" else behind[:-1])
        first_text, texts = self._texts(chunk.text, starts, np.flatnonzero(separators))
        edges = self._edges(starts, separators)
        bits, n_symbols = _sums(chunk.bits, edges), _sums(chunk.n_symbols, edges)
        places = chunk.lines[starts], chunk.columns[starts], chunk.offsets[starts]
        table = Scores(bits[1:-1], n_symbols[1:-1], *places, texts)
        if len(starts):
            table.bits[0] += self._held_bits
            table.n_symbols[0] += self._held_symbols
            self._held_bits, self._held_symbols = 0.0, 0
        self._held_bits += float(bits[-1])
        self._held_symbols += int(n_symbols[-1])
        if self._open is not None:
            self._open.bits[0] += bits[0]
            self._open.n_symbols[0] += n_symbols[0]
            self._text.append(first_text)
            table = _joined(self._open, table)
        self._behind_separator = bool(behind[-1])
        return self._end(table) if chunk.ended else self._complete(table)

    def _separators(self, points: Points) -> npt.NDArray[np.bool_]:
        if self._by == "word":
            return is_space(points)
        if self._by == "line":
            newlines: npt.NDArray[np.bool_] = points == NEWLINE
            return newlines
        return np.full(len(points), self._by == "char")

    def _texts(self, text: str, starts: I64, separators: I64) -> tuple[str, list[str]]:
        """What goes on with the text of the open unit, and the texts of those that begin here."""
        if self._by == "char":
            return "", list(text)
        if self._by == "file":
            return "", [""] * len(starts)
        stops = np.append(separators, len(text))
        ends = stops[np.searchsorted(separators, starts)]
        until = min(int(stops[0]), int(starts[0]) if len(starts) else len(text))
        return text[:until], [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _edges(self, starts: I64, separators: npt.NDArray[np.bool_]) -> I64:
        """Where the symbols of the open unit, of each new one, and of the white space to be held begin."""
        n = len(separators)
        if self._leading:
            behind_words = np.concatenate([[0], np.flatnonzero(~separators) + 1])
            cuts = behind_words[np.searchsorted(behind_words, starts, side="right") - 1]
            return np.concatenate([[0], cuts, behind_words[-1:]])
        if self._open is None and not len(starts):
            return np.array([0, 0])
        cuts = starts if self._open is not None else np.concatenate([[0], starts[1:]])
        return np.concatenate([[0], cuts, [n]])

    def _complete(self, table: Scores) -> Scores:
        """The units of a table, without the last one if more of it may come."""
        if not len(table.bits):
            return table
        closed = self._by == "char" or (self._by == "line" and self._behind_separator)
        whole = table if closed else table.rows(slice(-1))
        last = table.rows(slice(-1, None))
        if self._open is not None and len(whole.bits):
            whole.texts[0] = "".join(self._text)
        if self._open is None or len(table.bits) > 1:
            self._text = list(last.texts)
        self._open = None if closed else last
        return whole

    def _end(self, table: Scores) -> Scores:
        """All units that are left, with the white space that still waits for a word."""
        if not len(table.bits) and self._held_symbols:
            one = np.ones(1, dtype=np.int64)
            table = Scores(np.zeros(1), 0 * one, one, one, 0 * one, [""])
        if len(table.bits):
            table.bits[-1] += self._held_bits
            table.n_symbols[-1] += self._held_symbols
        if self._open is not None:
            table.texts[0] = "".join(self._text)
        return table


def _sums(values: npt.NDArray[Any], edges: I64) -> npt.NDArray[Any]:
    """The sums of values between each edge and the next, and from the last one to the end."""
    sums = np.add.reduceat(np.append(values, values.dtype.type(0)), edges)
    sums[:-1][edges[1:] == edges[:-1]] = 0
    return sums


def _joined(a: Scores, b: Scores) -> Scores:
    return Scores(
        np.concatenate([a.bits, b.bits]),
        np.concatenate([a.n_symbols, b.n_symbols]),
        np.concatenate([a.lines, b.lines]),
        np.concatenate([a.columns, b.columns]),
        np.concatenate([a.offsets, b.offsets]),
        a.texts + b.texts,
    )
