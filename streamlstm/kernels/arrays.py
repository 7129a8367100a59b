"""The groups of arrays that kernels take. Every array is flat and C-contiguous, and the caller owns it.

`jit.entry` reads the types of an entry's parameters from its annotations: a number, an array below, or a NamedTuple.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

ZERO, ONE = np.float32(0.0), np.float32(1.0)

PAGE = 16
"""How many words of int32 make a page of the memory's table and history: 64 bytes, a cache line."""

FILLED, BASE, UNREAD, POSITION = range(4)
"""Indices in `Stream.position`, and its length."""


class Stream(NamedTuple):
    """One window of T symbols of B parallel streams. The letters and the layout of the tape: see `network`.

    tape      float32  [T + 2, B] records; slot s holds the state after s symbols of the window, slot T + 1 is
                       space for `gradient.backward`
    tokens    int32    [T + 1, B]: the symbol that slot s predicts, which is also the input that leads to slot s + 1;
                       V is the begin-of-stream symbol
    bits      float32  [T + 1, B]: the surprisal of each of these symbols
    layout    int64    sizes and offsets, see `network`
    position  int64    [POSITION]: FILLED, the number of symbols on the tape; BASE, the number of symbols before them;
                       UNREAD, 1 if tokens[0] has ended the window before, as the target of its last distribution, and
                       the network and the memory have not read it yet. The sum of the three is the number of symbols
                       that the stream has observed

    Kernels write `position` last, and a symbol changes nothing before the kernel that counts it. So an interrupt, which
    comes between two kernels, leaves a stream that depends on the symbols it has observed, and on nothing else.
    """

    tape: F32
    tokens: I32
    bits: F32
    layout: I64
    position: I64


class Gradient(NamedTuple):
    """The buffers of an update.

    grad     float32  [P], laid out as theta
    work     float32  [(T + 1)·B·H]: for one layer, dh at all T times and then dc
    touched  uint8    [V + 1]: 1 for the symbols that are inputs in the window
    """

    grad: F32
    work: F32
    touched: U8


class Vectors(NamedTuple):
    """Where n vectors lie in an array a: element j of vector r is a[start + r·stride + j]."""

    start: int
    stride: int
    n: int


class Matrix(NamedTuple):
    """Where a matrix lies in an array a, row by row: element [k, j] is a[start + k·columns + j]."""

    start: int
    rows: int
    columns: int
