"""Where a predictor's tokens come from: an array, or another implementation of `TokenSource`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from ..jit.decorators import native
from ..kernels import network
from ..kernels.arrays import F32, FILLED, U8
from ..memory.memory import NO_REPORT, NONE_MARKED, REPORT, Memory
from ..vocabulary import Tokens
from .tape import Tape
from .trace import Step
from .weights import Weights


@runtime_checkable
class TokenSource(Protocol):
    """Feeds tokens to the kernels; `StreamPredictor.steps` tells it when."""

    def peek(self, weights: Weights, tape: Tape) -> int:
        """The next token, or -1 if there is none; called when a full tape needs the target of its last distribution.

        The next `feed` feeds this token first.
        """

    def prepare(self, weights: Weights, tape: Tape, first: int, count: int) -> None:
        """Get ready to feed `count` tokens to the tape from slot `first` on."""

    def feed(self, weights: Weights, memory: Memory | None, tape: Tape, first: int, count: int) -> int:
        """Feed up to `count` tokens from slot `first` on, with the tape's position moved; returns how many."""


class KnownTokens:
    """Tokens that are known in advance: the network reads as many at once as fit on the tape.

    tokens  int32 [n]
    report  float32 [n · REPORT] or empty: filled with what the experts of the memory predicted
    marked  uint8 [V] or empty: `feed` returns where a marked symbol may be among the k most probable next ones
    """

    def __init__(self, tokens: Tokens, report: F32 = NO_REPORT, marked: U8 = NONE_MARKED, k: int = 0) -> None:
        self._tokens, self._report, self._marked, self._k = tokens, report, marked, k
        self._done = 0

    def peek(self, weights: Weights, tape: Tape) -> int:
        """See `TokenSource`."""
        return int(self._tokens[self._done])

    def prepare(self, weights: Weights, tape: Tape, first: int, count: int) -> None:
        """See `TokenSource`."""
        tape.stream.tokens[first : first + count] = self._tokens[self._done : self._done + count]
        native(network.forward)(weights.theta, tape.stream, first, count, 1)

    def feed(self, weights: Weights, memory: Memory | None, tape: Tape, first: int, count: int) -> int:
        """See `TokenSource`."""
        stream, marked, k = tape.stream, self._marked, self._k
        if memory is not None:
            report = self._report[self._done * REPORT : (self._done + count) * REPORT]
            count = memory.remember(stream, first, count, report=report, marked=marked, k=k)
        elif k:
            count = self._count_to_marked(Step(0, count, stream, first).distributions[1:])
            stream.position[FILLED] = first + count
        self._done += count
        return count

    def _count_to_marked(self, distributions: F32) -> int:
        """How many tokens to feed: up to the first one after which a marked token may be among the k most probable.

        distributions  float32 [count, V], the distribution after each token
        """
        is_marked = self._marked.astype(bool)
        best = distributions[:, is_marked].max(axis=1, initial=-1, keepdims=True)
        ends = np.flatnonzero((distributions > best).sum(axis=1) < self._k)
        return int(ends[0]) + 1 if len(ends) else len(distributions)
