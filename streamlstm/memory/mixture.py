"""The mixture of the experts and the network: one distribution, by weights that learn whom to trust.

The logarithms of the experts' distributions are added up with weights that depend on how much each knows and on where
in the text it is asked; what followed a context last gets a weight of its own, as does the symbol that a match expects.
A softmax makes one distribution of it. Once the symbol is known, the weights learn from it, and then the counts.

The weights of the experts learn by online Newton steps (Hazan et al. 2007): their gradient g is multiplied by the
inverse of H, so that experts that say much the same do not all move for the same reason. H is the mean of g·gᵀ of late,
at first the identity; its inverse, with DAMPING on the diagonal, is made anew every NEWTON_EVERY symbols.

    V, C  as in `kernels`          K  experts: orders 1 … 6, the nine extras, and the network

weights float32  THETA of `experts`, then the places below: A [K, BUCKETS], weights of each expert by what it knows;
                 M [3, 64], the weight of a match, by where it lies; N [K - 1, 96], that of what came last in a context;
                 H [K, K] and its inverse; B [ROWS + V, K + 1], what is added to the K weights, from five of its rows:
                 by field, by column, by how much is known, by the kinds of the last three symbols, by the last symbol.
                 The last number of a row counts how often it was in force.
scratch float32  [2·CONTEXTS·C + 64]: the contexts' distributions P, the experts' logarithms Λ (ln of each); then λ, the
                 experts' weights w, their gradient g, and the step H⁻¹·g, one per expert.
state, kinds, history  as in `contexts`; table, changed  as in `counts`
"""

import numpy as np

from ..kernels.arrays import F32, FILLED, U8, Stream
from ..kernels.jit import entry, kernel
from ..kernels.lanes import lane_sum, load, splat, store
from ..kernels.network import COLUMNS, PREDICTION, SLOT, VOCABULARY, ln, log2, softmax
from ..kernels.ranks import may_be_among_best
from .arrays import MemoryArrays
from .contexts import (
    BUCKET,
    CONTEXTS,
    DISTINCT,
    EXPERTS,
    FIELD,
    FIELDS,
    GUESS,
    HASH,
    KINDS,
    LAST_KINDS,
    LATEST,
    LEARNED,
    LENGTH,
    LINE,
    MATCH_BUCKET,
    NETWORK,
    ORDERS,
    ROW,
    ROWS_IN_FORCE,
    SEEN,
    TOTAL,
    advance,
    follow_match,
    lines_back,
    recent,
    set_contexts,
)
from .counts import fetch
from .experts import COUNT_BUCKETS, THETA, bucket_of, expert_distributions, learn_backing_off, learn_counts, magnitude

BUCKETS, MATCH_BUCKETS, LATEST_BUCKETS = 168, 64, 96

A = THETA + ORDERS * COUNT_BUCKETS
M = A + EXPERTS * BUCKETS
N = M + 3 * MATCH_BUCKETS
H = N + (CONTEXTS - 1) * LATEST_BUCKETS
INVERSE = H + EXPERTS * EXPERTS
B = INVERSE + EXPERTS * EXPERTS
WIDTH = EXPERTS + 1  # of a row of B

PLACES = 256
BY_FIELD = 0
BY_PLACE = BY_FIELD + FIELDS
BY_KNOWN = BY_PLACE + PLACES
BY_KINDS = BY_KNOWN + ORDERS * (CONTEXTS - ORDERS + 1)
BY_LAST = BY_KINDS + KINDS
ROWS = BY_LAST + 1

f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)
FLOOR = f32(1e-7)  # the least probability of a symbol
TINY = f32(1e-8)  # added before a logarithm is taken
DAMPING, NEWTON_EVERY = f32(0.5), 64
STEEPEST = f32(6.0)  # the largest slope of an expert that is believed
H_RATE, TRUST_RATE, MATCH_RATE, LATEST_RATE = f32(0.002), f32(0.001), f32(0.05), f32(0.005)
ROW_LEAST, ROW_MORE, ROW_OFTEN = f32(0.3), f32(2.0), f32(300.0)  # a row's rate is TRUST_RATE · (0.3 + 2 / (1 + n/300))


@kernel
def store_logarithm(scratch, log_row, source, row, C):
    """Λ = ln(P + tiny)."""
    for j in range(0, C, 128):
        store(scratch, log_row + j, ln(load(source, row + j, 128) + TINY))


@kernel
def entropy(scratch, log_row, tape, p, C):
    """-Σ p·ln p, in nats."""
    total = splat(ZERO, 128)
    for j in range(0, C, 128):
        total = total + load(tape, p + j, 128) * load(scratch, log_row + j, 128)
    return ZERO - lane_sum(total)


