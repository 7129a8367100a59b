"""The command `info`."""

from typing import Annotated

import typer

from .command import command
from .options import load_model


@command
def info(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A bundled or a saved model.")] = "small",
) -> None:
    """Describe a model: shape, optimizer, and symbols seen.

    \b
      streamlstm info
      streamlstm info book.safetensors
    """
    for name, value in load_model(model).describe().items():
        typer.echo(f"{name:<12} {value}")
