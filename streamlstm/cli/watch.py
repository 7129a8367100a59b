"""The command `watch`."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .command import command, leave, saving
from .options import ModelOptions, check_files, is_saved, size_of
from .watch_ray import RayWatchOptions, watch_on_ray

if TYPE_CHECKING:
    from ..tasks.signals import Interruptible
    from .watch_run import AnyWatcher, Outputs, WatchRun

RAISED = 3
"""The exit code of --fail if anything was raised."""


def _option(metavar: str, text: str, **more: Any) -> Any:
    return typer.Option(metavar=metavar, help=text, **more)


@command
def watch(
    model: ModelOptions,
    files: Annotated[
        Optional[list[str]], typer.Argument(metavar="FILE", help="Files; - is stdin.", show_default=False)
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more at the end of the files, through rotation and truncation.")
    ] = False,
    from_end: Annotated[bool, typer.Option("--from-end", help="With --follow: begin at the end of the files.")] = False,
    input_format: Annotated[
        str, _option("FORMAT", "plain, json, journald, docker, cri, logfmt, or cri+json and the like.")
    ] = "auto",
    field: Annotated[
        Optional[list[str]], _option("NAME", "Score this field of structured lines; may be repeated.")
    ] = None,
    key_field: Annotated[str, _option("NAME", "Keep a separate model for each value of this field.")] = "",
    multiline: Annotated[
        Optional[str], _option("REGEX", "A line that REGEX finds begins an event; other lines continue it.")
    ] = None,
    score_times: Annotated[
        bool, typer.Option("--score-times", help="Score time stamps at the beginning of a line too.")
    ] = False,
    alarms: Annotated[
        Optional[str], _option("N/PERIOD", "Raise about N lines per hour, minute, day or number of lines: 10/10000.")
    ] = None,
    threshold: Annotated[
        Optional[float],
        _option("Z", "Flag lines more than Z robust standard deviations above the median. [7; with --alarms 0]"),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Print every line with its score, not only alarms.")] = False,
    context: Annotated[int, _option("N", "Print N lines before and after each alarm.")] = 0,
    format: Annotated[str, _option("FORMAT", "text or jsonl.")] = "text",
    output: Annotated[
        Optional[Path], _option("FILE", "Append the records to FILE; with --resume none is lost or doubled.")
    ] = None,
    exec: Annotated[
        Optional[str], _option("COMMAND", "Run a shell command for each alarm, with its JSON on stdin.")
    ] = None,
    fail: Annotated[bool, typer.Option("--fail", help="Exit with 3 if anything was raised.")] = False,
    metrics: Annotated[Optional[Path], _option("FILE", "Write metrics for Prometheus to FILE every 5 seconds.")] = None,
    metrics_port: Annotated[
        Optional[int], _option("PORT", "Serve them at a port of 127.0.0.1; requires streamlstm[metrics].")
    ] = None,
    key_regex: Annotated[
        Optional[str],
        _option("REGEX", "Keep a separate model for each distinct match of REGEX (or of its first group)."),
    ] = None,
    max_keys: Annotated[Optional[int], _option("N", "Keep at most N models, on the disk if need be. [10000]")] = None,
    memory_budget: Annotated[
        Optional[str], _option("SIZE", "Keep models of up to SIZE in memory, for example 300MB. [1GB]")
    ] = None,
    session_regex: Annotated[
        Optional[str],
        _option("REGEX", "Score sessions: the lines in which REGEX (or its first group) matches the same text."),
    ] = None,
    session_idle: Annotated[
        Optional[float], _option("SECONDS", "A session without a line for so long has ended. [300]")
    ] = None,
    warmup: Annotated[
        Optional[int], _option("N", "Lines to read, per key, or sessions before any is flagged. [100]")
    ] = None,
    learn_flagged: Annotated[bool, typer.Option("--learn-flagged", help="Learn from flagged lines too.")] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read every line in full; by default familiar lines are not.")
    ] = False,
    save: Annotated[
        Optional[Path], _option("FILE", "Save the model and the position in the input, now and then and at the end.")
    ] = None,
    save_every: Annotated[float, _option("SECONDS", "With --save: how often to save.")] = 60.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the file of --save, if it exists, where it ended.")
    ] = False,
    engine: Annotated[
        Optional[str], _option("ray", "Watch each file by itself, on a Ray cluster; requires streamlstm[ray].")
    ] = None,
    workers: Annotated[Optional[int], _option("N", "--engine: how many workers. [one for each CPU]")] = None,
    out: Annotated[Optional[str], _option("DIR", "--engine: a folder, or a URL of one, for all that is kept.")] = None,
) -> None:
    """Print the unusual lines of a log as they arrive.

    Reads stdin or files, learns what is normal, and prints the lines whose surprisal per character is far above that of
    recent lines, with the surprising part marked. Time stamps at the beginning of a line are printed, but not scored.
    Lines are truncated after 16,384 bytes, with a note on stderr. The model does not learn from flagged lines, unless
    many of them come in a burst. A familiar line, whose words and numbers are all known, is not read again, but gets
    the score of such lines, which is about 50 times as fast (--thorough reads it).

    With --key-regex or --key-field each key has a model. It learns counts only, which takes about 150 kB per key
    (--learn all: 7 MB). The models used last are in memory, the others on the disk: with --save in a store beside
    FILE, which belongs to it, else in a temporary file. If there are more than --max-keys, the least recently used
    model is dropped; its key starts again with a new one, which misses more until it has read enough lines.

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

    Sessions, for example requests: which of them have new kinds of lines, too many or too few, or another order:

    \b
      streamlstm watch app.log --session-regex 'req-[0-9a-f]+' --session-idle 60
      streamlstm watch hdfs.log --session-regex 'blk_-?\\d+' --session-idle 1e9 --all --format jsonl

    Other outputs: a command per alarm, metrics, an exit code for a build:

    \b
      tail -F app.log | streamlstm watch --alarms 2/hour --exec 'mail -s alarm ops@example.org'
      streamlstm watch --follow app.log --metrics /var/lib/node_exporter/watch.prom
      streamlstm watch build.log --model good-builds.safetensors --threshold 9 --fail

    Many logs on several cores or machines; FILE may also be a folder, and DIR has everything to continue:

    \b
      streamlstm watch --engine ray --follow /var/log/hosts --out watched --resume --format jsonl
    """
    from ..logs.assembler import Parsing
    from ..logs.formats import Fields
    from ..tasks.score import check_choice

    check_choice("--format", format, ("text", "jsonl"))
    if context < 0:
        raise ValueError(f"--context must be at least 0, not {context}")
    if model.vocab == "text":
        raise ValueError("--vocab text needs the whole text in advance; watch reads bytes, or as a saved model does")
    parsing = Parsing(input_format, Fields(tuple(field or ()), key_field), multiline, score_times)
    given: dict[str, Any] = {"threshold": threshold, "max_keys": max_keys, "warmup": warmup, "alarms": alarms}
    given |= {"key_regex": key_regex, "keyed": bool(key_field) or None, "learn_flagged": learn_flagged}
    given |= {"memory_budget": None if memory_budget is None else size_of("--memory-budget", memory_budget)}
    given |= {"learn": model.learn if key_regex is not None or key_field else None}
    given |= {"thorough": thorough or None, "session_regex": session_regex, "idle_seconds": session_idle}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    _check_keys(options)
    _check_sessions(options, context)
    ray = RayWatchOptions(engine, workers, out, resume)
    local = {"output": output, "metrics": metrics, "metrics_port": metrics_port, "exec": exec, "save": save}
    if ray.is_given({**options, **local, "context": context}):
        if format != "jsonl" or fail:
            raise ValueError("--engine ray writes JSON; give --format jsonl, and no --fail")
        read = {"paths": files or ["-"], "parsing": parsing, "follow": follow, "from_end": from_end}
        return watch_on_ray(model, read, options, ray, {"all": all, "save_every": save_every})
    targets = _Targets(output, metrics, metrics_port, exec, save, save_every)
    targets.check(files or ["-"], resume)
    if not follow:
        check_files(files or ["-"])
    watcher = _watcher(model, options, save, resume)
    shown = {"format": format, "all": all, "context": context}
    read = {"paths": files or ["-"], "parsing": parsing, "follow": follow, "from_end": from_end}
    has_raised = _run(watcher, targets, read, shown, resume)
    if fail and has_raised:
        leave(RAISED)


def _check_keys(options: dict[str, Any]) -> None:
    """Raise ValueError for options that limit keys where there are none."""
    limits = {"max_keys": "--max-keys", "memory_budget": "--memory-budget"}
    wrong = [option for name, option in limits.items() if name in options]
    if wrong and not {"key_regex", "keyed", "session_regex"} & options.keys():
        raise ValueError(f"{wrong[0]} is for separate models; give --key-regex or --key-field")


def _check_sessions(options: dict[str, Any], context: int) -> None:
    """Raise ValueError for options that do not go together."""
    if "session_regex" not in options:
        if "idle_seconds" in options:
            raise ValueError("--session-idle is for sessions; give their --session-regex")
        return
    of_lines = {"key_regex": "--key-regex", "keyed": "--key-field", "max_keys": "--max-keys"}
    of_lines |= {"memory_budget": "--memory-budget", "thorough": "--thorough"}
    wrong = [option for name, option in of_lines.items() if name in options] + ["--context"] * (context > 0)
    if wrong:
        raise ValueError(f"{wrong[0]} is for lines; it cannot be used with --session-regex")


@dataclass(frozen=True)
class _Targets:
    """What is written, and where."""

    output: Path | None
    metrics: Path | None
    metrics_port: int | None
    exec: str | None
    save: Path | None
    save_every: float

    def check(self, files: list[str], resume: bool) -> None:
        """Raise OSError or ValueError before any work is done if something could not be written."""
        from ..checkpoint import check_target, remove_leftovers
        from ..logs.metrics import check_server

        if resume and self.save is None:
            raise ValueError("--resume continues from the file of --save; name one")
        if not self.save_every > 0:
            raise ValueError(f"--save-every must be more than 0 seconds, not {self.save_every}")
        paths = [path for path in (self.save, self.output, self.metrics) if path is not None]
        for index, path in enumerate(paths):
            check_target(path, *files, *paths[:index])
            remove_leftovers(path)
        if self.metrics_port is not None:
            check_server()


def _watcher(model: ModelOptions, options: dict[str, Any], save: Path | None, resume: bool) -> "AnyWatcher":
    """The watcher, with what the model or, with --resume and if it exists, the file of --save knows."""
    from ..checkpoint import read_checkpoint
    from ..watch.sessions import SessionWatcher
    from ..watch.watcher import Watcher

    saved = save if resume and save is not None and save.exists() else None
    if saved is not None:
        model = ModelOptions(model=os.path.join(".", saved), learn=model.learn, freeze=model.freeze)
    make: Callable[..., AnyWatcher] = SessionWatcher if "session_regex" in options else Watcher
    watcher = make(model.predictor(), **options)
    if model.model is not None and is_saved(model.model):
        if isinstance(watcher, Watcher):
            watcher.restore(model.model, exclusive=save is not None and Path(model.model).resolve() == save.resolve())
        else:
            watcher.restore(model.model)
    if saved is None:
        watcher.position = None  # that of another run
    elif watcher.position is None and {"watch", "sessions"} & read_checkpoint(saved)[1].keys():
        how = "without" if "session_regex" in options else "with"
        raise ValueError(f"{saved} was saved {how} --session-regex; continue in the same way, or name another file")
    return watcher


def _run(watcher: "AnyWatcher", targets: _Targets, read: dict[str, Any], shown: dict[str, Any], resume: bool) -> bool:
    """Watch until the end or a signal. Returns whether anything was raised."""
    from ..logs.source import Source
    from ..tasks.signals import Interruptible
    from ..watch.watcher import Watcher
    from .watch_run import WatchRun, part_of

    with Interruptible() as control, ExitStack() as stack:
        if isinstance(watcher, Watcher):
            stack.callback(watcher.close)
        source = Source(**read, control=control, described=part_of(watcher.position, "source"))
        outputs = stack.enter_context(_outputs(watcher, targets, len(read["paths"]) > 1, shown, control))
        run = WatchRun(watcher, source, outputs)
        stack.enter_context(_served(run, targets.metrics_port))
        if resume and targets.save is not None and not targets.save.exists():
            run.save(targets.save)  # else what is written before the first save would be written again after a crash
        with saving(run, targets.save, targets.save_every) as save_if_due:
            for event in source.events():
                run.take(event)
                save_if_due()
            run.finish(is_end=not control.interrupted or targets.save is None)
        run.write_metrics()
    typer.echo(run.final_summary(), err=True)
    control.raise_if_interrupted()
    return run.has_raised


@contextmanager
def _outputs(
    watcher: "AnyWatcher",
    targets: _Targets,
    titles: bool,
    shown: dict[str, Any],
    control: "Interruptible",
) -> "Iterator[Outputs]":
    """Everything that records go to."""
    from ..logs.alerts import AlertCommand
    from ..logs.output import OutputFile
    from ..render.lines import LinePrinter, StatusLine
    from ..render.session_lines import SessionPrinter
    from ..watch.sessions import SessionWatcher
    from .watch_run import Outputs, part_of

    with StatusLine(sys.stderr) as status, ExitStack() as stack:
        output = alerts = None
        if targets.output is not None:
            output = OutputFile(str(targets.output), control, part_of(watcher.position, "output"))
            stack.callback(output.close)
        colour = not os.environ.get("NO_COLOR")
        out = output or sys.stdout.buffer
        printer: LinePrinter | SessionPrinter
        if isinstance(watcher, SessionWatcher):
            printer = SessionPrinter(out, shown["format"], all=shown["all"], status=status)
        else:
            printer = LinePrinter(out, titles=titles, colour=colour, status=status, **shown)
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
