"""The open brackets, in plain Python; the readable twin of `memory.brackets`."""

from dataclasses import dataclass, field

from .layout import N_OPEN

NO_BRACKET, ROUND, SQUARE, CURLY, ELEMENT, TAG, QUOTE = range(7)
"""What can be open."""
SLASH, TAG_END, NEWLINE, LETTER = 7, 8, 9, 10
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
            self.depth -= bracket in (QUOTE, NEWLINE)
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
