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

    Checks that every distribution is normalised; every symbol is scored before the model learns from it; splitting the
    stream into other blocks gives the same bits; no surprisal depends on later input; queries and forks change nothing;
    this machine computes the same bits as all others, with one core or two; saving and loading changes nothing; the
    model does not grow; invalid symbols, interrupted saves and damaged files are rejected, and nothing is lost; streams
    do not affect each other; and compression is lossless. If a check fails, its first counterexample is printed and the
    exit code is 1. 100 kB take less than a minute.

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
