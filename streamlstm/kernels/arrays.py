"""The arrays that kernels take, in groups: every array is flat, C-contiguous and owned by the caller.

The types of these groups and of a kernel's parameters are read by `jit.entry`, which compiles the kernel for them.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

FILLED, BASE, PENDING, POSITION = range(4)


class Stream(NamedTuple):
    """One window of B parallel streams, and how far it is filled.

    tape      float32  T + 2 slots of B records; slot s holds the state after s symbols of the window (see `network`),
                       slot T + 1 the carried state while an update is under way
    tokens    int32    [T + 1, B]: the symbol that slot s predicts, which is also the one that leads to slot s + 1
    bits      float32  [T + 1, B]: the surprisal of each of these symbols
    layout    int64    sizes and offsets, see `network`
    position  int64    [POSITION]: FILLED, how many symbols are on the tape; BASE, how many came before them;
                       PENDING, 1 while `backward` has used up the tape and `descend` has not finished the update

    A kernel changes `position` as its last act, so that an interrupt between two kernels leaves a stream that is before
    or after a whole block.
    """

    tape: F32
    tokens: I32
    bits: F32
    layout: I64
    position: I64


class Gradient(NamedTuple):
    """What an update works in.

    grad     float32  laid out as theta
    work     float32  [(T + 1)·B·H]: the gradient of h at all times of one layer, and of its cell state
    touched  uint8    [V]: 1 for the symbols that were read in the window
    """

    grad: F32
    work: F32
    touched: U8
