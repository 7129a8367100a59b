"""Measure how fast `score --engine ray` is with one worker and with several, beside one process without Ray.

    python demos/ray_speed.py FILE… [--megabytes 20] [--workers 2] [--rounds 1] [--options "--model small"]

The files are repeated to so many megabytes, in four files for each worker. Each round runs `score --by line` in one
process on one core, and then as a job of one worker and of several, each as a command of its own. The start of Ray is
part of the time; "start" is the time of a job with one line. The table has the medians of the rounds. All temporary
files are deleted. Without FILE it scores 20 kB of made-up text with a tiny network.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MADE_UP = b"The keeper sees a ship.\nIt rains, and the lamp is lit.\n"
TINY = "--hidden 16 --layers 1"


def write_files(folder: Path, text: bytes, n_bytes: int, n_files: int) -> list[str]:
    """Write a text again and again to as many files, each of which begins in another place of it."""
    size, paths = n_bytes // n_files, []
    repeated = text * (size // len(text) + 2)
    for index in range(n_files):
        path, first = folder / f"{index:03}.txt", index * size % len(text)
        path.write_bytes(repeated[first : first + size])
        paths.append(str(path))
    return paths


def seconds_of(command: list[str], one_core: bool = False) -> float:
    """How long a command takes."""
    core = {min(os.sched_getaffinity(0))} if one_core else os.sched_getaffinity(0)
    started = time.perf_counter()
    result = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, core)
    )
    if result.returncode:
        raise SystemExit(result.stderr.decode(errors="replace"))
    return time.perf_counter() - started


parser = argparse.ArgumentParser(description="Measure how fast `score --engine ray` is.")
parser.add_argument("files", nargs="*", type=Path)
parser.add_argument("--megabytes", type=float)
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--rounds", type=int, default=1)
parser.add_argument("--options", help="for score")
arguments = parser.parse_args()
text = b"".join(path.read_bytes() for path in arguments.files) or MADE_UP
n_bytes = int((arguments.megabytes or (20 if arguments.files else 0.02)) * 1e6)
options = shlex.split(arguments.options or ("" if arguments.files else TINY))
score = [sys.executable, "-m", "streamlstm", "score", "--by", "line", *options]
with tempfile.TemporaryDirectory() as temporary:
    folder = Path(temporary)
    paths = write_files(folder, text, n_bytes, 4 * arguments.workers)
    (folder / "line").write_bytes(text.partition(b"\n")[0])
    seconds_of([*score, str(folder / "line")])  # compiles the kernels
    ray = [*score, "--engine", "ray", "--out"]
    several = f"ray, {arguments.workers} workers"
    times: dict[str, list[float]] = {"one process": [], "ray, start": [], "ray, 1 worker": [], several: []}
    for n in range(arguments.rounds):
        out = str(folder / f"out{n}-")
        times["one process"].append(seconds_of([*score, *paths], one_core=True))
        times["ray, start"].append(seconds_of([*ray, f"{out}0", "--workers", "1", str(folder / "line")]))
        times["ray, 1 worker"].append(seconds_of([*ray, f"{out}1", "--workers", "1", *paths]))
        times[several].append(seconds_of([*ray, f"{out}2", "--workers", str(arguments.workers), *paths]))
one = statistics.median(times["one process"])
print(f"{n_bytes / 1e6:g} MB in {len(paths)} files, {arguments.rounds} rounds")
print(f"{'':<16}{'wall s':>8} {'kB/s':>8} {'speed':>7}")
for name, values in times.items():
    seconds = statistics.median(values)
    rate = "" if "start" in name else f" {n_bytes / seconds / 1e3:>8.1f} {one / seconds:>7.2f}"
    print(f"{name:<16}{seconds:>8.1f}{rate}")
