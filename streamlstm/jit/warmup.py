"""Compile all kernels before they are needed."""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from .decorators import LIBRARY
from .precompiled import PACKAGE, modules_with_entries


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
    if LIBRARY is not None:
        return []
    for name in modules_with_entries(PACKAGE):
        import_module(name)  # it registers its entries
    from .compiler import ENTRIES

    return ENTRIES


def warmup(report: Callable[[CompiledKernel], object] | None = None) -> list[CompiledKernel]:
    """Compile each kernel for this CPU, or load it from the cache, so that nothing is compiled later.

    report  is called with each kernel as soon as it is ready

    Returns the kernels; none if the package has their machine code.

    >>> from streamlstm.jit.warmup import warmup
    >>> all(kernel.seconds >= 0 for kernel in warmup())
    True
    """
    kernels: list[CompiledKernel] = []
    compiled: dict[str, float] = {}
    names = {entry.py_func.__name__: entry for entry in entries()}
    if names:
        from .compiler import LARGE, compile_missing

        compiled = compile_missing(dict.fromkeys([*LARGE, *names]))
    for name, entry in names.items():
        started = time.perf_counter()
        entry.compile(entry.arguments)
        seconds = compiled.get(name, time.perf_counter() - started)
        kernels.append(CompiledKernel(name, bool(entry.stats.cache_hits) and name not in compiled, seconds))
        if report is not None:
            report(kernels[-1])
    return kernels
