"""The command `warmup`."""

import typer

from .command import command


@command
def warmup() -> None:
    """Compile all kernels for this CPU ahead of time.

    Prints each kernel, whether it was compiled or loaded from the cache, and how long that took; then the folder of
    the cache. Without this, each command compiles the kernels that it needs when it first runs.

    \b
      streamlstm warmup
    """
    from ..kernels.jit import FOLDER
    from ..tasks.warmup import compile_all

    for name, how, seconds in compile_all():
        typer.echo(f"{name:<20} {how:<9} {seconds:6.2f} s")
    typer.echo(f"cache: {FOLDER or 'none, because no folder is writable; every start compiles the kernels again'}")
