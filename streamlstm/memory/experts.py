"""The distributions of the contexts: what followed each of them before, by absolute discounting with back-off.

Each order blends with the order below it, from 0 up to 6, and each extra blends with order 6. The back-off weight λ of
an order is learned; an extra's is that of absolute discounting (Ney et al. 1994).

Where `weights`, `state` and `scratch` hold what is used here: see `layout`.
"""

import numpy as np

from ..jit.decorators import kernel
from ..jit.intrinsics import lane_maximum, lane_sum, load, splat, store
from ..kernels.functions import exp, ln
from .counts import MAX_ENTRIES, MOST_COUNTED, add, collect, is_admitted, n_pages_to_write
from .layout import (
    BACKOFF,
    BACKOFF_LOGITS,
    CONTEXT_HASH,
    COUNT_BUCKETS,
    DISTINCT,
    LATEST,
    LATEST_BUCKETS,
    LATEST_WEIGHTS,
    LONGEST_ORDER,
    N_CONTEXTS,
    N_LEARNED,
    N_MATCHES,
    N_ORDERS,
    NETWORK,
    TOTAL,
    distribution_at,
    latest_run,
    logarithms_at,
)
from .overlay import IS_FULL, may_grow, n_free

f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)
DISCOUNT = f32(0.6)
"""Subtracted from each count."""
MAX_BACKOFF = f32(0.95)
"""Of an extra."""
BACKOFF_RATE, MAX_SLOPE = f32(0.05), f32(2.0)
TINY = f32(1e-8)
"""Added to a probability before its logarithm is taken."""
ORDER_LIMIT, EXTRA_LIMIT = MOST_COUNTED, 255
"""Counts are halved when one of them reaches this."""


@kernel
def bit_length(n, most):
    """The number of binary digits of n, at most `most`."""
    digits = 0
    while n > 0 and digits < most:
        n >>= 1
        digits += 1
    return digits


@kernel
def count_bucket(distinct, total):
    """How much is known about a context, as one number below COUNT_BUCKETS."""
    return bit_length(total, 9) * 6 + bit_length(distinct, 5)


@kernel
def backoff_logit_at(state, order):
    """Where the number lies in `weights` that is added to the logit of an order's back-off weight."""
    return BACKOFF_LOGITS + order * COUNT_BUCKETS + count_bucket(state[DISTINCT + order], state[TOTAL + order])


@kernel
def latest_weight_at(state, context):
    """Where the weight of a context's latest token lies: by its run, and by how many tokens followed the context."""
    bucket = latest_run(state, context) * 6 + bit_length(state[DISTINCT + context], 5)
    return LATEST_WEIGHTS + (context - 1) * LATEST_BUCKETS + bucket


@kernel
def backoff_weight(weights, state, context):
    """λ of a context; 1 if it has no counts.

    With x = distinct·DISCOUNT / total, that of an order is σ(logit x + θ) = x / (x + (1 - x)·e**-θ), where θ is
    learned.
    """
    if state[DISTINCT + context] == 0:
        return ONE
    x = f32(state[DISTINCT + context]) * DISCOUNT / f32(state[TOTAL + context])
    if context < N_ORDERS:
        theta = weights[backoff_logit_at(state, context)]
        odds = lane_maximum(exp(splat(ZERO - theta, 16)))
        return x / (x + (ONE - x) * odds)
    return min(x, MAX_BACKOFF)


@kernel
def blend(scratch, context, below, entries, distinct, total, C):
    """P = λ·P_below + (1 - λ)·(count - DISCOUNT) / (total - distinct·DISCOUNT); P_below if there are no counts."""
    P, backoff = distribution_at(context, C), scratch[BACKOFF + context]
    for j in range(0, C, 128):
        store(scratch, P + j, load(scratch, below + j, 128) * backoff)
    scale = (ONE - backoff) / (f32(total) - f32(distinct) * DISCOUNT)
    for j in range(distinct):
        scratch[P + (entries[j] & 0xFFFF)] += scale * (f32(entries[j] >> 16) - DISCOUNT)


