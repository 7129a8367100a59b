"""The gradient of a window's predictions: from p - y down the layers and back through time.

Arrays, sizes and their letters are those of `kernels`; so is the promise that the order of every sum is written down.
"""

from .arrays import F32, PENDING, Gradient, Stream
from .jit import entry, inlined, kernel
from .lanes import WIDE, load, load_tile, repeat, row_sums, splat, spread, store, store_tile
from .network import (
    COLUMNS,
    GATE_STEP,
    GATES,
    HIDDEN,
    LAYERS,
    ONE,
    OUTPUT,
    RECORD,
    SKIP,
    SLOT,
    SUMS,
    TABLES,
    TILE,
    ZERO,
    add_row,
    copy_slot,
    tanh,
)
from .second_core import BACKWARD, CALLER, WHOLE, call, leave, meet, share


@kernel
def clear(y, at, n):
    """y[at : at + n] = 0, for n a multiple of 32."""
    for j in range(at, at + n, 32):
        store(y, j, splat(ZERO, 32))


@kernel
def add_transposed_product(y, at, first, n, K, tape, d, stride, rows, W, w, N, from_the_end):
    """y[at + r·K + k] += W[k, :]·d_r for each of `rows` records and for n rows k of W from `first` on.

    Four k at once, and four records if WIDE. A record alone may take k from the end on: a caller that alternates finds
    the rows it read last still in the cache.
    """
    first_alone = rows - rows % 4 if WIDE else 0
    for r in range(0, first_alone, 4):
        for k in range(first, first + n, 4):
            tile = splat(ZERO, 256)  # of 4 records by 4 k, 16 lanes each
            for j in range(0, N, 16):
                some, others = load_tile(W, w + k * N + j, N, 4, 16), load_tile(tape, d + r * stride + j, stride, 4, 16)
                tile = tile + repeat(some, 1, 4) * repeat(others, 4, 4)
            o = at + r * K + k
            store_tile(y, o, K, 4, load_tile(y, o, K, 4, 4) + row_sums(tile, 16))
    for r in range(first_alone, rows):
        for step in range(0, n, 4):
            k = first + (n - 4 - step if from_the_end else step)
            sums = splat(ZERO, 64)
            for j in range(0, N, 16):
                row = load(tape, d + r * stride + j, 16)
                sums = sums + load_tile(W, w + k * N + j, N, 4, 16) * repeat(row, 1, 4)
            o = at + r * K + k
            store(y, o, load(y, o, 4) + row_sums(sums, 4))


@kernel
def outer_products(grad, g, tape, x, d, stride, rows, K, N):
    """grad[g + k·N : …] = Σ_r x_r[k]·d_r[:], r ascending; those of SUMS k stay in registers for 64 records."""
    for first in range(0, rows, 64):
        for k in range(0, K, SUMS):
            for j in range(0, N, 16):
                tile = splat(ZERO, TILE) if first == 0 else load_tile(grad, g + k * N + j, N, SUMS, 16)
                for r in range(first, min(first + 64, rows)):
                    row = load(tape, d + r * stride + j, 16)
                    tile = tile + spread(tape, x + r * stride + k, 1, SUMS, 16) * repeat(row, 1, SUMS)
                store_tile(grad, g + k * N + j, N, SUMS, tile)


@kernel
def sum_rows(grad, g, tape, d, stride, rows, N):
    """grad[g : g + N] = Σ_r d_r[:], r ascending: the gradient of a bias."""
    for j in range(0, N, 128):
        a = splat(ZERO, 128)
        for r in range(rows):
            a = a + load(tape, d + r * stride + j, 128)
        store(grad, g + j, a)


@kernel
def has(v, part):
    """Whether one thread's part is the row of symbol v in a table: of two threads the caller has the even ones."""
    return part == WHOLE or (v % 2 == 0) == (part == CALLER)


@kernel
def sum_rows_by_token(grad, table, tokens, touched, tape, d, stride, rows, N, part):
    """grad[table + v·N : …] = Σ_r d_r[:] over the r with tokens[r] = v; rows of symbols not touched stay."""
    for v in range(touched.size):
        if touched[v] and has(v, part):
            clear(grad, table + v * N, N)
    for r in range(rows):
        if has(tokens[r], part):
            add_row(grad, table + tokens[r] * N, tape, d + r * stride, N)


