"""Attacks on the words of stored arrays: single words and pairs of neighbours get extreme and near-range values.

A file with such words is refused with a ValueError that names it. If not, what was loaded reads 5,000 symbols of
mixed text: every distribution is finite and adds up to 1, and what it then saves can be loaded again. Only learning
may diverge.

`python tests/stored_words.py KIND --seconds N` tries as many cases as it can, with numba's bounds checks, and prints
how many there were and which failed. KIND is one of KINDS.
"""

import argparse
import faulthandler
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    os.environ["NUMBA_BOUNDSCHECK"] = "1"
    os.environ["STREAMLSTM_JIT"] = "1"

import numpy as np

from streamlstm import Adam, Config, RMSprop, StreamPool, StreamPredictor, TrainingPlan, Vocabulary, Watcher
from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint
from streamlstm.training.trainer import Trainer

N_SYMBOLS = 5_000
"""How many symbols what was loaded reads."""
SLOWEST = 60
"""After this many seconds a case counts as one that does not end."""
SHAPE = Config(hidden=4, layers=1, window=16, memory_bits=10)
INTEGERS = sorted(
    {sign * (2**power + more) for power in (0, 2, 3, 4, 5, 7, 8, 9, 10, 12, 15, 16, 24, 28, 30, 31, 32, 40, 62, 63)
     for more in (-1, 0, 1) for sign in (-1, 1)} | {0, 6, 7, 13, 14, 29_999, 30_000, 30_000 << 16}
)  # fmt: skip
"""Extreme values, and those around the sizes of a memory of 1,024 pages."""
FLOATS = (0.0, -0.0, 1e-45, 1e-30, 0.5, 1.0, 1.5, 300.0, 2.0**24, 2.0**25, 1e10, 1e19, 1e30, 3.4e38, np.inf, np.nan)


def mixed_text(n, seed=0):
    """n bytes with all that the memory tells apart: lines, words, fields, digits, brackets, tags, quotes, all bytes."""
    draw, parts, size = random.Random(seed), [], 0
    while size < n:
        word = bytes(draw.choices(b"abcdefgh", k=draw.randrange(1, 6)))
        parts.append(
            draw.choice(
                [
                    b"\n" * draw.choice([1, 2, 300]),
                    b"the same phrase, over and over again: 12.5 ms\n",
                    word + b" ",
                    b"%d,%d\t" % (draw.randrange(10**5), draw.randrange(9)),
                    draw.choice([b"(", b"[", b"{", b'"', b"((([[[{{{"]) + word,
                    draw.choice([b")", b"]", b"}", b'"', b"}}}]]])))"]),
                    b"<" + word + draw.choice([b">", b"/>", b" x='1'>", b"", b' y="']),
                    b"</" + word + b">",
                    draw.choice([b"<", b">", b"/", b"< 1", b"</", b"<<<", b"><"]),
                    draw.randbytes(draw.randrange(1, 9)),
                    bytes(range(256)) if draw.random() < 0.1 else b".",
                    word.upper() + b"=" + word + b";",
                ]
            )
        )
        size += len(parts[-1])
    return b"".join(parts)[:n]


TEXT = mixed_text(N_SYMBOLS, 1)


class Case(NamedTuple):
    """An array of a file, and the words in it that are replaced, with what replaces them."""

    array: str
    words: dict[int, float]


class Kind(NamedTuple):
    """A kind of file.

    seeds  the arrays and values of files that were written by using the package
    use    writes the file, loads it, and reads on: raises ValueError only where the file is refused
    """

    seeds: list
    use: object


@cache
def scratch():
    """A file that each case is written to."""
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    scratch.kept = tempfile.NamedTemporaryFile(dir=folder, suffix=".stored")  # noqa: SIM115  deleted with the process
    return Path(scratch.kept.name)


class Refused(Exception):
    """The file was refused, with a clear message."""


def loaded(function, name):
    """What the function loads from a file of this name."""
    try:
        return function()
    except ValueError as error:
        message = str(error)
        assert name in message, f"the error does not name the file: {message}"
        assert "\n" not in message
        raise Refused(message) from None


def can_go_on(arrays):
    """Whether the counts of a file leave room for what is read: what has seen more than 2**62 symbols is refused."""
    return "memory.state" not in arrays or arrays["memory.state"][:2].max() < 2**62 - 2 * N_SYMBOLS


def assert_distribution(p):
    assert np.isfinite(p).all()
    assert (p > 0).all()
    assert abs(float(p.sum(dtype=np.float64)) - 1) < 1e-5


# Models


FEW = Vocabulary.from_text('\n ab1(<>/"', unknown="1")
MANY = Vocabulary.from_text("".join(map(chr, range(300))), unknown="?")


def symbols_of(vocabulary, text):
    """Text as symbols of a vocabulary."""
    return text if vocabulary.characters is None else text.decode("latin-1")


