"""A trace: what was predicted at each symbol of a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..jit.decorators import native
from ..kernels import distribution as ranks
from ..kernels.arrays import F32, I32, Stream
from ..kernels.network import PREDICTION, RECORD, VOCABULARY
from ..memory.memory import REPORT
from ..vocabulary import Tokens


@dataclass(eq=False, slots=True)
class Step:
    """A run of tokens that a predictor has just observed.

    start   index of the first of them among the tokens given to `StreamPredictor.steps`
    count   how many
    stream  the arrays that hold the distributions and surprisals; valid until the next step
    first   the slot of the tape with the distribution that was held before the first of them
    """

    start: int
    count: int
    stream: Stream
    first: int

    @property
    def bits(self) -> F32:
        """Their surprisals in bits, float32 [count]; a view."""
        return self.stream.bits[self.first : self.first + self.count]

    @property
    def tokens(self) -> Tokens:
        """The tokens themselves, int32 [count]; a view."""
        return self.stream.tokens[self.first : self.first + self.count]

    @property
    def distributions(self) -> F32:
        """The distribution before each of them and the one after the last, float32 [count + 1, V]; a view."""
        record, n_symbols, column = (self.stream.layout.item(at) for at in (RECORD, VOCABULARY, PREDICTION))
        records = self.stream.tape.reshape(-1, record)[self.first : self.first + self.count + 1]
        return records[:, column : column + n_symbols]


@dataclass(frozen=True, eq=False)
class Trace:
    """What was predicted at each of n symbols, with the k most probable symbols after each.

    tokens              int32 [n]
    bits                float32 [n], the surprisal of each, scored before learning
    ranks               int32 [n], 1 for the symbol that was the most probable
    next_tokens         int32 [n, k], the most probable tokens after it, the most probable first
    next_probabilities  float32 [n, k]
    experts             float32 [n, K, 2] if asked for: for each of the K `EXPERTS` of the memory, the surprisal that it
                        alone would have given, and the weight that it had (0 and 0 where it was silent)
    """

    tokens: Tokens
    bits: F32
    ranks: I32
    next_tokens: I32
    next_probabilities: F32
    experts: F32 | None = None


class TraceRecorder:
    """Collects a trace of tokens step by step.

    tokens   int32 [n], those that are observed
    k        how many of the next symbols to record
    explain  whether to record what each expert of the memory predicted
    """

    def __init__(self, tokens: Tokens, k: int, explain: bool = False) -> None:
        n = len(tokens)
        self._tokens, self._explain = tokens, explain
        self._bits, self._ranks = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.int32)
        self.next_tokens = np.empty((n, k), dtype=np.int32)
        self._next_probabilities = np.empty((n, k), dtype=np.float32)
        self.report = np.zeros(n * REPORT if explain else 0, dtype=np.float32)

    def add(self, step: Step) -> None:
        """Record a step of `StreamPredictor.steps`."""
        steps = slice(step.start, step.start + step.count)
        self._bits[steps] = step.bits
        native(ranks.rank_and_top)(
            step.stream,
            step.first,
            self._tokens[steps],
            self._ranks[steps],
            self.next_tokens[steps].reshape(-1),
            self._next_probabilities[steps].reshape(-1),
        )

    def trace(self) -> Trace:
        """The trace of all steps."""
        experts = self.report.reshape(len(self._tokens), REPORT // 2, 2) if self._explain else None
        return Trace(self._tokens, self._bits, self._ranks, self.next_tokens, self._next_probabilities, experts)
