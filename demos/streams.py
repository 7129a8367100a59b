"""Many streams over one model: speed, bytes per stream, and the time that one line takes.

    python demos/streams.py [FILE …] [--streams 1 10 100] [--bytes 2000] [--budget MB] [--threads N]
    python demos/streams.py [FILE …] --streams 1000 --stored 1000000 [--folder FOLDER]

Each stream reads `--bytes` of the files, a part of its own, line by line in turn: each line of the first stream is
followed by one of the second. Streams that exceed the budget lie on the disk in between. With more than one thread, the
next lines of all streams are read together. Without FILE, the lines are made up: a log of many hosts.

The columns: streams; bytes per second (of CPU time, unless there are more threads), and the same ÷ that of the first
row; bytes that a stream takes in memory; how often one was brought back from the disk; the median and the 99th
percentile of the time for a line, in ms; the most memory that was resident, in MB.

With --stored, a store in FOLDER has so many streams more, each of which has read one symbol (a million take 14 GB). It
is opened, read for as above, saved, and opened again; then the streams are brought back one by one.
"""

import argparse
import random
import resource
import sqlite3
import tempfile
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


def lines_of(text: bytes, n_streams: int, n_bytes: int) -> list[list[bytes]]:
    """The lines of each stream: parts of the text, or made up without one."""
    return [part_of(text, key, n_bytes) if text else made_up(key, n_bytes) for key in range(n_streams)]


def measured(pool: StreamPool, lines: list[list[bytes]], threads: int) -> tuple[float, list[float]]:
    """Bytes per second, of CPU time if there is one thread, and the seconds that each line took."""
    seconds, n_bytes, cpu = [], 0, time.process_time()
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
    return n_bytes / (sum(seconds) if threads > 1 else time.process_time() - cpu), seconds


def fill(path: Path, model: StreamPredictor, n: int) -> None:
    """Write a store of n streams that have read one symbol: copies of the first one."""
    with StreamPool(model, store=path) as pool:
        pool.observe("idle 0", "\n")
        pool.save()
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode = OFF")
    base.execute("PRAGMA cache_size = -200000")
    base.execute(
        "INSERT INTO streams (key, seconds, n_symbols, content)"
        " WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?)"
        " SELECT CAST('sidle ' || n AS BLOB), ?, ?, ? FROM numbers",
        (n, *base.execute("SELECT seconds, n_symbols, content FROM streams").fetchone()),
    )
    base.commit()
    base.close()


def measure_store(path: Path, model: StreamPredictor, lines: list[list[bytes]], budget: int) -> None:
    """Print how long it takes to open a store with many streams, and to bring those back that have read the lines."""
    for is_first in (True, False):
        start = time.perf_counter()
        with StreamPool(model, store=path, memory_budget=budget) as pool:
            seconds = time.perf_counter() - start
            print(f"{len(pool):,} streams, {path.stat().st_size / 1e9:.1f} GB, opened in {seconds:.2f} s", flush=True)
            if is_first:
                speed, _ = measured(pool, lines, 1)
                print(f"{len(lines):,} streams read {speed:,.0f} bytes/s")
                pool.save()
                continue
            times = []
            for key in random.Random(0).sample(range(len(lines)), len(lines)):
                start = time.perf_counter()
                pool.predict(str(key))
                times.append(time.perf_counter() - start)
            p50, p99 = np.percentile(times, [50, 99]) * 1000
            print(f"a stream brought back in {p50:.2f} ms (median), {p99:.2f} ms (99th percentile)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--bytes", type=int, default=2000)
    parser.add_argument("--budget", type=float, default=1000.0, help="MB of streams in memory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learn", default="memory", choices=["all", "memory", "nothing"])
    parser.add_argument("--model", default="small")
    parser.add_argument("--stored", type=int, default=0, help="measure a store with so many streams more")
    parser.add_argument("--folder", type=Path, help="where to write that store, which is deleted at the end")
    options = parser.parse_args()
    first = 0.0  # the speed of the first row
    text = b"".join(path.read_bytes() for path in options.files)
    model, budget = StreamPredictor.pretrained(options.model), int(options.budget * 1e6)
    if options.stored:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "streams.db"
            fill(path, model, options.stored)
            for n in options.streams:
                measure_store(path, model, lines_of(text, n, options.bytes), budget)
        return
    with StreamPool(model, options.learn, threads=options.threads) as pool:
        measured(pool, lines_of(text, 2, 200), options.threads)  # so that the kernels are in memory
    print("  streams   bytes/s   ÷ one  bytes each   loaded  p50 ms  p99 ms  peak MB", flush=True)
    for n in options.streams:
        lines = lines_of(text, n, options.bytes)
        with StreamPool(model, options.learn, memory_budget=budget, threads=options.threads) as pool:
            speed, seconds = measured(pool, lines, options.threads)
            stats = pool.stats()
        first = first or speed
        p50, p99 = np.percentile(seconds, [50, 99]) * 1000
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        each = stats.hot_bytes // stats.n_hot
        print(
            f"{n:9,} {speed:9,.0f} {speed / first:7.2f} {each:11,} {stats.n_loaded:8,} {p50:7.2f} {p99:7.2f} {peak:8,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
