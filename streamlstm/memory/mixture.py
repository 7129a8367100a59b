"""The mixture of the experts: one distribution for the next symbol, with weights that are learned online.

The logarithms of the experts' distributions are added with mixing weights, and a softmax makes one distribution of the
sum. An expert's mixing weight depends on how much is known about its context, and on where in the text the next symbol
lies. The tokens that the matches predict, and the token that followed each context last, get logits of their own. Once
the symbol is known, the weights learn from it, and then it is counted.

The mixing weights learn by online Newton steps (Hazan et al. 2007). Their gradient g is multiplied by the inverse of
the curvature, the running mean of g·gᵀ, so that experts with similar predictions do not all move for the same reason.
The curvature is the identity at first. Its inverse, with DAMPING on the diagonal, is computed every NEWTON_EVERY
symbols.

Where `weights`, `state` and `scratch` hold what is used here: see `layout`. V and C are those of `kernels.network`.
"""

import numpy as np

from ..jit.decorators import entry, kernel
from ..jit.intrinsics import lane_sum, load, splat, store
from ..kernels.arrays import F32, FILLED, U8, UNREAD, Stream
from ..kernels.distribution import may_be_among_best
from ..kernels.functions import log2
from ..kernels.network import COLUMNS, PREDICTION, SLOT, VOCABULARY, softmax
from .arrays import MemoryArrays
from .counts import fetch
from .experts import (
    bit_length,
    count_bucket,
    has_space,
    latest_weight_at,
    network_entropy,
    set_distributions,
    store_logarithms,
    update_backoff,
    update_counts,
)
from .layout import (
    ACTIVE_ROWS,
    AGE_ROWS,
    BRACKET_ROWS,
    CLASS_HISTORY,
    CLASS_ROWS,
    COLUMN_ROWS,
    CONTEXT_HASH,
    COUNT_BUCKETS,
    CURVATURE,
    DEPTH,
    DISTINCT,
    EXPERT_BUCKET,
    FIELD,
    FIELD_ROWS,
    GRADIENT,
    INVERSE_CURVATURE,
    KNOWN_ROWS,
    LATEST,
    LINE_START,
    LONGEST_ORDER,
    MATCH_BUCKET,
    MATCH_BUCKETS,
    MATCH_DISTANCES,
    MATCH_MISSES,
    MATCH_ROWS,
    MATCH_TOKEN,
    MATCH_WEIGHTS,
    MIXING,
    N_ACTIVE_ROWS,
    N_AGES,
    N_COLUMNS,
    N_CONTEXTS,
    N_EXPERTS,
    N_FIELDS,
    N_LEARNED,
    N_MATCHES,
    N_ORDERS,
    N_SEEN,
    N_SURPRISALS,
    NETWORK,
    STEP,
    SURPRISAL_ROWS,
    SURPRISALS,
    SYMBOL_ROWS,
    TOTAL,
    active_row_at,
    distribution_at,
    expert_weight_at,
    latest_token,
    logarithms_at,
    n_uses_at,
)
from .matches import follow_matches, is_robust, match_distance, set_heads, strength
from .text import advance, innermost, recent_token, set_contexts

f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)
FLOOR = f32(1e-7)
"""The least probability of a symbol."""
DAMPING, NEWTON_EVERY = f32(2.0), 64
CURVATURE_RATE, MIXING_RATE, MATCH_RATE, LATEST_RATE = f32(0.002), f32(0.0015), f32(0.05), f32(0.02)
ROW_BASE, ROW_BOOST, ROW_HALF_LIFE = f32(0.3), f32(2.0), f32(300.0)
"""The rate of a row of adjustments that was used n times is MIXING_RATE · (0.3 + 2 / (1 + n/300))."""


