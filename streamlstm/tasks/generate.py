"""Text that a predictor would expect."""

from collections.abc import Iterator

import numpy as np

from ..kernels.arrays import F64
from ..kernels.jit import entry
from ..kernels.lanes import lane_maximum, splat
from ..kernels.network import exp, log2
from ..model import generator
from ..predictor import StreamPredictor
from ..vocabulary import Symbols


@entry
def sharpen(p: F64, power: float):
    """p[v] = (p[v] / max p)**power in place, float64 [V], by our own exp and log2: the same bits on every machine."""
    top = log2(np.float32(p.max()))
    for v in range(p.size):
        x = (log2(np.float32(p[v])) - top) * np.float32(0.69314718) * np.float32(power)
        p[v] = lane_maximum(exp(splat(x, 16)))


def generate(
    predictor: StreamPredictor,
    n: int,
    prompt: Symbols = "",
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[str | bytes]:
    """Yield n symbols that continue `prompt`, drawn from a frozen fork of the predictor, which itself does not change.

    temperature  below 1 sharper, above 1 flatter, 0 always the most probable symbol
    top_k        draw from the k most probable symbols only; 0: from all
    top_p        draw from the fewest symbols whose probabilities reach p only; 1: from all
    seed         the same seed draws the same text on every machine

    Raises ValueError for a value out of its range, or a prompt with a symbol that the vocabulary does not have.
    """
    if n < 0:
        raise ValueError(f"the number of symbols must be at least 0, not {n}")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be a number of at least 0, not {temperature}")
    if top_k < 0:
        raise ValueError(f"top_k must be at least 0, not {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
    bits = generator(seed)
    voice = predictor.fork(learning=False)
    voice.observe_many(prompt)
    return _draw(voice, n, temperature, top_k, top_p, bits)


def _draw(
    voice: StreamPredictor, n: int, temperature: float, top_k: int, top_p: float, bits: np.random.PCG64
) -> Iterator[str | bytes]:
    for _ in range(n):
        p = voice.predict().astype(np.float64)
        order = np.argsort(-p, kind="stable")
        if temperature == 0:
            order = order[:1]
        else:
            sharpen(p, min(1 / temperature, 1e6))
        chances = np.cumsum(p[order])
        kept = len(order) if top_k == 0 else min(top_k, len(order))
        kept = min(kept, int(np.searchsorted(chances, top_p * chances[-1])) + 1)
        uniform = (bits.random_raw() >> 11) * 2.0**-53
        choice = int(np.searchsorted(chances[:kept], uniform * chances[kept - 1], side="right"))
        symbol = voice.vocabulary.symbol(int(order[min(choice, kept - 1)]))
        voice.observe(symbol)
        yield symbol
