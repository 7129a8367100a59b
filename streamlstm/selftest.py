"""`verify`: checks, on the user's own data and machine, of the properties that every predictor has.

Each check has a fork of the predictor, which it may change, and a source of random numbers, and compares with one run
over all of the data, bit for bit; those after `SAMPLE` read only the beginning of the data. As many are made at a time
as there are cores. A check that fails shows a counterexample.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from .checkpoint import dump_checkpoint, parse_checkpoint
from .codec.archive import compress, decompress
from .kernels.arrays import F32
from .model import Config
from .predictor import StreamPredictor
from .predictor.stream_reader import StreamReader
from .ranges import check_count
from .system.files import opened_atomically
from .system.process import n_cores
from .vocabulary import Tokens


@dataclass(frozen=True)
class CheckResult:
    """The name of a check, its figures, and the first counterexample, or "" if it passed."""

    check: str
    figures: str
    counterexample: str = ""


class Run(NamedTuple):
    """The surprisals of the data, and the predictor after it."""

    bits: F32
    end: StreamPredictor

    @classmethod
    def over(cls, tokens: Tokens, predictor: StreamPredictor) -> Run:
        """The predictor observes the tokens in one block."""
        return cls(predictor.observe_many(tokens), predictor)


def difference(run: Run, other: Run, first: int) -> str:
    """The first difference between two runs, as text: in a surprisal, or in the final distribution or weights.

    first: the index in the data of their first surprisal
    """
    found = bits_difference(run.bits, other.bits, first)
    if found:
        return found
    if not same(run.end.predict(), other.end.predict()).all():
        return "the distribution at the end differs"
    others = other.end.weights()
    for name, weight in run.end.weights().items():
        if not same(weight.ravel(), others[name].ravel()).all():
            return f"{name} at the end differs"
    return ""


def bits_difference(bits: F32, others: F32, first: int = 0) -> str:
    """The first difference between the surprisals of the same symbols, as text; "" if there is none."""
    wrong = first_of(~same(bits, others))
    return "" if wrong is None else f"symbol {first + wrong:,} has {others[wrong]} bits, not {bits[wrong]}"


def same(one: F32, other: F32) -> npt.NDArray[np.bool_]:
    """Where two arrays have the same bits."""
    return np.equal(one.view(np.uint32), other.view(np.uint32))


def first_of(wrong: npt.NDArray[np.bool_]) -> int | None:
    """The index of the first True; None if there is none."""
    return int(np.argmax(wrong)) if wrong.any() else None


Result = TypeVar("Result")


class Threads:
    """Tasks, and threads that compute them in the order in which they were added.

    Unlike those of `ThreadPoolExecutor`, the threads do not keep a program running: it can end while they compute.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def add(self, task: Callable[[], Result]) -> Future[Result]:
        """Add a task, before the start. It may wait for the results of those before it."""
        future: Future[Result] = Future()
        self._waiting.append((future, task))
        return future

    def start(self, n: int) -> None:
        """Start n threads. Each ends when no task is left."""
        for _ in range(n):
            threading.Thread(target=self._work, name="streamlstm task", daemon=True).start()

    def stop(self) -> None:
        """Begin no further task."""
        self._waiting.clear()

    def _work(self) -> None:
        while True:
            try:
                future, task = self._waiting.popleft()
            except IndexError:
                return
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)


SAMPLE = 20_000
"""How many symbols these checks read at most."""
OTHERS = 100
"""How many random symbols a fork or another stream reads at once."""
N_STREAMS = 4
"""How many streams read at a time where they must not affect each other, each a part of the sample."""
MAX_PAGES = 8192
"""In how many pages such a stream keeps counts."""
N_DAMAGED = 8
"""How many bits of a file are flipped, one at a time."""

KNOWN_CONFIG, KNOWN_TEXT = Config(hidden=16, layers=2, window=8, memory_bits=10), b"to be or not to be, " * 40
KNOWN_BITS = "24aa524eb28b02b3"
"""The beginning of the SHA-256 of the surprisals of KNOWN_TEXT for a fresh network of seed 1, on every machine."""


