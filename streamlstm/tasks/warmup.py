"""Compile all kernels before they are needed."""

import time
from collections.abc import Iterator

from ..kernels import jit


def warmup() -> None:
    """Compile all kernels for this CPU, so that no later call has to; those in the cache are only loaded.

    >>> warmup()
    """
    for _ in compile_all():
        pass


def compile_all() -> Iterator[tuple[str, str, float]]:
    """Compile each kernel or load it from the cache, and yield its name, "compiled" or "loaded", and the seconds."""
    from ..kernels import descent, gradient, network, ranks  # noqa: F401  they register their entries
    from ..memory import mixture  # noqa: F401
    from . import coder  # noqa: F401

    for entry in jit.ENTRIES:
        started = time.perf_counter()
        entry.compile(entry.arguments)
        how = "loaded" if entry.stats.cache_hits else "compiled"
        yield entry.py_func.__name__, how, time.perf_counter() - started
