"""The options of `watch`, some of which `surprising` shares: how a log is read, what is raised and what is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .options import option, size_of

if TYPE_CHECKING:
    from ..logs.assembler import Parsing


@dataclass(frozen=True)
class ParsingOptions:
    """How the lines of a log become events."""

    input_format: Annotated[
        str, option("FORMAT", "plain, json, journald, docker, cri, logfmt, or cri+json and the like.")
    ] = "auto"
    field: Annotated[Optional[list[str]], option("NAME", "Score this field of structured lines; may be repeated.")] = (
        None
    )
    multiline: Annotated[
        Optional[str], option("REGEX", "A line with a match of REGEX begins an event; other lines continue it.")
    ] = None
    score_times: Annotated[
        bool, typer.Option("--score-times", help="Also score time stamps at the beginning of a line.")
    ] = False

    def parsing(self, key_field: str = "") -> "Parsing":
        """How a source parses lines. Raises ValueError for an unknown format or an invalid regular expression."""
        from ..logs.assembler import Parsing
        from ..logs.formats import Fields

        return Parsing(self.input_format, Fields(tuple(self.field or ()), key_field), self.multiline, self.score_times)


@dataclass(frozen=True)
class FollowOptions:
    """Whether growing files are followed."""

    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for new lines at the end of the files, through log rotation.")
    ] = False
    from_end: Annotated[bool, typer.Option("--from-end", help="With --follow: start at the end of the files.")] = False

    def check(self) -> None:
        """Raise ValueError for options that do not go together."""
        if self.from_end and not self.follow:
            raise ValueError("--from-end is for files that are followed; add --follow")


NEW_WEIGHT, DEFAULT_THRESHOLD = 2.0, 8.0
"""How the command judges lines by default: those of a kind that was never seen at half the threshold.

