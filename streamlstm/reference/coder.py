"""The decoder of the range coder, with integers of any length."""

from bisect import bisect_right
from itertools import accumulate

from .arithmetic import Array, f32

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
