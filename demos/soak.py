"""Read a long stream at one go and in pieces, with a save and a load between them, and compare what is left.

    python demos/soak.py [LOG] [--megabytes 0.2] [--pieces 3] [--model none] [--folder FOLDER]
    python demos/soak.py [LOG] --watch [--megabytes 0.2] [--pieces 3]

LOG is repeated with fresh numbers, as in log_speed.py; without it, a small made-up log. `predict --quiet` reads it and
learns: a bundled model (`--model small`), or a fresh network of 16 units with a memory. With --watch, `watch` reads it.
Each piece is a process of its own. `watch` reads the whole stream from a pipe, and the pieces from a file that grows.

The rows show, for each tenth of the stream or each piece, the CPU time per byte and the resident memory, which should
stay the same. Both ways must end with the same model to the last bit, and `watch` with the same alarms; if not, the
exit code is 1. `--folder` keeps the files. Linux only.
"""

import argparse
import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from log_speed import made_up, repeated

from streamlstm.checkpoint import read_checkpoint

N_ROWS = 10


def parts(log: bytes, n_bytes: int, n_parts: int) -> list[Iterator[bytes]]:
    """The repeated log in parts of about the same size, each of whole lines."""
    n_blocks = -(-n_bytes // len(log))
    marks = [n_blocks * part // n_parts for part in range(n_parts + 1)]
    return [itertools.islice(repeated(log, n_bytes, 0), a, b) for a, b in itertools.pairwise(marks)]


def usage(process: int) -> tuple[float, float]:
    """The CPU time of a process so far, in seconds, and its resident memory, in MB."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ticks, pages = int(fields[11]) + int(fields[12]), int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def feed(name: str, command: list[str], pieces: Iterable[Iterable[bytes]]) -> None:
    """Write the pieces to a command's stdin, with a row for each."""
    process = subprocess.Popen([sys.executable, "-m", "streamlstm", *command], stdin=subprocess.PIPE)
    before, total = 0.0, 0
    for piece in pieces:
        n_bytes = 0
        for block in piece:
            process.stdin.write(block)
            n_bytes += len(block)
        process.stdin.flush()
        total += n_bytes
        seconds, memory = usage(process.pid)
        print(f"{name:<10}{total / 1e6:>10.2f}{(seconds - before) / n_bytes * 1e6:>12.3f}{memory:>12.0f}", flush=True)
        before = seconds
    process.stdin.close()
    if process.wait():
        raise SystemExit(f"streamlstm {' '.join(command)} ended with {process.returncode}")


def state(path: Path) -> str:
    """A hash of all arrays of a saved model."""
    digest = hashlib.sha256()
    for name, array in sorted(read_checkpoint(path)[0].items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:16]


def read_with_predict(log: bytes, n_bytes: int, n_pieces: int, model: str, folder: Path) -> bool:
    whole, saved = folder / "whole", folder / "pieces"
    fresh = ["--hidden", "16", "--layers", "1"] if model == "none" else []
    start = ["predict", "--quiet", "--model", model, *fresh]
    feed("whole", [*start, "--save", str(whole)], parts(log, n_bytes, N_ROWS))
    for number, piece in enumerate(parts(log, n_bytes, n_pieces), 1):
        feed(f"piece {number}", [*start, "--save", str(saved)], [piece])
        start = ["predict", "--quiet", "--model", str(saved)]
    return state(whole) == state(saved)


def read_with_watch(log: bytes, n_bytes: int, n_pieces: int, folder: Path) -> bool:
    def command(source: str, name: str) -> list[str]:
        kept = ["--output", str(folder / f"{name}.txt"), "--save", str(folder / name), "--resume"]
        return ["watch", source, "--alarms", "10/10000", *kept]

    feed("whole", command("-", "whole"), parts(log, n_bytes, N_ROWS))
    growing = folder / "growing.log"
    for piece in parts(log, n_bytes, n_pieces):
        with growing.open("ab") as file:
            file.writelines(piece)
        subprocess.run([sys.executable, "-m", "streamlstm", *command(str(growing), "pieces")], check=True)
    same_alarms = (folder / "whole.txt").read_bytes() == (folder / "pieces.txt").read_bytes()
    return same_alarms and state(folder / "whole") == state(folder / "pieces")


parser = argparse.ArgumentParser(description="Read a long stream at one go and in pieces.")
parser.add_argument("log", nargs="?", type=Path)
parser.add_argument("--megabytes", type=float, default=0.2)
parser.add_argument("--pieces", type=int, default=3)
parser.add_argument("--model", default="none", help="none, small, large or a file")
parser.add_argument("--watch", action="store_true")
parser.add_argument("--folder", type=Path)
arguments = parser.parse_args()
log = arguments.log.read_bytes() if arguments.log else made_up()
n_bytes = int(arguments.megabytes * 1e6)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, so that the times of commands compare
print(f"{'':<10}{'MB':>10}{'µs/byte':>12}{'resident MB':>12}")
with tempfile.TemporaryDirectory() as temporary:
    folder = arguments.folder or Path(temporary)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.watch:
        same = read_with_watch(log, n_bytes, arguments.pieces, folder)
    else:
        same = read_with_predict(log, n_bytes, arguments.pieces, arguments.model, folder)
    print("the same" if same else "DIFFERENT", *sorted({state(folder / name) for name in ("whole", "pieces")}))
if not same:
    sys.exit(1)
