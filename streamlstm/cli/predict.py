"""The command `predict`."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..render.escape import counted
from .command import command, saving, say
from .options import Input, ModelOptions, SaveFile, check_experts

if TYPE_CHECKING:
    from ..kernels.arrays import F32
    from ..predictor import StreamPredictor
    from ..render.formats import Format

LEVELS = ("character", "symbol")
"""What --by accepts."""


@command
def predict(
    model: ModelOptions,
    file: Input = "-",
    top: Annotated[int, typer.Option(metavar="K", help="How many of the next symbols to show.")] = 5,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, tsv or jsonl; heat maps: ansi, html.")] = "text",
    by: Annotated[
        Optional[str],
        typer.Option(
            metavar="LEVEL", help="character, or symbol (a byte). [character; symbol for tsv, jsonl and --explain]"
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the surprisal and weight of each expert: network and contexts.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no records, only the summary.")] = False,
    save: SaveFile = None,
) -> None:
    """Print each character's surprisal and the predicted next ones.

    Reads FILE or stdin, and prints a record for each character as it arrives: its surprisal in bits, its rank among the
    predictions (1: the most probable), and the most probable next characters. A summary goes to stderr at the end.
    The formats ansi and html are heat maps of the text. The rank of a character of several bytes is the largest rank
    of its bytes.

    \b
      cat README.md | streamlstm predict
      streamlstm predict book.txt --quiet --save book.safetensors
      tail -f app.log | streamlstm predict --model book.safetensors --format jsonl
      streamlstm predict book.txt --format html > book.html
      streamlstm predict book.txt --explain | less
    """
    from ..render.formats import FORMATS
    from ..system.files import check_target
    from ..system.input import is_live, open_input
    from ..system.process import Interruptible

    level = _checked_level(format, by, top, explain, quiet)
    writer = FORMATS[format]
    by = level or ("symbol" if explain else writer.by)
    control, out, total = Interruptible(), sys.stdout, 0.0
    with open_input(file) as source:
        predictor, parts = model.open(source, control)
        if explain:
            check_experts(predictor)
        if save is not None:
            check_target(save, file)
        n_before, live = predictor.n_symbols, is_live(source)
        with control, saving(predictor, save) as save_if_due:
            start = time.perf_counter()
            if not quiet:
                header = writer.start("stdin" if file == "-" else Path(file).name, by)
                out.write(header.replace("\n", "\texperts\n") if explain and format == "tsv" else header)
            for bits, records in _observed(predictor, parts, by, top, explain, None if quiet else writer):
                out.write(records)
                if live:
                    out.flush()
                total += float(bits.sum(dtype="float64"))
                save_if_due()
            if not quiet:
                out.write(writer.end())
            out.flush()
    seconds, count = time.perf_counter() - start, predictor.n_symbols - n_before
    rates = f"{total / max(count, 1):.4f} bits per symbol, {count / seconds:,.0f} symbols/s"
    say(f"{counted(count, 'symbol')}, {rates}")
    control.raise_if_interrupted()


def _observed(
    predictor: "StreamPredictor", parts: Any, by: str, top: int, explain: bool, writer: "Format | None"
) -> "Iterator[tuple[F32, str]]":
    """Observe the parts of a stream; yields the surprisals in each part, and its records if there is a format."""
    from ..system.input import tokens
    from ..text.characters import character, character_traces

    if writer is None:
        for block in tokens(parts, predictor.vocabulary):
            yield predictor.observe_many(block), ""
    elif by == "character":
        for index, trace in character_traces(predictor, parts, top):
            yield trace.bits, writer.lines(trace, character, index)
    else:
        symbol, index = predictor.vocabulary.symbol, 0
        for block in tokens(parts, predictor.vocabulary):
            trace = predictor.trace(block, top, explain)
            yield trace.bits, writer.lines(trace, symbol, index)
            index += len(block)


def _checked_level(format: str, by: str | None, top: int, explain: bool, quiet: bool) -> str | None:
    """The level of --by, in full. Raises ValueError for an invalid option, or for two that exclude each other."""
    from ..render.formats import FORMATS
    from ..text.score import check_choice, check_level

    check_choice("--format", format, FORMATS)
    level = None if by is None else check_level("--by", by, LEVELS)
    if top < 0:
        raise ValueError(f"--top must be at least 0, not {top}")
    if explain and (level == "character" or format in ("ansi", "html")):
        raise ValueError("--explain reports on symbols, and only in the formats text, tsv and jsonl")
    if explain and quiet:
        raise ValueError("--explain adds to the records, but --quiet writes none; use one or the other")
    return level
