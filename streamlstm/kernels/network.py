"""The network's mathematics, in the order in which a symbol flows; `gradient` goes the way back.

All arrays are flat, contiguous and owned by the caller. Sizes in the letters used below:

    V  symbols of the vocabulary       C  V padded to a multiple of 128, the columns of the output layer
    H  hidden units of a layer, padded to a multiple of 32         N = 4·H, the gates i, f, g, o of a layer
    L  layers       T  symbols in a window       B  parallel streams

theta  float32  Weights as rows of N (or C) columns, one row per input, so that a step adds x[k]·row k:
                per layer [H rows for the layer below, not in layer 0; H recurrent rows; 1 bias row],
                then the output layer [H rows per layer read; 1 bias row], then the tables [V rows per layer
                that sees the symbol]. Padded rows and columns are zero and stay zero: their gradients are.
tape   float32  Records of one stream at one time: p [C], h and c of each layer [L, 2, H], with a memory the
                distribution of the mixture [C], gates of each layer [L, N]. Slot s holds B records: the state after
                s symbols of the window. Slot 0 is the carried state.
tokens int32    [T + 1, B]: the symbol that slot s predicts, which is also the one that leads to slot s + 1.
layout int64    The numbers named below; for a net with an assistant then the words of `second_core`.

Every sum's order is written down and nothing is fused, so all CPUs give the same bits: a product of a vector
and rows adds k = 0, 1, 2, …; a dot product runs on 16 lanes that are then folded in halves (`row_sums`).
`reference.py` says the same in NumPy; read it first.
"""

import numpy as np

from .arrays import F32, FILLED, Stream
from .jit import entry, inlined, kernel
from .lanes import (
    WIDE,
    bits_float,
    exponent,
    float_bits,
    lane_maximum,
    lane_sum,
    load,
    load_tile,
    mantissa,
    maximum,
    minimum,
    repeat,
    spread,
    store,
    store_tile,
    times_power_of_two,
)
from .second_core import FORWARD, WHOLE, call, leave, meet, share

# Places in `layout`: V, C, H, L; 1 if every layer sees the symbol and is read by the output layer (skip
# connections); where the output layer and the tables begin in theta; sizes of a record and of a slot; where the
# gates begin in a record, and how far those of the next layer are (0: layers share the room, nothing is learned);
# where the distribution that the predictor gives begins in a record: 0 for p, or with a memory that of the mixture.
VOCABULARY, COLUMNS, HIDDEN, LAYERS, SKIP, OUTPUT, TABLES, RECORD, SLOT, GATES, GATE_STEP, PREDICTION = range(12)

f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)

SUMS = 16 if WIDE else 4  # how many times 16 sums stay in registers; whatever it is, each sum keeps its order
TILE = 16 * SUMS


@kernel
def exp(x):
    """e**x within 1 ulp on [-72, 88], clamped there so that no result is 0, subnormal or infinite (Cephes expf)."""
    x = minimum(maximum(x, f32(-72.0)), f32(88.0))
    shifted = x * f32(1.44269504) + f32(12582912.0)  # n = x / ln 2, rounded: 1.5·2**23 leaves no fraction
    n = shifted - f32(12582912.0)
    r = (x - n * f32(0.693359375)) - n * f32(-2.12194440e-4)
    p = f32(1.9875691500e-4) * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    return times_power_of_two((p * (r * r) + r) + ONE, shifted)


@kernel
def sigmoid(x):
    """1 / (1 + e**-x)."""
    return ONE / (ONE + exp(ZERO - x))


