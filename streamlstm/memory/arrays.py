"""The arrays of a memory, as its kernels take them."""

from typing import NamedTuple

from ..kernels.arrays import F32, I32, I64


class MemoryArrays(NamedTuple):
    """All arrays of one memory; flat and C-contiguous.

    table    int32    the counts, see `counts`
    changed  int32    which pages of the table changed, see `counts`; empty if nobody asks
    history  int32    the symbols that were read, and where each context was seen last, see `contexts`
    weights  float32  the mixture's weights, see `mixture`
    state    int64    where in its text the stream is, see `contexts`
    scratch  float32  the distributions and logarithms of the experts, see `mixture`
    entries  int32    [V]: room for the counts of one context
    kinds    int32    [V]: the kind of each symbol, see `contexts`
    """

    table: I32
    changed: I32
    history: I32
    weights: F32
    state: I64
    scratch: F32
    entries: I32
    kinds: I32