@kernel
def set_buckets(memory, tape, p, C):
    """Choose the weights of the next mixture: a bucket for each expert and match, and the active rows.

    An expert without a prediction gets -1. Order 6 always has one: if its own context is new, its distribution is that
    of the longest order that has counts. p: where the network's distribution begins in the tape.
    """
    state, scratch = memory.state, memory.scratch
    longest, is_certain, extras = 0, 0, 0
    for context in range(1, N_CONTEXTS):
        distinct, total = state[DISTINCT + context], state[TOTAL + context]
        state[EXPERT_BUCKET + context - 1] = count_bucket(distinct, total) if distinct > 0 else -1
        if distinct > 0 and context < N_ORDERS:
            longest, is_certain = context, 1 if distinct == 1 else 0
        elif distinct > 0:
            extras += 1
    if longest < LONGEST_ORDER:
        state[EXPERT_BUCKET + LONGEST_ORDER - 1] = COUNT_BUCKETS + longest
    nats = network_entropy(scratch, tape, p, C)
    state[EXPERT_BUCKET + NETWORK] = (longest * 2 + is_certain) * 12 + max(0, min(11, int(nats * f32(3.0))))
    state[ACTIVE_ROWS] = FIELD_ROWS + min(state[FIELD], N_FIELDS - 1)
    state[ACTIVE_ROWS + 1] = COLUMN_ROWS + min(state[N_SEEN] - state[LINE_START], N_COLUMNS - 1)
    state[ACTIVE_ROWS + 2] = KNOWN_ROWS + longest * (N_CONTEXTS - N_ORDERS + 1) + extras
    state[ACTIVE_ROWS + 3] = CLASS_ROWS + state[CLASS_HISTORY]
    state[ACTIVE_ROWS + 4] = SYMBOL_ROWS + 1 + recent_token(state, 1)
    state[ACTIVE_ROWS + 5] = AGE_ROWS + bit_length(state[N_LEARNED], N_AGES - 1)
    state[ACTIVE_ROWS + 6] = SURPRISAL_ROWS + state[SURPRISALS]
    bracket = state[innermost(state)] * 4 + min(state[DEPTH], 3)
    state[ACTIVE_ROWS + 7] = BRACKET_ROWS + bracket * 8 + state[CLASS_HISTORY] % 8
    set_match_buckets(memory, longest, is_certain)


@kernel
def set_match_buckets(memory, longest, is_certain):
    """Choose the weight of each match, and the row for the first; `longest`: the longest order that has counts."""
    state = memory.state
    row = 0
    for m in range(N_MATCHES - 1, -1, -1):
        token = state[MATCH_TOKEN + m]
        if token >= 0:
            kind = m * MATCH_DISTANCES + match_distance(memory, m)
            is_better = is_robust(state, m) or (is_certain and state[MATCH_MISSES + m] == 0)
            state[MATCH_BUCKET + m] = kind * MATCH_BUCKETS + strength(state, m) * 2 + (1 if is_better else 0)
            is_expected = longest > 0 and latest_token(state, longest) == token
            row = 1 + strength(state, m) * 2 + (1 if is_expected else 0)
    state[ACTIVE_ROWS + 8] = MATCH_ROWS + row


@kernel
def set_mixing_weights(memory):
    """Write the mixing weight of each expert; 0 without a prediction."""
    weights, state, scratch = memory.weights, memory.state, memory.scratch
    for k in range(N_EXPERTS):
        has_prediction = state[EXPERT_BUCKET + k] >= 0
        scratch[MIXING + k] = weights[expert_weight_at(state, k)] if has_prediction else ZERO
    total = load(scratch, MIXING, N_EXPERTS)
    for n in range(N_ACTIVE_ROWS):
        total = total + load(weights, active_row_at(state, n), N_EXPERTS)
    store(scratch, MIXING, total)
    for k in range(N_EXPERTS):
        if state[EXPERT_BUCKET + k] < 0:
            scratch[MIXING + k] = ZERO


@kernel
def set_logits(memory, tape, z, C):
    """Write the mixture's logits to the tape, at z.

    z = Σ_k w_k·ln P_k over the experts k that have a prediction, plus a match's weight at the token it predicts, plus
    the weight of each context's latest token.
    """
    weights, state, scratch = memory.weights, memory.state, memory.scratch
    for j in range(0, C, 128):
        total = splat(ZERO, 128)
        for k in range(N_EXPERTS):
            if state[EXPERT_BUCKET + k] >= 0:
                total = total + load(scratch, logarithms_at(k, C) + j, 128) * scratch[MIXING + k]
        store(tape, z + j, total)
    for m in range(N_MATCHES):
        if state[MATCH_TOKEN + m] >= 0:
            tape[z + state[MATCH_TOKEN + m]] += weights[MATCH_WEIGHTS + state[MATCH_BUCKET + m]]
    for context in range(1, N_CONTEXTS):
        if state[LATEST + context] >= 0:
            tape[z + latest_token(state, context)] += weights[latest_weight_at(state, context)]


