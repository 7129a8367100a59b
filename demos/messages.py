"""Measure the size of messages: short pieces of files, each compressed without a container.

    python demos/messages.py FILE… [--pieces N]

Pieces of 100, 1,000 and 10,000 characters begin with a sentence, spread evenly over each file; white space between
words counts as one space. A row has the mean sizes in bytes: of a piece, of its message, of its surprisals under the
model as messages use it ("adapting") and under the frozen model, and of zlib's result. "over" is what messages take
beside their surprisals, on average and at most. The time is that to compress a message, after loading.
Without a FILE the script reads the README.
"""

import argparse
import re
import time
import zlib
from pathlib import Path

import numpy as np

from streamlstm import MessageCoder, StreamPredictor

SIZES = (100, 1_000, 10_000)
COLUMNS = ("pieces", "bytes", "message", "adapting", "frozen", "zlib", "over", "at most", "ms")


def pieces_of(text: str, size: int, n: int) -> list[bytes]:
    """At most n pieces of `size` characters that begin with a sentence."""
    text = re.sub(r"\s+", " ", text)
    starts = [match.end() for match in re.finditer(r"\w[.!?] (?=[^\W\d_])", text[:-size])]
    return [text[start : start + size].encode() for start in starts[:: max(1, len(starts) // n)][:n]]


def content(predictor: StreamPredictor, data: bytes) -> float:
    """The sum of the surprisals in bytes."""
    return float(predictor.fork().observe_many(data).sum(dtype=np.float64)) / 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    readme = Path(__file__).parents[1] / "README.md"
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", default=[readme])
    parser.add_argument("--pieces", type=int, default=10, metavar="N", help="pieces of each size and file")
    options = parser.parse_args()
    coder, adapting = MessageCoder(), StreamPredictor.pretrained("small")
    frozen = adapting.fork(learning=False)
    coder.compress("The first message loads the kernels.")
    print(f"{'':<32}" + "".join(f"{name:>9}" for name in COLUMNS))
    for file in options.files:
        for size in SIZES:
            pieces = pieces_of(file.read_text(errors="replace"), size, options.pieces)
            if not pieces:
                continue
            started = time.perf_counter()
            messages = [coder.compress(piece) for piece in pieces]
            ms = 1000 * (time.perf_counter() - started) / len(pieces)
            assert [coder.decompress(message) for message in messages] == pieces
            sizes = np.array([len(message) for message in messages])
            contents = [np.array([content(model, piece) for piece in pieces]) for model in (adapting, frozen)]
            means = [np.mean([len(piece) for piece in pieces]), sizes.mean(), *(each.mean() for each in contents)]
            means += [np.mean([len(zlib.compress(piece, 9)) for piece in pieces])]
            over = sizes - contents[0]
            cells = [f"{value:.1f}" for value in (*means, over.mean(), over.max(), ms)]
            print(f"{file.name[:22]:<22}{size:>10,}{len(pieces):>9}" + "".join(f"{cell:>9}" for cell in cells))


if __name__ == "__main__":
    main()
