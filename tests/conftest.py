"""One warm kernel cache for all workers. No test asserts how fast something is: a busy machine is no error."""

import subprocess
import sys

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_sessionstart(session):
    """Compile the kernels before any worker starts, so that workers and commands only load them."""
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and not session.config.option.collectonly:
        subprocess.run([sys.executable, "-m", "streamlstm", "warmup"], stdout=subprocess.DEVNULL, check=True)
