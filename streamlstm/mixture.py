"""The memory's mathematics: experts that count, and a mixture that learns whom to trust.

Fourteen contexts of the next symbol are looked up in the counts: the last 0 … 6 symbols (orders), and seven others
(extras). Each gives a distribution; so does the network. Their logarithms are added up with weights that depend on
how much each knows and on where in the text it is asked, and a softmax makes one distribution of them. Once the
symbol is known, the weights learn from it, and then the counts.

    V, C  as in `kernels`          K  experts: orders 1 … 6, the seven extras, and the network

history int32    [RING + HEADS]: the symbols seen, a ring; and where the last six symbols stood before, by their hash.
weights float32  The places below: A [K, BUCKETS], weights of each expert by what it knows; THETA [7, BUCKETS], what is
                 added to the logit of backing off; M [64], the weight of a match; B [ROWS + V, K], what is added
                 to the weights, from four of its rows: by field, by column, by how much is known, by the last symbol.
state   int64    The places below: of one stream, what the contexts are made of, and what was found for the next symbol.
scratch float32  [2·CONTEXTS·C + 48]: the contexts' distributions P, the experts' logarithms Λ (ln of each), λ and w.
folds   int32    [V]: a letter's own number, the same for upper and lower case; 0 for others; END_OF_LINE, SPACE.
"""

import numpy as np

from .counts import add, collect, combine, fetch
from .jit import entry, kernel
from .kernels import COLUMNS, PREDICTION, SLOT, VOCABULARY, exp, ln, log2, softmax
from .lanes import lane_maximum, lane_sum, load, splat, store

END_OF_LINE, SPACE = -1, -2

ORDERS, CONTEXTS, EXPERTS = 7, 14, 14
NETWORK = EXPERTS - 1
BUCKETS = 168

A = 0
THETA = A + EXPERTS * BUCKETS
M = THETA + ORDERS * BUCKETS
B = M + 64

FIELDS, PLACES = 64, 256
BY_FIELD = 0
BY_PLACE = BY_FIELD + FIELDS
BY_KNOWN = BY_PLACE + PLACES
BY_LAST = BY_KNOWN + ORDERS * (CONTEXTS - ORDERS + 1)
ROWS = BY_LAST + 1

RING, HEADS, RECENT = 2**20, 2**18, 256
MATCH_ORDER, LONGEST_CHECKED = 6, 32

# Places in `state`: symbols seen, symbols learned from; hashes of the word so far and of the word before; where this
# line and the line before began; the match: place in the ring (or -1), length, the symbol it expects (or -1), its
# bucket; how many spaces the line has, and the hash of what follows the last; per context: hash, distinct symbols,
# sum of counts; per expert: its bucket; the rows of B; per field: the hash of what last stood there; the last symbols,
# a ring.
SEEN, LEARNED, WORD, WORD_BEFORE, LINE, LINE_BEFORE, MATCH, LENGTH, GUESS, MATCH_BUCKET, FIELD, PIECE = range(12)
HASH = 12
DISTINCT = HASH + CONTEXTS
TOTAL = DISTINCT + CONTEXTS
BUCKET = TOTAL + CONTEXTS
ROW = BUCKET + EXPERTS
STOOD = ROW + 4
LAST = STOOD + FIELDS
STATE = LAST + RECENT

f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)
DISCOUNT = f32(0.6)
FLOOR = f32(1e-7)  # the least probability of a symbol
TINY = f32(1e-8)  # added before a logarithm is taken
ORDER_LIMIT, EXTRA_LIMIT = 30000, 255
FAMILY = 2**40  # hashes of contexts of different kinds begin at multiples of this, beyond what symbols reach


@kernel
def recent(state, back):
    """The symbol `back` symbols ago, 1 for the last; -1 before the first."""
    return state[LAST + (state[SEEN] - back) % RECENT]


