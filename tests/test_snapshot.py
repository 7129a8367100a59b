"""Snapshots: after `restore` a predictor gives the same bits as if it had read nothing since."""

import subprocess
import sys

import numpy as np
import pytest
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor
from streamlstm.memory.overlay import N_OWN
from streamlstm.predictor.snapshot import Snapshot

SMALL = Config(hidden=16, layers=1, window=8, memory_bits=10)  # so small that pages are replaced
CONFIGS = [Config(hidden=16, layers=1, window=8, memory=False), SMALL]


def fresh(config):
    predictor = StreamPredictor(config=config)
    predictor.observe_many(text(700))
    return predictor


def assert_equal(one, other, n=300):
    """Both predict the same, learn the same from n symbols, and have the same checkpoint."""
    assert np.array_equal(one.predict(), other.predict())
    assert one.n_symbols == other.n_symbols
    assert one.learning == other.learning
    assert np.array_equal(one.observe_many(text(n)), other.observe_many(text(n)))
    (arrays, values), (expected, expected_values) = one.to_checkpoint(), other.to_checkpoint()
    assert values == expected_values
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(array, expected[name]) for name, array in arrays.items())


MOVES = ["read", "update", "restore", "freeze", "learn", "fork", "become a fork", "reset"]


@settings(max_examples=40)
@given(moves=st.lists(st.sampled_from(MOVES), max_size=12), which=st.integers(0, 1))
def test_whatever_happens_the_predictor_is_restored_to_what_it_was(moves, which):
    predictor, twin = fresh(CONFIGS[which]), fresh(CONFIGS[which])
    snapshot, expected, forks, n = Snapshot(predictor), twin.fork(), [], 0
    for move in [*moves, "restore"]:
        if move == "read":
            n += 1
            data = f"line {n} of {n * n}\n".encode()
            assert np.array_equal(predictor.observe_many(data), twin.observe_many(data))
        elif move == "update":
            snapshot.update()
            expected = twin.fork()
        elif move == "restore":
            snapshot.restore()
            twin = expected.fork()
        elif move == "fork":
            forks.append((predictor.fork(), twin.fork()))
        elif move == "become a fork":
            forks.append((predictor, twin))
            predictor, twin = predictor.fork(), twin.fork()
            snapshot, expected = Snapshot(predictor), twin.fork()
        elif move == "reset":
            predictor.reset()
            twin.reset()
        else:
            predictor.learning = twin.learning = move == "learn"
    assert_equal(predictor, twin)
    for one, other in forks:
        assert_equal(one, other)


def overlay_of(predictor):
    return predictor._stream.memory.arrays().overlay


def test_an_update_adopts_what_has_changed_and_a_restore_drops_it():
    predictor = fresh(SMALL)
    table, snapshot = predictor._stream.memory._arrays.table, Snapshot(predictor)
    for after in (snapshot.update, snapshot.restore):
        predictor.observe_many(b"x")
        assert 0 < overlay_of(predictor)[N_OWN] < 100
        after()
        assert overlay_of(predictor)[N_OWN] == 0
    assert predictor._stream.memory._arrays.table is table


def test_the_history_is_restored_where_the_ring_was_overwritten():
    config = Config(hidden=16, layers=1, window=8, memory_bits=10)
    predictor = StreamPredictor(config=config)
    snapshot, before = Snapshot(predictor), predictor.to_checkpoint(whole=True)[0]["memory.state"].copy()
    memory = predictor._stream._parts.memory
    memory.arrays().history[:] = np.arange(len(memory.arrays().history)) % 256
    expected = memory.arrays().history.copy()
    predictor.observe_many(text(700))
    assert not np.array_equal(predictor._stream._parts.memory._arrays.history, expected)
    snapshot.restore()
    assert np.array_equal(predictor._stream._parts.memory._arrays.history, expected)
    assert np.array_equal(predictor.to_checkpoint(whole=True)[0]["memory.state"], before)


def test_older_snapshots_stay_what_they_are():
    predictor, twins, snapshots = fresh(SMALL), [], []
    for _ in range(3):
        predictor.observe_many(b"something else")
        snapshots.append(Snapshot(predictor))
        twins.append(predictor.fork())
    for at in (1, 2, 0, 1):
        snapshots[at].restore()
        assert_equal(predictor, twins[at].fork())


def test_what_has_changed_returns_to_the_table_once_the_snapshot_is_dropped():
    predictor = fresh(SMALL)
    snapshot = Snapshot(predictor)
    predictor.observe(b"x")
    assert overlay_of(predictor).size
    del snapshot
    predictor.observe(b"x")
    assert not overlay_of(predictor).size


class Interrupt:
    """Raises KeyboardInterrupt before the n-th line of Python code in the package."""

    def __init__(self, n):
        self.left = n

    def __enter__(self):
        sys.settrace(self._trace)

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, frame, event, _):
        if "streamlstm" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._trace


def interrupted(action, n):
    """Whether the action was interrupted before its n-th line."""
    try:
        with Interrupt(n):
            action()
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.parametrize("with_fork", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_an_interrupt_leaves_the_predictor_before_or_after_a_restore(config, with_fork):
    first, n, seen = fresh(config), 1, set()
    while n:
        predictor, old, new = first.fork(), first.fork(), first.fork()
        snapshot = Snapshot(predictor)
        for one in (predictor, new):
            one.observe_many(b"line 2 of 4\n")
        forks = [predictor.fork()] if with_fork else []
        was_interrupted = interrupted(snapshot.restore, n)
        is_restored = predictor.n_symbols == old.n_symbols
        assert_equal(predictor, old if is_restored else new, n=20)
        snapshot.restore()
        assert_equal(predictor, first.fork(), n=20)
        for fork in forks:
            assert fork.n_symbols == 712
        seen.add(is_restored)
        n = n + 1 if was_interrupted else 0
    assert seen == {False, True}


@pytest.mark.parametrize("config", CONFIGS)
def test_an_interrupt_leaves_the_old_or_the_new_snapshot_after_an_update(config):
    first, n, seen = fresh(config), 1, set()
    while n:
        predictor, twin = first.fork(), first.fork()
        snapshot, old = Snapshot(predictor), twin.fork()
        for one in (predictor, twin):
            one.observe_many(b"line 2 of 4\n")
        new = twin.fork()
        was_interrupted = interrupted(snapshot.update, n)
        predictor.observe_many(b"and more\n")
        snapshot.restore()
        is_new = predictor.n_symbols == new.n_symbols
        assert_equal(predictor, (new if is_new else old).fork(), n=20)
        seen.add(is_new)
        n = n + 1 if was_interrupted else 0
    assert seen == {False, True}


RESIDENT = """
from pathlib import Path
from streamlstm import Config, StreamPredictor
from streamlstm.predictor.snapshot import Snapshot

def resident_pages():
    return int(Path("/proc/self/statm").read_text().split()[1])

predictor = StreamPredictor(config=Config(hidden=16, layers=1, window=8, memory_bits=21))
fork = predictor.fork()
predictor.observe_many(b"a line that the predictor learns, but not its fork\\n")
Snapshot(predictor)  # copies the table, so that all of it is resident
before = resident_pages()
snapshot = Snapshot(predictor)
for n in range(20):
    predictor.observe_many(b"line %d of the log\\n" % n)
    if n % 2:
        snapshot.restore()
    snapshot.update()
print((resident_pages() - before) * 4096)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_snapshot_of_a_memory_takes_a_small_part_of_its_size():
    command = [sys.executable, "-c", RESIDENT]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 2**21 * 64 / 4
