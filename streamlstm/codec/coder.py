"""The range coder: encodes each symbol with the distribution that the predictor held before it, and decodes it.

All arithmetic is on integers, so every machine writes and reads the same bytes. A distribution p becomes integer
frequencies f_v = 1 + ⌊p_v·2³⁰⌋: scaling a float32 by a power of two is exact, no symbol gets 0, and a symbol of
probability 1 costs 4e-7 bits. The code is a number in [0, 1), written as bytes, the most significant first. The
interval [low, low + width), of 56 bits, contains it, and each symbol narrows the interval to a part in proportion to
its frequency (Martin 1979). Bytes that can no longer change are written; a carry out of `low` is added to the bytes
already written, which is possible since all bytes of a frame are kept until it ends.

The code of a frame does not say where it ends. That of a message (see `message`) does: before each symbol but the first
the coder codes whether the message ends here. The probability of that depends on how many bits are left, since both
sides know the length of the message in bytes: see `end_weight`.

coder  int64 [9]   LOW, or in the decoder the code minus `low`; WIDTH; POSITION in `code`. Of a message N_BYTES, its
                   length, or ENDED once its end has been decoded; N_SYMBOLS so far; and two earlier MARKS: see
                   `end_weight`. Of a frame zeros
code   uint8       the bytes of one frame or message

What tells predictors apart that predict differently.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..checkpoint import digest
from ..jit.decorators import entry, kernel
from ..kernels.arrays import F32, I32, I64, U8, Stream
from ..kernels.network import PREDICTION, SLOT, VOCABULARY, forward
from ..memory.arrays import MemoryArrays
from ..memory.experts import has_space
from ..memory.mixture import remember
from ..predictor import StreamPredictor

LOW, WIDTH, POSITION, N_BYTES, N_SYMBOLS, MARKS = range(6)
ENDED = -1

BITS = 56
"""Precision of `low` and `width`; WIDTH is kept at 2**(BITS - 8) or more."""

PER_SYMBOL = 5
"""The most bytes that one symbol adds to the code."""

END_BITS = 20
"""Precision of the probability of an end."""

GROUP = 16
"""The decoder searches for a symbol in steps of this many."""


class Decoder(NamedTuple):
    """The arrays of the decoder of one frame or message.

    code         uint8  its bytes
    coder        int64  [9], see above
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
    return np.array([distance, 1 << BITS, BITS // 8 if len(code) else 0, *[0] * 6], dtype=np.int64)


def message_coder(version: int, n_bytes: int, code: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """The initial `coder` of a message of n_bytes bytes, for decoding `code` or, if it is empty, for encoding.

    A message of version v begins with v - 1 zero bits and a one. If n_bytes is 0, ends are not coded.
    """
    coder, width = initial_coder(code), 1 << (BITS - version)
    coder[LOW] += -width if len(code) else width
    coder[WIDTH], coder[N_BYTES] = width, n_bytes
    return coder


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


@kernel
def part_of(p, token):
    """A token's part of an interval, given its distribution p [V]: frequencies below its own, its own, all."""
    below = total = np.int64(0)
    for v in range(p.size):
        f = frequency(p[v])
        total += f
        below += f if v < token else 0
    return below, frequency(p[token]), total


@kernel
def narrow(code, coder, below, size, total):
    """Narrow the interval to a part of it, and append the bytes of the code that can no longer change."""
    unit = coder[WIDTH] // total
    low, width, position = coder[LOW] + unit * below, unit * size, coder[POSITION]
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
def encode(stream: Stream, first: int, tokens: I32, code: U8, coder: I64):
    """Append tokens [n], tokens[r] by the distribution in slot first + r of a stream's tape.

    `code` must have room for PER_SYMBOL bytes for each.
    """
    layout = stream.layout
    for r in range(tokens.size):
        at = (first + r) * layout[SLOT] + layout[PREDICTION]
        below, size, total = part_of(stream.tape[at : at + layout[VOCABULARY]], tokens[r])
        narrow(code, coder, below, size, total)


@kernel
def end_code(code, coder):
    """Append the one byte that ends the code inside the interval; returns the length of the code.

    The decoder reads zeros after the end.
    """
    low, position = coder[LOW] + SMALLEST - 1, coder[POSITION]
    if low > MASK:
        carry(code, position)
    code[position] = np.uint8((low & MASK) >> (BITS - 8))
    return position + 1


@entry
def finish(code: U8, coder: I64):
    """See `end_code`."""
    return end_code(code, coder)


@kernel
def end_weight(coder, n_written):
    """The probability that a message ends before its next symbol, times 2**END_BITS.

    n_written  how many bytes of the code can no longer change

    A message is as short as it can be, so it ends among its last bits, and any of them is as probable as another. The
    next symbol is expected to take the mean number of bits of those since a mark. A mark is the number of bits and of
    symbols at some time; the older of two is used, and a new one is set after 8 bits. Farther from the end than `last`
    bits, the probability falls to a quarter with each bit.
    """
    left = 8 * (coder[N_BYTES] - n_written - 1)
    room = coder[WIDTH] >> (BITS - 8)
    while room > 1:
        room >>= 1
        left += 1
    used, n, marks = 8 * coder[N_BYTES] - left, coder[N_SYMBOLS], coder[MARKS:]
    if used >= marks[2] + 8:
        marks[0], marks[1], marks[2], marks[3] = marks[2], marks[3], used, n
    mean = max(((used - marks[0] + 4) << END_BITS) // (n - marks[1] + 2), 1)
    last = 8
    while mean << (last - 8) < 6 << END_BITS:
        last += 1
    weight = (mean // max(left, 1)) >> (2 * min(max(left - last, 0), END_BITS))
    return min(max(weight, 1), 3 << (END_BITS - 2))


@entry
def record_parts(stream: Stream, first: int, tokens: I32, parts: I64):
    """Write what `part_of` says of tokens [n] to parts [3n]; tokens[r] by the distribution in slot first + r."""
    layout = stream.layout
    for r in range(tokens.size):
        at = (first + r) * layout[SLOT] + layout[PREDICTION]
        below, size, total = part_of(stream.tape[at : at + layout[VOCABULARY]], tokens[r])
        parts[3 * r], parts[3 * r + 1], parts[3 * r + 2] = below, size, total


@entry
def encode_message(parts: I64, code: U8, coder: I64):
    """Code a message, given the parts of its symbols, int64 [3n]; returns the length of the code.

    It is a message of N_BYTES bytes if it is at most that long; zeros follow it. If N_BYTES is 0, ends are not coded.
    """
    n = parts.size // 3
    for r in range(n + 1):
        coder[N_SYMBOLS] = r
        if r > 0 and coder[N_BYTES] > 0:
            weight, all = end_weight(coder, coder[POSITION]), np.int64(1 << END_BITS)
            if r == n:
                narrow(code, coder, np.int64(0), weight, all)
            else:
                narrow(code, coder, weight, all - weight, all)
        if r < n:
            narrow(code, coder, parts[3 * r], parts[3 * r + 1], parts[3 * r + 2])
    return end_code(code, coder)


@kernel
def next_byte(code, position):
    """The byte of the code at `position`; 0 after the end."""
    return np.int64(code[position]) if position < code.size else np.int64(0)


@kernel
def take(code, coder, below, size, unit):
    """Narrow the decoder's interval to a part of it."""
    distance, width, position = coder[LOW] - unit * below, unit * size, coder[POSITION]
    while width < SMALLEST:
        distance = (distance << 8) | next_byte(code, position)
        position += 1
        width <<= 8
    coder[LOW], coder[WIDTH], coder[POSITION] = distance, width, position


@kernel
def take_end(code, coder):
    """Whether a message ends before its next symbol; if so, it is ENDED."""
    weight = end_weight(coder, coder[POSITION] - BITS // 8)
    unit = coder[WIDTH] >> END_BITS
    if coder[LOW] < unit * weight:
        take(code, coder, np.int64(0), weight, unit)
        coder[N_BYTES] = ENDED
    else:
        take(code, coder, weight, np.int64(1 << END_BITS) - weight, unit)


@kernel
def decode_symbol(p, decoder):
    """The next token, given its distribution p [V]; -1 if the message or the code ended before this symbol."""
    code, coder, frequencies = decoder
    if coder[N_BYTES] > 0 and coder[N_SYMBOLS] > 0:
        take_end(code, coder)
    if coder[N_BYTES] == ENDED or coder[POSITION] - BITS // 8 >= code.size:
        return -1
    total = np.int64(0)
    for v in range(p.size):
        f = frequency(p[v])
        frequencies[v] = f
        total += f
    unit = coder[WIDTH] // total
    place = min(coder[LOW] // unit, total - 1)
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
    take(code, coder, below, np.int64(frequencies[token]), unit)
    coder[N_SYMBOLS] += 1
    return token


@entry
def decode(theta: F32, memory: MemoryArrays, stream: Stream, decoder: Decoder, first: int, count: int, learn: bool):
    """Decode up to `count` tokens, the first with the distribution in slot `first`, and feed each to the predictor.

    The tokens are written to the stream's; if tokens[first] is not negative, it has been decoded before. The arrays of
    the memory may be empty. Returns the number of tokens, which is less than `count` if the code ended before them or
    the memory's overlay must grow.
    With a count of 0 it decodes one token, writes and feeds nothing, and returns the token, or -1 if the code ended.
    """
    layout = stream.layout
    for s in range(first, first + max(count, 1)):
        if count > 0 and learn and memory.table.size > 0 and not has_space(memory):
            return s - first
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


# What tells predictors apart that predict differently

ARITHMETIC = "8d27c81539662937"
"""Part of every identity: the digest of `tests/golden.json`, which changes with any bit of any distribution."""


def identity(predictor: StreamPredictor) -> bytes:
    """16 bytes that are equal for predictors that predict and learn the same, and differ for others.

    The first half of the SHA-256 of what its checkpoint would contain, with the arithmetic in place of what does not
    matter for that: see the page on containers.
    """
    arrays, described = predictor.to_checkpoint(whole=True)
    values = {key: described[key] for key in ("config", "optimizer", "learn")}
    values["vocabulary"] = {"characters": predictor.vocabulary.characters, "unknown": predictor.vocabulary.unknown}
    return bytes.fromhex(digest(arrays, values | {"arithmetic": ARITHMETIC}))[:16]
