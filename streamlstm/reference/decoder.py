"""A second decoder of archives and messages, in plain Python: slow, and nothing but what the pages on file formats say.

It imports nothing of the rest of the package. The range coder has integers of any length.
"""

import hashlib
import io
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

from .arithmetic import Array, f32
from .model import identity, read_model
from .stream import ReferenceStream

HEAD = b"\x89SLZ\x02"
END, CODED, RAW = b"\0", b"\1", b"\2"


def decompress(archive: bytes, model: bytes) -> bytes:
    """Decode an archive with the content of a model file. Raises ValueError if it is damaged or of another model."""
    source, predictor = io.BytesIO(archive), read_model(model)
    head = source.read(21)
    _require(head[:5] == HEAD and source.read(4) == _checksum(head), "it is not an archive, or its header is damaged")
    _require(head[5:] == identity(predictor), "it was compressed with another model")
    data = b"".join(_frames(source, ReferenceStream(predictor)))
    _require(source.read() == hashlib.sha256(data).digest()[:8], "the digest of all the data does not match")
    return data


def _frames(source: io.BytesIO, stream: ReferenceStream) -> Iterator[bytes]:
    """The data of each frame."""
    crc = 0
    while (kind := source.read(1)) != END:
        head = kind + source.read(6)
        n_symbols, length = int.from_bytes(head[1:4], "little"), int.from_bytes(head[4:], "little")
        checksum, code = source.read(4), source.read(length)
        _require(kind in (CODED, RAW) and checksum == _checksum(head + code), "a frame is damaged")
        data = raw(code, stream) if kind == RAW else decoded(code, n_symbols, stream)
        crc = zlib.crc32(data, crc)
        _require(len(data) == n_symbols and source.read(4) == crc.to_bytes(4, "little"), "the data is not what it was")
        yield data


def raw(code: bytes, stream: ReferenceStream) -> bytes:
    """The data of a raw frame, which the stream observes."""
    for token in code:
        stream.observe(token)
    return code


def decoded(code: bytes, n_symbols: int, stream: ReferenceStream) -> bytes:
    """The data of a coded frame, which the stream observes; empty if the code has another length than it needs."""
    decoder, data = RangeDecoder(code), bytearray()
    for _ in range(n_symbols):
        data.append(decoder.decode(frequencies(stream.p)))
        stream.observe(data[-1])
    return bytes(data) if decoder.n_written + 1 == len(code) else b""


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


BITS = 56
SMALLEST = 1 << (BITS - 8)
"""The interval is at least as wide before each symbol."""


def frequencies(p: Array) -> list[int]:
    """1 + ⌊p·2³⁰⌋ of each probability."""
    return [1 + int(x) for x in p * f32(2**30)]


class RangeDecoder:
    """Decodes the code of a frame or a message.

    distance   of the code from the beginning of the interval
    width      of the interval
    n_written  how many bytes of the code can no longer change
    """

    def __init__(self, code: bytes) -> None:
        self.code, self.width, self.n_written = code, 1 << BITS, 0
        self.distance = int.from_bytes(code[: BITS // 8].ljust(BITS // 8, b"\0"), "big")

    def decode(self, sizes: list[int]) -> int:
        """Which of some parts of the interval the code lies in; the interval becomes that part."""
        ends = list(accumulate(sizes))
        unit = self.width // ends[-1]
        part = bisect_right(ends, min(self.distance // unit, ends[-1] - 1))
        self.distance, self.width = self.distance - unit * (ends[part] - sizes[part]), unit * sizes[part]
        while self.width < SMALLEST:
            at = self.n_written + BITS // 8
            byte = self.code[at] if at < len(self.code) else 0
            self.distance, self.width, self.n_written = self.distance * 256 + byte, self.width * 256, self.n_written + 1
        return part


ALL = 1 << 20
"""The sum of the frequencies of an end and of no end."""


class Ends:
    """How probable it is that a message of n_bytes bytes ends before its next symbol.

    marks  the numbers of used bits and of symbols at two earlier times
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bits, self.marks = 8 * n_bytes, [(0, 0), (0, 0)]

    def frequency(self, decoder: RangeDecoder, n_symbols: int) -> int:
        """The frequency of the end, of ALL."""
        left = self.n_bits - 8 * decoder.n_written - BITS + decoder.width.bit_length() - 1
        used = self.n_bits - left
        if used >= self.marks[1][0] + 8:
            self.marks = [self.marks[1], (used, n_symbols)]
        used_before, n_before = self.marks[0]
        mean = max((used - used_before + 4) * ALL // (n_symbols - n_before + 2), 1)
        last = 8
        while mean << (last - 8) < 6 * ALL:
            last += 1
        return min(max(mean // max(left, 1) >> 2 * max(left - last, 0), 1), ALL * 3 // 4)


def decompress_message(message: bytes, model: bytes) -> bytes:
    """Decode a whole message of version 1 with the content of the file of `small`."""
    if message[:1] in (b"", b"\0"):
        return message[1:]
    if message[0] < 128:
        raise ValueError("the message is of a version that this decoder does not read")
    stream, decoder, ends, data = (
        ReferenceStream(read_model(model)),
        RangeDecoder(message),
        Ends(len(message)),
        bytearray(),
    )
    decoder.decode([1, 1])  # the version
    while True:
        if data:
            end = ends.frequency(decoder, len(data))
            if decoder.decode([end, ALL - end]) == 0:
                return bytes(data)
        data.append(decoder.decode(frequencies(stream.p)))
        stream.observe(data[-1])