@kernel
def take_network_alone(memory, tape, z, p, C):
    """Write the network's distribution, at p, to the tape at z: what the mixture is before anything was learned."""
    state, scratch = memory.state, memory.scratch
    for context in range(N_CONTEXTS):
        state[DISTINCT + context], state[TOTAL + context], state[LATEST + context] = 0, 0, -1
    for k in range(N_EXPERTS):
        state[EXPERT_BUCKET + k] = 0 if k == NETWORK else -1
        scratch[MIXING + k] = ONE if k == NETWORK else ZERO
    for j in range(0, C, 128):
        store(tape, z + j, load(tape, p + j, 128))


@kernel
def mix(memory, tape, layout, at):
    """Write the mixture's distribution of the next symbol to the record at tape[at], which has the network's.

    p = softmax(z), raised to at least FLOOR; the network's distribution itself if nothing was learned yet.
    """
    state, scratch = memory.state, memory.scratch
    V, C, z = layout[VOCABULARY], layout[COLUMNS], at + layout[PREDICTION]
    store_logarithms(scratch, NETWORK, tape, at, C)
    if state[N_LEARNED] == 0:
        take_network_alone(memory, tape, z, at, C)
        return
    set_distributions(memory, V, C)
    for context in range(1, N_CONTEXTS):
        if state[DISTINCT + context] > 0 or context == LONGEST_ORDER:
            store_logarithms(scratch, context - 1, scratch, distribution_at(context, C), C)
    set_buckets(memory, tape, at, C)
    set_mixing_weights(memory)
    set_logits(memory, tape, z, C)
    softmax(tape, z, V, C)
    for j in range(0, C, 128):
        store(tape, z + j, load(tape, z + j, 128) * (ONE - f32(V) * FLOOR) + FLOOR)
    for v in range(V, C):
        tape[z + v] = ZERO


@kernel
def invert_curvature(weights):
    """Invert the curvature with DAMPING on its diagonal, by Gauss-Jordan elimination.

    The matrix is positive definite: no pivot is 0.
    """
    for i in range(N_EXPERTS):
        row = INVERSE_CURVATURE + i * N_EXPERTS
        store(weights, row, load(weights, CURVATURE + i * N_EXPERTS, N_EXPERTS))
        weights[row + i] += DAMPING
    for j in range(N_EXPERTS):
        row = INVERSE_CURVATURE + j * N_EXPERTS
        factor = ONE / weights[row + j]
        weights[row + j] = ONE
        store(weights, row, load(weights, row, N_EXPERTS) * factor)
        for i in range(N_EXPERTS):
            if i != j:
                other = INVERSE_CURVATURE + i * N_EXPERTS
                factor = weights[other + j]
                weights[other + j] = ZERO
                store(weights, other, load(weights, other, N_EXPERTS) - load(weights, row, N_EXPERTS) * factor)


@kernel
def set_gradient(state, scratch, tape, p, token, C):
    """g_k = ln P_k(token) - Σ_v p(v)·ln P_k(v), the gradient of ln p(token) by the mixing weights.

    p: where the mixture's distribution begins in the tape.
    """
    for k in range(N_EXPERTS):
        scratch[GRADIENT + k] = ZERO
        if state[EXPERT_BUCKET + k] >= 0:
            logs = logarithms_at(k, C)
            total = splat(ZERO, 128)
            for j in range(0, C, 128):
                total = total + load(tape, p + j, 128) * load(scratch, logs + j, 128)
            scratch[GRADIENT + k] = scratch[logs + token] - lane_sum(total)


@kernel
def set_newton_step(weights, scratch):
    """curvature += rate·(g·gᵀ - curvature), and the step = inverse·g."""
    step = splat(ZERO, N_EXPERTS)
    g = load(scratch, GRADIENT, N_EXPERTS)
    for i in range(N_EXPERTS):
        row = load(weights, CURVATURE + i * N_EXPERTS, N_EXPERTS)
        new_row = row + (g * scratch[GRADIENT + i] - row) * CURVATURE_RATE
        store(weights, CURVATURE + i * N_EXPERTS, new_row)
        step = step + load(weights, INVERSE_CURVATURE + i * N_EXPERTS, N_EXPERTS) * scratch[GRADIENT + i]
    store(scratch, STEP, step)


