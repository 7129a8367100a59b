"""Measure prediction quality on short texts: sentences from a fresh state, and the first bytes of files.

    python demos/short_text.py FILE… [--model NAME] [--sentences N] [--prime FOLDER]

The first table has bits per byte by position in sentences of 50 to 140 characters: each sentence is read from the
state that a new predictor has. The second has bits per byte of the first 200, 2,000 and 20,000 bytes of each file.
"network" is the frozen network alone; "frozen" and "adapting" have the memory beside it. PPMd (order 8) is included
if pyppmd is installed; with --prime it has read the files of a folder before ("primed"), which takes as long for each
sentence as compressing that folder.
Without a FILE the script reads the README.
"""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from streamlstm import StreamPredictor

try:
    import pyppmd
except ImportError:
    pyppmd = None

POSITIONS = (("1", 0, 1), ("2-5", 1, 5), ("6-15", 5, 15), ("16-40", 15, 40), ("41-", 40, None), ("all", 0, None))
SIZES = (200, 2_000, 20_000)
RIVALS = (("PPMd", False), ("PPMd primed", True))
"""Their names, and whether they have read the files of --prime."""


def readers(model: str) -> dict[str, Callable[[], StreamPredictor]]:
    """New predictors by name; each call returns one in its initial state."""
    with_memory, without = StreamPredictor.pretrained(model), StreamPredictor.pretrained(model, memory=False)
    return {
        "network": lambda: without.fork(learning=False),
        "frozen": lambda: with_memory.fork(learning=False),
        "adapting": lambda: with_memory.fork(learning=True),
    }


def sentences_of(data: bytes, n: int) -> list[bytes]:
    """At most n sentences of 50 to 140 characters, spread evenly over a text."""
    text = re.sub(r"\s+", " ", data.decode("utf-8", "replace"))
    found = [part.strip() for part in re.split(r"(?<=[.!?])\s", text)]
    fitting = [part.encode() for part in found if 50 <= len(part) <= 140]
    return fitting[:: max(1, len(fitting) // n)][:n]


def ppmd_bits(data: bytes, prime: bytes = b"") -> float:
    """Bits per byte of data after `prime`."""
    sizes = [len(pyppmd.compress(text, max_order=8, mem_size=1 << 30, variant="H")) for text in (prime, prime + data)]
    return 8 * (sizes[1] - (sizes[0] if prime else 0)) / len(data)


def row(name: str, cells: list[str]) -> str:
    return f"{name:<34}" + "".join(f"{cell:>11}" for cell in cells)


def print_sentences(name: str, sentences: list[bytes], model: str, prime: bytes) -> None:
    """A row per predictor: bits per byte by position. Of PPMd only the total is known."""
    for reader, make in readers(model).items():
        bits = [make().observe_many(sentence) for sentence in sentences]
        parts = [np.concatenate([each[start:end] for each in bits]) for _, start, end in POSITIONS]
        print(row(f"{name}, {reader}", [f"{part.mean():.3f}" for part in parts]), flush=True)
    for rival, before in RIVALS[: 1 + bool(prime)] if pyppmd else ():
        total = sum(len(each) * ppmd_bits(each, prime if before else b"") for each in sentences)
        cells = ["" for _ in POSITIONS[1:]] + [f"{total / sum(map(len, sentences)):.3f}"]
        print(row(f"{name}, {rival}", cells), flush=True)


def print_beginnings(name: str, data: bytes, model: str, prime: bytes) -> None:
    """A row per size: bits per byte of the first bytes of a file."""
    for size in (size for size in SIZES if size <= len(data)):
        part = data[:size]
        cells = [f"{make().observe_many(part).mean():.3f}" for make in readers(model).values()]
        cells += [f"{ppmd_bits(part):.3f}"] if pyppmd else []
        cells += [f"{ppmd_bits(part, prime):.3f}"] if pyppmd and prime else []
        print(row(f"{name}, first {size:,} bytes", cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    readme = Path(__file__).parents[1] / "README.md"
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", default=[readme])
    parser.add_argument("--model", default="small", metavar="NAME", help="the bundled model to measure")
    parser.add_argument("--sentences", type=int, default=20, metavar="N", help="sentences of each file")
    parser.add_argument("--prime", type=Path, metavar="FOLDER", help="what the primed PPMd reads first")
    options = parser.parse_args()
    texts = {file.name: file.read_bytes() for file in options.files}
    files = sorted(file for file in options.prime.rglob("*") if file.is_file()) if options.prime else []
    prime = b"".join(file.read_bytes() for file in files)
    print(row("bits per byte by position", [name for name, *_ in POSITIONS]))
    for name, data in texts.items():
        if sentences := sentences_of(data, options.sentences):
            print_sentences(name, sentences, options.model, prime)
    rivals = [rival for rival, _ in RIVALS[: 1 + bool(prime)]] if pyppmd else []
    print(row("bits per byte of beginnings", [*readers(options.model), *rivals]))
    for name, data in texts.items():
        print_beginnings(name, data, options.model, prime)


if __name__ == "__main__":
    main()
