"""Forks share pages until they change: the bits are those of a predictor that shares nothing."""

import pickle
import time

import numba
import numpy as np
import pytest
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor
from streamlstm.jit.lanes import word
from streamlstm.kernels.arrays import PAGE
from streamlstm.memory import overlay as ov
from streamlstm.memory.memory import FIRST_SLOTS

SHAPE = Config(hidden=16, layers=1, window=8, memory_bits=14)


def fresh(n=400, learn="all", config=SHAPE):
    predictor = StreamPredictor(config=config)
    predictor.learn = learn
    predictor.observe_many(text(n))
    return predictor


def alone(predictor):
    """An equal predictor that shares nothing."""
    return pickle.loads(pickle.dumps(predictor))


def overlay_of(predictor):
    return predictor._stream.memory._arrays.overlay


def assert_same(one, other):
    (arrays, values), (expected, expected_values) = one.to_checkpoint(), other.to_checkpoint()
    assert values == expected_values
    assert all(np.array_equal(array, expected[name]) for name, array in arrays.items())


def test_a_fork_and_its_parent_copy_only_what_they_change():
    parent = fresh()
    expected = alone(parent)
    fork = parent.fork()
    for reader, other in ((fork, alone(expected)), (parent, expected)):
        assert np.array_equal(reader.observe_many(text(40)), other.observe_many(text(40)))
        assert 0 < overlay_of(reader)[ov.N_OWN] <= FIRST_SLOTS
        assert_same(reader, other)
    assert parent._stream.memory._arrays.table is fork._stream.memory._arrays.table


def test_an_overlay_grows_and_gives_way_to_arrays_of_its_own():
    parent = fresh()
    reader, expected = parent.fork(), alone(parent)
    sizes = []
    for n in range(12):
        part = text(60 + n)
        assert np.array_equal(reader.observe_many(part), expected.observe_many(part))
        sizes.append(int(overlay_of(reader)[ov.N_SLOTS]) if overlay_of(reader).size else 0)
    assert FIRST_SLOTS in sizes
    assert sizes[-1] in (0, max(sizes))
    assert_same(reader, expected)


def test_without_forks_the_pages_return_to_the_shared_arrays():
    parent = fresh()
    expected = alone(parent)
    fork = parent.fork()
    parent.observe_many(text(50))
    expected.observe_many(text(50))
    assert overlay_of(parent).size
    del fork
    parent.observe_many(text(50))
    expected.observe_many(text(50))
    assert not overlay_of(parent).size
    assert_same(parent, expected)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_family_of_forks_gives_the_bits_of_predictors_that_share_nothing(data):
    family = [(predictor := fresh(100), alone(predictor))]
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(family) - 1))
        reader, expected = family[at]
        move = data.draw(st.sampled_from(["read", "read", "fork", "drop", "learn", "save", "reset"]))
        if move == "read":
            part = text(data.draw(st.integers(1, 120)))
            assert np.array_equal(reader.observe_many(part), expected.observe_many(part))
        elif move == "fork":
            family.append((reader.fork(), alone(expected)))
        elif move == "drop" and len(family) > 1:
            del family[at]
        elif move == "learn":
            reader.learn = expected.learn = data.draw(st.sampled_from(["all", "memory", "nothing"]))
        elif move == "save":
            assert_same(reader, expected)
        elif move == "reset":
            reader.reset()
            expected.reset()
    for reader, expected in family:
        assert_same(reader, expected)


@numba.njit(error_model="numpy", _nrt=False)
def touched(overlay, array, number):
    """The first word of a page, which is written to."""
    return word(ov.writable(overlay, array, 0, number * PAGE), 0)


@numba.njit(error_model="numpy", _nrt=False)
def looked_up(overlay, array, number):
    """The slot of a page and its first word."""
    return ov.slot_of(overlay, number), word(ov.readable(overlay, array, 0, number * PAGE), 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=300), st.integers(2, 20))
def test_the_index_finds_each_page_in_use_and_no_other(numbers, n_pairs):
    array = np.arange(201 * PAGE, dtype=np.int32)
    overlay = ov.new_overlay(2 * n_pairs, -1)
    for number in numbers:
        assert touched(overlay, array, number) == number * PAGE
    found, pages, uses = ov.parts(overlay)
    assert len(set(found.tolist())) == len(found) == min(2 * n_pairs, len(set(numbers)))
    assert found[0] in numbers
    assert uses.min() >= 0
    for number in range(201):
        slot, word = looked_up(overlay, array, number)
        assert (slot >= 0) == (number in found.tolist())
        assert slot < 0 or found[slot] == number
        assert word == number * PAGE
    assert np.array_equal(pages[:, 0], found * PAGE)


def test_the_first_symbol_after_a_fork_takes_little_time():
    parent = StreamPredictor.pretrained()
    parent.observe_many(b"so that there is something to share. " * 20)
    parent.fork().observe("a")
    seconds = []
    for _ in range(60):
        start = time.perf_counter()
        parent.fork().observe("a")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.002  # 0.1 ms on a quiet machine, 30 ms if the table were copied


# What learns


def test_learn_says_what_learns():
    predictor = fresh(200)
    weights, n = predictor.weights(), predictor._stream.memory._arrays.state[1]
    predictor.learn = "memory"
    predictor.observe_many(text(100))
    assert all(np.array_equal(weights[name], weight) for name, weight in predictor.weights().items())
    assert predictor._stream.memory._arrays.state[1] == n + 100
    assert predictor.learning
    predictor.learn = "nothing"
    predictor.observe_many(text(100))
    assert predictor._stream.memory._arrays.state[1] == n + 100
    assert not predictor.learning
    predictor.learning = True
    assert predictor.learn == "all"
    predictor.observe_many(text(100))
    assert not np.array_equal(weights["bias_out"], predictor.weights()["bias_out"])


def test_forks_with_a_learning_memory_share_the_weights():
    parent = fresh(learn="memory")
    fork = parent.fork()
    fork.observe_many(text(100))
    assert fork.learn == "memory"
    assert fork._stream.weights.theta is parent._stream.weights.theta


@pytest.mark.parametrize("learn", ["all", "memory", "nothing"])
def test_what_learns_is_saved(tmp_path, learn):
    predictor = fresh(learn=learn)
    predictor.save(tmp_path / "m")
    loaded = StreamPredictor.load(tmp_path / "m")
    assert loaded.learn == learn
    assert np.array_equal(loaded.observe_many(text(200)), predictor.observe_many(text(200)))
    assert_same(loaded, predictor)


def test_bad_values_of_learn_are_refused():
    with pytest.raises(ValueError, match="must be 'all', 'memory' or 'nothing', not 'everything'"):
        fresh().learn = "everything"
    network = StreamPredictor(config=Config(hidden=8, layers=1, memory=False))
    with pytest.raises(ValueError, match="without a memory"):
        network.learn = "memory"
    network.learn = "nothing"
