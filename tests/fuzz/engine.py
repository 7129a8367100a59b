"""The fuzzer: it mutates cases, keeps those that reach something new, and collects those that break a promise."""

import os
import re
import resource
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from reached import PACKAGE, Coverage

CORPUS = Path(__file__).parent / "corpus"
SLOWEST, LONGEST = 1.0, 20.0
"""How many seconds of CPU a case may take, and after how many the process is ended."""
MEMORY = 1 << 30
"""How many bytes a case may allocate, beside what the process has at the start."""


class Target(NamedTuple):
    """What is fuzzed.

    seeds   the cases to begin with
    mutate  (random numbers, case, another case) -> a new case, with valid checksums most of the time
    check   returns what became of a case, which is worth keeping if it is new: an error that is documented, or a value.
            Raises anything else if a promise is broken
    """

    seeds: Callable[[], Iterable[bytes]]
    mutate: Callable[[Random, bytes, bytes], bytes]
    check: Callable[[bytes], Any]


class Find(NamedTuple):
    """A case that broke a promise, and how."""

    case: bytes
    what: str


class Fuzzer:
    """Runs cases of one target.

    n_cases  that were run
    kept     cases that reached something new, the seeds included
    finds    by the place at which they failed, the shortest case of each
    """

    def __init__(self, target: Target, seed: int, folder: Path, more: Iterable[bytes] = ()) -> None:
        self._target, self._rng, self._folder, self._more = target, Random(seed), folder, more
        self.coverage, self.results, self.kept, self.finds = Coverage(), set(), [], {}
        self.n_cases, self.seconds = 0, 0.0
        self._case, self._started = b"", 0.0

    def run(self, n_cases: int, seconds: float) -> None:
        """Run the seeds and the cases of the corpus, and then so many mutations of them, or for so long."""
        began = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()
        seeds = [*self._target.seeds(), *cases_in(self._folder), *self._more]
        for case in seeds:
            outcome(self._target, case)  # imports and compiles
        with limited_memory(), self.coverage:
            for case in seeds:
                self._run(case)
            while self.n_cases < n_cases and time.monotonic() - began < seconds:
                case, other = self._chosen(), self._chosen()
                self._run(self._target.mutate(self._rng, case, other))
        self.seconds = time.monotonic() - began

    def _chosen(self) -> bytes:
        """A kept case: one of the last ones half of the time."""
        n = len(self.kept)
        return self.kept[
            self._rng.randrange(n) if self._rng.random() < 0.5 else max(n - 1 - self._rng.randrange(16), 0)
        ]

    def _run(self, case: bytes) -> None:
        before, self._case, self._started = len(self.coverage.lines), case, time.monotonic()
        what, result = outcome(self._target, case)
        if time.monotonic() - self._started > SLOWEST and not what:
            what = slow(self._target, case)
        self._started = 0.0
        self.n_cases += 1
        if what:
            known = self.finds.get(what)
            if known is None or len(case) < len(known):
                self.finds[what] = case
        elif len(self.coverage.lines) > before or result not in self.results or not self.kept:
            self.results.add(result)
            self.kept.append(case)

    def _watch(self) -> None:
        """End the process if a case does not end; kernels do not notice signals."""
        n_before, began = -1, 0.0
        while True:
            time.sleep(1)
            if self.n_cases != n_before or not self._started:
                n_before, began = self.n_cases, time.process_time()
            elif time.process_time() - began > LONGEST:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / f"endless-{os.getpid()}"
                path.write_bytes(self._case)
                print(f"a case does not end, after {self.n_cases:,} others: {path}", flush=True)
                os._exit(3)


def outcome(target: Target, case: bytes) -> tuple[str, Any]:
    """How a case broke a promise, "" if it did not; and what became of it."""
    try:
        result = target.check(case)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith(PACKAGE)] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        return f"{type(error).__name__} at {place}: {str(error)[:200]}" if place else "", None
    return "", result


def slow(target: Target, case: bytes) -> str:
    """Whether a case takes more than SLOWEST seconds of CPU, as "slow" or "": to ask that of each takes longer."""
    began = time.process_time()
    outcome(target, case)
    return "slow" if time.process_time() - began > SLOWEST else ""


def refused(error: Exception) -> str:
    """The result of a case that was refused: the message without what varies in it."""
    return re.sub(r"0x[0-9a-f]+|[-+\d.,]+(e[-+]\d+)?|'.*'|\".*\"|[^\x20-\x7e]+", "#", str(error))[:120]


class limited_memory:
    """Raises MemoryError within this block instead of allocating MEMORY more bytes."""

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self._before)


def minimised(target: Target, find: Find, tries: int = 400) -> bytes:
    """A shorter case that breaks the same promise, as far as parts of it can be left out."""
    case, size = find.case, len(find.case) // 2
    while size and tries:
        at = 0
        while at < len(case) and tries:
            tries -= 1
            shorter = case[:at] + case[at + size :]
            if place_of(outcome(target, shorter)[0]) == place_of(find.what):
                case = shorter
            else:
                at += size
        size //= 2
    return case


def place_of(what: str) -> str:
    """The kind of an error and its place, without the message."""
    return what.partition(": ")[0]


def cases_in(folder: Path) -> list[bytes]:
    """The cases in a folder; none if there is no such folder."""
    return [path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()]
