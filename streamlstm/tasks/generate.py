"""Text generation: symbols drawn from the predicted distributions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..kernels.arrays import F32
from ..kernels.jit import native
from ..kernels.ranks import apply_temperature
from ..model import generator
from ..predictor import StreamPredictor
from ..vocabulary import Symbols


def generate(
    predictor: StreamPredictor,
    length: int,
    prompt: Symbols = "",
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[str | bytes]:
    """Yield `length` symbols that continue `prompt`. The predictor does not change: a frozen fork reads them.

    temperature  below 1: more probable symbols are favoured; above 1: less; 0: always the most probable symbol
    top_k        draw from the k most probable symbols only; 0: from all
    top_p        draw from the smallest set of most probable symbols with this total probability; 1: from all
    seed         the same seed draws the same symbols on every machine

    A symbol is a character (str); with a byte vocabulary, a byte above 127 is `bytes` of length 1.
    Raises ValueError for a value out of its range, and for a prompt with a symbol that is not in the vocabulary.

    >>> predictor = StreamPredictor.pretrained()
    >>> bits = predictor.observe_many("one two three " * 9)
    >>> "".join(generate(predictor, 14, temperature=0))
    'one two three '
    """
    if length < 0:
        raise ValueError(f"length must be at least 0, not {length}")
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature must be a finite number of at least 0, not {temperature}")
    if top_k < 0:
        raise ValueError(f"top_k must be at least 0, not {top_k}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
    draw = _Draw(float(temperature), top_k, top_p, generator(seed))
    sampler = predictor.fork(learning=False)
    sampler.observe_many(prompt)
    return _symbols(sampler, length, draw)


def _symbols(sampler: StreamPredictor, length: int, draw: "_Draw") -> Iterator[str | bytes]:
    for _ in range(length):
        token = draw(sampler.predict())
        sampler.observe_token(token)
        yield sampler.vocabulary.symbol(token)


@dataclass(frozen=True, eq=False)
class _Draw:
    """Draws tokens from distributions; the options are those of `generate`."""

    temperature: float
    top_k: int
    top_p: float
    bits: np.random.PCG64

    def __call__(self, distribution: F32) -> int:
        p = distribution.astype(np.float64)
        order = np.argsort(-p, kind="stable")
        if self.temperature == 0:
            order = order[:1]
        else:
            native(apply_temperature)(p, self.temperature)
        cumulative = np.cumsum(p[order])
        kept = len(order) if self.top_k == 0 else min(self.top_k, len(order))
        kept = min(kept, int(np.searchsorted(cumulative, self.top_p * cumulative[-1])) + 1)
        uniform = (self.bits.random_raw() >> 11) * 2.0**-53
        choice = int(np.searchsorted(cumulative[:kept], uniform * cumulative[kept - 1], side="right"))
        return int(order[min(choice, kept - 1)])