@kernel
def tanh(x):
    """tanh x with a relative error below 4e-7: the rational minimax approximation of degree 13/6 that Eigen uses."""
    x = minimum(maximum(x, f32(-7.9053111)), f32(7.9053111))
    q = x * x
    p = f32(-2.76076847742355e-16) * q + f32(2.00018790482477e-13)
    p = p * q + f32(-8.60467152213735e-11)
    p = p * q + f32(5.12229709037114e-08)
    p = p * q + f32(1.48572235717979e-05)
    p = p * q + f32(6.37261928875436e-04)
    p = p * q + f32(4.89352455891786e-03)
    d = f32(1.19825839466702e-06) * q + f32(1.18534705686654e-04)
    d = d * q + f32(2.26843463243900e-03)
    d = d * q + f32(4.89352518554385e-03)
    return (x * p) / d


@kernel
def ln_near_one(r):
    """ln(1 + r) for 1 + r in [√½, √2) (Cephes logf)."""
    p = f32(7.0376836292e-2) * r + f32(-1.1514610310e-1)
    p = p * r + f32(1.1676998740e-1)
    p = p * r + f32(-1.2420140846e-1)
    p = p * r + f32(1.4249322787e-1)
    p = p * r + f32(-1.6668057665e-1)
    p = p * r + f32(2.0000714765e-1)
    p = p * r + f32(-2.4999993993e-1)
    p = p * r + f32(3.3333331174e-1)
    q = r * r
    return (p * (r * q) - f32(0.5) * q) + r


@kernel
def log2(x):
    """log2 of one positive normal float32."""
    bits = float_bits(x)
    power = (bits - np.int32(0x3F3504F3)) >> np.int32(23)  # so that the mantissa lies in [√½, √2)
    return f32(power) + ln_near_one(bits_float(bits - (power << np.int32(23))) - ONE) * f32(1.44269504)


@kernel
def ln(x):
    """ln x of positive normal float32 lanes."""
    return exponent(x) * f32(0.69314718) + ln_near_one(mantissa(x) - ONE)


@kernel
def score(tape, tokens, bits, layout, first, rows):
    """bits[r] = -log2 p_r[tokens[r]], the surprisal in bits, for the records r = first … first + rows - 1."""
    for r in range(first, first + rows):
        bits[r] = ZERO - log2(tape[r * layout[RECORD] + tokens[r]])


@kernel
def copy_slot(stream, to, source):
    """Copy one slot of the tape to another."""
    size = stream.layout[SLOT]
    for j in range(0, size, 16):
        store(stream.tape, to * size + j, load(stream.tape, source * size + j, 16))


@kernel
def copy_row(tape, y, W, w, N):
    """y[:] = W[w, :], for N a multiple of 32, as in all these."""
    for j in range(0, N, 32):
        store(tape, y + j, load(W, w + j, 32))


@kernel
def add_row(tape, y, W, w, N):
    """y[:] += W[w, :]."""
    for j in range(0, N, 32):
        store(tape, y + j, load(tape, y + j, 32) + load(W, w + j, 32))


@kernel
def copy_sum(tape, y, W, v, w, N):
    """y[:] = W[v, :] + W[w, :]; for a one-hot x a row of W is the whole product W·x."""
    for j in range(0, N, 32):
        store(tape, y + j, load(W, v + j, 32) + load(W, w + j, 32))


