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
    from ..tasks.warmup import CompiledKernel
    from ..tasks.warmup import warmup as compile_all

    def show(kernel: CompiledKernel) -> None:
        typer.echo(f"{kernel.name:<20} {'loaded' if kernel.is_loaded else 'compiled':<9} {kernel.seconds:6.2f} s")

    compile_all(show)
    from ..kernels.cache import cache_folder

    typer.echo(f"cache: {cache_folder() or 'none: no folder can be written; each start compiles'}")
