"""What is asked of distributions: ranks, the most probable symbols, temperature, surprisals and their sums.

How well a window was predicted decides whether, and how fast, a stream learns from it.
"""

import numpy as np

from ..jit.decorators import entry, kernel
from ..jit.intrinsics import lane_maximum, splat
from .arrays import F32, F64, I32, ZERO, Stream
from .descent import BITS, DECAY, NETWORK_BITS, begin_window
from .functions import exp, log2
from .network import PREDICTION, RECORD, SLOT, VOCABULARY


@kernel
def n_above(tape, p, n_symbols, x):
    """The number of symbols whose probability in the distribution at tape[p] is above x."""
    n = 0
    for v in range(n_symbols):
        if tape[p + v] > x:
            n += 1
    return n


@kernel
def may_be_among_best(tape, p, n_symbols, marked, k):
    """Whether fewer than k symbols of the distribution at tape[p] are more probable than all marked ones."""
    largest = np.float32(-1.0)
    for v in range(n_symbols):
        if marked[v] and tape[p + v] > largest:
            largest = tape[p + v]
    return n_above(tape, p, n_symbols, largest) < k


@kernel
def insert_top(stream, p, top_tokens, top_probabilities, start, k):
    """Sort the k most probable symbols of the distribution at tape[p] into top_*[start : start + k]."""
    tape, found = stream.tape, 0
    for v in range(stream.layout[VOCABULARY]):
        x = tape[p + v]
        if found == k:
            if k == 0 or not x > top_probabilities[start + k - 1]:
                continue
        else:
            found += 1
        at = start + found - 1
        while at > start and x > top_probabilities[at - 1]:
            top_probabilities[at] = top_probabilities[at - 1]
            top_tokens[at] = top_tokens[at - 1]
            at -= 1
        top_probabilities[at] = x
        top_tokens[at] = np.int32(v)


@entry
def rank_and_top(stream: Stream, first: int, tokens: I32, ranks: I32, top_tokens: I32, top_probabilities: F32):
    """Ranks and most probable symbols, from the distributions p_0 … p_n in the n + 1 slots from `first` on.

    tokens             int32 [n]
    ranks              int32 [n], written: 1 + the number of symbols that p_r gives a higher probability than tokens[r]
    top_tokens         int32 [n · k], written: the k most probable symbols of p_{r+1}, the most probable first
    top_probabilities  float32 [n · k], written: their probabilities

    Of equal probabilities the lower token comes first.
    """
    tape, layout, n = stream.tape, stream.layout, tokens.size
    k = top_tokens.size // max(n, 1)
    for r in range(n):
        p = (first + r) * layout[SLOT] + layout[PREDICTION]
        ranks[r] = 1 + n_above(tape, p, layout[VOCABULARY], tape[p + tokens[r]])
        insert_top(stream, p + layout[SLOT], top_tokens, top_probabilities, r * k, k)


@entry
def apply_temperature(p: F64, temperature: float):
    """p[v] = (p[v] / max p)**(1 / temperature) in place, float64 [V], for a temperature above 0.

    It uses `exp` and `log2` of `network`, so that the bits are the same on every machine.
    """
    power = np.float32(min(1.0 / temperature, 1e6))
    largest = p[0]
    for v in range(1, p.size):
        largest = max(largest, p[v])
    top = log2(np.float32(largest))
    for v in range(p.size):
        x = (log2(np.float32(p[v])) - top) * np.float32(0.69314718) * power
        p[v] = lane_maximum(exp(splat(x, 16)))


@entry
def surprisals(p: F32, bits: F32):
    """bits[v] = -log2 p[v], float32 [V]: what `observe` returns for each symbol."""
    for v in range(p.size):
        bits[v] = ZERO - log2(p[v])


f32 = np.float32


@entry
def skip(stream: Stream, below: float, token: int):
    """Begin a new window without learning from this one, if its mean surprisal is below `below` bits.

    The window of T symbols is full; the new one begins with the next symbol, `token`. Returns whether it did.
    """
    T = stream.tokens.size - 1
    total = ZERO
    for s in range(T):
        total += stream.bits[s]
    if not total < f32(below) * f32(T):
        return False
    begin_window(stream, T, token)
    return True


@entry
def surprisal_ratio(stream: Stream, hyper: F32, progress: F64):
    """The recent surprisal as a fraction of what the network alone gives: Σ BITS / Σ NETWORK_BITS.

    Both sums decay by DECAY per update. Writes the surprisals of this window, which is full, to hyper; `descend` adds
    them to the sums in progress. The first symbol does not count: its p may be that of the weights before the last
    update, and a loaded predictor has that of the present ones.
    """
    tape, tokens, record = stream.tape, stream.tokens, stream.layout[RECORD]
    by_network = by_mixture = ZERO
    for s in range(1, tokens.size - 1):
        by_network -= log2(tape[s * record + tokens[s]])
        by_mixture += stream.bits[s]
    hyper[NETWORK_BITS], hyper[BITS] = by_network, by_mixture
    return (DECAY * progress[6] + by_mixture) / (DECAY * progress[5] + by_network)
