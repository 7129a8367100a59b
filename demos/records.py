"""Measure near-identical records: ten copies of 10,000 bytes, each with 1 % of the bytes changed.

    python demos/records.py [FILE] [--model NAME] [--size BYTES]

The copies are of random DNA letters, and of the beginning of FILE (the README by default). Changed bytes are replaced
by other letters. A linear congruential generator chooses them, so they are the same on every machine. The columns are
bits per byte of a fresh network, of a bundled model, and of PPMd (order 16) if pyppmd is installed; "later" is the mean
of records 2 to 10.
"""

import argparse
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from streamlstm import StreamPredictor

try:
    import pyppmd
except ImportError:
    pyppmd = None

N_RECORDS, ONE_IN = 10, 100
DNA, LETTERS = b"ACGT", bytes(range(ord("a"), ord("z") + 1))


def random_numbers() -> Iterator[int]:
    """31-bit numbers of a linear congruential generator (Knuth's MMIX)."""
    state = 1
    for _ in count():
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def changed(record: bytes, letters: bytes, numbers: Iterator[int]) -> bytes:
    """The record with one byte in 100 replaced by another letter."""
    copy = bytearray(record)
    for at, old in enumerate(record):
        if next(numbers) % ONE_IN == 0:
            others = letters.replace(bytes([old]), b"")
            copy[at] = others[next(numbers) % len(others)]
    return bytes(copy)


def near_identical(text: bytes | None, size: int) -> bytes:
    """Ten changed copies, one after the other, of the beginning of a text or, if it is None, of DNA letters."""
    numbers = random_numbers()
    letters = LETTERS if text is not None else DNA
    record = text[:size] if text is not None else bytes(DNA[next(numbers) >> 29] for _ in range(size))
    return b"".join(changed(record, letters, numbers) for _ in range(N_RECORDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    readme = Path(__file__).parents[1] / "README.md"
    parser.add_argument("file", nargs="?", type=Path, default=readme, help="the text of the second row")
    parser.add_argument("--model", default="small", metavar="NAME", help="the bundled model to measure")
    parser.add_argument("--size", type=int, default=10_000, metavar="BYTES", help="the length of a record")
    options = parser.parse_args()
    names = ["fresh", "later", options.model, "later", *(["PPMd-16", "ratio"] if pyppmd else [])]
    print(f"{'bits per byte':<20}" + "".join(f"{name:>10}" for name in names))
    for name, text in (("DNA letters", None), (options.file.name, options.file.read_bytes())):
        data = near_identical(text, options.size)
        means = []
        for predictor in (StreamPredictor(), StreamPredictor.pretrained(options.model)):
            bits = predictor.observe_many(data)
            means += [bits.mean(), bits[len(data) // N_RECORDS :].mean()]
        if pyppmd:
            size = len(pyppmd.compress(data, max_order=16, mem_size=1 << 28, variant="H"))
            means += [8 * size / len(data), means[2] * len(data) / (8 * size)]
        print(f"{name:<20}" + "".join(f"{mean:>10.4f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
