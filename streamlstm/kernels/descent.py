"""One step down the gradient: three rules, compiled.

Rules work on flat float32 arrays laid out as theta. A row of an input table is updated only when its symbol was in the
window, and its slots with it: the other rows' gradients are zero, and reading them would cost more than the network.
"""

import numpy as np

from .arrays import BASE, F32, F64, FILLED, PENDING, Gradient, Stream
from .atomics import acquire, exchange, pause, release
from .gradient import flow_back, has
from .jit import entry, kernel
from .lanes import lane_sum, load, reciprocal_root_guess, root, splat, store
from .network import COLUMNS, HIDDEN, LAYERS, OUTPUT, RECORD, SLOT, TABLES, copy_slot, flow
from .second_core import (
    ASSISTANT,
    AWAY,
    BACKWARD,
    CALLED,
    CALLER,
    COUNT,
    DESCEND,
    FIRST,
    FORWARD,
    READY,
    SPINS_BEFORE_SLEEP,
    STATE,
    TASK,
    WHOLE,
    call,
    leave,
    meet,
    share,
)

f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)

# Places in `hyper`: the learning rates of the layers, of their candidates' weights and of the output layer;
# L2 regularisation, both decays, epsilon, the two bias corrections 1 / (1 - βᵏ), the scale and the largest norm of the
# gradient, and room for 128 lanes of two threads.
LR, LR_CANDIDATE, LR_OUTPUT, L2, BETA1, BETA2, EPSILON, CORRECT1, CORRECT2, SCALE, CLIP = range(11)
ROOM, N_HYPER = 16, 16 + 128


@kernel
def reciprocal_root(x):
    """1 / √x with a relative error below 7e-7, without root and division; finite for x = 0.

    Two steps of Newton's method from a guess; the first has the constants that Kadlec (2010) fitted to the guess.
    """
    y = reciprocal_root_guess(x)
    y = y * f32(0.703952253) * (f32(2.38924456) - x * y * y)
    return y * (f32(1.5) - f32(0.5) * x * y * y)


@kernel
def sgd(theta, slots, grad, at, n, hyper, lr, scale):
    """m = β₁·m + (scale·g + λ·θ);  θ -= lr·m.  Without momentum (β₁ = 0) there is no slot m."""
    for j in range(at, at + n, 32):
        w = load(theta, j, 32)
        g = load(grad, j, 32) * scale + hyper[L2] * w
        if hyper[BETA1] != ZERO:
            g = hyper[BETA1] * load(slots, j, 32) + g
            store(slots, j, g)
        store(theta, j, w - lr * g)


@kernel
def rmsprop(theta, slots, grad, at, n, hyper, lr, scale):
    """v = β₂·v + (1 - β₂)·g²;  θ -= lr·g / √(v / (1 - β₂ᵏ) + ε²);  g = scale·grad + λ·θ."""
    for j in range(at, at + n, 32):
        w = load(theta, j, 32)
        g = load(grad, j, 32) * scale + hyper[L2] * w
        v = hyper[BETA2] * load(slots, j, 32) + (ONE - hyper[BETA2]) * (g * g)
        store(slots, j, v)
        store(theta, j, w - (lr * g) * reciprocal_root(v * hyper[CORRECT2] + hyper[EPSILON] * hyper[EPSILON]))


@kernel
def adam(theta, slots, grad, at, n, hyper, lr, scale):
    """θ -= lr·m̂ / (√v̂ + ε), with the mean m = β₁·m + (1 - β₁)·g and v as above, each over 1 - βᵏ (Kingma & Ba)."""
    for j in range(at, at + n, 32):
        w = load(theta, j, 32)
        g = load(grad, j, 32) * scale + hyper[L2] * w
        v = hyper[BETA2] * load(slots, j, 32) + (ONE - hyper[BETA2]) * (g * g)
        m = hyper[BETA1] * load(slots, theta.size + j, 32) + (ONE - hyper[BETA1]) * g
        store(slots, j, v)
        store(slots, theta.size + j, m)
        store(theta, j, w - lr * (m * hyper[CORRECT1]) / (root(v * hyper[CORRECT2]) + hyper[EPSILON]))


