"""The experts: what each context of the next symbol has seen, as a distribution.

Sixteen contexts are looked up in the counts: the last 0 … 6 symbols (orders), and nine others (extras). The orders
blend from 0 up to 6, each with the one below, by as much as it has learned to trust itself; each extra blends with
order 6.

weights float32  first THETA [7, COUNT_BUCKETS], what is added to the logit of backing off; the rest is of `mixture`
scratch float32  as in `mixture`: the contexts' distributions P [CONTEXTS, C] are the first; entries int32 [V], room for
                 one context's counts
state            as in `contexts`; table, changed  as in `counts`
"""

import numpy as np

from ..kernels.jit import kernel
from ..kernels.lanes import lane_maximum, load, splat, store
from ..kernels.network import exp
from .contexts import CONTEXTS, DISTINCT, HASH, LATEST, ORDERS, TOTAL
from .counts import add, collect

THETA, COUNT_BUCKETS = 0, 60

f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)
DISCOUNT = f32(0.6)
ORDER_LIMIT, EXTRA_LIMIT = 30000, 255


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
    """What a context knows, in one number below COUNT_BUCKETS."""
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
    """P and λ of each context, and in the state what it knows: orders blend from 0 up to 6, each extra with order 6.

    With x = distinct·D / total, an order backs off with λ = σ(logit x + θ) = x / (x + (1 - x)·e**-θ).
    """
    lam = 2 * CONTEXTS * C
    for j in range(0, C, 128):
        store(scratch, j, splat(ONE / f32(V), 128))
    for k in range(CONTEXTS):
        distinct, total, latest = collect(table, state[HASH + k], entries)
        state[DISTINCT + k], state[TOTAL + k], state[LATEST + k] = distinct, total, latest
        below = max(min(k, ORDERS) - 1, 0) * C
        if distinct == 0:
            scratch[lam + k] = ONE
            copy_scratch(scratch, k * C, below, C)
            continue
        x = f32(distinct) * DISCOUNT / f32(total)
        if k < ORDERS:
            theta = weights[THETA + k * COUNT_BUCKETS + bucket_of(distinct, total)]
            odds = lane_maximum(exp(splat(ZERO - theta, 16)))
            kept = x / (x + (ONE - x) * odds)
        else:
            kept = min(x, f32(0.95))
        scratch[lam + k] = kept
        back_off(scratch, k * C, below, kept, entries, distinct, total, C)


@kernel
def learn_backing_off(weights, state, scratch, token, V, C):
    """One step up the gradient of ln P(token) of order 6, by the logits of backing off."""
    lam = 2 * CONTEXTS * C
    passed = ONE / max(scratch[(ORDERS - 1) * C + token], f32(1e-30))
    for order in range(ORDERS - 1, -1, -1):
        if state[DISTINCT + order] > 0:
            below = scratch[(order - 1) * C + token] if order > 0 else ONE / f32(V)
            passed = passed * scratch[lam + order]
            g = passed * (below - scratch[order * C + token])
            place = THETA + order * COUNT_BUCKETS + bucket_of(state[DISTINCT + order], state[TOTAL + order])
            weights[place] += f32(0.05) * min(max(g, f32(-2.0)), f32(2.0))


@kernel
def learn_counts(table, changed, state, token):
    """Count the symbol: in the orders from 6 down to the first that knew it, and in each extra."""
    for order in range(ORDERS - 1, -1, -1):
        if add(table, changed, state[HASH + order], token, ORDER_LIMIT):
            break
    for k in range(ORDERS, CONTEXTS):
        add(table, changed, state[HASH + k], token, EXTRA_LIMIT)
