"""Compiling all kernels before they are needed."""

import time
from collections.abc import Iterator

from ..kernels import jit


def warmup() -> None:
    """Compile all kernels, so that no later call has to. Those in the cache are only loaded.

    >>> warmup()
    """
    for _ in compile_all():
        pass


def compile_all() -> Iterator[tuple[str, str, float]]:
    """Compile or load each kernel, and yield its name, "compiled" or "loaded", and the seconds that it took."""
    from ..kernels import descent, gradient, network, ranks  # noqa: F401  they register their entries
    from ..memory import mixture  # noqa: F401  they register their entries
    from . import coder  # noqa: F401  they register their entries

    for entry in jit.ENTRIES:
        started = time.perf_counter()
        entry.compile(entry.arguments)
        how = "loaded" if entry.stats.cache_hits else "compiled"
        yield entry.py_func.__name__, how, time.perf_counter() - started
