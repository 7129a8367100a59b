"""A KeyboardInterrupt in any public call leaves a predictor that depends on the symbols it has observed, and on nothing
else: to the bit, it is one that was given its first `n_symbols` symbols and was never interrupted."""

import hashlib
import os
import random
import signal
import sys
import time
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from golden import text
from nets import random_predictor

from streamlstm import Config, RMSprop, Snapshot, StreamPool, Vocabulary
from streamlstm.watch.single_stream import LineReader

OPTIMIZER = RMSprop(skip_below=6.0, repetition=4.0, pull_back=0.01)
SYMBOLS, N_BEFORE = text(60), 13
ignore_what_callbacks_raise = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Case(NamedTuple):
    """A predictor; `shared`: a fork holds its weights and counts too, so that it copies what it changes."""

    memory: bool
    learn: str
    window: int = 8
    shared: bool = True


MODES = [(True, "all"), (True, "memory"), (True, "nothing"), (False, "all"), (False, "nothing")]
CASES = [Case(*mode, shared=shared) for mode in MODES for shared in (True, False)]
CASES += [Case(memory, "all", window=1) for memory in (True, False)]
cases = pytest.mark.parametrize("case", CASES, ids=str)


@cache
def original(case):
    """A predictor in the middle of a window, before `SYMBOLS`."""
    config = Config(hidden=24, layers=2, window=case.window, memory_bits=10)
    predictor = random_predictor(config, Vocabulary.bytes(), OPTIMIZER, memory=case.memory)
    predictor.learn = case.learn
    predictor.observe_many(SYMBOLS[:N_BEFORE])
    return predictor


def begun(case):
    """A copy of it."""
    return original(case).fork() if case.shared else original.__wrapped__(case)


def content_of(predictor):
    """All that a predictor holds: what it predicts, its checkpoint, and the arrays of its optimizer."""
    arrays, values = predictor.to_checkpoint(whole=True)
    optimizer = predictor._stream.weights.optimizer
    arrays |= {"predict": predictor.predict(), "slots": optimizer.slots, "progress": optimizer.progress}
    found = {name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for name, array in arrays.items()}
    return found | {"values": repr(values)}


@cache
def uninterrupted(case):
    """What a predictor holds that was never interrupted, by the number of symbols that it has observed."""
    predictor, found = begun(case), []
    for symbol in SYMBOLS:
        found.append(content_of(predictor))
        predictor.observe(symbol)
    return [*found, content_of(predictor)]


def assert_holds_what_it_observed(predictor, case):
    """It is one that was not interrupted, and goes on as that one does."""
    expected = uninterrupted(case)
    done = predictor.n_symbols - N_BEFORE
    assert content_of(predictor) == expected[done], done
    predictor.observe_many(SYMBOLS[done:])
    assert content_of(predictor) == expected[-1]


def read_one_by_one(predictor):
    for symbol in SYMBOLS:
        predictor.observe(symbol)


def read_and_look_around(predictor):
    for start in range(0, len(SYMBOLS), 10):
        predictor.trace(SYMBOLS[start : start + 10], 3)
        predictor.fork().observe_many(b"another way")
        predictor.top(2)


def read_in_steps(predictor):
    for _ in predictor.steps(SYMBOLS):
        predictor.fork().observe(65)


def read_again_and_again(predictor):
    for start in range(0, len(SYMBOLS), 10):
        snapshot = Snapshot(predictor)
        predictor.observe_many(SYMBOLS[start : start + 15])
        snapshot.restore()
        predictor.observe_many(SYMBOLS[start : start + 5])
        snapshot.update()
        predictor.observe_many(SYMBOLS[start + 5 : start + 20])
        snapshot.restore()
        predictor.observe_many(SYMBOLS[start + 5 : start + 10])


