"""Many streams over one model: speed, bytes per stream, and the time that one line takes.

    python demos/streams.py [FILE …] [--streams 1 10 100] [--bytes 2000] [--budget MB] [--threads N]

Each stream reads `--bytes` of the files, a part of its own, line by line in turn: each line of the first stream is
followed by one of the second. Streams that exceed the budget lie on the disk in between. With more than one thread, the
next lines of all streams are read together. Without FILE, the lines are made up: a log of many hosts.

The columns: streams; bytes per second, and the same ÷ that of the first row; bytes that a stream takes in memory; how
often one was brought back from the disk; the median and the 99th percentile of the time for a line, in ms; the most
memory that was resident, in MB.
"""

import argparse
import random
import resource
import time
from pathlib import Path

import numpy as np

from streamlstm import StreamPool, StreamPredictor


def made_up(key: int, n_bytes: int) -> list[bytes]:
    """The lines of one host."""
    draw = random.Random(key)
    paths = [f"/{draw.choice(['item', 'user', 'cart', 'img'])}/{draw.randrange(10**4)}" for _ in range(6)]
    lines: list[bytes] = []
    while sum(map(len, lines)) < n_bytes:
        status, ms = draw.choice([200, 200, 200, 304, 404]), draw.randrange(900)
        lines.append(f"host-{key} GET {draw.choice(paths)} {status} {ms} ms\n".encode())
    return lines


def part_of(text: bytes, key: int, n_bytes: int) -> list[bytes]:
    """The lines of a part of the text."""
    start = key * 7919 * n_bytes % max(len(text) - n_bytes, 1)
    return text[start : start + n_bytes].splitlines(keepends=True)


def measured(pool: StreamPool, lines: list[list[bytes]], threads: int) -> tuple[float, list[float]]:
    """Bytes per second, and the seconds that each line took."""
    seconds, n_bytes = [], 0
    for turn in range(max(map(len, lines))):
        parts = {key: own[turn] for key, own in enumerate(lines) if turn < len(own)}
        n_bytes += sum(map(len, parts.values()))
        if threads > 1:
            start = time.perf_counter()
            pool.observe_many({str(key): part for key, part in parts.items()})
            seconds += [(time.perf_counter() - start) / len(parts)] * len(parts)
        else:
            for key, part in parts.items():
                start = time.perf_counter()
                pool.observe(str(key), part)
                seconds.append(time.perf_counter() - start)
    return n_bytes / sum(seconds), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--budget", type=float, default=1000.0, help="MB of streams in memory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learn", default="memory", choices=["all", "memory", "nothing"])
    parser.add_argument("--model", default="small")
    options = parser.parse_args()
    text = b"".join(path.read_bytes() for path in options.files)
    model, first = StreamPredictor.pretrained(options.model), 0.0
    print("  streams   bytes/s   ÷ one  bytes each   loaded  p50 ms  p99 ms  peak MB")
    for n in options.streams:
        lines = [part_of(text, key, options.bytes) if text else made_up(key, options.bytes) for key in range(n)]
        budget = int(options.budget * 1e6)
        with StreamPool(model, options.learn, memory_budget=budget, threads=options.threads) as pool:
            speed, seconds = measured(pool, lines, options.threads)
            stats = pool.stats()
        first = first or speed
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        each = stats.hot_bytes // stats.n_hot
        print(
            f"{n:9,} {speed:9,.0f} {speed / first:7.2f} {each:11,} {stats.n_loaded:8,} {p50:7.2f} {p99:7.2f} {peak:8,}"
        )


if __name__ == "__main__":
    main()
