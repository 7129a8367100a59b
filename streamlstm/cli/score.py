"""The command `score`."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from itertools import repeat, zip_longest
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Optional

import typer

from .command import command
from .options import ModelOptions, check_experts, check_files

if TYPE_CHECKING:
    from ..predictor import StreamPredictor
    from ..tasks.input import Interruptible
    from ..tasks.units import Scores

FORMATS = ("text", "tsv", "jsonl", "ansi", "html")
PICTURES = ("ansi", "html")
"""Heat maps: of characters, whatever the level."""


@command
def score(
    model: ModelOptions,
    files: Annotated[
        Optional[list[str]], typer.Argument(metavar="[FILE]…", help="Files; - is stdin.", show_default=False)
    ] = None,
    by: Annotated[
        Optional[str], typer.Option(metavar="LEVEL", help="symbol, char, word, line or file. [file; contrast: line]")
    ] = None,
    unit: Annotated[str, typer.Option(metavar="UNIT", help="bits, nats or log10.")] = "bits",
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, tsv, jsonl; heat maps: ansi, html.")] = "text",
    word_boundary: Annotated[
        str, typer.Option(metavar="SIDE", help="A word pays for the white space behind it (trailing) or leading.")
    ] = "trailing",
    context_reset: Annotated[
        str, typer.Option(metavar="WHERE", help="Forget the context at each line, blank-line or file, or never.")
    ] = "file",
    contrast: Annotated[
        Optional[tuple[str, str]],
        typer.Option(metavar="MODEL_A MODEL_B", help="Log-likelihood ratio of two models; above 0: A expects it more."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="For each file what each expert would have paid, and its weight.")
    ] = False,
) -> None:
    """How surprising a text is: by file, line, word or character.

    Surprisals add up: at every level to the same sum. Lines and columns (in characters) count from 1, byte offsets
    from 0. Each file is read by the model as it was at the start, whatever the files before it taught, except with
    --context-reset never: then the files are one stream.

    \b
      streamlstm score chapter1.txt chapter2.txt
      streamlstm score story.txt --by word --format tsv > words.tsv
      streamlstm score --model book.safetensors --freeze --by line --unit nats sequel.txt
      streamlstm score --explain app.log
      streamlstm score --contrast english.safetensors french.safetensors --freeze letters.txt
    """
    from ..tasks.input import Interruptible, is_live, open_input
    from ..tasks.score import BOUNDARIES, LEVELS, RESETS, UNITS, check_choice, score_by
    from ..tasks.score import contrast as contrast_by

    level = by or ("line" if contrast else "file")
    check_choice("--by", level, LEVELS)
    check_choice("--unit", unit, UNITS)
    check_choice("--format", format, FORMATS)
    check_choice("--word-boundary", word_boundary, BOUNDARIES)
    check_choice("--context-reset", context_reset, RESETS)
    if contrast and model.model is not None:
        raise ValueError("--contrast names its models; leave out --model")
    files = files or ["-"]
    check_files(files)
    how: dict[str, Any] = {"by": level, "boundary": word_boundary, "reset": context_reset}
    records = Records(level, unit, format, contrast is not None, several=len(files) > 1)
    readers = Readers(model, contrast, shared=context_reset == "never")
    if format in PICTURES and (contrast or by not in (None, "char") or len(files) > 1):
        raise ValueError(f"--format {format} is a picture of one file, by char, and not of a contrast")
    if explain and (contrast or level != "file" or format not in ("text", "tsv")):
        raise ValueError("--explain tells of whole files, as text or tsv, and not of a contrast")
    with Interruptible() as control, Progress(files, level) as progress:
        if explain or format in PICTURES:
            _explain(files, readers, control) if explain else _paint(files, readers, control, format)
            return
        records.start()
        for file in files:
            records.begin(file)
            with open_input(file) as source:
                predictors, parts = readers.open(source, control)
                live = is_live(source)
                a, b = predictors[0], predictors[-1]
                pairs = contrast_by(a, b, parts, **how) if contrast else zip(score_by(a, parts, **how))
                with nullcontext() if contrast else a.assisted():
                    for scores in pairs:
                        records.write(file, *scores)
                        progress.show(file, source)
                        if live:
                            sys.stdout.flush()
                records.end(file)
            progress.done(file)


def _explain(files: list[str], readers: "Readers", control: "Interruptible") -> None:
    """A line for each file and each expert: how often it spoke, what it would have paid, and its weight."""
    from ..tasks.input import open_input
    from ..tasks.score import explained

    for index, file in enumerate(files):
        with open_input(file) as source:
            (predictor,), parts = readers.open(source, control)
            check_experts(predictor)
            if index == 0:
                sys.stdout.write("share\tbits_per_symbol\tweight\texpert\tfile\n")
            for name, share, bits, weight in explained(predictor, parts):
                sys.stdout.write(f"{share:.3f}\t{bits:.4f}\t{weight:.3f}\t{name}\t{file}\n")
                sys.stdout.flush()


def _paint(files: list[str], readers: "Readers", control: "Interruptible", format: str) -> None:
    """A heat map of a file's characters."""
    from ..render.formats import FORMATS as PICTURE_FORMATS
    from ..tasks.characters import character, split_characters, trace_characters
    from ..tasks.input import open_input

    form, index = PICTURE_FORMATS[format], 0
    sys.stdout.write(form.start(os.path.basename(files[0]), "character"))
    with open_input(files[0]) as source:
        (predictor,), parts = readers.open(source, control)
        for part in split_characters(parts):
            trace = trace_characters(predictor, part)
            sys.stdout.write(form.lines(trace, character, index))
            index += len(trace.bits)
    sys.stdout.write(form.end())


