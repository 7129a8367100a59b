"""The command `score`: what is measured, by which model, and how it is printed.

With --engine ray, files are scored by the workers of a Ray cluster, into a folder of Parquet files.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple, Optional

import typer

from ..render.escape import counted
from .command import command, note, say
from .options import ModelOptions, check_engine, check_experts, check_extra, check_files, option

if TYPE_CHECKING:
    from ..integrations.ray.score_job import ScoreJob
    from ..predictor import StreamPredictor
    from ..system.process import Interruptible
    from ..text.score import FileReaders

FORMATS = ("text", "tsv", "csv", "jsonl", "ansi", "html")
HEAT_MAPS = ("ansi", "html")
"""These formats show characters, whatever the level."""


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and how it is printed."""

    by: Annotated[
        Optional[str], option("LEVEL", "symbol, character, word, line or file. [file; with --compare: line]")
    ] = None
    unit: Annotated[str, option("UNIT", "bits, nats or log10.")] = "bits"
    format: Annotated[str, option("FORMAT", "text, tsv, csv, jsonl; heat maps: ansi, html.")] = "text"
    word_boundary: Annotated[
        str, option("SIDE", "Count white space with the word before (trailing) or after it (leading).")
    ] = "trailing"
    context_reset: Annotated[str, option("WHERE", "Reset the context at each line, blank-line or file, or never.")] = (
        "file"
    )
    independent: Annotated[
        Optional[str],
        option("line|blank-line", "Score each line or paragraph from the same state; implies --freeze."),
    ] = None
    compare: Annotated[
        Optional[tuple[str, str]],
        option("MODEL_A MODEL_B", "Log-likelihood ratio of two models; positive: A predicts better."),
    ] = None
    explain: Annotated[
        bool, typer.Option("--explain", help="Report the surprisal of each expert, for each file or unit.")
    ] = False

    @property
    def level(self) -> str:
        """What is scored: symbols, characters, words, lines or files. Raises ValueError for anything else."""
        from ..text.score import check_level

        return check_level("--by", self.by or ("line" if self.compare else "file"))

    @property
    def is_heat_map(self) -> bool:
        """Whether the output is a heat map."""
        return self.format in HEAT_MAPS

    @property
    def reset(self) -> str:
        """Where the context is reset."""
        return self.independent or self.context_reset

    def models(self, model: ModelOptions) -> list[ModelOptions]:
        """The model, or the two that are compared."""
        if self.independent:
            model = replace(model, freeze=True)
        return [replace(model, model=name) for name in self.compare] if self.compare else [model]

    def check(self) -> None:
        """Raise ValueError for a value that is not valid."""
        from ..text.score import BOUNDARIES, RESETS, UNITS, check_choice

        check_choice("--unit", self.unit, UNITS)
        check_choice("--format", self.format, FORMATS)
        check_choice("--word-boundary", self.word_boundary, BOUNDARIES)
        check_choice("--context-reset", self.context_reset, RESETS)
        if self.independent is not None:
            check_choice("--independent", self.independent, ("line", "blank-line"))
            if self.context_reset not in ("file", self.independent):
                raise ValueError("give --independent or --context-reset, not both")

    def check_files(self, model: ModelOptions, files: list[str]) -> None:
        """Raise ValueError for options that exclude each other, for these files."""
        if self.compare and model.model is not None:
            raise ValueError("--compare names its models; use it without --model")
        if self.is_heat_map and (self.compare or (self.by and self.level != "character") or len(files) > 1):
            raise ValueError(f"--format {self.format} shows one file by character; use it without --by and --compare")
        if self.explain and (self.compare or self.is_heat_map):
            raise ValueError("--explain is for one model, and not for heat maps; use it without --compare")
        if self.explain and self.level == "file" and self.format not in ("text", "tsv"):
            raise ValueError(f"--explain reports on whole files as text or tsv; for {self.format}, use --by word")
        if model.vocab == "text" and len(files) > 1 and self.reset == "never":
            raise ValueError("--vocab text takes its characters from one file; use --vocab bytes")

    def check_for_ray(self) -> None:
        """Raise ValueError for options that --engine ray does not have."""
        given = self.format, self.unit, self.word_boundary
        if self.compare or self.explain or given != ("text", "bits", "trailing"):
            raise ValueError("--engine ray writes bits to Parquet files; use it without the options of other outputs")


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
    from ..integrations.ray.score_job import Columns, ScoreJob, ScoreOptions, matching_files, pieces_of
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
    from ..integrations.ray.score_job import run_on_ray
    from ..render.progress import Bar

    unfinished = set(job.unfinished())
    sizes = [piece.n_bytes for piece in job.pieces]
    done = sum(size for index, size in enumerate(sizes) if index not in unfinished)
    n_done = len(sizes) - len(unfinished)
    with Bar(job.n_bytes, done, 1) as bar:
        for index in run_on_ray(job, workers):
            done, n_done = done + sizes[index], n_done + 1
            bar.show(done, f"{n_done:,} of {len(sizes):,} pieces")


