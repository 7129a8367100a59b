"""Which symbols a distribution puts first, and a distribution at another temperature."""

import numpy as np

from .arrays import F32, F64, I32, U8, Stream
from .jit import entry, kernel
from .lanes import lane_maximum, splat
from .network import PREDICTION, SLOT, VOCABULARY, exp, log2


@kernel
def may_be_among_best(tape, p, n_symbols, marked, k):
    """Whether fewer than k symbols of the distribution at tape[p] are more probable than the best marked one."""
    best = np.float32(-1.0)
    for v in range(n_symbols):
        if marked[v] and tape[p + v] > best:
            best = tape[p + v]
    n_better = 0
    for v in range(n_symbols):
        if tape[p + v] > best:
            n_better += 1
    return n_better < k


@entry
def count_to_marked(stream: Stream, first: int, count: int, marked: U8, k: int):
    """How many of `count` symbols pass, from slot `first` on, until a marked one may be among the k best; or count."""
    for n in range(1, count):
        p = (first + n) * stream.layout[SLOT] + stream.layout[PREDICTION]
        if may_be_among_best(stream.tape, p, stream.layout[VOCABULARY], marked, k):
            return n
    return count


@entry
def rank_and_top(stream: Stream, first: int, tokens: I32, ranks: I32, top_tokens: I32, top_probabilities: F32):
    """For the n = tokens.size distributions p_r [V] in the slots of the tape from `first` on:

    ranks [n] int32            1 + how many symbols p_r gives more than tokens[r]
    top_tokens [n · k] int32   the k most probable tokens after it, from p_{r+1}, the first the most probable
    top_probabilities [n · k]  their probabilities
    Of equal probabilities the lower token comes first. p_n must follow the last record.
    """
    tape, n_symbols, stride = stream.tape, stream.layout[VOCABULARY], stream.layout[SLOT]
    at = first * stride + stream.layout[PREDICTION]
    n = tokens.size
    k = top_tokens.size // max(n, 1)
    for r in range(n):
        p = at + r * stride
        token = tokens[r]
        rank = 1
        for v in range(n_symbols):
            if tape[p + v] > tape[p + token]:
                rank += 1
        ranks[r] = rank
        p += stride
        found = 0
        for v in range(n_symbols):
            x = tape[p + v]
            if found == k:
                if k == 0 or not x > top_probabilities[r * k + k - 1]:
                    continue
            else:
                found += 1
            place = r * k + found - 1
            while place > r * k and x > top_probabilities[place - 1]:
                top_probabilities[place] = top_probabilities[place - 1]
                top_tokens[place] = top_tokens[place - 1]
                place -= 1
            top_probabilities[place] = x
            top_tokens[place] = np.int32(v)


@entry
def apply_temperature(p: F64, temperature: float):
    """p[v] = (p[v] / max p)**(1 / temperature) in place, float64 [V], for a temperature above 0.

    It uses `exp` and `log2` of `network`, so that the bits are the same on every machine.
    """
    power = np.float32(min(1.0 / temperature, 1e6))
    top = log2(np.float32(p.max()))
    for v in range(p.size):
        x = (log2(np.float32(p[v])) - top) * np.float32(0.69314718) * power
        p[v] = lane_maximum(exp(splat(x, 16)))
