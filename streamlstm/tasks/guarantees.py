"""The checks of `verify` that are made on the beginning of the data.

Each takes the tokens, a predictor, which it may change, a source of random numbers, and a run over all of the data by
one core.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint import dump_checkpoint, opened_atomically, parse_checkpoint
from ..kernels.arrays import F32
from ..model import Config
from ..predictor import StreamPredictor
from ..predictor.stream_reader import StreamReader
from ..vocabulary import Tokens
from .runs import CheckResult, Run, bits_difference

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
            parked = reader.from_arrays(*parse_checkpoint(content, "a stream", "crc32"))
        self._parked = parked
