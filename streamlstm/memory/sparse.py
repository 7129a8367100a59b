"""Large arrays that are zero for the most part: the system gives them memory only where they are written to.

So nothing here copies or writes what is zero: a model may have space for gigabytes of counts, and little text in it.
"""

import contextlib
import mmap
from collections.abc import Iterator

import numpy as np

from ..kernels.arrays import I32

BLOCK = 1 << 16
"""How many words are looked at at once, a multiple of a page."""


def spread_zeros(n_words: int) -> I32:
    """Zeros of which few will be written to, far from each other: the system gives 4 kB for each, not 2 MB.

    NumPy asks Linux for huge pages for large arrays, which are faster if all of an array is in use.
    """
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return np.zeros(n_words, dtype=np.int32)
    memory = mmap.mmap(-1, 4 * n_words, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype=np.int32)


def used_blocks(array: I32) -> Iterator[tuple[int, I32]]:
    """The blocks of a flat array that are not zero, as views, each with its offset."""
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        if np.count_nonzero(block):
            yield start, block


def sparse_copy(array: I32, spread: bool = False) -> I32:
    """A copy of a flat array; `spread`: see `spread_zeros`."""
    copy = spread_zeros(len(array)) if spread else np.zeros(len(array), dtype=array.dtype)  # not zeros_like: it writes
    for start, block in used_blocks(array):
        copy[start : start + len(block)] = block
    return copy


def nonzero_places(array: I32, step: int = 1) -> I32:
    """Where every step-th word of a flat array is not zero, counted in steps; `step` divides BLOCK."""
    found = [start // step + np.flatnonzero(block[::step]) for start, block in used_blocks(array)]
    return np.concatenate([*found, np.zeros(0, dtype=np.int64)]).astype(np.int32)
