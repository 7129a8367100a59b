"""How surprising a text is to a predictor: as a whole, or unit by unit with the place of each.

A unit is a symbol, a character, a word, a line, or the whole text. The surprisals of the symbols add up: those of a
character's bytes to the character's, those of all units to the text's, at every level to the same sum.

A word is what stands between white space, punctuation attached, and the white space has to be charged to one of its
two neighbours. Charged to the word that follows (`leading`), a word pays for the end of the word before it, and the
probabilities of all words that could follow sum to less than 1 (Oh & Schuler 2024, "Leading Whitespaces of Language
Models' Subword Vocabulary Pose a Confound for Calculating Word Probabilities", EMNLP). Charged to the word before it
(`trailing`, the default), each word pays for its own letters and for being over.
White space before the first word is charged to it, white space after the last word to the last.
"""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np

from ..memory.memory import EXPERTS
from ..predictor import StreamPredictor
from ..vocabulary import Symbols
from .units import BROKEN, F64, Chunk, Place, Resets, Scores, Units, byte_widths, code_points

Parts = Iterable[str | bytes]

LEVELS = ("symbol", "char", "word", "line", "file")
BOUNDARIES = ("trailing", "leading")
RESETS = ("line", "blank-line", "file", "never")
UNITS = {"bits": 1.0, "nats": math.log(2), "log10": math.log10(2)}
"""What one bit is worth in each unit of surprisal."""


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


def explained(predictor: StreamPredictor, text: Iterable[Symbols]) -> list[tuple[str, float, float, float]]:
    """Observe a text, and say of each expert of the memory, and of all together, how it did.

    Returns (name, share of the symbols of which it spoke, mean bits that it would have paid for those, mean weight).
    Raises ValueError for a predictor without a memory.
    """
    n, total, sums = 0, 0.0, np.zeros((3, len(EXPERTS)))
    for part in text:
        trace = predictor.trace(part, 0, explain=True)
        assert trace.experts is not None
        bits, weights = trace.experts[..., 0], trace.experts[..., 1]
        spoke = (bits != 0) | (weights != 0)
        n += len(trace.bits)
        total += float(trace.bits.sum(dtype=np.float64))
        sums += [spoke.sum(0), bits.sum(0, dtype=np.float64), weights.sum(0, dtype=np.float64)]
    often = np.maximum(sums[0], 1)
    rows = zip(EXPERTS, *(sums[0] / max(n, 1), sums[1] / often, sums[2] / often), strict=True)
    return [(name, float(a), float(b), float(c)) for name, a, b, c in rows] + [
        ("all together", 1.0, total / max(n, 1), 1.0)
    ]


def score_many(predictor: StreamPredictor, texts: Sequence[Symbols], prefix: Symbols = "") -> F64:
    """The surprisal in bits of each of n texts as what comes next, after `prefix`; float64 [n].

    All start from one state, and nothing is learned from them: the predictor does not change. The lowest is the most
    probable. Raises ValueError for a text with a symbol that the vocabulary does not have.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> bits = predictor.observe_many("the cat. " * 200)
    >>> cat, dog = score_many(predictor, ["cat", "dog"], prefix="the ")
    >>> bool(cat < dog)
    True
    """
    shared = predictor.fork(learning=False)
    shared.observe_many(prefix)
    return np.array([shared.fork().observe_many(text).sum(dtype=np.float64) for text in texts], dtype=np.float64)