@kernel
def store_logarithms(scratch, expert, source, p, C):
    """Write ln(p + TINY) as the logarithms of an expert; p begins at source[p]."""
    logs = logarithms_at(expert, C)
    for j in range(0, C, 128):
        store(scratch, logs + j, ln(load(source, p + j, 128) + TINY))


@kernel
def network_entropy(scratch, tape, p, C):
    """-Σ p·ln p of the network's distribution, in nats."""
    logs = logarithms_at(NETWORK, C)
    total = splat(ZERO, 128)
    for j in range(0, C, 128):
        total = total + load(tape, p + j, 128) * load(scratch, logs + j, 128)
    return ZERO - lane_sum(total)


@kernel
def set_distributions(memory, V, C):
    """Look up all contexts, and write the distribution and the back-off weight of each."""
    table, overlay, entries = memory.table, memory.overlay, memory.entries
    weights, state, scratch = memory.weights, memory.state, memory.scratch
    for j in range(0, C, 128):
        store(scratch, distribution_at(0, C) + j, splat(ONE / f32(V), 128))
    for context in range(N_CONTEXTS):
        h = state[CONTEXT_HASH + context]
        known = collect(table, None, h, entries) if overlay.size == 0 else collect(table, overlay, h, entries)
        distinct, total, latest = known
        state[DISTINCT + context], state[TOTAL + context], state[LATEST + context] = distinct, total, latest
        below = distribution_at(max(min(context, N_ORDERS) - 1, 0), C)
        scratch[BACKOFF + context] = backoff_weight(weights, state, context)
        blend(scratch, context, below, entries, distinct, total, C)


@kernel
def update_backoff(memory, token, V, C):
    """One gradient step of the back-off logits, up the log-likelihood of the token under order 6."""
    weights, state, scratch = memory.weights, memory.state, memory.scratch
    slope = ONE / max(scratch[distribution_at(LONGEST_ORDER, C) + token], f32(1e-30))
    for order in range(LONGEST_ORDER, -1, -1):
        if state[DISTINCT + order] > 0:
            below = scratch[distribution_at(order - 1, C) + token] if order > 0 else ONE / f32(V)
            slope = slope * scratch[BACKOFF + order]
            g = slope * (below - scratch[distribution_at(order, C) + token])
            weights[backoff_logit_at(state, order)] += BACKOFF_RATE * min(max(g, ZERO - MAX_SLOPE), MAX_SLOPE)


@kernel
def has_space(memory):
    """Whether one more symbol can be counted without a larger overlay; if not, the overlay is marked as full."""
    overlay, state = memory.overlay, memory.state
    if overlay.size == 0 or not may_grow(overlay, state[N_LEARNED]):
        return True
    others = 1 + N_MATCHES  # pages of the history
    if n_free(overlay) >= N_CONTEXTS * (memory.entries.size // MAX_ENTRIES + 4) + others:
        return True
    n_pages = others
    for context in range(N_CONTEXTS):
        n_pages += n_pages_to_write(memory.table, overlay, state[CONTEXT_HASH + context])
    overlay[IS_FULL] = 1 if n_pages > n_free(overlay) else 0
    return overlay[IS_FULL] == 0


@kernel
def count(memory, h, token, limit):
    """Count a token in the context h; see `counts.add`."""
    table, overlay = memory.table, memory.overlay
    if overlay.size == 0:
        return add(table, None, h, token, limit)
    if not is_admitted(table, overlay, h, memory.state[N_LEARNED]):
        return False
    return add(table, overlay, h, token, limit)


@kernel
def update_counts(memory, token):
    """Count the token: in the orders from 6 down to the first that had counted it before, and in each extra."""
    state = memory.state
    order, is_new = LONGEST_ORDER, True
    while is_new and order >= 0:
        is_new = not count(memory, state[CONTEXT_HASH + order], token, ORDER_LIMIT)
        order -= 1
    for context in range(N_ORDERS, N_CONTEXTS):
        count(memory, state[CONTEXT_HASH + context], token, EXTRA_LIMIT)
