"""The surprising parts of a line."""

import numpy as np

from ..kernels.arrays import F64

SPAN_MARGIN, MIN_SPAN_BITS = 2.0, 8.0
"""A span is a run of characters whose surprisals exceed the median score plus SPAN_MARGIN by MIN_SPAN_BITS in all."""


def surprising_spans(excess: F64) -> list[tuple[int, int]]:
    """The parts (start, end) of a line that sum to at least MIN_SPAN_BITS.

    excess  float64 [n], the surprisal of each character minus what is usual

    They are those that one finds by taking the part with the largest sum first, of several the one that ends first and
    is shortest, and then those to its left and right in the same way. This finds them in linear time, as in Ruzzo and
    Tompa, A linear time algorithm for finding all maximal scoring subsequences (1999).

    >>> surprising_spans(np.array([-1.0, 5, 6, -2, 7, -1, -1, 1]))
    [(1, 5)]
    """
    sums = [0.0, *np.cumsum(excess).tolist()]
    edges = np.flatnonzero(np.diff(excess > 0, prepend=False, append=False)).tolist()
    starts: list[int] = []
    ends: list[int] = []
    lower: list[int] = []  # by part so far: the index of the last one before it that begins with a lower sum, or -1
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        while True:
            before, least = len(starts) - 1, sums[start]
            while before >= 0 and sums[starts[before]] >= least:
                before = lower[before]
            if before < 0 or sums[ends[before]] >= sums[end]:
                break
            start = starts[before]  # the sum of both, with what is between, is larger than that of either
            del starts[before:], ends[before:], lower[before:]
        starts.append(start)
        ends.append(end)
        lower.append(before)
    return [(a, b) for a, b in zip(starts, ends, strict=True) if sums[b] - sums[a] >= MIN_SPAN_BITS]
