"""Numba as the compiler of kernels: what the `decorators` do unless the package has the machine code.

An entry is compiled for the types of its annotations when it is first needed, and kept on disk, see `cache`. With the
first one that takes long, all that a stream needs are compiled, half of them in another process, see `second_process`.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, get_args, get_type_hints

import numba
import numpy as np
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.typed_passes import (
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.types.misc import unliteral
from numba.core.untyped_passes import (
    DeadBranchPrune,
    FixupArgs,
    GenericRewrites,
    InlineInlinables,
    IRProcessing,
    ReconstructSSA,
    TranslateByteCode,
)

from .cache import KernelCache, announce_compilation, cache_folder, cache_lock
from .second_process import can_help, compile_with_helper

LARGE = ("remember", "forward", "step", "backward", "descend")
"""The entries that take long. `remember` takes half of the time, and the others, which share kernels, take the other
half: one process compiles the first, and a second one the others. `step` calls `forward`, and `descend` calls
`backward`."""
SMALL = ("rank_and_top", "skip", "surprisal_ratio")
"""Entries that a stream needs too: they are compiled with the large ones."""
CALLER = "decode"
"""A large entry that calls others of both processes, and is compiled with their machine code."""


class _KernelCode(JITCodeLibrary):
    """The code of a kernel for LLVM, neither optimised nor made machine code: that is done to entries that contain it.

    That saves a quarter of the time.
    """

    def _optimize_final_module(self) -> None:
        """The entries are optimised with this code in them."""

    def _finalize_final_module(self) -> None:
        self._finalized = True

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """There is no machine code with an environment."""


@register_pass(mutates_CFG=False, analysis_only=True)
class _WithoutMachineCode(FunctionPass):
    """A pass that makes numba put the code of a kernel into a `_KernelCode`."""

    _name = "without_machine_code"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library = _KernelCode(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


class _KernelCompiler(CompilerBase):
    """Numba's compiler, with only those of its passes, about half, that kernels need."""

    def define_pipelines(self) -> list[Any]:
        passes = PassManager("kernel")
        for step in (*_UNTYPED_PASSES, *_TYPED_PASSES):
            passes.add_pass(step, step.name())
        passes.finalize()
        return [passes]


_UNTYPED_PASSES = (
    TranslateByteCode,
    FixupArgs,
    IRProcessing,
    _WithoutMachineCode,
    DeadBranchPrune,  # what is not reached if an argument is None
    GenericRewrites,
    InlineInlinables,
    DeadBranchPrune,
    ReconstructSSA,
    DeadBranchPrune,
)
_TYPED_PASSES = (NopythonTypeInference, PreLowerStripPhis, IRLegalization, NativeLowering, NoPythonBackend)
_FOR_KERNELS = {"pipeline_class": _KernelCompiler, "no_cpython_wrapper": True}


def _compiled(function: Any, **options: Any) -> Any:
    """Numba's dispatcher, except that it does not compile a kernel again for each literal that a caller passes.

    It compiles without numba's runtime (`_nrt`): kernels count no references to arrays and cannot allocate any. Their
    caller holds the arrays. A call takes half the time, and a step of a small network 0.3 µs less.
    """
    options |= {"error_model": "numpy", "nogil": True, "no_cfunc_wrapper": True, "_nrt": False}
    dispatcher = numba.njit(**options)(function)
    templates = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: templates([unliteral(arg) for arg in args], kws)
    return dispatcher


def kernel(function: Any) -> Any:
    """Compile a function that only kernels may call: without the wrapper for Python it takes a third less time."""
    return _compiled(function, **_FOR_KERNELS)


def inlined(function: Any) -> Any:
    """A kernel that becomes a part of each of its callers: a large one with few callers is compiled with them only."""
    return _compiled(function, inline="always", **_FOR_KERNELS)


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
            _cache_of(dispatcher)
            return compile_kernel(signature)


def compiled(dispatcher: Any) -> Any:
    """The machine code of an entry, from the cache or the compiler."""
    with global_compiler_lock:
        if dispatcher.py_func.__name__ in (*LARGE, CALLER) and _is_missing(dispatcher):
            compile_missing((*LARGE, *SMALL))
        dispatcher.compile(dispatcher.arguments)
    return dispatcher.overloads[dispatcher.arguments].entry_point


def compile_missing(names: Iterable[str]) -> dict[str, float]:
    """Compile those entries that are not in the cache in two processes, if a second one can help.

    Returns how many seconds each took.
    """
    with global_compiler_lock:
        folder = cache_folder()
        if folder is None or not can_help():
            return {}
        with cache_lock(folder).held():
            missing = {entry.py_func.__name__: entry for entry in ENTRIES if _is_missing(entry)}
            entries = [missing[name] for name in names if name in missing and name != CALLER]
            return compile_with_helper(entries, folder) if len(entries) > 1 else {}


def _is_missing(dispatcher: Any) -> bool:
    """Whether an entry is not in the cache, although there is one, and this process has not compiled it."""
    if cache_folder() is None or dispatcher.arguments in dispatcher.overloads:
        return False
    return not _cache_of(dispatcher).exists()


def _cache_of(dispatcher: Any) -> KernelCache:
    if not isinstance(dispatcher._cache, KernelCache):
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher._cache


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
