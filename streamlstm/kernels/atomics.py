"""Atomic access to the words of an int64 array that two threads share.

A thread that acquires a word sees everything that another thread wrote before it released that word.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .bounds import check_run, length_of

_WORD = types.Array(types.int64, 1, "C")


def _word(context: Any, builder: Any, array: Any, index: Any) -> Any:
    """The address of array[index]."""
    view = context.make_array(_WORD)(context, builder, array)
    check_run(context, builder, index, 1, length_of(builder, view))
    return builder.gep(view.data, [index])


@intrinsic
def acquire(typingctx, array, index):
    """Return array[index]; it is read before everything that follows."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, *args), "acquire", 8)

    return types.int64(_WORD, types.intp), codegen


@intrinsic
def release(typingctx, array, index, value):
    """Set array[index] = value; it is written after everything that precedes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _word(context, builder, *args[:2]), "release", 8)
        return context.get_dummy_value()

    return types.void(_WORD, types.intp, types.int64), codegen


@intrinsic
def exchange(typingctx, array, index, old, new):
    """Replace `old` by `new` in array[index]; returns False if it is another value. Acquires and releases."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        both = builder.cmpxchg(_word(context, builder, *args[:2]), args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(both, 1)

    return types.boolean(_WORD, types.intp, types.int64, types.int64), codegen


_PAUSES = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)])}


@intrinsic
def pause(typingctx):
    """Pause a waiting thread for some 10 ns. If two hardware threads share a core, the other one has it to itself."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        architecture = builder.module.triple.split("-")[0]
        if architecture in _PAUSES:
            name, given = _PAUSES[architecture]
            kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in given])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def yield_core(typingctx):
    """Let another thread that waits for this core run. Does nothing on Windows."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if "windows" not in builder.module.triple:
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen
