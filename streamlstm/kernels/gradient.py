"""The gradient of a window's loss: from p - onehot(token) down the layers, and in each layer back through time.

Truncated backpropagation through time (Williams & Peng 1990; Graves 2013). Arrays and letters are those of `network`,
and as there the order of every sum is written down.
"""

import numpy as np

from ..jit.decorators import entry, inlined, kernel
from ..jit.intrinsics import flush, load, store
from .arrays import F32, ONE, Gradient, Matrix, Stream, Vectors
from .functions import tanh
from .network import COLUMNS, RECORD, SLOT, VOCABULARY, Cell, copy_slot, layer_of, shape_of
from .products import add_row, add_transposed_product, clear, outer_products, sum_vectors

LEAST = np.float32(2.0**-60)
"""A smaller dy, dz, dc or h counts as 0 in the gradient, too little to change a weight. Otherwise their products would
be subnormal numbers, which slow a CPU down a hundredfold."""


@kernel
def sum_by_token(grad, dW, tape, d, tokens, touched):
    """dW[v, :] = Σ_r d_r[:] over the r with tokens[r] = v, for the touched v; the other rows keep what they hold."""
    for v in range(touched.size):
        if touched[v]:
            clear(grad, dW.start + v * dW.columns, dW.columns)
    for r in range(d.n):
        add_row(grad, dW.start + tokens[r] * dW.columns, tape, d.start + r * d.stride, dW.columns)


@kernel
def cell_backward(tape, cell, work, dh, dc):
    """dz from dh and dc, which lie at work[dh] and work[dc].

    δ = dc + dh·o·(1 - tanh²c);  dz = [δ·g·i(1-i), δ·c_before·f(1-f), δ·i·(1-g²), dh·tanh(c)·o(1-o)];  dc_before = δ·f.
    dz replaces the gates, and dc_before replaces dc, with 0 for each number below LEAST.
    """
    H, z = cell.H, cell.z
    for j in range(0, H, 32):
        i, f = load(tape, z + j, 32), load(tape, z + H + j, 32)
        g, o = load(tape, z + 2 * H + j, 32), load(tape, z + 3 * H + j, 32)
        t = tanh(load(tape, cell.after + H + j, 32))
        e = load(work, dh + j, 32)
        delta = load(work, dc + j, 32) + e * o * (ONE - t * t)
        c_before = load(tape, cell.before + H + j, 32)
        store(tape, z + j, flush(delta * g * i * (ONE - i), LEAST))
        store(tape, z + H + j, flush(delta * c_before * f * (ONE - f), LEAST))
        store(tape, z + 2 * H + j, flush(delta * i * (ONE - g * g), LEAST))
        store(tape, z + 3 * H + j, flush(e * t * o * (ONE - o), LEAST))
        store(work, dc + j, flush(delta * f, LEAST))


@kernel
def forget_back(tape, cell, work, dc):
    """dz = 0 and dc_before = 0: the state that the step led to was forgotten."""
    clear(tape, cell.z, 4 * cell.H)
    clear(work, dc, cell.H)


@kernel
def flush_row(tape, at, n):
    """tape[at : at + n], with 0 for each number below LEAST."""
    for j in range(at, at + n, 32):
        store(tape, j, flush(load(tape, j, 32), LEAST))


@inlined
def flow_back(theta, gradient, stream, count):
    """`backward` from dy = p - onehot(token) on."""
    grad, work, touched = gradient.grad, gradient.work, gradient.touched
    tape, tokens, shape = stream.tape, stream.tokens, shape_of(stream.layout)
    H, C, G, B, record, slot = shape.H, shape.C, shape.G, shape.B, shape.record, shape.slot
    rows = count * B
    dy, dh, dc = Vectors(slot, record, rows), Vectors(0, H, rows), rows * H
    sum_vectors(grad, shape.tables - C, tape, dy, C)
    for r in range(rows + B):
        for l in range(shape.L):
            flush_row(tape, r * record + layer_of(shape, l).h, H)
    for l in range(shape.L - 1, -1, -1):
        layer = layer_of(shape, l)
        h, z = layer.h, slot + layer.z
        dz = Vectors(z, record, rows)
        clear(work, 0, (rows + B) * H)
        if shape.skip or l == shape.L - 1:
            W_output = Matrix(layer.output, H, C)
            add_transposed_product(work, dh, theta, W_output, tape, dy, False)
            outer_products(grad, W_output, tape, Vectors(slot + h, record, rows), dy)
        if l < shape.L - 1:
            above = layer_of(shape, l + 1)
            dz_above = Vectors(slot + above.z, record, rows)
            W_above = Matrix(above.below, H, G)
            add_transposed_product(work, dh, theta, W_above, tape, dz_above, False)
        W_recurrent = Matrix(layer.recurrent, H, G)
        for s in range(count - 1, -1, -1):
            dh_now = s * B * H
            if s < count - 1:
                dz_next = Vectors(z + (s + 1) * slot, record, B)
                y = Vectors(dh_now, H, B)
                add_transposed_product(work, y, theta, W_recurrent, tape, dz_next, s % 2 == 1)
            for b in range(B):
                at = s * slot + b * record
                cell = Cell(at + layer.h, slot + at + layer.h, at + z, H)
                if tokens[(s + 1) * B + b] == shape.V:
                    forget_back(tape, cell, work, dc + b * H)
                else:
                    cell_backward(tape, cell, work, dh_now + b * H, dc + b * H)
        outer_products(grad, W_recurrent, tape, Vectors(h, record, rows), dz)
        sum_vectors(grad, layer.bias, tape, dz, G)
        if l > 0:
            h_below = Vectors(slot + layer_of(shape, l - 1).h, record, rows)
            outer_products(grad, Matrix(layer.below, H, G), tape, h_below, dz)
        if shape.skip or l == 0:
            table = Matrix(layer.table, shape.V + 1, G)
            sum_by_token(grad, table, tape, dz, tokens, touched)


@entry
def backward(theta: F32, gradient: Gradient, stream: Stream, count: int, batch: int):
    """The gradient of the window's loss Σ -ln p_s(token s) over slots s = 1 … count of the tape, by truncated BPTT.

    The begin-of-stream symbol adds no loss, and nothing goes back beyond it. Otherwise it goes back through time as far
    as slot 0, whose state counts as given. Writes grad (of a table only the touched rows) and touched. First copies the
    state in slot `count` to slot T + 1, since p, the gates and tiny h are overwritten.
    """
    tape, tokens, touched, layout = stream.tape, stream.tokens, gradient.touched, stream.layout
    V, record, slot = layout[VOCABULARY], layout[RECORD], layout[SLOT]
    copy_slot(stream, tokens.size // batch, count)
    for v in range(touched.size):
        touched[v] = 0
    for r in range(count * batch):
        touched[tokens[r]] = 1
        if tokens[batch + r] == V:
            clear(tape, slot + r * record, layout[COLUMNS])
        else:
            tape[slot + r * record + tokens[batch + r]] -= ONE
            flush_row(tape, slot + r * record, layout[COLUMNS])
    flow_back(theta, gradient, stream, count)
