"""The command `surprising`."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..render.escape import counted
from .command import command, note_all, say
from .options import Files, ModelOptions, check_files
from .watch_options import ParsingOptions

if TYPE_CHECKING:
    from ..logs.formats import Event
    from ..logs.source import Source


@command
def surprising(
    model: ModelOptions,
    files: Files,
    parsing: ParsingOptions,
    top: Annotated[int, typer.Option(metavar="N", help="How many lines to print.")] = 20,
    rotated: Annotated[bool, typer.Option("--rotated", help="Read the rotated copies of each file before it.")] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read every line with the model, not only some of each frequent kind.")
    ] = False,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text or jsonl.")] = "text",
) -> None:
    """Print the most surprising kinds of lines in logs.

    For each kind, prints the most surprising line and the number of lines of the kind. Lines are of the same kind if
    they differ only in numbers, addresses and the like. Files are read in the order given; they may be compressed with
    gzip, xz, bzip2 or zstd. The first hundred lines only teach the model what is usual, and so do the first hundred of
    a kind that has more. The model reads fewer and fewer lines of a frequent kind, so that long logs take little
    longer; --thorough reads every line. Time stamps at the beginning of a line are not scored.

    \b
      streamlstm surprising app.log
      streamlstm surprising --rotated app.log --top 50
      streamlstm surprising app.log.2.gz app.log.1 app.log --format jsonl
      journalctl -o json | streamlstm surprising -
    """
    from ..logs.source import Source
    from ..system.process import Interruptible
    from ..text.score import check_choice

    check_choice("--format", format, ("text", "jsonl"))
    if top < 0:
        raise ValueError(f"--top must be at least 0, not {top}")
    if model.vocab == "text":
        raise ValueError(
            "--vocab text needs the whole text in advance; surprising reads bytes, or as a saved model does"
        )
    check_files(files)
    paths = list(_with_rotated(files)) if rotated else files
    with Interruptible() as control:
        source = Source(paths, parsing.parsing(), control)
        kinds = _take(model, source, paths, thorough)
        _write(kinds.top(top), format, has_path=len(paths) > 1)
        say(f"{counted(kinds.n_lines, 'line')}, {kinds.n_read:,} of them read by the model")
    control.raise_if_interrupted()


def _with_rotated(files: list[str]) -> Iterator[str]:
    """The files, each after its rotated copies, oldest first."""
    from ..logs.follow import rotated_files

    for file in files:
        if file != "-":
            with contextlib.suppress(PermissionError):  # of a folder that cannot be listed, one file may be readable
                yield from [path for path, _ in rotated_files(file, compressed=True)]
        yield file


def _take(model: ModelOptions, source: "Source", paths: list[str], thorough: bool) -> Any:
    """All lines of the source."""
    from ..watch.surprising import WARMUP_FRACTION, SurprisingKinds, take_first

    first, rest = take_first(_events(source, paths))
    kinds: SurprisingKinds[Event] = SurprisingKinds(
        model.predictor(), warmup=len(first) // WARMUP_FRACTION, thorough=thorough
    )
    for part in (first, rest):
        for event in part:
            kinds.take(event.text, event)
    return kinds


def _events(source: "Source", paths: list[str]) -> "Iterator[Event]":
    """The events of the source, with a progress bar."""
    from ..render.progress import Bar

    is_sized = all(os.path.isfile(path) for path in paths)
    ends = dict.fromkeys(paths, 0)
    total = 0
    for path in paths:
        total += os.path.getsize(path) if is_sized else 0
        ends[path] = total
    with Bar(total if is_sized else None, 0, 1) as bar:
        for event in source.events():
            note_all(source.notes)
            if event is not None:
                yield event
                if is_sized:
                    bar.show(ends[event.path] - source.n_unread, event.path)
        note_all(source.notes)


def _write(found: list[Any], format: str, has_path: bool) -> None:
    from ..render.lines import KINDS_HEADER, format_kind, format_kind_json

    out, is_terminal = sys.stdout.buffer, sys.stdout.isatty()
    colour = is_terminal and not os.environ.get("NO_COLOR")
    if format == "text":
        out.write(KINDS_HEADER.encode())
    for each in found:
        if format == "text":
            row = format_kind(each, terminal=is_terminal, colour=colour, has_path=has_path)
        else:
            row = format_kind_json(each)
        out.write(row.encode("utf-8", "surrogateescape"))
    out.flush()
