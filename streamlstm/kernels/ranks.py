"""Which symbols a distribution puts first."""

import numpy as np

from .jit import entry


@entry("f4[::1], i8, i8, i8, i4[::1], i4[::1], i4[::1], f4[::1]")
def rank_and_top(tape, at, stride, n_symbols, tokens, ranks, top_tokens, top_probabilities):
    """For the n = tokens.size records of distributions p_r [V] that begin at tape[at + r·stride]:

    ranks [n] int32            1 + how many symbols p_r gives more than tokens[r]
    top_tokens [n · k] int32   the k most probable tokens after it, from p_{r+1}, the first the most probable
    top_probabilities [n · k]  their probabilities
    Of equal probabilities the lower token comes first. p_n must follow the last record.
    """
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
