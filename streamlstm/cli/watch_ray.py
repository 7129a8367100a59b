"""`watch --engine ray`: each of several logs is watched by itself, on the workers of a Ray cluster."""

import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..render.escape import counted
from .command import note_all, say
from .options import ModelOptions, check_engine, check_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..integrations.ray import KeyedStreams
    from ..integrations.ray.readers import Result
    from ..logs.source import Source
    from ..render.lines import StatusLine

LOCAL_ONLY = {"output": "--output", "metrics": "--metrics", "metrics_port": "--metrics-port", "exec": "--exec"}
LOCAL_ONLY |= {"save": "--save", "key_regex": "--key-regex", "keyed": "--key-field", "max_keys": "--max-keys"}
LOCAL_ONLY |= {"memory_budget": "--memory-budget"}
LOCAL_ONLY |= {"session_regex": "--session-regex", "idle_seconds": "--idle-seconds", "context": "--context"}
LOCAL_ONLY |= {"verdicts": "--verdicts", "kinds": "--kinds", "new_kinds": "--new-kinds"}
"""The options of a watcher in one process."""


@dataclass(frozen=True)
class RayWatchOptions:
    """The options of `watch` that need an engine."""

    engine: Annotated[
        Optional[str],
        typer.Option(metavar="ray", help="Watch each file by itself, on a Ray cluster; requires streamlstm[ray]."),
    ] = None
    workers: Annotated[
        Optional[int], typer.Option(metavar="N", help="--engine: how many workers. [one for each CPU]")
    ] = None
    out: Annotated[
        Optional[str], typer.Option(metavar="DIR", help="--engine: a folder, or a URL of one, for all that is kept.")
    ] = None

    def is_given(self, others: dict[str, Any]) -> bool:
        """Whether an engine is given. Raises ValueError for options that do not go together; `others` are by name."""
        if not check_engine(self.engine, {"--workers": self.workers, "--out": self.out}):
            return False
        wrong = [option for name, option in LOCAL_ONLY.items() if others.get(name)]
        if wrong:
            how = "which has one model for each file; watch in one process, without --engine"
            raise ValueError(f"{wrong[0]} cannot be used with --engine ray, {how}")
        if self.out is None:
            raise ValueError("--engine ray keeps its results in a folder; name it with --out DIR")
        return True


@dataclass
class RayWatch:
    """A run of `watch` on a cluster.

    source      the events
    status      the status line
    save_every  how often the position in the source is saved, in seconds
    """

    source: "Source"
    status: "StatusLine"
    save_every: float
    n_events: int = 0
    n_results: int = 0
    _started: float = field(default_factory=time.monotonic)

    def run(self, streams: "KeyedStreams") -> None:
        """Watch until the end or a signal; then all results are durable."""
        streams.save_position(self.source.describe())
        saved = time.monotonic()
        for event in self.source.events():
            if event is None:
                streams.poll()
            else:
                self.n_events += 1
                streams.send(event.path, event.rotation << ROTATION_BITS | event.offset, event)
            if time.monotonic() - saved >= self.save_every:
                streams.save_position(self.source.describe())
                saved = time.monotonic()
            if self.status.is_due:
                self.status.show(self.summary(streams))
            note_all(self.source.notes, self.status)
        streams.save_position(self.source.describe())

    def take(self, results: "Sequence[Result]") -> None:
        """Write results to stdout."""
        self.status.clear()
        self.n_results += len(results)
        for result in results:
            sys.stdout.write(getattr(result, "record", ""))
        sys.stdout.flush()

    def summary(self, streams: "KeyedStreams") -> str:
        """What was done so far, and what waits."""
        stats = streams.stats()
        waiting, lag = sum(each.n_waiting for each in stats), max((each.lag_seconds for each in stats), default=0.0)
        rate = (self.n_events - waiting) / max(time.monotonic() - self._started, 1e-9)
        parts = [counted(self.n_events - waiting, "line"), counted(self.n_results, "record"), f"{rate:,.0f} lines/s"]
        parts += [f"{counted(waiting, 'line')} waiting, {lag:.0f} s"] if waiting else []
        return ", ".join(parts)


ROTATION_BITS = 40
"""The offset of a line in its stream is its offset in the file, and how often the file was rotated above these bits."""


def watch_on_ray(
    model: ModelOptions,
    read: dict[str, Any],
    watcher: dict[str, Any],
    options: RayWatchOptions,
    shown: dict[str, Any],
) -> None:
    """Watch files and the files of folders.

    read, watcher  the options of `Source` and of `Watcher`
    shown          all, save_every, and resume
    """
    check_extra("ray", "ray", "pyarrow", "fsspec")
    from ..integrations.ray import KeyedStreams, WatchStreams, connected
    from ..integrations.ray.cluster import check_command_line
    from ..integrations.ray.storage import Storage, require_utf8
    from ..logs.source import Source
    from ..render.lines import StatusLine
    from ..system.process import Interruptible

    assert options.out is not None
    check_command_line()
    paths = files_of(read.pop("paths"))
    for path in paths:
        require_utf8(path)
    if not shown["resume"] and Storage(options.out).names():
        raise FileExistsError(f"{options.out} is not empty; name another folder, or continue there with --resume")
    reading = WatchStreams(watcher, shown["all"])
    predictor = model.predictor()
    reading.reader(predictor)  # raises ValueError for wrong options, before a cluster starts
    with connected(options.workers or 0) as workers, Interruptible() as control, StatusLine(sys.stderr) as status:
        n_shards = min(workers, len(paths))
        with KeyedStreams(options.out, predictor, reading, shards=n_shards) as streams:
            source = Source(paths, control=control, described=streams.position(), **read)
            run = RayWatch(source, status, shown["save_every"])
            streams.on_results = run.take
            run.run(streams)
            summary = run.summary(streams)
    say(summary)
    control.raise_if_interrupted()


def files_of(paths: list[str]) -> list[str]:
    """The files, and those in folders, without hidden ones. Raises ValueError for stdin or an empty folder."""
    found = []
    for path in paths:
        if path == "-":
            raise ValueError("--engine ray watches files and folders; stdin is watched by one process")
        if os.path.isdir(path):
            names = [os.path.join(path, name) for name in sorted(os.listdir(path)) if not name.startswith(".")]
            files = [name for name in names if os.path.isfile(name)]
            if not files:
                raise ValueError(f"{path} has no files")
            found += files
        else:
            found.append(path)
    return list(dict.fromkeys(found))
