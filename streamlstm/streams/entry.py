"""Text entry: suggestions for what a user types, undo, and learning of what is finished only."""

from __future__ import annotations

from ..predictor import StreamPredictor
from ..ranges import check_count
from ..search.beam import Candidate, complete
from ..text.characters import top_characters
from .pool import StreamPool
from .store import Key

N_RECENT = 64
"""How many of the last characters, and one of as many before them, keep a fork: a character is deleted by reading so
many again at most. A frozen fork of `small` takes 30 kB."""


class TextEntry:
    """A field in which a user types: a text that is not finished, and the predictor that has read it.

    source  a StreamPredictor, or a StreamPool
    key     of the stream, if it is a pool; `commit` begins a stream that is new

    The source changes at `commit` only, so it never learns what was deleted. As long as a text is being typed, the
    source must not be used otherwise. Raises TypeError for a pool without a key, and for any other source.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> bits = predictor.observe_many("the weather is nice today. " * 20)
    >>> entry = TextEntry(predictor)
    >>> bits = entry.type("the wex")
    >>> entry.backspace()
    'x'
    >>> entry.complete(k=1)[0].text
    'ather'
    >>> entry.accept(entry.complete(k=1)[0]), entry.commit(), entry.text
    ('the weather', 'the weather', '')
    """

    _text: str
    _forks: dict[int, StreamPredictor]

    def __init__(self, source: StreamPredictor | StreamPool, key: Key | None = None) -> None:
        if isinstance(source, StreamPool):
            if key is None:
                raise TypeError("a TextEntry of a StreamPool needs the key of a stream: TextEntry(pool, 'user-1')")
        elif not isinstance(source, StreamPredictor):
            raise TypeError(f"source must be a StreamPredictor or a StreamPool, not {source!r}")
        elif key is not None:
            raise TypeError("a key is for a StreamPool; a StreamPredictor is one stream")
        self._source, self._key = source, key
        self.clear()

    @property
    def text(self) -> str:
        """What was typed since the last commit."""
        return self._text

    @property
    def predictor(self) -> StreamPredictor:
        """The frozen predictor that has read the text, for any function that changes no predictor."""
        return self._forks[len(self._text)]

    def type(self, text: str) -> float:
        """Append characters; returns their surprisal in bits.

        Raises ValueError, with nothing changed, if the vocabulary lacks one, TypeError for what is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {text!r}")
        self.predictor.vocabulary.encode(text)
        bits = 0.0
        for character in text:
            reader = self.predictor.fork()
            bits += float(reader.observe_many(character).sum())
            self._text += character
            self._add(len(self._text), reader)
        return bits

    def backspace(self, n: int = 1) -> str:
        """Delete the last n characters, or as many as there are; returns them. Raises ValueError if n is negative."""
        end = max(0, len(self._text) - check_count("n", n, 0))
        self._text, deleted = self._text[:end], self._text[end:]
        for position in [each for each in self._forks if each > end]:
            del self._forks[position]
        for position in range(max(self._forks), end):  # read again what has no fork any more
            reader = self._forks[position].fork()
            reader.observe_many(self._text[position])
            self._add(position + 1, reader)
        return deleted

    def accept(self, candidate: Candidate | str) -> str:
        """Append one of the completions; returns the whole text."""
        self.type(candidate.text if isinstance(candidate, Candidate) else candidate)
        return self._text

    def complete(self, k: int = 5, *, length: int | None = None, stop: str | None = None) -> list[Candidate]:
        """The k most probable continuations; see the function `complete`."""
        return complete(self.predictor, k, length=length, stop=stop)

    def top(self, k: int = 5) -> list[tuple[str | bytes, float]]:
        """The k most probable next characters with their probabilities; see `top_characters`."""
        return top_characters(self.predictor, k)

    def commit(self) -> str:
        """Let the source observe the text, and learn it if it learns; returns the text, and begins an empty one.

        Raises OSError, with nothing changed, if the streams of a pool have to be moved to the disk and it is full.
        """
        text = self._text
        if isinstance(self._source, StreamPool):
            assert self._key is not None
            self._source.observe(self._key, text)
        else:
            self._source.observe_many(text)
        self.clear()
        return text

    def clear(self) -> None:
        """Begin an empty text where the source stands."""
        if isinstance(self._source, StreamPool):
            assert self._key is not None
            reader = self._source.reader(self._key)
        else:
            reader = self._source.fork(learning=False)
        self._text = ""
        self._forks = {0: reader}

    def _add(self, position: int, reader: StreamPredictor) -> None:
        """Keep a fork that has read `position` characters, and drop one that is not among the last ones any more."""
        self._forks[position] = reader
        if (old := position - N_RECENT) % N_RECENT:
            self._forks.pop(old, None)
