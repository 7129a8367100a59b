"""A second thread that computes half of each step and update."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from nets import random_predictor, random_tokens
from test_interrupts import (
    READERS,
    Case,
    InterruptAtInstruction,
    assert_holds_what_it_observed,
    begun,
    count_instructions,
    ignore_what_callbacks_raise,
)

from streamlstm import SGD, Adam, Config, RMSprop, StreamPredictor, Vocabulary
from streamlstm.kernels import cores, second_core
from streamlstm.kernels.descent import assist
from streamlstm.kernels.network import flow
from streamlstm.kernels.second_core import (
    ASSISTANT,
    AWAY,
    CALLER,
    COUNT,
    FIRST,
    MARKED_SIZE,
    PERIOD,
    READY,
    STATE,
    TRIAL,
    Assistant,
    Trial,
    finish,
)
from streamlstm.predictor.sources import KnownTokens
from streamlstm.predictor.stream import TokenStream
from streamlstm.predictor.weights import Learner
from streamlstm.tasks.compress import compress, decompress
from streamlstm.tasks.identity import identity
from streamlstm.tasks.snapshot import Snapshot

SHAPES = [
    Config(hidden, layers, window=6, connections=connections)
    for hidden, layers in ((24, 1), (40, 2), (96, 3), (128, 1), (160, 2))
    for connections in ("skip", "stacked")
]
OPTIMIZERS = [SGD(l2=1e-3), RMSprop(pull_back=0.1, repetition=4.0), Adam(clip=0.1, candidate_lr_scale=0.5)]


class AlwaysAssisted:
    """A trial that decides for the assistant each time."""

    is_assisted = True

    def window_done(self, seconds):
        pass


@pytest.fixture(autouse=True)
def two_cores_for_any_net(monkeypatch):
    """Small nets are assisted too, all the time; on a machine with one core the two threads take turns."""
    monkeypatch.setattr(second_core, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(second_core, "n_cores", lambda: 2)
    monkeypatch.setattr(second_core, "Trial", AlwaysAssisted)


def layout_of(predictor):
    return predictor._stream._parts.tape.stream.layout


def n_barriers(predictor):
    """How many barriers the caller has reached on the present layout: it moves if the assistant helps."""
    return int(layout_of(predictor)[CALLER])


def wait_until_ready(predictor):
    """Until the assistant spins; a busy machine may have let it sleep."""
    started = time.monotonic()
    predictor._stream._publish_arrays(predictor._stream._parts)
    while layout_of(predictor)[STATE] != READY:
        predictor._stream._parts.assistant._wake()
        assert time.monotonic() < started + 60
        time.sleep(0.001)


def n_assistants():
    return sum(thread.name == "streamlstm assistant" for thread in threading.enumerate())


def wait_until_none_is_left():
    started = time.monotonic()
    while n_assistants():
        assert time.monotonic() < started + 60
        time.sleep(0.001)


def assert_alike(one, other):
    assert one.predict().tobytes() == other.predict().tobytes()
    for name, weight in one.weights().items():
        assert weight.tobytes() == other.weights()[name].tobytes()


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_both_cores_give_the_bits_of_one(config, learning):
    predictor = random_predictor(config, Vocabulary.bytes())
    predictor.learning = learning
    alone = predictor.fork()
    tokens = random_tokens(20, 256)
    bits, helped = [], 0
    with predictor.assisted():
        for token in tokens:
            wait_until_ready(predictor)
            bits.append(predictor.observe(int(token)))
            assert layout_of(predictor)[ASSISTANT] == layout_of(predictor)[CALLER]
            helped += n_barriers(predictor) > 0
    assert helped >= 18  # the first update makes the weights the predictor's own: the assistant comes anew
    assert np.array_equal(np.float32(bits), alone.observe_many(tokens))
    assert_alike(predictor, alone)


@pytest.mark.parametrize(
    "optimizer", [SGD(l2=1e-3), RMSprop(pull_back=0.1, repetition=4.0), Adam(clip=0.1, candidate_lr_scale=0.5)], ids=str
)
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_known_text_and_updates_too(config, optimizer):
    predictor, tokens = StreamPredictor(config=config, optimizer=optimizer), random_tokens(198, 256)
    alone = StreamPredictor(config=config, optimizer=optimizer)

    def both(take):
        """Let both predictors do the same; returns whether the assistant, which is waited for, was still there."""
        wait_until_ready(predictor)
        n_before = n_barriers(predictor)
        assert np.array_equal(take(predictor), take(alone))
        return n_barriers(predictor) > n_before

    with predictor.assisted():
        parts = np.split(tokens, [6, 7, 50, 90, 98])
        assert sum(both(lambda each, part=part: each.observe_many(part)) for part in parts) >= 2
        n_updates_helped = 0
        for _ in range(4):
            n_updates_helped += both(lambda each: each._stream._begin_window(65) is None)
            both(lambda each: each.observe_many(tokens[:5]))  # with the 65, they fill the window
        assert n_updates_helped >= 1
        predictor.learning = alone.learning = False
        parts = np.split(tokens, [1, 80, 81])
        assert sum(both(lambda each, part=part: each.observe_many(part)) for part in parts) >= 1
        assert predictor.fork().observe_many(tokens[:50]).tobytes() == alone.fork().observe_many(tokens[:50]).tobytes()
    assert_alike(predictor, alone)


def test_an_update_that_diverges_leaves_the_weights(tmp_path):
    predictor, tokens = StreamPredictor(config=Config(64, 2, 8), optimizer=SGD(lr=1.0)), random_tokens(9, 256)
    with predictor.assisted():
        wait_until_ready(predictor)
        predictor.observe_many(tokens[:8])
        tape, theta = predictor._stream._parts.tape, predictor._stream._parts.weights.theta
        theta[: tape.layout.output] = 1e30
        before = theta.copy()
        tape.stream.tape[tape.record : tape.record + 64] = np.float32(1e38)
        wait_until_ready(predictor)
        with pytest.raises(FloatingPointError, match="learning diverged"):
            predictor.observe(int(tokens[8]))
        assert np.array_equal(theta, before)


def test_it_follows_a_predictor_whose_arrays_change(tmp_path):
    predictor, tokens = random_predictor(Config(64, 2, 8), Vocabulary.bytes(), memory=True), random_tokens(30, 256)
    alone, helped = predictor.fork(), 0
    with predictor.assisted():
        for change in ("nothing", "freeze", "reset", "save", "fork and learn", "fork"):
            for each in (predictor, alone):
                each.learning = "learn" in change or change == "nothing"
                if change == "reset":
                    each.reset()
            twin = predictor.fork() if "fork" in change else predictor
            for token in tokens:
                wait_until_ready(predictor)
                assert predictor.observe(int(token)) == alone.observe(int(token)), change
                helped += n_barriers(predictor) > 0
            assert (len(layout_of(twin)) == MARKED_SIZE) == ("fork" not in change)
            predictor.save(tmp_path / "model")
            loaded = StreamPredictor.load(tmp_path / "model")
            assert loaded.predict().tobytes() == alone.predict().tobytes()
            assert loaded.observe(3) == alone.fork().observe(3)
    assert helped > 100
    assert len(layout_of(predictor)) < MARKED_SIZE
    assert predictor.observe(3) == alone.observe(3)


def test_a_snapshot_is_restored_with_and_without_an_assistant():
    predictor, tokens = random_predictor(Config(64, 2, 8), Vocabulary.bytes()), random_tokens(100, 256)
    for learning in (True, False):
        predictor.learning = learning
        with predictor.assisted():
            predictor.observe_many(tokens[:50])
            snapshot, expected = Snapshot(predictor), predictor.fork().observe_many(tokens[50:])
            wait_until_ready(predictor)
            assert predictor.observe_many(tokens[50:]).tobytes() == expected.tobytes()
            snapshot.restore()
            assert predictor.observe_many(tokens[50:]).tobytes() == expected.tobytes()
            snapshot.restore()
        assert predictor.observe_many(tokens[50:]).tobytes() == expected.tobytes()


def test_a_small_net_or_one_core_is_not_assisted(monkeypatch):
    wait_until_none_is_left()
    predictor = StreamPredictor(config=Config(32, 1))
    monkeypatch.setattr(second_core, "MIN_WEIGHTS", 10**6)
    with predictor.assisted():
        assert n_assistants() == 0
        assert len(layout_of(predictor)) < MARKED_SIZE
    monkeypatch.undo()
    monkeypatch.setattr(second_core, "n_cores", lambda: 1)
    with StreamPredictor.pretrained().assisted():
        assert n_assistants() == 0


def test_a_container_may_use_as_many_cores_as_its_quota_says(monkeypatch, tmp_path):
    monkeypatch.undo()
    quota = tmp_path / "cpu.max"
    n_unlimited = cores.n_cores(quota)
    assert n_unlimited >= 1
    for text, n_cores in (("max 100000\n", n_unlimited), ("150000 100000\n", 1), ("50000 100000\n", 1)):
        quota.write_text(text)
        assert cores.n_cores(quota) == n_cores


def test_it_ends_with_the_block_even_after_an_error_and_may_be_asked_for_twice():
    wait_until_none_is_left()
    predictor = random_predictor(Config(32, 1))

    def fail():
        with predictor.assisted(), predictor.assisted():
            assert n_assistants() == 1
            predictor.observe("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(layout_of(predictor)) < MARKED_SIZE
    wait_until_none_is_left()


def test_where_the_system_gives_no_thread_the_predictor_works_alone(monkeypatch):
    predictor = random_predictor(Config(32, 1))
    alone = predictor.fork()

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with predictor.assisted():
        assert predictor.observe("a") == alone.observe("a")


def test_an_update_that_is_interrupted_leaves_the_two_with_the_same_arrays(monkeypatch):
    predictor = random_predictor(Config(32, 1, window=4), Vocabulary.bytes())
    twin, tokens = predictor.fork(), random_tokens(20, 256)

    def thetas():
        """Those of the predictor, its fork, and the assistant."""
        weights, assistant = predictor._stream._parts.weights, predictor._stream._parts.assistant
        assert (layout_of(predictor) is assistant.layout) == (weights.theta is assistant._arrays[1])
        return weights.theta, twin._stream._parts.weights.theta, assistant._arrays[1]

    with predictor.assisted():
        predictor.observe_many(tokens[:4])
        with monkeypatch.context() as patch:
            patch.setattr(type(predictor._stream._parts.weights.optimizer), "copy", lambda state: interrupt())
            with pytest.raises(KeyboardInterrupt):
                predictor.observe(int(tokens[4]))
        mine, of_twin, of_assistant = thetas()
        assert mine is of_twin is of_assistant
        predictor.observe(int(tokens[4]))
        mine, of_twin, of_assistant = thetas()
        assert mine is of_assistant is not of_twin


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("memory", [True, False])
@ignore_what_callbacks_raise
def test_an_interrupted_predictor_holds_what_it_observed_with_an_assistant_too(memory, window):
    helped = 0
    for shared in (True, False):
        case = Case(memory, "all", window, shared)
        for read in READERS.values():
            total = count_instructions(read, begun(case))
            for instant in random.Random(total).sample(range(1, total + 1), 5):
                predictor = begun(case)
                with predictor.assisted():
                    wait_until_ready(predictor)
                    with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
                        read(predictor)
                    helped += n_barriers(predictor) > 0
                assert_holds_what_it_observed(predictor, case)
    assert helped


@ignore_what_callbacks_raise
def test_an_interrupt_before_any_instruction_that_wakes_or_ends_it_does_not_block_the_next_one():
    layout = random_predictor(Config(32, 1))._stream.layout

    def act(assistant):
        assistant.window_done()
        assistant.end()

    for instant in range(1, 1 + count_instructions(act, Assistant(assist, Learner(layout, 8)))):
        assistant = Assistant(assist, Learner(layout, 8))
        with suppress(KeyboardInterrupt), InterruptAtInstruction(instant):
            act(assistant)
        ending = threading.Thread(target=assistant.end, daemon=True)
        ending.start()
        ending.join(20)
        assert not ending.is_alive(), instant


@pytest.mark.parametrize("learning", [True, False])
def test_what_was_compressed_alone_two_cores_decompress(monkeypatch, learning):
    predictor, data = StreamPredictor(config=Config(64, 2, window=8)), b"to be or not to be, " * 150
    predictor.observe_many(data)
    predictor.learning = learning
    data += b"that is the question"
    code, helped = compress(data, predictor), []
    begin_window = TokenStream._begin_window

    def begin(stream, next_token):
        holder = SimpleNamespace(_stream=stream)
        helped.append(n_barriers(holder) > 0)
        parts = begin_window(stream, next_token)
        if parts.assistant is not None and len(helped) < 20:
            wait_until_ready(holder)
        return parts

    monkeypatch.setattr(TokenStream, "_begin_window", begin)
    assert decompress(code, predictor) == data
    assert all(helped[2:20])


def with_marks():
    """A predictor that looks for an assistant, whose thread was not started, and its fork."""
    predictor = random_predictor(Config(32, 2), Vocabulary.bytes())
    alone = predictor.fork()
    predictor._stream._set_assistant(Assistant(assist, Learner(predictor._stream.layout, predictor.config.window)))
    return predictor, alone


def test_if_the_assistant_is_away_the_step_is_computed_alone():
    predictor, alone = with_marks()
    assert predictor.observe(7) == alone.observe(7)
    assert predictor.predict().tobytes() == alone.predict().tobytes()
    assert n_barriers(predictor) == 0


def test_an_assistant_that_is_not_compiled_yet_comes_later(monkeypatch):
    predictor = random_predictor(Config(64, 2, window=4), Vocabulary.bytes())
    alone, tokens, answers = predictor.fork(), random_tokens(40, 256), [None] * 3
    ready = second_core.native_later(assist)
    monkeypatch.setattr(second_core, "native_later", lambda entry: answers.pop(0) if answers else ready)
    with predictor.assisted():
        assert np.array_equal(predictor.observe_many(tokens[:9]), alone.observe_many(tokens[:9]))
        assert (n_barriers(predictor), len(answers)) == (0, 0)  # asked at the start and after each of two windows
        predictor.observe_many(tokens[9:20]), alone.observe_many(tokens[9:20])
        wait_until_ready(predictor)
        assert np.array_equal(predictor.observe_many(tokens[20:]), alone.observe_many(tokens[20:]))
        assert n_barriers(predictor) > 0
    assert_alike(predictor, alone)


@numba.njit(nogil=True)
def come_late(theta, stream):
    flow(theta, stream, stream.layout[FIRST], stream.layout[COUNT], ASSISTANT)
    finish(stream.layout, ASSISTANT)


def test_a_caller_waits_for_an_assistant_that_is_late():
    predictor, alone = with_marks()
    twin, ahead = predictor.fork(), layout_of(predictor).copy()
    ahead[CALLER], ahead[COUNT] = 10**6, 1
    weights, tape = twin._stream._parts[:2]
    come_late(weights.theta, tape.stream._replace(layout=ahead))  # compiles it: it never has to wait
    (weights, tape), layout = predictor._stream._parts[:2], layout_of(predictor)
    layout[STATE] = READY
    late = threading.Timer(0.3, lambda: come_late(weights.theta, tape.stream))
    late.start()
    assert predictor.observe(7) == alone.observe(7)
    late.join()
    assert layout[STATE] == READY
    assert layout[CALLER] == layout[ASSISTANT] > 0


def windows_assisted(pace, n=20 * PERIOD):
    """How many of n windows are assisted, and how long all take, if one alone takes 1 and an assisted one `pace`."""
    trial, n_assisted, seconds = Trial(), 0, 0.0
    for i in range(n):
        took = pace(i) if trial.is_assisted else 1.0
        n_assisted += trial.is_assisted
        seconds += took
        trial.window_done(took)
    return n_assisted / n, seconds / n


@pytest.mark.parametrize("pace", [0.6, 0.9])
def test_an_assistant_that_helps_is_kept(pace):
    part, seconds = windows_assisted(lambda i: pace)
    assert part > 0.97
    assert seconds < 1.03 * pace


@pytest.mark.parametrize("pace", [1.01, 2.0, 10.0])
def test_an_assistant_that_makes_windows_slower_costs_little(pace):
    part, seconds = windows_assisted(lambda i: pace)
    assert part < 0.01
    assert seconds < 1.06


def test_a_pause_now_and_then_is_no_reason_to_do_without_the_assistant():
    assert windows_assisted(lambda i: 1000.0 if i % 5 == 0 else 0.7)[0] > 0.97


def test_an_assistant_is_asked_again_once_its_core_is_free():
    part, _ = windows_assisted(lambda i: 5.0 if i < 3 * PERIOD else 0.7)
    assert part > 16 / 20 - 0.02


def test_an_assistant_is_sent_away_once_its_core_is_busy():
    _, seconds = windows_assisted(lambda i: 0.7 if i < 3 * PERIOD else 5.0)
    assert seconds < 1.0


def test_the_thread_sleeps_unless_the_trial_wants_it(monkeypatch):
    monkeypatch.setattr(second_core, "Trial", Trial)
    predictor = random_predictor(Config(32, 1), Vocabulary.bytes())
    predictor.learning = False
    with predictor.assisted():
        assistant = predictor._stream._parts.assistant
        predictor.observe_many(random_tokens(32 * (TRIAL - 1), 256))
        assert assistant._asleep.locked()
        assert layout_of(predictor)[STATE] == AWAY
        predictor.observe_many(random_tokens(2 * 32, 256))
        wait_until_ready(predictor)
        started = time.monotonic()
        while layout_of(predictor)[STATE] != AWAY:  # no symbols come any more
            assert time.monotonic() < started + 60
            time.sleep(0.001)


class RecordedTrial(AlwaysAssisted):
    """A trial that keeps how long the windows took."""

    is_assisted = False

    def __init__(self):
        self.seconds = []

    def window_done(self, seconds):
        self.seconds.append(seconds)


@pytest.mark.parametrize("observe", [StreamPredictor.observe, lambda predictor, token: predictor.observe_many([token])])
def test_the_trial_does_not_time_the_pauses_of_the_caller(monkeypatch, observe):
    trial, predictor = RecordedTrial(), random_predictor(Config(32, 1, window=4), Vocabulary.bytes())
    monkeypatch.setattr(second_core, "Trial", lambda: trial)
    with predictor.assisted():
        for token in range(41):
            observe(predictor, token)
            time.sleep(0.01)
    assert len(trial.seconds) == 10
    assert 0 < sorted(trial.seconds)[5] < 0.02


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_process_works_alone():
    predictor, alone = random_predictor(Config(64, 2)), random_predictor(Config(64, 2))
    with predictor.assisted():
        wait_until_ready(predictor)
        child = os.fork()
        if child == 0:  # with the marks as they are, but no thread
            os._exit(predictor.observe_many("abab" * 20).tobytes() != alone.observe_many("abab" * 20).tobytes())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_assistant_that_an_interrupt_left_behind_is_replaced():
    predictor, _ = with_marks()
    predictor._stream._parts.assistant.end()
    with predictor.assisted():
        wait_until_ready(predictor)
    assert predictor._stream._parts.assistant is None


def test_saving_between_two_steps_changes_nothing(tmp_path):
    predictor, tokens = random_predictor(Config(64, 2, 8), Vocabulary.bytes()), random_tokens(100, 256)
    predictor.learning = False
    alone = predictor.fork()
    with predictor.assisted():
        for step in predictor.steps(KnownTokens(tokens), len(tokens)):
            predictor.save(tmp_path / "model")
            alone.observe_many(tokens[step.start : step.start + step.count])
            assert StreamPredictor.load(tmp_path / "model").predict().tobytes() == alone.predict().tobytes()
            assert identity(predictor) == identity(alone)


ASSISTED = """
import sys
from streamlstm import Config, StreamPredictor
from streamlstm.kernels import second_core
second_core.MIN_WEIGHTS, second_core.n_cores, second_core.TRIAL = 0, lambda: 2, 1

