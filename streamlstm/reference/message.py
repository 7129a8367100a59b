"""The second decoder of messages: texts without a container."""

from .coder import BITS, RangeDecoder, frequencies
from .model import read_model
from .stream import ReferenceStream

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
