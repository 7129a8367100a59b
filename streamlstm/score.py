"""How surprising a text is to a predictor."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .predictor import StreamPredictor
from .vocabulary import Symbols


@dataclass(frozen=True)
class Score:
    """The surprisal of a text: its symbols, their total in bits, and the mean."""

    n_symbols: int
    bits: float

    @property
    def bits_per_symbol(self) -> float:
        """The mean surprisal; 0 for an empty text."""
        return self.bits / self.n_symbols if self.n_symbols else 0.0


def score(predictor: StreamPredictor, text: Iterable[Symbols]) -> Score:
    """Observe the parts of a text one after the other and add up their surprisals.

    >>> from streamlstm import StreamPredictor
    >>> score(StreamPredictor(), ["a"]).bits
    8.0
    """
    n_symbols, total = 0, 0.0
    for part in text:
        bits = predictor.observe_many(part)
        n_symbols += len(bits)
        total += float(bits.sum(dtype=np.float64))
    return Score(n_symbols, total)
