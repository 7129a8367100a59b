"""Numba as the compiler of kernels: what the decorators of `jit` do unless the package has the machine code.

An entry is compiled for the types of its annotations when it is first needed, and kept on disk (see `cache`).
"""

from functools import partial
from typing import Any, get_args, get_type_hints

import numba
import numpy as np
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.types.misc import unliteral

from .cache import KernelCache, announce_compilation, cache_folder, cache_lock


def _compiled(function: Any, **options: bool | str) -> Any:
    """Numba's dispatcher, except that it does not compile a kernel again for each literal that a caller passes.

    It compiles without numba's runtime (`_nrt`): kernels count no references to arrays and cannot allocate any. Their
    caller holds the arrays. A call takes half the time, and a step of a small network 0.3 µs less.
    """
    dispatcher = numba.njit(error_model="numpy", nogil=True, _nrt=False, **options)(function)
    templates = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: templates([unliteral(arg) for arg in args], kws)
    return dispatcher


def kernel(function: Any) -> Any:
    """Compile a function that only kernels may call: without the wrapper for Python it takes a third less time."""
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: Any) -> Any:
    """A kernel that becomes a part of each of its callers: a large one with few callers is compiled with them only."""
    return _compiled(function, inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def entry(function: Any) -> Any:
    """Compile a kernel that Python calls, for the types that its parameters are annotated with; cached on disk."""
    dispatcher = _compiled(function)
    dispatcher.arguments = tuple(_numba_type(hint) for hint in get_type_hints(function).values())
    dispatcher.compile = partial(_load_or_compile, dispatcher, dispatcher.compile)
    ENTRIES.append(dispatcher)
    return dispatcher


def _load_or_compile(dispatcher: Any, compile_kernel: Any, signature: Any) -> Any:
    """Numba's `Dispatcher.compile` of an entry, with our cache and its lock."""
    with global_compiler_lock:
        folder = cache_folder()
        if folder is None:
            announce_compilation()
            return compile_kernel(signature)
        with cache_lock(folder).held():
            if not isinstance(dispatcher._cache, KernelCache):
                dispatcher._cache = KernelCache(dispatcher.py_func)
            return compile_kernel(signature)


def _numba_type(hint: Any) -> types.Type:
    """The numba type of a parameter: a number, a contiguous array, or a NamedTuple of these."""
    if hint in _NUMBERS:
        return _NUMBERS[hint]
    if isinstance(hint, type) and issubclass(hint, tuple):
        return types.NamedTuple(tuple(_numba_type(field) for field in get_type_hints(hint).values()), hint)
    *_, dtype = get_args(hint)
    number = get_args(dtype)[0] if get_args(dtype) else dtype  # NumPy 2.5 gives the number's type itself
    return numba.from_dtype(np.dtype(number))[::1]


_NUMBERS = {int: types.int64, float: types.float64, bool: types.boolean}


ENTRIES: list[Any] = []
"""Every entry, in the order of import."""