@kernel
def set_buckets(state, scratch, tape, at, C):
    """For each expert that has something to say, the bucket of its weight; -1 for the others. And the rows of B.

    Order 6 always speaks: where its own context is new, it has backed off to the highest order that is known.
    """
    highest, sure, extras = 0, 0, 0
    for k in range(1, CONTEXTS):
        known = state[DISTINCT + k] > 0
        state[BUCKET + k - 1] = bucket_of(state[DISTINCT + k], state[TOTAL + k]) if known else -1
        if known and k < ORDERS:
            highest, sure = k, 1 if state[DISTINCT + k] == 1 else 0
        elif known:
            extras += 1
    if highest < ORDERS - 1:
        state[BUCKET + ORDERS - 2] = COUNT_BUCKETS + highest
    nats = entropy(scratch, (CONTEXTS + NETWORK) * C, tape, at, C)
    state[BUCKET + NETWORK] = (highest * 2 + sure) * 12 + max(0, min(11, int(nats * f32(3.0))))
    length = state[LENGTH]
    length = length if length < 16 else min(16 + (length - 16) // 8, 31)
    state[MATCH_BUCKET] = lines_back(state) * MATCH_BUCKETS + length * 2 + sure
    state[ROW] = BY_FIELD + min(state[FIELD], FIELDS - 1)
    state[ROW + 1] = BY_PLACE + min(state[SEEN] - state[LINE], PLACES - 1)
    state[ROW + 2] = BY_KNOWN + highest * (CONTEXTS - ORDERS + 1) + extras
    state[ROW + 3] = BY_KINDS + state[LAST_KINDS]
    state[ROW + 4] = BY_LAST + 1 + recent(state, 1)


@kernel
def row_in_force(state, n):
    """Where row n of the rows of B that are in force begins."""
    return B + state[ROW + n] * WIDTH


@kernel
def weight_of_latest(state, k):
    """Where the weight of what followed context k last stands: by how often in a row, and by how many others did."""
    bucket = (state[LATEST + k] & 15) * 6 + magnitude(state[DISTINCT + k], 5)
    return N + (k - 1) * LATEST_BUCKETS + bucket


@kernel
def mix_experts(table, weights, state, scratch, entries, tape, layout, at):
    """Write the distribution of the next symbol into the record at tape[at], from the network's there and the counts.

    z = Σ_k (A[k, bucket] + Σ_row B[row, k])·Λ_k, plus M at the symbol that a match expects, plus N at each that
    followed a context last; p = softmax(z), at least 1e-7. entries: int32 [V], room for one context's counts.
    """
    V, C = layout[VOCABULARY], layout[COLUMNS]
    logs, w, z = CONTEXTS * C, 2 * CONTEXTS * C + CONTEXTS, at + layout[PREDICTION]
    expert_distributions(table, weights, state, scratch, entries, V, C)
    for k in range(1, CONTEXTS):
        if state[DISTINCT + k] > 0 or k == ORDERS - 1:
            store_logarithm(scratch, logs + (k - 1) * C, scratch, k * C, C)
    store_logarithm(scratch, logs + NETWORK * C, tape, at, C)
    set_buckets(state, scratch, tape, at, C)
    for k in range(EXPERTS):
        scratch[w + k] = ZERO
        if state[BUCKET + k] >= 0:
            weight = weights[A + k * BUCKETS + state[BUCKET + k]]
            for n in range(ROWS_IN_FORCE):
                weight += weights[row_in_force(state, n) + k]
            scratch[w + k] = weight
    for j in range(0, C, 128):
        total = splat(ZERO, 128)
        for k in range(EXPERTS):
            if state[BUCKET + k] >= 0:
                total = total + load(scratch, logs + k * C + j, 128) * scratch[w + k]
        store(tape, z + j, total)
    if state[GUESS] >= 0:
        tape[z + state[GUESS]] += weights[M + state[MATCH_BUCKET]]
    for k in range(1, CONTEXTS):
        if state[LATEST + k] >= 0:
            tape[z + (state[LATEST + k] >> 4)] += weights[weight_of_latest(state, k)]
    softmax(tape, z, V, C)
    for j in range(0, C, 128):
        store(tape, z + j, load(tape, z + j, 128) * (ONE - f32(V) * FLOOR) + FLOOR)
    for v in range(V, C):
        tape[z + v] = ZERO


@kernel
def invert_h(weights):
    """The inverse of H with DAMPING on its diagonal, by Gauss and Jordan; that is positive definite: no pivot is 0."""
    for i in range(EXPERTS):
        store(weights, INVERSE + i * EXPERTS, load(weights, H + i * EXPERTS, EXPERTS))
        weights[INVERSE + i * EXPERTS + i] += DAMPING
    for j in range(EXPERTS):
        row = INVERSE + j * EXPERTS
        factor = ONE / weights[row + j]
        weights[row + j] = ONE
        store(weights, row, load(weights, row, EXPERTS) * factor)
        for i in range(EXPERTS):
            if i != j:
                other = INVERSE + i * EXPERTS
                factor = weights[other + j]
                weights[other + j] = ZERO
                store(weights, other, load(weights, other, EXPERTS) - load(weights, row, EXPERTS) * factor)


@kernel
def newton_step(weights, scratch, g):
    """H += rate·(g·gᵀ - H), and the step H⁻¹·g, behind g."""
    step = splat(ZERO, EXPERTS)
    gradient = load(scratch, g, EXPERTS)
    for i in range(EXPERTS):
        row = load(weights, H + i * EXPERTS, EXPERTS)
        store(weights, H + i * EXPERTS, row + (gradient * scratch[g + i] - row) * H_RATE)
        step = step + load(weights, INVERSE + i * EXPERTS, EXPERTS) * scratch[g + i]
    store(scratch, g + EXPERTS, step)


@kernel
def learn_trust(weights, state, scratch, tape, q, token, C):
    """One Newton step up the gradient of ln p(token), by the experts' weights; new rows of B take larger ones."""
    logs, g = CONTEXTS * C, 2 * CONTEXTS * C + CONTEXTS + EXPERTS
    for k in range(EXPERTS):
        scratch[g + k] = ZERO
        if state[BUCKET + k] >= 0:
            total = splat(ZERO, 128)
            for j in range(0, C, 128):
                total = total + load(tape, q + j, 128) * load(scratch, logs + k * C + j, 128)
            slope = scratch[logs + k * C + token] - lane_sum(total)
            scratch[g + k] = min(max(slope, ZERO - STEEPEST), STEEPEST)
    newton_step(weights, scratch, g)
    if state[LEARNED] % NEWTON_EVERY == 0:
        invert_h(weights)
    for k in range(EXPERTS):
        if state[BUCKET + k] >= 0:
            weights[A + k * BUCKETS + state[BUCKET + k]] += scratch[g + EXPERTS + k] * TRUST_RATE
    for n in range(ROWS_IN_FORCE):
        row = row_in_force(state, n)
        often = weights[row + EXPERTS]
        rate = TRUST_RATE * (ROW_LEAST + ROW_MORE / (ONE + often / ROW_OFTEN))
        for k in range(EXPERTS):
            if state[BUCKET + k] >= 0:
                weights[row + k] += scratch[g + EXPERTS + k] * rate
        weights[row + EXPERTS] = often + ONE


@kernel
def learn_guesses(weights, state, tape, q, token):
    """One step up the same gradient by the weights of the match, and of what followed each context last."""
    if state[GUESS] >= 0:
        hit = ONE if state[GUESS] == token else ZERO
        weights[M + state[MATCH_BUCKET]] += MATCH_RATE * (hit - tape[q + state[GUESS]])
    for k in range(1, CONTEXTS):
        if state[LATEST + k] >= 0:
            guess = state[LATEST + k] >> 4
            hit = ONE if guess == token else ZERO
            weights[weight_of_latest(state, k)] += LATEST_RATE * (hit - tape[q + guess])


@entry
def remember(
    memory: MemoryArrays, stream: Stream, report: F32, marked: U8, k: int, first: int, count: int, learn: bool
):
    """Score symbols `first` … `first + count - 1` by the mixture, learn from each, and mix for the one after it.

    A count of 0 only mixes for symbol `first`. Slots `first + 1` … of the tape hold the network's distributions
    already. Writes the surprisals to the stream's bits, and moves its position. Stops after a symbol if one of those
    marked may be among the k most probable next ones; returns how many symbols it took.
    report float32 [count, K, 2] or empty: for each symbol the bits that each expert would have paid, and its weight.
    marked uint8 [V] or empty.
    """
    table, changed, history, weights, state, scratch, entries, kinds = memory
    tape, tokens, bits, layout = stream.tape, stream.tokens, stream.bits, stream.layout
    C = layout[COLUMNS]
    logs, w = CONTEXTS * C, 2 * CONTEXTS * C + CONTEXTS
    if count == 0:
        set_contexts(state)
        mix_experts(table, weights, state, scratch, entries, tape, layout, first * layout[SLOT])
    for s in range(first, first + count):
        q = s * layout[SLOT] + layout[PREDICTION]
        token = tokens[s]
        bits[s] = ZERO - log2(tape[q + token])
        if report.size > 0:
            for k in range(EXPERTS):
                at = 2 * ((s - first) * EXPERTS + k)
                said = state[BUCKET + k] >= 0
                report[at] = scratch[logs + k * C + token] * f32(-1.44269504) if said else ZERO
                report[at + 1] = scratch[w + k]
        if learn:
            learn_trust(weights, state, scratch, tape, q, token, C)
            learn_guesses(weights, state, tape, q, token)
            learn_backing_off(weights, state, scratch, token, layout[VOCABULARY], C)
            learn_counts(table, changed, state, token)
        advance(state, kinds, token)
        set_contexts(state)
        for k in range(CONTEXTS):
            fetch(table, state[HASH + k])
        follow_match(history, state, token, learn)
        mix_experts(table, weights, state, scratch, entries, tape, layout, (s + 1) * layout[SLOT])
        next_q = q + layout[SLOT]
        if marked.size > 0 and may_be_among_best(tape, next_q, layout[VOCABULARY], marked, k):
            count = s + 1 - first
            break
    stream.position[FILLED] = first + count
    return count
