"""A KeyboardInterrupt in any public call leaves a predictor before or after whole blocks."""

import random
import signal
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from golden import text
from nets import random_predictor

from streamlstm import Config, RMSprop, Vocabulary
from streamlstm.watch.line_reader import LineReader

CONFIG = Config(hidden=24, layers=2, window=8, memory_bits=10)
OPTIMIZER = RMSprop(skip_below=6.0, repetition=4.0, pull_back=0.01)
SYMBOLS = text(150)
CASES = [(memory, learning) for memory in (True, False) for learning in (True, False)]
cases = pytest.mark.parametrize(("memory", "learning"), CASES)


def begun(memory, learning):
    """A predictor in the middle of a window; its weights are shared with a fork, which the first update copies."""
    predictor = random_predictor(CONFIG, Vocabulary.bytes(), OPTIMIZER, memory=memory)
    predictor.learning = learning
    predictor.observe_many(SYMBOLS[:13])
    return predictor


def assert_goes_on_alike(predictor, n_before, expected):
    """What is left of the symbols brings the interrupted predictor to the bits of one that was never interrupted."""
    done = predictor.n_symbols - n_before
    assert 0 <= done <= len(SYMBOLS)
    predictor.observe_many(SYMBOLS[done:])
    (arrays, values), (others, other_values) = predictor.to_checkpoint(), expected.to_checkpoint()
    assert values == other_values
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        assert array.tobytes() == others[name].tobytes(), name
    assert predictor.predict().tobytes() == expected.predict().tobytes()


def read_one_by_one(predictor):
    for symbol in SYMBOLS:
        predictor.observe(symbol)


def read_and_look_around(predictor):
    for start in range(0, len(SYMBOLS), 10):
        predictor.trace(SYMBOLS[start : start + 10], 3)
        predictor.fork().observe_many(b"another way")
        predictor.top(2)


READERS = [lambda predictor: predictor.observe_many(SYMBOLS), read_one_by_one, read_and_look_around]


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


@cases
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("reader", range(len(READERS)))
def test_an_interrupt_before_any_instruction_loses_and_doubles_nothing(memory, learning, reader):
    expected = begun(memory, learning)
    n_before = expected.n_symbols
    expected.observe_many(SYMBOLS)
    total = count_instructions(READERS[reader], begun(memory, learning))
    instants = random.Random(reader).sample(range(1, total + 1), 50)
    for instant in instants:
        predictor = begun(memory, learning)
        with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
            READERS[reader](predictor)
        assert_goes_on_alike(predictor, n_before, expected)


@cases
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_while_it_is_reset_frozen_or_forked_leaves_it_before_or_after(memory, learning):
    def change(predictor):
        predictor.reset()
        predictor.learning = not learning
        predictor.fork()

    start = begun(memory, learning)
    start.observe_many(b"end of a window")
    after_reset, after_all = start.fork(), start.fork()
    after_reset.reset()
    change(after_all)
    known = [twin.fork() for twin in (start, after_reset, after_all)]
    total = count_instructions(change, start.fork())
    for instant in random.Random(1).sample(range(1, total + 1), min(60, total)):
        predictor = start.fork()
        with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
            change(predictor)
        found = [predictor.fork().observe_many(SYMBOLS), predictor.learning]
        assert any(
            np.array_equal(twin.fork().observe_many(SYMBOLS), found[0]) and twin.learning == found[1] for twin in known
        )


@cases
def test_a_real_signal_at_a_random_time_too(memory, learning):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    expected = begun(memory, learning)
    n_before = expected.n_symbols
    started = time.perf_counter()
    expected.observe_many(SYMBOLS)
    seconds = time.perf_counter() - started
    draw, n_interrupted = random.Random(2), 0
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(60):
            predictor = begun(memory, learning)
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 2 * seconds))
                read_one_by_one(predictor)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                n_interrupted += 1
            assert_goes_on_alike(predictor, n_before, expected)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert n_interrupted > 5


LINES = [Vocabulary.bytes().encode(line) for line in ("one two\n", "one two three\n", "one\n", "four\n")]


def read_lines(memory):
    reader = LineReader(begun(memory, learning=True))
    for line in LINES:
        reader.read(line, undoable=True)
    return reader


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_undo_that_is_interrupted_is_completed_before_the_next_line(memory):
    kept, undone = LineReader(begun(memory, learning=True)), []
    for line in LINES[:-1]:
        kept.read(line, undoable=True)
    total = count_instructions(lambda reader: reader.undo(), read_lines(memory))
    for instant in random.Random(3).sample(range(1, total + 1), 60):
        reader = read_lines(memory)
        with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
            reader.undo()
        reader.finish_undo()
        undone.append(reader.predictor.fork())
        bits = reader.read(LINES[1], undoable=True)
        reader.undo()
        again = reader.predictor.predict()
        expected = undone[-1].fork()
        assert np.array_equal(again, expected.predict())
        assert np.array_equal(bits, expected.observe_many(LINES[1]))
    whole = read_lines(memory).predictor.predict()
    for predictor in undone:  # the undo had not begun, or it was completed
        assert any(np.array_equal(predictor.predict(), known) for known in (kept.predictor.predict(), whole))
    assert sum(np.array_equal(predictor.predict(), whole) for predictor in undone) < 10
