"""Online learning: a fresh network reads a text once, and its bits per byte fall from 8 as it learns.

python demos/online.py [FILE]       (without a file: the sources of Python's standard library)
"""

import argparse
import pathlib
import time

from streamlstm import StreamPredictor

WIDTH = 48
POINTS = 24


def standard_library(n_bytes: int) -> bytes:
    """The first n bytes of the modules beside `argparse`, in the order of their names."""
    text = b""
    for path in sorted(pathlib.Path(argparse.__file__).parent.glob("*.py")):
        text += path.read_bytes()
        if len(text) >= n_bytes:
            break
    return text[:n_bytes]


parser = argparse.ArgumentParser(description="Print bits per byte while a fresh network learns from a text.")
parser.add_argument("file", nargs="?", type=pathlib.Path)
file = parser.parse_args().file
text = file.read_bytes()[:600_000] if file else standard_library(240_000)

predictor = StreamPredictor()
print(
    f"A fresh network of {predictor.config.layers} layers of {predictor.config.hidden} units with a memory reads"
    f" {len(text):,} bytes.\n"
)
started, total = time.perf_counter(), 0.0
for part in range(POINTS):
    block = text[len(text) * part // POINTS : len(text) * (part + 1) // POINTS]
    bits = predictor.observe_many(block)
    total += float(bits.sum())
    mean = float(bits.mean()) if len(bits) else 0.0
    print(f"{predictor.n_symbols:>9,} bytes  {mean:5.2f} bits  {'█' * round(WIDTH * mean / 8)}")
seconds = time.perf_counter() - started
print(f"\n{total / max(len(text), 1):.3f} bits per byte in one pass, {len(text) / seconds:,.0f} bytes/s with learning.")
print("Most probable after 'def __init__(self':  ", end="")
reader = predictor.fork()
reader.observe_many("\n    def __init__(self")
print(*(f"{symbol!r} {probability:.2f}" for symbol, probability in reader.top(5)), sep="   ")
