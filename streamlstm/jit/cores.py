"""How many cores there are to compute with."""

import os
from contextlib import suppress
from pathlib import Path


def n_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many cores this process may use, at least 1: by its affinity and, in a container, by its quota.

    quota: where Linux tells a container how many µs of how many it may compute.
    """
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # there is no such file, or it says "max"
        microseconds, period = quota.read_text().split()
        n = min(n, int(microseconds) // int(period))
    return max(n, 1)
