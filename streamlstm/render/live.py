"""Text while it is typed: how surprising each character was, what is expected next, and how a word may go on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ..predictor import StreamPredictor
from ..tasks.characters import escaped, top_characters
from .heat import levels

UNDO = 500
"""How many characters can be taken back: each keeps a fork."""

Fragments = list[tuple[str, str]]
"""Styles and texts, as prompt_toolkit takes them."""


def continuation(predictor: StreamPredictor, width: int = 3, longest: int = 20) -> str:
    """The most probable way to go on up to the next end of a word, found by a beam of `width`. Changes nothing.

    What comes before the word, such as a space, belongs to it. A word that is longer than `longest` is cut there.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> _ = predictor.observe_many("the cat and " * 100 + "the ")
    >>> continuation(predictor)
    'cat'
    """
    root = predictor.fork(learning=False)
    beam = [(1.0, "", root)]
    finished: dict[str, float] = {}
    for _ in range(longest):
        grown: list[tuple[float, str, StreamPredictor, str]] = []
        for chance, text, node in beam:
            for symbol, p in top_characters(node, width + 1):
                if isinstance(symbol, bytes):
                    continue
                if text and _in_word(text[-1]) and not _in_word(symbol):
                    finished[text] = finished.get(text, 0.0) + chance * p
                else:
                    grown.append((chance * p, text, node, symbol))
        grown = sorted(grown, key=lambda way: -way[0])[:width]
        if not grown or (finished and max(finished.values()) >= grown[0][0]):
            break
        beam = [(chance, text + symbol, _after(node, symbol)) for chance, text, node, symbol in grown]
    return max(finished, key=lambda text: finished[text]) if finished else beam[0][1]


def _in_word(sign: str) -> bool:
    return sign.isalnum() or sign in "_'’"


def _after(node: StreamPredictor, symbol: str) -> StreamPredictor:
    fork = node.fork()
    fork.observe(symbol)
    return fork


@dataclass(frozen=True)
class Typed:
    """A character that was typed, and its surprisal in bits."""

    sign: str
    bits: float


class LiveText:
    """A text that is typed at its end, and the predictor that reads along.

    A line is learned when it is finished, so that what is taken back before is never learned.

    learner  the predictor as it was at the start of the line
    reader   a frozen fork of it that has read the line so far
    typed    the characters so far
    note     what went wrong with the last key, or ""

    >>> from streamlstm import StreamPredictor
    >>> live = LiveText(StreamPredictor())
    >>> live.add("hello"), live.take_back(), live.text
    (None, None, 'hell')
    """

    def __init__(self, predictor: StreamPredictor) -> None:
        self.learner = predictor
        self.typed: list[Typed] = []
        self.note = ""
        self._total = 0.0
        self._before: deque[StreamPredictor] = deque(maxlen=UNDO)
        self._start_line()

    def _start_line(self) -> None:
        self._line_start = len(self.typed)
        self._move(self.learner.fork())
        self.reader.learning = False

    def _move(self, reader: StreamPredictor) -> None:
        self.reader = reader
        self._ghost: str | None = None

    @property
    def ghost(self) -> str:
        """The continuation that `accept` would type."""
        if self._ghost is None:
            self._ghost = continuation(self.reader)
        return self._ghost

    @property
    def text(self) -> str:
        """What has been typed."""
        return "".join(typed.sign for typed in self.typed)

    @property
    def bits_per_character(self) -> float:
        """The mean surprisal of what has been typed; 0 for nothing."""
        return self._total / len(self.typed) if self.typed else 0.0

    def add(self, text: str) -> None:
        """Read text, character by character, up to the first that the vocabulary lacks; `note` tells of that."""
        self.note = ""
        for sign in text:
            self.settle()
            reader = self.reader.fork()
            try:
                bits = reader.observe(sign)
            except ValueError:
                self.note = f"the model does not know {escaped(sign)}"
                return
            self._before.append(self.reader)
            self._move(reader)
            self.typed.append(Typed(sign, bits))
            self._total += bits

    def settle(self) -> None:
        """Learn the line if it is finished: when there is time, and at the latest before the next character."""
        if self._line_start < len(self.typed) and self.typed[-1].sign == "\n":
            self.finish_line()

    def finish_line(self) -> None:
        """Learn the line as far as it goes, if the learner learns at all, and begin another."""
        self._before.clear()
        del self.reader  # what no fork shares need not be copied before it changes
        self.learner.observe_many("".join(typed.sign for typed in self.typed[self._line_start :]))
        self._start_line()

    def take_back(self) -> None:
        """Take back the last character of the line."""
        self.settle()
        self.note = ""
        if not self._before:
            finished = len(self.typed) == self._line_start
            self.note = "a finished line stays" if finished else f"only {UNDO} characters can be taken back"
            return
        self._move(self._before.pop())
        self._total -= self.typed.pop().bits

    def accept(self) -> None:
        """Type the continuation."""
        self.add(self.ghost)

    def switch_learning(self) -> None:
        """Learn from the lines that are finished from now on, or no longer."""
        self.note = ""
        self.learner.learning = not self.learner.learning

    def text_view(self, rows: int, columns: int) -> Fragments:
        """The last rows of the text in the colours of its surprisals, the cursor, and the continuation."""
        last = self._last_rows(rows, columns)
        warmth = levels(np.array([typed.bits for typed in last])).tolist()
        fragments: Fragments = []
        for level, run in groupby(zip(warmth, last, strict=True), key=lambda cell: cell[0]):
            drawn = "".join(_drawn(typed.sign) for _, typed in run)
            fragments.append((f"class:level-{level}" if level else "", drawn))
        ghost = "".join(_drawn(sign) for sign in self.ghost)
        return [*fragments, ("[SetCursorPosition]", ""), ("class:ghost", ghost)]

    def _last_rows(self, rows: int, columns: int) -> list[Typed]:
        """At most so many lines from the end, and no more than fits on the screen."""
        last = self.typed[-rows * columns :]
        ends = [index for index, typed in enumerate(last) if typed.sign == "\n"]
        return last[ends[-rows] + 1 :] if len(ends) >= rows else last

    def guesses_view(self, k: int, columns: int) -> Fragments:
        """The k most probable next characters as bars, `columns` wide in all."""
        fragments: Fragments = []
        room = max(columns - 20, 8)
        for symbol, chance in top_characters(self.reader, k):
            name = "space" if symbol == " " else escaped(symbol)
            fragments += [("class:sign", f"{name:>8}  "), ("class:bar", _bar(chance, room)), ("", f" {chance:6.1%}\n")]
        return fragments

    def status_view(self) -> Fragments:
        """One line of figures."""
        fragments: Fragments = [("", f" {len(self.typed)} characters, {self.bits_per_character:.2f} bits each")]
        if self.typed:
            last = self.typed[-1]
            fragments.append(("", f"; last {escaped(last.sign)}: {last.bits:.2f} bits"))
        fragments.append(("class:strong", f"; learning {'on' if self.learner.learning else 'off'}"))
        if self.note:
            fragments.append(("class:note", f"; {self.note}"))
        return fragments


def _drawn(sign: str) -> str:
    """A character as it stands in the text: what a terminal would obey is written as an escape."""
    return sign if sign in "\n\\" else escaped(sign)


def _bar(chance: float, room: int) -> str:
    """A bar in eighths of a column."""
    eighths = round(chance * room * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
