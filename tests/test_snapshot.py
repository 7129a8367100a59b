"""Going back to how a predictor was: the same bits as if nothing had been read since."""

import numpy as np
import pytest
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor
from streamlstm.tasks.snapshot import Backup

CONFIGS = [
    Config(hidden=16, layers=1, window=8, memory=False),
    Config(hidden=16, layers=1, window=8, memory_bits=10),  # so small that pages are replaced
]


def fresh(config):
    predictor = StreamPredictor(config=config)
    predictor.observe_many(text(700))
    return predictor


def assert_alike(one, other):
    """Both predict and learn the same, and remember the same."""
    assert np.array_equal(one.predict(), other.predict())
    assert one.n_symbols == other.n_symbols
    assert np.array_equal(one.observe_many(text(300)), other.observe_many(text(300)))
    if one._memory is not None:
        saved = other._memory.save()
        assert all(np.array_equal(array, saved[name]) for name, array in one._memory.save().items())


@settings(max_examples=25)
@given(
    moves=st.lists(st.sampled_from(["read", "keep", "go back", "freeze", "learn", "fork", "reset"]), max_size=12),
    which=st.integers(0, 1),
)
def test_whatever_happens_the_predictor_is_what_it_was_when_it_was_kept(moves, which):
    predictor, kept = fresh(CONFIGS[which]), fresh(CONFIGS[which])
    now, forks, backup, n = fresh(CONFIGS[which]), [], Backup(predictor), 0
    for move in [*moves, "go back"]:
        if move == "read":
            n += 1
            data = f"line {n} of {n * n}\n".encode()
            assert np.array_equal(predictor.observe_many(data), now.observe_many(data))
        elif move == "keep":
            backup.keep()
            kept = now.fork()
        elif move == "go back":
            backup.go_back()
            now = kept.fork()
        elif move == "fork":
            forks.append((predictor.fork(), now.fork()))
        elif move == "reset":
            predictor.reset()
            now.reset()
        else:
            predictor.learning = now.learning = move == "learn"
    assert_alike(predictor, now)
    for one, other in forks:
        assert_alike(one, other)


@pytest.mark.parametrize("config", CONFIGS)
def test_only_what_changed_is_copied(config):
    predictor = fresh(config)
    backup = Backup(predictor)
    predictor.observe_many(b"x")
    if predictor._memory is not None:
        changed = predictor._memory._changed
        assert 0 < changed[0] < 100
        assert sorted(changed[1 : 1 + changed[0]]) == np.flatnonzero(changed[1 + len(changed) // 2 :]).tolist()
        backup.keep()
        assert changed[0] == 0 == changed[1 + len(changed) // 2 :].max()