def model_of(learn="all", optimizer=None, memory=True, n=700, layers=1, vocabulary=None):
    shape = Config(hidden=4, layers=layers, window=16, memory=memory, memory_bits=10)
    optimizer = optimizer or RMSprop(pull_back=0.01, repetition=4.0)
    predictor = StreamPredictor(vocabulary, shape, optimizer)
    predictor.observe_many(symbols_of(predictor.vocabulary, mixed_text(n)))
    predictor.learn = learn
    predictor.observe_many(symbols_of(predictor.vocabulary, b"and (then <b>some more"))
    return predictor


def use_model(arrays, values):
    path = scratch()
    path.write_bytes(dump_checkpoint(arrays, values))
    predictor = loaded(lambda: StreamPredictor.load(path), str(path))
    assert_distribution(predictor.predict())
    for at in range(0, N_SYMBOLS, 500):
        bits = predictor.observe_many(symbols_of(predictor.vocabulary, TEXT[at : at + 500]))
        assert np.isfinite(bits).all()
        assert_distribution(predictor.predict())
    if not can_go_on(arrays):
        return
    again = StreamPredictor.from_checkpoint(*parse_checkpoint(dump_checkpoint(*predictor.to_checkpoint()), "again"))
    more = symbols_of(predictor.vocabulary, b"and on")
    assert np.array_equal(again.observe_many(more), predictor.observe_many(more))


def model_seeds():
    predictors = [
        model_of("memory"),
        model_of(),
        model_of("nothing"),
        model_of(optimizer=Adam(lr=0.01), layers=2),
        model_of(memory=False),
        model_of("memory", n=10),
        model_of("memory", vocabulary=FEW),
        model_of("memory", vocabulary=MANY),
        model_of("memory", n=6000),
    ]
    return [predictor.to_checkpoint() for predictor in predictors]


# Snapshots


@cache
def pools():
    model = StreamPredictor(config=SHAPE)
    model.observe_many(mixed_text(300, 2))
    return [StreamPool(model, learn, max_pages=n, threads=1) for learn, n in (("memory", 64), ("all", 2048))]


def snapshot_seeds():
    found = []
    for index, pool in enumerate(pools()):
        for n in (700, 20):
            pool.observe("seed", mixed_text(n, 3))
            arrays, values = parse_checkpoint(pool.snapshot("seed"), "", "crc32")
            found.append((arrays, {**values, "pool": index}))
            pool.forget("seed")
    return found


def use_snapshot(arrays, values):
    pool = pools()[values["pool"]]
    content = dump_checkpoint(arrays, {name: value for name, value in values.items() if name != "pool"}, "crc32")
    loaded(lambda: pool.restore("stream", content), "the snapshot")
    try:
        for at in range(0, N_SYMBOLS, 500):
            assert np.isfinite(pool.observe("stream", TEXT[at : at + 500])).all()
            assert_distribution(pool.predict("stream"))
        if not can_go_on(arrays):
            return
        pool.restore("again", pool.snapshot("stream"))
        assert np.array_equal(pool.observe("again", b"and on"), pool.observe("stream", b"and on"))
    finally:
        for key in [key for key in ("stream", "again") if key in pool]:
            pool.forget(key)


# Training runs


@cache
def trainer():
    tokens = np.frombuffer(mixed_text(3000, 4), dtype=np.uint8)
    plan = TrainingPlan(epochs=3, batch=3, window=16, warmup=2, pieces=(16, 300))
    return Trainer(tokens, Vocabulary.bytes(), SHAPE, plan)


def resume_seeds():
    run = trainer().run()
    for _ in range(7):
        next(run)
    run.close()
    trainer().save(scratch())
    return [parse_checkpoint(scratch().read_bytes(), "")]


def use_resume(arrays, values):
    path, run = scratch(), trainer()
    path.write_bytes(dump_checkpoint(arrays, values))
    before = run.step, run.theta.copy(), run._feed.save()
    try:
        loaded(lambda: run.restore(path), str(path))
    except Refused:
        after = run.step, run.theta, run._feed.save()
        assert before[0] == after[0]
        assert np.array_equal(before[1], after[1])
        assert all(np.array_equal(rest, after[2][0][name]) for name, rest in before[2][0].items())
        raise
    n = 0
    for progress in run.run():
        assert np.isfinite(progress.bits)
        n += run.symbols_per_step
        if n >= N_SYMBOLS:
            break
    run.save(path)
    run.restore(path)
    assert_distribution(run.predictor().predict())


# Watchers


