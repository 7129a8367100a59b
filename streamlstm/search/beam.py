"""The most probable texts that fit a template, found by a beam search over frozen forks of a predictor.

A hypothesis is the beginning of a text. It is extended by one token at a time, the most probable hypothesis first,
whatever its length, but at most `width` hypotheses of each length are kept. This finds the same texts as a beam search
that extends all hypotheses in step, and stops as soon as it has k of them (Meister, Vieira & Cotterell 2020,
"Best-First Beam Search", TACL 8). If the width excludes nothing, they are the k most probable of all texts.

`complete` searches the most probable continuations of a text, and `fill` the characters at its unreadable places.
"""

from __future__ import annotations

import heapq
import math
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import numpy as np

from ..jit.decorators import native
from ..kernels.distribution import surprisals
from ..predictor import StreamPredictor
from ..ranges import check_count
from ..vocabulary import Symbols
from .generate import Alphabet

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
class _Hypothesis:
    """The beginning of a text, and the tokens that may extend it.

    predictor  a frozen fork that has read it
    text       its whole characters
    n_filled   how many unknown characters it has passed
    prefix     the first bytes of the next character
    tokens     those that have not extended it yet, the most probable one last; None until it is expanded
    bits       the surprisal of the text with each of them
    """

    predictor: StreamPredictor
    text: str
    n_filled: int
    prefix: bytes = b""
    tokens: list[int] | None = None
    bits: list[float] = field(default_factory=list)


def beam_width(width: int | None, k: int, default: int) -> tuple[int, int]:
    """The width of a search for k texts, by default at least 2 k, and k; see `check_count` for what it raises."""
    k = check_count("k", k, 0)
    return max(default, 2 * k) if width is None else check_count("width", width, 1), k


class Beam:
    """A search for the most probable texts that fit a template.

    predictor  stands before the text; it does not change
    width      how many hypotheses of each length are kept

    Raises ValueError if the vocabulary lacks a symbol of the template.
    """

    def __init__(self, predictor: StreamPredictor, template: Template, width: int) -> None:
        self._template, self._width = template, width
        vocabulary = predictor.vocabulary
        self._known = [vocabulary.encode(piece) for piece in template.known]
        self._stop = [tuple(vocabulary.encode(each).tolist()) for each in template.stop]
        self._surprisals, self._bits = native(surprisals), np.empty(len(vocabulary), dtype=np.float32)
        self._heap: list[tuple[float, int, _Hypothesis | str]] = []
        self._serial = count()
        self._n_extended: Counter[tuple[int, int]] = Counter()
        root = predictor.fork(learning=False)
        self._add(_Hypothesis(root, "", 0), 0.0)

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

    def _push(self, bits: float, item: _Hypothesis | str) -> None:
        if self._is_open(item):
            heapq.heappush(self._heap, (bits, next(self._serial), item))

    def _is_open(self, item: _Hypothesis | str) -> bool:
        """Whether it is a whole text, or a hypothesis that may be extended."""
        return isinstance(item, str) or self._n_extended[item.n_filled, len(item.prefix)] < self._width

    def _add(self, hypothesis: _Hypothesis, bits: float) -> None:
        """Read the known piece that follows, and add a hypothesis or a whole text."""
        piece = hypothesis.n_filled
        hypothesis.text += self._template.known[piece]
        if len(self._known[piece]):
            bits += math.fsum(hypothesis.predictor.observe_many(self._known[piece]).tolist())
        self._push(bits, hypothesis.text if piece == len(self._known) - 1 else hypothesis)

    def _expand(self, hypothesis: _Hypothesis, bits: float) -> None:
        """Find the tokens that may extend a hypothesis, whose surprisal is `bits`."""
        self._surprisals(hypothesis.predictor.distribution, self._bits)
        tokens = self._template.alphabet.following(hypothesis.prefix)
        totals = bits + self._bits[tokens].astype(np.float64)
        order = np.argsort(totals, kind="stable")[: self._width][::-1]
        hypothesis.tokens, hypothesis.bits = tokens[order].tolist(), totals[order].tolist()
        if self._stop and not hypothesis.prefix:
            chance = np.array([max(_chance(hypothesis.predictor, self._stop), LEAST)], dtype=np.float32)
            self._surprisals(chance, self._bits[:1])
            self._push(bits + float(self._bits[0]), hypothesis.text)
        if hypothesis.tokens:
            self._push(hypothesis.bits[-1], hypothesis)

    def _extend(self, hypothesis: _Hypothesis, bits: float) -> None:
        """Extend a hypothesis by the most probable of its tokens that are left; `bits` includes it."""
        assert hypothesis.tokens is not None
        length = hypothesis.n_filled, len(hypothesis.prefix)
        self._n_extended[length] += 1
        token = hypothesis.tokens.pop()
        hypothesis.bits.pop()
        if hypothesis.tokens:
            self._push(hypothesis.bits[-1], hypothesis)
        if self._n_extended[length] == self._width:
            self._heap = [entry for entry in self._heap if self._is_open(entry[2])]
            heapq.heapify(self._heap)
        character = self._template.alphabet.character(hypothesis.prefix, token)
        n_filled = hypothesis.n_filled + (character is not None)
        if character is not None and n_filled == len(self._known) - 1 and not len(self._known[-1]):
            self._push(bits, hypothesis.text + character)  # complete: what would follow is not needed
            return
        predictor = hypothesis.predictor.fork()
        predictor.observe_token(token)
        if character is None:
            self._expand(_Hypothesis(predictor, hypothesis.text, n_filled, hypothesis.prefix + bytes([token])), bits)
        else:
            self._add(_Hypothesis(predictor, hypothesis.text + character, n_filled), bits)


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


