"""Watched lines as text for people or as JSON, and a status line for a terminal."""

import json
import time
from collections import deque
from types import TracebackType
from typing import BinaryIO, TextIO

from ..tasks.watch import WatchedLine
from .escape import display_width, printable_json, terminal_text

FORMATS = ("text", "jsonl")
HEADER = "     line  bits_per_char        z    text\n"

_HIGHLIGHT, _RESET = "\x1b[1;31m", "\x1b[0m"
_CLEAR = "\r\x1b[K"


def format_json(line: WatchedLine, number: int, *, with_key: bool = False) -> str:
    r"""A JSON object on one line, with its newline. All characters that are not printable are escaped.

    number    the number of the line, from 1
    with_key  whether to add the field `key`

    >>> format_json(WatchedLine("door é\x9b", 2.5, 0.1, False, [], "", []), 7)
    '{"line": 7, "text": "door é\\u009b", "bits_per_char": 2.5, "z": 0.1, "flagged": false, "spans": []}\n'
    """
    record = {
        "line": number,
        "text": line.text,
        "bits_per_char": line.bits_per_char,
        "z": line.z,
        "flagged": line.flagged,
        "spans": line.spans,
    }
    if with_key:
        record["key"] = line.key
    return printable_json(json.dumps(record, ensure_ascii=False)) + "\n"


def format_line(line: WatchedLine, number: int, *, terminal: bool = False, colour: bool = False) -> str:
    r"""Aligned columns, with a newline: number, bits per character, z, `!` if it is flagged, and the text of the line.

    number    the number of the line, from 1
    terminal  whether to escape what is not printable, because it could control the terminal
    colour    whether to colour the spans; otherwise a second row marks them with `^`. Needs `terminal`.

    A byte that is not valid UTF-8 appears as Python's `surrogateescape` decodes it: encode the result in the same way.

    >>> print(format_line(WatchedLine("open the door", 6.5, 9.3, True, [(9, 13)], "", []), 7), end="")
            7         6.5000      9.3  ! open the door
                                                  ^^^^
    """
    margin = f"{number:>9}  {line.bits_per_char:>13.4f} {line.z:>8.1f}  {'!' if line.flagged else ' '} "
    before, after = (_HIGHLIGHT, _RESET) if terminal and colour else ("", "")
    parts, end = [margin], 0
    for first, last in line.spans:
        parts += [_shown(line.text[end:first], terminal), before, _shown(line.text[first:last], terminal), after]
        end = last
    parts += [_shown(line.text[end:], terminal), "\n"]
    if line.spans and not before:
        parts.append(_marks(line, " " * len(margin), terminal))
    return "".join(parts)


def _shown(text: str, terminal: bool) -> str:
    return terminal_text(text) if terminal else text


def _marks(line: WatchedLine, margin: str, terminal: bool) -> str:
    """The row that marks the spans of the line above it."""
    marks, end = margin, 0
    for first, last in line.spans:
        marks += "".join(_blank(c, terminal) for c in line.text[end:first])
        marks += "".join("^" * max(len(_blank(c, terminal)), 1) for c in line.text[first:last])
        end = last
    return marks + "\n"


def _blank(character: str, terminal: bool) -> str:
    """White space as wide as a character is shown; a tab stays a tab."""
    if character == "\t":
        return character
    return " " * display_width(_shown(character, terminal))


class StatusLine:
    """The last line of a terminal, rewritten in place a few times a second; does nothing if `out` is not a terminal.

    As a context manager it is cleared at the end.
    """

    def __init__(self, out: TextIO, interval: float = 0.2) -> None:
        self._out, self._interval = out, interval
        self._is_terminal = out.isatty()
        self._is_shown = False
        self._next = 0.0

    def __enter__(self) -> "StatusLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    @property
    def is_due(self) -> bool:
        """Whether it is a terminal and the interval since the last `show` is over."""
        return self._is_terminal and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Replace the status line."""
        if not self._is_terminal:
            return
        self._out.write(_CLEAR + text)
        self._out.flush()
        self._is_shown, self._next = True, time.monotonic() + self._interval

    def clear(self) -> None:
        """Remove the status line, so that something else can be written."""
        if self._is_shown:
            self._out.write(_CLEAR)
            self._out.flush()
            self._is_shown = False


class LinePrinter:
    r"""Write watched lines to a file: the flagged ones with some context, or all.

    out       a binary file; on a terminal, characters that are not printable are escaped
    format    "text" (see `format_line`) or "jsonl" (see `format_json`)
    all       whether to write all lines, not only flagged ones
    context   the number of lines to write before and after each flagged one
    with_key  whether jsonl has the field `key`
    colour    whether to colour the spans on a terminal
    status    a status line on the same terminal, which is cleared before anything is written

    Raises ValueError for an unknown format or a negative context.

    >>> import io
    >>> out = io.BytesIO()
    >>> printer = LinePrinter(out, context=1)
    >>> for flagged in (False, False, True, False, False):
    ...     printer.write(WatchedLine("door", 1.0, 0.0, flagged, [], "", []))
    >>> print(out.getvalue().decode(), end="")
            2         1.0000      0.0    door
            3         1.0000      0.0  ! door
            4         1.0000      0.0    door
    >>> printer.n_lines, printer.n_flagged
    (5, 1)
    """

    def __init__(
        self,
        out: BinaryIO,
        format: str = "text",
        *,
        all: bool = False,
        context: int = 0,
        with_key: bool = False,
        colour: bool = False,
        status: StatusLine | None = None,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
        if context < 0:
            raise ValueError(f"context must be at least 0, not {context}")
        self._out, self._is_text, self._all, self._context = out, format == "text", all, context
        self._with_key, self._colour, self._status = with_key, colour, status
        self._is_terminal = out.isatty()
        self._before: deque[tuple[int, WatchedLine]] = deque(maxlen=context)
        self._n_after = 0  # lines still to be written after a flagged one
        self._last = 0  # the number of the line written last
        self._started = time.monotonic()
        self.n_lines, self.n_flagged = 0, 0

    def write_header(self) -> None:
        """Write the names of the columns, if the format has any, and flush."""
        if self._is_text:
            self._put(HEADER)
        self.flush()

    def write(self, line: WatchedLine) -> None:
        """Take the next line, and write it if it is to be shown, after the context before it."""
        self.n_lines += 1
        self.n_flagged += line.flagged
        if not (line.flagged or self._all or self._n_after):
            self._before.append((self.n_lines, line))
            return
        for number, earlier in self._before:
            self._put_line(earlier, number)
        self._before.clear()
        self._put_line(line, self.n_lines)
        self._n_after = self._context if line.flagged else max(self._n_after - 1, 0)

    def flush(self) -> None:
        """Flush the file."""
        self._out.flush()

    def summary(self) -> str:
        """The number of lines, of flagged lines, and of lines per second since the printer was made."""
        rate = self.n_lines / max(time.monotonic() - self._started, 1e-9)
        return f"{self.n_lines:,} lines, {self.n_flagged:,} flagged, {rate:,.0f} lines/s"

    def _put_line(self, line: WatchedLine, number: int) -> None:
        is_gap = self._context and 0 < self._last < number - 1
        self._last = number
        if not self._is_text:
            self._put(format_json(line, number, with_key=self._with_key))
            return
        if is_gap:
            self._put("--\n")
        self._put(format_line(line, number, terminal=self._is_terminal, colour=self._colour))

    def _put(self, text: str) -> None:
        if self._status is not None:
            self._status.clear()
        self._out.write(text.encode("utf-8", "surrogateescape"))
