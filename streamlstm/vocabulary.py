"""The vocabulary: an immutable two-way map between symbols (what the user streams) and tokens (their int index)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
Symbol = str | bytes | int
"""One symbol: a character, or in a byte vocabulary also one byte (as `bytes` of length 1 or as an int)."""
Symbols = str | bytes | bytearray | memoryview | npt.NDArray[Any]
"""Many symbols: text, bytes, or an integer array of tokens."""
_PLAIN = (str, bytes, int, np.integer)
_Bytes = bytes  # the name is taken inside the class


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that a model knows, in the order of their tokens.

    characters  the characters of a text vocabulary, sorted; None: the 256 byte values
    unknown     the character that stands for all others, or None: others are refused

    >>> Vocabulary.from_text("hello").characters
    'ehlo'
    >>> Vocabulary.bytes().encode("é").tolist()
    [195, 169]
    """

    characters: str | None
    unknown: str | None = None
    token_of: dict[Symbol, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.characters is None:
            if self.unknown is not None:
                raise ValueError("a byte vocabulary knows every byte; it takes no unknown=")
            ascii_tokens: dict[Symbol, int] = {chr(token): token for token in range(128)}
            byte_tokens: dict[Symbol, int] = {bytes([token]): token for token in range(256)}
            self._keep(ascii_tokens | byte_tokens | {token: token for token in range(256)}, range(0))
            return
        if not self.characters:
            raise ValueError("a text vocabulary needs at least one character, the text is empty")
        if self.characters != "".join(sorted(set(self.characters))):
            raise ValueError("the characters of a vocabulary must be sorted and differ from each other")
        if self.unknown is not None and (len(self.unknown) != 1 or self.unknown not in self.characters):
            raise ValueError(f"unknown must be one character of the vocabulary, not {self.unknown!r}")
        self._keep({symbol: token for token, symbol in enumerate(self.characters)}, map(ord, self.characters))

    def _keep(self, tokens: dict[Symbol, int], points: Iterable[int]) -> None:
        object.__setattr__(self, "token_of", tokens)
        object.__setattr__(self, "_points", np.fromiter(points, dtype=np.uint32))

    @classmethod
    def bytes(cls) -> "Vocabulary":
        """The 256 byte values: takes any input, text as UTF-8."""
        return cls(None)

    @classmethod
    def from_text(cls, text: str, unknown: str | None = None) -> "Vocabulary":
        """The characters of `text`, and `unknown`, the character to take for any other (default: refuse others)."""
        return cls("".join(sorted(set(text) | set(unknown or ""))), unknown)

    @classmethod
    def from_description(cls, description: Any) -> "Vocabulary":
        """The vocabulary that `describe` described; ValueError for anything else."""
        if not isinstance(description, dict) or set(description) != {"characters", "unknown"}:
            raise ValueError(f"not a vocabulary: {description!r}")
        if not all(value is None or isinstance(value, str) for value in description.values()):
            raise ValueError(f"not a vocabulary: {description!r}")
        return cls(**description)

    def describe(self) -> dict[str, str | None]:
        """The vocabulary as plain values."""
        return {"characters": self.characters, "unknown": self.unknown}

    def __len__(self) -> int:
        return 256 if self.characters is None else len(self.characters)

    def encode(self, symbols: Symbols, position: int = 0) -> Tokens:
        """Tokens int32 [n] of text or bytes; an integer array is taken as tokens and checked.

        Over a byte vocabulary a str becomes its UTF-8 bytes. Over a text vocabulary bytes are read as UTF-8.
        Raises ValueError that names the first symbol that the vocabulary does not have, and its position, counted
        from `position` on.
        """
        if isinstance(symbols, np.ndarray):
            return self._checked(symbols)
        if not isinstance(symbols, str | _Bytes | bytearray) and not (
            isinstance(symbols, memoryview) and symbols.itemsize == 1
        ):
            raise TypeError(f"symbols are text, bytes, or an integer array of tokens, not {type(symbols).__name__}")
        if self.characters is None:
            if isinstance(symbols, str):
                symbols = symbols.encode("utf-8", "surrogateescape")
            return np.frombuffer(symbols, dtype=np.uint8).astype(np.int32)
        if not isinstance(symbols, str):
            symbols = str(symbols, "utf-8")
        points = np.frombuffer(symbols.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        known: npt.NDArray[np.uint32] = self._points  # type: ignore[attr-defined]
        tokens = np.minimum(np.searchsorted(known, points), len(known) - 1)
        missing = known[tokens] != points
        if missing.any():
            if self.unknown is None:
                first = int(np.argmax(missing))
                raise ValueError(
                    f"the vocabulary has no symbol {symbols[first]!r} (position {position + first}); "
                    "build it with unknown='?' or use Vocabulary.bytes()"
                )
            tokens[missing] = self.characters.index(self.unknown)
        return tokens.astype(np.int32)

    def encode_symbol(self, symbol: Symbol) -> Sequence[int]:
        """The tokens of one symbol: one, or the UTF-8 bytes of one character over a byte vocabulary."""
        if isinstance(symbol, _PLAIN) and symbol is not True and symbol is not False:
            try:
                return (self.token_of[symbol],)
            except KeyError:
                pass
        if not isinstance(symbol, str | _Bytes):
            kind = "one character, or a byte from 0 to 255" if self.characters is None else "one character"
            raise TypeError(f"a symbol is {kind}, not {symbol!r}")
        if len(symbol) != 1:
            raise ValueError(f"observe takes one symbol, not {len(symbol)} ({symbol!r}); observe_many takes many")
        return [int(token) for token in self.encode(symbol)]

    def decode(self, tokens: npt.ArrayLike) -> str:
        """The text of tokens int [n]; bytes that are no UTF-8 become U+FFFD."""
        checked = self._checked(np.asarray(tokens))
        if self.characters is None:
            return checked.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return "".join(self.characters[token] for token in checked)

    def symbol(self, token: int) -> str | _Bytes:
        """The symbol of a token: a character; in a byte vocabulary one of ASCII, or `bytes` of length 1 above."""
        if not 0 <= token < len(self):
            raise ValueError(f"a token is between 0 and {len(self) - 1}, not {token}")
        if self.characters is not None:
            return self.characters[token]
        return chr(token) if token < 128 else bytes([token])

    def _checked(self, tokens: npt.NDArray[Any]) -> Tokens:
        tokens = np.asarray(tokens)  # the plain data: of a masked array, what is masked as well
        if tokens.size == 0:
            return np.zeros(0, dtype=np.int32)
        if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            raise TypeError(f"tokens are a flat array of integers, not {tokens.dtype} of shape {tokens.shape}")
        if tokens.min() < 0 or tokens.max() >= len(self):
            wrong = next(int(token) for token in tokens if not 0 <= token < len(self))
            raise ValueError(f"a token is between 0 and {len(self) - 1}, not {wrong}")
        return tokens.astype(np.int32)
