"""The surprising parts of a line."""

import numpy as np

from ..kernels.arrays import F64

SPAN_MARGIN, MIN_SPAN_BITS = 2.0, 8.0
"""A span is a run of characters whose surprisals exceed the median score plus SPAN_MARGIN by MIN_SPAN_BITS in all."""


def surprising_spans(excess: F64) -> list[tuple[int, int]]:
    """The parts (start, end) of a line that sum to at least MIN_SPAN_BITS.

    excess  float64 [n], the surprisal of each character minus what is usual

    The part with the largest sum is found first, then those to its left and right in the same way.

    >>> surprising_spans(np.array([-1.0, 5, 6, -2, 7, -1, -1, 1]))
    [(1, 5)]
    """
    spans: list[tuple[int, int]] = []
    remaining = [(0, len(excess))]
    while remaining:
        first, last = remaining.pop()
        sums = np.concatenate([[0.0], np.cumsum(excess[first:last])])
        gains = sums - np.minimum.accumulate(sums)
        end = int(np.argmax(gains))
        if gains[end] < MIN_SPAN_BITS:
            continue
        start = end - 1 - int(np.argmin(sums[:end][::-1]))
        spans.append((first + start, first + end))
        remaining += [(first, first + start), (first + end, last)]
    return sorted(spans)
