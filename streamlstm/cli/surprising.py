"""The command `surprising`."""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..render.escape import counted
from .command import command, note_all, say
from .options import Files, ModelOptions, check_files, option
from .watch_options import ParsingOptions

if TYPE_CHECKING:
    from ..logs.formats import Event
    from ..logs.source import Source
    from ..logs.window import TimeWindow
    from ..render.lines import Occurrence


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
    since: Annotated[str, option("TIME", "Print only lines from this date and time, or time of day, on.")] = "",
    until: Annotated[str, option("TIME", "Print only lines up to this date and time, or time of day.")] = "",
    sort: Annotated[str, option("ORDER", "z, the most surprising line first, or time, the earliest first.")] = "z",
    context: Annotated[int, option("N", "Print N lines before and after each line.")] = 0,
) -> None:
    """Print the most surprising kinds of lines in logs.

    For each kind, prints the most surprising line, the number of lines of the kind, and when the first and the last of
    them were. Lines are of the same kind if they differ only in numbers, addresses and the like. Files are read in the
    order given; they may be compressed with gzip, xz, bzip2 or zstd. The first hundred lines only teach the model what
    is usual, and so do the first hundred of a kind that has more and occurs throughout the log. The model reads fewer
    and fewer lines of a frequent kind, so that long logs take little longer; --thorough reads every line. Time stamps
    at the beginning of a line are not scored. With --since and --until all lines are read, too.

    \b
      streamlstm surprising app.log
      streamlstm surprising --rotated app.log --top 50
      streamlstm surprising app.log --since 22:40 --until 23:15 --sort time --context 2
      streamlstm surprising app.log.2.gz app.log.1 app.log --format jsonl
      journalctl -o json | streamlstm surprising -
    """
    from ..logs.source import Source
    from ..logs.window import TimeWindow
    from ..system.process import Interruptible
    from ..text.score import check_choice

    check_choice("--format", format, ("text", "jsonl"))
    check_choice("--sort", sort, ("z", "time"))
    if top < 0:
        raise ValueError(f"--top must be at least 0, not {top}")
    if context < 0:
        raise ValueError(f"--context must be at least 0, not {context}")
    window = TimeWindow(since, until)
    if model.vocab == "text":
        raise ValueError(
            "--vocab text needs the whole text in advance; surprising reads bytes, or as a saved model does"
        )
    check_files(files)
    paths = list(_with_rotated(files)) if rotated else files
    with Interruptible() as control:
        source = Source(paths, parsing.parsing(), control)
        kinds = _take(model, _occurrences(source, paths, window, context), thorough)
        found = kinds.top(top)
        if sort == "time":
            found.sort(key=lambda each: (each.place.seconds is not None, each.place.seconds))
        _write(found, format, has_path=len(paths) > 1, has_context=context > 0)
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


def _take(model: ModelOptions, occurrences: "Iterator[tuple[Occurrence, bool]]", thorough: bool) -> Any:
    """All lines of the source, with whether they may be printed."""
    from ..watch.surprising import WARMUP_FRACTION, SurprisingKinds, take_first

    first, rest = take_first(occurrences)
    kinds: SurprisingKinds[Occurrence] = SurprisingKinds(
        model.predictor(), warmup=len(first) // WARMUP_FRACTION, thorough=thorough
    )
    for part in (first, rest):
        for occurrence, is_reported in part:
            kinds.take(occurrence.event.text, occurrence, is_reported=is_reported)
    return kinds


def _occurrences(
    source: "Source", paths: list[str], window: "TimeWindow", context: int
) -> "Iterator[tuple[Occurrence, bool]]":
    """Each line with up to `context` lines around it in its file, and whether it lies in the window."""
    from ..render.lines import Occurrence

    before: deque[Event] = deque(maxlen=context)
    unfinished: deque[list[Event]] = deque(maxlen=context)  # what follows the last lines
    path = ""
    for event in _events(source, paths):
        if event.path != path:
            path = event.path
            before.clear()
            unfinished.clear()
        for after in unfinished:
            after.append(event)
        is_reported = window.take(event.time)
        occurrence = Occurrence(event, window.now, tuple(before), [] if context else None)
        yield occurrence, is_reported
        if occurrence.after is not None:
            unfinished.append(occurrence.after)
        before.append(event)


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


def _write(found: list[Any], format: str, has_path: bool, has_context: bool) -> None:
    from ..render.lines import KINDS_HEADER, format_kind, format_kind_json

    out, is_terminal = sys.stdout.buffer, sys.stdout.isatty()
    colour = is_terminal and not os.environ.get("NO_COLOR")
    if format == "text":
        out.write(KINDS_HEADER.encode())
    for index, each in enumerate(found):
        if format == "text":
            out.write(b"--\n" if index and has_context else b"")
            row = format_kind(each, terminal=is_terminal, colour=colour, has_path=has_path)
        else:
            row = format_kind_json(each)
        out.write(row.encode("utf-8", "surrogateescape"))
    out.flush()
