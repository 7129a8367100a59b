"""Measure how much of a text occurs verbatim in training text.

    python demos/overlap.py FILE… --in FOLDER…

The overlap is the fraction of positions of a file at which the next 48 bytes also occur somewhere in the folders.
Every position of every file counts. Without arguments the script compares itself with the folder that holds it.
"""

import argparse
from pathlib import Path

import numpy as np

WINDOW = 48
FACTOR = np.uint64(0x9E3779B97F4A7C15)


def window_hashes(data: bytes) -> np.ndarray:
    """A uint64 hash of each run of 48 bytes: first of runs of 2, 4, … 32, then of 32 joined with 16."""
    hashes = np.frombuffer(data, dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    if len(hashes) < WINDOW:
        return hashes[:0]
    by_length = {1: hashes}
    for length in (1, 2, 4, 8, 16):
        short = by_length[length]
        by_length[2 * length] = join(short[:-length], short[length:])
    return join(by_length[32][: len(data) - WINDOW + 1], by_length[16][32:])


def join(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The hashes of runs, from those of their first and second parts."""
    mixed = (a * FACTOR) ^ (b + (a >> np.uint64(7)))
    return mixed ^ (mixed >> np.uint64(29))


def main() -> None:
    here = Path(__file__)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", default=[here])
    parser.add_argument("--in", dest="folders", nargs="+", type=Path, metavar="FOLDER", default=[here.parent])
    options = parser.parse_args()
    wanted = {file: window_hashes(file.read_bytes()) for file in options.files}
    everything = np.unique(np.concatenate(list(wanted.values())))
    found = np.zeros(len(everything), dtype=bool)
    for folder in options.folders:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            hashes = window_hashes(file.read_bytes())
            indices = np.minimum(np.searchsorted(everything, hashes), len(everything) - 1)
            found[indices[everything[indices] == hashes]] = True
    print(f"{'bytes':>10} {'overlap':>9}  file")
    for file, hashes in wanted.items():
        overlap = found[np.searchsorted(everything, hashes)].mean() if len(hashes) else 0.0
        print(f"{file.stat().st_size:>10,} {overlap:>9.4%}  {file.name}")


if __name__ == "__main__":
    main()
