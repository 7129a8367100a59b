"""One warm kernel cache for all workers. No test asserts how fast something is: a busy machine is no error."""

import os
import signal
import subprocess
import sys

from hypothesis import settings

os.environ["STREAMLSTM_JIT"] = "1"  # numba's kernels, also where `ahead` has written libraries: see test_precompiled

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_configure():
    """Take SIGINT even if the shell that started the tests in the background ignores it: the commands would too."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session):
    """Compile the kernels before any worker starts, so that workers and commands only load them."""
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and not session.config.option.collectonly:
        subprocess.run([sys.executable, "-m", "streamlstm", "warmup"], stdout=subprocess.DEVNULL, check=True)
