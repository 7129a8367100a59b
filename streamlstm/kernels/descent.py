"""One step down the gradient by SGD, RMSprop or Adam. Letters and the layout of theta: see `network`.

The optimizer's slots are arrays as large as theta: one of SGD with momentum and of RMSprop, two of Adam. A row of a
table is updated, and the same row of each optimizer slot, only if its symbol was an input in the window: the gradients
of the other rows are zero, and reading those rows would take longer than the network.
"""

from typing import NamedTuple

import numpy as np

from ..jit.decorators import entry, kernel
from ..jit.intrinsics import flush, lane_sum, load, reciprocal_root_guess, root, splat, store
from .arrays import BASE, F32, F64, FILLED, ONE, UNREAD, ZERO, Gradient, Stream
from .gradient import LEAST, backward
from .network import RECORD, SLOT, copy_slot, layer_of, shape_of

f32 = np.float32

DECAY = 0.995
"""What the recent sums of surprisals are multiplied by before those of a window are added."""

LEAST_TO_SQUARE, LEAST_SQUARE = f32(2.0**-54), f32(2.0**-120)
"""The square of a gradient below LEAST_TO_SQUARE and a mean square below LEAST_SQUARE are 0, as are a gradient and its
mean below LEAST: too little to change a weight. Otherwise they would become subnormal numbers, see there."""

LR, LR_CANDIDATE, LR_OUTPUT, L2, BETA1, BETA2, EPSILON, CORRECT1, CORRECT2, PULL, SCALE, CLIP = range(12)
NETWORK_BITS, BITS, N_HYPER = 12, 13, 14
"""Indices in `hyper`, and its length.

LR, LR_CANDIDATE, LR_OUTPUT  learning rates: of the layers, of the weights of their candidates g, of the output layer
L2                           λ of the L2 regularisation
BETA1, BETA2, EPSILON        decays of the mean gradient and of the mean square, and what is added to the root
CORRECT1, CORRECT2           bias corrections 1 / (1 - β₁ᵏ) and 1 / (1 - β₂ᵏ)
PULL                         the part of its distance to the first weights that each weight goes back
SCALE, CLIP                  what the gradient is multiplied by, and the largest norm that it may have then
NETWORK_BITS, BITS           surprisals of the window, by the network alone and by the prediction; or 0
"""


class Update(NamedTuple):
    """What a rule reads and writes: theta and the first theta [P], the optimizer slots [n · P], grad [P], and hyper.

    `first` may be empty if PULL is 0.
    """

    theta: F32
    first: F32
    slots: F32
    grad: F32
    hyper: F32


@kernel
def reciprocal_root(x):
    """1 / √x with a relative error below 7e-7, without root and division; finite for x = 0.

    Two steps of Newton's method from a guess. The constants of the first fit this guess (Kadlec 2010).
    """
    y = reciprocal_root_guess(x)
    y = y * f32(0.703952253) * (f32(2.38924456) - x * y * y)
    return y * (f32(1.5) - f32(0.5) * x * y * y)


@kernel
def scaled(update, j, w):
    """scale·grad + λ·θ of 32 weights w = θ from j on, with 0 for a gradient below LEAST."""
    return flush(load(update.grad, j, 32), LEAST) * update.hyper[SCALE] + update.hyper[L2] * w


@kernel
def move(update, j, w, step):
    """θ = θ - step + κ·(θ_first - θ), for 32 weights w = θ from j on."""
    w_new = w - step
    if update.hyper[PULL] != ZERO:
        w_new = w_new + update.hyper[PULL] * (load(update.first, j, 32) - w)
    store(update.theta, j, w_new)


@kernel
def sgd(update, start, n, lr):
    """m = β₁·m + (scale·g + λ·θ);  θ -= lr·m.  Without momentum (β₁ = 0) there is no optimizer slot m."""
    theta, _, slots, _, hyper = update
    for j in range(start, start + n, 32):
        w = load(theta, j, 32)
        m = scaled(update, j, w)
        if hyper[BETA1] != ZERO:
            m = flush(hyper[BETA1] * load(slots, j, 32) + m, LEAST)
            store(slots, j, m)
        move(update, j, w, lr * m)


@kernel
def mean_square(hyper, v, g):
    """β₂·v + (1 - β₂)·g², with 0 for what is too small."""
    g = flush(g, LEAST_TO_SQUARE)
    return flush(hyper[BETA2] * v + (ONE - hyper[BETA2]) * (g * g), LEAST_SQUARE)


@kernel
def rmsprop(update, start, n, lr):
    """v = β₂·v + (1 - β₂)·g²;  θ -= lr·g / √(v / (1 - β₂ᵏ) + ε²);  g = scale·grad + λ·θ  (Tieleman & Hinton 2012)."""
    theta, _, slots, _, hyper = update
    for j in range(start, start + n, 32):
        w = load(theta, j, 32)
        g = scaled(update, j, w)
        v = mean_square(hyper, load(slots, j, 32), g)
        store(slots, j, v)
        move(update, j, w, (lr * g) * reciprocal_root(v * hyper[CORRECT2] + hyper[EPSILON] * hyper[EPSILON]))


@kernel
def adam(update, start, n, lr):
    """θ -= lr·m̂ / (√v̂ + ε);  m = β₁·m + (1 - β₁)·g;  v and g as above;  m̂, v̂ over 1 - βᵏ  (Kingma & Ba 2015)."""
    theta, _, slots, _, hyper = update
    for j in range(start, start + n, 32):
        w = load(theta, j, 32)
        g = scaled(update, j, w)
        v = mean_square(hyper, load(slots, j, 32), g)
        m = flush(hyper[BETA1] * load(slots, theta.size + j, 32) + (ONE - hyper[BETA1]) * g, LEAST)
        store(slots, j, v)
        store(slots, theta.size + j, m)
        move(update, j, w, lr * (m * hyper[CORRECT1]) / (root(v * hyper[CORRECT2]) + hyper[EPSILON]))


