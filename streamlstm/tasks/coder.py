"""The range coder: encodes each symbol with the distribution that the predictor held before it, and decodes it.

All arithmetic is on integers, so every machine writes and reads the same bytes. A distribution p becomes integer
frequencies f_v = 1 + ⌊p_v·2³⁰⌋: scaling a float32 by a power of two is exact, no symbol gets 0, and a symbol of
probability 1 costs 4e-7 bits. The code is a number in [0, 1), written as bytes, the most significant first. The
interval [low, low + width), of 56 bits, contains it, and each symbol narrows the interval to a part in proportion to
its frequency (Martin 1979). Bytes that can no longer change are written; a carry out of `low` is added to the bytes
already written, which is possible since all bytes of a frame are kept until it ends.

coder  int64 [3]   LOW, or in the decoder the code minus `low`; WIDTH; POSITION in `code`
code   uint8       the bytes of one frame
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F32, I32, I64, U8, Stream
from ..kernels.jit import entry, kernel
from ..kernels.network import PREDICTION, SLOT, VOCABULARY, forward
from ..memory.arrays import MemoryArrays
from ..memory.mixture import remember

LOW, WIDTH, POSITION = range(3)

BITS = 56
"""Precision of `low` and `width`; WIDTH is kept at 2**(BITS - 8) or more."""

PER_SYMBOL = 5
"""The most bytes that one symbol adds to the code."""

GROUP = 16
"""The decoder searches for a symbol in steps of this many."""


class Decoder(NamedTuple):
    """The arrays of the decoder of one frame.

    code         uint8  the bytes of the frame
    coder        int64  [3], see above
    frequencies  int32  [V rounded up to GROUP], zeros after V
    """

    code: U8
    coder: I64
    frequencies: I32


f32 = np.float32
SCALE, LIMIT = f32(2.0**30), f32(2.0**31)
MASK, SMALLEST = (1 << BITS) - 1, 1 << (BITS - 8)


def initial_coder(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The initial `coder`: for decoding `code` (uint8 [n]), or for encoding if it is empty."""
    distance = int.from_bytes(code[: BITS // 8].tobytes().ljust(BITS // 8, b"\0"), "big")
    return np.array([distance, 1 << BITS, BITS // 8 if len(code) else 0], dtype=np.int64)


@kernel
def frequency(p):
    """1 + ⌊p·2³⁰⌋; 1 if p is not a probability, so that no model can break the coder."""
    x = p * SCALE
    return np.int64(np.int32(x)) + 1 if f32(0.0) < x < LIMIT else np.int64(1)


@kernel
def carry(code, position):
    """Add 1 to the number that the bytes code[:position] represent."""
    while code[position - 1] == 255:
        code[position - 1] = 0
        position -= 1
    code[position - 1] += np.uint8(1)


@entry
def encode(stream: Stream, first: int, tokens: I32, code: U8, coder: I64):
    """Append tokens [n], tokens[r] by the distribution in slot first + r of a stream's tape.

    `code` must have room for PER_SYMBOL bytes for each.
    """
    layout = stream.layout
    low, width, position = coder[LOW], coder[WIDTH], coder[POSITION]
    for r in range(tokens.size):
        at = (first + r) * layout[SLOT] + layout[PREDICTION]
        p = stream.tape[at : at + layout[VOCABULARY]]
        token = tokens[r]
        below = total = np.int64(0)
        for v in range(p.size):
            f = frequency(p[v])
            total += f
            below += f if v < token else 0
        unit = width // total
        low += unit * below
        width = unit * frequency(p[token])
        if low > MASK:
            carry(code, position)
            low &= MASK
        while width < SMALLEST:
            code[position] = np.uint8(low >> (BITS - 8))
            position += 1
            low = (low << 8) & MASK
            width <<= 8
    coder[LOW], coder[WIDTH], coder[POSITION] = low, width, position


@entry
def finish(code: U8, coder: I64):
    """Append the one byte that ends the code inside the interval; returns the length of the code.

    The decoder reads zeros after the end.
    """
    low, position = coder[LOW] + SMALLEST - 1, coder[POSITION]
    if low > MASK:
        carry(code, position)
    code[position] = np.uint8((low & MASK) >> (BITS - 8))
    return position + 1


@kernel
def next_byte(code, position):
    """The byte of the code at `position`; 0 after the end."""
    return np.int64(code[position]) if position < code.size else np.int64(0)


@kernel
def decode_symbol(p, decoder):
    """The next token, given its distribution p [V]; -1 if the code ended before this symbol."""
    code, coder, frequencies = decoder
    if coder[POSITION] - BITS // 8 >= code.size:
        return -1
    total = np.int64(0)
    for v in range(p.size):
        f = frequency(p[v])
        frequencies[v] = f
        total += f
    distance = coder[LOW]
    unit = coder[WIDTH] // total
    place = min(distance // unit, total - 1)
    below = np.int64(0)
    token = 0
    for group in range(0, p.size, GROUP):
        size = np.int64(0)
        for v in range(group, group + GROUP):
            size += np.int64(frequencies[v])
        token = group
        if below + size > place:
            break
        below += size
    while below + frequencies[token] <= place:
        below += frequencies[token]
        token += 1
    distance -= unit * below
    width = unit * frequencies[token]
    position = coder[POSITION]
    while width < SMALLEST:
        distance = (distance << 8) | next_byte(code, position)
        position += 1
        width <<= 8
    coder[LOW], coder[WIDTH], coder[POSITION] = distance, width, position
    return token


@entry
def decode(theta: F32, memory: MemoryArrays, stream: Stream, decoder: Decoder, first: int, count: int, learn: bool):
    """Decode up to `count` tokens, the first with the distribution in slot `first`, and feed each to the predictor.

    The tokens are written to the stream's; if tokens[first] is not negative, it has been decoded before. The arrays of
    the memory may be empty. Returns the number of tokens, which is less than `count` if the code ended before them.
    With a count of 0 it decodes one token, writes and feeds nothing, and returns the token, or -1 if the code ended.
    """
    layout = stream.layout
    for s in range(first, first + max(count, 1)):
        if s > first or count == 0 or stream.tokens[s] < 0:
            at = s * layout[SLOT] + layout[PREDICTION]
            token = decode_symbol(stream.tape[at : at + layout[VOCABULARY]], decoder)
            if count == 0:
                return token
            if token < 0:
                return s - first
            stream.tokens[s] = token
        forward(theta, stream, s, 1, 1)
        if memory.table.size > 0:
            remember(memory, stream, stream.bits[:0], decoder.code[:0], 0, s, 1, learn)
    return count
