"""The command `warmup`."""

import typer

from ..render.escape import terminal_text
from .command import command


@command
def warmup() -> None:
    """Compile all kernels for this CPU ahead of time.

    Prints each kernel, whether it was compiled or loaded from the cache, and how long that took; then the folder of
    the cache. Otherwise, each command compiles the kernels that it needs when it first runs.

    If the package contains compiled kernels for this CPU, there is nothing to compile.

    \b
      streamlstm warmup
    """
    from ..jit.decorators import LIBRARY
    from ..jit.warmup import CompiledKernel
    from ..jit.warmup import warmup as compile_all

    def show(kernel: CompiledKernel) -> None:
        typer.echo(f"{kernel.name:<20} {'loaded' if kernel.is_loaded else 'compiled':<9} {kernel.seconds:6.2f} s")

    compile_all(show)
    if LIBRARY is not None:
        typer.echo(terminal_text(f"compiled kernels of the package: {LIBRARY.path}"))
        return
    from ..jit.cache import cache_folder

    folder = cache_folder() or "none, because no folder is writable; every start compiles the kernels again"
    typer.echo(terminal_text(f"cache: {folder}"))
