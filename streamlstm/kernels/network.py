"""The network's mathematics, in the order in which a symbol flows; `gradient` computes the way back.

`reference/network.py` does the same in NumPy: read it first. All arrays are flat and C-contiguous. The letters of all
kernels, after Hochreiter & Schmidhuber (1997) and Graves (2013):

    V  symbols in the vocabulary                 C  columns of the output layer: V rounded up to a multiple of 128
    H  hidden units per layer, rounded up        G  gates of a layer: 4·H, in PyTorch's order i, f, g, o
       to a multiple of 32                       L  layers
    T  symbols in a window                       B  parallel streams (batch)
    P  parameters: the length of theta
    l  layer     s  slot, time in the window     b  stream     r  record: one stream at one time
    k  input of a product, row of a matrix       j  column     v  symbol
    h  hidden state   c  cell state   i f g o  gates, g the candidate   z  the gates before σ and tanh
    p  distribution   y  its logits   W  weights   dX  the gradient of the loss with respect to X

theta   float32  [P]. Matrices, row by row, one row per input, so that a step adds x[k]·W[k, :]:
                 for each layer W_below [H, G] (not in layer 0), W_recurrent [H, G], bias [G];
                 then W_output [H, C] for each layer that the output layer reads, and its bias [C];
                 then a table [V + 1, G] for each layer that sees the input symbol: row v is W·onehot(v), and row V is
                 that of the begin-of-stream symbol.
                 Padded rows and columns are zero and stay zero, because their gradients are zero.
tape    float32  [slots, B] records. A record: p [C], h and c of each layer [L, 2, H], with a memory the distribution
                 of the mixture [C], then z or the gates of each layer [L, G]. Slot s is the state after s symbols of
                 the window.
tokens  int32    [T + 1, B]: the symbol that slot s predicts, which is also the input that leads to slot s + 1.
                 V is the begin-of-stream symbol: it is not predicted, and what it follows is forgotten. The slot before
                 it holds zeros for h and c.
layout  int64    the numbers whose indices are named below

All CPUs give the same bits: the order of every sum is written down, and no multiplication is fused with an addition.
A product of a vector and a matrix adds the rows k = 0, 1, 2, …; a dot product sums on 16 lanes, which `row_sums` then
folds in halves.
"""

from typing import NamedTuple

import numpy as np

from ..jit.decorators import entry, inlined, kernel
from ..jit.intrinsics import lane_maximum, lane_sum, load, maximum, store
from .arrays import F32, FILLED, UNREAD, ZERO, Matrix, Stream, Vectors
from .functions import exp, log2, sigmoid, tanh
from .products import add_product, clear, copy_row, copy_sum

VOCABULARY, COLUMNS, HIDDEN, LAYERS, SKIP, OUTPUT, TABLES, RECORD, SLOT, GATES, GATE_STEP, PREDICTION = range(12)
"""Indices in `layout`.

VOCABULARY, COLUMNS, HIDDEN, LAYERS  V, C, H, L
SKIP                                 1 if every layer sees the input symbol and the output layer reads every layer
OUTPUT, TABLES                       start of the output layer and of the tables in theta
RECORD, SLOT                         the length of a record, and of a slot of B records
GATES, GATE_STEP                     start of the gates of layer 0 in a record, and the distance to those of the next
                                     layer; 0 where layers use the same buffer, because nothing is learned
PREDICTION                           start of the distribution that the predictor gives in a record: 0, that of p, or
                                     with a memory the start of the mixture's
"""


class Shape(NamedTuple):
    """The sizes and offsets of a layout, see above; `gates` is that of layer 0."""

    V: int
    C: int
    H: int
    L: int
    skip: int
    output: int
    tables: int
    record: int
    slot: int
    gates: int
    gate_step: int
    G: int
    B: int


class Layer(NamedTuple):
    """Where the parts of one layer start.

    h, z       in a record: h [H], which c [H] follows, and the gates [G]
    below      in theta: W_below [H, G], if it is not layer 0
    recurrent  W_recurrent [H, G]
    bias       [G]
    output     W_output [H, C], if the output layer reads the layer
    table      [V + 1, G], if the layer sees the input symbol
    """

    h: int
    z: int
    below: int
    recurrent: int
    bias: int
    output: int
    table: int


