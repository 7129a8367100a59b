"""Familiar lines: those of which everything was read before, so that they need not be read in full again.

A hash finds the template of a line in `line_tables`, and a digest of DIGEST_SIZE bytes decides whether it is the same:
a line that was built to have the hash of another one is not taken for it. Templates themselves could be as long as
lines, and there are thousands. Versions before 1.1 saved no digests; a template of theirs gets that of the first line
with its hash.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from ..checkpoint import Arrays
from ..jit.decorators import native, plain
from ..kernels.arrays import F64, I64
from ..ranges import COUNT, Range, Whole, check_ranges, check_values
from ..vocabulary import Tokens, Vocabulary
from . import line_tables
from .line_tables import (
    DIGIT,
    FOUND_SIZE,
    HEX,
    KEY,
    KIND_SIZE,
    LETTER,
    MAX_VALUES,
    N_FAMILIAR,
    N_READ,
    N_TEMPLATE,
    N_VALUES,
    OTHER,
    ROW,
    SIGN,
    SLOT_SIZE,
    SPACE,
    STAMP,
    WAYS,
    X,
)

LARGEST_SCORE = 1e9
"""No score, in bits per character, becomes as large."""

LARGEST = 4096, 32768
"""The most kinds of lines, and numbers in them, that are remembered of a stream."""

LARGEST_FLAGGED = 1024, 8192
"""The same for flagged lines."""

FIRST = 16, 64
"""For how many kinds and numbers tables that grow begin; they double when they are half full."""

DIGEST_SIZE = 32
"""The bytes of the digest of a template: nobody can find two with the same one."""

_NO_DIGEST = bytes(DIGEST_SIZE)

SAMPLED = 1024
"""One in this many familiar lines is read in full."""

RECENT_READ = 2
"""The score of a kind is a moving mean of those of its lines; the latest weighs 1 / RECENT_READ."""

POSSIBLE_SIZES = [WAYS << shift for shift in range(13)]
"""The numbers of rows that a table may have."""

_CLASSES = {
    SPACE: " \t\n\r",
    SIGN: "+-",
    DIGIT: string.digits,
    HEX: "abcdefABCDEF",
    X: "xX",
    LETTER: "ghijklmnopqrstuvwyzGHIJKLMNOPQRSTUVWYZ",
}


class Familiar(NamedTuple):
    """What is known of a familiar line.

    score        about the mean of those of its kind that were read in full
    was_flagged  whether these were flagged
    must_reread  whether it is to be read in full all the same, so that the model and the scores stay up to date
    """

    score: float
    was_flagged: bool
    must_reread: bool = False


class FamiliarLines:
    """The kinds of lines of a stream that were read in full, and the numbers in them; see `line_tables`.

    Flagged lines have tables of their own, so that what is strange does not become usual.

    vocabulary  of the tokens

    has_found_new  whether the template of the line that `find` was asked for last was not known

    Memory is bounded: what was not seen for longest is forgotten.

    >>> vocabulary = Vocabulary.bytes()
    >>> familiar = FamiliarLines(vocabulary)
    >>> for n in range(100, 120):
    ...     is_new = familiar.learn(vocabulary.encode(f"job {n} done\\n"), score=0.5, flagged=False)
    >>> familiar.find(vocabulary.encode("job 789 done\\n")), familiar.find(vocabulary.encode("job 7 done\\n"))
    (Familiar(score=0.5, was_flagged=False, must_reread=False), None)
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._classes = classify(vocabulary)
        self._found = np.zeros(FOUND_SIZE, dtype=np.int64)
        self._make_room(256)
        self._look, self._learn = native(line_tables.look), native(line_tables.learn)
        self._usual, self._flagged = _Tables.empty(*LARGEST), _Tables.empty(*LARGEST_FLAGGED)
        self._n_lines, self.has_found_new = 0, False

    def new(self) -> FamiliarLines:
        """Those of another stream, with tables that grow. It shares the buffers of this one: one thread uses both."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._usual, twin._flagged, twin._n_lines = _Tables.empty(*FIRST), _Tables.empty(*FIRST), 0
        return twin

    @property
    def nbytes(self) -> int:
        """How many bytes its tables take."""
        return sum(tables.nbytes for tables in (self._usual, self._flagged))

    def find(self, tokens: Tokens) -> Familiar | None:
        """What is known of a line if it is familiar; None if anything in it is new."""
        self._n_lines += 1
        if len(tokens) > len(self._template):
            self._make_room(len(tokens))
        buffers, self.has_found_new = (self._classes, self._found, self._template), True
        for tables in (self._usual, self._flagged):
            row = self._look(tokens, *buffers, tables.kinds, tables.slots, self._n_lines)
            if self._found[ROW] >= 0 and self.has_found_new:
                self.has_found_new = not tables.is_of(int(self._found[ROW]), self._digest())
            if row >= 0 and tables.is_of(row, self._digest()):
                must = must_reread(self._n_lines, int(tables.kinds[row * KIND_SIZE + N_FAMILIAR]))
                return Familiar(float(tables.scores[row]), tables is self._flagged, must)
        return None

    def learn(self, tokens: Tokens, score: float, flagged: bool) -> bool:
        """Take a line that was read in full, with its score. Returns whether its template is new."""
        self._n_lines += 1
        tables, largest = (self._flagged, LARGEST_FLAGGED) if flagged else (self._usual, LARGEST)
        if len(tokens) > len(self._template):
            self._make_room(len(tokens))
        buffers = self._classes, self._found, self._template
        row = self._learn(tokens, *buffers, tables.kinds, tables.slots, self._n_lines)
        kind, digest = tables.kinds[row * KIND_SIZE : (row + 1) * KIND_SIZE], self._digest()
        is_new = bool(kind[N_READ] == 1 or not tables.is_of(row, digest))  # or the row is that of another template
        if is_new:
            kind[N_READ], kind[N_FAMILIAR] = 1, 0
            tables.set_digest(row, digest)
        n_read, scores = int(kind[N_READ]), tables.scores
        scores[row] = score if n_read == 1 else scores[row] + (score - scores[row]) / min(n_read, RECENT_READ)
        if tables.sizes != largest:
            tables = tables.grown(largest)
            self._usual, self._flagged = (self._usual, tables) if flagged else (tables, self._flagged)
        return is_new

    def _make_room(self, n_tokens: int) -> None:
        """Make the buffer for templates as large as a line may need it."""
        self._template = np.zeros(n_tokens, dtype=np.int32)
        self._template_view = self._template.data

    def _digest(self) -> bytes:
        """The digest of the template of the line that was looked up last."""
        return blake2b(self._template_view[: self._found[N_TEMPLATE]], digest_size=DIGEST_SIZE).digest()

    def describe(self, arrays: Arrays, prefix: str) -> dict[str, Any]:
        """The state as JSON values, for `restore`; the tables are added to `arrays`, with a prefix to their names."""
        for name, table, size in _named(self._usual, self._flagged):
            rows = table.reshape(-1, size)
            used = np.flatnonzero(rows.any(axis=1))
            arrays[prefix + name], arrays[f"{prefix}{name}.rows"] = rows[used], used
        return {"lines": self._n_lines, "sizes": [self._usual.sizes, self._flagged.sizes]}

    def restore(self, described: dict[str, Any], arrays: Arrays, prefix: str) -> None:
        """Continue from what `describe` returned. Raises ValueError, TypeError or KeyError if it is not that."""
        sizes_of = Whole(), Whole()
        check_values(described, {"lines": Whole(), "sizes": (sizes_of, sizes_of)}, "the familiar lines")
        n_lines, sizes = described["lines"], described["sizes"]
        if any(n not in POSSIBLE_SIZES for each in sizes for n in each):
            raise ValueError(f"the tables of lines must have 8, 16, … or {max(LARGEST)} rows, not {sizes!r}")
        usual, flagged = (_Tables.empty(*each) for each in sizes)
        for name, table, size in _named(usual, flagged):
            if size == DIGEST_SIZE and prefix + name not in arrays:  # before version 1.1
                continue
            rows, used = arrays[prefix + name], arrays[f"{prefix}{name}.rows"]
            if rows.shape != (len(used), size) or rows.dtype != table.dtype or used.dtype != np.int64:
                raise ValueError(f"{prefix}{name} has the shape {rows.shape}, and not that of a table of lines")
            check_ranges(_ranges(table, rows, used), f"{prefix}{name} is out of range")
            table.reshape(-1, size)[used] = rows
        self._usual, self._flagged, self._n_lines = usual, flagged, n_lines


class _Tables(NamedTuple):
    """The tables of `line_tables`, and by row of a template its score and its digest, which is 0 if it is not known."""

    kinds: I64
    slots: I64
    scores: F64
    digests: bytearray

    @classmethod
    def empty(cls, n_kinds: int, n_slots: int) -> _Tables:
        kinds, slots = (np.zeros(n, dtype=np.int64) for n in (n_kinds * KIND_SIZE, n_slots * SLOT_SIZE))
        return cls(kinds, slots, np.zeros(n_kinds), bytearray(n_kinds * DIGEST_SIZE))

    def is_of(self, row: int, digest: bytes) -> bool:
        """Whether a row is that of the template with this digest, or has none yet and gets this one."""
        known = self.digests[row * DIGEST_SIZE : (row + 1) * DIGEST_SIZE]
        if known == _NO_DIGEST:
            self.set_digest(row, digest)
        return known in (digest, _NO_DIGEST)

    def set_digest(self, row: int, digest: bytes) -> None:
        self.digests[row * DIGEST_SIZE : (row + 1) * DIGEST_SIZE] = digest

    @property
    def nbytes(self) -> int:
        return self.kinds.nbytes + self.slots.nbytes + self.scores.nbytes + len(self.digests)

    @property
    def sizes(self) -> tuple[int, int]:
        """For how many kinds and slots there is space."""
        return len(self.scores), len(self.slots) // SLOT_SIZE

    def grown(self, largest: tuple[int, int]) -> _Tables:
        """Tables with twice the space, as far as these are half full and not the largest; else these."""
        used = np.count_nonzero(self.kinds[KEY::KIND_SIZE]), np.count_nonzero(self.slots[KEY::SLOT_SIZE])
        limits = zip(used, self.sizes, largest, strict=True)
        sizes = [2 * size if 2 * n >= size and size < limit else size for n, size, limit in limits]
        if tuple(sizes) == self.sizes:
            return self
        larger = _Tables.empty(*sizes)
        old, new = _moved(self.kinds, larger.kinds, KIND_SIZE)
        larger.scores[new] = self.scores[old]
        mine, others = (np.frombuffer(each.digests, np.uint8).reshape(-1, DIGEST_SIZE) for each in (self, larger))
        others[new] = mine[old]
        _moved(self.slots, larger.slots, SLOT_SIZE)
        return larger


def _ranges(table: Any, rows: Any, used: I64) -> list[Range]:
    """What the numbers may be that are stored of a table: its rows that are in use, and which these are.

    Kernels use a number of values as an index, without bounds checks. A key must be where it is sought.
    """
    size = rows.shape[1]
    places = Range("the number of a row", used, 0, len(table) // size - 1)
    if size == DIGEST_SIZE:
        return [places]
    if size == 1:
        return [places, Range("the score of a kind", rows, 0, LARGEST_SCORE)]
    first = plain(line_tables.bucket)(table, size, rows[:, KEY])
    counts = [STAMP, N_READ, N_FAMILIAR] if size == KIND_SIZE else [STAMP]
    values = rows[:, [N_VALUES] if size == SLOT_SIZE else []]
    return [
        places,
        Range("a place among those of a key", used - first, 0, WAYS - 1),
        Range("a number of lines", rows[:, counts], 0, COUNT),
        Range("a number of values", values, 0, MAX_VALUES + 1),
    ]


def _moved(table: I64, larger: I64, size: int) -> tuple[I64, I64]:
    """Copy the rows in use to an empty table that is as large or larger; returns which they are, and where they lie."""
    rows = table.reshape(-1, size)
    used = np.flatnonzero(rows[:, KEY])
    first = plain(line_tables.bucket)(larger, size, rows[used, KEY])
    order = np.argsort(first, kind="stable")
    used, first = used[order], first[order]
    places = first + np.arange(len(first)) - np.searchsorted(first, first)
    larger.reshape(-1, size)[places] = rows[used]
    return used, places


def _named(usual: _Tables, flagged: _Tables) -> Iterator[tuple[str, Any, int]]:
    """Each table with its name and the size of its rows."""
    for name, tables in (("usual", usual), ("flagged", flagged)):
        yield f"{name}.kinds", tables.kinds, KIND_SIZE
        yield f"{name}.slots", tables.slots, SLOT_SIZE
        yield f"{name}.scores", tables.scores, 1
        yield f"{name}.digests", np.frombuffer(tables.digests, np.uint8), DIGEST_SIZE


def must_reread(n: int, n_of_kind: int) -> bool:
    """Whether the n-th line is read in full although it is familiar, the n_of_kind-th familiar one of its kind.

    One in SAMPLED is, in no period that lines could have too: the fractional parts of the multiples of the golden ratio
    are spread evenly. So are the 4th, 64th, 1024th, … of each kind: the model has learned since the score was found,
    most of all at first, and of a rare kind one line in SAMPLED would come too late.

    >>> [n for n in range(1, 4000) if must_reread(n, 1)], [n for n in range(1, 2000) if must_reread(1, n)]
    ([610, 1597, 3194], [4, 64, 1024])
    """
    is_sampled = n * 0x9E3779B97F4A7C15 % 2**64 < 2**64 // SAMPLED
    return is_sampled or (n_of_kind & (n_of_kind - 1) == 0 and n_of_kind & 0x4444444444444444 > 0)


def classify(vocabulary: Vocabulary) -> Tokens:
    """int32 [V]: the class of each symbol; see `line_tables`. What is not ASCII is a letter."""
    codes = range(256) if vocabulary.characters is None else map(ord, vocabulary.characters)
    class_of = {ord(character): number for number, characters in _CLASSES.items() for character in characters}
    return np.array([class_of.get(code, LETTER if code >= 128 else OTHER) for code in codes], dtype=np.int32)