@kernel
def add_product(tape, y, x, stride, rows, W, w, K, N, begin, n, step):
    """y_r[j] += Σ_k x_r[k]·W[k, j] for each of `rows` records, and for n columns j from `begin` on, of W [K, N].

    For step = N there is one such run of columns, and n is a multiple of 128; for step = N / 4 there are four, from
    begin, begin + step, … on: the gates of some units. SUMS records, or 4, share one reading of W; a record alone waits
    for it, which is faster the longer the pieces of a row are.
    """
    first_of_fours = rows - rows % SUMS
    first_alone = rows - rows % 4 if n % 64 == 0 else first_of_fours
    for r in range(0, first_of_fours, SUMS):
        for run in range(begin, N, step):
            for j in range(run, run + n, 16):
                tile = load_tile(tape, y + r * stride + j, stride, SUMS, 16)
                for k in range(K):
                    row = load(W, w + k * N + j, 16)
                    tile = tile + spread(tape, x + r * stride + k, stride, SUMS, 16) * repeat(row, 1, SUMS)
                store_tile(tape, y + r * stride + j, stride, SUMS, tile)
    for r in range(first_of_fours, first_alone, 4):
        for run in range(begin, N, step):
            for j in range(run, run + n, 64):
                tall = load_tile(tape, y + r * stride + j, stride, 4, 64)
                for k in range(K):
                    row = load(W, w + k * N + j, 64)
                    tall = tall + spread(tape, x + r * stride + k, stride, 4, 64) * repeat(row, 1, 4)
                store_tile(tape, y + r * stride + j, stride, 4, tall)
    for r in range(first_alone, rows):
        if step == N:
            for j in range(begin, begin + n - 255, 256):
                long = load(tape, y + r * stride + j, 256)
                for k in range(K):
                    long = long + tape[x + r * stride + k] * load(W, w + k * N + j, 256)
                store(tape, y + r * stride + j, long)
            for j in range(begin + n - n % 256, begin + n, 128):
                short = load(tape, y + r * stride + j, 128)
                for k in range(K):
                    short = short + tape[x + r * stride + k] * load(W, w + k * N + j, 128)
                store(tape, y + r * stride + j, short)
        else:
            for j in range(begin, begin + n - 63, 64):
                four = load_tile(tape, y + r * stride + j, step, 4, 64)
                for k in range(K):
                    four = four + tape[x + r * stride + k] * load_tile(W, w + k * N + j, step, 4, 64)
                store_tile(tape, y + r * stride + j, step, 4, four)
            for j in range(begin + n - n % 64, begin + n, 32):
                half = load_tile(tape, y + r * stride + j, step, 4, 32)
                for k in range(K):
                    half = half + tape[x + r * stride + k] * load_tile(W, w + k * N + j, step, 4, 32)
                store_tile(tape, y + r * stride + j, step, 4, half)


@kernel
def sigmoid_all(tape, y, n):
    """y[:n] = σ(y[:n]), for n a multiple of 32."""
    for j in range(y, y + n, 32):
        store(tape, j, sigmoid(load(tape, j, 32)))


@kernel
def cell(tape, old, new, z, H, begin, n):
    """i, f, o = σ(z), g = tanh(z); c = f·c_old + i·g; h = o·tanh(c). Gates replace z; [h, c] are written at `new`.

    Of H units n are made, from `begin` on. One gate after the other: a CPU sees far enough ahead to work on several
    lanes of one, not on all gates at once.
    """
    if n == H:
        sigmoid_all(tape, z, 2 * H)
    else:
        sigmoid_all(tape, z + begin, n)
        sigmoid_all(tape, z + H + begin, n)
    for j in range(z + 2 * H + begin, z + 2 * H + begin + n, 32):
        store(tape, j, tanh(load(tape, j, 32)))
    sigmoid_all(tape, z + 3 * H + begin, n)
    for j in range(begin, begin + n, 32):
        i, f = load(tape, z + j, 32), load(tape, z + H + j, 32)
        g, o = load(tape, z + 2 * H + j, 32), load(tape, z + 3 * H + j, 32)
        c = f * load(tape, old + H + j, 32) + i * g
        store(tape, new + j, o * tanh(c))
        store(tape, new + H + j, c)


@kernel
def softmax(tape, y, V, C):
    """p = e**(y - max y) / Σ e**(y - max y) in place over V columns; the padded ones become 0."""
    for j in range(V, C):
        tape[y + j] = f32(-3e38)
    largest = load(tape, y, 128)
    for j in range(128, C, 128):
        largest = maximum(largest, load(tape, y + j, 128))
    top = lane_maximum(largest)
    for j in range(0, C, 64):
        store(tape, y + j, exp(load(tape, y + j, 64) - top))
    for j in range(V, C):
        tape[y + j] = ZERO
    total = load(tape, y, 128)
    for j in range(128, C, 128):
        total = total + load(tape, y + j, 128)
    total = lane_sum(total)
    for j in range(0, C, 128):
        store(tape, y + j, load(tape, y + j, 128) / total)


