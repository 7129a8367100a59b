"""How well streamlstm predicts: bits per byte of whole files, in one pass, each byte scored before it is learned from.

    python demos/quality.py FILE… [--model NAME] [--curve IMAGE.svg] [--limit BYTES]

Ours: a fresh net, the bundled one frozen, and the bundled one that adapts; then fresh and adapting with the memory.
Theirs: the entropy of the bytes' own frequencies (order 0), gzip, bz2 and xz, and the best of several orders of PPMd
(where pyppmd is installed). `/PPMd` is the adapting one with the memory, over PPMd. Under each: µs per byte.
Without a FILE this page is taken.
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
"""Bits per byte: of each byte of the file, or of all of them in one number."""


def ours(model: str) -> dict[str, Callable[[], StreamPredictor]]:
    """Our contenders: a fresh net, and a bundled model as it is and as it adapts; both also with a memory (+m)."""

    def frozen() -> StreamPredictor:
        predictor = StreamPredictor.pretrained(model, memory=False)
        predictor.learning = False
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
    shares = counts[counts > 0] / len(data)
    return np.array([-(shares * np.log2(shares)).sum()])


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
    """A line of bars: the mean bits of `width` equal parts, 0 … 8."""
    means = [part.mean() for part in np.array_split(bits, min(width, len(bits)))]
    return f"{name:<12}" + "".join("▁▂▃▄▅▆▇█"[min(7, int(mean))] for mean in means) + f"  {means[-1]:.2f} at the end"


def curve_image(curves: dict[str, Bits]) -> str:
    """An SVG picture: bits per byte so far, over the position, one line per contender."""
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
    parts.append(f'<text x="{width / 2}" y="{height + 30}" text-anchor="middle">bits per byte so far</text></svg>')
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", default=[Path(__file__)])
    parser.add_argument("--curve", type=Path, metavar="IMAGE.svg", help="draw the first file's bits over its length")
    parser.add_argument("--model", default="small", metavar="NAME", help="the bundled model that competes")
    parser.add_argument("--limit", type=int, metavar="BYTES", help="read only so much of each file")
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
