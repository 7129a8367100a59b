"""The command `kinds`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..render.escape import counted
from .command import command, note_all, say
from .options import Files, ModelOptions, check_files, option
from .watch_options import ParsingOptions

if TYPE_CHECKING:
    from ..system.process import Interruptible
    from ..watch.kinds import Kinds
    from ..watch.verdicts import Verdicts


@command
def kinds(
    model: ModelOptions,
    files: Files,
    parsing: ParsingOptions,
    sort: Annotated[str, option("ORDER", "newest, rarest, or surprising.")] = "newest",
    top: Annotated[Optional[int], option("N", "Print only the first N kinds. [all]")] = None,
    against: Annotated[
        Optional[str],
        option("GOOD", "Print the kinds that are new, gone, or more or less frequent than in GOOD, with their p."),
    ] = None,
    largest_p: Annotated[
        float, typer.Option("--p", metavar="P", help="--against: the largest p of a rate, times the number of kinds.")
    ] = 0.01,
    verdicts: Annotated[Optional[Path], option("FILE", "Show the verdicts in this file of `watch`.")] = None,
    format: Annotated[str, option("FORMAT", "text, tsv or jsonl.")] = "text",
) -> None:
    """Print the kinds of lines in logs, or those that a saved watcher has seen.

    Lines are of the same kind if they differ only in numbers, addresses and the like. For each kind, prints how many
    lines it has and of how many keys, when it was seen first and last, its mean and largest surprisal in bits per
    character, the verdict about it, its id, and its first line. FILE is a log, read with the model, or what
    `watch --kinds` has saved with --save. At most 100,000 kinds are kept.

    With --against, prints instead what is different in the logs since GOOD, which is a log or a saved watcher, too: the
    kinds that are new, those that are gone, and those whose rate has changed. No model is used. p is that of a
    two-sided test that a line is as often of the kind in both.

    \b
      streamlstm kinds app.log --sort rarest --top 20
      streamlstm kinds app.safetensors --format tsv
      streamlstm kinds after-release.log --against before-release.log
    """
    from ..render.kinds import FORMATS, ORDERS, changes_table, kinds_table
    from ..system.process import Interruptible
    from ..text.score import check_choice
    from ..watch.kinds import changes

    check_choice("--format", format, FORMATS)
    check_choice("--sort", sort, tuple(ORDERS))
    if top is not None and top < 0:
        raise ValueError(f"--top must be at least 0, not {top}")
    if not 0 <= largest_p <= 1:
        raise ValueError(f"--p must be from 0 to 1, not {largest_p:g}")
    check_files(files if against is None else [*files, against])
    is_terminal = sys.stdout.isatty()
    with Interruptible() as control:
        found, said = _kinds_of(files, model if against is None else None, parsing, control)
        if against is None:
            rows = sorted(found, key=ORDERS[sort])[:top]
            _read_verdicts(said, verdicts)
            table = kinds_table(rows, format, lambda kind: said.decision(kind, ""), is_terminal)
        else:
            before, _ = _kinds_of([against], None, parsing, control)
            table = changes_table(changes(before, found, largest_p)[:top], format, is_terminal)
    sys.stdout.buffer.write(table.encode("utf-8", "surrogateescape"))
    forgotten = f", {found.n_forgotten:,} more forgotten" if found.n_forgotten else ""
    say(f"{counted(found.n_lines, 'line')} of {counted(len(found), 'kind')}{forgotten}")
    control.raise_if_interrupted()


def _kinds_of(
    files: list[str], model: ModelOptions | None, parsing: ParsingOptions, control: "Interruptible"
) -> "tuple[Kinds, Verdicts]":
    """The kinds of logs, or of one saved watcher, and what was said of them; without a model, without surprisal."""
    from ..logs.source import Source
    from ..watch.kinds import Kinds
    from ..watch.templates import kind_of
    from ..watch.verdicts import Verdicts
    from ..watch.watcher import Watcher

    said = Verdicts()
    if any(map(_is_saved, files)):
        if len(files) > 1:
            raise ValueError("a saved watcher is printed by itself; name no other files")
        return _saved(files[0], said), said
    watcher = None if model is None else Watcher(model.predictor(), kinds=True)
    found = Kinds() if watcher is None or watcher.kinds is None else watcher.kinds
    source = Source(files, parsing.parsing(), control)
    for event in source.events():
        note_all(source.notes)
        if event is None:
            continue
        if watcher is not None:
            watcher.observe(event.text + "\n", time=event.time)
        else:
            found.add(kind_of(event.text), event.text, 0.0, time=event.time)
    return found, said


def _is_saved(path: str) -> bool:
    """Whether a file is a model, and not a log: its header is JSON after its length in eight bytes."""
    if path == "-" or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < os.path.getsize(path)


def _saved(path: str, said: "Verdicts") -> "Kinds":
    """The kinds of a saved watcher; what it says of them is added to `said`."""
    from ..checkpoint import read_checkpoint
    from ..watch.watcher import Watcher

    saved = read_checkpoint(path)[1].get("watch")
    is_keyed = isinstance(saved, dict) and saved.get("keyed")
    options: dict[str, Any] = {"keyed": True, "learn": saved.get("learn")} if is_keyed and saved else {}
    with Watcher.load(path, **options) as watcher:
        said.replace(watcher.verdicts)
        if watcher.kinds is None:
            raise ValueError(f"{path} has no inventory of kinds; let `watch --kinds` or --new-kinds make one")
        return watcher.kinds


def _read_verdicts(said: "Verdicts", path: Path | None) -> None:
    from ..watch.verdicts import VerdictFile

    if path is not None:
        file = VerdictFile(path)
        found = file.read()
        note_all(file.notes)
        if found is not None:
            said.replace(found)