An outage begins with a line of a new kind, which is soon usual. Four new messages, in 1, 10, 100 and 400 lines, were
added to each of nine public logs of 2,000 lines. A threshold of 7 for all lines, that of version 1.0, finds 3 of the 36
and raises 77 other lines in 10,000; 8, and 4 for new kinds, finds 28 and raises 78 others.
"""


def _warmup_of(text: str) -> int | str:
    """The value of --warmup. Raises BadParameter, a usage error, for any other text."""
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise typer.BadParameter(f"it must be a whole number or auto, not {text!r}") from None


@dataclass(frozen=True)
class WatcherOptions:
    """What is unusual: the options of `Watcher` and of `SessionWatcher`."""

    alarms: Annotated[
        Optional[str],
        option(
            "N/PERIOD",
            "Raise about N lines per minute, hour, day or number of lines, as 10/10000. With --threshold: at most N.",
        ),
    ] = None
    threshold: Annotated[
        Optional[float],
        option(
            "Z",
            "Flag lines more than Z robust standard deviations above the median. [8, new kinds 4; with --alarms 0]",
        ),
    ] = None
    key_regex: Annotated[
        Optional[str],
        option("REGEX", "Keep a separate model for each distinct match of REGEX (or of its first group)."),
    ] = None
    key_field: Annotated[str, option("NAME", "Keep a separate model for each value of this field.")] = ""
    max_keys: Annotated[Optional[int], option("N", "Keep at most N models, in memory and on disk. [10000]")] = None
    memory_budget: Annotated[
        Optional[str], option("SIZE", "Keep up to SIZE of models in memory, for example 300MB. [1GB]")
    ] = None
    session_regex: Annotated[
        Optional[str],
        option("REGEX", "Score sessions: the lines in which REGEX (or its first group) matches the same text."),
    ] = None
    idle_seconds: Annotated[
        Optional[float],
        typer.Option(
            "--idle-seconds",
            "--session-idle",
            metavar="SECONDS",
            help="A session ends after this long without a line. [300]",
        ),
    ] = None
    warmup: Annotated[
        Optional[str],
        typer.Option(
            metavar="N|auto",
            parser=_warmup_of,
            help="Flag nothing in the first N lines, of each key, or the first N sessions; auto: until new kinds of "
            "lines have become rare. [100]",
        ),
    ] = None
    learn_flagged: Annotated[bool, typer.Option("--learn-flagged", help="Also learn from flagged lines.")] = False
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read every line with the model; by default it skips familiar lines.")
    ] = False

    @property
    def has_sessions(self) -> bool:
        """Whether sessions are scored instead of lines."""
        return self.session_regex is not None

    @property
    def has_keys(self) -> bool:
        """Whether there is a model per key."""
        return self.key_regex is not None or bool(self.key_field)

    def given(self, learn: str | None) -> dict[str, Any]:
        """The arguments of the watcher that were given; `learn` is the option --learn of the model.

        Raises ValueError for options that exclude each other.
        """
        self._check()
        budget = self.memory_budget
        values = {
            **vars(self),
            "keyed": bool(self.key_field) or None,
            "memory_budget": None if budget is None else size_of("--memory-budget", budget),
            "learn": learn if self.has_keys else None,
            "thorough": self.thorough or None,
        }
        del values["key_field"]
        if self.threshold is None and not (self.has_sessions or self.has_keys or self.thorough):
            values |= {"new_weight": NEW_WEIGHT, "threshold": DEFAULT_THRESHOLD if self.alarms is None else None}
        return {name: value for name, value in values.items() if value is not None}

    def _check(self) -> None:
        of_keys = {"--max-keys": self.max_keys, "--memory-budget": self.memory_budget}
        of_lines = {"--key-regex": self.key_regex, "--key-field": self.key_field or None, **of_keys}
        of_lines |= {"--thorough": self.thorough or None}
        if self.has_sessions:
            if self.warmup == "auto":
                raise ValueError("--warmup auto is for lines; give a number of sessions")
            if wrong := _given(of_lines):
                raise ValueError(f"{wrong} is for lines; it cannot be used with --session-regex")
        elif self.idle_seconds is not None:
            raise ValueError("--idle-seconds is for sessions; give their --session-regex")
        elif not self.has_keys and (wrong := _given(of_keys)):
            raise ValueError(f"{wrong} is for separate models; give --key-regex or --key-field")


def _given(options: dict[str, Any]) -> str:
    """The first option that is given; "" if none is."""
    return next((option for option, value in options.items() if value is not None), "")


@dataclass(frozen=True)
class ShownOptions:
    """Which lines are printed, and how."""

    all: Annotated[bool, typer.Option("--all", help="Print every line with its score, not only alarms.")] = False
    context: Annotated[int, option("N", "Print N lines before and after each alarm.")] = 0
    format: Annotated[str, option("FORMAT", "text or jsonl.")] = "text"

    def check(self, has_sessions: bool) -> None:
        """Raise ValueError for an option that is not valid."""
        from ..text.score import check_choice

        check_choice("--format", self.format, ("text", "jsonl"))
        if self.context < 0:
            raise ValueError(f"--context must be at least 0, not {self.context}")
        if self.context and has_sessions:
            raise ValueError("--context is for lines; it cannot be used with --session-regex")


@dataclass(frozen=True)
class ReaderOptions:
    """What a reader of alarms has said of kinds of lines."""

    verdicts: Annotated[
        Optional[Path],
        option(
            "FILE",
            "Your verdicts: lines such as `normal ID`, `watch ID`, `mute ID until TIME`; read again when it changes.",
        ),
    ] = None

    kinds: Annotated[
        Optional[Path],
        option(
            "FILE", "Keep an inventory of the kinds of lines; write it to FILE, as TSV or, if FILE ends so, .jsonl."
        ),
    ] = None
    new_kinds: Annotated[
        bool, typer.Option("--new-kinds", help="Raise the first line of each kind, whatever its z, within the budget.")
    ] = False

    def options(self, has_sessions: bool) -> dict[str, Any]:
        """The arguments of a watcher of lines that were given. Raises ValueError if sessions are watched."""
        given = {"kinds": self.kinds is not None, "new_kinds": self.new_kinds}
        if has_sessions and (wrong := _given({"--kinds": self.kinds, "--new-kinds": self.new_kinds or None})):
            raise ValueError(f"{wrong} is for lines; it cannot be used with --session-regex")
        return {name: True for name, is_given in given.items() if is_given}

    def check(self, files: list[str], targets: "TargetOptions") -> None:
        """Raise OSError if a file cannot be what it is to be, or is read or written as something else."""
        from ..system.files import check_target

        written = (targets.save, targets.output, targets.metrics)
        if self.kinds is not None:
            check_target(self.kinds, *(path for path in (*files, *written, self.verdicts) if path is not None))
        if self.verdicts is not None:
            if self.verdicts.is_dir():
                raise IsADirectoryError(f"{self.verdicts} is a directory; name a file of verdicts")
            others = [str(path) for path in (*files, *written) if path is not None and str(path) != "-"]
            if self.verdicts.resolve() in [Path(path).resolve() for path in others]:
                raise OSError(f"{self.verdicts} is named twice; the verdicts are in a file of their own")


@dataclass(frozen=True)
class TargetOptions:
    """What else is written and run, and where the state is saved."""

    output: Annotated[
        Optional[Path], option("FILE", "Append the records to FILE; with --resume, none is lost or written twice.")
    ] = None
    exec: Annotated[Optional[str], option("COMMAND", "Run a shell command for each alarm, with its JSON on stdin.")] = (
        None
    )
    fail: Annotated[bool, typer.Option("--fail", help="Exit with 3 if there was an alarm.")] = False
    metrics: Annotated[Optional[Path], option("FILE", "Write metrics for Prometheus to FILE every 5 seconds.")] = None
    metrics_port: Annotated[
        Optional[int], option("PORT", "Serve the metrics on this port of 127.0.0.1; requires streamlstm[metrics].")
    ] = None
    save: Annotated[
        Optional[Path], option("FILE", "Save the model and the position in the input, periodically and at the end.")
    ] = None
    save_every: Annotated[float, option("SECONDS", "With --save: time between two saves.")] = 60.0
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the file of --save, if it exists, where it left off.")
    ] = False

    @property
    def saved(self) -> Path | None:
        """The file to continue from, if it exists."""
        return self.save if self.resume and self.save is not None and self.save.exists() else None

    def check(self, files: list[str]) -> None:
        """Raise OSError or ValueError before any work is done if something could not be written."""
        from ..logs.metrics import check_server
        from ..system.files import check_target

        if self.resume and self.save is None:
            raise ValueError("--resume continues from the file of --save; name one")
        if not self.save_every > 0:
            raise ValueError(f"--save-every must be more than 0 seconds, not {self.save_every}")
        paths = [path for path in (self.save, self.output, self.metrics) if path is not None]
        for index, path in enumerate(paths):
            check_target(path, *files, *paths[:index])
        if self.metrics_port is not None:
            if not 0 <= self.metrics_port < 65536:
                raise ValueError(f"--metrics-port must be from 0 to 65535, not {self.metrics_port}")
            check_server()
