"""The most surprising lines of a log, one of each kind, with how often the kind occurred.

A line is judged by its z, as in `watch`. A new kind of line is always surprising, and a kind that occurs throughout the
log is not any more once the model has learned it: of a *usual* kind the first USUAL_LINES lines do not count. A kind is
usual if it has more lines than that, is seen in the first tenth of the log, and its lines do not all lie within a tenth
of the log. An outage is none: its error is new, or comes in a burst. What a tenth is, is counted in lines of other
kinds, so that a kind that occurs more often is not more usual.

The model reads the first READ_LINES lines of each kind, and of further ones only the 256th, 512th, 1024th and so on,
so that a long log with few kinds takes little longer than a short one. `thorough` reads all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from ..predictor import StreamPredictor
from ..ranges import check_count
from .templates import kind_of
from .watcher import WARMUP, WatchedLine, Watcher

USUAL_LINES = 100
READ_LINES = 128
MAX_KINDS = 10_000
"""Of more kinds, the less surprising half is forgotten."""

WARMUP_FRACTION = 4
"""In a short log the first quarter of the lines only serves to learn what is usual."""

Place = TypeVar("Place")


class _Found(NamedTuple):
    line: WatchedLine
    place: Any  # a generic NamedTuple needs Python 3.11
    n_lines: int


class SurprisingLine(_Found):
    """The most surprising line of a kind: a tuple of `line`, `place` and `n_lines`.

    line     what the watcher says about it
    place    where it is: what the caller passed with it
    n_lines  the number of lines of its kind
    first    the place of the first line of its kind
    last     the place of the last line of its kind
    """

    first: Any = None
    last: Any = None


@dataclass
class _Kind(Generic[Place]):
    """The lines of a kind: how many, where, and the most surprising one among the first and among the others.

    before_first  how many lines of other kinds were before its first line
    before_last   how many lines of other kinds were before its last line
    """

    first: Place
    last: Place
    before_first: int
    before_last: int
    count: int = 0
    early: tuple[WatchedLine, Place] | None = None
    late: tuple[WatchedLine, Place] | None = None

    def best(self, n_lines: int) -> tuple[WatchedLine, Place] | None:
        """The most surprising line that counts, in a log of `n_lines` lines."""
        if self.is_usual(n_lines):
            return self.late
        return max((found for found in (self.early, self.late) if found), key=lambda found: found[0].z, default=None)

    def is_usual(self, n_lines: int) -> bool:
        """Whether the kind occurs often, and throughout a log of `n_lines` lines."""
        tenth = (n_lines - self.count) / 10
        is_new, is_burst = self.before_first >= tenth, self.before_last - self.before_first < tenth
        return self.count > USUAL_LINES and not is_new and not is_burst

    def z(self, n_lines: int) -> float:
        """That of its best line; minus infinity if none counts."""
        best = self.best(n_lines)
        return best[0].z if best is not None else float("-inf")

    def take(self, line: WatchedLine, place: Place) -> None:
        """Keep a line if it is the most surprising one so far."""
        kept = self.early if self.count <= USUAL_LINES else self.late
        if kept is not None and kept[0].z >= line.z:
            return
        if self.count <= USUAL_LINES:
            self.early = line, place
        else:
            self.late = line, place


class SurprisingKinds(Generic[Place]):
    """Take the lines of a log in their order, and keep the most surprising line of each kind.

    predictor  used and modified
    warmup     this many lines at the beginning only serve to learn what is usual
    thorough   whether the model reads every line

    >>> from streamlstm import Config
    >>> kinds = SurprisingKinds[int](StreamPredictor(config=Config(hidden=32, layers=1)))
    >>> for number in range(1, 301):
    ...     kinds.take(f"job {number % 7} done" if number != 250 else "kernel: out of memory", number)
    >>> [(line.text, number, n_lines) for line, number, n_lines in kinds.top(2)]
    [('kernel: out of memory', 250, 1), ('job 5 done', 257, 299)]
    """

    def __init__(self, predictor: StreamPredictor, *, warmup: int = WARMUP, thorough: bool = False) -> None:
        self._warmup, self._thorough = check_count("warmup", warmup, 0), thorough
        self._watcher = Watcher(predictor, thorough=True)
        self._kinds: dict[str, _Kind[Place]] = {}
        self.n_lines, self.n_read = 0, 0

    def take(self, line: str, place: Place, *, is_reported: bool = True) -> None:
        """Take the next line.

        line         without its newline
        is_reported  whether it may be among the top lines; otherwise it serves to learn what is usual

        Raises ValueError, with nothing changed, if the vocabulary lacks a symbol.
        """
        kind = kind_of(line)
        state = self._kinds.get(kind) or _Kind(place, place, self.n_lines, self.n_lines)
        n = state.count + 1
        watched = None
        if self._thorough or n <= READ_LINES or n & (n - 1) == 0:
            watched = self._watcher.observe(line + "\n")
            self.n_read += 1
        state.last, state.before_last, state.count = place, self.n_lines - state.count, n
        if watched is not None and is_reported and self.n_lines >= self._warmup:
            state.take(watched, place)
        self._kinds[kind] = state
        self.n_lines += 1
        if len(self._kinds) > MAX_KINDS:
            self._kinds = dict(heapq.nlargest(MAX_KINDS // 2, self._kinds.items(), key=lambda each: self._z(each[1])))

    def _z(self, kind: _Kind[Place]) -> float:
        return kind.z(self.n_lines)

    def top(self, n: int) -> list[SurprisingLine]:
        """The lines of the n most surprising kinds, the most surprising first. Raises ValueError for a negative n."""
        n = check_count("n", n, 0)
        found = []
        for kind in heapq.nlargest(n, self._kinds.values(), key=self._z):
            if best := kind.best(self.n_lines):
                each = SurprisingLine(*best, kind.count)
                each.first, each.last = kind.first, kind.last
                found.append(each)
        return found


def surprising(
    predictor: StreamPredictor, lines: Iterable[str], top: int = 20, *, thorough: bool = False
) -> list[SurprisingLine]:
    """The most surprising lines, one of each kind, the most surprising first; `place` is the number, from 1.

    predictor  used and modified
    thorough   whether the model reads every line

    The first hundred lines, or of fewer than 400 a quarter, only serve to learn what is usual. Raises ValueError for a
    negative `top`.
    """
    top = check_count("top", top, 0)
    first, rest = take_first(lines)
    kinds = SurprisingKinds[int](predictor, warmup=len(first) // WARMUP_FRACTION, thorough=thorough)
    number = 0
    for part in (first, rest):
        for line in part:
            number += 1
            kinds.take(line.removesuffix("\n"), number)
    return kinds.top(top)


Item = TypeVar("Item")


def take_first(items: Iterable[Item]) -> tuple[list[Item], Iterable[Item]]:
    """As many items as decide how long the warm-up is, and the others: a quarter of the former is the warm-up."""
    rest = iter(items)
    first: list[Item] = []
    for item in rest:
        first.append(item)
        if len(first) == WARMUP_FRACTION * WARMUP:
            break
    return first, rest
