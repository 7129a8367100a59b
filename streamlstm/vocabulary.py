"""The vocabulary: an immutable two-way map between symbols (what the user streams) and tokens (their int indices)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .ranges import check_count, is_whole_number

Tokens = npt.NDArray[np.int32]
Symbol = str | bytes | int
"""One symbol: a character, or for a byte vocabulary also one byte (as `bytes` of length 1 or as an int)."""
Symbols = str | bytes | bytearray | memoryview | npt.NDArray[Any] | Sequence[int]
"""Many symbols: text, bytes, or tokens as an integer array or a sequence of ints."""
_SYMBOL_TYPES = (str, bytes, int, np.integer)
_Bytes = bytes  # inside the class, `bytes` is the class method

_LONGEST_REPR = 64
"""How many characters of a vocabulary its repr shows."""


class UnknownSymbolError(ValueError):
    """A text has a character that the vocabulary lacks, and that nothing stands for."""


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """The symbols that a model knows, in the order of their tokens.

    characters  the characters of a text vocabulary, sorted and unique; None: the 256 byte values
    unknown     the character that stands for all characters outside the vocabulary; None: these raise ValueError
    token_of    the token of each symbol, a read-only mapping; bytes have up to three keys: "A", b"A" and 65

    Vocabularies with the same characters and the same `unknown` are equal.

    >>> vocabulary = Vocabulary.from_text("hello")
    >>> vocabulary
    Vocabulary('ehlo')
    >>> vocabulary.encode("hole").tolist()
    [1, 3, 2, 0]
    >>> "h" in vocabulary, "x" in vocabulary, len(vocabulary)
    (True, False, 4)
    >>> Vocabulary.bytes().encode("é").tolist()
    [195, 169]
    """

    characters: str | None
    unknown: str | None = None
    token_of: Mapping[Symbol, int] = field(init=False, compare=False)
    _code_points: npt.NDArray[np.uint32] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.characters is None:
            if self.unknown is not None:
                raise ValueError("a byte vocabulary has every byte; it takes no unknown=")
            ascii_tokens: dict[Symbol, int] = {chr(token): token for token in range(128)}
            byte_tokens: dict[Symbol, int] = {bytes([token]): token for token in range(256)}
            self._set_tokens(ascii_tokens | byte_tokens | {token: token for token in range(256)}, range(0))
            return
        if not self.characters:
            raise ValueError("a text vocabulary needs at least one character, the text is empty")
        if self.characters != "".join(sorted(set(self.characters))):
            raise ValueError("the characters of a vocabulary must be sorted and unique")
        if self.unknown is not None and (len(self.unknown) != 1 or self.unknown not in self.characters):
            raise ValueError(f"unknown must be one character of the vocabulary, not {self.unknown!r}")
        self._set_tokens({symbol: token for token, symbol in enumerate(self.characters)}, map(ord, self.characters))

    def _set_tokens(self, token_of: dict[Symbol, int], code_points: Iterable[int]) -> None:
        object.__setattr__(self, "token_of", MappingProxyType(token_of))
        object.__setattr__(self, "_code_points", np.fromiter(code_points, dtype=np.uint32))

    @classmethod
    def bytes(cls) -> "Vocabulary":
        """The 256 byte values: takes any input, text as UTF-8."""
        return cls(None)

    @classmethod
    def from_text(cls, text: str, unknown: str | None = None) -> "Vocabulary":
        """The characters of `text`.

        unknown  a character, added if `text` lacks it, that stands for all others; default: others raise ValueError
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be str, not {type(text).__name__}; Vocabulary.bytes() has every byte")
        return cls("".join(sorted(set(text) | set(unknown or ""))), unknown)

    @classmethod
    def from_description(cls, description: Any, n_symbols: int | None = None) -> "Vocabulary":
        """The vocabulary that `describe` described. Raises ValueError for anything else.

        n_symbols  how many symbols it must have, if that is known: version 1.0 wrote a pair of surrogates as one
                   character, which is then taken apart
        """
        if not isinstance(description, dict) or set(description) != {"characters", "unknown"}:
            raise ValueError(f"not a vocabulary: {description!r}")
        characters, unknown = description["characters"], description["unknown"]
        if isinstance(characters, list) and all(_is_code_point(number) for number in characters):
            characters = "".join(map(chr, characters))
        elif not isinstance(characters, str | None):
            raise ValueError(f"not a vocabulary: {description!r}")
        elif characters is not None and n_symbols == len(characters) + 1:
            characters = _with_first_pair_apart(characters)
        if not isinstance(unknown, str | None):
            raise ValueError(f"not a vocabulary: {description!r}")
        return cls(characters, unknown)

    def describe(self) -> dict[str, Any]:
        """The vocabulary as JSON values.

        The characters are text, or a list of code points if they are not the same after they were written as JSON: it
        makes one character of a high surrogate and a low one after it.
        """
        text = self.characters
        if text is not None and json.loads(json.dumps(text)) != text:
            return {"characters": [ord(character) for character in text], "unknown": self.unknown}
        return {"characters": text, "unknown": self.unknown}

    def __repr__(self) -> str:
        if self.characters is None:
            return "Vocabulary.bytes()"
        unknown = "" if self.unknown is None else f", unknown={self.unknown!r}"
        if len(self) <= _LONGEST_REPR:
            return f"Vocabulary({self.characters!r}{unknown})"
        return f"<Vocabulary: {len(self):,} characters, {self.characters[:_LONGEST_REPR]!r}…{unknown}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Vocabulary, (self.characters, self.unknown)

    def __len__(self) -> int:
        return 256 if self.characters is None else len(self.characters)

    def __contains__(self, symbol: object) -> bool:
        return _is_symbol(symbol) and symbol in self.token_of

    def encode(self, symbols: Symbols, position: int = 0) -> Tokens:
        """Tokens, int32 [n], of text or bytes. An integer array or a sequence of ints is taken as tokens.

        A byte vocabulary encodes a str as UTF-8. A text vocabulary decodes bytes as UTF-8.
        Raises ValueError for the first symbol that is not in the vocabulary, with its position counted from
        `position`, for a token out of range, and for bytes that are not valid UTF-8. Raises TypeError for other types.

        >>> Vocabulary.bytes().encode([104, 105]).tolist()
        [104, 105]
        """
        if position != 0:
            position = check_count("position", position, 0)
        if isinstance(symbols, np.ndarray):
            return self._checked(symbols)
        if isinstance(symbols, memoryview) and symbols.itemsize == 1:
            symbols = symbols.tobytes()
        if not isinstance(symbols, str | _Bytes | bytearray):
            return self._checked(_integers(symbols))
        if self.characters is None:
            if isinstance(symbols, str):
                symbols = symbols.encode("utf-8", "surrogateescape")
            return np.frombuffer(symbols, dtype=np.uint8).astype(np.int32)
        return self._encode_text(symbols if isinstance(symbols, str) else str(symbols, "utf-8"), position)

    def _encode_text(self, text: str, position: int) -> Tokens:
        assert self.characters is not None
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        known = self._code_points
        tokens = np.minimum(np.searchsorted(known, points), len(known) - 1)
        missing = known[tokens] != points
        if missing.any():
            if self.unknown is None:
                first = int(np.argmax(missing))
                raise UnknownSymbolError(
                    f"the vocabulary has no symbol {text[first]!r} (position {position + first}); "
                    "build it with unknown='?' or use Vocabulary.bytes()"
                )
            tokens[missing] = self.characters.index(self.unknown)
        return tokens.astype(np.int32)

    def encode_symbol(self, symbol: Symbol) -> Sequence[int]:
        """The tokens of one symbol: one, or with a byte vocabulary one per UTF-8 byte of a character.

        Raises ValueError for a symbol that is not in the vocabulary or more than one, TypeError for other types.
        """
        if _is_symbol(symbol):
            try:
                return (self.token_of[symbol],)
            except KeyError:
                pass
        if not isinstance(symbol, str | _Bytes):
            kind = "one character, or a byte from 0 to 255" if self.characters is None else "one character"
            raise TypeError(f"a symbol is {kind}, not {symbol!r}")
        if len(symbol) != 1:
            raise ValueError(f"expected one symbol, not {len(symbol)} ({symbol!r}); observe_many takes many")
        return [int(token) for token in self.encode(symbol)]

    def decode(self, tokens: npt.ArrayLike) -> str:
        """The text of tokens, int [n]; bytes that are not valid UTF-8 become U+FFFD."""
        checked = self._checked(np.asarray(tokens))
        if self.characters is None:
            return checked.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return "".join(self.characters[token] for token in checked)

    def symbol(self, token: int) -> str | _Bytes:
        """The symbol of a token: a character (str); a byte above 127 is `bytes` of length 1."""
        if not is_whole_number(token):
            raise TypeError(f"a token must be a whole number, not {token!r}")
        if not 0 <= token < len(self):
            raise ValueError(f"a token must be between 0 and {len(self) - 1}, not {token}")
        if self.characters is not None:
            return self.characters[token]
        return chr(token) if token < 128 else bytes([token])

    def _checked(self, tokens: npt.NDArray[Any]) -> Tokens:
        tokens = np.asarray(tokens)  # of a masked array the data, including what is masked
        if tokens.size == 0:
            return np.zeros(0, dtype=np.int32)
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise TypeError(f"tokens must be a flat array of integers, not {tokens.dtype} of shape {tokens.shape}")
        if tokens.min() < 0 or tokens.max() >= len(self):
            first = int(np.argmax((tokens < 0) | (tokens >= len(self))))
            raise ValueError(
                f"a token must be between 0 and {len(self) - 1}, not {tokens[first]} (position {first} of the tokens)"
            )
        return tokens.astype(np.int32)


