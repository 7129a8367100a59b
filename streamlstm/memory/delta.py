"""A delta: the words in which an array differs from a base, which many arrays share.

The kernels take arrays and bases of whole rows of ROW words. Whoever writes to an array marks the part that it writes
to, of PART words: the others are not looked at.
"""

from typing import NamedTuple

import numpy as np

from ..jit.decorators import entry, native
from ..kernels.arrays import F32, I32, U8

ROW, PART = 32, 16


class Delta(NamedTuple):
    """The words that differ.

    marks  int32 [rows]: a bit for each word of a row, 1 if it differs; the first word has the lowest bit
    words  int32 [n]: what the array contains there, in order
    """

    marks: I32
    words: I32


class DeltaArrays(NamedTuple):
    """What a delta is applied to.

    array    int32, whole rows
    base     what the array is without a delta
    written  1 for each part that may differ
    """

    array: I32
    base: I32
    written: U8


@entry
def find_delta(array: I32, base: I32, written: U8, marks: I32, words: I32):
    """Write the delta of an array to `marks` and `words`, which have space for any; returns how many words differ.

    written: 1 for each part that may differ.
    """
    n = 0
    for row in range(marks.size):
        mark = 0
        for first in range(0, ROW, PART):
            start = row * ROW + first
            if written[start // PART]:
                for j in range(PART):
                    differs = 1 if array[start + j] != base[start + j] else 0
                    words[n] = array[start + j]
                    mark |= differs << (first + j)
                    n += differs
        marks[row] = mark
    return n


@entry
def apply_delta(array: I32, base: I32, written: U8, marks: I32, words: I32):
    """Give an array another delta, and mark the parts that differ now."""
    n = 0
    for row in range(marks.size):
        for first in range(0, ROW, PART):
            start, mark = row * ROW + first, (marks[row] >> first) & (2**PART - 1)
            if mark != 0 or written[start // PART]:
                for j in range(start, start + PART):
                    array[j] = base[j]
            written[start // PART] = 1 if mark != 0 else 0
            if mark != 0:
                for j in range(PART):
                    if (mark >> j) & 1:
                        array[start + j] = words[n]
                        n += 1


class DeltaArray:
    """An array that has one delta after another, all from the same base.

    base  float32 [n], which is copied

    values   float32 [n]
    written  uint8, a mark for each part of the values: who writes to it sets it to 1
    arrays   the same, and the base, as kernels take them
    """

    def __init__(self, base: F32) -> None:
        self._n_rows = -(-len(base) // ROW)
        self._base, self._words, self._found = np.zeros((3, self._n_rows * ROW), dtype=np.int32)
        self._base[: len(base)] = self._words[: len(base)] = base.view(np.int32)
        self.values: F32 = self._words[: len(base)].view(np.float32)
        self.written: U8 = np.zeros(self._n_rows * ROW // PART, dtype=np.uint8)
        self.arrays = DeltaArrays(self._words, self._base, self.written)

    def delta(self) -> Delta:
        """The delta of the values."""
        marks = np.empty(self._n_rows, dtype=np.int32)
        n = native(find_delta)(self._words, self._base, self.written, marks, self._found)
        return Delta(marks, self._found[:n].copy())

    def apply(self, delta: Delta) -> None:
        """Let the values be those of a delta."""
        native(apply_delta)(self._words, self._base, self.written, *delta)

    def with_delta(self, delta: Delta) -> F32:
        """What the values would be with a delta."""
        words = self._base.copy()
        native(apply_delta)(words, self._base, np.zeros_like(self.written), *delta)
        return words[: len(self.values)].view(np.float32)

    def is_valid(self, delta: Delta) -> bool:
        """Whether a delta has a word for each mark, and no mark beyond the array."""
        marked = np.unpackbits(delta.marks.view(np.uint8), bitorder="little")
        is_within = len(marked) == len(self._words) and not marked[len(self.values) :].any()
        return is_within and int(marked.sum()) == len(delta.words)
