"""Proof, on the user's own data, of what a predictor promises: each check yields a row, or the first counterexample.

The checks use what any user can call, on forks of the predictor, which does not change. Bits are compared as bits.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F32
from ..predictor import StreamPredictor
from ..vocabulary import Tokens
from .compress import compress, decompress

PIECE = 1000
"""The most symbols that are given at once, in pieces of random sizes."""
TAIL = 100
"""How many symbols of another future follow the place where it begins to differ."""


@dataclass(frozen=True)
class Row:
    """A check, the figures that it found, and the first counterexample; "" where it held."""

    check: str
    figures: str
    counterexample: str = ""


def verify(data: bytes | str, predictor: StreamPredictor, seed: int = 0) -> Iterator[Row]:
    """Check a predictor on data: a row per check, the last one that which failed.

    `seed` draws the places and pieces. Raises ValueError, before any check, for a symbol that the vocabulary lacks.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=32, layers=1))
    >>> for row in verify(b"so it goes. " * 20, predictor):
    ...     print(f"{row.check:<16} {row.counterexample or 'held'}")
    normalised       held
    scored first     held
    one pass         held
    causal           held
    resumable        held
    lossless         held
    """
    tokens = predictor.vocabulary.encode(data)
    return _rows(tokens, predictor, np.random.default_rng(seed))


def _rows(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator) -> Iterator[Row]:
    whole = predictor.fork()
    bits = whole.observe_many(tokens)
    one_by_one = _OneByOne(predictor.fork(), tokens)
    checks: list[Callable[[], Row]] = [
        one_by_one.normalised,
        one_by_one.scored_first,
        lambda: _one_pass(tokens, predictor, random, bits, one_by_one, whole),
        lambda: _causal(tokens, predictor, random, bits),
        lambda: _resumable(tokens, predictor, random, bits, whole),
    ]
    if predictor.vocabulary.characters is None:
        checks.append(lambda: _lossless(tokens, predictor, bits))
    for check in checks:
        row = check()
        yield row
        if row.counterexample:
            return


class _OneByOne:
    """One predict and one observe per symbol: what they returned, and the distributions' sums and least values."""

    def __init__(self, predictor: StreamPredictor, tokens: Tokens) -> None:
        n = len(tokens)
        self.predictor = predictor
        self.bits = np.empty(n, dtype=np.float32)
        self._sums, self._least = np.ones(n), np.ones(n)
        self._chances = np.ones(n, dtype=np.float32)
        for index, token in enumerate(tokens.tolist()):
            p = predictor.predict()
            self._sums[index], self._least[index], self._chances[index] = p.sum(dtype=np.float64), p.min(), p[token]
            self.bits[index] = predictor.observe(predictor.vocabulary.symbol(token))

    def normalised(self) -> Row:
        """Every distribution is above 0 and sums to 1 within 1e-6."""
        errors = np.abs(self._sums - 1)
        wrong = _first(~((errors <= 1e-6) & (self._least > 0)))
        figures = f"sums within {errors.max(initial=0):.1e} of 1, least probability {self._least.min(initial=1):.1e}"
        if wrong is None:
            return Row("normalised", figures)
        found = f"before symbol {wrong:,} the sum is {self._sums[wrong]:.9f}, the least {self._least[wrong]:.1e}"
        return Row("normalised", figures, found)

    def scored_first(self) -> Row:
        """The surprisal returned is that of the distribution held before: within 1e-5 bits, and 1e-6 of the value."""
        expected = -np.log2(self._chances.astype(np.float64))
        errors = np.abs(self.bits - expected)
        wrong = _first(~(errors <= 1e-5 + 1e-6 * expected))
        figures = f"surprisals within {errors.max(initial=0):.1e} bits of -log2 of the distribution before"
        if wrong is None:
            return Row("scored first", figures)
        found = f"symbol {wrong:,} was scored {self.bits[wrong]:.6f} bits, expected were {expected[wrong]:.6f}"
        return Row("scored first", figures, found)


