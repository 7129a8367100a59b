"""Which characters may stand at a place of a text, token by token."""

import numpy as np

from ..kernels.arrays import I64
from ..vocabulary import Vocabulary
from .characters import next_bytes


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