class Cell(NamedTuple):
    """One layer's step of one stream: where its parts start in the tape.

    before, after  h [H] and then c [H] of the slot before the step and of the slot after it
    z              the gates [G]
    """

    before: int
    after: int
    z: int
    H: int


f32 = np.float32


@kernel
def shape_of(layout):
    """The numbers of a layout by name."""
    return Shape(
        layout[VOCABULARY],
        layout[COLUMNS],
        layout[HIDDEN],
        layout[LAYERS],
        layout[SKIP],
        layout[OUTPUT],
        layout[TABLES],
        layout[RECORD],
        layout[SLOT],
        layout[GATES],
        layout[GATE_STEP],
        4 * layout[HIDDEN],
        layout[SLOT] // layout[RECORD],
    )


@kernel
def layer_of(shape, l):
    """Where the parts of layer l start."""
    recurrent = l * (2 * shape.H + 1) * shape.G
    return Layer(
        shape.C + 2 * l * shape.H,
        shape.gates + l * shape.gate_step,
        recurrent - shape.H * shape.G,
        recurrent,
        recurrent + shape.H * shape.G,
        shape.output + shape.skip * l * shape.H * shape.C,
        shape.tables + l * (shape.V + 1) * shape.G,
    )


@kernel
def score(stream, first, rows):
    """bits[r] = -log2 p_r[tokens[r]], the surprisal in bits, for the records r = first … first + rows - 1.

    That of the begin-of-stream symbol is 0.
    """
    tape, tokens, bits, layout = stream.tape, stream.tokens, stream.bits, stream.layout
    for r in range(first, first + rows):
        bits[r] = ZERO
        if tokens[r] != layout[VOCABULARY]:
            bits[r] -= log2(tape[r * layout[RECORD] + tokens[r]])


@kernel
def copy_slot(stream, to, source):
    """Copy one slot of the tape to another."""
    tape, size = stream.tape, stream.layout[SLOT]
    for j in range(0, size, 16):
        store(tape, to * size + j, load(tape, source * size + j, 16))


@kernel
def sigmoid_all(y, at, n):
    """y[at : at + n] = σ(y[at : at + n]), for n a multiple of 32."""
    for j in range(at, at + n, 32):
        store(y, j, sigmoid(load(y, j, 32)))


@kernel
def cell_forward(tape, cell):
    """i, f, o = σ(z), g = tanh(z); c = f·c_before + i·g; h = o·tanh(c).

    The gates replace z; h and c are written to the slot after. One gate follows the other: a CPU looks far enough ahead
    to compute several lanes of one gate at once, but not of all gates.
    """
    H, z = cell.H, cell.z
    sigmoid_all(tape, z, 2 * H)
    for j in range(z + 2 * H, z + 3 * H, 32):
        store(tape, j, tanh(load(tape, j, 32)))
    sigmoid_all(tape, z + 3 * H, H)
    for j in range(0, H, 32):
        i, f = load(tape, z + j, 32), load(tape, z + H + j, 32)
        g, o = load(tape, z + 2 * H + j, 32), load(tape, z + 3 * H + j, 32)
        c = f * load(tape, cell.before + H + j, 32) + i * g
        store(tape, cell.after + j, o * tanh(c))
        store(tape, cell.after + H + j, c)


@kernel
def forget(tape, cell):
    """h = c = 0 in the slot after the step."""
    clear(tape, cell.after, 2 * cell.H)


