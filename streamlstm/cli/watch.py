"""The command `watch`."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .command import command, leave, saving, say
from .options import ModelOptions, check_files, is_saved
from .watch_options import FollowOptions, ParsingOptions, ReaderOptions, ShownOptions, TargetOptions, WatcherOptions
from .watch_ray import RayWatchOptions, watch_on_ray

if TYPE_CHECKING:
    from ..system.process import Interruptible
    from .watch_run import AnyWatcher, Outputs, WatchRun

RAISED = 3
"""The exit code of --fail if anything was raised."""


@command
def watch(
    model: ModelOptions,
    reading: FollowOptions,
    parsing: ParsingOptions,
    watching: WatcherOptions,
    shown: ShownOptions,
    reader: ReaderOptions,
    targets: TargetOptions,
    engine: RayWatchOptions,
    files: Annotated[
        Optional[list[str]], typer.Argument(metavar="FILE", help="Files; - is stdin.", show_default=False)
    ] = None,
) -> None:
    """Print the unusual lines of a log as they arrive.

    Reads stdin or files, learns what is normal, and prints the lines whose surprisal per character is far above that of
    recent lines, with their surprising parts marked. Time stamps at the beginning of a line are printed, but not
    scored. Lines are truncated after 16,384 bytes, with a note on stderr. The model does not learn from flagged lines,
    unless many of them come in a burst. It skips familiar lines, in which all words and numbers are known: they get the
    score of earlier lines like them, which is about 50 times as fast (--thorough reads every line).

    With --key-regex or --key-field there is a separate model for each key. It learns counts only, which takes about
    150 kB per key (--learn all: 7 MB). The most recently used models are in memory, the others on disk: in a store
    beside the file of --save, which is part of it, or in a temporary file. Beyond --max-keys, the least recently used
    model is dropped. If its key comes back, it gets a new model, which detects less until it has read enough lines.

    Watch a growing log, about five alarms an hour, and continue after a restart or a crash:

    \b
      streamlstm watch --follow app.log --alarms 5/hour --save app.safetensors --resume --output alarms.jsonl \\
        --format jsonl

    Other inputs: the journal, containers, compressed files, stack traces as one event each:

    \b
      journalctl -f -o json | streamlstm watch --key-field _SYSTEMD_UNIT --memory-budget 300MB
      streamlstm watch --follow /var/log/containers/*.log --input-format cri
      streamlstm watch app.log.2.gz app.log.1 app.log --alarms 10/10000 --context 2
      streamlstm watch app.log --multiline '^\\d{4}-'

    Sessions, such as requests, with new kinds of lines, too many or too few lines, or lines in an unusual order:

    \b
      streamlstm watch app.log --session-regex 'req-[0-9a-f]+' --idle-seconds 60
      streamlstm watch hdfs.log --session-regex 'blk_-?\\d+' --idle-seconds 1e9 --all --format jsonl

    Other outputs: a command per alarm, metrics, an exit code for a build:

    \b
      tail -F app.log | streamlstm watch --alarms 2/hour --exec 'mail -s alarm ops@example.org'
      streamlstm watch --follow app.log --metrics /var/lib/node_exporter/watch.prom
      streamlstm watch build.log --model good-builds.safetensors --threshold 9 --fail

    Tell it what is normal: FILE has a line for each kind, such as `normal ID` or `mute ID until 2026-12-24T06:00`:

    \b
      streamlstm watch --follow app.log --alarms 5/hour --save app.safetensors --resume --verdicts verdicts.txt
      streamlstm watch --follow app.log --alarms 5/hour --new-kinds --kinds kinds.tsv

    Many logs on several cores or machines; FILE may be a folder, and DIR keeps everything needed to continue:

    \b
      streamlstm watch --engine ray --follow /var/log/hosts --out watched --resume --format jsonl
    """
    reading.check()
    shown.check(watching.has_sessions)
    if model.vocab == "text":
        raise ValueError("--vocab text needs the whole text in advance; watch reads bytes, or as a saved model does")
    paths = files or ["-"]
    options = {**watching.given(model.learn), **reader.options(watching.has_sessions)}
    read = {"paths": paths, "parsing": parsing.parsing(watching.key_field), **reading.__dict__}
    if engine.is_given({**options, **vars(targets), **vars(reader), "context": shown.context}):
        if shown.format != "jsonl" or targets.fail:
            raise ValueError("--engine ray writes JSON; give --format jsonl, and no --fail")
        how = {"all": shown.all, "save_every": targets.save_every, "resume": targets.resume}
        return watch_on_ray(model, read, options, engine, how)
    targets.check(paths)
    if not reading.follow:
        check_files(paths)
    reader.check(paths, targets)
    has_raised = _run(_watcher(model, options, targets), read, shown, reader, targets)
    if targets.fail and has_raised:
        leave(RAISED)


def _watcher(model: ModelOptions, options: dict[str, Any], targets: TargetOptions) -> "AnyWatcher":
    """The watcher, with what the model or the file to continue from knows."""
    from ..checkpoint import read_checkpoint
    from ..watch.sessions import SessionWatcher
    from ..watch.watcher import Watcher
    from .watch_run import check_position

    saved = targets.saved
    if saved is not None:
        model = ModelOptions(model=os.path.join(".", saved), learn=model.learn, freeze=model.freeze)
    make: Callable[..., AnyWatcher] = SessionWatcher if "session_regex" in options else Watcher
    watcher = make(model.predictor(), **options)
    if model.model is not None and is_saved(model.model):
        if isinstance(watcher, Watcher):
            saves_to = targets.save and os.path.realpath(targets.save)
            watcher.restore(model.model, exclusive=saves_to == os.path.realpath(model.model))
        else:
            watcher.restore(model.model)
    if saved is None:
        watcher.position = None  # that of another run
        return watcher
    check_position(watcher, saved)
    if watcher.position is None and {"watch", "sessions"} & read_checkpoint(saved)[1].keys():
        how = "without" if "session_regex" in options else "with"
        raise ValueError(f"{saved} was saved {how} --session-regex; continue in the same way, or name another file")
    return watcher


def _run(
    watcher: "AnyWatcher", read: dict[str, Any], shown: ShownOptions, reader: ReaderOptions, targets: TargetOptions
) -> bool:
    """Watch until the end or a signal. Returns whether anything was raised."""
    from ..logs.source import Source
    from ..system.process import Interruptible
    from ..vocabulary import UnknownSymbolError
    from ..watch.verdicts import VerdictFile
    from ..watch.watcher import Watcher
    from .watch_run import WatchRun, part_of

    verdicts = None if reader.verdicts is None else VerdictFile(reader.verdicts)
    with Interruptible() as control, ExitStack() as stack:
        if isinstance(watcher, Watcher):
            stack.callback(watcher.close)
        source = Source(**read, control=control, described=part_of(watcher.position, "source"))
        outputs = stack.enter_context(_outputs(watcher, len(read["paths"]) > 1, shown, reader, targets, control))
        run = WatchRun(watcher, source, outputs, verdicts, reader.kinds)
        stack.enter_context(_served(run, targets.metrics_port))
        if targets.resume and targets.save is not None and targets.saved is None:
            run.save(targets.save)  # else what is written before the first save would be written again after a crash
        with saving(run, targets.save, targets.save_every) as save_if_due:
            for event in source.events():
                try:
                    run.take(event)
                except UnknownSymbolError as error:
                    run.skip(error)
                save_if_due()
            run.finish(is_end=not control.interrupted or targets.save is None)
        run.write_metrics()
        run.write_kinds()
    say(run.final_summary())
    control.raise_if_interrupted()
    return run.has_raised


@contextmanager
def _outputs(
    watcher: "AnyWatcher",
    titles: bool,
    shown: ShownOptions,
    reader: ReaderOptions,
    targets: TargetOptions,
    control: "Interruptible",
) -> "Iterator[Outputs]":
    """Everything that records go to."""
    from ..logs.output import AlertCommand, OutputFile
    from ..render.lines import LinePrinter, SessionPrinter, StatusLine
    from ..watch.sessions import SessionWatcher
    from .watch_run import Outputs, part_of

    with StatusLine(sys.stderr) as status, ExitStack() as stack:
        output = alerts = None
        if targets.output is not None:
            output = OutputFile(str(targets.output), control, part_of(watcher.position, "output"))
            stack.callback(output.close)
        colour = not os.environ.get("NO_COLOR")
        out, has_id = output or sys.stdout.buffer, reader.verdicts is not None
        printer: LinePrinter | SessionPrinter
        if isinstance(watcher, SessionWatcher):
            printer = SessionPrinter(out, shown.format, all=shown.all, status=status, has_id=has_id)
        else:
            printer = LinePrinter(out, titles=titles, colour=colour, status=status, has_id=has_id, **shown.__dict__)
        described = part_of(watcher.position, "printer")
        if described is not None:
            printer.restore(described)
        if output is None or output.is_empty:
            printer.write_header()
        if targets.exec is not None:
            alerts = AlertCommand(targets.exec, part_of(watcher.position, "alerts") or ())
            stack.callback(alerts.close)
        yield Outputs(printer, status, output, alerts, str(targets.metrics) if targets.metrics else None)


@contextmanager
def _served(run: "WatchRun", port: int | None) -> Iterator[None]:
    """Serve the metrics of a run, if a port is given."""
    from ..logs.metrics import serve_metrics

    if port is None:
        yield
        return
    end: Callable[[], None] = serve_metrics(port, lambda: run.values)
    try:
        yield
    finally:
        end()
