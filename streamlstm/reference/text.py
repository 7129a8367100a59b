"""What the contexts of the next symbol are, in plain Python; the readable twin of `memory.contexts`."""

from itertools import accumulate

from ..memory import contexts as c
from ..memory import layout as at
from .arithmetic import Array, combine
from .brackets import Brackets
from .matches import Match, Matches


class Text:
    """The symbols seen so far, cut into words, fields and lines, and the earlier places that resemble its end."""

    def __init__(self, char_classes: Array, n_pages: int) -> None:
        self.char_classes = char_classes
        self.seen: list[int] = []
        self.word = self.previous_word = self.word_minus_2 = 0  # hashes
        self.line_start = self.previous_line_start = self.class_history = 0
        self.field = self.field_text = self.field_shape = 0  # its number; hashes
        self.fields_above = [0] * at.N_FIELDS
        self.history, self.brackets = Matches(n_pages), Brackets()

    @property
    def column(self) -> int:
        """How many symbols the line has."""
        return len(self.seen) - self.line_start

    def last(self, back: int) -> int:
        """The token `back` symbols ago; -1 before the beginning."""
        return self.seen[-back] if back <= len(self.seen) else -1

    def contexts(self) -> list[int]:
        """The hashes of the contexts of the next symbol: the orders 0 to 6, then the extras."""
        orders = accumulate(map(self.last, range(1, at.N_ORDERS)), combine, initial=c.FAMILY)
        position = self.previous_line_start + self.column
        near = position < self.line_start and len(self.seen) - position <= at.N_RECENT
        above = self.seen[position] if near else -1
        field_above = self.fields_above[min(self.field, at.N_FIELDS - 1)]
        return [
            *orders,
            combine(2 * c.FAMILY, self.word, self.previous_word),
            combine(3 * c.FAMILY, *self.brackets.innermost, self.word, self.last(1)),
            combine(4 * c.FAMILY, above, self.last(1)),
            combine(5 * c.FAMILY, self.word),
            combine(6 * c.FAMILY, self.field, self.field_shape),
            combine(7 * c.FAMILY, self.field, field_above, self.field_text),
            combine(8 * c.FAMILY, self.column, self.last(1)),
            combine(10 * c.FAMILY, self.field_shape, self.previous_word),
            combine(11 * c.FAMILY, self.word, self.word_minus_2),
        ]

    def advance(self, token: int) -> None:
        """Append a token: it continues, begins or ends a word, a field and a line."""
        code, char_class = divmod(int(self.char_classes[token]), 16)
        bracket, letter = divmod(code, c.LETTERS)
        self.brackets.follow(bracket, self.word, self.previous_word)
        self.seen.append(token)
        self.class_history = (self.class_history * 8 + char_class) % at.N_CLASS_HISTORIES
        if letter:
            self.word = combine(self.word, letter)
        elif self.word:
            self.word_minus_2, self.previous_word, self.word = self.previous_word, self.word, 0
        if char_class > c.SEPARATOR:
            self.field_text = combine(self.field_text, token)
            self.field_shape = combine(self.field_shape, c.ANY_DIGIT if char_class == c.DIGIT else token)
        else:
            self.fields_above[min(self.field, at.N_FIELDS - 1)] = self.field_text
            self.field, self.field_text, self.field_shape = self.field + 1, 0, 0
        if char_class == c.NEWLINE:
            self.previous_line_start, self.line_start, self.field = self.line_start, len(self.seen), 0
        self.history.follow(token, self.last)

    def match_distance(self, match: Match) -> int:
        """0 if a match is in this line, 1 if it is in the previous one, else 2."""
        back = (len(self.seen) - match.position) % len(self.history.ring)
        return 0 if back <= self.column else 1 if back <= len(self.seen) - self.previous_line_start else 2
