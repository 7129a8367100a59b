"""A second core that makes half of each step."""

import threading
import time

import numba
import numpy as np
import pytest
from nets import random_predictor, random_tokens

from streamlstm import Config, StreamPredictor, Vocabulary, assistant, coder
from streamlstm.assistant import ALONE, ASSISTANT, AWAY, CALLER, FIRST, READY, STATE, WORDS, half_step
from streamlstm.compress import compress, decompress

SHAPES = [
    Config(hidden, layers, window=6, connections=connections)
    for hidden, layers in ((24, 1), (40, 2), (96, 3), (128, 1), (160, 2))
    for connections in ("skip", "stacked")
]


@pytest.fixture(autouse=True)
def two_cores_for_any_net(monkeypatch):
    """Small nets are assisted too, and on a machine with one core the two threads take turns."""
    monkeypatch.setattr(assistant, "LEAST_READ", {False: 0, True: 0})
    monkeypatch.setattr(assistant, "n_cores", lambda: 2)


def wait_at(marks):
    """Until the assistant is there; a busy machine may have sent it away."""
    started = time.monotonic()
    while marks[STATE] != READY:
        marks[ALONE] = 0
        assert time.monotonic() < started + 60
        time.sleep(0.001)


def n_assistants():
    return sum(thread.name == "streamlstm assistant" for thread in threading.enumerate())


def wait_until_none_is_left():
    started = time.monotonic()
    while n_assistants():
        assert time.monotonic() < started + 60
        time.sleep(0.001)


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
            wait_at(predictor._marks)
            bits.append(predictor.observe(int(token)))
            assert predictor._marks[ASSISTANT] == predictor._marks[CALLER]
            helped += predictor._marks[CALLER] > 0
    assert helped >= 18  # the first update makes the weights the predictor's own: the assistant comes anew
    assert np.array_equal(np.float32(bits), alone.observe_many(tokens))
    assert predictor.predict().tobytes() == alone.predict().tobytes()
    for name, weight in alone.weights().items():
        assert weight.tobytes() == predictor.weights()[name].tobytes()


def test_it_follows_a_predictor_whose_arrays_change():
    predictor, tokens = random_predictor(Config(64, 2, 8), Vocabulary.bytes(), memory=True), random_tokens(30, 256)
    alone, helped = predictor.fork(), 0
    with predictor.assisted():
        for change in ("nothing", "freeze", "reset", "fork and learn", "fork"):
            for each in (predictor, alone):
                each.learning = "learn" in change or change == "nothing"
                if change == "reset":
                    each.reset()
            twin = predictor.fork() if "fork" in change else predictor
            for token in tokens:
                wait_at(predictor._marks)
                assert predictor.observe(int(token)) == alone.observe(int(token)), change
                helped += predictor._marks[CALLER] > 0
            assert twin._marks.size == (0 if "fork" in change else WORDS)
    assert helped > 100
    assert predictor._marks.size == 0
    assert predictor.observe(3) == alone.observe(3)


def test_without_two_cores_or_with_a_small_net_nothing_happens(monkeypatch):
    wait_until_none_is_left()
    predictor = StreamPredictor(config=Config(32, 1))
    monkeypatch.setattr(assistant, "LEAST_READ", {False: 10**6, True: 10**6})
    with predictor.assisted():
        assert n_assistants() == predictor._marks.size == 0
    monkeypatch.undo()
    monkeypatch.setattr(assistant, "n_cores", lambda: 1)
    with StreamPredictor.pretrained().assisted():
        assert n_assistants() == 0


def test_a_container_may_use_as_many_cores_as_its_quota_says(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(assistant, "QUOTA", tmp_path / "cpu.max")
    assert assistant.n_cores() >= 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert assistant.n_cores() >= 1
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert assistant.n_cores() == 1


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
    assert predictor._marks.size == 0
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
    with predictor.assisted():
        predictor.observe_many(tokens[:4])
        with monkeypatch.context() as patch:
            patch.setattr(type(predictor._optimizer_state), "copy", lambda state: interrupt())
            with pytest.raises(KeyboardInterrupt):
                predictor.observe(int(tokens[4]))
        assert predictor._theta is twin._theta is predictor._arrays_of_step[0]
        assert predictor._marks is predictor._arrays_of_step[-1]
        predictor.observe(int(tokens[4]))
        assert predictor._theta is predictor._arrays_of_step[0]
        assert predictor._theta is not twin._theta


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("learning", [True, False])
def test_what_was_compressed_alone_two_cores_decompress(monkeypatch, learning):
    predictor, data, met = StreamPredictor(config=Config(64, 2, window=8)), b"to be or not to be, " * 150, []
    predictor.observe_many(data)
    predictor.learning = learning
    data += b"that is the question"

    def decode(*arguments):
        (marks,) = (array for array in arguments if getattr(array, "shape", None) == (WORDS,))
        if len(met) < 20:
            wait_at(marks)
        n = coder_decode(*arguments)
        met.append(marks[CALLER])
        return n

    coder_decode = coder.decode
    monkeypatch.setattr(coder, "decode", decode)
    assert decompress(compress(data, predictor), predictor) == data
    assert all(met[1:20])  # the first call only completes a window


def with_marks():
    """A predictor that looks for an assistant, which does not exist, and its fork."""
    predictor = random_predictor(Config(32, 2), Vocabulary.bytes())
    alone = predictor.fork()
    with predictor.assisted():
        step = predictor._step
    predictor._set_marks(WORDS)
    predictor._step = step
    return predictor, alone


def test_where_nobody_waits_the_step_is_made_alone():
    predictor, alone = with_marks()
    assert predictor.observe(7) == alone.observe(7)
    assert predictor.predict().tobytes() == alone.predict().tobytes()


@numba.njit(nogil=True)
def come_late(theta, tape, tokens, layout, marks):
    half_step(theta, tape, tokens, layout, marks[FIRST], marks, True)


def test_whoever_lets_the_other_wait_is_left_alone_for_a_while():
    predictor, alone = with_marks()
    come_late(*_idle(predictor))  # compiles it
    arrays, marks = predictor._arrays_of_step, predictor._marks
    marks[STATE] = READY
    late = threading.Timer(0.3, lambda: come_late(*arrays))
    late.start()
    assert predictor.observe(7) == alone.observe(7)  # it waits: it has called
    late.join()
    assert marks[ALONE] == assistant.SHORTEST_PAUSE
    assert marks[STATE] == AWAY
    came = int(marks[CALLER])
    for token in random_tokens(10, 256):
        assert predictor.observe(int(token)) == alone.observe(int(token))
    assert marks[CALLER] == came


def _idle(predictor):
    """Arrays of a step for an assistant that never has to wait."""
    marks = np.zeros(WORDS, dtype=np.int64)
    marks[CALLER] = 10**6
    return *predictor.fork()._arrays_of_step[:-1], marks


def windows_alone(slower, n=4000):
    """How many of n windows the caller makes alone if those with the assistant take `slower` times as long."""
    trial, marks, n_alone = assistant.Trial(), np.zeros(WORDS, dtype=np.int64), 0
    for _ in range(n):
        is_alone = bool(marks[ALONE] > 0)
        trial.note(marks, not is_alone, 1.0 if is_alone else slower)
        marks[ALONE] = max(0, marks[ALONE] - 32)  # the steps of a window
        n_alone += is_alone
    return n_alone


def test_an_assistant_that_makes_windows_slower_is_sent_away_and_one_that_helps_is_kept():
    assert windows_alone(0.9) < 200
    assert windows_alone(2.0) > 3000
