"""The commands that look after models and kernels: `verify`, `info` and `warmup`."""

from typing import Annotated

import typer

from ..render.escape import terminal_text
from .command import command
from .options import Input, ModelOptions, file_of

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
    from ..selftest import verify as verify_data
    from ..system.input import open_input

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
