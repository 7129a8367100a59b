"""Large arrays that are zero for the most part: the system gives them memory only where they are written to.

So nothing here copies or writes what is zero: a model may have space for gigabytes of counts, and little text in it.
"""

from collections.abc import Iterator

import numpy as np

from ..kernels.arrays import I32

BLOCK = 1 << 16
"""How many words are looked at at once, a multiple of a page."""


def used_blocks(array: I32) -> Iterator[tuple[int, I32]]:
    """The blocks of a flat array that are not zero, as views, each with its offset."""
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        if np.count_nonzero(block):
            yield start, block


def sparse_copy(array: I32) -> I32:
    """A copy of a flat array."""
    copy = np.zeros(len(array), dtype=array.dtype)  # zeros_like would write the zeros
    for start, block in used_blocks(array):
        copy[start : start + len(block)] = block
    return copy


def nonzero_places(array: I32, step: int = 1) -> I32:
    """Where every step-th word of a flat array is not zero, counted in steps; `step` divides BLOCK."""
    found = [start // step + np.flatnonzero(block[::step]) for start, block in used_blocks(array)]
    return np.concatenate([*found, np.zeros(0, dtype=np.int64)]).astype(np.int32)
