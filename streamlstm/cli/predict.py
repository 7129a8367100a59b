"""The command `predict`."""

import sys
import time
from typing import Annotated

import typer

from .command import command
from .options import Input, ModelOptions, SaveFile


@command
def predict(
    model: ModelOptions,
    file: Input = "-",
    top: Annotated[int, typer.Option(metavar="K", help="How many next symbols to show.")] = 5,
    format: Annotated[str, typer.Option(metavar="FORMAT", help="text, tsv or jsonl.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", help="No records, only the summary.")] = False,
    save: SaveFile = None,
) -> None:
    """Each symbol with its surprisal in bits, its rank, and what is expected after it.

    Reads stdin or FILE and writes a record per symbol as it arrives; a summary goes to stderr at the end.

    \b
      cat README.md | streamlstm predict
      streamlstm predict book.txt --quiet --save book.safetensors
      tail -f app.log | streamlstm predict --model book.safetensors --format jsonl
    """
    from ..checkpoint import check_target
    from ..formats import FORMATS
    from ..streams import Interruptible, is_live, open_input

    if format not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}")
    if top < 0:
        raise ValueError(f"--top must be at least 0, not {top}")
    header, lines = FORMATS[format]
    with Interruptible() as control, open_input(file) as source:
        predictor, parts = model.open(source, control)
        if save is not None:
            check_target(save)
        live, out = is_live(source), sys.stdout
        start, count, total = time.perf_counter(), 0, 0.0
        try:
            if not quiet:
                out.write(header)
            for part in parts:
                trace = predictor.trace(part, 0 if quiet else top)
                if not quiet:
                    out.write(lines(trace, predictor.vocabulary, count))
                    if live:
                        out.flush()
                count += len(trace.tokens)
                total += float(trace.bits.sum(dtype="float64"))
            out.flush()
        finally:
            if save is not None:
                predictor.save(save)
    seconds = time.perf_counter() - start
    typer.echo(
        f"{count:,} symbols, {total / max(count, 1):.4f} bits per symbol, {count / seconds:,.0f} symbols/s", err=True
    )
    if control.interrupted:
        raise SystemExit(130)
