"""How well a window was predicted: it decides whether, and how fast, a stream learns from it. For one stream, B = 1."""

import numpy as np

from ..jit.decorators import entry
from .arrays import F32, F64, ZERO, Stream
from .descent import BITS, DECAY, NETWORK_BITS, begin_window
from .functions import log2
from .network import RECORD

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
