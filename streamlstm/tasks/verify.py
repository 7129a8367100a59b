"""Checks, on the user's own data, of the properties that every predictor has; a failure shows a counterexample.

The checks use the public API only, each on a fork of the predictor. As many are made at a time as there are cores.
Floats are compared bit for bit.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np

from ..jit.cores import n_cores
from ..predictor import StreamPredictor
from ..ranges import check_count
from ..vocabulary import Tokens
from .compress import compress, decompress
from .guarantees import SAMPLE, bounded, deterministic, isolated, no_loss, pure
from .runs import CheckResult as CheckResult
from .runs import Run, difference, first_of, same
from .threads import Threads

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
    one_by_one: "Future[_OneByOne]", tokens: Tokens, predictor: StreamPredictor, random: np.random.Generator, whole: Run
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
