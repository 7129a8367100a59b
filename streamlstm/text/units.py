"""Units of a text: characters grouped into words, lines or the whole text, each with its position.

The characters arrive in chunks, as the text streams. A unit may span many chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F64, I64
from ..vocabulary import Vocabulary

Points = npt.NDArray[np.uint32]

NEWLINE, RETURN = 10, 13
ESCAPED_BYTES = (0xDC80, 0xDCFF)
"""The first and the last surrogate that stand for a byte that is not valid UTF-8 (Python's `surrogateescape`)."""
SPACES = np.array([point for point in range(0x3001) if chr(point).isspace()], dtype=np.uint32)

MAX_TEXT = 65536
"""The text of a longer unit is its first `MAX_TEXT` characters and "…", so that memory does not grow with the input."""


@dataclass(frozen=True, eq=False)
class Scores:
    """The surprisals and positions of n units of a text, in text order.

    bits       float64 [n]
    n_symbols  int64 [n], the number of symbols assigned to each unit
    lines      int64 [n], from 1
    columns    int64 [n], from 1, in characters (code points) of the line
    offsets    int64 [n], from 0, in bytes of the input
    texts      n strings without the white space that ends them, truncated after `MAX_TEXT` characters; a byte that
               is not valid UTF-8 is a lone surrogate (Python's `surrogateescape`)
    alone      float64 [n, K] if asked for: the bits under each of the K experts of the memory alone
    """

    bits: F64
    n_symbols: I64
    lines: I64
    columns: I64
    offsets: I64
    texts: list[str]
    alone: F64 | None = None

    def rows(self, which: slice) -> Scores:
        """A copy of some of the units."""
        return Scores(*(column[which].copy() for column in vars(self).values() if column is not None))


def code_points(text: str) -> Points:
    """The code points of a text, uint32 [n]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def byte_widths(points: Points) -> I64:
    """The number of UTF-8 bytes of each code point, int64 [n]; 1 for an escaped byte."""
    widths = 1 + (points >= 0x80) + (points >= 0x800).astype(np.int64) + (points >= 0x10000)
    widths[(points >= ESCAPED_BYTES[0]) & (points <= ESCAPED_BYTES[1])] = 1
    return widths


def decoded(part: str | bytes) -> str:
    """The characters of a text; a byte that is not valid UTF-8 becomes a lone surrogate (`surrogateescape`)."""
    return part if isinstance(part, str) else part.decode("utf-8", "surrogateescape")


def readable(part: str | bytes, vocabulary: Vocabulary) -> str | bytes:
    """What a vocabulary encodes of a text: one of characters reads U+FFFD for each byte that is not valid UTF-8."""
    if vocabulary.characters is None or part.isascii():
        return part
    return decoded(part).translate(dict.fromkeys(range(ESCAPED_BYTES[0], ESCAPED_BYTES[1] + 1), "\ufffd"))


def is_space(points: Points) -> npt.NDArray[np.bool_]:
    """Whether each code point is white space, bool [n]."""
    if not len(points):
        return np.zeros(0, dtype=np.bool_)
    table = np.zeros(max(int(points.max()), int(SPACES[-1])) + 1, dtype=np.bool_)
    table[SPACES] = True
    spaces: npt.NDArray[np.bool_] = table[points]
    return spaces


@dataclass(frozen=True, eq=False)
class Chunk:
    """n characters of a text that were observed together, with their surprisals and positions.

    text         the characters
    points       uint32 [n], their code points
    symbol_bits  float32 [m], the surprisal of each symbol
    bits         float64 [n], the surprisal of each character
    n_symbols    int64 [n], the number of symbols of each character
    lines        int64 [n], from 1
    columns      int64 [n], from 1
    offsets      int64 [n], from 0, in bytes
    ended        whether the text ends here
    alone        float64 [m, K] if asked for: the surprisal of each symbol under each expert alone
    """

    text: str
    points: Points
    symbol_bits: npt.NDArray[np.float32]
    bits: F64
    n_symbols: I64
    lines: I64
    columns: I64
    offsets: I64
    ended: bool
    alone: F64 | None = None


class TextPosition:
    """The index, line, column and byte offset of the next character of a text."""

    def __init__(self) -> None:
        self.index, self.line, self.column, self.offset = 0, 1, 1, 0

    def advance(self, points: Points, widths: I64) -> tuple[I64, I64, I64]:
        """Line, column and byte offset of each of these characters; the position moves past them."""
        n = len(points)
        indices = np.arange(n + 1)
        after_newline = np.zeros(n + 1, dtype=np.int64)
        after_newline[1:] = points == NEWLINE
        lines = self.line + np.cumsum(after_newline)
        line_starts = np.maximum.accumulate(np.where(after_newline == 1, indices, 1 - self.column))
        columns = indices - line_starts + 1
        offsets = np.concatenate([[0], np.cumsum(widths)]) + self.offset
        self.index += n
        self.line, self.column, self.offset = int(lines[-1]), int(columns[-1]), int(offsets[-1])
        return lines[:-1], columns[:-1], offsets[:-1]


class ResetPoints:
    """Finds the characters before which the context is reset.

    context_reset  line: the first character of each line; blank-line: of each paragraph; others: none
    """

    def __init__(self, context_reset: str) -> None:
        self._context_reset = context_reset
        self._at_line_start = True
        self._line_is_blank = True  # so far
        self._after_blank_line = True  # the start of the text counts as the end of a blank line

    def before(self, points: Points) -> list[int]:
        """Indices of those characters among `points`, which continue the text of the last call."""
        if self._context_reset not in ("line", "blank-line") or not len(points):
            return []
        starts = np.flatnonzero(points == NEWLINE) + 1
        # A line is blank if the running count of its non-space characters is the same at its end as at its start.
        # The first entry stands for the part of the current line in earlier calls.
        visible = np.concatenate([[not self._line_is_blank], ~is_space(points)]).cumsum()
        at_line_ends = np.concatenate([[0], visible[starts]])
        after_blank = np.concatenate([[self._after_blank_line], np.diff(at_line_ends) == 0])
        # after_blank[0] is for the line that points[0] belongs to, which may have started in an earlier call.
        if self._at_line_start:
            starts = np.concatenate([[0], starts])
        else:
            after_blank = after_blank[1:]
        self._line_is_blank = bool(visible[-1] == at_line_ends[-1])
        self._after_blank_line = bool(after_blank[-1]) if len(after_blank) else self._after_blank_line
        self._at_line_start = bool(points[-1] == NEWLINE)
        # A line that starts after the last character is left to the next call.
        inside = starts < len(points)
        starts, after_blank = starts[inside], after_blank[: len(starts)][inside]
        if self._context_reset == "blank-line":
            starts = starts[after_blank & (points[starts] != NEWLINE) & (points[starts] != RETURN)]
        return [int(start) for start in starts]


class Units:
    """Groups characters into units. The last unit stays open until it is known to be complete.

    by       character, word, line or file
    leading  whether white space is assigned to the word after it instead of the word before it

    Separators end the text of a unit: white space for words, a newline for lines. The next word starts at the next
    character that is not a separator, the next line right after the newline.
    """

    def __init__(self, by: str, leading: bool) -> None:
        self._by, self._leading = by, leading
        self._after_separator = True
        self._open: Scores | None = None  # one unit, without its text
        self._text: list[str] = []  # the text of the open unit in parts, at most MAX_TEXT + 1 characters
        self._text_length = 0
        self._held_bits, self._held_symbols = 0.0, 0  # of white space to be assigned to the next word

    def add(self, chunk: Chunk) -> Scores:
        """Add the characters of a chunk, and return the units that it completes."""
        separators = self._separators(chunk.points)
        after_separator = np.concatenate([[self._after_separator], separators])
        starts = np.flatnonzero(after_separator[:-1] & ~separators if self._by == "word" else after_separator[:-1])
        first_text, texts = self._texts(chunk.text, starts, np.flatnonzero(separators))
        edges = self._edges(starts, separators)
        bits, n_symbols = _sums(chunk.bits, edges), _sums(chunk.n_symbols, edges)
        positions = chunk.lines[starts], chunk.columns[starts], chunk.offsets[starts]
        table = Scores(bits[1:-1], n_symbols[1:-1], *positions, texts)
        if len(starts):
            table.bits[0] += self._held_bits
            table.n_symbols[0] += self._held_symbols
            self._held_bits, self._held_symbols = 0.0, 0
        self._held_bits += float(bits[-1])
        self._held_symbols += int(n_symbols[-1])
        if self._open is not None:
            self._open.bits[0] += bits[0]
            self._open.n_symbols[0] += n_symbols[0]
            self._extend_text(first_text)
            table = _joined(self._open, table)
        self._after_separator = bool(after_separator[-1])
        table = self._end(table) if chunk.ended else self._complete(table)
        table.texts[:] = [text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…" for text in table.texts]
        return table

    def _separators(self, points: Points) -> npt.NDArray[np.bool_]:
        if self._by == "word":
            return is_space(points)
        if self._by == "line":
            newlines: npt.NDArray[np.bool_] = points == NEWLINE
            return newlines
        return np.full(len(points), self._by == "character")

    def _texts(self, text: str, starts: I64, separators: I64) -> tuple[str, list[str]]:
        """The continuation of the open unit's text, and the texts of the units that start here."""
        if self._by == "character":
            return "", list(text)
        if self._by == "file":
            return "", [""] * len(starts)
        stops = np.append(separators, len(text))
        ends = np.minimum(stops[np.searchsorted(separators, starts)], starts + MAX_TEXT + 1)
        first_end = min(int(stops[0]), int(starts[0]) if len(starts) else len(text))
        return text[:first_end], [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _extend_text(self, text: str) -> None:
        """Append to the text of the open unit what still fits."""
        text = text[: MAX_TEXT + 1 - self._text_length]
        if text:
            self._text.append(text)
            self._text_length += len(text)

    def _edges(self, starts: I64, separators: npt.NDArray[np.bool_]) -> I64:
        """Where the characters assigned to each unit begin: the open one, each new one, the white space to be held."""
        n = len(separators)
        if self._leading:
            # A unit is charged from the end of the word before it, so that the white space between them is its own.
            # The white space after the last word is held for the word that follows, perhaps in the next chunk.
            after_words = np.concatenate([[0], np.flatnonzero(~separators) + 1])
            cuts = after_words[np.searchsorted(after_words, starts, side="right") - 1]
            return np.concatenate([[0], cuts, after_words[-1:]])
        if self._open is None and not len(starts):
            return np.array([0, 0])  # only white space so far, which is held for the first word
        # A unit is charged up to the start of the next one. Without an open unit, the first is charged from 0 on.
        cuts = starts if self._open is not None else np.concatenate([[0], starts[1:]])
        return np.concatenate([[0], cuts, [n]])

    def _complete(self, table: Scores) -> Scores:
        """The units of a table except the last one, if more of it may follow."""
        if not len(table.bits):
            return table
        closed = self._by == "character" or (self._by == "line" and self._after_separator)
        whole = table if closed else table.rows(slice(-1))
        last = table.rows(slice(-1, None))
        if self._open is not None and len(whole.bits):
            whole.texts[0] = "".join(self._text)
        if self._open is None or len(table.bits) > 1:
            self._text, self._text_length = [], 0
            self._extend_text(last.texts[0])
        self._open = None if closed else last
        return whole

    def _end(self, table: Scores) -> Scores:
        """All remaining units. White space that is still held is assigned to the last one."""
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
    """The sums of the values between each edge and the next, and from the last edge to the end."""
    sums = np.add.reduceat(np.append(values, values.dtype.type(0)), edges)
    sums[:-1][edges[1:] == edges[:-1]] = 0
    return sums


def _joined(a: Scores, b: Scores) -> Scores:
    """The units of `a` followed by those of `b`."""
    arrays = (np.concatenate(pair) for pair in zip(_arrays(a), _arrays(b), strict=True))
    bits, n_symbols, lines, columns, offsets = arrays
    return Scores(bits, n_symbols, lines, columns, offsets, a.texts + b.texts)


def _arrays(table: Scores) -> tuple[F64, I64, I64, I64, I64]:
    return table.bits, table.n_symbols, table.lines, table.columns, table.offsets
