"""A delta: the words in which an array differs from a base, which many arrays share.

The kernels take arrays and bases of whole rows of ROW words.
"""

from typing import NamedTuple

import numpy as np

from ..kernels.arrays import F32, I32
from ..kernels.jit import entry, native

ROW, PART = 32, 16
"""Words are compared by the PART, and one by one where a part differs."""


class Delta(NamedTuple):
    """The words that differ.

    marks  int32 [rows]: a bit for each word of a row, 1 if it differs; the first word has the lowest bit
    words  int32 [n]: what the array contains there, in order
    """

    marks: I32
    words: I32


@entry
def find_delta(array: I32, base: I32, marks: I32, words: I32):
    """Write the delta of an array to `marks` and `words`, which have space for any; returns how many words differ."""
    n = 0
    for row in range(marks.size):
        mark = 0
        for first in range(0, ROW, PART):
            start, difference = row * ROW + first, 0
            for j in range(start, start + PART):
                difference |= array[j] ^ base[j]
            if difference != 0:
                for j in range(PART):
                    differs = 1 if array[start + j] != base[start + j] else 0
                    words[n] = array[start + j]
                    mark |= differs << (first + j)
                    n += differs
        marks[row] = mark
    return n


@entry
def apply_delta(array: I32, base: I32, old_marks: I32, marks: I32, words: I32):
    """Give an array another delta; `old_marks`: where it may differ from the base so far."""
    n = 0
    for row in range(marks.size):
        start, mark = row * ROW, marks[row]
        if old_marks[row] | mark != 0:
            for j in range(ROW):
                array[start + j] = base[start + j]
        if mark != 0:
            for j in range(ROW):
                if (mark >> j) & 1:
                    array[start + j] = words[n]
                    n += 1


class DeltaArray:
    """An array that has one delta after another, all from the same base.

    base  float32 [n], which is copied
    """

    def __init__(self, base: F32) -> None:
        n_rows = -(-len(base) // ROW)
        self._base, self._words, self._found = np.zeros((3, n_rows * ROW), dtype=np.int32)
        self._base[: len(base)] = self._words[: len(base)] = base.view(np.int32)
        self.values: F32 = self._words[: len(base)].view(np.float32)
        self._all = np.full(n_rows, -1, dtype=np.int32)
        self._marks = self._all  # where the array may differ from the base

    def delta(self) -> Delta:
        """The delta of the values, which may not change from now on until `apply`."""
        marks = np.empty_like(self._all)
        n = native(find_delta)(self._words, self._base, marks, self._found)
        self._marks = marks
        return Delta(marks, self._found[:n].copy())

    def apply(self, delta: Delta) -> None:
        """Let the values be those of a delta."""
        marks, self._marks = self._marks, self._all
        native(apply_delta)(self._words, self._base, marks, *delta)

    def with_delta(self, delta: Delta) -> F32:
        """What the values would be with a delta."""
        words = self._base.copy()
        native(apply_delta)(words, self._base, delta.marks, *delta)
        return words[: len(self.values)].view(np.float32)

    def is_valid(self, delta: Delta) -> bool:
        """Whether a delta has a word for each mark, and no mark beyond the array."""
        marked = np.unpackbits(delta.marks.view(np.uint8), bitorder="little")
        is_within = len(marked) == len(self._words) and not marked[len(self.values) :].any()
        return is_within and int(marked.sum()) == len(delta.words)
