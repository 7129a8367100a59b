"""The command `mcp`."""

import signal
from typing import Annotated

import typer

from .command import command
from .options import ModelOptions, check_extra


@command
def mcp(
    model: ModelOptions,
    folders: Annotated[list[str], typer.Argument(metavar="FOLDER", help="Files below these may be read, no others.")],
    max_bytes: Annotated[int, typer.Option(metavar="N", help="Read at most the last N bytes of a file.")] = 1_000_000,
) -> None:
    """Serve tools that find surprising lines to an AI assistant.

    The tools are `surprising_lines` for a file and `score_text` for a text. Speaks the Model Context Protocol on stdin
    and stdout; an assistant starts it. Requires streamlstm[mcp].

    \b
      streamlstm mcp /var/log
      streamlstm mcp --model app.safetensors ~/logs /srv/app
    """
    check_extra("mcp", "mcp")
    from ..integrations.mcp import serve
    from ..system.portable import STOP_SIGNALS

    for number in STOP_SIGNALS:  # nothing has to be saved, and the thread that waits for stdin cannot be interrupted
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    serve(model.predictor(), folders, max_bytes)
