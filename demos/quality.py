"""Measure prediction quality: bits per byte of whole files in one pass, each byte scored before it is learned.

    python demos/quality.py FILE… [--model NAME] [--curve IMAGE.svg] [--limit BYTES]

Ours: a fresh network, the bundled model frozen, and the bundled model learning; then fresh and learning with the memory
(+m). Theirs: the order-0 entropy of the bytes, gzip, bz2 and xz, and the best of seven settings of PPMd (if pyppmd is
installed). `/PPMd` is adapting+m divided by PPMd. The row below each file has µs per byte.
Without a FILE the script reads itself.
"""

import argparse
import bz2
import gzip
import lzma
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from streamlstm import Config, StreamPredictor

try:
    import pyppmd
except ImportError:
    pyppmd = None

Bits = np.ndarray
"""Bits per byte: one number for each byte of the file, or one for the whole file."""


def ours(model: str) -> dict[str, Callable[[], StreamPredictor]]:
    """Our contenders: a fresh network, and a bundled model frozen and learning; two of them also with a memory (+m)."""

    def frozen() -> StreamPredictor:
        predictor = StreamPredictor.pretrained(model, memory=False)
        predictor.learn = "nothing"
        return predictor

    return {
        "fresh": lambda: StreamPredictor(config=Config(memory=False)),
        "frozen": frozen,
        "adapting": lambda: StreamPredictor.pretrained(model, memory=False),
        "fresh+m": StreamPredictor,
        "adapting+m": lambda: StreamPredictor.pretrained(model),
    }


def order_0(data: bytes) -> Bits:
    counts = np.bincount(np.frombuffer(data, dtype=np.uint8))
    p = counts[counts > 0] / len(data)
    return np.array([-(p * np.log2(p)).sum()])


def compressed(compress: Callable[[bytes], bytes]) -> Callable[[bytes], Bits]:
    return lambda data: np.array([8 * len(compress(data)) / len(data)])


def best_ppmd(data: bytes) -> Bits:
    variants = [("H", order) for order in (4, 6, 8, 16)] + [("I", order) for order in (6, 8, 16)]
    sizes = [len(pyppmd.compress(data, max_order=order, mem_size=1 << 28, variant=v)) for v, order in variants]
    return np.array([8 * min(sizes) / len(data)])


THEIRS: dict[str, Callable[[bytes], Bits]] = {
    "order 0": order_0,
    "gzip": compressed(lambda data: gzip.compress(data, 9)),
    "bz2": compressed(lambda data: bz2.compress(data, 9)),
    "xz": compressed(lambda data: lzma.compress(data, preset=9)),
    **({"PPMd": best_ppmd} if pyppmd else {}),
}


def measure(data: bytes, model: str) -> dict[str, tuple[Bits, float]]:
    """Bits and µs per byte of each contender."""
    results = {}
    for name, bits_of in THEIRS.items():
        start = time.perf_counter()
        bits = bits_of(data)
        results[name] = bits, 1e6 * (time.perf_counter() - start) / len(data)
    for name, make in ours(model).items():
        predictor = make()
        start = time.perf_counter()
        bits = predictor.observe_many(data)
        results[name] = bits, 1e6 * (time.perf_counter() - start) / len(data)
    return results


def row(name: str, cells: Sequence[str]) -> str:
    return f"{name:<24}" + "".join(f"{cell:>11}" for cell in cells)


def curve_text(name: str, bits: Bits, width: int = 64) -> str:
    """A line of bars: the mean bits per byte of each of `width` equal parts, from 0 to 8."""
    means = [part.mean() for part in np.array_split(bits, min(width, len(bits)))]
    return f"{name:<12}" + "".join("▁▂▃▄▅▆▇█"[min(7, int(mean))] for mean in means) + f"  {means[-1]:.2f} at the end"


def curve_image(curves: dict[str, Bits]) -> str:
    """An SVG image: bits per byte up to each position, one line per contender."""
    colours = ("#888888", "#b07aa1", "#4e79a7", "#f28e2b", "#e15759")
    width, height, most = 720, 360, 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-50 -20 {width + 180} {height + 60}"'
        ' font-family="sans-serif" font-size="13"><rect x="-50" y="-20" width="100%" height="100%" fill="white"/>'
    ]
    for level in range(0, most + 1, 2):
        y = height - height * level / most
        parts.append(f'<path d="M0 {y}H{width}" stroke="#dddddd"/><text x="-25" y="{y + 4}">{level}</text>')
    for (name, bits), colour in zip(curves.items(), colours, strict=True):
        ends = np.unique(np.linspace(1, len(bits), 400).astype(int))
        so_far = np.cumsum(bits, dtype=np.float64)[ends - 1] / ends
        points = " ".join(
            f"{width * end / len(bits):.1f},{height - height * min(mean, most) / most:.1f}"
            for end, mean in zip(ends, so_far, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = 14 + 18 * list(curves).index(name)
        parts.append(f'<text x="{width + 10}" y="{y}" fill="{colour}">{name} {so_far[-1]:.3f}</text>')
    parts.append(
        f'<text x="{width / 2}" y="{height + 30}" text-anchor="middle">bits per byte up to this position</text></svg>'
    )
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", default=[Path(__file__)])
    parser.add_argument("--curve", type=Path, metavar="IMAGE.svg", help="plot bits per byte over the first file")
    parser.add_argument("--model", default="small", metavar="NAME", help="the bundled model to measure")
    parser.add_argument("--limit", type=int, metavar="BYTES", help="read at most BYTES of each file")
    options = parser.parse_args()
    ratios = []
    for index, file in enumerate(options.files):
        data = file.read_bytes()[: options.limit]
        results = measure(data, options.model)
        means = {name: float(bits.mean(dtype=np.float64)) for name, (bits, _) in results.items()}
        if index == 0:
            print(row("", [*results, "/PPMd"]))
        ratios.append(means["adapting+m"] / means["PPMd"] if pyppmd else float("nan"))
        print(row(file.name[:23], [*(f"{mean:.3f}" for mean in means.values()), f"{ratios[-1]:.3f}"]))
        print(row(f"  {len(data):,} bytes", [f"{seconds:.1f} µs" for _, seconds in results.values()]), flush=True)
        if options.curve and index == 0:
            curves = {name: results[name][0] for name in ours(options.model)}
            print(*(curve_text(name, bits) for name, bits in curves.items()), sep="\n")
            options.curve.write_text(curve_image(curves))
    if pyppmd and len(ratios) > 1:
        print(row("mean of /PPMd", [f"{np.mean(ratios):.3f}"]))


if __name__ == "__main__":
    main()
