"""Compare lossless compression with gzip, bz2, xz and PPMd: sizes and speeds on your files.

python demos/archive_sizes.py [--model NAME|FILE] [FILE…]   (without a file: three sources of this package)

"over" is the size of the container minus the sum of the model's surprisals, in bytes; the limit is 0.05 % + 64 bytes.
"observe" is the speed of observe_many, without the coder. PPMd (order 8) is included if pyppmd is installed.
"""

import argparse
import bz2
import gzip
import lzma
import pathlib
import time
from collections.abc import Callable

import numpy as np

import streamlstm
from streamlstm import StreamPredictor, compress, decompress

try:
    import pyppmd
except ImportError:
    pyppmd = None

OURS = "streamlstm"
Coder = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]


def own_files() -> list[pathlib.Path]:
    """Three sources of this package."""
    folder = pathlib.Path(streamlstm.__file__).parent
    return [folder / name for name in ("checkpoint.py", "predictor/tape.py", "search/generate.py")]


def coders(predictor: StreamPredictor) -> dict[str, Coder]:
    """The functions that compress and decompress, by name."""
    found: dict[str, Coder] = {
        "gzip -9": (lambda data: gzip.compress(data, 9), gzip.decompress),
        "bz2": (bz2.compress, bz2.decompress),
        "xz -9e": (lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lzma.decompress),
    }
    if pyppmd is not None:
        found["PPMd"] = (
            lambda data: pyppmd.compress(data, max_order=8, mem_size=64 << 20),
            lambda packed: pyppmd.decompress(packed, max_order=8, mem_size=64 << 20) if packed else b"",
        )
    found[OURS] = (lambda data: compress(data, predictor), lambda packed: decompress(packed, predictor))
    return found


def speed(n: int, started: float) -> str:
    """Kilobytes per second since `started`."""
    return f"{n / 1000 / (time.perf_counter() - started):>9,.1f}"


parser = argparse.ArgumentParser(description="Compare sizes and speeds of lossless compression.")
parser.add_argument("files", nargs="*", type=pathlib.Path)
parser.add_argument("--model", default="small", help="a bundled model, or a checkpoint file")
options = parser.parse_args()
files = options.files or own_files()
is_file = pathlib.Path(options.model).exists()
predictor = StreamPredictor.load(options.model) if is_file else StreamPredictor.pretrained(options.model)
decompress(compress(b"compile", predictor), predictor)
totals: dict[str, int] = {}
print(
    f"{'coder':<12} {'bytes':>11} {'percent':>8} {'bits/byte':>10} {'pack kB/s':>9} {'unpack':>9}   over   observe kB/s"
)
for file in files:
    data = file.read_bytes()
    print(f"\n{file}, {len(data):,} bytes")
    totals["uncompressed"] = totals.get("uncompressed", 0) + len(data)
    for name, (pack, unpack) in coders(predictor).items():
        started = time.perf_counter()
        packed = pack(data)
        packing, started = speed(len(data), started), time.perf_counter()
        assert unpack(packed) == data, f"{name} is not lossless"
        unpacking, extra = speed(len(data), started), ""
        if name == OURS:
            reader, started = predictor.fork(), time.perf_counter()
            bits = float(reader.observe_many(data).sum(dtype=np.float64))
            extra = f" {len(packed) - bits / 8:>6.1f}   {speed(len(data), started)}"
            assert len(packed) <= bits / 8 * 1.0005 + 64 or len(packed) <= len(data) * 1.001 + 64, (
                "the container is too long"
            )
        n = max(len(data), 1)
        rate = f"{100 * len(packed) / n:>8.2f} {8 * len(packed) / n:>10.4f}"
        print(f"{name:<12} {len(packed):>11,} {rate} {packing} {unpacking} {extra}", flush=True)
        totals[name] = totals.get(name, 0) + len(packed)
print("\ntotal        " + ", ".join(f"{name} {total:,}" for name, total in totals.items()))
