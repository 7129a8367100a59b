"""The command `score`."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple, Optional

import typer

from .command import command
from .options import ModelOptions, check_experts, check_files
from .score_ray import RayOptions, score_on_ray

if TYPE_CHECKING:
    from ..predictor import StreamPredictor
    from ..render.progress import FilesBar
    from ..render.records import ScoreTable
    from ..tasks.score import FileReaders
    from ..tasks.signals import Interruptible

FORMATS = ("text", "tsv", "jsonl", "ansi", "html")
HEAT_MAPS = ("ansi", "html")
"""These formats show characters, whatever the level."""


@command
def score(
    model: ModelOptions,
    files: Annotated[
        Optional[list[str]], typer.Argument(metavar="FILE", help="Files; - is stdin.", show_default=False)
    ] = None,
    by: Annotated[
        Optional[str],
        typer.Option(metavar="LEVEL", help="symbol, character, word, line or file. [file; with --compare: line]"),
    ] = None,
    unit: Annotated[str, typer.Option(metavar="UNIT", help="bits, nats or log10.")] = "bits",
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, tsv, jsonl; heat maps: ansi, html.")] = "text",
    word_boundary: Annotated[
        str,
        typer.Option(metavar="SIDE", help="Charge white space to the word before (trailing) or after it (leading)."),
    ] = "trailing",
    context_reset: Annotated[
        str, typer.Option(metavar="WHERE", help="Reset the context at each line, blank-line or file, or never.")
    ] = "file",
    compare: Annotated[
        Optional[tuple[str, str]],
        typer.Option(
            metavar="MODEL_A MODEL_B", help="Log-likelihood ratio of two models; positive: A predicts better."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Report the surprisal and the weight of each expert, for each file.")
    ] = False,
    *,
    ray: RayOptions,
) -> None:
    """Measure the surprisal of a text by file, line or word.

    The totals agree at every level. Lines and columns (in characters) count from 1, byte offsets from 0. Each file is
    read by the model as it was at the start, or with --context-reset never all files as one stream.

    \b
      streamlstm score chapter1.txt chapter2.txt
      streamlstm score story.txt --by word --format tsv > words.tsv
      streamlstm score --model book.safetensors --freeze --by line --unit nats sequel.txt
      streamlstm score --explain app.log
      streamlstm score --compare english.safetensors french.safetensors --freeze letters.txt

    With --engine ray, files are scored by several workers. FILE may be a pattern or a URL. Files that end in .jsonl or
    .parquet have records, each of which is read by the model as it was at the start; all other files are text. DIR
    gets a row for each file or record, or with --by line for each line.

    \b
      streamlstm score --engine ray --workers 8 --out scores 'corpus/*.txt' --by line
      streamlstm score --engine ray --out scores reviews.parquet --column review --id-column number --detail word
    """
    from ..render.progress import FilesBar
    from ..render.records import ScoreTable
    from ..tasks.score import BOUNDARIES, RESETS, UNITS, FileReaders, check_choice, check_level
    from ..tasks.signals import Interruptible

    level = check_level("--by", by or ("line" if compare else "file"))
    check_choice("--unit", unit, UNITS)
    check_choice("--format", format, FORMATS)
    check_choice("--word-boundary", word_boundary, BOUNDARIES)
    check_choice("--context-reset", context_reset, RESETS)
    if ray.given:
        if compare or explain or (format, unit, word_boundary) != ("text", "bits", "trailing"):
            raise ValueError("--engine ray writes bits to Parquet files; use it without the options of other outputs")
        return score_on_ray(model, files or [], ray, level, context_reset)
    if compare and model.model is not None:
        raise ValueError("--compare names its models; use it without --model")
    if format in HEAT_MAPS and (compare or (by and level != "character") or (files and len(files) > 1)):
        raise ValueError(f"--format {format} shows one file by character; use it without --compare")
    if explain and (compare or level != "file" or format not in ("text", "tsv")):
        raise ValueError("--explain reports on whole files, as text or tsv; use it without --compare")
    files = files or ["-"]
    if model.vocab == "text" and len(files) > 1 and context_reset == "never":
        raise ValueError("--vocab text takes its characters from one file; use --vocab bytes")
    check_files(files)
    options = [replace(model, model=name) for name in compare] if compare else [model]

    def predictors(text: str) -> "list[StreamPredictor]":
        return [option.predictor(text) for option in options]

    readers = FileReaders(predictors, per_text=model.vocab == "text", continuous=context_reset == "never")
    with Interruptible() as control:
        inputs = _opened(files, readers, control)
        if explain:
            _explain(inputs)
        elif format in HEAT_MAPS:
            _draw(inputs, format)
        else:
            table = ScoreTable(level, format, unit, compared=compare is not None, titled=len(files) > 1)
            with FilesBar(files, visible=level == "file" or not sys.stdout.isatty()) as bar:
                _score(inputs, table, bar, by=level, word_boundary=word_boundary, context_reset=context_reset)


class OpenedFile(NamedTuple):
    """A file that is open, the predictors that read it, and its parts as they arrive."""

    file: str
    source: BinaryIO
    predictors: "list[StreamPredictor]"
    parts: Iterable[bytes]


def _opened(files: list[str], readers: "FileReaders", control: "Interruptible") -> Iterator[OpenedFile]:
    """Open one file after the other."""
    from ..tasks.input import open_input

    for file in files:
        with open_input(file) as source:
            yield OpenedFile(file, source, *readers.open(_parts(source, control)))


def _parts(source: BinaryIO, control: "Interruptible") -> Iterator[bytes]:
    """Blocks of bytes as they arrive; after an interrupt an incomplete unit is not scored."""
    from ..tasks.input import blocks

    yield from blocks(source, control)
    control.raise_if_interrupted()


def _score(inputs: Iterator[OpenedFile], table: "ScoreTable", bar: "FilesBar", **options: str) -> None:
    """Write a record for each unit, or for each file."""
    from ..tasks.input import is_live
    from ..tasks.score import compare, score_by

    out = sys.stdout
    out.write(table.header)
    out.flush()
    for file, source, (a, *others), parts in inputs:
        out.write(table.title(file))
        live = is_live(source)
        pairs = compare(a, others[0], parts, **options) if others else zip(score_by(a, parts, **options))
        with nullcontext() if others else a.assisted():
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
    from ..tasks.score import expert_report

    header = "active\tbits_per_symbol\tweight\texpert\tfile\n"
    for file, _, (predictor,), parts in inputs:
        check_experts(predictor)
        sys.stdout.write(header)
        header = ""
        for name, active, bits, weight in expert_report(predictor, parts):
            sys.stdout.write(f"{active:.3f}\t{bits:.4f}\t{weight:.3f}\t{name}\t{escaped_text(file)}\n")
        sys.stdout.flush()


def _draw(inputs: Iterator[OpenedFile], format: str) -> None:
    """Write the heat map of the characters of a file."""
    from ..render.formats import FORMATS
    from ..tasks.characters import character, split_characters, trace_characters

    form, n_characters = FORMATS[format], 0
    for file, _, (predictor,), parts in inputs:
        sys.stdout.write(form.start(os.path.basename(file), "character"))
        for text in split_characters(parts):
            trace = trace_characters(predictor, text, position=n_characters)
            sys.stdout.write(form.lines(trace, character, n_characters))
            n_characters += len(trace.bits)
    sys.stdout.write(form.end())
