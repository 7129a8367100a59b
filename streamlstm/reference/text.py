"""What the contexts of the next symbol are, in plain Python; the readable twin of `memory.contexts`."""

from itertools import accumulate

from .arithmetic import combine
from .brackets import Brackets
from .classes import DIGIT, NEWLINE, SEPARATOR, Kind
from .layout import N_CLASS_HISTORIES, N_FIELDS, N_ORDERS, N_RECENT
from .matches import Match, Matches

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
