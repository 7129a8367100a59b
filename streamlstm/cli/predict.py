"""The command `predict`."""

import sys
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from .command import command, saving
from .options import Input, ModelOptions, SaveFile, check_experts


@command
def predict(
    model: ModelOptions,
    file: Input = "-",
    top: Annotated[int, typer.Option(metavar="K", help="How many next symbols to show.")] = 5,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, tsv, jsonl, ansi or html.")] = "text",
    by: Annotated[
        Optional[str],
        typer.Option(metavar="UNIT", help="character, or symbol (a byte). [symbol for tsv and jsonl]"),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also what each expert would have paid, in bits, and its weight.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No records, only the summary.")] = False,
    save: SaveFile = None,
) -> None:
    """Each character's surprisal, its rank, and the next guesses.

    Reads stdin or FILE and writes a record per character as it arrives; a summary goes to stderr at the end.
    The rank of a character of several bytes is the largest of theirs. ansi and html are heat maps.

    \b
      cat README.md | streamlstm predict
      streamlstm predict book.txt --quiet --save book.safetensors
      tail -f app.log | streamlstm predict --model book.safetensors --format jsonl
      streamlstm predict book.txt --format html > book.html
      streamlstm predict book.txt --explain | less
    """
    from ..checkpoint import check_target
    from ..render.formats import FORMATS, SymbolOf
    from ..tasks.characters import character, split_characters, trace_characters
    from ..tasks.input import Interruptible, is_live, open_input

    _check(format, by, top, explain, quiet)
    form = FORMATS[format]
    by = by or ("symbol" if explain else form.by)
    with Interruptible() as control, open_input(file) as source:
        predictor, parts = model.open(source, control)
        symbol: SymbolOf = predictor.vocabulary.symbol
        if by == "character" and not quiet:
            symbol = character
            if predictor.vocabulary.characters is None:
                parts = split_characters(part.astype("uint8").tobytes() for part in parts)  # type: ignore[assignment]
        if explain:
            check_experts(predictor)
        if save is not None:
            check_target(save, file)
        live, out = is_live(source), sys.stdout
        count, index, total = predictor.n_symbols, 0, 0.0
        with saving(predictor, save), predictor.assisted():
            start = time.perf_counter()
            if not quiet:
                header = form.start("stdin" if file == "-" else Path(file).name, by)
                out.write(header.replace("\n", "\texperts\n") if explain and format == "tsv" else header)
            for part in parts:
                if quiet:
                    bits = predictor.observe_many(part)
                else:
                    if by == "character":
                        trace = trace_characters(predictor, part, top)
                    else:
                        trace = predictor.trace(part, top, explain)
                    bits = trace.bits
                    out.write(form.lines(trace, symbol, index))
                    index += len(bits)
                    if live:
                        out.flush()
                total += float(bits.sum(dtype="float64"))
            if not quiet:
                out.write(form.end())
            out.flush()
        count = predictor.n_symbols - count
    seconds = time.perf_counter() - start
    typer.echo(
        f"{count:,} symbols, {total / max(count, 1):.4f} bits per symbol, {count / seconds:,.0f} symbols/s", err=True
    )
    if control.interrupted:
        raise SystemExit(130)


def _check(format: str, by: str | None, top: int, explain: bool, quiet: bool) -> None:
    """Refuse what makes no sense, with the name of the option."""
    from ..render.formats import FORMATS

    if format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}")
    if by not in (None, "character", "symbol"):
        raise ValueError(f"--by must be character or symbol, not {by!r}")
    if top < 0:
        raise ValueError(f"--top must be at least 0, not {top}")
    if explain and (by == "character" or format in ("ansi", "html")):
        raise ValueError("--explain tells of symbols, in the formats text, tsv and jsonl")
    if explain and quiet:
        raise ValueError("--explain adds to the records, and --quiet prints none; leave one of the two away")
