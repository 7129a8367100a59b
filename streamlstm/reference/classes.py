"""What kind of character each symbol is; the readable twin of `memory.classes`."""

import string
from typing import NamedTuple

from . import brackets as b

NEWLINE, SEPARATOR, DIGIT, LOWER, UPPER, NON_ASCII, PUNCTUATION, OTHER = range(8)

CLASSES = {
    "\n": NEWLINE,
    **dict.fromkeys(" \t,", SEPARATOR),
    **dict.fromkeys(string.digits, DIGIT),
    **dict.fromkeys(string.ascii_lowercase, LOWER),
    **dict.fromkeys(string.ascii_uppercase, UPPER),
    **dict.fromkeys(".;:'\"", PUNCTUATION),
}
BRACKETS = {
    **{"(": b.ROUND, "[": b.SQUARE, "{": b.CURLY},
    **{")": b.CLOSING + b.ROUND, "]": b.CLOSING + b.SQUARE, "}": b.CLOSING + b.CURLY},
    **{"<": b.TAG, ">": b.TAG_END, "/": b.SLASH, '"': b.QUOTE, "\n": b.NEWLINE},
}


class Kind(NamedTuple):
    """The kind of a symbol.

    char_class  NEWLINE …
    letter      a number that identifies a letter, the same for upper and lower case; 0 for what is not a letter
    bracket     what it means to `brackets`; 0 for nothing
    """

    char_class: int
    letter: int
    bracket: int


def kind_of(code: int) -> Kind:
    """The kind of a byte or of a character with this code."""
    char_class = NON_ASCII if code >= 128 else CLASSES.get(chr(code), OTHER)
    if char_class in (LOWER, UPPER, NON_ASCII):
        return Kind(char_class, code + 32 if char_class == UPPER else code, b.LETTER)
    return Kind(char_class, 0, BRACKETS.get(chr(code), b.NO_BRACKET))


def kinds_of(characters: str | None) -> list[Kind]:
    """The kind of each symbol of a vocabulary: of these characters, or of the 256 bytes."""
    return [kind_of(code) for code in (range(256) if characters is None else map(ord, characters))]