@kernel
def softmax(y, at, V, C):
    """p = e**(y - max y) / Σ e**(y - max y) in place, for the V logits at y[at]; columns V … C - 1 become 0."""
    for j in range(V, C):
        y[at + j] = f32(-3e38)
    largest = load(y, at, 128)
    for j in range(128, C, 128):
        largest = maximum(largest, load(y, at + j, 128))
    top = lane_maximum(largest)
    for j in range(0, C, 64):
        store(y, at + j, exp(load(y, at + j, 64) - top))
    for j in range(V, C):
        y[at + j] = ZERO
    total = load(y, at, 128)
    for j in range(128, C, 128):
        total = total + load(y, at + j, 128)
    total = lane_sum(total)
    for j in range(0, C, 128):
        store(y, at + j, load(y, at + j, 128) / total)


@inlined
def output_layer(theta, stream, start, rows):
    """p = softmax(Σ_l h_l·W_output + bias) for `rows` records, the first at tape[start]."""
    tape, shape = stream.tape, shape_of(stream.layout)
    H, C, record = shape.H, shape.C, shape.record
    for r in range(rows):
        copy_row(tape, start + r * record, theta, shape.tables - C, C)
    y = Vectors(start, record, rows)
    for l in range(0 if shape.skip else shape.L - 1, shape.L):
        layer = layer_of(shape, l)
        h = Vectors(start + layer.h, record, rows)
        add_product(tape, y, h, theta, Matrix(layer.output, H, C))
    for r in range(rows):
        softmax(tape, start + r * record, shape.V, C)


@inlined
def flow(theta, stream, first, count):
    """`forward` without the scores. What does not depend on the recurrence is computed for all records at once."""
    tape, tokens, layout = stream.tape, stream.tokens, stream.layout
    shape = shape_of(layout)
    H, G, B, record, slot = shape.H, shape.G, shape.B, shape.record, shape.slot
    before, rows = first * slot, count * B
    after = before + slot
    for l in range(shape.L):
        layer = layer_of(shape, l)
        h, z, bias = layer.h, layer.z, layer.bias
        for r in range(rows):
            at, row = after + z + r * record, layer.table + tokens[first * B + r] * G
            if shape.skip or l == 0:
                copy_sum(tape, at, theta, bias, row, G)
            else:
                copy_row(tape, at, theta, bias, G)
        if l > 0:
            h_below = Vectors(after + layer_of(shape, l - 1).h, record, rows)
            W_below = Matrix(layer.below, H, G)
            add_product(tape, Vectors(after + z, record, rows), h_below, theta, W_below)
        W_recurrent = Matrix(layer.recurrent, H, G)
        for s in range(count):
            old, new = before + s * slot, after + s * slot
            h_before = Vectors(old + h, record, B)
            add_product(tape, Vectors(new + z, record, B), h_before, theta, W_recurrent)
            for b in range(B):
                at = b * record
                cell = Cell(old + at + h, new + at + h, new + at + z, H)
                cell_forward(tape, cell)
                if tokens[(first + s + 1) * B + b] == shape.V:
                    forget(tape, cell)
    if count == 0:
        after, rows = before, B
    output_layer(theta, stream, after, rows)


@entry
def forward(theta: F32, stream: Stream, first: int, count: int, batch: int):
    """Feed `count` symbols of each of `batch` streams: score each by the distribution before it, fill the next slot.

    Reads tokens `first` … `first + count - 1` and slot `first`; writes slots `first + 1` … `first + count`. Without a
    memory it also writes the surprisals to bits and moves the stream's position; with one, `mixture.remember` does.
    For count = 0 it computes only p in slot `first`, from the state in that slot.
    """
    flow(theta, stream, first, count)
    if stream.layout[PREDICTION] == 0:
        score(stream, first * batch, count * batch)
        stream.position[FILLED] = first + count
        stream.position[UNREAD] = 0


@entry
def step(theta: F32, stream: Stream, token: int):
    """Feed the next symbol of a single stream, as `forward` does; returns its surprisal in bits.

    If the window is full, or has a symbol that is UNREAD, it returns -1 and changes nothing. With a memory,
    `mixture.remember` computes the surprisal.
    """
    first = stream.position[FILLED]
    if first == stream.tokens.size - 1 or stream.position[UNREAD] != 0:
        return f32(-1.0)
    stream.tokens[first] = token
    forward(theta, stream, first, 1, 1)
    return stream.bits[first]