WORD_ENDS = string.whitespace + "".join(sorted(set(string.punctuation) - set("'-_")))
"""The characters before which a completed word ends."""

LONGEST = 64
"""The most characters of a completion without `length`."""

COMPLETE_WIDTH = 32
"""The default width: in 40 texts of four kinds, the five most probable words were those of an unlimited search."""


def complete(
    predictor: StreamPredictor,
    k: int = 5,
    prompt: Symbols = "",
    *,
    length: int | None = None,
    stop: str | None = None,
    width: int | None = None,
) -> list[Candidate]:
    """The k most probable continuations of `prompt`, the most probable first. The predictor does not change.

    length  each has this many characters, or ends earlier if `stop` is given too
    stop    each ends before the first of these characters, or after 64; its probability is that it ends with any of
            them. Default, without `length`: white space and punctuation but for ' - _, which completes the word
    width   of the beam: keep only this many hypotheses of each length; default: 32, or 2 k if that is more

    All characters are whole, also with a byte vocabulary, whose symbols are single bytes; a prompt of bytes must end
    with a complete one. A `Candidate` has its `text`, without the prompt, and its surprisal in `bits`. The empty text
    stands for a word that is complete already.
    Raises ValueError for a value out of its range, and for a prompt with a symbol that is not in the vocabulary.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> bits = predictor.observe_many("the weather is nice today. " * 20)
    >>> complete(predictor, k=1, prompt="the wea")[0].text
    'ther'
    """
    if isinstance(k, str | bytes):
        raise TypeError(f"k must be a whole number, not {k!r}; a text to continue is the prompt: prompt={k!r}")
    width, k = beam_width(width, k, COMPLETE_WIDTH)
    if length is not None:
        length = check_count("length", length, 0)
    elif stop is None:
        stop = WORD_ENDS
    vocabulary = predictor.vocabulary
    known = "".join(each for each in stop or "" if vocabulary.characters is None or each in vocabulary)
    if length is None and not known:
        raise ValueError(f"without a length, stop must name characters of the vocabulary, not {stop!r}")
    reader = predictor.fork(learning=False)
    reader.observe_many(prompt)
    n = LONGEST if length is None else length
    template = Template([""] * (n + 1), Alphabet(vocabulary, without=known), known)
    return Beam(reader, template, width).best(k)


FILL_WIDTH = 128
"""The default width. With 32, a line takes a fifth of the time; but in 20 lines with 10 % of their characters unknown,
three results were less probable than the true text. With 128, none was."""


def fill(
    predictor: StreamPredictor,
    text: str,
    unknown: str = "?",
    *,
    k: int = 5,
    characters: str | None = None,
    width: int | None = None,
) -> list[Candidate]:
    """The k most probable texts that agree with `text`, in which a character stands for each unknown one.

    unknown     the character that marks an unknown one in `text`
    characters  the characters that may stand for an unknown one; default: all of the vocabulary
    width       of the beam: keep only this many hypotheses at each unknown character; default: 128, or 2 k if that
                is more

    The most probable text comes first. Each is scored as a whole, with what precedes and what follows the unknown
    characters: its `bits` are the sum of the surprisals of its symbols. The predictor does not change; what it has
    observed is the context to the left.
    Raises ValueError for a value out of its range, and for a symbol that is not in the vocabulary;
    TypeError for a text that is not str.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> bits = predictor.observe_many("the cat sat on the mat. " * 20)
    >>> fill(predictor, "th? c?t sat on", k=1)[0].text
    'the cat sat on'
    """
    width, k = beam_width(width, k, FILL_WIDTH)
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    if len(unknown) != 1:
        raise ValueError(f"unknown must be one character, not {unknown!r}")
    if characters is not None and not characters:
        raise ValueError("characters must name at least one character")
    template = Template(text.split(unknown), Alphabet(predictor.vocabulary, characters))
    return Beam(predictor, template, width).best(k)