@kernel
def apply_rule(rule, theta, slots, grad, at, n, hyper, lr, scale):
    """One of the rules above on theta[at : at + n], n a multiple of 32."""
    if rule == 0:
        sgd(theta, slots, grad, at, n, hyper, lr, scale)
    elif rule == 1:
        rmsprop(theta, slots, grad, at, n, hyper, lr, scale)
    else:
        adam(theta, slots, grad, at, n, hyper, lr, scale)


@kernel
def apply_by_gate(rule, theta, slots, grad, at, n, width, hyper, scale):
    """The rule on rows of `width` from theta[at] on, i f [g] o: the candidate's quarter g may have its own rate."""
    if hyper[LR_CANDIDATE] == hyper[LR]:
        apply_rule(rule, theta, slots, grad, at, n, hyper, hyper[LR], scale)
        return
    quarter = width // 4
    start = at
    for candidate in range(at + 2 * quarter, at + n, width):
        apply_rule(rule, theta, slots, grad, start, candidate - start, hyper, hyper[LR], scale)
        apply_rule(rule, theta, slots, grad, candidate, quarter, hyper, hyper[LR_CANDIDATE], scale)
        start = candidate + quarter
    apply_rule(rule, theta, slots, grad, start, at + n - start, hyper, hyper[LR], scale)


@kernel
def squares(grad, at, n):
    """Σ grad[at : at + n]² on 128 lanes; n a multiple of 128."""
    total = splat(ZERO, 128)
    for j in range(at, at + n, 128):
        g = load(grad, j, 128)
        total = total + g * g
    return lane_sum(total)


@kernel
def half_squares(grad, at, n, part):
    """One thread's half of the 128 lanes of `squares`; what `lane_sum` does first is to add the other half."""
    total = splat(ZERO, 64)
    for j in range(at + (0 if part == CALLER else 64), at + n, 128):
        g = load(grad, j, 64)
        total = total + g * g
    return total


@kernel
def norm_of(grad, touched, hyper, layout, part):
    """The norm of the sum of gradients; of two threads only the caller gets it."""
    V, width, output, tables = touched.size, 4 * layout[HIDDEN], layout[OUTPUT], layout[TABLES]
    if part == WHOLE:
        total = squares(grad, 0, output) + squares(grad, output, tables - output)
    else:
        layers, out = half_squares(grad, 0, output, part), half_squares(grad, output, tables - output, part)
        if part == ASSISTANT:
            store(hyper, ROOM, layers)
            store(hyper, ROOM + 64, out)
        meet(layout, part)
        total = lane_sum(layers + load(hyper, ROOM, 64)) + lane_sum(out + load(hyper, ROOM + 64, 64))
    if part != ASSISTANT:
        for table in range(tables, grad.size, V * width):
            for v in range(V):
                if touched[v]:
                    total += squares(grad, table + v * width, width)
    return np.sqrt(total)


@kernel
def descend_by(rule, theta, slots, grad, touched, hyper, layout, part):
    """`descend`, or one thread's part: the rows of the gradient that it made. Returns the norm to the caller."""
    V, C, H, L = touched.size, layout[COLUMNS], layout[HIDDEN], layout[LAYERS]
    N, output, tables = 4 * H, layout[OUTPUT], layout[TABLES]
    norm = norm_of(grad, touched, hyper, layout, part)
    if part != ASSISTANT:
        norm *= hyper[SCALE]
        if not norm < f32(np.inf):
            hyper[SCALE] = f32(np.inf)
        elif norm > hyper[CLIP]:
            hyper[SCALE] *= hyper[CLIP] / norm
    meet(layout, part)
    scale = hyper[SCALE]
    if not scale < f32(np.inf):
        return norm
    begin, n = share(H, 32, part)
    for layer in range(L):
        w = layer * (2 * H + 1) * N
        for at in range(w - H * N if layer > 0 else w, w + 1, H * N):
            apply_by_gate(rule, theta, slots, grad, at + begin * N, n * N, N, hyper, scale)
        if part != ASSISTANT:
            apply_by_gate(rule, theta, slots, grad, w + H * N, N, N, hyper, scale)
    for at in range(output, tables - C, H * C):
        apply_rule(rule, theta, slots, grad, at + begin * C, n * C, hyper, hyper[LR_OUTPUT], scale)
    if part != ASSISTANT:
        apply_rule(rule, theta, slots, grad, tables - C, C, hyper, hyper[LR_OUTPUT], scale)
    for table in range(tables, theta.size, V * N):
        for v in range(V):
            if touched[v] and has(v, part):
                apply_by_gate(rule, theta, slots, grad, table + v * N, N, N, hyper, scale)
    return norm