def _one_pass(
    tokens: Tokens,
    predictor: StreamPredictor,
    random: np.random.Generator,
    bits: F32,
    one_by_one: _OneByOne,
    whole: StreamPredictor,
) -> Row:
    """One block, one by one, and pieces of random sizes give the same surprisals and the same predictor."""
    reader, pieces = predictor.fork(), []
    done = n_pieces = 0
    while done < len(tokens):
        size = int(random.integers(1, PIECE, endpoint=True))
        pieces.append(reader.observe_many(tokens[done : done + size]))
        done, n_pieces = done + size, n_pieces + 1
    in_pieces = np.concatenate([*pieces, np.empty(0, dtype=np.float32)])
    figures = f"one block, {len(tokens):,} single symbols and {n_pieces:,} random pieces: the same bits"
    for name, other, end in (("one by one", one_by_one.bits, one_by_one.predictor), ("in pieces", in_pieces, reader)):
        found = _difference(bits, other, 0, whole, end)
        if found:
            return Row("one pass", figures, f"{name} instead of one block, {found}")
    return Row("one pass", figures)


def _causal(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, bits: F32) -> Row:
    """Another future after random places changes no surprisal before them."""
    places = sorted(int(random.integers(0, len(tokens), endpoint=True)) for _ in range(2))
    figures = f"another future from symbol {' and '.join(f'{place:,}' for place in places)} on: the same bits before"
    for place in places:
        future = random.integers(0, len(predictor.vocabulary), TAIL).astype(np.int32)
        other = predictor.fork().observe_many(np.concatenate([tokens[:place], future]))
        wrong = _first(~_same(bits[:place], other[:place]))
        if wrong is not None:
            found = f"with another future from {place:,} on symbol {wrong:,} has {other[wrong]} bits, not {bits[wrong]}"
            return Row("causal", figures, found)
    return Row("causal", figures)


def _resumable(
    tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, bits: F32, whole: StreamPredictor
) -> Row:
    """Saved at a random place and loaded, it goes on as if it had never stopped."""
    place = int(random.integers(0, len(tokens), endpoint=True))
    reader = predictor.fork()
    reader.observe_many(tokens[:place])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        reader.save(path)
        resumed = StreamPredictor.load(path)
    found = _difference(bits[place:], resumed.observe_many(tokens[place:]), place, whole, resumed)
    figures = f"saved and loaded at symbol {place:,}: the same bits after"
    return Row("resumable", figures, found and f"resumed at symbol {place:,}, {found}")


def _lossless(tokens: Tokens, predictor: StreamPredictor, bits: F32) -> Row:
    """What compress makes of the data, decompress makes the data of."""
    data = tokens.astype(np.uint8).tobytes()
    packed = compress(data, predictor)
    ideal = float(bits.sum(dtype=np.float64)) / 8
    figures = f"{len(data):,} bytes to {len(packed):,} and back; the surprisals sum to {ideal:,.1f}"
    back = decompress(packed, predictor)
    if back == data:
        return Row("lossless", figures)
    wrong = _first(np.frombuffer(back, dtype=np.uint8)[: len(data)] != tokens[: len(back)])
    place = min(len(back), len(data)) if wrong is None else wrong
    return Row("lossless", figures, f"byte {place:,} did not come back")


def _difference(bits: F32, other: F32, first: int, end: StreamPredictor, other_end: StreamPredictor) -> str:
    """The first difference between two runs, in words: of a surprisal, the distribution or a weight at the end."""
    wrong = _first(~_same(bits, other))
    if wrong is not None:
        return f"symbol {first + wrong:,} has {other[wrong]} bits, not {bits[wrong]}"
    if not _same(end.predict(), other_end.predict()).all():
        return "the distribution at the end differs"
    others = other_end.weights()
    for name, weight in end.weights().items():
        if not _same(weight.ravel(), others[name].ravel()).all():
            return f"{name} at the end differs"
    return ""


def _same(one: F32, other: F32) -> npt.NDArray[np.bool_]:
    """Where two arrays have the same bits."""
    return np.equal(one.view(np.uint32), other.view(np.uint32))


def _first(wrong: npt.NDArray[np.bool_]) -> int | None:
    """The index of the first True."""
    return int(np.argmax(wrong)) if wrong.any() else None
