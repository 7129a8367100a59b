"""How the initial weights of a mixture are learned: by reading many texts, each with an empty memory.

At the beginning of a stream the mixture needs other weights than later on, and a stream is too short to learn them
there. So they are learned in advance: each text is read as a stream of its own, by a network that adapts and a memory
that is empty at first, and the mixture continues with the weights that it learned from the text before. The result is
the mean of the weights after each text, in which later texts count more: the last weights alone would suit the last
text.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..kernels.arrays import F32
from ..memory import layout
from ..memory.memory import Memory
from ..model import aligned_copy
from ..vocabulary import Tokens, Vocabulary
from .sources import KnownTokens
from .stream import TokenStream

PAGES_PER_SYMBOL = 32
"""A table with this many pages for each symbol is practically never full."""
MAX_USES = np.float32(100)
"""The rows of adjustments count as used at most this often, so that they still learn fast in a new stream."""


def learn_mixture(stream: TokenStream, vocabulary: Vocabulary, texts: Iterable[Tokens]) -> int:
    """See `StreamPredictor.learn_mixture`."""
    memory = stream.memory
    if memory is None or not memory.is_new:
        raise ValueError("the mixture is learned by a predictor with a memory that has not observed any symbols")
    learner = _Learner(stream, vocabulary)
    for text in texts:
        learner.read(text)
    if learner.n_symbols:
        memory.begin_with(learner.mean)
    return learner.n_symbols


class _Learner:
    """Reads texts with a copy of the network of a stream.

    n_symbols  how many symbols it has read
    """

    def __init__(self, stream: TokenStream, vocabulary: Vocabulary) -> None:
        self._layout, self._vocabulary, self._bits = stream.layout, vocabulary, stream.layout.config.memory_bits
        self._theta, self._optimizer = stream.weights.theta, stream.weights.optimizer.optimizer
        self._weights = self._new_memory(0).weights
        self._sum, self._n_summed = np.zeros(len(self._weights)), 0
        self.n_symbols = 0

    @property
    def mean(self) -> F32:
        """The weights that the mixture should begin with; there must have been symbols."""
        mean = (self._sum / self._n_summed).astype(np.float32)
        n_uses = mean[layout.uses_at(len(self._vocabulary)) :]
        np.minimum(n_uses, MAX_USES, out=n_uses)
        return mean

    def read(self, tokens: Tokens) -> None:
        """Read a text as a stream of its own."""
        memory = self._new_memory(len(tokens))
        memory.begin_with(self._weights)
        stream = TokenStream(self._layout, aligned_copy(self._theta), self._optimizer, memory)
        for _ in stream.steps(KnownTokens(tokens), len(tokens)):
            pass
        self._weights = memory.weights
        self.n_symbols += len(tokens)
        self._sum += self._weights * np.float64(self.n_symbols)
        self._n_summed += self.n_symbols

    def _new_memory(self, n_symbols: int) -> Memory:
        """An empty memory; its table is no larger than these symbols need, because to create it takes time."""
        bits = min(self._bits, max(10, (PAGES_PER_SYMBOL * n_symbols).bit_length()))
        return Memory(self._vocabulary, self._layout.columns, bits, trained=True)
