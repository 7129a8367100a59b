"""The range coder: symbols to bytes and back, by the distribution that the predictor held before each.

Integers only, so every machine writes and reads the same bytes. A distribution p becomes whole frequencies
f_v = 1 + ⌊p_v·2³⁰⌋: scaling a float32 by a power of two is exact, no symbol gets 0, and a certain one costs 4e-7 bits.
The code is a number in [0, 1), written as bytes, the highest first. It lies in an interval [low, low + width) of
56 bits that each symbol narrows to its share (Martin 1979). Bytes that have left the interval are written, and a carry
out of `low` is added to those written before: all bytes of a frame are still at hand.

coder  int64 [3]   LOW, of which the decoder keeps the distance to the code instead; WIDTH; POSITION in `code`
code   uint8       The bytes of one frame.
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
"""Length of the interval's numbers; WIDTH is kept at 2**(BITS - 8) or more."""

PER_SYMBOL = 5
"""The most bytes that one symbol adds to the code."""

GROUP = 16
"""The decoder skips this many symbols at a time on its way to the right one."""


class Decoder(NamedTuple):
    """What the decoder reads a frame with.

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


def opened(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The `coder` that is about to read `code` (uint8 [n]), or for an empty code that is about to write one."""
    distance = int.from_bytes(code[: BITS // 8].tobytes().ljust(BITS // 8, b"\0"), "big")
    return np.array([distance, 1 << BITS, BITS // 8 if len(code) else 0], dtype=np.int64)


@kernel
def frequency(p):
    """1 + ⌊p·2³⁰⌋; 1 for what is no probability, so that nothing that a model does can break the coder."""
    x = p * SCALE
    return np.int64(np.int32(x)) + 1 if f32(0.0) < x < LIMIT else np.int64(1)


@kernel
def carry(code, position):
    """Add 1 to the number that code[:position] is."""
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
            share = frequency(p[v])
            total += share
            below += share if v < token else 0
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
    """Append the one byte that, with any bytes after it taken as 0, lies in the interval; returns the code's length."""
    low, position = coder[LOW] + SMALLEST - 1, coder[POSITION]
    if low > MASK:
        carry(code, position)
    code[position] = np.uint8((low & MASK) >> (BITS - 8))
    return position + 1


@kernel
def next_byte(code, position):
    """The byte of the code at `position`; 0 after its end."""
    return np.int64(code[position]) if position < code.size else np.int64(0)


@kernel
def decode_symbol(p, decoder):
    """The next token, by the distribution p [V], or -1 if the code is too short for what has been read from it."""
    code, coder, frequencies = decoder
    if coder[POSITION] - BITS // 8 >= code.size:
        return -1
    total = np.int64(0)
    for v in range(p.size):
        share = frequency(p[v])
        frequencies[v] = share
        total += share
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
def decode_one(decoder: Decoder, p: F32):
    """The next token, by the distribution p [V]; -1 if the code is too short."""
    return decode_symbol(p, decoder)


@entry
def decode(theta: F32, memory: MemoryArrays, stream: Stream, decoder: Decoder, first: int, count: int, learn: bool):
    """Decode up to `count` tokens, the first by the distribution in slot `first`, and feed each to the network.

    The tokens are written to the stream's; if tokens[first] is not negative, that one is decoded already. The memory's
    arrays may be empty. Returns how many there were before the code proved too short.
    """
    layout = stream.layout
    for s in range(first, first + count):
        if s > first or stream.tokens[s] < 0:
            at = s * layout[SLOT] + layout[PREDICTION]
            token = decode_symbol(stream.tape[at : at + layout[VOCABULARY]], decoder)
            if token < 0:
                return s - first
            stream.tokens[s] = token
        forward(theta, stream, s, 1, 1)
        if memory.table.size > 0:
            remember(memory, stream, stream.bits[:0], decoder.code[:0], 0, s, 1, learn)
    return count
