"""A second core that makes half of what the kernels do."""

import os
import threading
import time

import numba
import numpy as np
import pytest
from nets import random_predictor, random_tokens

from streamlstm import SGD, Adam, Config, RMSprop, StreamPredictor, Vocabulary
from streamlstm.kernels import assistant, shares
from streamlstm.kernels.assistant import Assistant, Judge
from streamlstm.kernels.network import flow
from streamlstm.kernels.shares import ALONE, ASSISTANT, AWAY, CALLER, COUNT, FROM, READY, SIZE, STATE, leave
from streamlstm.tasks import coder
from streamlstm.tasks.compress import compress, decompress, identity
from streamlstm.tasks.snapshot import Backup

SHAPES = [
    Config(hidden, layers, window=6, connections=connections)
    for hidden, layers in ((24, 1), (40, 2), (96, 3), (128, 1), (160, 2))
    for connections in ("skip", "stacked")
]


@pytest.fixture(autouse=True)
def two_cores_for_any_net(monkeypatch):
    """Small nets are assisted too, and on a machine with one core the two threads take turns."""
    monkeypatch.setattr(assistant, "LEAST_READ", 0)
    monkeypatch.setattr(assistant, "n_cores", lambda: 2)


def wait_at(predictor):
    """Until the assistant is there; a busy machine may have sent it away."""
    started = time.monotonic()
    while predictor._places[STATE] != READY:
        predictor._places[ALONE] = 0
        predictor._assistant._wanted.set()
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
            wait_at(predictor)
            bits.append(predictor.observe(int(token)))
            assert predictor._places[ASSISTANT] == predictor._places[CALLER]
            helped += predictor._places[CALLER] > 0
    assert helped >= 18  # the first update makes the weights the predictor's own: the assistant comes anew
    assert np.array_equal(np.float32(bits), alone.observe_many(tokens))
    assert_alike(predictor, alone)


@pytest.mark.parametrize("optimizer", [SGD(l2=1e-3), RMSprop(), Adam(clip=0.1, candidate_lr_scale=0.5)], ids=str)
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_known_text_and_updates_too(config, optimizer):
    predictor, tokens = StreamPredictor(config=config, optimizer=optimizer), random_tokens(198, 256)
    alone = StreamPredictor(config=config, optimizer=optimizer)

    def both(take):
        """Let both predictors do the same; returns whether the assistant, which is waited for, was still there."""
        wait_at(predictor)
        n_meetings = predictor._places[CALLER]
        assert np.array_equal(take(predictor), take(alone))
        return predictor._places[CALLER] > n_meetings

    with predictor.assisted():
        parts = np.split(tokens, [6, 7, 50, 90, 98])
        assert sum(both(lambda each, part=part: each.observe_many(part)) for part in parts) >= 2
        n_updates_helped = 0
        for _ in range(4):
            assert predictor._filled == predictor._window
            n_updates_helped += both(lambda each: each._learn(65))
            both(lambda each: each.observe_many(tokens[:6]))
        assert n_updates_helped >= 1
        predictor.learning = alone.learning = False
        parts = np.split(tokens, [1, 80, 81])
        assert sum(both(lambda each, part=part: each.observe_many(part)) for part in parts) >= 1
        assert predictor.fork().observe_many(tokens[:50]).tobytes() == alone.fork().observe_many(tokens[:50]).tobytes()
    assert_alike(predictor, alone)


def test_an_update_that_diverges_leaves_the_weights(tmp_path):
    predictor, tokens = StreamPredictor(config=Config(64, 2, 8), optimizer=SGD(lr=1.0)), random_tokens(9, 256)
    with predictor.assisted():
        wait_at(predictor)
        predictor.observe_many(tokens[:8])
        predictor._theta[: predictor._layout.output] = 1e30
        before = predictor._theta.copy()
        predictor._tape[predictor._record : predictor._record + 64] = np.float32(1e38)
        wait_at(predictor)
        with pytest.raises(FloatingPointError, match="learning diverged"):
            predictor.observe(int(tokens[8]))
        assert np.array_equal(predictor._theta, before)


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
                wait_at(predictor)
                assert predictor.observe(int(token)) == alone.observe(int(token)), change
                helped += predictor._places[CALLER] > 0
            assert (len(twin._places) == SIZE) == ("fork" not in change)
            predictor.save(tmp_path / "model")
            loaded = StreamPredictor.load(tmp_path / "model")
            assert loaded.predict().tobytes() == alone.predict().tobytes()
            assert loaded.observe(3) == alone.fork().observe(3)
    assert helped > 100
    assert len(predictor._places) < SIZE
    assert predictor.observe(3) == alone.observe(3)


def test_a_backup_goes_back_whether_or_not_it_is_assisted():
    predictor, tokens = random_predictor(Config(64, 2, 8), Vocabulary.bytes()), random_tokens(100, 256)
    for learning in (True, False):
        predictor.learning = learning
        with predictor.assisted():
            predictor.observe_many(tokens[:50])
            backup, expected = Backup(predictor), predictor.fork().observe_many(tokens[50:])
            wait_at(predictor)
            assert predictor.observe_many(tokens[50:]).tobytes() == expected.tobytes()
            backup.go_back()
            assert predictor.observe_many(tokens[50:]).tobytes() == expected.tobytes()
            backup.go_back()
        assert predictor.observe_many(tokens[50:]).tobytes() == expected.tobytes()