class Records:
    """Scores as they are written down: a record per unit, or one per file, as text, tsv or jsonl."""

    def __init__(self, level: str, unit: str, format: str, contrast: bool, several: bool) -> None:
        from ..tasks.score import UNITS

        self._whole_files, self._factor, self._format = level == "file", UNITS[unit], format
        self._titles = several and format == "text" and not self._whole_files
        self._sums = [0.0, 0.0, 0.0]
        floats = [f"ratio_{unit}", f"{unit}_a", f"{unit}_b"] if contrast else [unit]
        if self._whole_files:
            ints = [] if contrast else ["symbols"]
            floats += [] if contrast else [f"{unit}_per_symbol"]
            texts = ["file"]
        else:
            ints, texts = ["line", "column", "offset"], ["text"] if format == "text" else ["text", "file"]
        names = [*ints, *floats, *texts]
        self._kinds = "d" * len(ints) + "f" * len(floats) + "s" * len(texts)
        self._header, self._template = self._layout(names)

    def _layout(self, names: list[str]) -> tuple[str, str]:
        """The header, and what a record is made of."""
        kinds = self._kinds
        if self._format == "jsonl":
            how = {"d": "%d", "f": "%r", "s": "%s"}
            fields = [f'"{name}":{how[kind]}' for name, kind in zip(names, kinds, strict=True)]
            return "", "{" + ",".join(fields) + "}\n"
        if self._format == "text" and not self._whole_files:
            widths = {"d": "%9", "f": "%13", "s": "  %"}
            header = "".join(f"{widths[kind]}s" for kind in kinds) % tuple(names)
            ends = {"d": "d", "f": ".4f", "s": "s"}
            return header + "\n", "".join(widths[kind] + ends[kind] for kind in kinds) + "\n"
        exact = {"d": "%d", "f": "%r", "s": "%s"}
        short = [f"%.{4 if name.endswith('_per_symbol') else 2}f" for name in names]
        fields = [s if self._format == "text" and k == "f" else exact[k] for s, k in zip(short, kinds, strict=True)]
        return "\t".join(names) + "\n", "\t".join(fields) + "\n"

    def start(self) -> None:
        """Write the header, at once: who waits for the first record can tell what it will be."""
        sys.stdout.write(self._header)
        sys.stdout.flush()

    def begin(self, file: str) -> None:
        """What follows is of this file."""
        if self._titles:
            sys.stdout.write(f"==> {file} <==\n")

    def write(self, file: str, *scores: "Scores") -> None:
        """Units of a file, scored once or by the two models of a contrast."""
        units = scores[0]
        if self._whole_files:
            sums = [float(units.n_symbols.sum()), *(float(table.bits.sum()) for table in scores)]
            self._sums = [a + b for a, b in zip_longest(self._sums, sums, fillvalue=0.0)]
            return
        floats = [self._factor * table.bits for table in scores]
        if len(floats) == 2:
            floats = [floats[1] - floats[0], *floats]
        places = [units.lines, units.columns, units.offsets]
        columns: list[Iterable[Any]] = [array.tolist() for array in (*places, *floats)]
        columns.append(map(_quoted if self._format == "jsonl" else _shown, units.texts))
        if self._format != "text":
            columns.append(repeat(self._name(file)))
        sys.stdout.write("".join([self._template % row for row in zip(*columns)]))  # noqa: B905 repeat has no end

    def end(self, file: str) -> None:
        """No more of this file."""
        if self._whole_files:
            n_symbols, a, b = self._sums[0], self._factor * self._sums[1], self._factor * self._sums[2]
            numbers = (n_symbols, a, a / max(n_symbols, 1)) if self._kinds[0] == "d" else (b - a, a, b)
            sys.stdout.write(self._template % (*numbers, self._name(file)))
            sys.stdout.flush()
        self._sums = [0.0, 0.0, 0.0]

    def _name(self, file: str) -> str:
        return _quoted(file) if self._format == "jsonl" else file


