"""`score --engine ray`: files are scored by the workers of a Ray cluster, into a folder of Parquet files."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..render.escape import counted
from .command import say
from .engine import check_engine
from .options import ModelOptions, check_extra, option

if TYPE_CHECKING:
    from ..integrations.ray.score_job import ScoreJob


@dataclass(frozen=True)
class RayOptions:
    """The options of `score` that need an engine."""

    engine: Annotated[
        Optional[str], option("ray", "Score on a Ray cluster into Parquet files; requires streamlstm[ray].")
    ] = None
    workers: Annotated[Optional[int], option("N", "--engine: how many workers. [one for each CPU]")] = None
    out: Annotated[Optional[str], option("DIR", "--engine: a folder, or a URL of one.")] = None
    column: Annotated[Optional[str], option("NAME", "--engine: the text of JSON lines and Parquet. [text]")] = None
    id_column: Annotated[Optional[str], option("NAME", "--engine: the id of a record. [FILE:POSITION]")] = None
    detail: Annotated[Optional[str], option("LEVEL", "--engine: also lists of each word or line of a record.")] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="--engine: continue in DIR after an interruption or a crash.")
    ] = False

    @property
    def given(self) -> bool:
        """Whether an engine is given. Raises ValueError for options that need one, or an engine that needs another."""
        others = {"--workers": self.workers, "--out": self.out, "--column": self.column}
        others |= {"--id-column": self.id_column, "--detail": self.detail, "--resume": self.resume or None}
        if not check_engine(self.engine, others):
            return False
        if self.out is None:
            raise ValueError("--engine ray writes a folder of Parquet files; name it with --out DIR")
        return True


def score_on_ray(model: ModelOptions, files: list[str], options: RayOptions, by: str, context_reset: str) -> None:
    """Score files, with the progress on stderr."""
    check_extra("ray", "ray", "pyarrow", "fsspec")
    from ..integrations.ray import connected
    from ..integrations.ray.cluster import check_command_line
    from ..integrations.ray.pieces import Columns, matching_files, pieces_of
    from ..integrations.ray.score_job import ScoreJob, ScoreOptions
    from ..integrations.ray.storage import Storage

    assert options.out is not None
    check_command_line()
    if not files or "-" in files:
        raise ValueError("--engine ray reads files, not stdin; name them")
    columns = Columns(options.column or "text", options.id_column)
    how = ScoreOptions(by, options.detail, context_reset, columns)
    pieces = pieces_of(matching_files(files), columns.text)
    job = ScoreJob.begin(Storage(options.out), how, pieces, model.predictor(), options.resume)
    if job.unfinished():
        with connected(options.workers or 0) as workers:
            _run(job, workers)
    say(f"{counted(job.n_bytes, 'byte')} in {counted(len(pieces), 'piece')}: {job.storage.location}")


def _run(job: "ScoreJob", workers: int) -> None:
    from ..integrations.ray.score_workers import run_on_ray
    from ..render.progress import Bar

    unfinished = set(job.unfinished())
    sizes = [piece.n_bytes for piece in job.pieces]
    done = sum(size for index, size in enumerate(sizes) if index not in unfinished)
    n_done = len(sizes) - len(unfinished)
    with Bar(job.n_bytes, done, 1) as bar:
        for index in run_on_ray(job, workers):
            done, n_done = done + sizes[index], n_done + 1
            bar.show(done, f"{n_done:,} of {len(sizes):,} pieces")