@kernel
def set_contexts(state):
    """The hashes of the contexts of the next symbol."""
    h = FAMILY
    state[HASH] = h
    for order in range(1, ORDERS):
        h = combine(h, recent(state, order))
        state[HASH + order] = h
    above = state[LINE_BEFORE] + state[SEEN] - state[LINE]
    back = state[SEEN] - above
    over = recent(state, back) if above < state[LINE] and back <= RECENT else -1
    state[HASH + 7] = combine(combine(2 * FAMILY, state[WORD]), state[WORD_BEFORE])
    state[HASH + 8] = combine(combine(combine(3 * FAMILY, recent(state, 2)), recent(state, 3)), over)
    state[HASH + 9] = combine(combine(4 * FAMILY, over), recent(state, 1))
    state[HASH + 10] = combine(5 * FAMILY, state[WORD])
    state[HASH + 11] = combine(combine(6 * FAMILY, state[FIELD]), state[PIECE])
    stood = state[STOOD + min(state[FIELD], FIELDS - 1)]
    state[HASH + 12] = combine(combine(combine(7 * FAMILY, state[FIELD]), stood), state[PIECE])
    state[HASH + 13] = combine(combine(8 * FAMILY, state[SEEN] - state[LINE]), recent(state, 1))


@kernel
def advance(state, folds, token):
    """The symbol becomes the last one; words, pieces between spaces, and lines go on or begin."""
    state[LAST + state[SEEN] % RECENT] = token
    state[SEEN] += 1
    if folds[token] > 0:
        state[WORD] = combine(state[WORD], folds[token])
    elif state[WORD] != 0:
        state[WORD_BEFORE] = state[WORD]
        state[WORD] = 0
    if folds[token] >= 0:
        state[PIECE] = combine(state[PIECE], token)
    else:
        state[STOOD + min(state[FIELD], FIELDS - 1)] = state[PIECE]
        state[PIECE] = 0
        state[FIELD] += 1
    if folds[token] == END_OF_LINE:
        state[FIELD] = 0
        state[LINE_BEFORE] = state[LINE]
        state[LINE] = state[SEEN]


@kernel
def follow_match(history, state, token, learn):
    """The match goes on if it expected the symbol; else the last place where the last six symbols stood is tried."""
    if learn:
        history[state[LEARNED] % RING] = token
    if state[GUESS] == token:
        state[MATCH] = (state[MATCH] + 1) % RING
        state[LENGTH] += 1
    else:
        state[MATCH] = -1
    h = combine(9 * FAMILY, state[HASH + MATCH_ORDER])
    head = RING + (h >> 31) % HEADS
    if state[MATCH] < 0 and history[head] > 0:
        at, length = history[head] - 1, 0
        while length < LONGEST_CHECKED and history[(at - 1 - length) % RING] == recent(state, length + 1):
            length += 1
        if length >= MATCH_ORDER:
            state[MATCH], state[LENGTH] = at, length
    if learn:
        state[LEARNED] += 1
        history[head] = state[LEARNED] % RING + 1
    state[GUESS] = history[state[MATCH]] if state[MATCH] >= 0 else -1


@kernel
def magnitude(n, most):
    """How many binary digits n has, at most `most`."""
    digits = 0
    while n > 0 and digits < most:
        n >>= 1
        digits += 1
    return digits


@kernel
def bucket_of(distinct, total):
    """What a context knows, in one number below 60."""
    return magnitude(total, 9) * 6 + magnitude(distinct, 5)


@kernel
def add_entries(scratch, row, entries, distinct, share):
    """P += share·(count - D) for each entry."""
    for j in range(distinct):
        scratch[row + (entries[j] & 0xFFFF)] += share * (f32(entries[j] >> 16) - DISCOUNT)


@kernel
def back_off(scratch, row, below, kept, entries, distinct, total, C):
    """P = λ·P_below + (1 - λ)·(count - D) / (total - distinct·D), with λ = kept."""
    for j in range(0, C, 128):
        store(scratch, row + j, load(scratch, below + j, 128) * kept)
    share = (ONE - kept) / (f32(total) - f32(distinct) * DISCOUNT)
    add_entries(scratch, row, entries, distinct, share)


@kernel
def copy_scratch(scratch, row, below, C):
    """P = P_below."""
    for j in range(0, C, 128):
        store(scratch, row + j, load(scratch, below + j, 128))