@inlined
def outputs(theta, tape, layout, at, rows, part):
    """p = softmax(W_o·h + b_o) for `rows` records from `at` on; h is that of all layers, or of the top layer.

    Of two threads each makes a part: first of the columns, then of the records.
    """
    C, H, L, skip = layout[COLUMNS], layout[HIDDEN], layout[LAYERS], layout[SKIP]
    record = layout[RECORD]
    begin, n = share(C, 128, part)
    w = layout[OUTPUT]
    for r in range(rows):
        copy_row(tape, at + begin + r * record, theta, w + (L if skip else 1) * H * C + begin, n)
    for layer in range(0 if skip else L - 1, L):
        add_product(tape, at, at + C + 2 * layer * H, record, rows, theta, w, H, C, begin, n, C)
        w += H * C
    meet(layout, part)
    begin, n = share(rows, 1, part)
    for r in range(begin, begin + n):
        softmax(tape, at + r * record, layout[VOCABULARY], C)


@inlined
def flow(theta, tape, tokens, layout, first, count, batch, part):
    """`forward` but for the scores, or one thread's part: of each layer's units, each with its four gates.

    What does not depend on the recurrence is done for all rows at once; the order of each sum, and so every bit, stays.
    """
    C, H, L, skip = layout[COLUMNS], layout[HIDDEN], layout[LAYERS], layout[SKIP]
    N, record, slot, rows = 4 * H, layout[RECORD], layout[SLOT], count * batch
    old = first * slot
    new = old + slot
    begin, n = share(H, 32, part)
    step, length = (N, N) if part == WHOLE else (H, n)  # of a row of gates, those of these units
    for layer in range(L):
        w = layer * (2 * H + 1) * N  # recurrent rows; the bias follows, the rows for the layer below precede
        h = C + 2 * layer * H
        z = layout[GATES] + layer * layout[GATE_STEP]
        for r in range(rows):
            y, bias = new + z + r * record, w + H * N
            row = layout[TABLES] + (layer * layout[VOCABULARY] + tokens[first * batch + r]) * N
            for j in range(begin, N, step):
                if skip or layer == 0:
                    copy_sum(tape, y + j, theta, bias + j, row + j, length)
                else:
                    copy_row(tape, y + j, theta, bias + j, length)
        if layer > 0:
            add_product(tape, new + z, new + h - 2 * H, record, rows, theta, w - H * N, H, N, begin, length, step)
        for s in range(count):
            y, x = new + s * slot + z, old + s * slot + h
            add_product(tape, y, x, record, batch, theta, w, H, N, begin, length, step)
            for b in range(batch):
                at = s * slot + b * record
                cell(tape, old + at + h, new + at + h, new + at + z, H, begin, n)
            meet(layout, part)
    if count == 0:
        new, rows = old, batch
    outputs(theta, tape, layout, new, rows, part)


@entry
def forward(theta: F32, stream: Stream, first: int, count: int, batch: int):
    """Feed `count` symbols to the network: score each by the distribution held before it, then fill the next slot.

    Symbols `first` … `first + count - 1` of each of `batch` streams are read from tokens, and slots `first + 1` …
    `first + count` of the tape are filled. Without a memory their surprisals are written to bits and the stream's
    position moves; with one, `mixture.remember` does both.
    For count = 0 only the distribution in slot `first` is made, of the state that lies there.
    An assistant makes half, if there is one.
    """
    tape, tokens, layout = stream.tape, stream.tokens, stream.layout
    rows = count * batch
    part = call(layout, FORWARD, first, count)
    flow(theta, tape, tokens, layout, first, count, batch, part)
    leave(layout, part)
    if layout[PREDICTION] == 0:
        score(tape, tokens, stream.bits, layout, first * batch, rows)
        stream.position[FILLED] = first + count
