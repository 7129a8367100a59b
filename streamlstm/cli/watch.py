"""The command `watch`."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Optional

import typer

from .command import command, saving
from .options import Input, ModelOptions, SaveFile, is_saved

if TYPE_CHECKING:
    from ..render.lines import LinePrinter, StatusLine
    from ..tasks.signals import Interruptible
    from ..tasks.watch import WatchedLine


@command
def watch(
    model: ModelOptions,
    file: Input = "-",
    threshold: Annotated[
        Optional[float],
        typer.Option(metavar="Z", help="Flag lines more than Z robust standard deviations above the median. [7]"),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Print every line with its score, not only flagged ones.")] = False,
    context: Annotated[int, typer.Option(metavar="N", help="Print N lines before and after each flagged one.")] = 0,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text or jsonl.")] = "text",
    key_regex: Annotated[
        Optional[str],
        typer.Option(
            metavar="REGEX", help="Keep a separate model for each distinct match of REGEX (or of its first group)."
        ),
    ] = None,
    max_keys: Annotated[
        Optional[int],
        typer.Option(metavar="N", help="Keep at most N models; each that learns takes about 90 MB. [8]"),
    ] = None,
    warmup: Annotated[
        Optional[int], typer.Option(metavar="N", help="Lines to read, per key, before any is flagged. [100]")
    ] = None,
    learn_flagged: Annotated[bool, typer.Option("--learn-flagged", help="Learn from flagged lines too.")] = False,
    save: SaveFile = None,
) -> None:
    """Print the unusual lines of a log as they arrive.

    Reads stdin or FILE, learns what is normal, and prints the lines whose surprisal per character is far above that of
    recent lines, with the surprising part marked. Lines are printed unaltered, except that control characters are
    escaped in jsonl and on a terminal, and that lines are truncated after 16,384 bytes, with a note on stderr.
    The model does not learn from flagged lines, unless many of them come in a burst. With --key-regex, the least
    recently used model is dropped when there are too many; its key starts again with a new model, and a new model
    misses more until it has read enough lines. --model continues from what --save wrote.

    \b
      tail -F app.log | streamlstm watch
      tail -F app.log | streamlstm watch --format jsonl --context 2 --save app.safetensors
      streamlstm watch syslog --key-regex '^\\S+ +\\S+ \\S+ (\\S+)' --threshold 9 --freeze
    """
    from ..checkpoint import check_target
    from ..render.lines import FORMATS, LinePrinter, StatusLine
    from ..tasks.input import open_input
    from ..tasks.score import check_choice
    from ..tasks.signals import Interruptible
    from ..tasks.watch import Watcher

    check_choice("--format", format, FORMATS)
    if context < 0:
        raise ValueError(f"--context must be at least 0, not {context}")
    if model.vocab == "text":
        raise ValueError("--vocab text needs the whole text in advance; watch reads bytes, or as a saved model does")
    options: dict[str, Any] = {"threshold": threshold, "max_keys": max_keys, "warmup": warmup}
    given = {name: value for name, value in options.items() if value is not None}
    watcher = Watcher(model.predictor(), key_regex=key_regex, learn_flagged=learn_flagged, **given)
    if model.model is not None and is_saved(model.model):
        watcher.restore(model.model)
    if save is not None:
        check_target(save, file)
    status, colour = StatusLine(sys.stderr), not os.environ.get("NO_COLOR")
    printer = LinePrinter(
        sys.stdout.buffer,
        format,
        all=all,
        context=context,
        with_key=key_regex is not None,
        colour=colour,
        status=status,
    )
    with Interruptible() as control, open_input(file) as source, saving(watcher, save) as save_if_due, status:
        printer.write_header()
        for data in _lines(source, control, printer, status):
            _show(watcher.observe(data), printer, status)
            save_if_due()
    printer.flush()
    typer.echo(printer.summary(), err=True)
    control.raise_if_interrupted()


def _lines(source: BinaryIO, control: "Interruptible", printer: "LinePrinter", status: "StatusLine") -> Iterator[bytes]:
    """The lines of the source, until its end or an interrupt. Before waiting for more, shows what there is."""
    from ..tasks.input import blocks, is_live
    from ..tasks.watch import LineSplitter

    live, splitter = is_live(source), LineSplitter()
    for block in blocks(source, control):
        for data in splitter.feed(block):
            yield data
            if control.interrupted:
                return
        if live:
            printer.flush()
            status.show(printer.summary())
    rest = splitter.rest()
    if rest and not control.interrupted:
        yield rest


def _show(line: "WatchedLine", printer: "LinePrinter", status: "StatusLine") -> None:
    """Print a line if it is to be shown, and its notes; refresh the status line."""
    printer.write(line)
    for note in line.notes:
        status.clear()
        typer.echo(f"streamlstm: {note}", err=True)
    if status.is_due:
        printer.flush()  # else a line could later be written behind the status
        status.show(printer.summary())
