"""Runs a target on inputs that hypothesis chooses, and collects those that break a promise.

An input is a mutation of a seed or of a case of the corpus. `hypothesis` makes the random numbers of the mutation,
and shrinks them when a promise breaks: then fewer and smaller changes remain. Atheris was tried on the lines of logs.
What guides it is the Python that an input reaches, which says nothing of the compiled kernels, where the worst
defects were; its own mutations do not get past a checksum, so it would need those of the targets too; and most of the
time goes to the checks (20 to 40 ms for 5,000 symbols), not to the engine (about 1 ms). So the one stays that all
tests use.

A campaign runs in a process of its own. The input that it tries is in memory that its parent shares: a process that is
ended by a signal, or hangs, leaves the case that did it.
"""

import contextlib
import faulthandler
import hashlib
import math
import mmap
import os
import re
import resource
import struct
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

PACKAGE = str(Path(__file__).parents[2] / "streamlstm")
CORPUS = Path(__file__).parent / "corpus"
SLOWEST, LONGEST = 2.0, 60
"""How many seconds of CPU an input may take, and after how many seconds the process is ended."""
MEMORY = 1 << 30
"""How many bytes an input may allocate, beside what the process has at the start."""
ROUND, SHRINKING = 500, 20.0
"""How many inputs hypothesis chooses at a time, and for how many seconds it may shrink what fails."""


class Target(NamedTuple):
    """What is fuzzed.

    seeds   the cases to begin with
    mutate  (random numbers, case, another case) -> a new case, with valid checksums most of the time
    check   returns for each reading of the case whether it was accepted; a refusal that is documented is none. Raises
            anything if a promise is broken
    """

    seeds: Callable[[], Iterable[bytes]]
    mutate: Callable[[Random, bytes, bytes], bytes]
    check: Callable[[bytes], list[bool]]


class Case(bytes):
    """A case that hypothesis need not show."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


class Shared:
    """What a campaign has done, in memory that its parent process can read whatever becomes of it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 << 24)

    def begin(self, case: bytes) -> None:
        """A case is tried now."""
        self._memory[16 : 24 + len(case)] = struct.pack("<q", len(case)) + case

    def count(self, results: list[bool]) -> None:
        """It was read so often, and accepted or not."""
        n_cases, n_accepted = self.counts
        self._memory[:16] = struct.pack("<qq", n_cases + len(results), n_accepted + sum(results))

    @property
    def counts(self) -> tuple[int, int]:
        """The number of cases, and of those that were accepted."""
        return struct.unpack("<qq", self._memory[:16])

    @property
    def case(self) -> bytes:
        """The case that was tried last."""
        return self._memory[24 : 24 + struct.unpack("<q", self._memory[16:24])[0]]


class Campaign:
    """Tries inputs of one target.

    failures  by the kind and the place of each failure, what it was and the shortest case
    """

    def __init__(self, target: Target, folder: Path, shared: Shared, skipped: Iterable[bytes] = ()) -> None:
        self._target, self._shared = target, shared
        self.failures: dict[str, tuple[str, bytes]] = {}
        self._cases = [case for case in [*target.seeds(), *cases_in(folder)] if case not in set(skipped)]
        self._end, self._n_cases, self._failed, self._armed = 0.0, 0, 0.0, math.inf

    def run(self, n_cases: int, end: float, number: int) -> None:
        """Run the seeds and the corpus, and mutations of them until there were so many cases or that time has come."""
        self._end, self._n_cases = end, n_cases
        for case in self._cases:  # imports and compiles
            with contextlib.suppress(Exception):
                self._run(case)
        self._armed = 0.0
        with limited_memory():
            while not self._is_over:
                self._round(number)
                number += 1
        faulthandler.cancel_dump_traceback_later()

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._end or self._shared.counts[0] >= self._n_cases

    def _round(self, number: int) -> None:
        cases, self._failed, n_before = st.sampled_from([*map(Case, self._cases)]), 0.0, len(self.failures)
        inputs = st.builds(self._target.mutate, st.randoms(use_true_random=False), cases, cases).map(Case)
        how = settings(
            max_examples=ROUND,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        try:
            seed(number)(how(given(inputs)(self._run)))()
        except BaseException:  # the failure, or several, or what hypothesis says of one that comes and goes
            if len(self.failures) == n_before:
                raise

    def _run(self, case: bytes) -> None:
        now = time.monotonic()
        if self._is_over or (self._failed and now - self._failed > SHRINKING):
            return
        if now - self._armed > LONGEST / 4:
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            self._armed = now
        self._shared.begin(case)
        try:
            results = run(self._target, case)
        except Exception as error:
            place, before = place_of(error), self.failures.get(place_of(error))
            self._shared.count([False])
            if before is None or (self._failed and len(case) <= len(before[1])):
                self._failed = self._failed or now
                self.failures[place] = str(error)[:300], case
            elif not self._failed:
                return  # known from an earlier round
            raise
        self._shared.count(results)


def run(target: Target, case: bytes) -> list[bool]:
    """What `check` returns; AssertionError if that takes long, twice."""
    for _ in range(2):
        began = time.process_time()
        results = target.check(case)
        if time.process_time() - began < SLOWEST:
            return results
    raise AssertionError(f"slow: {time.process_time() - began:.1f} s")


def place_of(error: Exception) -> str:
    """The kind of an error and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(PACKAGE)] or frames
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"


class limited_memory:
    """Raises MemoryError within this block instead of allocating MEMORY more bytes."""

    def __enter__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self._before)


def campaign(target: Target, folder: Path, n_cases: int, seconds: float, number: int) -> tuple[int, int, list[str]]:
    """Run a campaign in processes of its own; returns the cases, the accepted ones, and a line for each failure.

    A case that fails is written to the folder. If one ends the process, another process goes on without it.
    """
    shared, end, skipped, told = Shared(), time.monotonic() + seconds, [], []
    while time.monotonic() < end and shared.counts[0] < n_cases:
        reader, writer = os.pipe()
        if not (child := os.fork()):
            _child(Campaign(target, folder, shared, skipped), (n_cases, end, number), folder, writer)
        os.close(writer)
        with open(reader, encoding="utf-8") as lines:
            told += [line for line in lines.read().splitlines() if line not in told]
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not code:
            break
        skipped.append(shared.case)
        told.append(f"the process ended with {code}: {write(shared.case, folder)}")
        shared.count([False])
        number += 1_000_003
    return *shared.counts, told


def _child(campaign: Campaign, how: tuple[int, float, int], folder: Path, out: int) -> None:
    try:
        campaign.run(*how)
        found = [f"{place}: {what!r}: {write(case, folder)}" for place, (what, case) in campaign.failures.items()]
        with open(out, "w", encoding="utf-8", errors="replace") as file:
            file.write("".join(f"{line}\n" for line in found))
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def refused(error: Exception, name: object = "") -> list[bool]:
    """The result of a case that was refused. The message must say something, in one line, of what has this name."""
    assert re.search(r"\w.*\w", str(error)), repr(error)
    assert str(name) in str(error), f"the error does not name {name}: {error}"
    assert "\n" not in str(error), repr(error)
    return [False]


def write(case: bytes, folder: Path) -> Path:
    """Write a case to a file that is named after its content."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(case).hexdigest()[:12]
    path.write_bytes(case)
    return path


def cases_in(folder: Path) -> list[bytes]:
    """The cases in a folder; none if there is no such folder."""
    return [path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file()]