@kernel
def cell_backward(tape, old, new, z, work, dh, dc, H, begin, n):
    """From dh and dc to the gradient of z, which replaces the gates, and to that of the cell state before.

    δ = dc + dh·o·(1 - tanh²c);  dz = [δ·g·i(1-i), δ·c_old·f(1-f), δ·i·(1-g²), dh·tanh(c)·o(1-o)];  dc_old = δ·f.
    Of H units n are made, from `begin` on.
    """
    for j in range(begin, begin + n, 32):
        i, f = load(tape, z + j, 32), load(tape, z + H + j, 32)
        g, o = load(tape, z + 2 * H + j, 32), load(tape, z + 3 * H + j, 32)
        t = tanh(load(tape, new + H + j, 32))
        e = load(work, dh + j, 32)
        delta = load(work, dc + j, 32) + e * o * (ONE - t * t)
        store(tape, z + j, delta * g * i * (ONE - i))
        store(tape, z + H + j, delta * load(tape, old + H + j, 32) * f * (ONE - f))
        store(tape, z + 2 * H + j, delta * i * (ONE - g * g))
        store(tape, z + 3 * H + j, e * t * o * (ONE - o))
        store(work, dc + j, delta * f)


@inlined
def flow_back(theta, grad, work, tape, tokens, touched, layout, count, batch, part):
    """`backward` from p - y on, or one thread's part: of each layer's units, and of the rows of grad that they read."""
    C, H, L, skip = layout[COLUMNS], layout[HIDDEN], layout[LAYERS], layout[SKIP]
    N, record, slot, rows = 4 * H, layout[RECORD], layout[SLOT], count * batch
    output = layout[OUTPUT]
    dc = rows * H
    begin, n = share(H, 32, part)
    column, columns = share(C, 128, part)
    sum_rows(grad, output + (L if skip else 1) * H * C + column, tape, slot + column, record, rows, columns)
    column, columns = share(N, 128, part)
    for layer in range(L - 1, -1, -1):
        w = layer * (2 * H + 1) * N
        h = C + 2 * layer * H
        z = slot + layout[GATES] + layer * layout[GATE_STEP]
        for r in range(rows + batch):
            clear(work, r * H + begin, n)
        if skip or layer == L - 1:
            w_out = output + (layer * H * C if skip else 0)
            add_transposed_product(work, 0, begin, n, H, tape, slot, record, rows, theta, w_out, C, False)
            outer_products(grad, w_out + begin * C, tape, slot + h + begin, slot, record, rows, n, C)
        if layer < L - 1:
            above = w + (H + 1) * N
            add_transposed_product(work, 0, begin, n, H, tape, z + N, record, rows, theta, above, N, False)
        for s in range(count - 1, -1, -1):
            dh, later = s * batch * H, z + (s + 1) * slot
            if s < count - 1:
                from_the_end = s % 2 == 1
                add_transposed_product(work, dh, begin, n, H, tape, later, record, batch, theta, w, N, from_the_end)
            for b in range(batch):
                at = s * slot + b * record
                cell_backward(tape, at + h, slot + at + h, z + at, work, dh + b * H, dc + b * H, H, begin, n)
            meet(layout, part)
        outer_products(grad, w + begin * N, tape, h + begin, z, record, rows, n, N)
        sum_rows(grad, w + H * N + column, tape, z + column, record, rows, columns)
        if layer > 0:
            below = slot + h - 2 * H + begin
            outer_products(grad, w + (begin - H) * N, tape, below, z, record, rows, n, N)
        if skip or layer == 0:
            table = layout[TABLES] + layer * touched.size * N
            sum_rows_by_token(grad, table, tokens, touched, tape, z, record, rows, N, part)


@entry
def backward(theta: F32, gradient: Gradient, stream: Stream, count: int, batch: int):
    """The gradient of the window's loss Σ -ln p_s(token s), slots s = 1 … count, by truncated BPTT.

    Starts from dlogits = p - y and goes down the layers; within a layer back through time to slot 0, whose state
    counts as given. Writes grad (a table's rows only where touched) and touched. The state in slot `count` is copied
    to slot T + 1; then p and the gates in slots 1 … count are overwritten, and the stream's update is PENDING.
    An assistant makes half, if there is one.
    """
    grad, work, touched = gradient.grad, gradient.work, gradient.touched
    tape, tokens, layout = stream.tape, stream.tokens, stream.layout
    record, slot = layout[RECORD], layout[SLOT]
    copy_slot(stream, tokens.size // batch, count)
    stream.position[PENDING] = 1
    for v in range(touched.size):
        touched[v] = 0
    for r in range(count * batch):
        touched[tokens[r]] = 1
        tape[slot + r * record + tokens[batch + r]] -= ONE
    part = call(layout, BACKWARD, 0, count)
    flow_back(theta, grad, work, tape, tokens, touched, layout, count, batch, part)
    leave(layout, part)
