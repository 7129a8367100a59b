"""Measure how fast `watch` reads logs: lines and bytes per second of CPU time, and its memory.

    python demos/log_speed.py LOG… [--megabytes 50] [--options "--alarms 10/10000"] [--seed 0] [--keep FOLDER]

Each log is repeated to so many megabytes, with fresh numbers: each digit that is not in the time stamp of its line
becomes a random one. `--megabytes 0` reads the logs as they are. `--options` are for `watch`; `--options=--thorough` is
about 50 times slower. `watch` runs as a command of its own. Its start, and the first lines, which it reads in full, are
part of the time. `--keep FOLDER` keeps the repeated logs. Without LOG a small made-up one is read.

"in full" is the share of the lines that the model has read; see `streamlstm.watch.familiar`. Lines and bytes per second
are per second of CPU time, on one core. With a budget in lines, as in `--options "--alarms 10/10000"`, "alarms" is how
many were raised after the first 5,000 lines, as a multiple of the budget, and "kinds" how many kinds of lines they had.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from streamlstm.logs.timestamps import find_time

SETTLED = 5000
"""The lines after which a budget of alarms should be kept."""


def made_up() -> bytes:
    """A small log."""
    events = (
        "request {} took {} ms",
        "user {} logged in from 10.0.{}.7",
        "queue {} has {} jobs",
        "flushed {} of {} pages",
    )
    lines = [f"12:{n // 60 % 60:02}:{n % 60:02} {events[n * n % 4].format(n % 97, n % 89)}\n" for n in range(300)]
    return "".join(lines).encode()


def repeated(log: bytes, n_bytes: int, seed: int) -> Iterator[bytes]:
    """A log again and again, with fresh numbers, until there are n_bytes."""
    rng, template = np.random.default_rng(seed), np.frombuffer(log, dtype=np.uint8)
    is_digit = (template >= ord("0")) & (template <= ord("9"))
    at = 0
    for line in log.splitlines(keepends=True):
        start, end, _ = find_time(line.decode("latin-1"))  # a character per byte
        is_digit[at + start : at + end] = False
        at += len(line)
    digits, n_written = np.flatnonzero(is_digit), 0
    while n_written < n_bytes:
        fresh = template.copy()
        fresh[digits] = rng.integers(ord("0"), ord("9") + 1, size=len(digits), dtype=np.uint8)
        yield fresh.tobytes()
        n_written += len(log)


def alarms(records: list[dict], n_lines: int, options: list[str]) -> str:
    """The number of alarms as a multiple of the budget, and the number of their kinds; empty without a budget."""
    budget = re.search(r"--alarms[ =](\S+)/(\d+)(?!\S)", " ".join(options))
    late = [record["kind"] for record in records if record["line"] > SETTLED]
    if budget is None or n_lines <= SETTLED:
        return ""
    wanted = (n_lines - SETTLED) * float(budget[1]) / int(budget[2])
    return f"{len(late) / wanted:>9.2f} {len(set(late)):>7,}"


def measured(path: Path, options: list[str]) -> str:
    """What a run of `watch` took, as a row of the table."""
    command = [sys.executable, "-m", "streamlstm", "watch", str(path), "--format", "jsonl", *options]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as found:
        process = subprocess.Popen(command, stdout=found, stderr=subprocess.PIPE, text=True)
        summary = process.stderr.read()
        found.seek(0)
        records = [json.loads(line) for line in found]
    _, status, usage = os.wait4(process.pid, 0)
    counted = re.search(r"^([\d,]+) lines, .* ([\d,]+) familiar", summary, re.MULTILINE)
    if status or counted is None:
        raise SystemExit(summary)
    wall, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    n_lines, n_familiar = (int(number.replace(",", "")) for number in counted.groups())
    n_bytes = path.stat().st_size
    return (
        f"{n_bytes / 1e6:>8.1f} {n_lines:>10,} {100 * (1 - n_familiar / n_lines):>7.2f} % {cpu:>8.1f} {wall:>8.1f}"
        f" {n_bytes / cpu / 1e6:>8.2f} {n_lines / cpu:>9,.0f} {usage.ru_maxrss / 1024:>8.0f}"
        f"{alarms(records, n_lines, options)}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure how fast `watch` reads logs.")
    parser.add_argument("logs", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float)
    parser.add_argument("--options", default="", help="for watch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    megabytes = arguments.megabytes if arguments.megabytes is not None else 50.0 if arguments.logs else 0.3
    logs = {path.stem: path.read_bytes() for path in arguments.logs} or {"made-up": made_up()}
    columns = "in full", "CPU s", "wall s", "MB/s", "lines/s", "peak MB", "alarms", "kinds"
    row = "{:<16}{:>8} {:>10} {:>9} {:>8} {:>8} {:>8} {:>9} {:>8}{:>9} {:>7}"
    print(
        row.format(
            "log", "MB", "lines", *columns if "--alarms" in arguments.options else (*columns[:-2], "", "")
        ).rstrip()
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        for name, log in logs.items():
            target = folder / f"{name}.{megabytes:g}MB.log"
            with target.open("wb") as file:
                file.writelines(repeated(log, int(megabytes * 1e6), arguments.seed) if megabytes else [log])
            print(f"{name:<16}{measured(target, shlex.split(arguments.options))}", flush=True)