@command
def score(
    model: ModelOptions,
    files: Annotated[
        Optional[list[str]], typer.Argument(metavar="FILE", help="Files; - is stdin.", show_default=False)
    ] = None,
    *,
    measure: MeasureOptions,
    ray: RayOptions,
) -> None:
    """Measure the surprisal of a text by file, line or word.

    The totals are the same at every level. Lines and columns (in characters) count from 1, byte offsets from 0. Each
    file is read by the model as it was at the start; with --context-reset never, all files are one stream. With
    --independent line, each line is read by the model as it was at the start, so that their order does not matter.

    \b
      streamlstm score chapter1.txt chapter2.txt
      streamlstm score story.txt --by word --format tsv > words.tsv
      streamlstm score sentences.txt --by word --independent line --format csv > words.csv
      streamlstm score --model book.safetensors --freeze --by line --unit nats sequel.txt
      streamlstm score --explain app.log
      streamlstm score --explain story.txt --by word --format tsv > experts.tsv
      streamlstm score --compare english.safetensors french.safetensors --freeze letters.txt

    With --engine ray, several workers score the files. FILE may be a pattern or a URL. A file whose name ends in .jsonl
    or .parquet contains records, each of which is read by the model as it was at the start; all other files are text.
    DIR gets a row for each file or record, or with --by line for each line.

    \b
      streamlstm score --engine ray --workers 8 --out scores 'corpus/*.txt' --by line
      streamlstm score --engine ray --out scores reviews.parquet --column review --id-column number --detail word
    """
    from ..system.process import Interruptible
    from ..text.score import FileReaders

    level = measure.level
    measure.check()
    if ray.given:
        measure.check_for_ray()
        return score_on_ray(measure.models(model)[0], files or [], ray, level, measure.reset)
    files = files or ["-"]
    measure.check_files(model, files)
    check_files(files)
    models = measure.models(model)

    def predictors(text: str) -> "list[StreamPredictor]":
        found = [each.predictor(text) for each in models]
        if measure.explain:
            check_experts(found[0])
        if measure.reset in ("line", "blank-line") and any(each.learning for each in found):
            unit = "line" if measure.reset == "line" else "paragraph"
            note(f"the model learns from each {unit} for the next; use --independent {measure.reset} to prevent it")
        return found

    readers = FileReaders(predictors, per_text=model.vocab == "text", continuous=measure.reset == "never")
    with Interruptible() as control:
        inputs = _opened(files, readers, control)
        if measure.explain and level == "file":
            _explain(inputs)
        elif measure.is_heat_map:
            _draw(inputs, measure.format)
        else:
            _score(inputs, files, measure)


class OpenedFile(NamedTuple):
    """A file that is open, the predictors that read it, and its parts as they arrive."""

    file: str
    source: BinaryIO
    predictors: "list[StreamPredictor]"
    parts: Iterable[bytes]


def _opened(files: list[str], readers: "FileReaders", control: "Interruptible") -> Iterator[OpenedFile]:
    """Open one file after the other."""
    from ..system.input import open_input

    for file in files:
        with open_input(file) as source:
            yield OpenedFile(file, source, *readers.open(_parts(source, control)))


def _parts(source: BinaryIO, control: "Interruptible") -> Iterator[bytes]:
    """Blocks of bytes as they arrive; after an interrupt an incomplete unit is not scored."""
    from ..system.input import blocks

    yield from blocks(source, control)
    control.raise_if_interrupted()


def _score(inputs: Iterator[OpenedFile], files: list[str], measure: MeasureOptions) -> None:
    """Write a record for each unit, or for each file, with a progress bar."""
    from ..render.progress import FilesBar
    from ..render.records import ScoreTable
    from ..system.input import is_live
    from ..text.score import compare, score_by

    level, out = measure.level, sys.stdout
    compared, explain = measure.compare is not None, measure.explain
    table = ScoreTable(level, measure.format, measure.unit, compared, titled=len(files) > 1, explained=explain)
    how = {"by": level, "word_boundary": measure.word_boundary, "context_reset": measure.reset}
    out.write(table.header)
    out.flush()
    with FilesBar(files, visible=level == "file" or not out.isatty()) as bar:
        for file, source, (a, *others), parts in inputs:
            out.write(table.title(file))
            live = is_live(source)
            pairs = compare(a, others[0], parts, **how) if others else zip(score_by(a, parts, **how, explain=explain))
            for scores in pairs:
                out.write(table.rows(file, *scores))
                bar.show(file, source)
                if live:
                    out.flush()
            if total := table.total(file):
                out.write(total)
                out.flush()
            bar.done(file)


def _explain(inputs: Iterator[OpenedFile]) -> None:
    """Write a line for each file and expert: how often it was active, its surprisal, and its weight."""
    from ..render.escape import escaped_text
    from ..text.score import expert_report

    header = "active\tbits_per_symbol\tweight\texpert\tfile\n"
    for file, _, (predictor,), parts in inputs:
        sys.stdout.write(header)
        header = ""
        for name, active, bits, weight in expert_report(predictor, parts):
            sys.stdout.write(f"{active:.3f}\t{bits:.4f}\t{weight:.3f}\t{name}\t{escaped_text(file)}\n")
        sys.stdout.flush()


def _draw(inputs: Iterator[OpenedFile], format: str) -> None:
    """Write the heat map of the characters of a file."""
    from ..render.formats import FORMATS
    from ..text.characters import character, character_traces

    heat_map = FORMATS[format]
    for file, _, (predictor,), parts in inputs:
        sys.stdout.write(heat_map.start(os.path.basename(file), "character"))
        for index, trace in character_traces(predictor, parts):
            sys.stdout.write(heat_map.lines(trace, character, index))
    sys.stdout.write(heat_map.end())
