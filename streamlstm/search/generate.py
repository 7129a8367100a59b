"""Text generation: characters drawn from the predicted distributions.

An `Alphabet` says which characters may stand at a place of a text, token by token; the beam search uses it too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..jit.decorators import native
from ..kernels.arrays import F64, I64
from ..kernels.distribution import apply_temperature
from ..model import generator
from ..predictor import StreamPredictor
from ..ranges import check_count, check_number
from ..text.characters import N_CHARACTERS, likely_characters, next_bytes
from ..vocabulary import Symbols, Vocabulary


class Alphabet:
    """A set of characters of a vocabulary. Over bytes a character may have several tokens.

    characters  the characters; None: all that the vocabulary has
    without     characters that are not in it

    Raises ValueError if the vocabulary lacks one of `characters`.
    """

    def __init__(self, vocabulary: Vocabulary, characters: str | None = None, without: str = "") -> None:
        self._characters = vocabulary.characters
        self._following: dict[bytes, I64] = {}
        self._only, self._without = None, {each.encode("utf-8", "surrogateescape") for each in without}
        if vocabulary.characters is not None:
            chosen = vocabulary.characters if characters is None else characters
            tokens = {vocabulary.encode_symbol(each)[0] for each in chosen if each not in without}
            self._following[b""] = np.array(sorted(tokens), dtype=np.int64)
        elif characters is not None:
            encoded = [each.encode() for each in characters]
            self._only = {each[: n + 1] for each in encoded for n in range(len(each))}

    def following(self, prefix: bytes) -> I64:
        """The tokens that may come next, in ascending order, after the first bytes of a character."""
        if prefix not in self._following:
            allowed = [byte for byte in next_bytes(prefix) if self._allows(prefix + bytes([byte]))]
            self._following[prefix] = np.array(allowed, dtype=np.int64)
        return self._following[prefix]

    def character(self, prefix: bytes, token: int) -> str | None:
        """The character that a token completes, or None if it needs more bytes."""
        if self._characters is not None:
            return self._characters[token]
        encoded = prefix + bytes([token])
        return None if next_bytes(encoded) else encoded.decode()

    def _allows(self, encoded: bytes) -> bool:
        return encoded not in self._without and (self._only is None or encoded in self._only)


TEMPERATURE, TOP_P = 0.9, 0.95
"""The defaults, measured with `demos/words.py`."""

LEAST = 2.0**-13
"""Characters that are less probable are not drawn, except at temperature 1 without `top_k` and `top_p`."""


def generate(
    predictor: StreamPredictor,
    length: int,
    prompt: Symbols = "",
    *,
    temperature: float = TEMPERATURE,
    top_k: int = 0,
    top_p: float = TOP_P,
    seed: int = 0,
) -> Iterator[str]:
    """Yield `length` characters that continue `prompt`. The predictor does not change: a frozen fork reads them.

    temperature  below 1: more probable characters are favoured; above 1: less; 0: always the most probable character
    top_k        draw from the k most probable characters only; 0: from all
    top_p        draw from the smallest set of most probable characters with this total probability; 1: from all
    seed         the same seed draws the same characters on every machine

    `top_k` and `top_p` apply to the predicted distribution, and `temperature` to the characters that remain. All of
    them apply to whole characters: with a byte vocabulary, probabilities are products of those of the bytes, and bytes
    that are not valid UTF-8 are never drawn. A prompt of bytes must end with a complete character.
    Raises ValueError for a value out of its range, and for a prompt with a symbol that is not in the vocabulary.

    >>> predictor = StreamPredictor.pretrained()
    >>> bits = predictor.observe_many("one two three " * 9)
    >>> "".join(generate(predictor, 14, temperature=0))
    'one two three '
    """
    length, top_k = check_count("length", length, 0), check_count("top_k", top_k, 0)
    temperature = check_number("temperature", temperature, 0)
    top_p = check_number("top_p", top_p, 0, 1, above=True)
    draw = _Draw(temperature, top_k or N_CHARACTERS, top_p, generator(seed))
    sampler = predictor.fork(learning=False)
    sampler.observe_many(prompt)
    return _characters(sampler, length, draw)


def _characters(sampler: StreamPredictor, length: int, draw: "_Draw") -> Iterator[str]:
    for _ in range(length):
        yield draw.from_all(sampler) if draw.is_from_all else draw.from_likely(sampler)


@dataclass(frozen=True, eq=False)
class _Draw:
    """Draws characters, which the sampler then observes; the options are those of `generate`."""

    temperature: float
    top_k: int
    top_p: float
    bits: np.random.PCG64

    @property
    def is_from_all(self) -> bool:
        """Whether it draws from the predicted distribution as it is."""
        return self.temperature == 1 and self.top_p == 1 and self.top_k == N_CHARACTERS

    def from_all(self, sampler: StreamPredictor) -> str:
        """A character drawn from the predicted distribution, of a byte vocabulary byte by byte."""
        vocabulary = sampler.vocabulary
        if vocabulary.characters is not None:
            token = self._choice(sampler.distribution.astype(np.float64))
            sampler.observe_token(token)
            return vocabulary.characters[token]
        drawn = b""
        while following := next_bytes(drawn):
            byte = following[self._choice(sampler.distribution[list(following)].astype(np.float64))]
            sampler.observe_token(byte)
            drawn += bytes([byte])
        return drawn.decode()

    def from_likely(self, sampler: StreamPredictor) -> str:
        """A character drawn from the most probable ones."""
        k = 1 if self.temperature == 0 else self.top_k
        characters, p = likely_characters(sampler, k, self.top_p, LEAST)
        if len(characters) > 1:
            native(apply_temperature)(p, self.temperature)
        character = characters[self._choice(p)]
        sampler.observe_many(character)
        return character

    def _choice(self, p: F64) -> int:
        """An index drawn in proportion to p."""
        cumulative = np.cumsum(p)
        uniform = (self.bits.random_raw() >> 11) * 2.0**-53
        choice = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
        return min(choice, len(p) - 1)