class Interruption(Exception):
    """What interrupts a save."""


def pure(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """Questions change nothing; a fork and its parent do not affect each other."""
    n = min(len(tokens), SAMPLE)
    positions = sorted(int(random.integers(0, n, endpoint=True)) for _ in range(4))
    figures = f"asked, saved and forked at {len(positions)} of {n:,} symbols: the same bits"
    for start, end in zip([0, *positions], [*positions, n], strict=True):
        twin = predictor.fork()
        for name, each in (("the predictor", predictor), ("a fork of it", twin)):
            found = bits_difference(whole.bits[start:end], each.observe_many(tokens[start:end]), start)
            if found:
                return CheckResult("pure", figures, f"after questions and forks at symbol {start:,}, in {name} {found}")
        _ask(predictor)
        predictor.fork().observe_many(_random_tokens(predictor, random))
    return CheckResult("pure", figures)


def _ask(predictor: StreamPredictor) -> None:
    """Ask for all there is to ask."""
    predictor.predict(), predictor.top(3), predictor.describe(), predictor.state, predictor.to_checkpoint()


def _random_tokens(predictor: StreamPredictor, random: np.random.Generator) -> Tokens:
    return random.integers(0, len(predictor.vocabulary), OTHERS).astype(np.int32)


def deterministic(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """This machine computes the bits that every machine computes, each time."""
    known = StreamPredictor(config=KNOWN_CONFIG, seed=1)
    computed = hashlib.sha256(known.observe_many(KNOWN_TEXT).tobytes()).hexdigest()[: len(KNOWN_BITS)]
    n = min(len(tokens), SAMPLE)
    figures = f"the known bits of {len(KNOWN_TEXT)} symbols; {n:,} symbols read twice: the same bits"
    if computed != KNOWN_BITS:
        found = f"this machine computes other bits ({computed}) than all others ({KNOWN_BITS})"
        return CheckResult("deterministic", figures, found)
    found = bits_difference(whole.bits[:n], predictor.observe_many(tokens[:n]))
    return CheckResult("deterministic", figures, found and f"the second time, {found}")


def bounded(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """The arrays of a predictor do not grow; the time per symbol is shown."""
    reader = StreamPredictor.from_checkpoint(*predictor.to_checkpoint())
    n = min(len(tokens), SAMPLE)
    sizes, seconds = [], []
    for part in (_random_tokens(predictor, random), tokens[: n // 2], tokens[n // 2 : n]):
        begun = time.perf_counter()
        reader.observe_many(part)
        seconds.append((time.perf_counter() - begun) / max(len(part), 1))
        sizes.append(_n_bytes(reader))
    speed = f"{seconds[1] * 1e6:.0f} and {seconds[2] * 1e6:.0f} µs per symbol in the two halves"
    figures = f"{sizes[0] / 1e6:.1f} MB of arrays, before {n:,} symbols and after them; {speed}"
    if sizes[0] == sizes[2]:
        return CheckResult("bounded", figures)
    return CheckResult("bounded", figures, f"the arrays grew from {sizes[0]:,} to {sizes[2]:,} bytes")


def _n_bytes(predictor: StreamPredictor) -> int:
    """The number of bytes of all arrays that belong to a predictor."""
    found: dict[int, int] = {}
    seen, waiting = set[int](), [predictor.__dict__]
    while waiting:
        item: Any = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            owner = item
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            found[id(owner)] = owner.nbytes
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif type(item).__module__.startswith("streamlstm."):
            waiting.extend(getattr(item, "__dict__", {}).values())
    return sum(found.values())


def no_loss(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """An invalid symbol, an interrupted save and a damaged file are refused, and nothing has changed."""
    n = min(len(tokens), SAMPLE)
    position = int(random.integers(0, n, endpoint=True))
    figures = (
        f"an invalid symbol, an interrupted save and {N_DAMAGED + 1} damaged files at symbol {position:,}: refused"
    )
    predictor.observe_many(tokens[:position])
    invalid = np.append(tokens[: min(n, OTHERS)], np.int32(len(predictor.vocabulary)))
    try:
        predictor.observe_many(invalid)
    except ValueError:
        pass
    else:
        return CheckResult("no loss", figures, f"a symbol that the vocabulary does not have, {invalid[-1]}, was taken")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = _file_error(predictor, Path(folder) / "model.safetensors", random)
    found = found or bits_difference(whole.bits[position:n], predictor.observe_many(tokens[position:n]), position)
    return CheckResult("no loss", figures, found)


def _file_error(predictor: StreamPredictor, path: Path, random: np.random.Generator) -> str:
    """What is wrong with how files are written and read; "" if nothing is."""
    predictor.save(path)
    content = path.read_bytes()
    with contextlib.suppress(Interruption), opened_atomically(path) as file:
        file.write(content[: len(content) // 2])
        raise Interruption
    if path.read_bytes() != content:
        return "an interrupted save has changed the older file"
    for index in [len(content), *map(int, random.integers(0, len(content), N_DAMAGED))]:
        damaged = bytearray(content)
        damaged[index : index + 1] = b"" if index == len(content) else bytes([content[index] ^ 1 << index % 8])
        path.write_bytes(damaged[:-1] if index == len(content) else damaged)
        with contextlib.suppress(ValueError):
            StreamPredictor.load(path)
            return f"a file that is damaged at byte {index:,} was loaded"
    return ""


def isolated(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """What a stream predicts does not depend on other streams, on threads, or on where it lay in between."""
    texts = np.array_split(tokens[: min(len(tokens), SAMPLE)], N_STREAMS)
    readers = [predictor.stream_reader(MAX_PAGES) for _ in range(2)]
    streams = [_Stream(predictor, text) for text in texts]
    n_turns = 0
    with ThreadPoolExecutor(len(readers)) as threads:
        while waiting := [stream for stream in streams if not stream.is_done]:
            chosen = random.permutation(len(waiting))[: len(readers)]
            sizes = random.integers(1, 1 + max(1, len(texts[0]) // 4), len(chosen))
            stored = random.integers(0, 2, len(chosen))
            turns = zip((waiting[each] for each in chosen), readers, sizes, stored, strict=False)
            list(threads.map(lambda turn: turn[0].read(*turn[1:]), turns))
            n_turns += len(chosen)
    figures = f"{N_STREAMS} streams in {n_turns} turns, in two threads, in memory or as bytes in between: the same bits"
    for number, stream in enumerate(streams, 1):
        found = bits_difference(stream.alone, np.concatenate([*stream.bits, stream.alone[:0]]))
        if found:
            return CheckResult("isolated", figures, f"beside others, in stream {number} {found}")
    return CheckResult("isolated", figures)


class _Stream:
    """One of several streams over a model; `alone` has the surprisals of its text where it is the only one."""

    def __init__(self, model: StreamPredictor, text: Tokens) -> None:
        reader = model.stream_reader(MAX_PAGES)
        self._parked = reader.park()
        first = self._parked.copy()
        self.alone = reader.read(text)
        self._parked, self._text, self.bits = first, text, list[F32]()

    @property
    def is_done(self) -> bool:
        """Whether it has read its text."""
        return len(self._text) == 0

    def read(self, reader: StreamReader, size: int, stored: int) -> None:
        """Read the next symbols of its text; then it is parked, as bytes if it is to be stored."""
        reader.resume(self._parked)
        self.bits.append(reader.read(self._text[:size]))
        self._text, self._parked = self._text[size:], reader.park()
        parked = self._parked.copy()
        if stored:
            content = dump_checkpoint(*reader.to_arrays(self._parked), "crc32")
            parked = reader.checked_stream(*parse_checkpoint(content, "a stream", "crc32"))
        self._parked = parked


LARGEST_BLOCK = 1000
"""The largest of the blocks of random sizes."""
HELD = 2**18
"""How many probabilities are kept before they are summed."""
TAIL = 100
"""How many random symbols replace the true ones after the position where they begin to differ."""


def verify(data: bytes | str, predictor: StreamPredictor, seed: int = 0) -> Iterator[CheckResult]:
    """Check a predictor on data; yields the result of each check, and stops after the first that fails.

    `seed` determines the random positions and block sizes. Raises ValueError, before any check, for a symbol that the
    vocabulary does not have.

    >>> from streamlstm import Config, StreamPredictor
    >>> predictor = StreamPredictor(config=Config(hidden=32, layers=1))
    >>> for row in verify(b"so it goes. " * 20, predictor):
    ...     print(f"{row.check:<16} {row.counterexample or 'passed'}")
    normalised       passed
    scored first     passed
    one pass         passed
    causal           passed
    pure             passed
    deterministic    passed
    resumable        passed
    bounded          passed
    no loss          passed
    isolated         passed
    lossless         passed
    """
    check_count("seed", seed, 0, 2**512)
    tokens = predictor.vocabulary.encode(data)
    return _rows(tokens, predictor, seed)


def _rows(tokens: Tokens, predictor: StreamPredictor, seed: int) -> Iterator[CheckResult]:
    threads = Threads()
    one_by_one = threads.add(partial(_OneByOne, predictor.fork(), tokens))
    whole = threads.add(partial(Run.over, tokens, predictor.fork()))
    lossless: list[_Check] = [_lossless] if predictor.vocabulary.characters is None else []
    in_blocks: _Check = partial(_one_pass, one_by_one)
    others: list[_Check] = [in_blocks, _causal, pure, deterministic, _resumable, bounded, no_loss, isolated]
    checks = [*lossless, *others]  # the longest begins first
    results = [
        threads.add(_task(check, tokens, predictor.fork(), np.random.default_rng(source), whole)).result
        for check, source in zip(checks, np.random.SeedSequence(seed).spawn(len(checks)), strict=True)
    ]
    rows: list[Callable[[], CheckResult]] = [
        lambda: one_by_one.result().normalised(),
        lambda: one_by_one.result().scored_first(),
        *results[len(lossless) :],
        *results[: len(lossless)],
    ]
    threads.start(n_cores())
    try:
        for row in rows:
            result = row()
            yield result
            if result.counterexample:
                return
    finally:
        threads.stop()


_Check = Callable[[Tokens, StreamPredictor, np.random.Generator, Run], CheckResult]
"""A check of a predictor that it may change, beside a run over all of the tokens by one core."""


def _task(
    check: _Check, tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Future[Run]
) -> Callable[[], CheckResult]:
    return lambda: check(tokens, predictor, random, whole.result())


class _OneByOne:
    """A run with one `predict` and one `observe` per symbol; records the sum and the minimum of each distribution."""

    def __init__(self, predictor: StreamPredictor, tokens: Tokens) -> None:
        n = len(tokens)
        bits = np.empty(n, dtype=np.float32)
        self.run = Run(bits, predictor)
        self._sums, self._least = np.ones(n), np.ones(n)
        self._chances = np.ones(n, dtype=np.float32)
        n_symbols = len(predictor.vocabulary)
        held = np.empty((max(1, HELD // n_symbols), n_symbols), dtype=np.float32)
        for start in range(0, n, len(held)):
            block = tokens[start : start + len(held)]
            for index, token in enumerate(block.tolist()):
                held[index] = predictor.predict()
                bits[start + index] = predictor.observe(predictor.vocabulary.symbol(token))
            these, p = slice(start, start + len(block)), held[: len(block)]
            self._sums[these], self._least[these] = p.sum(axis=1, dtype=np.float64), p.min(axis=1)
            self._chances[these] = np.take_along_axis(p, block[:, None], axis=1)[:, 0]

    def normalised(self) -> CheckResult:
        """Each distribution is above 0 everywhere and sums to 1 within 1e-6."""
        errors = np.abs(self._sums - 1)
        wrong = first_of(~((errors <= 1e-6) & (self._least > 0)))
        figures = f"sums within {errors.max(initial=0):.1e} of 1, least probability {self._least.min(initial=1):.1e}"
        if wrong is None:
            return CheckResult("normalised", figures)
        found = f"before symbol {wrong:,} the sum is {self._sums[wrong]:.9f}, the least {self._least[wrong]:.1e}"
        return CheckResult("normalised", figures, found)

    def scored_first(self) -> CheckResult:
        """Each surprisal is -log2 of the probability held before, within 1e-5 bits and 1e-6 of its value."""
        expected = -np.log2(self._chances.astype(np.float64))
        errors = np.abs(self.run.bits - expected)
        wrong = first_of(~(errors <= 1e-5 + 1e-6 * expected))
        figures = f"surprisals within {errors.max(initial=0):.1e} bits of -log2 of the distribution before"
        if wrong is None:
            return CheckResult("scored first", figures)
        found = f"symbol {wrong:,} was scored {self.run.bits[wrong]:.6f} bits, expected {expected[wrong]:.6f}"
        return CheckResult("scored first", figures, found)


def _one_pass(
    one_by_one: Future[_OneByOne], tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run
) -> CheckResult:
    """One block, single symbols, and blocks of random sizes give the same surprisals and the same predictor."""
    blocks = []
    done = n_blocks = 0
    while done < len(tokens):
        size = int(random.integers(1, LARGEST_BLOCK, endpoint=True))
        blocks.append(predictor.observe_many(tokens[done : done + size]))
        done, n_blocks = done + size, n_blocks + 1
    in_blocks = Run(np.concatenate([*blocks, np.empty(0, dtype=np.float32)]), predictor)
    figures = f"one block, {len(tokens):,} single symbols and {_blocks(n_blocks)} of random sizes: the same bits"
    for name, run in (("symbol by symbol", one_by_one.result().run), ("in blocks", in_blocks)):
        found = difference(whole, run, 0)
        if found:
            return CheckResult("one pass", figures, f"{name} instead of in one block, {found}")
    return CheckResult("one pass", figures)


def _causal(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """Replacing the symbols after a random position changes no surprisal before it."""
    limits = min(len(tokens), SAMPLE), len(tokens)
    positions = sorted(int(random.integers(0, limit, endpoint=True)) for limit in limits)
    listed = " and from ".join(f"{position:,}" for position in positions)
    figures = f"symbols replaced from {listed}: earlier bits unchanged"
    for position in positions:
        future = random.integers(0, len(predictor.vocabulary), TAIL).astype(np.int32)
        other = predictor.fork().observe_many(np.concatenate([tokens[:position], future]))
        wrong = first_of(~same(whole.bits[:position], other[:position]))
        if wrong is not None:
            found = f"with the symbols from {position:,} on replaced, symbol {wrong:,} has {other[wrong]} bits"
            return CheckResult("causal", figures, f"{found}, not {whole.bits[wrong]}")
    return CheckResult("causal", figures)


def _resumable(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """A predictor saved at a random position and loaded continues as if it had never stopped."""
    position = int(random.integers(0, len(tokens), endpoint=True))
    predictor.observe_many(tokens[:position])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.safetensors"
        predictor.save(path)
        resumed = StreamPredictor.load(path)
    rest = Run.over(tokens[position:], resumed)
    found = difference(Run(whole.bits[position:], whole.end), rest, position)
    figures = f"saved and loaded at symbol {position:,}: the same bits after"
    return CheckResult("resumable", figures, found and f"resumed at symbol {position:,}, {found}")


def _lossless(tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run) -> CheckResult:
    """`decompress` restores what `compress` compressed."""
    data = tokens.astype(np.uint8).tobytes()
    packed = compress(data, predictor)
    ideal = float(whole.bits.sum(dtype=np.float64)) / 8
    figures = f"{len(data):,} bytes to {len(packed):,} and back; the surprisals sum to {ideal:,.1f}"
    back = decompress(packed, predictor)
    if back == data:
        return CheckResult("lossless", figures)
    wrong = first_of(np.frombuffer(back, dtype=np.uint8)[: len(data)] != tokens[: len(back)])
    position = min(len(back), len(data)) if wrong is None else wrong
    return CheckResult("lossless", figures, f"byte {position:,} differs after decompression")


def _blocks(n: int) -> str:
    return f"{n:,} block{'' if n == 1 else 's'}"