def test_without_two_cores_or_with_a_small_net_nothing_happens(monkeypatch):
    wait_until_none_is_left()
    predictor = StreamPredictor(config=Config(32, 1))
    monkeypatch.setattr(assistant, "LEAST_READ", 10**6)
    with predictor.assisted():
        assert n_assistants() == 0
        assert len(predictor._places) < SIZE
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
    assert len(predictor._places) < SIZE
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
        assert predictor._theta is twin._theta is predictor._assistant._arrays[0]
        assert predictor._places is predictor._assistant._arrays[-1]
        predictor.observe(int(tokens[4]))
        assert predictor._theta is predictor._assistant._arrays[0]
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
        (layout,) = (array for array in arguments if getattr(array, "shape", None) == (SIZE,))
        if len(met) < 20:
            wait_at(helped[0])
        n = coder_decode(*arguments)
        met.append(layout[CALLER])
        return n

    def take(predictor, helper):
        helped.append(predictor)
        take_assistant(predictor, helper)

    coder_decode, take_assistant, helped = coder.decode, StreamPredictor._take_assistant, []
    monkeypatch.setattr(coder, "decode", decode)
    monkeypatch.setattr(StreamPredictor, "_take_assistant", take)
    assert decompress(compress(data, predictor), predictor) == data
    assert all(met[1:20])  # the first call only completes a window


def with_marks():
    """A predictor that looks for an assistant, which does not exist, and its fork."""
    predictor = random_predictor(Config(32, 2), Vocabulary.bytes())
    alone = predictor.fork()
    predictor._take_assistant(Assistant())
    return predictor, alone


def test_where_nobody_waits_the_step_is_made_alone():
    predictor, alone = with_marks()
    assert predictor.observe(7) == alone.observe(7)
    assert predictor.predict().tobytes() == alone.predict().tobytes()


@numba.njit(nogil=True)
def come_late(theta, tape, tokens, layout):
    flow(theta, tape, tokens, layout, layout[FROM], layout[COUNT], 1, ASSISTANT)
    leave(layout, ASSISTANT)


def test_whoever_lets_the_other_wait_is_left_alone_for_a_while():
    predictor, alone = with_marks()
    come_late(*_idle(predictor))  # compiles it
    layout = predictor._places
    arrays = predictor._theta, predictor._tape, predictor._tokens, layout
    layout[STATE], layout[ALONE] = READY, 0
    late = threading.Timer(0.3, lambda: come_late(*arrays))
    late.start()
    assert predictor.observe(7) == alone.observe(7)  # it waits: it has called
    late.join()
    assert layout[ALONE] == shares.SHORTEST_PAUSE
    assert layout[STATE] == AWAY
    came = int(layout[CALLER])
    for token in random_tokens(10, 256):
        assert predictor.observe(int(token)) == alone.observe(int(token))
    assert layout[CALLER] == came


def _idle(predictor):
    """Arrays of a step for an assistant that never has to wait."""
    twin = predictor.fork()
    layout = predictor._places.copy()
    layout[CALLER], layout[COUNT] = 10**6, 1
    return twin._theta, twin._tape, twin._tokens, layout


def windows_alone(with_it, n=4000):
    """How many of n windows the caller makes alone where those with the assistant take `with_it` times as long."""
    judge, n_alone = Judge(), 0
    for _ in range(n):
        is_alone = judge.rests
        judge.note(not is_alone, 1.0 if is_alone else with_it)
        n_alone += is_alone
    return n_alone


def test_an_assistant_that_makes_windows_slower_rests_and_one_that_helps_works():
    assert windows_alone(0.7) < 250
    assert windows_alone(1.0) > 3700
    assert windows_alone(2.0) > 3700


def test_one_that_does_not_come_when_it_is_waked_is_not_waited_for_each_time(monkeypatch):
    helper, waits = Assistant(), []
    monkeypatch.setattr(helper._here, "wait", lambda seconds: waits.append(seconds))
    for _ in range(4000):
        helper.note_window()
    assert 1 < len(waits) < 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_process_works_alone():
    predictor, alone = random_predictor(Config(64, 2)), random_predictor(Config(64, 2))
    with predictor.assisted():
        wait_at(predictor)
        child = os.fork()
        if child == 0:  # with the marks as they are, but no thread
            os._exit(predictor.observe_many("abab" * 20).tobytes() != alone.observe_many("abab" * 20).tobytes())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_that_was_left_behind_by_an_interrupt_is_replaced():
    predictor = random_predictor(Config(32, 1))
    predictor._take_assistant(Assistant())
    predictor._assistant.end()
    with predictor.assisted():
        wait_at(predictor)
    assert predictor._assistant is None


def test_to_save_in_the_midst_of_a_step_changes_nothing(tmp_path):
    predictor, tokens = random_predictor(Config(64, 2, 8), Vocabulary.bytes()), random_tokens(100, 256)
    predictor.learning = False
    alone = predictor.fork()
    with predictor.assisted():
        for step in predictor._steps(tokens):
            predictor.save(tmp_path / "model")
            alone.observe_many(tokens[step.start : step.start + step.count])
            assert StreamPredictor.load(tmp_path / "model").predict().tobytes() == alone.predict().tobytes()
            assert identity(predictor) == identity(alone)