@kernel
def update_weights(memory, tape, p, token, C):
    """One Newton step of the mixing weights, up ln p(token). Rows that were used seldom take larger steps.

    p: where the mixture's distribution begins in the tape.
    """
    weights, state, scratch = memory.weights, memory.state, memory.scratch
    set_gradient(state, scratch, tape, p, token, C)
    set_newton_step(weights, scratch)
    if state[N_LEARNED] % NEWTON_EVERY == 0:
        invert_curvature(weights)
    for k in range(N_EXPERTS):
        if state[EXPERT_BUCKET + k] >= 0:
            weights[expert_weight_at(state, k)] += scratch[STEP + k] * MIXING_RATE
        else:
            scratch[STEP + k] = ZERO
    step = load(scratch, STEP, N_EXPERTS)
    for n in range(N_ACTIVE_ROWS):
        row, uses = active_row_at(state, n), n_uses_at(state, n, memory.entries.size)
        n_uses = weights[uses]
        rate = MIXING_RATE * (ROW_BASE + ROW_BOOST / (ONE + n_uses / ROW_HALF_LIFE))
        store(weights, row, load(weights, row, N_EXPERTS) + step * rate)
        weights[uses] = n_uses + ONE


@kernel
def update_token_weights(weights, state, tape, p, token):
    """One gradient step, up ln p(token), of the weights of the matches and of each context's latest token."""
    for m in range(N_MATCHES):
        if state[MATCH_TOKEN + m] >= 0:
            hit = ONE if state[MATCH_TOKEN + m] == token else ZERO
            weights[MATCH_WEIGHTS + state[MATCH_BUCKET + m]] += MATCH_RATE * (hit - tape[p + state[MATCH_TOKEN + m]])
    for context in range(1, N_CONTEXTS):
        if state[LATEST + context] >= 0:
            latest = latest_token(state, context)
            hit = ONE if latest == token else ZERO
            weights[latest_weight_at(state, context)] += LATEST_RATE * (hit - tape[p + latest])


@kernel
def write_report(memory, report, at, token, C):
    """Write for each expert the bits that it alone would have given the token, and its weight, from report[at] on."""
    state, scratch = memory.state, memory.scratch
    for k in range(N_EXPERTS):
        has_prediction = state[EXPERT_BUCKET + k] >= 0
        bits = scratch[logarithms_at(k, C) + token] * f32(-1.44269504) if has_prediction else ZERO
        report[at + 2 * k] = bits
        report[at + 2 * k + 1] = scratch[MIXING + k]


@kernel
def surprisal_step(bits):
    """0 for a symbol that was expected … 3 for one that was not."""
    return (1 if bits >= f32(0.25) else 0) + (1 if bits >= f32(1.5) else 0) + (1 if bits >= f32(4.0) else 0)


@entry
def remember(
    memory: MemoryArrays, stream: Stream, report: F32, marked: U8, k: int, first: int, count: int, learn: bool
):
    """Score symbols `first` … `first + count - 1` by the mixture, learn from each, and mix for the symbol after it.

    The network has filled slots `first + 1` … `first + count` of the tape. Writes the surprisals to the stream's bits,
    and moves its position. A count of 0 only mixes for symbol `first`. Stops after a symbol if one of the marked tokens
    may be among the k most probable next ones, and before one for which an overlay has to grow; returns the number of
    symbols done.

    report  float32 [count · N_EXPERTS · 2] or empty: see `write_report`
    marked  uint8 [V] or empty: 1 for each marked token
    """
    tape, tokens, bits, layout = stream.tape, stream.tokens, stream.bits, stream.layout
    weights, state = memory.weights, memory.state
    V, C = layout[VOCABULARY], layout[COLUMNS]
    if count == 0:
        set_contexts(state)
        mix(memory, tape, layout, first * layout[SLOT])
    for s in range(first, first + count):
        if learn and not has_space(memory):
            count = s - first
            break
        p = s * layout[SLOT] + layout[PREDICTION]
        token = tokens[s]
        bits[s] = ZERO - log2(tape[p + token])
        state[SURPRISALS] = (state[SURPRISALS] * 4 + surprisal_step(bits[s])) % N_SURPRISALS
        if report.size > 0:
            write_report(memory, report, 2 * N_EXPERTS * (s - first), token, C)
        if learn:
            if state[N_LEARNED] > 0:
                update_weights(memory, tape, p, token, C)
                update_token_weights(weights, state, tape, p, token)
                update_backoff(memory, token, V, C)
            update_counts(memory, token)
        advance(state, memory.char_classes, token)
        set_contexts(state)
        set_heads(memory)
        for context in range(N_CONTEXTS):
            fetch(memory.table, state[CONTEXT_HASH + context])
        follow_matches(memory, token, learn)
        mix(memory, tape, layout, (s + 1) * layout[SLOT])
        if marked.size > 0 and may_be_among_best(tape, p + layout[SLOT], V, marked, k):
            count = s + 1 - first
            break
    stream.position[FILLED] = first + count
    if count > 0:
        stream.position[UNREAD] = 0
    return count
