"""What numba lacks for the kernels: lanes, and the words of a page at an address.

Lanes are a numba type for n float32 numbers that are computed in parallel (SIMD). The LLVM value is one vector
`<n x float>`, which LLVM splits over the registers of the CPU. Every operation is IEEE float32 on each lane, and a sum
over lanes is a fixed tree, so that the bits do not depend on the CPU.

A tile is lanes too: rows of n columns each, row after row. In memory the rows may be apart.

A page is PAGE words of int32; a kernel finds it in one of two arrays, and reads and writes it by its address.

For tests, NUMBA_BOUNDSCHECK=1 makes all of this raise the IndexError of numba's own checks for an index outside of its
array. A negative index is outside. A prefetch may have any address.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

PAGE = 16
"""How many words of int32 a page has; the same as in `kernels.arrays`, which is above this module."""

_I32 = ir.IntType(32)


def _features() -> str:
    """The features of the CPU that numba compiles for: this one, unless numba's settings name another."""
    if config.CPU_NAME is None and config.CPU_FEATURES is None:
        return str(binding.get_host_cpu_features().flatten())
    return config.CPU_FEATURES or ""


WIDE = "+avx512f" in _features()
"""Whether the CPU has 32 registers of 16 lanes. Most others have 16 registers of 8 or 4 lanes."""


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


def _shuffle(builder: Any, value: Any, indices: Any) -> Any:
    """The lanes of `value` with these indices."""
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), _integers(indices))


def _splat(builder: Any, x: Any, n: int) -> Any:
    undefined = ir.Constant(_vector(n), ir.Undefined)
    return _shuffle(builder, builder.insert_element(undefined, x, ir.Constant(_I32, 0)), [0] * n)


def _concatenate(builder: Any, rows: list[Any]) -> Any:
    """One vector with all rows, a power of two of them."""
    while len(rows) > 1:
        lanes = _integers(range(2 * rows[0].type.count))
        rows = [builder.shuffle_vector(a, b, lanes) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    return rows[0]


def _pointers(context: Any, builder: Any, array_type: Any, array: Any, *, run: Any, kind: Any) -> list[Any]:
    """Pointers to a `kind` at array[index], array[index + stride], …, for `run` = (index, stride, rows)."""
    view = context.make_array(array_type)(context, builder, array)
    index, stride, rows = run
    pointers = []
    for row in range(rows):
        start = builder.add(index, builder.mul(stride, ir.Constant(stride.type, row)))
        _check_run(context, builder, start, getattr(kind, "count", 1), _length_of(builder, view))
        pointers.append(builder.bitcast(builder.gep(view.data, [start]), kind.as_pointer()))
    return pointers


def _check_run(context: Any, builder: Any, start: Any, n: int, length: Any) -> None:
    """Raise IndexError unless the `n` indices from `start` on are below `length`; nothing unless numba checks too."""
    if context.enable_boundscheck:
        for index in (start, builder.add(start, ir.Constant(start.type, n - 1))):
            cgutils.do_boundscheck(context, builder, index, length)


def _length_of(builder: Any, array: Any) -> Any:
    """The length of a flat array, given as numba's structure."""
    return builder.extract_value(array.shape, 0)


def _literals(*numbers: Any) -> bool:
    return all(isinstance(n, types.IntegerLiteral) for n in numbers)


_ONE_ROW = ir.Constant(ir.IntType(64), 0), 1  # a stride and a number of rows


@intrinsic
def load(typingctx, array, index, n):
    """Lanes(n) from `array[index : index + n]`; `array` is flat float32, `n` a literal."""
    if not _literals(n):
        return None
    kind = _vector(n.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        [pointer] = _pointers(context, builder, sig.args[0], args[0], run=(args[1], *_ONE_ROW), kind=kind)
        return builder.load(pointer, align=4)

    return Lanes(kind.count)(array, types.intp, n), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write the lanes of `value` to `array[index : index + n]`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        [pointer] = _pointers(context, builder, sig.args[0], args[0], run=(args[1], *_ONE_ROW), kind=args[2].type)
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def load_tile(typingctx, array, index, stride, rows, n):
    """A tile whose row r is array[index + r·stride :][:n]; `rows`, a power of two, and `n` are literals."""
    if not _literals(rows, n):
        return None
    kind, count = _vector(n.literal_value), rows.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = _pointers(context, builder, sig.args[0], args[0], run=(*args[1:3], count), kind=kind)
        return _concatenate(builder, [builder.load(pointer, align=4) for pointer in pointers])

    return Lanes(count * kind.count)(array, types.intp, types.intp, rows, n), codegen


@intrinsic
def store_tile(typingctx, array, index, stride, rows, value):
    """Write row r of the tile `value` to array[index + r·stride :][:n]; the number of `rows` is a literal."""
    if not _literals(rows):
        return None
    count = rows.literal_value
    n = value.n // count

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = _pointers(context, builder, sig.args[0], args[0], run=(*args[1:3], count), kind=_vector(n))
        for row, pointer in enumerate(pointers):
            builder.store(_shuffle(builder, args[4], range(row * n, row * n + n)), pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, rows, value), codegen


@intrinsic
def spread(typingctx, array, index, stride, rows, n):
    """A tile whose row r is array[index + r·stride], n times; `rows`, a power of two, and `n` are literals."""
    if not _literals(rows, n):
        return None
    columns, count = n.literal_value, rows.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointers = _pointers(context, builder, sig.args[0], args[0], run=(*args[1:3], count), kind=ir.FloatType())
        return _concatenate(builder, [_splat(builder, builder.load(pointer, align=4), columns) for pointer in pointers])

    return Lanes(count * columns)(array, types.intp, types.intp, rows, n), codegen


@intrinsic
def repeat(typingctx, a, rows, times):
    """A tile in which each of the `rows` rows of `a` is repeated `times` times, as by `numpy.repeat`; both literals."""
    if not _literals(rows, times):
        return None
    count, copies = rows.literal_value, times.literal_value
    n = a.n // count

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        indices = [row * n + j for row in range(count) for _ in range(copies) for j in range(n)]
        return _shuffle(builder, args[0], indices)

    return Lanes(copies * a.n)(a, rows, times), codegen


@intrinsic
def splat(typingctx, x, n):
    """Lanes(n) that all hold the float32 `x`; `n` a literal."""
    if not _literals(n):
        return None
    lanes = n.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0], lanes)

    return Lanes(lanes)(types.float32, n), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Start to load array[index] into the cache: a hint that changes nothing but the time of the next access."""

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
    """Define `function(a, b)` in numba for lanes with lanes, and for lanes with a float32 scalar."""

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
    """The larger number of each lane."""
    raise NotImplementedError("lanes exist only in kernels")


def minimum(a: Any, b: Any) -> Any:
    """The smaller number of each lane."""
    raise NotImplementedError("lanes exist only in kernels")


def flush(a: Any, least: Any) -> Any:
    """Each lane, or 0 if its magnitude is less than `least`."""
    raise NotImplementedError("lanes exist only in kernels")


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _flushed(builder: Any, a: Any, least: Any) -> Any:
    is_less = builder.fcmp_ordered("<", _larger(builder, a, builder.fneg(a)), least)
    return builder.select(is_less, ir.Constant(a.type, None), a)


_binary(operator.add, lambda builder, a, b: builder.fadd(a, b))
_binary(operator.sub, lambda builder, a, b: builder.fsub(a, b))
_binary(operator.mul, lambda builder, a, b: builder.fmul(a, b))
_binary(operator.truediv, lambda builder, a, b: builder.fdiv(a, b))
_binary(maximum, _larger)
_binary(minimum, lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
_binary(flush, _flushed)


@intrinsic
def root(typingctx, a):
    """√a of each lane, rounded correctly."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        name = f"llvm.sqrt.v{a.n}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name), args)

    return a(a), codegen


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
    """a * 2**n on each lane, if the result is a normal number. The integer n is given as the float n + 1.5 * 2**23.

    The last bits of that float are n; they are added to the exponent of a.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits, last = (builder.bitcast(arg, ir.VectorType(_I32, a.n)) for arg in args)
        moved = builder.add(bits, builder.shl(last, _integers([23] * a.n)))
        return builder.bitcast(moved, _vector(a.n))

    return a(a, n), codegen


def _exponent_bits(builder: Any, bits: Any, n: int) -> Any:
    """The integer n, as int32, for which x / 2**n is in [√½, √2), from the bits of each x."""
    return builder.ashr(builder.sub(bits, _integers([0x3F3504F3] * n)), _integers([23] * n))


@intrinsic
def exponent(typingctx, a):
    """The integer n, as float32, for which a / 2**n is in [√½, √2), on each lane; for positive normal numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.VectorType(_I32, a.n))
        return builder.sitofp(_exponent_bits(builder, bits, a.n), _vector(a.n))

    return a(a), codegen


