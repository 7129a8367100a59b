"""The words, int32, of a page at an address: for kernels that find the page in one of two arrays."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .arrays import PAGE
from .bounds import check_run, length_of

_I32 = types.Array(types.int32, 1, "C")


def _pointer(context: Any, builder: Any, address: Any, j: Any) -> Any:
    check_run(context, builder, j, 1, ir.Constant(j.type, PAGE))
    return builder.gep(builder.inttoptr(address, ir.IntType(32).as_pointer()), [j])


@intrinsic
def address_of(typingctx, array, index):
    """The address of the page that begins at array[index]; the caller holds the array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        view = context.make_array(_I32)(context, builder, args[0])
        check_run(context, builder, args[1], PAGE, length_of(builder, view))
        return builder.ptrtoint(builder.gep(view.data, [args[1]]), ir.IntType(64))

    return types.int64(_I32, types.intp), codegen


@intrinsic
def word(typingctx, address, j):
    """The word with index j of the page at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, *args), align=4)

    return types.int32(types.int64, types.intp), codegen


@intrinsic
def set_word(typingctx, address, j, value):
    """Set the word with index j of the page at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.intp, types.int32), codegen
