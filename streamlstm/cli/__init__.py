"""The command line: parse, call the library, print. Numba is imported only by a command that needs it."""

import io
import os
import sys


def main() -> None:
    """Run the command `streamlstm`.

    stdout is buffered, and UTF-8 whatever the locale says.
    """
    from ..system.portable import standard_output, use_utf8
    from ..system.process import exit_at_once, handle_stop_signals

    handle_stop_signals(exit_at_once)  # until the command has begun
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    use_utf8(sys.stderr)
    from .app import app
    from .command import BROKEN_PIPE, USAGE_ERROR, code_and_message, leave, say
    from .guesses import answer_option

    if sys.stdout is None:
        leave(1, "stdout is closed")
    sys.stdout = standard_output()
    try:  # a command reports its own errors; what is left are help that cannot be written, and errors of usage
        raise SystemExit(app(prog_name="streamlstm", standalone_mode=False) or 0)
    except SystemExit as end:
        if end.code == 1 and isinstance(end.__context__, BrokenPipeError):  # typer ends like this
            leave(BROKEN_PIPE)
        raise
    except OSError as error:
        leave(*code_and_message(error))
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        answer_option(error)
        usage = io.StringIO()
        error.show(usage)
        say(usage.getvalue())
        leave(getattr(error, "exit_code", USAGE_ERROR))
