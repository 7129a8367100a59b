"""The application: its global options and all commands, in the order in which --help lists them."""

# ruff: noqa: F401, I001  a module adds its command when it is imported
from typing import Annotated

import typer

from .. import __version__
from .command import app as app
from . import predict, score, regions, watch, surprising, kinds, mcp, live, train
from . import generate
from . import generate as complete
from . import generate as fill
from . import compress
from . import maintenance as verify
from . import maintenance as info
from . import maintenance as warmup


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"streamlstm {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Predict a stream of text or bytes, symbol by symbol, with a small LSTM that learns as it reads.

    \b
      cat book.txt | streamlstm predict                surprisal of each character
      tail -F app.log | streamlstm watch               unusual lines of a log
      streamlstm compress book.txt -o book.slz         lossless compression
      streamlstm train book.txt -o book.safetensors    a model of your own
      streamlstm generate --model book.safetensors     text in its style

    streamlstm COMMAND --help shows the options of a command, with examples.
    """
