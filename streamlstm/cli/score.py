"""The command `score`."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple, Optional

import typer

from .command import command
from .options import ModelOptions, check_experts, check_files
from .score_options import MeasureOptions
from .score_ray import RayOptions, score_on_ray

if TYPE_CHECKING:
    from ..predictor import StreamPredictor
    from ..tasks.score import FileReaders
    from ..tasks.signals import Interruptible


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
    file is read by the model as it was at the start; with --context-reset never, all files are one stream.

    \b
      streamlstm score chapter1.txt chapter2.txt
      streamlstm score story.txt --by word --format tsv > words.tsv
      streamlstm score --model book.safetensors --freeze --by line --unit nats sequel.txt
      streamlstm score --explain app.log
      streamlstm score --compare english.safetensors french.safetensors --freeze letters.txt

    With --engine ray, several workers score the files. FILE may be a pattern or a URL. A file whose name ends in .jsonl
    or .parquet contains records, each of which is read by the model as it was at the start; all other files are text.
    DIR gets a row for each file or record, or with --by line for each line.

    \b
      streamlstm score --engine ray --workers 8 --out scores 'corpus/*.txt' --by line
      streamlstm score --engine ray --out scores reviews.parquet --column review --id-column number --detail word
    """
    from ..tasks.score import FileReaders
    from ..tasks.signals import Interruptible

    level = measure.level
    measure.check()
    if ray.given:
        measure.check_for_ray()
        return score_on_ray(model, files or [], ray, level, measure.context_reset)
    files = files or ["-"]
    measure.check_files(model, files)
    check_files(files)
    models = measure.models(model)

    def predictors(text: str) -> "list[StreamPredictor]":
        return [each.predictor(text) for each in models]

    readers = FileReaders(predictors, per_text=model.vocab == "text", continuous=measure.context_reset == "never")
    with Interruptible() as control:
        inputs = _opened(files, readers, control)
        if measure.explain:
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
    from ..tasks.input import open_input

    for file in files:
        with open_input(file) as source:
            yield OpenedFile(file, source, *readers.open(_parts(source, control)))


def _parts(source: BinaryIO, control: "Interruptible") -> Iterator[bytes]:
    """Blocks of bytes as they arrive; after an interrupt an incomplete unit is not scored."""
    from ..tasks.input import blocks

    yield from blocks(source, control)
    control.raise_if_interrupted()


def _score(inputs: Iterator[OpenedFile], files: list[str], measure: MeasureOptions) -> None:
    """Write a record for each unit, or for each file, with a progress bar."""
    from ..render.progress import FilesBar
    from ..render.records import ScoreTable
    from ..tasks.input import is_live
    from ..tasks.score import compare, score_by

    level, out = measure.level, sys.stdout
    table = ScoreTable(level, measure.format, measure.unit, measure.compare is not None, titled=len(files) > 1)
    how = {"by": level, "word_boundary": measure.word_boundary, "context_reset": measure.context_reset}
    out.write(table.header)
    out.flush()
    with FilesBar(files, visible=level == "file" or not out.isatty()) as bar:
        for file, source, (a, *others), parts in inputs:
            out.write(table.title(file))
            live = is_live(source)
            pairs = compare(a, others[0], parts, **how) if others else zip(score_by(a, parts, **how))
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

    heat_map, n_characters = FORMATS[format], 0
    for file, _, (predictor,), parts in inputs:
        sys.stdout.write(heat_map.start(os.path.basename(file), "character"))
        for text in split_characters(parts):
            trace = trace_characters(predictor, text, position=n_characters)
            sys.stdout.write(heat_map.lines(trace, character, n_characters))
            n_characters += len(trace.bits)
    sys.stdout.write(heat_map.end())
