"""The command `verify`."""

from typing import Annotated

import typer

from .command import command
from .options import Input, ModelOptions

QUICK = 20_000
"""The number of bytes that --quick reads."""


@command
def verify(
    model: ModelOptions,
    file: Input = "-",
    quick: Annotated[bool, typer.Option("--quick", help=f"Read only the first {QUICK:,} bytes.")] = False,
) -> None:
    """Check the guarantees of the predictor on your own file.

    Every distribution is normalised. Every symbol is scored before the model learns from it. Cutting the stream into
    other blocks gives the same bits. No surprisal depends on later input. Questions and forks change nothing. This
    machine computes the bits that all machines compute, with one core or two. Saving and loading changes nothing. The
    model does not grow. Invalid symbols, interrupted saves and damaged files are refused, and nothing is lost. Streams
    do not affect each other. Compression is lossless. If a check fails, its first counterexample is printed and the
    exit code is 1. 100 kB take half a minute to a minute.

    \b
      streamlstm verify book.txt --quick
      streamlstm verify app.log --model log.safetensors --freeze
    """
    from ..tasks.input import open_input
    from ..tasks.verify import verify as verify_data

    with open_input(file) as source:
        data = source.read(QUICK if quick else -1)
    if not data:
        name = "standard input" if file == "-" else file
        raise ValueError(f"{name} is empty; verify needs a text to check")
    text = data.decode("utf-8", "replace")
    predictor = model.predictor(text)
    for row in verify_data(data if predictor.vocabulary.characters is None else text, predictor):
        typer.echo(f"{row.check:<13} {'FAILED' if row.counterexample else 'held':<6}  {row.figures}")
        if row.counterexample:
            raise ValueError(f"{row.check}: {row.counterexample}")