def new():
    predictor = StreamPredictor(config=Config(32, 2, window=4, memory_bits=12))
    predictor.learning = sys.argv[1] == "learning"
    return predictor

def text(n):
    return b"again and " * (n // 10) + b"again and "[: n % 10]

predictor = new()
with predictor.assisted():
    predictor.observe_many(text(100))
print("ready", flush=True)
"""

INTERRUPTED = """
n = 0
while n < 30:
    try:
        with predictor.assisted():
            while True:
                predictor.observe_many(text(predictor.n_symbols % 10 + 50)[predictor.n_symbols % 10 :])
    except KeyboardInterrupt:
        n += 1
        print(n, flush=True)
alone = new()
alone.observe_many(text(predictor.n_symbols))
assert alone.predict().tobytes() == predictor.predict().tobytes()
print(predictor.n_symbols)
"""


@pytest.mark.parametrize("mode", ["learning", "frozen"])
def test_an_interrupt_at_any_time_leaves_a_process_that_goes_on_and_ends(mode):
    process = subprocess.Popen([sys.executable, "-c", ASSISTED + INTERRUPTED, mode], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    for n in range(30):
        time.sleep(0.01 + 0.0007 * n)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == f"{n + 1}\n"
    assert process.wait(timeout=60) == 0
    assert int(process.stdout.read()) > 200


def test_a_process_ends_while_the_assistant_waits():
    script = ASSISTED + "predictor.assisted().__enter__()\npredictor.observe_many(text(9999))"
    subprocess.run([sys.executable, "-c", script, "frozen"], check=True, timeout=60)
