"""A second core that makes half of each step."""

import threading
import time

import numba
import numpy as np
import pytest
from nets import random_predictor, random_tokens

from streamlstm import Config, StreamPredictor, Vocabulary, assistant
from streamlstm.assistant import ALONE, ASSISTANT, AWAY, CALLER, FIRST, READY, STATE, WORDS, half_step

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


def wait_for(predictor):
    """Until the assistant is there."""
    while predictor._marks[STATE] != READY:
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
            wait_for(predictor)
            bits.append(predictor.observe(int(token)))
            assert predictor._marks[ASSISTANT] == predictor._marks[CALLER]
            helped += predictor._marks[CALLER] > 0
    assert helped >= 19  # the first update makes the weights the predictor's own: the assistant comes anew
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
                wait_for(predictor)
                assert predictor.observe(int(token)) == alone.observe(int(token)), change
                helped += predictor._marks[CALLER] > 0
            assert twin._marks.size == (0 if "fork" in change else WORDS)
    assert helped > 100
    assert predictor._marks.size == 0
    assert predictor.observe(3) == alone.observe(3)


def test_without_two_cores_or_with_a_small_net_nothing_happens(monkeypatch):
    predictor, n_threads = StreamPredictor(config=Config(32, 1)), threading.active_count()
    monkeypatch.setattr(assistant, "LEAST_READ", {False: 10**6, True: 10**6})
    with predictor.assisted():
        assert threading.active_count() == n_threads
        assert predictor._marks.size == 0
    monkeypatch.undo()
    monkeypatch.setattr(assistant, "n_cores", lambda: 1)
    with StreamPredictor.pretrained().assisted():
        assert threading.active_count() == n_threads


def test_it_ends_with_the_block_even_after_an_error_and_may_be_asked_for_twice():
    predictor, n_threads = random_predictor(Config(32, 1)), threading.active_count()

    def fail():
        with predictor.assisted(), predictor.assisted():
            assert threading.active_count() == n_threads + 1
            predictor.observe("a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert threading.active_count() == n_threads
    assert predictor._marks.size == 0


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
    arrays, marks = predictor._of_step, predictor._marks
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
    return *predictor.fork()._of_step[:-1], marks
