"""Lanes: a numba type for n float32 values that are computed side by side.

Its LLVM value is one vector `<n x float>`, so a kernel written with lanes reads like the equation and LLVM
splits wide lanes over the registers that the CPU has. Every operation is plain IEEE float32 on each lane, and
sums over lanes are a fixed tree: the bits do not depend on the CPU.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

_I32 = ir.IntType(32)


class Lanes(types.Type):
    """The numba type of `n` float32 lanes."""

    def __init__(self, n: int) -> None:
        self.n = n
        super().__init__(name=f"f32x{n}")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        super().__init__(dmm, fe_type, _vector(fe_type.n))


def _vector(n: int) -> ir.VectorType:
    return ir.VectorType(ir.FloatType(), n)


def _integers(values: Any) -> ir.Constant:
    values = list(values)
    return ir.Constant(ir.VectorType(_I32, len(values)), values)


def _splat(builder: Any, x: Any, n: int) -> Any:
    undefined = ir.Constant(_vector(n), ir.Undefined)
    first = builder.insert_element(undefined, x, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, _integers([0] * n))


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any, n: int) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _vector(n).as_pointer())


@intrinsic
def load(typingctx, array, index, n):
    """Lanes(n) from `array[index : index + n]`; `array` is flat float32, `n` a literal."""
    if not isinstance(n, types.IntegerLiteral):
        return None
    lanes = n.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], lanes)
        return builder.load(pointer, align=4)

    return Lanes(lanes)(array, types.intp, n), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write the lanes of `value` to `array[index : index + n]`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], value.n)
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def splat(typingctx, x, n):
    """Lanes(n) that all hold the float32 `x`; `n` a literal."""
    if not isinstance(n, types.IntegerLiteral):
        return None
    lanes = n.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0], lanes)

    return Lanes(lanes)(types.float32, n), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Begin to bring array[index] into the cache: a hint that changes nothing but the time of the first access."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        read, keep, data_cache = (ir.Constant(_I32, n) for n in (0, 3, 1))
        builder.call(function, [pointer, read, keep, data_cache])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


Emit = Callable[[Any, Any, Any], Any]


def _binary(function: Any, emit: Emit) -> None:
    """Teach numba `function(a, b)` for lanes with lanes and for lanes with a float32 scalar."""

    @type_callable(function)
    def typing(context: Any) -> Any:
        def typed(a: Any, b: Any) -> Any:
            if isinstance(a, Lanes) and b in (a, types.float32):
                return a
            return b if isinstance(b, Lanes) and a == types.float32 else None

        return typed

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = sig.return_type
        sides = (x if kind == lanes else _splat(builder, x, lanes.n) for x, kind in zip(args, sig.args, strict=True))
        return emit(builder, *sides)

    for kinds in ((Lanes, Lanes), (Lanes, types.float32), (types.float32, Lanes)):
        lower_builtin(function, *kinds)(codegen)


def maximum(a: Any, b: Any) -> Any:
    """The larger of each lane."""
    raise NotImplementedError("lanes exist only inside kernels")


def minimum(a: Any, b: Any) -> Any:
    """The smaller of each lane."""
    raise NotImplementedError("lanes exist only inside kernels")


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _smaller(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


_binary(operator.add, lambda builder, a, b: builder.fadd(a, b))
_binary(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_binary(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_binary(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
_binary(maximum, _larger)
_binary(minimum, _smaller)


@intrinsic
def reciprocal_root_guess(typingctx, a):
    """1 / √a within 5 % of each lane, for positive normal numbers: half the exponent, by one shift of the bits."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.VectorType(_I32, a.n))
        half = builder.lshr(bits, _integers([1] * a.n))
        return builder.bitcast(builder.sub(_integers([0x5F1FFFF9] * a.n), half), _vector(a.n))

    return a(a), codegen


@intrinsic
def times_power_of_two(typingctx, a, n):
    """a * 2**n on each lane, for whole n in [-126, 127] and a result that is a normal number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = builder.fptosi(args[1], ir.VectorType(_I32, a.n))
        biased = builder.add(whole, _integers([127] * a.n))
        power = builder.bitcast(builder.shl(biased, _integers([23] * a.n)), _vector(a.n))
        return builder.fmul(args[0], power)

    return a(a, n), codegen


@intrinsic
def exponent(typingctx, a):
    """The whole n, as float32, with a / 2**n in [√½, √2), of each lane; for positive normal numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.VectorType(_I32, a.n))
        above = builder.sub(bits, _integers([0x3F3504F3] * a.n))
        return builder.sitofp(builder.ashr(above, _integers([23] * a.n)), _vector(a.n))

    return a(a), codegen


def _tree(builder: Any, value: Any, n: int, combine: Emit) -> Any:
    """Fold the upper half of the lanes onto the lower half until one is left."""
    while n > 1:
        n //= 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low = builder.shuffle_vector(value, undefined, _integers(range(n)))
        high = builder.shuffle_vector(value, undefined, _integers(range(n, 2 * n)))
        value = combine(builder, low, high)
    return builder.extract_element(value, ir.Constant(_I32, 0))


@intrinsic
def lane_sum(typingctx, a):
    """The sum of all lanes: halves are added pairwise, a fixed tree."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _tree(builder, args[0], a.n, lambda b, low, high: b.fadd(low, high))

    return types.float32(a), codegen


@intrinsic
def lane_maximum(typingctx, a):
    """The largest lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _tree(builder, args[0], a.n, _larger)

    return types.float32(a), codegen


@intrinsic
def float_bits(typingctx, x):
    """The int32 with the bits of the float32 `x`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _I32)

    return types.int32(types.float32), codegen


@intrinsic
def bits_float(typingctx, n):
    """The float32 with the bits of the int32 `n`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen
