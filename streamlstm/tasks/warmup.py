"""Compile all kernels before they are needed."""

import time
from collections.abc import Callable
from typing import NamedTuple

from ..kernels import jit


class CompiledKernel(NamedTuple):
    """A kernel that is ready for use.

    name       the kernel's function
    is_loaded  whether it was loaded from the cache; otherwise it was compiled
    seconds    how long that took
    """

    name: str
    is_loaded: bool
    seconds: float


def warmup(report: Callable[[CompiledKernel], object] | None = None) -> list[CompiledKernel]:
    """Compile each kernel for this CPU, or load it from the cache, so that nothing is compiled later.

    report  is called with each kernel as soon as it is ready

    >>> from streamlstm.tasks.warmup import warmup
    >>> "forward" in [kernel.name for kernel in warmup()]
    True
    """
    from ..kernels import descent, gradient, line_tables, network, ranks  # noqa: F401  they register their entries
    from ..memory import mixture  # noqa: F401
    from . import coder  # noqa: F401

    kernels = []
    for entry in jit.ENTRIES:
        started = time.perf_counter()
        entry.compile(entry.arguments)
        seconds = time.perf_counter() - started
        kernels.append(CompiledKernel(entry.py_func.__name__, bool(entry.stats.cache_hits), seconds))
        if report is not None:
            report(kernels[-1])
    return kernels
