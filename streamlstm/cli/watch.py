"""The command `watch`."""

import json
import os
import sys
import time
import unicodedata
from collections import deque
from typing import TYPE_CHECKING, Annotated, BinaryIO, Optional

import typer

from .command import command, saving
from .options import Input, ModelOptions, SaveFile, is_saved

if TYPE_CHECKING:
    from ..tasks.input import Interruptible
    from ..tasks.watch import Line, Watcher

FORMATS = ("text", "jsonl")
HIGHLIGHT, PLAIN = "\x1b[1;31m", "\x1b[0m"


@command
def watch(
    model: ModelOptions,
    file: Input = "-",
    threshold: Annotated[
        Optional[float], typer.Option(metavar="Z", help="Flag lines so many robust deviations above the median. [7]")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Print every line with its score, not only flagged ones.")] = False,
    context: Annotated[int, typer.Option(metavar="N", help="Print N lines before and after each flagged one.")] = 0,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text or jsonl.")] = "text",
    key_regex: Annotated[
        Optional[str], typer.Option(metavar="REGEX", help="A stream per text that this finds (its first group).")
    ] = None,
    max_keys: Annotated[int, typer.Option(metavar="N", help="Streams kept; each that learns holds two models.")] = 8,
    warmup: Annotated[
        Optional[int], typer.Option(metavar="N", help="Lines of a stream before one can be flagged. [100]")
    ] = None,
    learn_flagged: Annotated[bool, typer.Option("--learn-flagged", help="Learn from flagged lines too.")] = False,
    save: SaveFile = None,
) -> None:
    """The lines of a log that do not belong there.

    Reads stdin or FILE, learns what is normal, and prints flagged lines as they arrive, with the place of the surprise
    marked: those whose surprise per character stands out from that of the recent lines. No line is altered; of more
    than 16,384 bytes the rest is left out, with a note. A line that is flagged is not learned from, unless many come
    in a burst. --model goes on from what --save wrote.

    \b
      tail -F app.log | streamlstm watch
      tail -F app.log | streamlstm watch --format jsonl --context 2 --save app.safetensors
      streamlstm watch syslog --key-regex '^\\S+ +\\S+ \\S+ (\\S+)' --threshold 9 --freeze
    """
    from ..checkpoint import check_target
    from ..tasks.input import Interruptible, is_live, open_input
    from ..tasks.score import check_choice
    from ..tasks.watch import THRESHOLD, WARMUP, Watcher

    check_choice("--format", format, FORMATS)
    if context < 0:
        raise ValueError(f"--context must be at least 0, not {context}")
    if model.vocab == "text":
        raise ValueError("--vocab text must see the whole text first; watch reads bytes, or as a saved model does")
    watcher = Watcher(
        model.predictor(),
        threshold=THRESHOLD if threshold is None else threshold,
        warmup=WARMUP if warmup is None else warmup,
        key=key_regex,
        max_keys=max_keys,
        learn_flagged=learn_flagged,
    )
    if model.model is not None and is_saved(model.model):
        watcher.restore(model.model)
    if save is not None:
        check_target(save, file)
    with Interruptible() as control, open_input(file) as source:
        printer = Printer(format, all, context, with_keys=key_regex is not None)
        status = Status(printer)
        with saving(watcher, save):
            printer.start()
            _run(watcher, source, control, printer, status, is_live(source))
    status.end()
    if control.interrupted:
        raise SystemExit(control.exit_code)


def _run(
    watcher: "Watcher", source: BinaryIO, control: "Interruptible", printer: "Printer", status: "Status", live: bool
) -> None:
    from ..tasks.input import blocks
    from ..tasks.watch import LineSplitter

    splitter = LineSplitter()
    for block in blocks(source, control):
        for data in splitter.feed(block):
            status.show(printer.write(watcher.observe(data), data))
            if control.interrupted:
                return
        if live:
            printer.flush()
    rest = splitter.rest()
    if rest and not control.interrupted:
        status.show(printer.write(watcher.observe(rest), rest))


class Printer:
    """Writes watched lines: flagged ones and those around them, or all. Counts what it has seen."""

    def __init__(self, format: str, all: bool, context: int, with_keys: bool) -> None:
        self._text, self._all, self._context, self._with_keys = format == "text", all, context, with_keys
        self._out = sys.stdout.buffer
        self._on_terminal = sys.stdout.isatty()
        self._colour = self._on_terminal and not os.environ.get("NO_COLOR")
        self._before: deque[tuple[int, Line, bytes]] = deque(maxlen=context)
        self._after = 0  # how many lines are still to be printed after a flagged one
        self._last = 0  # the number of the line printed last
        self.n_lines, self.n_flagged = 0, 0

    def start(self) -> None:
        """Write the header, at once."""
        if self._text:
            self._out.write(b"     line  bits_per_char        z    text\n")
        self.flush()

    def write(self, line: "Line", data: bytes) -> list[str]:
        """Write the next line if it is to be seen, and return what is to be said besides."""
        self.n_lines += 1
        self.n_flagged += line.flagged
        if line.flagged or self._all or self._after:
            for number, earlier, earlier_data in self._before:
                self._put(number, earlier, earlier_data)
            self._before.clear()
            self._put(self.n_lines, line, data)
            self._after = self._context if line.flagged else max(self._after - 1, 0)
        else:
            self._before.append((self.n_lines, line, data))
        return line.notes

    def flush(self) -> None:
        """Let the reader have what was written."""
        self._out.flush()

    def _put(self, number: int, line: "Line", data: bytes) -> None:
        if self._text and self._context and 0 < self._last < number - 1:
            self._out.write(b"--\n")
        self._last = number
        self._out.write(self._aligned(number, line, data) if self._text else self._object(number, line))

    def _object(self, number: int, line: "Line") -> bytes:
        record = {
            "line": number,
            "text": line.text,
            "bits_per_char": line.bits_per_char,
            "z": line.z,
            "flagged": line.flagged,
            "spans": line.spans,
        }
        if self._with_keys:
            record["key"] = line.key
        return (json.dumps(record, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")

    def _aligned(self, number: int, line: "Line", data: bytes) -> bytes:
        """Columns for people, then the line as it came; under a flagged line marks show where the surprise is.

        On a terminal what does not print is escaped, and the surprise is coloured instead.
        """
        start = f"{number:>9}  {line.bits_per_char:>13.4f} {line.z:>8.1f}  {'!' if line.flagged else ' '} "
        if not self._on_terminal:
            marks = self._marks(line, " " * len(start)) if line.spans else b""
            return start.encode() + data.removesuffix(b"\n") + b"\n" + marks
        if not self._colour:
            shown = "".join(map(_visible, line.text)) + "\n"
            return (start + shown).encode() + (self._marks(line, " " * len(start)) if line.spans else b"")
        shown, at = "", 0
        for first, last in line.spans:
            shown += "".join(map(_visible, line.text[at:first])) + HIGHLIGHT
            shown += "".join(map(_visible, line.text[first:last])) + PLAIN
            at = last
        return (start + shown + "".join(map(_visible, line.text[at:])) + "\n").encode()

    def _marks(self, line: "Line", margin: str) -> bytes:
        """A row that marks the spans of the line above it."""
        marks, at = margin, 0
        for first, last in line.spans:
            marks += "".join(self._blank(c) for c in line.text[at:first])
            marks += "".join("^" * max(len(self._blank(c)), 1) for c in line.text[first:last])
            at = last
        return marks.encode() + b"\n"

    def _blank(self, character: str) -> str:
        """White space as wide as a character is shown; a tab stays one."""
        if character == "\t":
            return character
        if self._on_terminal:
            character = _visible(character)
        return " " * sum(_width(c) for c in character)


def _visible(character: str) -> str:
    """A character as a terminal can take it: what does not print could steer it, and is escaped."""
    if character.isprintable() or character == "\t":
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _width(character: str) -> int:
    """How many columns of a terminal a character takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class Status:
    """A line on stderr that tells how it goes, where that is a terminal; and what happened, in any case."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._live = sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown = 0.0

    def show(self, notes: list[str]) -> None:
        """Say what happened; refresh the status line, a few times a second."""
        if notes:
            self._clear()
        for note in notes:
            typer.echo(f"streamlstm: {note}", err=True)
        now = time.monotonic()
        if self._live and now - self._shown > 0.2:
            self._printer.flush()
            self._clear()
            sys.stderr.write(self._line())
            sys.stderr.flush()
            self._shown = now

    def end(self) -> None:
        """The summary."""
        self._clear()
        typer.echo(self._line(), err=True)

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")

    def _line(self) -> str:
        printer = self._printer
        rate = printer.n_lines / max(time.monotonic() - self._started, 1e-9)
        return f"{printer.n_lines:,} lines, {printer.n_flagged:,} flagged, {rate:,.0f} lines/s"
