"""The model of the live screen: the text typed so far, its surprisals, and what the predictor expects next."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ..predictor import StreamPredictor
from ..text.characters import top_characters
from .escape import counted, escaped, is_safe
from .picture import levels

UNDO = 500
"""How many characters can be deleted. Each of them keeps a fork of the predictor."""

WIDTH = 3
"""How many texts the search for the ghost keeps: it runs at each key, and more would lag behind a fast typist."""

Fragments = list[tuple[str, str]]
"""Pairs of a style and a text, as prompt_toolkit takes them."""


def continuation(predictor: StreamPredictor, longest: int = 20) -> str:
    """The most probable text up to the next end of a word, found by a beam search. Changes nothing.

    longest  the maximum number of characters; a longer word is cut there

    Spaces and punctuation before the word belong to the result. It is not `complete`, which cannot go on from a
    separator to the word behind it, and so showed another text at a quarter of the positions in prose and in code.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> _ = predictor.observe_many("the cat and " * 100 + "the ")
    >>> continuation(predictor)
    'cat'
    """
    beam = [(1.0, "", predictor.fork(learning=False))]
    finished: dict[str, float] = {}
    for _ in range(longest):
        grown: list[tuple[float, str, StreamPredictor, str]] = []
        for probability, text, node in beam:
            for symbol, p in top_characters(node, WIDTH + 1):
                if isinstance(symbol, bytes):
                    continue
                if text and _in_word(text[-1]) and not _in_word(symbol):
                    finished[text] = finished.get(text, 0.0) + probability * p
                else:
                    grown.append((probability * p, text, node, symbol))
        grown = sorted(grown, key=lambda candidate: -candidate[0])[:WIDTH]
        if not grown or (finished and max(finished.values()) >= grown[0][0]):
            break
        beam = [(p, text + symbol, _after(node, symbol)) for p, text, node, symbol in grown]
    return max(finished, key=lambda text: finished[text]) if finished else beam[0][1]


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "_'’"


def _after(node: StreamPredictor, symbol: str) -> StreamPredictor:
    fork = node.fork()
    fork.observe(symbol)
    return fork


@dataclass(frozen=True)
class Typed:
    """A character that was typed, and its surprisal in bits."""

    character: str
    bits: float


class LiveText:
    """A text that is typed, and the predictor that reads it.

    The predictor learns from a line when it is finished, so that it never learns from a deleted character.

    learner  the predictor as it was at the start of the line
    reader   a frozen fork of it that has read the line so far
    typed    the characters so far
    note     a message about the last key, or ""

    >>> from streamlstm import StreamPredictor
    >>> live = LiveText(StreamPredictor())
    >>> live.add("hello"), live.delete_last(), live.text
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
        """The continuation of the text that `accept` types."""
        if self._ghost is None:
            self._ghost = continuation(self.reader)
        return self._ghost

    @property
    def text(self) -> str:
        """The text typed so far."""
        return "".join(typed.character for typed in self.typed)

    @property
    def bits_per_character(self) -> float:
        """The mean surprisal of the characters typed so far; 0 if there are none."""
        return self._total / len(self.typed) if self.typed else 0.0

    def add(self, text: str) -> None:
        """Type text. The first character that the vocabulary lacks ends it and sets `note`."""
        self.note = ""
        for character in text:
            self.settle()
            reader = self.reader.fork()
            try:
                bits = reader.observe(character)
            except ValueError:
                self.note = f"the model does not know {escaped(character)}"
                return
            self._before.append(self.reader)
            self._move(reader)
            self.typed.append(Typed(character, bits))
            self._total += bits

    def settle(self) -> None:
        """Learn the line if it is finished. `add` calls this; call it before to save the typist the wait."""
        if self._line_start < len(self.typed) and self.typed[-1].character == "\n":
            self.finish_line()

    def finish_line(self) -> None:
        """Observe the line so far with the learner, and begin another line."""
        self._before.clear()
        del self.reader  # weights that no fork shares need not be copied before they change
        try:
            self.learner.observe_many("".join(typed.character for typed in self.typed[self._line_start :]))
        finally:
            self._start_line()

    def delete_last(self) -> None:
        """Delete the last character of the line."""
        self.settle()
        self.note = ""
        if not self._before:
            finished = len(self.typed) == self._line_start
            self.note = "a finished line cannot be changed" if finished else f"only {UNDO} characters can be deleted"
            return
        self._move(self._before.pop())
        self._total -= self.typed.pop().bits

    def accept(self) -> None:
        """Type the continuation."""
        self.add(self.ghost)

    def switch_learning(self) -> None:
        """Turn learning from finished lines on or off."""
        self.note = ""
        self.learner.learning = not self.learner.learning

    def text_view(self, rows: int, columns: int) -> Fragments:
        """The last rows of the text, coloured by surprisal, with the cursor and the continuation after it."""
        last = self._last_rows(rows, columns)
        warmth = levels(np.array([typed.bits for typed in last])).tolist()
        fragments: Fragments = []
        for level, run in groupby(zip(warmth, last, strict=True), key=lambda cell: cell[0]):
            drawn = "".join(_drawn(typed.character) for _, typed in run)
            fragments.append((f"class:level-{level}" if level else "", drawn))
        ghost = "".join(map(_drawn, self.ghost))
        return [*fragments, ("[SetCursorPosition]", ""), ("class:ghost", ghost)]

    def _last_rows(self, rows: int, columns: int) -> list[Typed]:
        """The last `rows` lines, and no more characters than fit on the screen."""
        last = self.typed[-rows * columns :]
        ends = [index for index, typed in enumerate(last) if typed.character == "\n"]
        return last[ends[-rows] + 1 :] if len(ends) >= rows else last

    def guesses_view(self, k: int, columns: int) -> Fragments:
        """The k most probable next characters, each a row of `columns` with its name, a bar and its probability."""
        fragments: Fragments = []
        width = max(columns - 20, 8)
        for symbol, p in top_characters(self.reader, k):
            name = "space" if symbol == " " else escaped(symbol)
            fragments += [("class:name", f"{name:>8}  "), ("class:bar", _bar(p, width)), ("", f" {p:6.1%}\n")]
        return fragments

    def status_view(self) -> Fragments:
        """The status line: length, mean surprisal, last character, learning, note."""
        fragments: Fragments = [
            ("", f" {counted(len(self.typed), 'character')}, {self.bits_per_character:.2f} bits each")
        ]
        if self.typed:
            last = self.typed[-1]
            fragments.append(("", f"; last {escaped(last.character)}: {last.bits:.2f} bits"))
        fragments.append(("class:strong", f"; learning {'on' if self.learner.learning else 'off'}"))
        if self.note:
            fragments.append(("class:note", f"; {self.note}"))
        return fragments


def _drawn(character: str) -> str:
    """A character as the screen shows it: one that is not safe becomes an escape."""
    return character if character == "\n" or is_safe(character) else escaped(character)


def _bar(p: float, width: int) -> str:
    """A bar of p times `width` columns, drawn to an eighth of a column."""
    eighths = round(p * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
