"""The command line: parse, call the library, print. Numba is imported only by a command that needs it."""

# ruff: noqa: F401, I001  each module adds its command, in the order in which --help lists them
import os
import sys
from typing import Annotated

import typer

from .. import __version__
from .command import app, leave, show_log
from . import predict, score, watch, live, train, generate, compress, verify, info


def main() -> None:
    """The command `streamlstm`. Its stdout is buffered, and writes an escape for what its encoding lacks."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        leave(1, "stdout is closed")
    show_log()
    encoding = sys.stdout.encoding
    sys.stdout = open(1, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    app(prog_name="streamlstm")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamlstm {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A character-level LSTM that lives in a stream.

    It takes one symbol at a time, says what it expects next, and learns from every symbol it sees.

    \b
      cat book.txt | streamlstm predict             what was expected, symbol by symbol
      streamlstm train book.txt -o book.safetensors train a model on your text
      streamlstm generate --model book.safetensors  let it write
    """
