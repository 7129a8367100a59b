"""The commands `info` and `warmup`."""

from typing import Annotated

import typer

from .command import command
from .options import load_model


@command
def info(
    model: Annotated[str, typer.Argument(metavar="[NAME|FILE]", help="A bundled or a saved model.")] = "small",
) -> None:
    """What a model is: shape, optimizer, and how much it has seen.

    \b
      streamlstm info book.safetensors
    """
    for name, value in load_model(model).describe().items():
        typer.echo(f"{name:<12} {value}")


@command
def warmup() -> None:
    """Compile the kernels for this CPU, and say where they are kept.

    \b
      streamlstm warmup
    """
    from ..tasks.warmup import compile_all

    for name, how, seconds in compile_all():
        typer.echo(f"{name:<20} {how:<9} {seconds:6.2f} s")
    from ..kernels.cache import cache_folder

    typer.echo(f"cache: {cache_folder() or 'none: no folder can be written; each start compiles'}")
