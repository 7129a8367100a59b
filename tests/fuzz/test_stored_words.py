"""Numbers from files: whatever single words and neighbouring words are, a file is refused or read safely."""

import random

import models
import numpy as np
import pytest
import saved
from engine import run
from hypothesis import given, settings
from hypothesis import strategies as st
from models import mixed_text
from mutations import parts_of, with_another_word
from saved import MODEL, RESUME, SNAPSHOT, WATCHER

from streamlstm import Config, StreamPool, StreamPredictor, Vocabulary
from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint, read_checkpoint, write_checkpoint
from streamlstm.memory import layout
from streamlstm.memory import text as brackets
from streamlstm.memory.counts import MOST_COUNTED
from streamlstm.memory.experts import EXTRA_LIMIT, ORDER_LIMIT
from streamlstm.ranges import check_ranges

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers are large
TARGETS = {"model": MODEL, "snapshot": SNAPSHOT, "resume": RESUME, "watcher": WATCHER}
N_CASES = {"model": 120, "snapshot": 60, "resume": 60, "watcher": 40}
"""How many random cases each kind of file gets; `python tests/fuzz` tries as many as there is time for."""


@pytest.fixture(scope="module")
def seeds():
    return {name: list(target.seeds()) for name, target in TARGETS.items()}


def checksum_of(name):
    return "crc32" if name == "snapshot" else "sha256"


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_with_other_words_is_refused_or_reads_a_long_text(seeds, name):
    rng, outcomes = random.Random(name), set()
    for _ in range(N_CASES[name]):
        outcomes |= {*run(TARGETS[name], with_another_word(rng, rng.choice(seeds[name]), checksum_of(name)))}
    assert outcomes == {True, False}


OF_BYTES, OF_ADAM = 11, 5
"""Seeds of models."""
OF_COUNTS, OF_NETWORK = 4, 9
"""Seeds of snapshots."""
FOUND = [
    ("model", OF_BYTES, "memory.state", {layout.OPEN: brackets.QUOTE, layout.DEPTH: 0}, False),
    ("model", OF_BYTES, "memory.state", {layout.OPEN + 1: 1}, False),
    ("model", OF_BYTES, "memory.weights", {layout.CURVATURE: -2.0}, False),  # a pivot of 0: no number is one any more
    ("model", OF_BYTES, "memory.weights", {layout.EXPERT_WEIGHTS: 3e38}, False),
    ("snapshot", OF_COUNTS, "memory.state", {layout.OPEN: brackets.TAG}, False),
    ("model", OF_ADAM, "optimizer.0.bias_l0", {2: 3.4e38}, False),  # divided by 1 - 0.999**k it is infinite
    ("snapshot", OF_NETWORK, "slots", {0: -1.0}, False),  # it has no root
    ("snapshot", OF_NETWORK, "theta", {4: 1.0}, False),  # a weight between those of the units
    ("resume", 3, "rest.0", {0: 2**28}, False),
    ("resume", 3, "rest.0", {0: 257}, False),
    ("resume", 3, "rest.0", {0: -1}, False),
    ("resume", 3, "rest.0", {0: 256}, True),  # the begin-of-stream symbol
    ("resume", 3, "slots", {0: -1e19}, False),
    ("resume", 3, "carried.0", {256 + 8: 1.5}, False),
]
"""Words that 1.0 read: some ended the process, others left what could not be saved, or lost a part of their state."""


@pytest.mark.parametrize(("name", "index", "array", "words", "expected"), FOUND)
def test_what_was_found_is_refused(seeds, name, index, array, words, expected):
    arrays, values = parts_of(seeds[name][index], checksum_of(name))
    changed = arrays[array].copy()
    for at, value in words.items():
        changed.flat[at] = value
    assert any(run(TARGETS[name], dump_checkpoint({**arrays, array: changed}, values, checksum_of(name)))) == expected


@pytest.mark.parametrize("bracket", [brackets.QUOTE, brackets.TAG])
def test_no_kernel_closes_a_bracket_where_none_is_open(bracket):
    predictor = StreamPredictor(config=models.SHAPE)
    predictor.observe_many(b"a <b>\n")
    state = predictor._stream.memory.arrays().state
    assert state[layout.DEPTH] == 0
    state[layout.OPEN] = bracket  # what a file cannot say any more
    for symbol in b'\n\n"\n>\n<(\n< \n>>\n"':
        predictor.observe(symbol)
        assert state[layout.DEPTH] >= 0


# What is declared


def test_each_word_of_a_state_is_declared_unless_it_is_computed_anew():
    state = np.arange(layout.STATE_SIZE)
    declared = {int(word) for each in layout.state_ranges(state, 256, 4096) for word in np.ravel(each.numbers)}
    assert declared == set(state.tolist()) - set(state[layout.COMPUTED].tolist())


def test_each_weight_of_a_mixture_is_declared():
    weights = np.arange(layout.weights_size(256), dtype=np.float32)
    *declared, eigenvalues = layout.weight_ranges(weights, 256)
    assert len(np.ravel(eigenvalues.numbers)) == layout.N_EXPERTS
    assert np.array_equal(np.concatenate([np.ravel(each.numbers) for each in declared]), weights)


def test_the_bounds_that_are_declared_are_those_of_the_kernels():
    assert layout.LAST_KIND == brackets.CLOSING + brackets.CURLY
    assert layout.N_BRACKETS == brackets.QUOTE + 1
    assert max(ORDER_LIMIT, EXTRA_LIMIT) == MOST_COUNTED