READERS = {
    "at once": lambda predictor: predictor.observe_many(SYMBOLS),
    "one by one": read_one_by_one,
    "with queries": read_and_look_around,
    "in steps": read_in_steps,
    "with snapshots": read_again_and_again,
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


class InterruptAtInstruction:
    """Raises KeyboardInterrupt before the n-th bytecode instruction that Python executes in this context.

    Python itself ignores one that comes in the callback of a weak reference.
    """

    def __init__(self, n):
        self.left = n

    def __enter__(self):
        sys.settrace(self._trace)

    def __exit__(self, *error):
        sys.settrace(None)

    def _trace(self, frame, event, argument):
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._trace


def count_instructions(act, predictor):
    counter = InterruptAtInstruction(-1)
    with counter:
        act(predictor)
    return -1 - counter.left


def assert_survives_interrupts(read, case, n_instants):
    """Whichever of so many instructions that are executed while a predictor reads an interrupt comes before."""
    total = count_instructions(read, begun(case))
    instants = range(1, total + 1)
    for instant in random.Random(total).sample(instants, min(n_instants, total)):
        predictor = begun(case)
        with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
            read(predictor)
        assert_holds_what_it_observed(predictor, case)


@cases
@readers
@ignore_what_callbacks_raise
def test_an_interrupt_before_any_instruction_loses_and_doubles_nothing(read, case):
    assert_survives_interrupts(read, case, 8)


@pytest.mark.slow
@cases
@readers
@ignore_what_callbacks_raise
def test_an_interrupt_before_each_of_many_instructions(read, case):
    assert_survives_interrupts(read, case, int(os.environ.get("INTERRUPTS", "100")))


def test_windows_are_learned_from_and_skipped():
    """Or the tests above would not show much."""
    for case in CASES:
        steps = {content["progress"] for content in uninterrupted(case)}
        n_windows = (N_BEFORE + len(SYMBOLS)) // case.window - N_BEFORE // case.window
        assert case.learn != "all" or 1 < len(steps) < n_windows or not case.memory
        assert case.learn == "all" or len(steps) == 1


@cases
@ignore_what_callbacks_raise
def test_an_interrupt_while_it_is_reset_frozen_or_forked_leaves_it_before_or_after(case):
    def change(predictor):
        predictor.reset()
        predictor.learn = "all" if case.learn == "nothing" else "nothing"
        predictor.fork()

    start = begun(case)
    start.observe_many(b"end of a window")
    after_reset, after_all = start.fork(), start.fork()
    after_reset.reset()
    change(after_all)
    known = [content_of(twin) for twin in (start, after_reset, after_all)]
    total = count_instructions(change, start.fork())
    for instant in random.Random(1).sample(range(1, total + 1), min(60, total)):
        predictor = start.fork()
        with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
            change(predictor)
        assert content_of(predictor) in known


@cases
def test_a_real_signal_at_a_random_time_too(case):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    predictor = begun(case)
    started = time.perf_counter()
    read_one_by_one(predictor)
    seconds = time.perf_counter() - started
    draw, n_interrupted = random.Random(2), 0
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(30):
            predictor = begun(case)
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, seconds))
                read_one_by_one(predictor)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                n_interrupted += 1
            assert_holds_what_it_observed(predictor, case)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert n_interrupted


@pytest.mark.parametrize("learn", ["all", "memory", "nothing"])
@ignore_what_callbacks_raise
def test_a_stream_of_a_pool_holds_what_it_observed(learn):
    keys, parts = "abc", [SYMBOLS[start : start + 7] for start in range(0, len(SYMBOLS), 7)]

    def new_pool(_=None):
        return StreamPool(original(Case(memory=True, learn="all")), learn=learn, threads=1)

    def read(pool):
        for part in parts:
            for key in keys:
                pool.observe(key, part)
                pool.predict(key)

    with new_pool() as pool:
        known = {pool.n_symbols("a"): pool.predict("a") for symbol in SYMBOLS if len(pool.observe("a", [symbol]))}
        n_first, end = pool.n_symbols("a") - len(SYMBOLS), pool.snapshot("a")
    with new_pool() as pool:
        total = count_instructions(read, pool)
    for instant in random.Random(5).sample(range(1, total + 1), 40):
        with new_pool() as pool:
            with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
                read(pool)
            for key in pool:
                # Not its snapshot: an overlay may have been enlarged already for the symbol after the last one.
                assert pool.n_symbols(key) == n_first or np.array_equal(pool.predict(key), known[pool.n_symbols(key)])
                pool.observe(key, SYMBOLS[pool.n_symbols(key) - n_first :])
                assert pool.snapshot(key) == end


def line_reader(memory):
    """What reads lines, and the predictor that it reads them for."""
    predictor = begun(Case(memory, "all"))
    return LineReader(predictor.observe_many, lambda: Snapshot(predictor)), predictor


LINES = [Vocabulary.bytes().encode(line) for line in ("one two\n", "one two three\n", "one\n", "four\n")]


def read_lines(memory):
    reader, predictor = line_reader(memory)
    for line in LINES:
        reader.read(line, undoable=True)
    return reader, predictor


@pytest.mark.parametrize("memory", [True, False])
@ignore_what_callbacks_raise
def test_an_undo_that_is_interrupted_is_completed_before_the_next_line(memory):
    (kept, kept_predictor), undone = line_reader(memory), []
    for line in LINES[:-1]:
        kept.read(line, undoable=True)
    total = count_instructions(lambda reader: reader.undo(), read_lines(memory)[0])
    for instant in random.Random(3).sample(range(1, total + 1), 60):
        reader, predictor = read_lines(memory)
        with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
            reader.undo()
        reader.finish_undo()
        undone.append(predictor.fork())
        bits = reader.read(LINES[1], undoable=True)
        reader.undo()
        again = predictor.predict()
        expected = undone[-1].fork()
        assert np.array_equal(again, expected.predict())
        assert np.array_equal(bits, expected.observe_many(LINES[1]))
    whole = read_lines(memory)[1].predict()
    for predictor in undone:  # the undo had not begun, or it was completed
        assert any(np.array_equal(predictor.predict(), known) for known in (kept_predictor.predict(), whole))
    assert sum(np.array_equal(predictor.predict(), whole) for predictor in undone) < 10