def watcher_seeds():
    found = []
    for options in ({}, {"alarms": "2/hour"}):
        with Watcher(StreamPredictor(config=SHAPE), warmup=4, **options) as watcher:
            for n in range(60):
                watcher.observe(f"job {n % 7} of 0x{n:x} done in {n % 5} ms\n", seconds=n)
            watcher.observe("something else (entirely)\n", seconds=99)
            watcher.save(scratch())
        found.append(parse_checkpoint(scratch().read_bytes(), ""))
    return found


def use_watcher(arrays, values):
    path = scratch()
    path.write_bytes(dump_checkpoint(arrays, values))
    watcher = loaded(lambda: Watcher.load(path, warmup=4), str(path))
    with watcher:
        lines = [f"job {n % 7} of 0x{n:x} done in {n % 5} ms\n".encode() for n in range(60)]
        for n, line in enumerate([*lines, *TEXT.splitlines(keepends=True)]):
            watcher.observe(line.decode("latin-1"), seconds=100 + n)
        watcher.save(path)
    if can_go_on(arrays):
        Watcher.load(path, warmup=4).close()


KINDS = {
    "model": Kind(model_seeds, use_model),
    "snapshot": Kind(snapshot_seeds, use_snapshot),
    "resume": Kind(resume_seeds, use_resume),
    "watcher": Kind(watcher_seeds, use_watcher),
}


# Cases


def values_for(array, at):
    """What a word may be replaced by."""
    word = array.flat[at]
    if array.dtype.kind == "f":
        return [*FLOATS, *(-value for value in FLOATS), float(word) * 2, -float(word)]
    info = np.iinfo(array.dtype)
    near = [int(word) + step for step in (-65536, -256, -16, -1, 1, 16, 256, 65536)]
    return [value for value in {*INTEGERS, *near, info.min, info.max} if info.min <= value <= info.max]


def words_of(name, array, draw, some):
    """The places of an array that are tried: all of a state; of others, if `some`, the first, the last and a few."""
    if array.size <= 64 or not some or name == "memory.state":
        return list(range(array.size))
    return sorted({*range(16), *range(array.size - 4, array.size), *draw.sample(range(array.size), 12)})


def single(arrays, draw, some):
    """All cases of one word, in random order."""
    places = [(name, at) for name, array in sorted(arrays.items()) for at in words_of(name, array, draw, some)]
    cases = [Case(name, {at: value}) for name, at in places for value in values_for(arrays[name], at)]
    draw.shuffle(cases)
    return cases


def random_case(arrays, draw):
    """A case of one or two neighbouring words: each array equally often, but the state of a memory half of the time."""
    names = sorted(name for name, array in arrays.items() if array.size)
    name = "memory.state" if "memory.state" in names and draw.random() < 0.5 else draw.choice(names)
    array = arrays[name]
    at = draw.randrange(array.size)
    step = draw.choice([0, 1, 1, 1, 2, 2])
    return Case(name, {n: draw.choice(values_for(array, n)) for n in {at, min(at + step, array.size - 1)}})


def run_case(kind, seed, case):
    """The outcome of a case: "refused", "read" or "diverged". Anything else is raised."""
    arrays, values = seed
    array = arrays[case.array].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for at, value in case.words.items():
            array.flat[at] = value
        try:
            kind.use({**arrays, case.array: array}, values)
        except Refused:
            return "refused"
        except FloatingPointError:
            return "diverged"
    return "read"


def campaign(name, seconds, seed):
    """Try cases for this long; prints the outcomes, and the first case that fails of each array and kind of failure."""
    kind, draw, end, counts, failures = (
        KINDS[name],
        random.Random(seed),
        time.monotonic() + seconds,
        Counter(),
        Counter(),
    )
    seeds = kind.seeds()
    systematic = [(seed, case) for seed in seeds for case in single(seed[0], draw, True)]
    draw.shuffle(systematic)
    last = Path(f"{tempfile.gettempdir()}/stored-words-{name}-{seed}")
    n = 0
    while time.monotonic() < end:
        if systematic and n % 2 == 0:
            seed_of_case, case = systematic.pop()
        else:
            seed_of_case = draw.choice(seeds)
            case = random_case(seed_of_case[0], draw)
        n += 1
        last.write_text(f"{case}\n")
        faulthandler.dump_traceback_later(SLOWEST, exit=True)
        try:
            outcome = run_case(kind, seed_of_case, case)
        except Exception as error:
            outcome = "failed"
            failures[case.array, type(error).__name__] += 1
            if failures[case.array, type(error).__name__] <= 3:
                print("FAILED", case, repr(error)[:300], traceback.format_exc().splitlines()[-4:-1], flush=True)
        faulthandler.cancel_dump_traceback_later()
        counts[outcome] += 1
        counts[case.array, outcome] += 1
    print(name, n, "cases,", len(systematic), "single words left:", dict(counts), dict(failures), flush=True)
    return not failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.exit(0 if campaign(arguments.kind, arguments.seconds, arguments.seed) else 1)


if __name__ == "__main__":
    main()
