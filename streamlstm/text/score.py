"""The surprisal of a text: in total, or unit by unit with the position of each.

A unit is a symbol, a character, a word, a line, or the whole text. The surprisal of a unit is the sum of those of its
symbols, so the totals agree at every level.

A word is what stands between white space, punctuation included. White space is assigned to one of its two neighbours.
If it is assigned to the word after it (`leading`), a word pays for the end of the word before it, and the probabilities
of all words that could follow sum to less than 1 (Oh & Schuler 2024, "Leading Whitespaces of Language Models' Subword
Vocabulary Pose a Confound for Calculating Word Probabilities", EMNLP). If it is assigned to the word before it
(`trailing`, the default), each word pays for its own letters and its own end.
White space before the first word is assigned to the first word, white space after the last word to the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, tee
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F32, F64
from ..memory.memory import EXPERTS, REPORT
from ..predictor import KnownTokens, StreamPredictor
from ..vocabulary import Symbols
from .characters import split_characters
from .units import Chunk, ResetPoints, Scores, TextPosition, Units, byte_widths, code_points, decoded, readable

TextParts = str | bytes | bytearray | memoryview | Iterable[str | bytes]
"""A text: in one part, or in several as they arrive. Text in bytes is UTF-8."""

ScorableText = str | bytes | bytearray | memoryview | npt.NDArray[Any]
"""A text, or a part of one: characters, bytes, or an array of tokens."""

LEVELS = ("symbol", "character", "word", "line", "file")
ALIASES = {"char": "character"}
BOUNDARIES = ("trailing", "leading")
RESETS = ("line", "blank-line", "file", "never")
UNITS = {"bits": 1.0, "nats": math.log(2), "log10": math.log10(2)}
"""The value of one bit in each unit of surprisal."""


@dataclass(frozen=True)
class Score:
    """The surprisal of a text: its number of symbols and their total in bits."""

    n_symbols: int
    bits: float

    @property
    def bits_per_symbol(self) -> float:
        """The mean surprisal in bits; 0 for an empty text."""
        return self.bits / self.n_symbols if self.n_symbols else 0.0


class ExpertReport(NamedTuple):
    """How an expert of the memory did on a text.

    name    of the expert, or "all together" for the mixture
    active  the fraction of symbols for which it made a prediction
    bits    the mean surprisal in bits of those symbols under its prediction alone
    weight  its mean weight in the mixture at those symbols
    """

    name: str
    active: float
    bits: float
    weight: float


def score(predictor: StreamPredictor, text: ScorableText | Iterable[ScorableText]) -> Score:
    """Observe a text, in one part or in several, and return its surprisal.

    >>> from streamlstm import StreamPredictor
    >>> score(StreamPredictor(), "a").bits
    8.0
    """
    n_symbols, total = 0, 0.0
    parts = [text] if isinstance(text, str | bytes | bytearray | memoryview | np.ndarray) else text
    for part in parts:
        bits = predictor.observe_many(part)
        n_symbols += len(bits)
        total += float(bits.sum(dtype=np.float64))
    return Score(n_symbols, total)


def expert_report(predictor: StreamPredictor, parts: TextParts) -> list[ExpertReport]:
    """Observe a text, and report on each expert of the memory and, last, on the mixture of all.

    Raises ValueError for a predictor without a memory, and TypeError for an array of tokens.
    """
    n, total, sums = 0, 0.0, np.zeros((3, len(EXPERTS)))
    for part in split_characters(_text_parts("expert_report", parts)):
        trace = predictor.trace(readable(part, predictor.vocabulary), 0, explain=True)
        assert trace.experts is not None
        bits, weights = trace.experts[..., 0], trace.experts[..., 1]
        active = (bits != 0) | (weights != 0)
        n += len(trace.bits)
        total += float(trace.bits.sum(dtype=np.float64))
        sums += [active.sum(0), bits.sum(0, dtype=np.float64), weights.sum(0, dtype=np.float64)]
    n_active = np.maximum(sums[0], 1)
    rows = zip(EXPERTS, *(sums[0] / max(n, 1), sums[1] / n_active, sums[2] / n_active), strict=True)
    reports = [ExpertReport(name, float(active), float(bits), float(weight)) for name, active, bits, weight in rows]
    return [*reports, ExpertReport("all together", 1.0, total / max(n, 1), 1.0)]


def experts_alone(experts: F32, n_symbols: int) -> F64:
    """The surprisal in bits of each of n symbols under each of the K experts alone, float64 [n, K].

    experts    float32 [n, K, 2], as in `Trace`
    n_symbols  of the vocabulary

    A context without counts has no prediction of its own, and backs off: an order to the one below it, any other to
    order 6. Order 6 then predicts as the longest order with counts, and in place of order 1, whose back-off is not
    reported, stands order 6. Before the first symbol of a stream all symbols are equally probable.
    """
    alone: F64 = experts[..., 0].astype(np.float64)
    is_silent = (experts == 0).all(axis=2)
    longest = EXPERTS.index("order 6")
    alone[is_silent[:, longest], longest] = math.log2(n_symbols)
    for k in range(EXPERTS.index("network")):
        below = longest if k == 0 else min(k - 1, longest)
        alone[:, k] = np.where(is_silent[:, k] & (k != longest), alone[:, below], alone[:, k])
    return alone


def score_many(predictor: StreamPredictor, texts: Sequence[Symbols], prefix: Symbols = "") -> F64:
    """The surprisal in bits of each of n texts as the continuation of `prefix`, float64 [n]. Changes nothing.

    All start from the same state, and nothing is learned from them. The most probable text has the lowest surprisal.
    Raises ValueError for a text with a symbol that the vocabulary does not have, TypeError for a single text.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> bits = predictor.observe_many("the cat. " * 200)
    >>> cat, dog = score_many(predictor, ["cat", "dog"], prefix="the ")
    >>> bool(cat < dog)
    True
    """
    if isinstance(texts, str | bytes | bytearray | memoryview):
        raise TypeError(f"texts must be a list of texts, not one {type(texts).__name__}; use [text]")
    shared = predictor.fork(learning=False)
    shared.observe_many(prefix)
    return np.array([shared.fork().observe_many(text).sum(dtype=np.float64) for text in texts], dtype=np.float64)


def score_by(
    predictor: StreamPredictor,
    parts: TextParts,
    by: str = "word",
    *,
    word_boundary: str = "trailing",
    context_reset: str = "never",
    explain: bool = False,
) -> Iterator[Scores]:
    """Observe a text, and yield the scores of its units: for each part those that it completes, at the end the rest.

    by             symbol, character, word, line or file
    word_boundary  charge white space to the word before it (trailing) or after it (leading)
    context_reset  reset the context before each line, before each paragraph (blank-line), or never; file means never
                   here, because all parts are one file
    explain        whether the scores say what each expert of the memory alone would have given (`Scores.alone`)

    Raises ValueError for any other value of these, for a symbol that the vocabulary does not have, or for a predictor
    without a memory to explain, and TypeError for an array of tokens.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> predictor.learn = "nothing"
    >>> for scores in score_by(predictor, "One two,\\nthree"):
    ...     for text, bits, line, column in zip(scores.texts, scores.bits, scores.lines, scores.columns):
    ...         print(text, bits, line, column)
    One 32.0 1 1
    two, 40.0 1 5
    three 40.0 2 1
    """
    by = check_level("by", by)
    check_choice("word_boundary", word_boundary, BOUNDARIES)
    check_choice("context_reset", context_reset, RESETS)
    if explain and not predictor.config.memory:
        raise ValueError("explain needs a predictor with a memory; this one was made with memory=False")
    chunks = _chunks(predictor, _text_parts("score_by", parts), context_reset, explain)
    if by == "symbol" and predictor.vocabulary.characters is None:
        return (_bytes_of(chunk) for chunk in chunks)
    return _units_of(chunks, "character" if by == "symbol" else by, by == "word" and word_boundary == "leading")


def compare(
    a: StreamPredictor,
    b: StreamPredictor,
    parts: TextParts,
    by: str = "line",
    *,
    word_boundary: str = "trailing",
    context_reset: str = "never",
) -> Iterator[tuple[Scores, Scores]]:
    """Score a text with two predictors, and yield pairs of scores of the same units.

    The log-likelihood ratio of a unit is its bits under `b` minus its bits under `a`: positive if `a` predicts it
    better. Options as in `score_by`. Raises as `score_by` does, and ValueError if `a` is `b`, and for symbols if one
    model is of bytes and the other of characters.
    """
    if a is b:
        raise ValueError("compare needs two predictors; pass b=a.fork()")
    by = check_level("by", by)
    if by == "symbol" and (a.vocabulary.characters is None) != (b.vocabulary.characters is None):
        raise ValueError("a model of bytes and one of characters have no common symbols; compare them by character")
    first, second = tee(_text_parts("compare", parts))
    of_a = score_by(a, first, by, word_boundary=word_boundary, context_reset=context_reset)
    of_b = score_by(b, second, by, word_boundary=word_boundary, context_reset=context_reset)
    return zip(of_a, of_b, strict=True)


class FileReaders:
    """Chooses the predictors that read each of several files.

    make        returns the predictors, one or two; its argument is the text of a file if `per_text`, else ""
    per_text    whether each file is read by new predictors, whose vocabulary is that of its text
    continuous  whether the files are one stream, instead of each being read by forks of the same predictors
    """

    def __init__(self, make: Callable[[str], list[StreamPredictor]], per_text: bool, continuous: bool) -> None:
        self._make, self._per_text, self._continuous = make, per_text, continuous
        self._predictors = [] if per_text else make("")

    def open(self, parts: Iterable[bytes]) -> tuple[list[StreamPredictor], Iterable[bytes]]:
        """The predictors for the next file, and its parts. All of them are read now if `per_text`."""
        if self._per_text and not (self._continuous and self._predictors):
            parts = list(parts)
            self._predictors = self._make(b"".join(parts).decode("utf-8", "replace"))
            return self._predictors, parts
        if self._continuous:
            return self._predictors, parts
        return [predictor.fork() for predictor in self._predictors], parts


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ValueError if `value` is not one of the values that the option `name` accepts."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_level(name: str, level: str, levels: Sequence[str] = LEVELS) -> str:
    """The level, or the one that it is an alias of. Raises ValueError for any that is not one of `levels`."""
    level = ALIASES.get(level, level)
    check_choice(name, level, levels)
    return level


def _text_parts(function: str, parts: TextParts) -> Iterable[str | bytes]:
    """The parts of a text. Raises TypeError, which names the function, where there is neither text nor bytes."""

    def checked(part: Any) -> str | bytes:
        if isinstance(part, str | bytes):
            return part
        if isinstance(part, bytearray | memoryview):
            return bytes(part)
        raise TypeError(f"{function} takes str or bytes; decode tokens first")

    if isinstance(parts, str | bytes | bytearray | memoryview | np.ndarray):
        return [checked(parts)]
    return map(checked, parts)


def _chunks(
    predictor: StreamPredictor, parts: Iterable[str | bytes], context_reset: str, explain: bool
) -> Iterator[Chunk]:
    """Observe the parts of a text, and yield the characters of each; the last chunk is empty and marks the end."""
    position, resets = TextPosition(), ResetPoints(context_reset)
    for part in split_characters(parts):
        yield _observe(predictor, part, position, resets, explain)
    yield replace(_observe(predictor, "", position, resets, explain), ended=True)


def _observe(
    predictor: StreamPredictor, part: str | bytes, position: TextPosition, resets: ResetPoints, explain: bool
) -> Chunk:
    """Observe the characters of a part of a text from a position on."""
    text = decoded(part)
    points = code_points(text)
    widths = byte_widths(points)
    symbols = widths if predictor.vocabulary.characters is None else np.ones(len(points), dtype=np.int64)
    tokens = predictor.vocabulary.encode(readable(part, predictor.vocabulary), position.index)
    ends = np.cumsum(symbols)
    bits = np.empty(len(tokens), dtype=np.float32)
    report = np.zeros(len(tokens) * REPORT if explain else 0, dtype=np.float32)
    stops = [int(ends[index] - symbols[index]) for index in resets.before(points)]
    for number, (start, stop) in enumerate(pairwise([0, *stops, len(tokens)])):
        if number:
            predictor.reset()
        source = KnownTokens(tokens[start:stop], report[start * REPORT : stop * REPORT])
        for step in predictor.steps(source, stop - start):
            bits[start + step.start : start + step.start + step.count] = step.bits
    sums = bits.astype(np.float64)
    if len(points) and len(tokens) != len(points):
        sums = np.add.reduceat(sums, ends - symbols)
    alone = experts_alone(report.reshape(-1, REPORT // 2, 2), len(predictor.vocabulary)) if explain else None
    return Chunk(text, points, bits, sums, symbols, *position.advance(points, widths), ended=False, alone=alone)


def _bytes_of(chunk: Chunk) -> Scores:
    """The symbols of a byte model. Each has its own offset, and the line and column of its character."""
    data = chunk.text.encode("utf-8", "surrogateescape")
    widths = chunk.n_symbols
    first = int(chunk.offsets[0]) if len(widths) else 0
    texts = [chr(byte) if byte < 128 else chr(0xDC00 + byte) for byte in data]
    return Scores(
        chunk.symbol_bits.astype(np.float64),
        np.ones(len(data), dtype=np.int64),
        np.repeat(chunk.lines, widths),
        np.repeat(chunk.columns, widths),
        np.arange(first, first + len(data)),
        texts,
        chunk.alone,
    )


def _units_of(chunks: Iterator[Chunk], by: str, leading: bool) -> Iterator[Scores]:
    units = Units(by, leading)
    of_experts = [Units(by, leading) for _ in EXPERTS]  # the same units once more for each expert
    for chunk in chunks:
        scores = units.add(chunk)
        if chunk.alone is not None:
            starts = np.cumsum(chunk.n_symbols) - chunk.n_symbols
            by_character = np.add.reduceat(chunk.alone, starts, axis=0) if len(starts) else chunk.alone
            tables = zip(of_experts, by_character.T, strict=True)
            alone = [each.add(replace(chunk, bits=bits)).bits for each, bits in tables]
            scores = replace(scores, alone=np.column_stack(alone))
        yield scores
