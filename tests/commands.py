"""The command `streamlstm` in a process of its own, with pipes, signals and exit codes as a shell sees them.

The process is forked from the one that runs the tests, which has imported the package: to start Python and to import
numba takes ten times as long as a tiny command. With the environment variable REAL_PROCESSES=1 (see `.ci/run`), or
where a test changes a variable that Python or numba reads, it is a new process of Python instead.
"""

import faulthandler
import functools
import gc
import importlib
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
import warnings

from typer.testing import CliRunner

import streamlstm
from streamlstm.cli import main
from streamlstm.cli.app import app

CLI = [sys.executable, "-m", "streamlstm"]
IS_REAL = not hasattr(os, "fork") or bool(os.environ.get("REAL_PROCESSES"))


def kills(default):
    """How many times a slow test kills a process: as KILLS says."""
    return int(os.environ.get("KILLS", default))


class Command(subprocess.Popen):
    """A `Popen` that does not wait for ever for a command when the test has failed."""

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.kill()
        super().__exit__(kind, error, trace)


class ForkedCommand(Command):
    """A command whose child runs `main` instead of executing a program; the rest of `Popen` works as it is."""

    def __init__(self, arguments, before="", **options):
        self.before = before
        super().__init__(arguments, **options)

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *others):
        import_all()
        pipes = others[3:9]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                run_command(args[len(CLI) :], pipes[0], pipes[3], pipes[5], cwd, env, self.before)
            finally:
                os._exit(70)
        self._child_created = True
        self._close_pipe_fds(*pipes)


@functools.cache
def import_all():
    """Import all modules but those that need an extra, and load all kernels, so that no child has to."""
    for package in pkgutil.iter_modules(streamlstm.__path__, "streamlstm."):
        if package.name not in ("streamlstm.__main__", "streamlstm.integrations"):
            module = importlib.import_module(package.name)
            for each in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{package.name}."):
                if not each.name.endswith((".live", ".windows")):
                    importlib.import_module(each.name)
    streamlstm.warmup()
    CliRunner().invoke(app, ["predict", "--top", "many"])  # typer imports what it needs for the first value


def start(*arguments: object, before: str = "", **options) -> subprocess.Popen:
    """Start a command; its three streams are pipes unless the options of `Popen` say otherwise.

    before  Python code that the process runs first
    """
    pipe = subprocess.PIPE
    options = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "bufsize": 0, **options}
    changed = os.environ.items() ^ options.get("env", os.environ).items()
    needs_python = any(name.startswith(("PYTHON", "NUMBA")) for name, _ in changed)
    if not (IS_REAL or needs_python):
        return ForkedCommand([*CLI, *map(str, arguments)], before, **options)
    script = ["-c", f"{before}\nfrom streamlstm.cli import main\nmain()"] if before else CLI[1:]
    return Command([sys.executable, *script, *map(str, arguments)], **options)


def run(*arguments: object, stdin: bytes = b"", timeout: float = 100, **options) -> subprocess.CompletedProcess:
    """Run a command to its end."""
    with start(*arguments, bufsize=-1, **options) as process:
        try:
            output, errors = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def run_command(arguments, stdin, stdout, stderr, cwd, environment, before):
    """Make the forked process look like a new one, run the command, and exit as Python does."""
    gc.freeze()  # the files of the tests are closed below; their objects must not close those of the command
    faulthandler.disable()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for logger in (logging.getLogger(), logging.getLogger("streamlstm")):  # the second one writes to a closed stream
        logger.handlers.clear()
    importlib.reload(warnings)
    for target, source in enumerate((stdin, stdout, stderr)):
        if source >= 0:
            os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = ["streamlstm", *arguments]
    code = 0
    try:
        os.chdir(cwd or ".")
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)
        exec(before, {"__name__": "__main__"})
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120
    os._exit(code)
