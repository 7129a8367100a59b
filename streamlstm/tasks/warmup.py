"""Compile all kernels before they are needed."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..kernels import jit


class CompiledKernel(NamedTuple):
    """A kernel that is ready for use.

    name       the kernel's function
    is_loaded  whether it was loaded from the cache; otherwise it was compiled
    seconds    how long that took, in one of two processes
    """

    name: str
    is_loaded: bool
    seconds: float


def entries() -> list[Any]:
    """All entries of the package, as dispatchers of numba; none if their machine code comes with the package."""
    from ..kernels import descent, gradient, line_tables, network, ranks, surprise  # noqa: F401  they register theirs
    from ..memory import mixture, overlay, resume  # noqa: F401
    from . import coder  # noqa: F401

    if jit.LIBRARY is not None:
        return []
    from ..kernels.compiler import ENTRIES

    return ENTRIES


def warmup(report: Callable[[CompiledKernel], object] | None = None) -> list[CompiledKernel]:
    """Compile each kernel for this CPU, or load it from the cache, so that nothing is compiled later.

    report  is called with each kernel as soon as it is ready

    Returns the kernels; none if the package has their machine code.

    >>> from streamlstm.tasks.warmup import warmup
    >>> all(kernel.seconds >= 0 for kernel in warmup())
    True
    """
    kernels: list[CompiledKernel] = []
    compiled: dict[str, float] = {}
    names = {entry.py_func.__name__: entry for entry in entries()}
    if names:
        from ..kernels.compiler import LARGE, LATER, compile_missing

        compiled = compile_missing(dict.fromkeys([*LARGE, LATER, *names]))
    for name, entry in names.items():
        started = time.perf_counter()
        entry.compile(entry.arguments)
        seconds = compiled.get(name, time.perf_counter() - started)
        kernels.append(CompiledKernel(name, bool(entry.stats.cache_hits) and name not in compiled, seconds))
        if report is not None:
            report(kernels[-1])
    return kernels