@kernel
def apply_rule(rule, update, start, n, lr):
    """Apply the rule to theta[start : start + n], n a multiple of 32."""
    if rule == 0:
        sgd(update, start, n, lr)
    elif rule == 1:
        rmsprop(update, start, n, lr)
    else:
        adam(update, start, n, lr)


@kernel
def apply_to_gates(rule, update, start, n_rows, G):
    """Apply the rule to rows of gates i, f, g, o, the first at theta[start]; the candidate g may have its own rate."""
    lr, lr_candidate, end = update.hyper[LR], update.hyper[LR_CANDIDATE], start + n_rows * G
    if lr_candidate == lr:
        apply_rule(rule, update, start, end - start, lr)
        return
    H = G // 4
    for candidate in range(start + 2 * H, end, G):
        apply_rule(rule, update, start, candidate - start, lr)
        apply_rule(rule, update, candidate, H, lr_candidate)
        start = candidate + H
    apply_rule(rule, update, start, end - start, lr)


@kernel
def sum_of_squares(grad, start, n):
    """Σ grad[start : start + n]² on 128 lanes; n a multiple of 128."""
    total = splat(ZERO, 128)
    for j in range(start, start + n, 128):
        g = flush(load(grad, j, 128), LEAST_TO_SQUARE)
        total = total + g * g
    return lane_sum(total)


@kernel
def norm_of(gradient, layout):
    """√Σ grad², without the rows that are not touched."""
    grad, touched, shape = gradient.grad, gradient.touched, shape_of(layout)
    total = sum_of_squares(grad, 0, shape.output) + sum_of_squares(grad, shape.output, shape.tables - shape.output)
    for table in range(shape.tables, grad.size, touched.size * shape.G):
        for v in range(touched.size):
            if touched[v]:
                total += sum_of_squares(grad, table + v * shape.G, shape.G)
    return np.sqrt(total)


@kernel
def apply_everywhere(rule, update, layout, touched):
    """Apply the rule to theta, without the rows of tables that are not touched."""
    shape = shape_of(layout)
    G = shape.G
    for l in range(shape.L):
        layer = layer_of(shape, l)
        if l > 0:
            apply_to_gates(rule, update, layer.below, shape.H, G)
        apply_to_gates(rule, update, layer.recurrent, shape.H, G)
        apply_to_gates(rule, update, layer.bias, 1, G)
    apply_rule(rule, update, shape.output, shape.tables - shape.output, update.hyper[LR_OUTPUT])
    for table in range(shape.tables, update.theta.size, touched.size * G):
        for v in range(touched.size):
            if touched[v]:
                apply_to_gates(rule, update, table + v * G, 1, G)


@entry
def descend(
    rule: int,
    theta: F32,
    first: F32,
    slots: F32,
    gradient: Gradient,
    hyper: F32,
    progress: F64,
    stream: Stream,
    token: int,
):
    """One step down the gradient SCALE·grad, first shortened to the norm CLIP if it is longer; begins a new window.

    rule      0 SGD, 1 RMSprop, 2 Adam
    theta     float32 [P], updated; of the tables only the touched rows
    first     float32 [P]: what theta was before it learned; or empty, if PULL is 0
    slots     float32 [n · P]: the n optimizer slots of the rule, updated likewise
    hyper     float32 [N_HYPER], see above; SCALE is overwritten
    progress  float64 [7]: the number of steps k, β₁ᵏ, β₂ᵏ, β₁, β₂, and the recent sums of NETWORK_BITS and of
              BITS; all but β₁ and β₂ are updated
    token     the next symbol of a single stream, the target of the window's last distribution: the gradient is computed
              first, and the new window begins with this symbol; or -1, if `backward` has computed it

    The state in slot T + 1 of the tape is copied to slot 0. Returns the norm of SCALE·grad before clipping; if it is
    not finite, theta, slots and progress do not change, and the new window is empty.
    """
    B = stream.layout[SLOT] // stream.layout[RECORD]
    T = stream.tokens.size // B - 1
    if token >= 0:
        stream.tokens[T] = token
        backward(theta, gradient, stream, T, 1)
    norm = norm_of(gradient, stream.layout) * hyper[SCALE]
    if norm < f32(np.inf):
        if norm > hyper[CLIP]:
            hyper[SCALE] *= hyper[CLIP] / norm
        apply_everywhere(rule, Update(theta, first, slots, gradient.grad, hyper), stream.layout, gradient.touched)
        progress[0] += 1.0
        progress[1] *= progress[3]
        progress[2] *= progress[4]
        if hyper[NETWORK_BITS] > ZERO:
            progress[5] = DECAY * progress[5] + hyper[NETWORK_BITS]
            progress[6] = DECAY * progress[6] + hyper[BITS]
    begin_window(stream, T + 1, token if norm < f32(np.inf) else -1)
    return norm


@kernel
def begin_window(stream, source, token):
    """Copy the state in slot `source` to slot 0, and move the position: no symbol on the tape but one that is UNREAD.

    token  that symbol; or -1, if there is none
    """
    copy_slot(stream, 0, source)
    if token >= 0:
        stream.tokens[0] = token
    stream.position[BASE] += stream.position[FILLED]
    stream.position[FILLED] = 0
    stream.position[UNREAD] = 1 if token >= 0 else 0
