"""The range coder: symbols to bytes and back, by the distribution that the predictor held before each.

Integers only, so every machine writes and reads the same bytes. A distribution p becomes whole frequencies
f_v = 1 + ⌊p_v·2³⁰⌋: scaling a float32 by a power of two is exact, no symbol gets 0, and a certain one costs 4e-7 bits.
The code is a number in [0, 1), written as bytes, the highest first. It lies in an interval [low, low + width) of
56 bits that each symbol narrows to its share (Martin 1979). Bytes that have left the interval are written, and a carry
out of `low` is added to those written before: all bytes of a frame are still at hand.

coder  int64 [3]   LOW, of which the decoder keeps the distance to the code instead; WIDTH; POSITION in `code`
code   uint8       The bytes of one frame.
"""

import numpy as np
import numpy.typing as npt

from ..kernels.jit import entry, kernel
from ..kernels.network import GATE_STEP, PREDICTION, RECORD, SLOT, VOCABULARY, forward
from ..memory.mixture import remember

LOW, WIDTH, POSITION = range(3)

BITS = 56
"""Length of the interval's numbers; WIDTH is kept at 2**(BITS - 8) or more."""

PER_SYMBOL = 5
"""The most bytes that one symbol adds to the code."""

GROUP = 16
"""The decoder skips this many symbols at a time on its way to the right one."""

f32 = np.float32
SCALE, LIMIT = f32(2.0**30), f32(2.0**31)
MASK, SMALLEST = (1 << BITS) - 1, 1 << (BITS - 8)


def opened(code: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The `coder` that is about to read `code` (uint8 [n]), or for an empty code that is about to write one."""
    distance = int.from_bytes(code[: BITS // 8].tobytes().ljust(BITS // 8, b"\0"), "big")
    return np.array([distance, 1 << BITS, BITS // 8 if len(code) else 0], dtype=np.int64)


@kernel
def prediction(tape, at, layout):
    """The distribution of the next symbol, float32 [V], in the record that begins at tape[at]."""
    at += layout[PREDICTION]
    return tape[at : at + layout[VOCABULARY]]


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


@entry("f4[::1], i8, i8[::1], i4[::1], u1[::1], i8[::1]")
def encode(tape, at, layout, tokens, code, coder):
    """Append tokens [n], tokens[r] by the distribution in the record that begins at tape[at + r·RECORD].

    `code` must have room for PER_SYMBOL bytes for each.
    """
    low, width, position = coder[LOW], coder[WIDTH], coder[POSITION]
    for r in range(tokens.size):
        p = prediction(tape, at + r * layout[RECORD], layout)
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


@entry("u1[::1], i8[::1]")
def finish(code, coder):
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
def decode_symbol(p, code, coder, frequencies):
    """The next token, by the distribution p [V]; frequencies int32 [V rounded up to GROUP], zeros after V."""
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


@entry(
    "f4[::1], f4[::1], i4[::1], f4[::1], i8[::1],"
    "Tuple((i4[::1], i4[::1], i4[::1], f4[::1], i8[::1], f4[::1], i4[::1], i4[::1])),"
    "u1[::1], i8[::1], i4[::1], u1[::1], i8"
)
def decode(theta, tape, tokens, bits, layout, memory, code, coder, frequencies, decoded, first):
    """Fill decoded uint8 [n], the first from the distribution in slot `first`, and let each flow while there is a slot.

    A tape of one record (SLOT is 0) is overwritten and never full. memory: the first eight arguments of
    `mixture.remember`, all empty where there is none. Returns how many were decoded before the code proved too short
    for what was read from it.
    """
    for n in range(decoded.size):
        if coder[POSITION] - BITS // 8 >= code.size:
            return n
        s = first + n if layout[SLOT] else first
        token = decode_symbol(prediction(tape, s * layout[RECORD], layout), code, coder, frequencies)
        decoded[n] = np.uint8(token)
        tokens[s] = token
        if s + 1 < tokens.size or not layout[SLOT]:
            forward(theta, tape, tokens, bits, layout, s, 1, 1)
            if memory[0].size > 0:
                remember(*memory, tape, tokens, bits, bits[:0], layout, s, 1, layout[GATE_STEP] > 0)
    return decoded.size