@kernel
def expert_distributions(table, weights, state, scratch, entries, V, C):
    """P of each context: orders blend from 0 up to 6, each extra with order 6.

    With x = distinct·D / total, an order backs off with λ = σ(logit x + θ) = x / (x + (1 - x)·e**-θ).
    """
    lam = 2 * CONTEXTS * C
    for k in range(CONTEXTS):
        theta = ZERO
        distinct, total = collect(table, state[HASH + k], entries)
        state[DISTINCT + k], state[TOTAL + k] = distinct, total
        below = (k - 1 if k < ORDERS else ORDERS - 1) * C
        if k == 0:
            below = 0
            for j in range(0, C, 128):
                store(scratch, j, splat(ONE / f32(V), 128))
        if distinct == 0:
            scratch[lam + k] = ONE
            if k > 0:
                copy_scratch(scratch, k * C, below, C)
            continue
        x = f32(distinct) * DISCOUNT / f32(total)
        if k < ORDERS:
            theta = weights[THETA + k * BUCKETS + bucket_of(distinct, total)]
            odds = lane_maximum(exp(splat(ZERO - theta, 16)))
            kept = x / (x + (ONE - x) * odds)
        else:
            kept = min(x, f32(0.95))
        scratch[lam + k] = kept
        back_off(scratch, k * C, below, kept, entries, distinct, total, C)


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
        state[BUCKET + ORDERS - 2] = 60 + highest
    nats = entropy(scratch, (CONTEXTS + NETWORK) * C, tape, at, C)
    state[BUCKET + NETWORK] = (highest * 2 + sure) * 12 + max(0, min(11, int(nats * f32(3.0))))
    length = state[LENGTH]
    state[MATCH_BUCKET] = (length if length < 16 else min(16 + (length - 16) // 8, 31)) * 2 + sure
    state[ROW] = BY_FIELD + min(state[FIELD], FIELDS - 1)
    state[ROW + 1] = BY_PLACE + min(state[SEEN] - state[LINE], PLACES - 1)
    state[ROW + 2] = BY_KNOWN + highest * (CONTEXTS - ORDERS + 1) + extras
    state[ROW + 3] = BY_LAST + 1 + recent(state, 1)


@kernel
def row_of_weights(state, n, k):
    """Where row n of the rows of B that are in force has its weight of expert k."""
    return B + state[ROW + n] * EXPERTS + k


@kernel
def mix_experts(table, weights, state, scratch, entries, tape, layout, at):
    """Write the distribution of the next symbol into the record at tape[at], from the network's there and the counts.

    z = Σ_k (A[k, bucket] + Σ_row B[row, k])·Λ_k, plus M at the symbol that a match expects; p = softmax(z), at least
    1e-7. entries: int32 [V], room for one context's counts.
    """
    V, C = layout[VOCABULARY], layout[COLUMNS]
    logs, w, z = CONTEXTS * C, 2 * CONTEXTS * C + 16, at + layout[PREDICTION]
    expert_distributions(table, weights, state, scratch, entries, V, C)
    for k in range(1, CONTEXTS):
        if state[DISTINCT + k] > 0 or k == ORDERS - 1:
            store_logarithm(scratch, logs + (k - 1) * C, scratch, k * C, C)
    store_logarithm(scratch, logs + NETWORK * C, tape, at, C)
    set_buckets(state, scratch, tape, at, C)
    for j in range(0, C, 128):
        store(tape, z + j, splat(ZERO, 128))
    for k in range(EXPERTS):
        scratch[w + k] = ZERO
        if state[BUCKET + k] >= 0:
            weight = weights[A + k * BUCKETS + state[BUCKET + k]]
            for n in range(4):
                weight += weights[row_of_weights(state, n, k)]
            scratch[w + k] = weight
            for j in range(0, C, 128):
                store(tape, z + j, load(tape, z + j, 128) + load(scratch, logs + k * C + j, 128) * weight)
    if state[GUESS] >= 0:
        tape[z + state[GUESS]] += weights[M + state[MATCH_BUCKET]]
    softmax(tape, z, V, C)
    for v in range(V):
        tape[z + v] = tape[z + v] * (ONE - f32(V) * FLOOR) + FLOOR


@entry("i4[::1], f4[::1], i8[::1], f4[::1], i4[::1], f4[::1], i8[::1], i8")
def mix(table, weights, state, scratch, entries, tape, layout, at):
    """`mix_experts` for the contexts of the next symbol, which are set first."""
    set_contexts(state)
    mix_experts(table, weights, state, scratch, entries, tape, layout, at)


@kernel
def learn_weights(weights, state, scratch, tape, q, token, C):
    """One step up the gradient of ln p(token), by the weights of the mixture and by the logits of backing off."""
    logs, lam = CONTEXTS * C, 2 * CONTEXTS * C
    n = f32(state[LEARNED])
    uniform = ONE / f32((weights.size - B) // EXPERTS - ROWS)
    rate = f32(0.0007) * (ONE + ONE / (ONE + n / f32(500.0)))
    for k in range(EXPERTS):
        if state[BUCKET + k] >= 0:
            total = splat(ZERO, 128)
            for j in range(0, C, 128):
                total = total + load(tape, q + j, 128) * load(scratch, logs + k * C + j, 128)
            g = scratch[logs + k * C + token] - lane_sum(total)
            g = min(max(g, f32(-6.0)), f32(6.0))
            weights[A + k * BUCKETS + state[BUCKET + k]] += rate * g
            for row in range(4):
                weights[row_of_weights(state, row, k)] += rate * g
    if state[GUESS] >= 0:
        hit = ONE if state[GUESS] == token else ZERO
        weights[M + state[MATCH_BUCKET]] += f32(0.05) * (hit - tape[q + state[GUESS]])
    passed = ONE / max(scratch[(ORDERS - 1) * C + token], f32(1e-30))
    for order in range(ORDERS - 1, -1, -1):
        if state[DISTINCT + order] > 0:
            below = scratch[(order - 1) * C + token] if order > 0 else uniform
            passed = passed * scratch[lam + order]
            g = passed * (below - scratch[order * C + token])
            place = THETA + order * BUCKETS + bucket_of(state[DISTINCT + order], state[TOTAL + order])
            weights[place] += f32(0.05) * min(max(g, f32(-2.0)), f32(2.0))


@kernel
def learn_counts(table, changed, state, token):
    """Count the symbol: in the orders from 6 down to the first that knew it, and in each extra."""
    for order in range(ORDERS - 1, -1, -1):
        if add(table, changed, state[HASH + order], token, ORDER_LIMIT):
            break
    for k in range(ORDERS, CONTEXTS):
        add(table, changed, state[HASH + k], token, EXTRA_LIMIT)


@entry(
    "i4[::1], i4[::1], i4[::1], f4[::1], i8[::1], f4[::1], i4[::1], i4[::1], f4[::1], i4[::1], f4[::1], f4[::1],"
    "i8[::1], i8, i8, b1"
)
def remember(
    table,
    changed,
    history,
    weights,
    state,
    scratch,
    entries,
    folds,
    tape,
    tokens,
    bits,
    shares,
    layout,
    first,
    count,
    learn,
):
    """Score symbols `first` … `first + count - 1` by the mixture, learn from each, and mix for the one after it.

    Slots `first + 1` … of the tape hold the network's distributions already. bits float32 [T + 1]: the surprisals.
    shares float32 [count, K, 2] or empty: for each symbol the bits that each expert would have paid, and its weight.
    """
    C = layout[COLUMNS]
    logs, w = CONTEXTS * C, 2 * CONTEXTS * C + 16
    for s in range(first, first + count):
        q = s * layout[SLOT] + layout[PREDICTION]
        token = tokens[s]
        bits[s] = ZERO - log2(tape[q + token])
        if shares.size > 0:
            for k in range(EXPERTS):
                at = 2 * ((s - first) * EXPERTS + k)
                said = state[BUCKET + k] >= 0
                shares[at] = scratch[logs + k * C + token] * f32(-1.44269504) if said else ZERO
                shares[at + 1] = scratch[w + k]
        if learn:
            learn_weights(weights, state, scratch, tape, q, token, C)
            learn_counts(table, changed, state, token)
        advance(state, folds, token)
        set_contexts(state)
        for k in range(CONTEXTS):
            fetch(table, state[HASH + k])
        follow_match(history, state, token, learn)
        mix_experts(table, weights, state, scratch, entries, tape, layout, (s + 1) * layout[SLOT])
