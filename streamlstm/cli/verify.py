"""The command `verify`."""

from typing import Annotated

import typer

from .command import command
from .options import Input, ModelOptions

QUICK = 20_000
"""How many bytes --quick reads."""


@command
def verify(
    model: ModelOptions,
    file: Input = "-",
    quick: Annotated[bool, typer.Option("--quick", help=f"Only the first {QUICK:,} bytes.")] = False,
) -> None:
    """Prove on your own file what the predictor promises.

    Each distribution is normalised; each symbol is scored before it is learned from; any way to cut the stream gives
    the same bits; the future changes nothing before it; save and load changes nothing; compress loses nothing.
    Exits with 1 and the first counterexample if that is not so.

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
        raise ValueError(f"{name} is empty; verify needs a text to prove its promises on")
    text = data.decode("utf-8", "replace")
    predictor = model.predictor(text)
    for row in verify_data(data if predictor.vocabulary.characters is None else text, predictor):
        typer.echo(f"{row.check:<13} {'FAILED' if row.counterexample else 'held':<6}  {row.figures}")
        if row.counterexample:
            raise ValueError(f"{row.check}: {row.counterexample}")