@lru_cache(4096)
def _quoted(text: str) -> str:
    """A text as it stands in JSON; a byte that is no UTF-8 becomes the escape of a lone surrogate."""
    return json.dumps(text, ensure_ascii=False)


@lru_cache(4096)
def _shown(text: str) -> str:
    """A text as it stands in a table: what does not print is escaped."""
    from ..tasks.characters import written

    if text.isprintable() and "\\" not in text:
        return text
    return "".join(written(c.encode("utf-8", "surrogateescape") if "\udc80" <= c <= "\udcff" else c) for c in text)


class Readers:
    """The predictors that read a file: one, or the two of a contrast; fresh ones for each file unless shared."""

    def __init__(self, model: ModelOptions, contrast: tuple[str, str] | None, shared: bool) -> None:
        self._options = [replace(model, model=name) for name in contrast] if contrast else [model]
        self._shared = shared
        self._per_file = model.vocab == "text"  # a fresh net of the characters of each file
        self._predictors = [] if self._per_file else [option.predictor() for option in self._options]

    def open(self, source: BinaryIO, control: "Interruptible") -> "tuple[list[StreamPredictor], Iterable[bytes]]":
        """The predictors that read this source, and its parts as they arrive."""
        parts: Iterable[bytes] = _parts(source, control)
        if self._per_file and not (self._shared and self._predictors):
            parts = list(parts)
            text = b"".join(parts).decode("utf-8", "replace")
            self._predictors = [option.predictor(text) for option in self._options]
            return self._predictors, parts
        if self._shared:
            return self._predictors, parts
        return [predictor.fork() for predictor in self._predictors], parts


def _parts(source: BinaryIO, control: "Interruptible") -> Iterator[bytes]:
    """Blocks of bytes as they arrive; after ctrl-C what is not complete is not scored."""
    from ..tasks.input import blocks

    yield from blocks(source, control)
    control.raise_if_interrupted()


class Progress:
    """A progress bar over the bytes of files, where it does not stand among the records."""

    def __init__(self, files: list[str], level: str) -> None:
        self._bar: Any = None
        self._done = 0
        if not sys.stderr.isatty() or (sys.stdout.isatty() and level != "file"):
            return
        if all(os.path.isfile(file) for file in files):
            from ..render.progress import Bar

            self._sizes = {file: os.path.getsize(file) for file in files}
            self._bar = Bar(sum(self._sizes[file] for file in files), 0, 1)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)

    def show(self, file: str, source: BinaryIO) -> None:
        """Say that this file has been read as far as its source."""
        if self._bar is not None:
            self._bar.show(self._done + source.tell(), file)

    def done(self, file: str) -> None:
        """Say that this file has been read."""
        if self._bar is not None:
            self._done += self._sizes[file]