@intrinsic
def mantissa(typingctx, a):
    """a / 2**n for the n of `exponent`: a number in [√½, √2)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.VectorType(_I32, a.n))
        moved = builder.shl(_exponent_bits(builder, bits, a.n), _integers([23] * a.n))
        return builder.bitcast(builder.sub(bits, moved), _vector(a.n))

    return a(a), codegen


def _fold(builder: Any, value: Any, rows: int, combine: Emit) -> Any:
    """One lane per row: the halves of each row are combined until one column is left."""
    n = value.type.count // rows
    while n > 1:
        half = n // 2
        left, right = ([row * n + side + j for row in range(rows) for j in range(half)] for side in (0, half))
        value = combine(builder, _shuffle(builder, value, left), _shuffle(builder, value, right))
        n = half
    return value


def _sum(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


@intrinsic
def row_sums(typingctx, a, rows):
    """Lanes(rows): the sum of each row of a tile, by the same tree as in `lane_sum`; `rows` is a literal."""
    if not _literals(rows):
        return None
    count = rows.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(builder, args[0], count, _sum)

    return Lanes(count)(a, rows), codegen


@intrinsic
def lane_sum(typingctx, a):
    """The sum of all lanes: the second half is added to the first until one lane is left."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(_fold(builder, args[0], 1, _sum), ir.Constant(_I32, 0))

    return types.float32(a), codegen


@intrinsic
def lane_maximum(typingctx, a):
    """The largest lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(_fold(builder, args[0], 1, _larger), ir.Constant(_I32, 0))

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


_WORDS = types.Array(types.int32, 1, "C")


def _word_pointer(context: Any, builder: Any, address: Any, j: Any) -> Any:
    _check_run(context, builder, j, 1, ir.Constant(j.type, PAGE))
    return builder.gep(builder.inttoptr(address, _I32.as_pointer()), [j])


@intrinsic
def address_of(typingctx, array, index):
    """The address of the page that begins at array[index]; the caller holds the array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        view = context.make_array(_WORDS)(context, builder, args[0])
        _check_run(context, builder, args[1], PAGE, _length_of(builder, view))
        return builder.ptrtoint(builder.gep(view.data, [args[1]]), ir.IntType(64))

    return types.int64(_WORDS, types.intp), codegen


@intrinsic
def word(typingctx, address, j):
    """The word with index j of the page at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_word_pointer(context, builder, *args), align=4)

    return types.int32(types.int64, types.intp), codegen


@intrinsic
def set_word(typingctx, address, j, value):
    """Set the word with index j of the page at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _word_pointer(context, builder, *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.intp, types.int32), codegen
