"""Numbers from files: whatever single words and neighbouring words are, a file is refused or read safely."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import stored_words
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_words import KINDS, Case, mixed_text, run_case

from streamlstm import Config, StreamPool, StreamPredictor, Vocabulary
from streamlstm.checkpoint import parse_checkpoint, read_checkpoint, write_checkpoint
from streamlstm.memory import layout
from streamlstm.memory import text as brackets
from streamlstm.memory.counts import MOST_COUNTED
from streamlstm.memory.experts import EXTRA_LIMIT, ORDER_LIMIT
from streamlstm.ranges import check_ranges

N_CASES = {"model": 120, "snapshot": 60, "resume": 60, "watcher": 40}
"""How many random cases each kind of file gets; `python tests/stored_words.py` tries as many as there is time for."""


@pytest.fixture(scope="module")
def seeds():
    return {name: kind.seeds() for name, kind in KINDS.items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_with_other_words_is_refused_or_reads_a_long_text(seeds, name):
    draw, outcomes = random.Random(name), set()
    for _ in range(N_CASES[name]):
        seed = draw.choice(seeds[name])
        outcomes.add(run_case(KINDS[name], seed, stored_words.random_case(seed[0], draw)))
    assert {"refused", "read"} <= outcomes


FOUND = [
    ("model", 0, Case("memory.state", {layout.OPEN: brackets.QUOTE, layout.DEPTH: 0}), "refused"),
    ("model", 0, Case("memory.state", {layout.OPEN + 1: 1}), "refused"),
    (
        "model",
        0,
        Case("memory.weights", {layout.CURVATURE: -2.0}),
        "refused",
    ),  # a pivot of 0: no number is one any more
    ("model", 0, Case("memory.weights", {layout.EXPERT_WEIGHTS: 3e38}), "refused"),
    ("snapshot", 0, Case("memory.state", {layout.OPEN: brackets.TAG}), "refused"),
    ("model", 1, Case("optimizer.0.bias_l0", {2: 3.4e38}), "refused"),  # divided by 1 - 0.999**k it is infinite
    ("snapshot", 2, Case("slots", {0: -1.0}), "refused"),  # it has no root
    ("snapshot", 2, Case("theta", {4: 1.0}), "refused"),  # a weight between those of the units
    ("resume", 0, Case("rest.0", {0: 2**28}), "refused"),
    ("resume", 0, Case("rest.0", {0: 257}), "refused"),
    ("resume", 0, Case("rest.0", {0: -1}), "refused"),
    ("resume", 0, Case("rest.0", {0: 256}), "read"),  # the begin-of-stream symbol
    ("resume", 0, Case("slots", {0: -1e19}), "refused"),
    ("resume", 0, Case("carried.0", {256 + 8: 1.5}), "refused"),
]
"""Cases that 1.0 read: some ended the process, others left what could not be saved, or lost a part of their state."""


@pytest.mark.parametrize(("name", "index", "case", "expected"), FOUND)
def test_what_was_found_is_refused(seeds, name, index, case, expected):
    assert run_case(KINDS[name], seeds[name][index], case) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_campaign_with_bounds_checks_finds_nothing(name):
    script = Path(stored_words.__file__)
    subprocess.run([sys.executable, script, name, "--seconds", "60"], check=True, env={**os.environ})


@pytest.mark.parametrize("bracket", [brackets.QUOTE, brackets.TAG])
def test_no_kernel_closes_a_bracket_where_none_is_open(bracket):
    predictor = StreamPredictor(config=stored_words.SHAPE)
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
    predictor = StreamPredictor(config=stored_words.SHAPE)
    predictor.observe_many(mixed_text(900))
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
    predictor = StreamPredictor(config=stored_words.SHAPE)
    for name, *options in steps:
        if name == "read":
            predictor.observe_many(mixed_text(options[1], options[0]))
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
        pool.observe("a", mixed_text(300))
        pool.restore("b", pool.snapshot("a"))


# Numbers that are no words of arrays


@pytest.fixture(scope="module")
def model():
    return StreamPredictor(config=stored_words.SHAPE).to_checkpoint()


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
    arrays, values = seeds["resume"][0]
    write_checkpoint(tmp_path / "r", arrays, {**values, key: value})
    with pytest.raises(ValueError, match=r"/r is not a usable training run: "):
        stored_words.trainer().restore(tmp_path / "r")


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
    with StreamPool(StreamPredictor(config=stored_words.SHAPE), threads=1) as pool:
        pool.observe("a", mixed_text(500))
        arrays, _ = parse_checkpoint(pool.snapshot("a"), "", "crc32")
        state = arrays["memory.state"]
        check_ranges(layout.state_ranges(state, 256, 4096), "it")
