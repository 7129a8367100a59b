"""The most probable texts that fit a template, found by a beam search over frozen forks of a predictor.

The beginning of a text is extended by one token at a time, the most probable beginning first, whatever its length. Of
the beginnings with the same length at most `width` are extended. This finds the same texts as a beam search that
extends all beginnings in step, but it stops as soon as it has k of them (Meister, Vieira & Cotterell 2020, "Best-First
Beam Search", TACL 8). If the width excludes nothing, they are the k most probable of all texts.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np

from ..kernels.jit import native
from ..kernels.ranks import surprisals
from ..predictor import StreamPredictor
from .alphabet import Alphabet

LEAST = 2.0**-126
"""The smallest probability that `surprisals` takes."""


class Candidate(NamedTuple):
    """A text, and its surprisal in bits: the sum of those of its symbols, -log2 of its probability."""

    text: str
    bits: float

    @property
    def probability(self) -> float:
        """The probability of the text; 0 if it is too small for a float64."""
        return math.pow(2.0, -self.bits)


@dataclass(frozen=True)
class Template:
    """The texts that are searched: known pieces, and between each two of them one unknown character.

    known     n + 1 pieces for n unknown characters; a piece may be empty
    alphabet  the characters that may stand for an unknown one
    stop      the characters before which a text may end early; they are not in the alphabet
    """

    known: Sequence[str]
    alphabet: Alphabet
    stop: str = ""


@dataclass(eq=False, slots=True)
class _Node:
    """The beginning of a text, and its extensions by one token.

    predictor  a frozen fork that has read it
    text       its whole characters
    n_filled   how many unknown characters it has passed
    prefix     the first bytes of the next character
    tokens     the tokens that may extend it and have not yet, the most probable one last
    bits       the surprisal of the text with each of them
    """

    predictor: StreamPredictor
    text: str
    n_filled: int
    prefix: bytes = b""
    tokens: list[int] | None = None  # until `Beam._expand`
    bits: list[float] = field(default_factory=list)


class Beam:
    """A search for the most probable texts that fit a template.

    predictor  stands before the text; it does not change
    width      how many beginnings of the same length are extended at most

    Raises ValueError if the vocabulary lacks a symbol of the template.
    """

    def __init__(self, predictor: StreamPredictor, template: Template, width: int) -> None:
        self._template, self._width = template, width
        vocabulary = predictor.vocabulary
        self._known = [vocabulary.encode(piece) for piece in template.known]
        self._stop = [tuple(vocabulary.encode(each).tolist()) for each in template.stop]
        self._surprisals, self._bits = native(surprisals), np.empty(len(vocabulary), dtype=np.float32)
        self._heap: list[tuple[float, int, _Node | str]] = []
        self._serial = count()
        self._n_extended: Counter[tuple[int, int]] = Counter()
        root = predictor.fork(learning=False)
        self._reach(_Node(root, "", 0), 0.0)

    def best(self, k: int) -> list[Candidate]:
        """The next k texts, fewer if there are no more, in the order of their surprisals."""
        found: list[Candidate] = []
        while self._heap and len(found) < k:
            bits, _, item = heapq.heappop(self._heap)
            if isinstance(item, str):
                found.append(Candidate(item, bits))
            elif item.tokens is None:
                self._expand(item, bits)
            else:
                self._extend(item, bits)
        return found

    def _push(self, bits: float, item: _Node | str) -> None:
        if self._is_open(item):
            heapq.heappush(self._heap, (bits, next(self._serial), item))

    def _is_open(self, item: _Node | str) -> bool:
        """Whether it is complete, or a beginning of a length of which more may be extended."""
        return isinstance(item, str) or self._n_extended[item.n_filled, len(item.prefix)] < self._width

    def _reach(self, node: _Node, bits: float) -> None:
        """Read the known piece that follows a character of a template, after which the text is complete or unknown."""
        tokens = self._known[node.n_filled]
        node.text += self._template.known[node.n_filled]
        if len(tokens):
            bits += math.fsum(node.predictor.observe_many(tokens).tolist())
        is_complete = node.n_filled == len(self._known) - 1
        self._push(bits, node.text if is_complete else node)

    def _expand(self, node: _Node, bits: float) -> None:
        """Find the tokens that may extend a beginning, whose surprisal is `bits`."""
        self._surprisals(node.predictor.distribution, self._bits)
        tokens = self._template.alphabet.following(node.prefix)
        totals = bits + self._bits[tokens].astype(np.float64)
        order = np.argsort(totals, kind="stable")[: self._width][::-1]
        node.tokens, node.bits = tokens[order].tolist(), totals[order].tolist()
        if self._stop and not node.prefix:
            chance = np.array([max(_chance(node.predictor, self._stop), LEAST)], dtype=np.float32)
            self._surprisals(chance, self._bits[:1])
            self._push(bits + float(self._bits[0]), node.text)
        if node.tokens:
            self._push(node.bits[-1], node)

    def _extend(self, node: _Node, bits: float) -> None:
        """Extend a beginning by the most probable of the tokens that are left."""
        assert node.tokens is not None
        length = node.n_filled, len(node.prefix)
        self._n_extended[length] += 1
        token = node.tokens.pop()
        node.bits.pop()
        if node.tokens:
            self._push(node.bits[-1], node)
        if self._n_extended[length] == self._width:
            self._heap = [entry for entry in self._heap if self._is_open(entry[2])]
            heapq.heapify(self._heap)
        character = self._template.alphabet.character(node.prefix, token)
        n_filled = node.n_filled + (character is not None)
        if character is not None and n_filled == len(self._known) - 1 and not len(self._known[-1]):
            self._push(bits, node.text + character)  # complete: what would follow is not needed
            return
        predictor = node.predictor.fork()
        predictor.observe_token(token)
        if character is None:
            self._expand(_Node(predictor, node.text, n_filled, node.prefix + bytes([token])), bits)
        else:
            self._reach(_Node(predictor, node.text + character, n_filled), bits)


def _chance(predictor: StreamPredictor, symbols: list[tuple[int, ...]]) -> float:
    """The probability that one of some characters is next, each given by its tokens."""
    distribution = predictor.distribution
    chances = [float(distribution[tokens[0]]) for tokens in symbols if len(tokens) == 1]
    for first in {tokens[0]: None for tokens in symbols if len(tokens) > 1}:
        branch = predictor.fork()
        branch.observe_token(first)
        following = [tokens[1:] for tokens in symbols if len(tokens) > 1 and tokens[0] == first]
        chances.append(float(distribution[first]) * _chance(branch, following))
    return math.fsum(chances)
