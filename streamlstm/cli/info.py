"""The command `info`."""

from typing import Annotated

import typer

from ..render.escape import terminal_text
from .command import command
from .options import file_of


@command
def info(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A bundled or a saved model.")] = "small",
) -> None:
    """Describe a model: shape, optimizer, and symbols seen.

    \b
      streamlstm info
      streamlstm info book.safetensors
    """
    from ..modelfile import describe_file

    for name, value in describe_file(file_of(model)).items():
        typer.echo(terminal_text(f"{name:<12} {value}"))