@entry
def descend(rule: int, theta: F32, slots: F32, gradient: Gradient, hyper: F32, progress: F64, stream: Stream):
    """One step down the gradient SCALE·grad, first shortened to the norm CLIP where it is longer, and a new window.

    theta float32 [P]; slots float32 [slots of the rule · P]; of the tables only the rows of symbols that were touched
    are updated; hyper float32 [N_HYPER]; progress float64: steps so far, β₁ᵏ, β₂ᵏ, β₁, β₂. The carried state moves to
    slot 0 of the tape. An assistant makes half, if there is one.
    Returns the norm before clipping; where that is not finite, theta, slots and progress stay as they are.
    """
    layout = stream.layout
    part = call(layout, DESCEND, rule, 0)
    norm = descend_by(rule, theta, slots, gradient.grad, gradient.touched, hyper, layout, part)
    leave(layout, part)
    if norm < f32(np.inf):
        progress[0] += 1.0
        progress[1] *= progress[3]
        progress[2] *= progress[4]
    begin_window(stream)
    return norm


@kernel
def begin_window(stream):
    """The carried state becomes that of slot 0; the update is not pending any more."""
    window = stream.tokens.size * stream.layout[RECORD] // stream.layout[SLOT] - 1
    copy_slot(stream, 0, window + 1)
    stream.position[BASE] += stream.position[FILLED]
    stream.position[FILLED] = stream.position[PENDING] = 0


@entry
def add_gradient(gradient: Gradient, other: Gradient, tables: int, width: int):
    """grad += other.grad and touched |= other.touched, for two gradients as `gradient.backward` writes them."""
    grad, touched = gradient.grad, gradient.touched
    for j in range(0, tables, 64):
        store(grad, j, load(grad, j, 64) + load(other.grad, j, 64))
    V = touched.size
    for v in range(V):
        if other.touched[v]:
            for row in range(tables + v * width, grad.size, V * width):
                for j in range(row, row + width, 64):
                    store(
                        grad, j, load(grad, j, 64) + load(other.grad, j, 64) if touched[v] else load(other.grad, j, 64)
                    )
            touched[v] = 1


@entry
def assist(theta: F32, stream: Stream, gradient: Gradient, slots: F32, hyper: F32):
    """Compute the assistant's part of each task that it is called for, until there was none for a while.

    The arrays are those of `network.forward`, `gradient.backward` and `descend`. The protocol is `second_core`'s.
    """
    tape, tokens, layout = stream.tape, stream.tokens, stream.layout
    grad, work, touched = gradient.grad, gradient.work, gradient.touched
    release(layout, STATE, READY)
    state, spins = READY, 0
    while state != AWAY:
        spins += 1
        if state == CALLED:
            task, first, count = layout[TASK], layout[FIRST], layout[COUNT]
            if task == FORWARD:
                flow(theta, tape, tokens, layout, first, count, 1, ASSISTANT)
            elif task == BACKWARD:
                flow_back(theta, grad, work, tape, tokens, touched, layout, count, 1, ASSISTANT)
            else:
                descend_by(first, theta, slots, grad, touched, hyper, layout, ASSISTANT)
            leave(layout, ASSISTANT)
            spins = 0
        pause()
        if spins >= SPINS_BEFORE_SLEEP:
            exchange(layout, STATE, READY, AWAY)  # unless it has just been called
        state = acquire(layout, STATE)
