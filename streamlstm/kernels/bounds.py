"""Bounds checks of the intrinsics that compute addresses themselves.

They are compiled in with numba's own checks of the indices of arrays, if NUMBA_BOUNDSCHECK=1 is set, and raise the same
IndexError: for tests. An index that is negative is out of bounds. A prefetch may have any address.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils


def check_run(context: Any, builder: Any, start: Any, n: int, length: Any) -> None:
    """Raise IndexError unless the `n` indices from `start` on are below `length`; nothing unless numba checks too."""
    if context.enable_boundscheck:
        for index in (start, builder.add(start, ir.Constant(start.type, n - 1))):
            cgutils.do_boundscheck(context, builder, index, length)


def length_of(builder: Any, array: Any) -> Any:
    """The length of a flat array, given as numba's structure."""
    return builder.extract_value(array.shape, 0)
