"""The command line: parse, call the library, print. Numba is imported only by a command that needs it."""

import os
import sys


def main() -> None:
    """Run the command `streamlstm`.

    stdout is buffered, and a character that its encoding lacks is written as an escape.
    """
    from ..tasks.signals import exit_at_once, handle_stop_signals

    handle_stop_signals(exit_at_once)  # until the command has begun
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    from .app import app
    from .command import code_and_message, leave

    if sys.stdout is None:
        leave(1, "stdout is closed")
    encoding = sys.stdout.encoding
    sys.stdout = open(1, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    try:
        app(prog_name="streamlstm")
    except OSError as error:  # help that cannot be written; a command reports its own errors
        leave(*code_and_message(error))