def _is_code_point(number: object) -> bool:
    """Whether a value from JSON is the number of a character."""
    return is_whole_number(number) and 0 <= number < 0x110000  # type: ignore[operator]


def _with_first_pair_apart(characters: str) -> str:
    """The characters with the first one above U+FFFF replaced by the two surrogates that stand for it in UTF-16."""
    first = next((character for character in characters if character > "\uffff"), "")
    units = first.encode("utf-16-be")
    pair = "".join(chr(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2))
    return characters.replace(first, pair, 1) if first else characters


def _is_symbol(symbol: object) -> bool:
    """Whether it has the type of a symbol; True and 1.0 equal 1, but are not symbols."""
    return isinstance(symbol, _SYMBOL_TYPES) and not isinstance(symbol, bool)


def _integers(tokens: object) -> npt.NDArray[np.int64]:
    """A sequence of ints as an array. Raises TypeError for anything else."""
    if isinstance(tokens, memoryview) or not isinstance(tokens, Sequence):
        raise TypeError(f"symbols must be str, bytes, or a sequence of int tokens, not {type(tokens).__name__}")
    for position, token in enumerate(tokens):
        if not is_whole_number(token):
            raise TypeError(
                f"symbols must be str, bytes, or a sequence of int tokens, "
                f"not a {type(tokens).__name__} with {token!r} (position {position})"
            )
    try:
        return np.array(tokens, dtype=np.int64)
    except OverflowError:
        raise ValueError("a token is out of range: it does not fit into 64 bits") from None
