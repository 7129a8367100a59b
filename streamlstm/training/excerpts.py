"""The pieces that training reads: documents cut where a reader could begin, into lengths of every order of magnitude.

Each piece follows the begin-of-stream symbol, so that a network learns how to begin as well as how to go on. Pieces end
where a line or a sentence ends. Their lengths n have a density in proportion to 1/n²: pieces of 64 to 128 symbols hold
as much of the text as pieces of 4,096 to 8,192.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import I64
from ..ranges import Range, check_ranges, whole_number
from ..vocabulary import Tokens, Vocabulary

REACH = 256
"""How many symbols after the drawn length the next border may be; if there is none, a piece ends without one."""

LINE_FEED, CARRIAGE_RETURN, SPACE = 10, 13, 32

Document = npt.NDArray[Any]
"""The tokens of one document, of any integer type."""


class Cutting(NamedTuple):
    """How documents are cut.

    shortest  the shortest length that is drawn for a piece; the next border then ends the piece
    longest   the longest length that is drawn
    crlf      the share of pieces that are read with CRLF line ends, of those documents that have only LF
    seed      of the lengths and of the order
    """

    shortest: int
    longest: int
    crlf: float
    seed: int


class Pieces:
    """Documents and the borders in them.

    documents   the tokens of each document
    vocabulary  the vocabulary of the tokens

    `begin` is the begin-of-stream symbol, which is larger than any token.

    >>> text = Vocabulary.bytes().encode("One two. Three four. Five six.\\n" * 9)
    >>> pieces = Pieces([text], Vocabulary.bytes(), Cutting(shortest=8, longest=100, crlf=0.0, seed=0))
    >>> first, *others = (pieces.tokens(piece) for piece in pieces.epoch(0))
    >>> int(first[0])
    256
    >>> sum(len(piece) - 1 for piece in [first, *others]) == len(text)
    True
    """

    def __init__(self, documents: Sequence[Document], vocabulary: Vocabulary, cutting: Cutting) -> None:
        self._documents, self._cutting, self.begin = documents, cutting, len(vocabulary)
        characters = vocabulary.characters
        self._points = np.arange(256) if characters is None else np.array([ord(each) for each in characters])
        self._line_feed, self._carriage_return = (
            int(np.flatnonzero(self._points == point)[0]) if point in self._points else -1
            for point in (LINE_FEED, CARRIAGE_RETURN)
        )
        self._borders = [self._borders_of(document) for document in documents]

    def epoch(self, number: int) -> I64:
        """All pieces in the order of one epoch, int64 [n, 4]: document, start, end, and 1 for CRLF line ends.

        The borders and the order depend only on the seed and the epoch.
        """
        random = np.random.PCG64([self._cutting.seed, number])
        pieces = [row for index in range(len(self._documents)) for row in self._cut(index, random)]
        table: I64 = np.array(pieces, dtype=np.int64).reshape(-1, 4)
        return table[np.argsort(random.random_raw(len(table)), kind="stable")]

    def tokens(self, piece: I64) -> Tokens:
        """The begin-of-stream symbol and the tokens of a row of `epoch`, int32."""
        index, start, end, crlf = piece.tolist()
        text: Tokens = self._documents[index][start:end].astype(np.int32)
        if crlf:
            text = np.insert(text, np.flatnonzero(text == self._line_feed), self._carriage_return)
        return np.concatenate([np.array([self.begin], dtype=np.int32), text])

    def _cut(self, index: int, random: np.random.PCG64) -> list[tuple[int, int, int, int]]:
        """The pieces of one document in its order."""
        shortest, longest, crlf, _ = self._cutting
        borders, size = self._borders[index], len(self._documents[index])
        may_have_crlf = self._may_have_crlf(self._documents[index])
        pieces, start = [], 0
        while start < size:
            u, v = (random.random_raw(2) >> np.uint64(11)) * 2.0**-53
            target = start + int(shortest / (1 - u * (1 - shortest / longest)))
            at = bisect_left(borders, target)
            end = borders[at] if at < len(borders) and borders[at] <= target + REACH else target
            end = size if end > size - shortest else end
            pieces.append((index, start, end, int(may_have_crlf and v < crlf)))
            start = end
        return pieces

    def _may_have_crlf(self, document: Document) -> bool:
        both_known = self._line_feed >= 0 and self._carriage_return >= 0
        return both_known and self._cutting.crlf > 0 and not bool((document == self._carriage_return).any())

    def _borders_of(self, document: Document) -> list[int]:
        """Where a piece may begin: at a line or a sentence, but not within a sentence that is broken into lines.

        A line feed is within a sentence if a letter or comma comes before it and a small letter after it.
        """
        points = self._points[document].astype(np.int32)
        here, before, earlier = points[2:], points[1:-1], points[:-2]
        if CARRIAGE_RETURN in points:
            earlier = np.where(earlier == CARRIAGE_RETURN, np.concatenate([[0], points[:-3]]), earlier)
        in_sentence = (np.isin(earlier, _LETTERS) | (earlier == ord(","))) & np.isin(here, _SMALL_LETTERS)
        is_blank = (here == LINE_FEED) | (here == CARRIAGE_RETURN)
        after_line = (before == LINE_FEED) & ~is_blank & ~in_sentence
        after_sentence = (before == SPACE) & np.isin(earlier, _SENTENCE_ENDS) & ~np.isin(here, _SMALL_LETTERS)
        borders: list[int] = (np.flatnonzero(after_line | after_sentence) + 2).tolist()
        return borders


_SMALL_LETTERS = np.arange(ord("a"), ord("z") + 1)
_LETTERS = np.concatenate([_SMALL_LETTERS, np.arange(ord("A"), ord("Z") + 1), np.arange(128, 256)])
_SENTENCE_ENDS = np.array([ord(mark) for mark in ".!?"])


def sample(documents: Sequence[Document], vocabulary: Vocabulary, n_symbols: int, seed: int) -> Iterator[Tokens]:
    """Pieces of 64 to 131,072 symbols, in all about `n_symbols`, for `StreamPredictor.learn_mixture`.

    Documents that are shorter in all are cut a second time, in another way, and not again.
    """
    pieces = Pieces(documents, vocabulary, Cutting(64, 2**17, 0.0, seed))
    done = 0
    for epoch in range(2):
        for piece in pieces.epoch(epoch):
            if done >= n_symbols:
                return
            tokens = pieces.tokens(piece)[1:]
            yield tokens
            done += len(tokens)


class Feed:
    """Parallel streams that read the pieces epoch after epoch: a stream takes the next piece when its own has ended.

    pieces  the pieces
    batch   the number of streams
    """

    def __init__(self, pieces: Pieces, batch: int) -> None:
        self._pieces = pieces
        self._epoch, self._next = 0, 0
        self._table = pieces.epoch(0)
        self._rests: list[Tokens] = [np.zeros(0, dtype=np.int32) for _ in range(batch)]

    def window(self, length: int) -> Tokens:
        """The next tokens of all streams, int32 [length + 1, B]; the last row is also the first of the next window."""
        window = np.empty((length + 1, len(self._rests)), dtype=np.int32)
        for stream, rest in enumerate(self._rests):
            while len(rest) < length + 1:
                rest = np.concatenate([rest, self._next_piece()])
            window[:, stream] = rest[: length + 1]
            self._rests[stream] = rest[length:]
        return window

    def _next_piece(self) -> Tokens:
        if self._next == len(self._table):
            self._epoch, self._next = self._epoch + 1, 0
            self._table = self._pieces.epoch(self._epoch)
        self._next += 1
        return self._pieces.tokens(self._table[self._next - 1])

    def save(self) -> tuple[dict[str, Tokens], dict[str, int]]:
        """The arrays by name and the numbers that `restore` needs."""
        return {f"rest.{i}": rest for i, rest in enumerate(self._rests)}, {"epoch": self._epoch, "next": self._next}

    def restore(self, arrays: dict[str, npt.NDArray[Any]], numbers: dict[str, int]) -> None:
        """Continue where `save` was called. Raises KeyError, TypeError or ValueError, with nothing changed."""
        rests = [arrays[f"rest.{i}"] for i in range(len(self._rests))]
        if any(rest.ndim != 1 or rest.dtype != np.int32 for rest in rests):
            raise ValueError("the tokens that were not read yet must be in int32")
        epoch = whole_number(numbers["epoch"], "epoch")
        table = self._table if epoch == self._epoch else self._pieces.epoch(epoch)
        at = whole_number(numbers["next"], "the position in the training text", most=len(table))
        check_ranges([Range("a token", rest, 0, self._pieces.begin) for rest in rests], "it is out of range")
        self._epoch, self._next, self._table, self._rests = epoch, at, table, list(rests)