@pytest.mark.parametrize("declared", [layout.state_ranges, layout.weight_ranges])
def test_a_word_on_either_side_of_each_bound_is_refused(declared):
    predictor = StreamPredictor(config=models.SHAPE)
    predictor.observe_many(mixed_text(b"")[:900])
    arrays, _ = predictor.to_checkpoint()
    is_state = declared is layout.state_ranges
    array = arrays["memory.state" if is_state else "memory.weights"].copy()
    options = (256, 4096) if is_state else (256,)
    check_ranges(declared(array, *options), "it")
    for each in declared(array, *options):
        numbers = np.atleast_1d(each.numbers)
        if not np.shares_memory(numbers, array):
            continue  # a copy; see `test_a_file_with_other_words_is_refused_or_reads_a_long_text`
        before = numbers.flat[0]
        for beyond in (each.least - 1, each.most + 1):
            numbers.flat[0] = beyond if is_state else np.nextafter(np.float32(beyond), np.float32(2 * beyond))
            with pytest.raises(ValueError, match="it: "):
                check_ranges(declared(array, *options), "it")
        numbers.flat[0] = before


REPEATED = [b"(", b"<", b"\n", b'"', b"</a>", b"a,", b">", b"</"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 2**32), st.integers(1, 400)),
        st.tuples(st.just("repeat"), st.sampled_from(REPEATED), st.integers(1, 300)),
        st.tuples(st.just("learn"), st.sampled_from(["all", "memory", "nothing"])),
        st.tuples(st.sampled_from(["reset", "fork", "load"])),
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=40)
@given(STEPS)
def test_what_a_predictor_saves_is_in_range_whatever_it_has_read(steps):
    predictor = StreamPredictor(config=models.SHAPE)
    for name, *options in steps:
        if name == "read":
            predictor.observe_many(mixed_text(b"%d" % options[0])[: options[1]])
        elif name == "repeat":
            predictor.observe_many(options[0] * options[1])
        elif name == "learn":
            predictor.learn = options[0]
        elif name == "reset":
            predictor.reset()
        elif name == "fork":
            twin, predictor = predictor, predictor.fork()
            twin.observe_many(b"its own")
        predictor = StreamPredictor.from_checkpoint(*predictor.to_checkpoint()) if name == "load" else predictor
    StreamPredictor.from_checkpoint(*predictor.to_checkpoint())
    with StreamPool(predictor, max_pages=64, threads=1) as pool:
        pool.observe("a", mixed_text(b"")[:300])
        pool.restore("b", pool.snapshot("a"))


# Numbers that are no words of arrays


@pytest.fixture(scope="module")
def model():
    return StreamPredictor(config=models.SHAPE).to_checkpoint()


HUGE = 10**400


@pytest.mark.parametrize(("key", "value"), [
    *[("optimizer", {name: HUGE}) for name in ("lr", "half_life", "clip", "candidate", "output", "l2", "epsilon")],
    *[("optimizer", {"surprisals": sums}) for sums in ([HUGE, 1], [1, 1e308], [0, 1], [np.nan, 1], ["1", 1], None)],
    *[("optimizer", {"powers": powers}) for powers in ([HUGE, 1], [0.5], [-1, 0], [np.nan, 0], [None, 0], 0.5)],
    *[("optimizer", {"n_steps": n_steps}) for n_steps in (HUGE, -1, 1.0, True)],
    *[("n_symbols", value) for value in (HUGE, -1, 1.0, True, None)],
    *[("config", {name: value}) for name in ("hidden", "layers", "window", "memory_bits") for value in (HUGE, -1, 4.0)],
])  # fmt: skip
def test_a_model_with_an_impossible_value_is_refused(model, tmp_path, key, value):
    arrays, values = model
    value = {**values[key], **value} if isinstance(value, dict) else value
    write_checkpoint(tmp_path / "m", arrays, {**values, key: value})
    with pytest.raises(ValueError, match=r"/m is not a usable model: "):
        StreamPredictor.load(tmp_path / "m")


@pytest.mark.parametrize(("key", "value"), [
    *[("step", value) for value in (-1, 1.0, True, HUGE)],
    *[("position", {"epoch": value, "next": 0}) for value in (-1, 0.0, HUGE, None)],
    *[("position", {"epoch": 0, "next": value}) for value in (-1, 1.0, True, HUGE)],
])  # fmt: skip
def test_a_training_run_with_an_impossible_value_is_refused(seeds, tmp_path, key, value):
    arrays, values = parts_of(seeds["resume"][0], "sha256")
    write_checkpoint(tmp_path / "r", arrays, {**values, key: value})
    with pytest.raises(ValueError, match=r"/r is not a usable training run: "):
        saved.trainer().restore(tmp_path / "r")


def test_an_error_names_the_file_the_number_and_what_it_may_be(tmp_path):
    predictor = StreamPredictor(Vocabulary.from_text("abc"), Config(hidden=4, layers=1, memory_bits=10))
    predictor.observe_many("abcabc" * 9)
    predictor.save(tmp_path / "m")
    arrays, values = read_checkpoint(tmp_path / "m")
    arrays["memory.state"] = arrays["memory.state"].copy()
    arrays["memory.state"][layout.RECENT] = 3
    write_checkpoint(tmp_path / "m", arrays, values)
    problem = "its memory contains an out-of-range index or count: RECENT is 3, where it must be from -1 to 2"
    with pytest.raises(ValueError, match=f"^{tmp_path}/m is not a usable model: {problem}$"):
        StreamPredictor.load(tmp_path / "m")


def test_a_snapshot_of_a_stream_is_checked_as_a_model_is():
    with StreamPool(StreamPredictor(config=models.SHAPE), threads=1) as pool:
        pool.observe("a", mixed_text(b"")[:500])
        arrays, _ = parse_checkpoint(pool.snapshot("a"), "", "crc32")
        state = arrays["memory.state"]
        check_ranges(layout.state_ranges(state, 256, 4096), "it")
