"""The text read so far as the memory sees it, in plain Python: the readable twin of `memory.text`.

The brackets that are open, what kind of character each symbol is, and the contexts of the next symbol.
"""

import string
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from .arithmetic import combine
from .layout import N_CLASS_HISTORIES, N_FIELDS, N_OPEN, N_ORDERS, N_RECENT
from .matches import Match, Matches

NO_BRACKET, ROUND, SQUARE, CURLY, ELEMENT, TAG, QUOTE = range(7)
"""What can be open."""
SLASH, TAG_END, LINE_END, LETTER = 7, 8, 9, 10
"""What else matters."""
CLOSING = 16
"""CLOSING + ROUND is what closes ROUND."""

NONE = NO_BRACKET, 0


@dataclass
class Brackets:
    """What is open around the next symbol: each bracket with a hash that tells what it belongs to."""

    ring: list[tuple[int, int]] = field(default_factory=lambda: [NONE] * N_OPEN)
    depth: int = 0
    before: int = 0  # what the last symbol was
    tag_name: int = 0
    in_closing_tag: bool = False
    is_markup: bool = False

    def at(self, depth: int) -> tuple[int, int]:
        """The bracket at a depth, and its hash."""
        return self.ring[(depth - 1) % N_OPEN] if depth else NONE

    @property
    def innermost(self) -> tuple[int, int]:
        """The bracket that was opened last, and its hash."""
        return self.at(self.depth)

    def open(self, bracket: int, name: int) -> None:
        """Open a bracket."""
        self.ring[self.depth % N_OPEN] = bracket, name
        self.depth += 1

    def close(self, bracket: int, name: int) -> None:
        """Close the innermost such bracket, if there is one, and what is open in it. Name 0: any name."""
        for depth in range(self.depth, max(self.depth - N_OPEN, 0), -1):
            kind, its_name = self.at(depth)
            if kind == bracket and name in (0, its_name):
                self.depth = depth - 1
                return

    def follow(self, bracket: int, word: int, previous_word: int) -> None:
        """Take a symbol that comes after a word, of which 0 symbols may be known."""
        before, self.before = self.before, bracket
        if before == TAG and bracket not in (LETTER, SLASH) and self.innermost[0] == TAG:
            self.depth -= 1  # not a tag
        top, name = self.innermost
        if top == QUOTE:
            self.depth -= bracket in (QUOTE, LINE_END)
        elif bracket == TAG:
            self.open(TAG, name if top == ELEMENT else word or previous_word)
            self.tag_name, self.in_closing_tag = 0, False
        elif bracket == TAG_END and top == TAG:
            self.depth -= 1
            if self.in_closing_tag:
                self.close(ELEMENT, self.tag_name or word)
            elif self.is_markup and before != SLASH:
                self.open(ELEMENT, self.tag_name or word)
        elif bracket >= CLOSING:
            self.close(bracket - CLOSING, 0)
        elif bracket in (ROUND, SQUARE, CURLY, QUOTE):
            self.open(bracket, word or previous_word)
        elif bracket == SLASH and before == TAG:
            self.in_closing_tag = self.is_markup = True
        if top == TAG and self.tag_name == 0 and bracket != LETTER:
            self.tag_name = word


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
    **{"(": ROUND, "[": SQUARE, "{": CURLY},
    **{")": CLOSING + ROUND, "]": CLOSING + SQUARE, "}": CLOSING + CURLY},
    **{"<": TAG, ">": TAG_END, "/": SLASH, '"': QUOTE, "\n": LINE_END},
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
        return Kind(char_class, code + 32 if char_class == UPPER else code, LETTER)
    return Kind(char_class, 0, BRACKETS.get(chr(code), NO_BRACKET))


def kinds_of(characters: str | None) -> list[Kind]:
    """The kind of each symbol of a vocabulary: of these characters, or of the 256 bytes."""
    return [kind_of(code) for code in (range(256) if characters is None else map(ord, characters))]


