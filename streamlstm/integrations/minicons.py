"""Scores of sentences as minicons returns them: per token, per word, per sequence, and after a prefix.

The functions have the names and options of the methods of minicons' `IncrementalLMScorer`, with a `StreamPredictor` as
the first argument. A token is a character, also for a model of bytes: its log-probability is the sum of those of its
bytes. The first character has a score too, since streams begin with a begin-of-stream symbol.

Each text is read from the state in which the predictor is, and nothing is learned from it: the predictor does not
change. A batch is one text or a list of texts. Scores are log-probabilities in nats by default; with `surprisal` their
negatives, with `prob` probabilities, with `base_two` in bits. minicons need not be installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..kernels.arrays import F64
from ..predictor import StreamPredictor
from ..text.characters import character, trace_characters
from ..text.score import score_by

Reduction = Callable[[F64], float]
"""Makes one number of the scores of n tokens, float64 [n]."""


def mean(scores: F64) -> float:
    """The default reduction: the mean score of a token; 0 if there are none."""
    return float(scores.mean()) if len(scores) else 0.0


def token_score(
    predictor: StreamPredictor,
    batch: str | Sequence[str],
    surprisal: bool = False,
    prob: bool = False,
    base_two: bool = False,
    *,
    rank: bool = False,
) -> list[list[tuple[str, float]]] | list[list[tuple[str, float, int]]]:
    """The score of each character of each text, as (character, score) or with `rank` as (character, score, rank).

    The rank is 1 for the most probable character; that of a character of several bytes is the largest of its bytes.

    >>> from streamlstm import StreamPredictor
    >>> token_score(StreamPredictor(), "hé", surprisal=True, base_two=True)
    [[('h', 8.0), ('é', 16.0)]]
    """
    scored = []
    for text in _texts(batch):
        trace = trace_characters(predictor.fork(learning=False), text, 0)
        names = [_readable(character(token)) for token in trace.tokens.tolist()]
        scores = _converted(trace.bits.astype(np.float64), surprisal, prob, base_two).tolist()
        columns = [names, scores, trace.ranks.tolist()] if rank else [names, scores]
        scored.append(list(zip(*columns, strict=True)))
    return scored


def word_score(
    predictor: StreamPredictor,
    batch: str | Sequence[str],
    surprisal: bool = False,
    prob: bool = False,
    base_two: bool = False,
    *,
    word_boundary: str = "trailing",
) -> list[list[tuple[str, float]]]:
    """The score of each word of each text, as (word, score).

    word_boundary  charge white space to the word before it (trailing) or after it (leading); see `score_by`

    >>> from streamlstm import StreamPredictor
    >>> word_score(StreamPredictor(), ["a cat"], surprisal=True, base_two=True)
    [[('a', 16.0), ('cat', 24.0)]]
    """
    scored = []
    for text in _texts(batch):
        words: list[tuple[str, float]] = []
        for scores in score_by(predictor.fork(learning=False), text, "word", word_boundary=word_boundary):
            values = _converted(scores.bits, surprisal, prob, base_two).tolist()
            words += zip(map(_readable, scores.texts), values, strict=True)
        scored.append(words)
    return scored


def sequence_score(
    predictor: StreamPredictor,
    batch: str | Sequence[str],
    reduction: Reduction = mean,
    base_two: bool = False,
    *,
    prob: bool = False,
    surprisal: bool = False,
) -> list[float]:
    """One number for each text: the reduction of the scores of its characters.

    >>> from streamlstm import StreamPredictor
    >>> sequence_score(StreamPredictor(), ["cat", "mouse"], lambda x: x.sum(0).item(), base_two=True)
    [-24.0, -40.0]
    """
    rows = [_character_bits(predictor.fork(learning=False), text) for text in _texts(batch)]
    return [reduction(_converted(bits, surprisal, prob, base_two)) for bits in rows]


def conditional_score(
    predictor: StreamPredictor,
    prefix: str | Sequence[str],
    stimuli: str | Sequence[str],
    separator: str = " ",
    reduction: Reduction = mean,
    *,
    prob: bool = False,
    base_two: bool = False,
    surprisal: bool = False,
) -> list[float]:
    """One number for each stimulus as the continuation of its prefix, whose characters do not count.

    prefix     one for all stimuli, or one for each
    separator  what stands between the two; it is part of the prefix
    reduction  makes one number of the scores of a stimulus

    Raises ValueError if there are not as many prefixes as stimuli.

    >>> from streamlstm import StreamPredictor
    >>> conditional_score(StreamPredictor(), "the", ["cat", "dog"], base_two=True)
    [-8.0, -8.0]
    """
    texts = _texts(stimuli)
    prefixes = [prefix] * len(texts) if isinstance(prefix, str) else list(prefix)
    if len(prefixes) != len(texts):
        raise ValueError(f"give one prefix, or one for each of the {len(texts)} stimuli, not {len(prefixes)}")
    scores, last, reader = [], None, predictor
    for before, text in zip(prefixes, texts, strict=True):
        if before != last:  # stimuli with the same prefix share its reading
            last, reader = before, predictor.fork(learning=False)
            reader.observe_many(before + separator)
        bits = _character_bits(reader.fork(), text)
        scores.append(reduction(_converted(bits, surprisal, prob, base_two)))
    return scores


def _texts(batch: str | Sequence[str]) -> list[str]:
    return [batch] if isinstance(batch, str) else list(batch)


def _character_bits(predictor: StreamPredictor, text: str) -> F64:
    """The surprisal of each character, float64 [n]."""
    return trace_characters(predictor, text, 0).bits.astype(np.float64)


def _converted(bits: F64, surprisal: bool, prob: bool, base_two: bool) -> F64:
    """Surprisals in bits as the scores that the options ask for. Raises ValueError for options that exclude others."""
    if prob:
        if surprisal or base_two:
            raise ValueError("prob gives probabilities; use it without surprisal and base_two")
        return np.exp2(-bits)
    return bits * ((1.0 if base_two else math.log(2)) * (1 if surprisal else -1))


def _readable(text: str | bytes) -> str:
    r"""A character or word as text; bytes that are not valid UTF-8 become U+FFFD."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return data.decode("utf-8", "replace")