def score_by(
    predictor: StreamPredictor,
    parts: Parts,
    by: str = "word",
    *,
    boundary: str = "trailing",
    reset: str = "never",
) -> Iterator[Scores]:
    """Observe the parts of a text, and yield for each part the units that are complete with it; the rest at the end.

    by        symbol, char, word, line or file
    boundary  whether white space is charged to the word before it (trailing) or after it (leading)
    reset     where the context is forgotten: before each line, each paragraph (blank-line), or never (also: file,
              since the parts are one file)

    Raises ValueError for a word that is none of these, or a symbol that the vocabulary does not have.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> predictor.learning = False
    >>> for scores in score_by(predictor, ["One two,\\nthree"]):
    ...     for text, bits, line, column in zip(scores.texts, scores.bits, scores.lines, scores.columns):
    ...         print(text, bits, line, column)
    One 32.0 1 1
    two, 40.0 1 5
    three 40.0 2 1
    """
    check_choice("by", by, LEVELS)
    check_choice("boundary", boundary, BOUNDARIES)
    check_choice("reset", reset, RESETS)
    chunks = _chunks(predictor, parts, reset)
    if by == "symbol" and predictor.vocabulary.characters is None:
        return (_bytes_of(chunk) for chunk in chunks)
    return _units_of(chunks, "char" if by == "symbol" else by, by == "word" and boundary == "leading")


def contrast(
    a: StreamPredictor,
    b: StreamPredictor,
    parts: Parts,
    by: str = "line",
    *,
    boundary: str = "trailing",
    reset: str = "never",
) -> Iterator[tuple[Scores, Scores]]:
    """Score a text by two predictors, unit by unit: pairs of scores whose units are the same.

    The log-likelihood ratio of a unit is its bits under `b` minus its bits under `a`: above 0, `a` expects it more.
    Raises ValueError as `score_by` does, and for symbols of which one is a byte and the other a character.
    """
    if by == "symbol" and (a.vocabulary.characters is None) != (b.vocabulary.characters is None):
        raise ValueError("a model of bytes and one of characters have no symbols in common; compare them by char")
    first, second = tee(parts)
    options = {"boundary": boundary, "reset": reset}
    return zip(score_by(a, first, by, **options), score_by(b, second, by, **options), strict=True)


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise ValueError if `value` is none of the words that the option `name` takes."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def _chunks(predictor: StreamPredictor, parts: Parts, reset: str) -> Iterator[Chunk]:
    """Observe parts of a text: a chunk for each, and a last one for what the end has completed."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    place, resets = Place(), Resets(reset)
    n_symbols = 0
    for part in parts:
        chunk = _observe(predictor, part if isinstance(part, str) else decoder.decode(part), place, resets, n_symbols)
        n_symbols += len(chunk.symbol_bits)
        yield chunk
    yield _observe(predictor, decoder.decode(b"", True), place, resets, n_symbols, ended=True)


def _observe(
    predictor: StreamPredictor, text: str, place: Place, resets: Resets, position: int, ended: bool = False
) -> Chunk:
    points = code_points(text)
    widths = byte_widths(points)
    symbols = widths if predictor.vocabulary.characters is None else np.ones(len(points), dtype=np.int64)
    tokens = predictor.vocabulary.encode(readable(text, predictor), position)
    ends = np.cumsum(symbols)
    bits = np.empty(len(tokens), dtype=np.float32)
    start = 0
    for index in resets.before(points):
        stop = int(ends[index] - symbols[index])
        bits[start:stop] = predictor.observe_many(tokens[start:stop])
        predictor.reset()
        start = stop
    bits[start:] = predictor.observe_many(tokens[start:])
    sums = bits.astype(np.float64)
    if len(points) and len(tokens) != len(points):
        sums = np.add.reduceat(sums, ends - symbols)
    return Chunk(text, points, bits, sums, symbols, *place.move(points, widths), ended)


def readable(text: str, predictor: StreamPredictor) -> str:
    """A text as the predictor's vocabulary takes it: where it is of characters, a broken byte is U+FFFD."""
    if predictor.vocabulary.characters is None or text.isascii():
        return text
    return text.translate(dict.fromkeys(range(BROKEN[0], BROKEN[1] + 1), "\ufffd"))


def _bytes_of(chunk: Chunk) -> Scores:
    """The symbols of a byte model: each has its own offset, and the line and column of its character."""
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
    )


def _units_of(chunks: Iterator[Chunk], by: str, leading: bool) -> Iterator[Scores]:
    units = Units(by, leading)
    for chunk in chunks:
        yield units.add(chunk)