FAMILY = 2**40
"""Hashes of contexts of different kinds start from different multiples of this; 9 is for the matches."""
ANY_DIGIT = 2**16
"""Stands for every digit in the hash of a shape."""


class Text:
    """The symbols seen so far, cut into words, fields and lines, and the earlier places that resemble its end.

    kinds   of each symbol of the vocabulary
    recent  the last symbols, all that are needed
    """

    def __init__(self, kinds: list[Kind], n_pages: int) -> None:
        self.kinds = kinds
        self.n_seen, self.recent = 0, list[int]()
        self.word = self.previous_word = self.word_minus_2 = 0  # hashes
        self.line_start = self.previous_line_start = self.class_history = 0
        self.line_start_learned = self.previous_line_start_learned = 0  # counted in symbols that were learned
        self.field = self.field_text = self.field_shape = 0  # its number; hashes
        self.fields_above = [0] * N_FIELDS
        self.history, self.brackets = Matches(n_pages), Brackets()

    @property
    def column(self) -> int:
        """How many symbols the line has."""
        return self.n_seen - self.line_start

    def last(self, back: int) -> int:
        """The token `back` symbols ago; -1 before the beginning."""
        return self.recent[-back] if back <= len(self.recent) else -1

    def contexts(self) -> list[int]:
        """The hashes of the contexts of the next symbol: the orders 0 to 6, then the extras."""
        orders = accumulate(map(self.last, range(1, N_ORDERS)), combine, initial=FAMILY)
        position = self.previous_line_start + self.column
        near = position < self.line_start and self.n_seen - position <= N_RECENT
        above = self.last(self.n_seen - position) if near else -1
        field_above = self.fields_above[min(self.field, N_FIELDS - 1)]
        return [
            *orders,
            combine(2 * FAMILY, self.word, self.previous_word),
            combine(3 * FAMILY, *self.brackets.innermost, self.word, self.last(1)),
            combine(4 * FAMILY, above, self.last(1)),
            combine(5 * FAMILY, self.word),
            combine(6 * FAMILY, self.field, self.field_shape),
            combine(7 * FAMILY, self.field, field_above, self.field_text),
            combine(8 * FAMILY, self.column, self.last(1)),
            combine(10 * FAMILY, self.field_shape, self.previous_word),
            combine(11 * FAMILY, self.word, self.word_minus_2),
        ]

    def advance(self, token: int, learn: bool = True) -> None:
        """Append a token: it continues, begins or ends a word, a field and a line."""
        char_class, letter, bracket = self.kinds[token]
        self.brackets.follow(bracket, self.word, self.previous_word)
        self.n_seen, self.recent = self.n_seen + 1, [*self.recent, token][-N_RECENT:]
        self.class_history = (self.class_history * 8 + char_class) % N_CLASS_HISTORIES
        if letter:
            self.word = combine(self.word, letter)
        elif self.word:
            self.word_minus_2, self.previous_word, self.word = self.previous_word, self.word, 0
        if char_class > SEPARATOR:
            self.field_text = combine(self.field_text, token)
            self.field_shape = combine(self.field_shape, ANY_DIGIT if char_class == DIGIT else token)
        else:
            self.fields_above[min(self.field, N_FIELDS - 1)] = self.field_text
            self.field, self.field_text, self.field_shape = self.field + 1, 0, 0
        self.history.follow(token, self.last, learn)
        if char_class == NEWLINE:
            self.previous_line_start, self.line_start, self.field = self.line_start, self.n_seen, 0
            self.previous_line_start_learned = self.line_start_learned
            self.line_start_learned = self.history.n_learned

    def match_distance(self, match: Match) -> int:
        """0 if a match is in this line, 1 if it is in the previous one, else 2."""
        n_learned = self.history.n_learned
        back = (n_learned - match.position) % len(self.history.ring)
        starts = self.line_start_learned, self.previous_line_start_learned
        return sum(back > n_learned - start for start in starts)
