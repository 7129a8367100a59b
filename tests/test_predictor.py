"""What every StreamPredictor promises: the properties P1 to P10 of the design."""

import copy
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from allocation import allocated_by
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor, random_tokens, theta_of, twin_of

import streamlstm
from streamlstm import SGD, Adam, Config, RMSprop, StreamPredictor, Vocabulary
from streamlstm.checkpoint import write_checkpoint
from streamlstm.predictor import KnownTokens
from streamlstm.predictor.predictor import _INSTEAD

SMALL = Config(hidden=12, layers=2, window=5, memory_bits=10)
LETTERS = Vocabulary.from_text("abcdefghij")
with_and_without = pytest.mark.parametrize("memory", [True, False], ids=["memory", "network"])
text = st.text(alphabet="abcdefghij", max_size=60)
all_options = RMSprop(skip_below=3.5, repetition=4.0, pull_back=0.01)
any_optimizer = st.sampled_from([SGD(lr=0.2, momentum=0.5), all_options, Adam()])


def same(a: StreamPredictor, b: StreamPredictor) -> bool:
    """Whether two predictors are equal, bit for bit: distribution, state, weights, optimizer, memory, and all else."""
    (arrays, values), (others, other_values) = a.to_checkpoint(), b.to_checkpoint()
    alike = arrays.keys() == others.keys() and all(np.array_equal(arrays[name], others[name]) for name in arrays)
    return alike and values == other_values and np.array_equal(a.predict(), b.predict())


@with_and_without
@settings(max_examples=40)
@given(text, st.lists(st.integers(0, 60), max_size=5), st.booleans(), any_optimizer)
def test_p1_observe_n_times_is_observe_many_for_every_split(memory, symbols, cuts, learning, optimizer):
    one, many = (
        random_predictor(SMALL, optimizer=optimizer, memory=memory),
        random_predictor(SMALL, optimizer=optimizer, memory=memory),
    )
    one.learning = many.learning = learning
    singly = [one.observe(symbol) for symbol in symbols]
    edges = [0, *sorted(min(cut, len(symbols)) for cut in cuts), len(symbols)]
    blocks = [many.observe_many(symbols[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert np.array_equal(np.array(singly, dtype=np.float32), np.concatenate(blocks))
    assert same(one, many)


@with_and_without
@settings(max_examples=30)
@given(text, text, text)
def test_p2_the_future_changes_nothing_before_it(memory, past, future, other_future):
    a, b = random_predictor(SMALL, memory=memory), random_predictor(SMALL, memory=memory)
    bits_a, bits_b = a.observe_many(past + future), b.observe_many(past + other_future)
    assert np.array_equal(bits_a[: len(past)], bits_b[: len(past)])


@with_and_without
@settings(max_examples=30)
@given(text, st.integers(1, 300))
def test_p3_each_distribution_is_positive_and_sums_to_one(memory, symbols, n_symbols):
    vocabulary = Vocabulary.from_text("".join(map(chr, range(97, 97 + max(n_symbols, 10)))))
    predictor = random_predictor(SMALL, vocabulary, memory=memory)
    for symbol in symbols:
        predictor.observe(symbol)
        p = predictor.predict()
        assert p.shape == (len(vocabulary),)
        assert p.dtype == np.float32
        assert np.all(p > 0)
        assert abs(p.sum(dtype=np.float64) - 1) < 1e-6


def test_p3_holds_when_the_net_is_as_sure_as_it_can_be():
    config = Config(hidden=4, layers=1, window=4, memory=False)
    weights = {name: weight * 0 for name, weight in StreamPredictor(LETTERS, config).weights().items()}
    weights["bias_out"][0] = 1e30
    p = StreamPredictor.from_weights(weights, LETTERS, config).predict()
    assert np.all(p > np.finfo(np.float32).tiny)
    assert p[0] == 1


@with_and_without
@settings(max_examples=30)
@given(text.filter(len))
def test_p4_each_symbol_is_scored_by_the_distribution_held_before_it(memory, symbols):
    predictor = random_predictor(SMALL, optimizer=SGD(lr=5.0), memory=memory)
    for symbol in symbols:
        expected = -np.log2(float(predictor.predict()[LETTERS.encode(symbol)[0]]))
        assert abs(predictor.observe(symbol) - expected) < 1e-5 * max(1, expected)


@with_and_without
@settings(max_examples=30)
@given(text, text, st.booleans())
def test_p6_queries_change_nothing(memory, past, future, learning):
    asked, left_alone = random_predictor(SMALL, memory=memory), random_predictor(SMALL, memory=memory)
    for predictor in (asked, left_alone):
        predictor.learning = learning
        predictor.observe_many(past)
    asked.predict()[:] = 0
    asked.top(3)
    asked.fork().observe_many("abcabcabcabc")
    asked.state[0][:] = 0
    asked.weights()["bias_out"][:] = 0
    asked.describe()
    assert same(asked, left_alone)
    assert np.array_equal(asked.observe_many(future), left_alone.observe_many(future))
    assert same(asked, left_alone)


@with_and_without
@settings(max_examples=30)
@given(text, text, text, st.booleans())
def test_p6_a_fork_and_its_parent_go_their_own_ways(memory, past, left, right, learning):
    def fresh(symbols):
        predictor = random_predictor(SMALL, memory=memory)
        predictor.learning = learning
        predictor.observe_many(symbols)
        return predictor

    parent = fresh(past)
    twin = parent.fork()
    twin.observe_many(left)
    parent.observe_many(right)
    assert same(twin, fresh(past + left))
    assert same(parent, fresh(past + right))


@with_and_without
def test_a_fork_of_a_fork_is_independent_too(memory):
    parent = random_predictor(SMALL, memory=memory)
    child = parent.fork()
    grandchild = child.fork()
    before = theta_of(parent).copy()
    grandchild.observe_many("abcdefghijabcdefghij")
    assert np.array_equal(theta_of(parent), before)
    assert np.array_equal(theta_of(child), before)
    assert not np.array_equal(theta_of(grandchild), before)


@with_and_without
@settings(max_examples=25)
@given(text, text, st.booleans(), any_optimizer)
def test_p8_save_and_load_go_on_as_if_never_stopped(memory, tmp_path_factory, past, future, learning, optimizer):
    path = tmp_path_factory.mktemp("p8") / "model.safetensors"
    stopped, never_stopped = (
        random_predictor(SMALL, optimizer=optimizer, memory=memory),
        random_predictor(SMALL, optimizer=optimizer, memory=memory),
    )
    for predictor in (stopped, never_stopped):
        predictor.learning = learning
        predictor.observe_many(past)
    stopped.save(path)
    loaded = StreamPredictor.load(path)
    assert loaded.learning == learning
    assert loaded.optimizer == optimizer
    for predictor in (stopped, loaded):
        assert same(predictor, never_stopped)
        assert np.array_equal(predictor.observe_many(future), never_stopped.fork().observe_many(future))
    never_stopped.observe_many(future)
    assert same(loaded, never_stopped)


def test_forks_share_the_weights_that_they_go_back_to():
    parent = random_predictor(SMALL, optimizer=all_options)
    first, child = theta_of(parent), parent.fork()
    for predictor in (parent, child):
        predictor.observe_many("abcdefghij" * 2)
    assert child._stream.weights.theta is not parent._stream.weights.theta
    assert child._stream.weights.first is parent._stream.weights.first
    assert np.array_equal(parent._stream.weights.first, first)


def test_beside_a_memory_windows_that_were_predicted_well_are_read_but_not_learned():
    below, window = 3.5, SMALL.window
    predictor = random_predictor(SMALL, optimizer=RMSprop(skip_below=below), memory=True)
    bits = predictor.observe_many("abcdefghij" * 3 + "jiajf" * 6 + "a").reshape(-1)[:60].reshape(-1, window)
    sums = np.zeros(len(bits), dtype=np.float32)
    for column in bits.T:
        sums += column
    is_learned = ~(sums < np.float32(below) * np.float32(window))
    assert 0 < is_learned.sum() < len(bits)
    assert predictor._stream.weights.optimizer.n_steps == is_learned.sum()


def test_a_predictor_that_skips_every_window_reads_like_a_frozen_one():
    skipping = random_predictor(SMALL, optimizer=RMSprop(skip_below=100.0), memory=True)
    frozen, fork = random_predictor(SMALL, memory=False), skipping.fork()
    frozen.learning = False
    for symbol in "abcdefghij" * 3:
        skipping.observe(symbol)
        frozen.observe(symbol)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(skipping.state, frozen.state, strict=True))
    assert skipping.n_symbols == 30
    assert skipping._stream.weights.theta is fork._stream.weights.theta


@with_and_without
@pytest.mark.parametrize("learning", [True, False])
def test_p9_memory_does_not_grow_with_the_stream(memory, learning):
    predictor = random_predictor(SMALL, memory=memory)
    predictor.learning = learning
    symbols = "abcdefghij" * 200
    predictor.observe_many(symbols)

    def observe_ten_times():
        for _ in range(10):
            predictor.observe_many(symbols)

    assert allocated_by(observe_ten_times).kept < 4096


@with_and_without
@pytest.mark.parametrize(
    "wrong",
    ["abcX", "X", "ab\udc80", b"abX", np.array([3, 10]), np.array([0.5]), np.array([-1])]
    + [np.ma.MaskedArray([1, 2 * 10**8], mask=[False, True])],
)
def test_p10_a_bad_input_is_refused_before_anything_changes(memory, wrong):
    predictor, left_alone = random_predictor(SMALL, memory=memory), random_predictor(SMALL, memory=memory)
    with pytest.raises((ValueError, TypeError)):
        predictor.observe_many(wrong)
    assert same(predictor, left_alone)


@with_and_without
def test_learning_that_diverges_is_refused_and_leaves_a_usable_predictor(memory):
    predictor = random_predictor(SMALL, optimizer=SGD(lr=1e38, clip=float("inf")))
    with pytest.raises(FloatingPointError, match="learning rate"):
        predictor.observe_many("abcdefghij" * 20)
    assert abs(predictor.predict().sum() - 1) < 1e-5


def test_a_fresh_net_expects_every_symbol_alike():
    assert np.array_equal(StreamPredictor().predict(), np.full(256, 1 / 256, dtype=np.float32))
    assert StreamPredictor(LETTERS).observe("a") == pytest.approx(np.log2(10))


def without_start(predictor):
    """The predictor's weights without those from the begin-of-stream symbol."""
    return {name: weight for name, weight in predictor.weights().items() if not name.startswith("start_")}


def test_weights_without_a_start_begin_in_the_zero_state_whose_distribution_is_that_of_the_output_bias():
    trained = random_predictor(SMALL)
    predictor = StreamPredictor.from_weights(without_start(trained), LETTERS, trained.config)
    bias = predictor.weights()["bias_out"].astype(np.float64)
    assert np.max(np.abs(predictor.predict() - np.exp(bias) / np.exp(bias).sum())) < 1e-6
    predictor.observe_many("abc")
    predictor.reset()
    assert not any(part.any() for part in predictor.state)


@with_and_without
@pytest.mark.parametrize("connections", ["skip", "stacked"])
def test_a_stream_begins_in_the_state_after_the_begin_of_stream_symbol(memory, connections, tmp_path):
    config = Config(hidden=20, layers=2, window=5, connections=connections, memory_bits=10)
    predictor = random_predictor(config, memory=memory)
    twin = twin_of(predictor)
    assert np.max(np.abs(predictor.state[0] - twin.h[:, :20])) < 1e-6
    assert np.max(np.abs(predictor.state[1] - twin.c[:, :20])) < 1e-6
    assert predictor.state[0].any()
    predictor.save(tmp_path / "model.safetensors")
    assert same(StreamPredictor.load(tmp_path / "model.safetensors"), predictor)
    other = StreamPredictor.from_weights(without_start(predictor), LETTERS, predictor.config)
    assert not np.array_equal(other.predict(), predictor.predict())


def test_learning_lowers_the_surprisal_of_what_repeats():
    predictor = StreamPredictor(LETTERS, Config(hidden=32, layers=1, window=8))
    bits = predictor.observe_many("abcdefghij" * 100)
    assert bits[-50:].mean() < 0.2 < bits[:50].mean()


@with_and_without
def test_a_frozen_predictor_keeps_its_weights(memory):
    predictor = random_predictor(SMALL, memory=memory)
    predictor.learning = False
    before = theta_of(predictor).copy()
    predictor.observe_many("abcdefghij" * 20)
    assert np.array_equal(theta_of(predictor), before)


@with_and_without
def test_switching_learning_keeps_the_context(memory):
    predictor = random_predictor(SMALL, memory=memory)
    predictor.observe_many("abcabca")
    expected = predictor.predict()
    predictor.learning = False
    assert np.array_equal(predictor.predict(), expected)
    predictor.learning = True
    assert np.array_equal(predictor.predict(), expected)


@with_and_without
def test_reset_forgets_the_context_and_keeps_the_weights(memory):
    predictor = random_predictor(SMALL, memory=memory)
    fresh = predictor.predict()
    predictor.learning = False
    predictor.observe_many("abcde")
    assert not np.array_equal(predictor.predict(), fresh)
    predictor.reset()
    assert np.array_equal(predictor.predict(), fresh)
    assert predictor.learning is False


@with_and_without
def test_top_gives_the_most_probable_symbols_first(memory):
    predictor = random_predictor(SMALL, memory=memory)
    p = predictor.predict()
    top = predictor.top(3)
    assert [symbol for symbol, _ in top] == ["abcdefghij"[index] for index in np.argsort(-p)[:3]]
    assert [probability for _, probability in top] == sorted(p.tolist(), reverse=True)[:3]
    assert len(predictor.top(99)) == 10


@with_and_without
def test_trace_says_what_observe_and_top_say(memory):
    traced, asked = random_predictor(SMALL, memory=memory), random_predictor(SMALL, memory=memory)
    symbols = "abcdefghijjihgfedcba" * 3
    trace = traced.trace(symbols, 4)
    for index, symbol in enumerate(symbols):
        p = asked.predict()
        assert trace.ranks[index] == 1 + np.sum(p > p[LETTERS.encode(symbol)[0]])
        assert trace.bits[index] == np.float32(asked.observe(symbol))
        expected = [(LETTERS.encode(guess)[0], np.float32(chance)) for guess, chance in asked.top(4)]
        assert list(zip(trace.next_tokens[index], trace.next_probabilities[index], strict=True)) == expected
    assert same(traced, asked)


@with_and_without
@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("k", [0, 1, 10, 50])
def test_trace_shows_at_most_the_vocabulary(memory, k, learning):
    predictor = random_predictor(SMALL, memory=memory)
    predictor.learning = learning
    assert predictor.trace("abc" * 30, k).next_tokens.shape == (90, min(k, 10))
    assert predictor.trace("", k).next_tokens.shape == (0, min(k, 10))


def test_a_byte_vocabulary_takes_characters_and_bytes():
    a, b = StreamPredictor(config=SMALL), StreamPredictor(config=SMALL)
    total = a.observe("é")
    assert total == b.observe(0xC3) + b.observe(b"\xa9")
    assert same(a, b)
    assert a.observe_many("né").shape == (3,)


@pytest.mark.parametrize("symbol", ["", "ab", b"ab", 256, -1, None, 0.5, ["a"]])
def test_observe_refuses_what_is_not_one_symbol(symbol):
    predictor = StreamPredictor(config=SMALL)
    with pytest.raises((ValueError, TypeError)):
        predictor.observe(symbol)
    assert predictor.n_symbols == 0


def test_weights_come_back_as_they_were_given():
    predictor = random_predictor(SMALL)
    again = StreamPredictor.from_weights(predictor.weights(), LETTERS, SMALL)
    assert np.array_equal(theta_of(again), theta_of(predictor))


def test_weights_that_do_not_fit_are_refused_by_name():
    weights = random_predictor(SMALL).weights()
    missing = {name: weight for name, weight in weights.items() if name != "weight_hh_l1"}
    with pytest.raises(ValueError, match="weight_hh_l1"):
        StreamPredictor.from_weights(missing, LETTERS, SMALL)
    for wrong in (weights["weight_out"][:, :-1], weights["weight_out"][:-1], np.ones((10, 99), np.float32)):
        with pytest.raises(ValueError, match="weight_out"):
            StreamPredictor.from_weights(copy.copy(weights) | {"weight_out": wrong}, LETTERS, SMALL)


def test_a_frozen_fork_is_small():
    config = Config(hidden=256, layers=2, memory=False)
    predictor = StreamPredictor(config=config)
    predictor.learning = False
    assert allocated_by(lambda: [predictor.fork() for _ in range(20)]).kept / 20 <= 10_000 + 2 * 256 * 8


def test_the_same_seed_gives_the_same_net_and_another_seed_another():
    first, again, other = (StreamPredictor(LETTERS, SMALL, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(theta_of(first), theta_of(again))
    assert not np.array_equal(theta_of(first), theta_of(other))


@with_and_without
def test_n_symbols_counts_what_was_observed(memory):
    predictor = random_predictor(SMALL, memory=memory)
    predictor.observe_many(random_tokens(17, 10))
    predictor.observe("a")
    assert predictor.n_symbols == 18


def test_no_fewer_than_0_symbols_can_be_asked_for():
    predictor = StreamPredictor(config=Config(hidden=6, layers=1, memory=False))
    assert predictor.top(0) == []
    for ask in (lambda: predictor.top(-1), lambda: predictor.trace("a", top=-1)):
        with pytest.raises(ValueError, match="must be at least 0, not -1"):
            ask()
    assert predictor.n_symbols == 0


@pytest.mark.parametrize("given", [{"vocabulary": "bytes"}, {"config": 64}, {"optimizer": 1}, {"init": 1}])
def test_an_argument_of_another_type_is_refused_with_the_type_that_is_right(given):
    (name,) = given
    kind = "InitConfig" if name == "init" else name.title()
    with pytest.raises(TypeError, match=f"{name} must be of type {kind}, or None"):
        StreamPredictor(**given)


@with_and_without
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_and_a_pickled_predictor_go_on_alike_and_independently(memory, copied):
    predictor = random_predictor(SMALL, memory=memory)
    predictor.observe_many("abcdefghij" * 3)
    predictor.about["name"] = "mine"
    twin, left_alone = copied(predictor), predictor.fork()
    assert type(twin) is StreamPredictor
    assert same(twin, predictor)
    assert twin.about == predictor.about
    twin.observe_many("jihgfedcba" * 3)
    assert same(predictor, left_alone)
    predictor.observe_many("jihgfedcba" * 3)
    assert same(twin, predictor)


def test_a_worker_process_takes_and_returns_a_predictor():
    predictor = random_predictor(SMALL, memory=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        twin, bits = pool.submit(_observed, predictor, "abcabc").result(timeout=120)
    assert np.array_equal(predictor.observe_many("abcabc"), bits)
    assert same(twin, predictor)


def _observed(predictor, symbols):
    return predictor, predictor.observe_many(symbols)


def test_copies_of_a_subclass_belong_to_the_subclass():
    class Mine(StreamPredictor):
        colour = "red"

    predictor = Mine(LETTERS, SMALL)
    predictor.colour = "blue"
    assert type(predictor.fork()) is type(copy.deepcopy(predictor)) is Mine
    assert predictor.fork().colour == "blue"


def test_repr_and_dir_say_what_there_is():
    predictor = StreamPredictor(LETTERS, SMALL)
    predictor.observe_many("abc")
    assert repr(predictor) == "<StreamPredictor: 10 symbols, 2×12, memory, learning, 3 symbols seen>"
    predictor.learning = False
    assert "frozen" in repr(predictor)
    assert {"observe", "observe_many", "predict", "top", "fork", "learning"} <= set(dir(predictor))


def test_what_is_told_about_a_model_does_not_hide_what_it_is():
    predictor = StreamPredictor(LETTERS, SMALL)
    predictor.about |= {"network": "forged", "symbols": "9", "licence": "MIT"}
    described = predictor.describe()
    assert described["network"] == "2 layers of 12, skip, window 5"
    assert described["symbols"] == "0 seen"
    assert described["licence"] == "MIT"


def test_traces_can_be_compared():
    one, other = (random_predictor(SMALL).trace("abcab") for _ in range(2))
    assert one == one
    assert one != other, "traces hold arrays: they are equal if they are the same object"


@with_and_without
def test_forks_may_be_used_in_threads_of_their_own(memory):
    parent = random_predictor(SMALL, memory=memory)
    parent.observe_many("abcdefg")
    symbols = "abcdefghijjihgfedcbaacegi" * 20
    alone = parent.fork().observe_many(symbols)
    for _ in range(5):
        forks = [parent.fork(learning=learning) for learning in (True, False, True, True)]
        with ThreadPoolExecutor(len(forks)) as pool:
            results = list(pool.map(lambda fork: fork.observe_many(symbols), forks))
        frozen = parent.fork(learning=False).observe_many(symbols)
        for fork, bits in zip(forks, results, strict=True):
            assert np.array_equal(bits, alone if fork.learning else frozen)


@with_and_without
@pytest.mark.parametrize("learning", [True, False])
def test_a_fork_may_begin_learning_or_stop(memory, learning):
    predictor = random_predictor(SMALL, memory=memory)
    predictor.learning = not learning
    predictor.observe_many("abcdefg")
    fork, other = predictor.fork(learning=learning), predictor.fork()
    other.learning = learning
    assert predictor.learning is not learning
    assert np.array_equal(fork.observe_many("hijabc" * 5), other.observe_many("hijabc" * 5))
    assert same(fork, other)


@with_and_without
@pytest.mark.parametrize("learning", [True, False])
def test_steps_stand_after_their_tokens_and_hold_every_distribution(memory, learning):
    predictor, asked = (random_predictor(SMALL, memory=memory) for _ in range(2))
    predictor.learning = asked.learning = learning
    tokens, done = random_tokens(40, 10), 0
    for step in predictor.steps(tokens):
        assert step.start == done
        assert predictor.n_symbols == done + step.count
        assert np.array_equal(step.tokens, tokens[done : done + step.count])
        for index in range(step.count):
            assert np.array_equal(step.distributions[index], asked.predict())
            assert step.bits[index] == np.float32(asked.observe_token(int(tokens[done + index])))
        assert np.array_equal(step.distributions[-1], asked.predict())
        done += step.count
    assert done == len(tokens)
    assert same(predictor, asked)


@with_and_without
@pytest.mark.parametrize("learning", [True, False])
def test_a_step_ends_where_a_marked_symbol_is_among_the_most_probable(memory, learning):
    predictor, plain = (random_predictor(SMALL, memory=memory) for _ in range(2))
    predictor.learning = plain.learning = learning
    tokens, k = random_tokens(60, 10), 4
    marked = np.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 0], dtype=np.uint8)
    n_ends = 0
    for step in predictor.steps(KnownTokens(tokens, marked=marked, k=k), len(tokens)):
        among = [np.argsort(-p, kind="stable")[:k] for p in step.distributions[1:]]
        assert not any(marked[best].any() for best in among[:-1])
        n_ends += bool(marked[among[-1]].any())
        fork = predictor.fork()
        assert np.array_equal(fork.predict(), step.distributions[-1])
    plain.observe_many(tokens)
    assert n_ends > 5
    assert same(predictor, plain)


@pytest.mark.parametrize("wrong", [np.array([5, 10**9]), np.array([0.5, 1.5]), [1, -2]])
def test_steps_refuse_what_are_no_tokens_before_anything_changes(wrong):
    predictor = random_predictor(SMALL)
    with pytest.raises((TypeError, ValueError)):
        list(predictor.steps(wrong))
    for token in (-1, 10, 10**9):
        with pytest.raises(ValueError, match="between 0 and 9"):
            predictor.observe_token(token)
    assert predictor.n_symbols == 0


def test_steps_take_what_observe_many_takes_and_end_with_it():
    predictor, other = random_predictor(SMALL), random_predictor(SMALL)
    bits = np.concatenate([step.bits.copy() for step in predictor.steps("abcabcabc", 99)])
    assert np.array_equal(bits, other.observe_many([0, 1, 2] * 3))
    assert sum(step.count for step in predictor.steps("abcabc", 2)) == 2
    with pytest.raises(ValueError, match="n is required"):
        predictor.steps(KnownTokens(random_tokens(3, 10)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_symbols": 2**70}, "n_symbols must be"),
        ({"n_symbols": 1}, "n_symbols is 1, where it must be from 3 to"),
        ({"n_steps": 10**400}, "n_steps must be"),
    ],
)
def test_numbers_of_a_checkpoint_that_cannot_be_are_refused(tmp_path, change, message):
    predictor = random_predictor(SMALL)
    predictor.observe_many("abc")
    arrays, values = predictor.to_checkpoint()
    (name, value), path = *change.items(), tmp_path / "model"
    (values["optimizer"] if name in values["optimizer"] else values)[name] = value
    write_checkpoint(path, arrays, values)
    with pytest.raises(ValueError, match=message):
        StreamPredictor.load(path)


def test_a_checkpoint_without_one_of_its_arrays_is_refused_by_name(tmp_path):
    arrays, values = random_predictor(SMALL).to_checkpoint()
    del arrays["h"]
    write_checkpoint(tmp_path / "model", arrays, values)
    with pytest.raises(ValueError, match="'h' is missing"):
        StreamPredictor.load(tmp_path / "model")


NOT_WHOLE = [1.5, 1.0, True, np.True_, np.float32(1), "1", b"a", None, 1j, [1]]
TAKES_WHOLE_NUMBERS = {
    "observe_token": lambda predictor, n: predictor.observe_token(n),
    "top": lambda predictor, n: predictor.top(n),
    "trace": lambda predictor, n: predictor.trace(b"ab", n),
    "steps": lambda predictor, n: list(predictor.steps(b"ab", n)),
    "symbol": lambda predictor, n: predictor.vocabulary.symbol(n),
    "observe_many": lambda predictor, n: predictor.observe_many([n]),
    "hidden": lambda predictor, n: Config(hidden=n),
    "window": lambda predictor, n: Config(window=n),
    "memory_bits": lambda predictor, n: Config(memory_bits=n),
    "seed": lambda predictor, n: StreamPredictor(config=predictor.config, seed=n),
}


@pytest.mark.parametrize("name", TAKES_WHOLE_NUMBERS)
@pytest.mark.parametrize("number", NOT_WHOLE, ids=repr)
def test_what_is_not_a_whole_number_is_refused_with_nothing_changed(name, number):
    if number is None and name == "steps":
        return  # all
    predictor = StreamPredictor(config=Config(hidden=4, layers=1, memory_bits=10))
    before = predictor.predict()
    with pytest.raises((TypeError, ValueError), match=r"integer|whole|int tokens"):
        TAKES_WHOLE_NUMBERS[name](predictor, number)
    assert predictor.n_symbols == 0
    assert np.array_equal(predictor.predict(), before)


@pytest.mark.parametrize("name", ["observe_token", "top", "trace", "steps", "symbol", "seed"])
def test_an_integer_of_numpy_is_a_whole_number(name):
    for kind in (np.int8, np.uint16, np.int64):
        predictor = StreamPredictor(config=Config(hidden=4, layers=1, memory_bits=10))
        TAKES_WHOLE_NUMBERS[name](predictor, kind(1))


def test_assisted_of_1_0_changes_nothing():
    predictor = random_predictor(SMALL, Vocabulary.bytes())
    alone = predictor.fork()
    with predictor.assisted(), predictor.assisted():
        bits = predictor.observe_many(b"the same bits")
    assert bits.tobytes() == alone.observe_many(b"the same bits").tobytes()
    assert same(predictor, alone)


@pytest.mark.parametrize(
    ("name", "instead"),
    [("frozen", 'set learn = "nothing"'), ("freeze", 'set learn = "nothing"'), ("lern", "did you mean learn?")],
)
def test_an_unknown_attribute_is_refused_and_what_was_meant_is_named(name, instead):
    for predictor in (StreamPredictor(config=SMALL), StreamPredictor(config=SMALL).fork()):
        with pytest.raises(
            AttributeError, match=rf"^a StreamPredictor has no attribute '{name}'; {re.escape(instead)}$"
        ):
            setattr(predictor, name, True)
        with pytest.raises(AttributeError, match=re.escape(instead)):
            getattr(predictor, name)
        assert name not in vars(predictor)


def test_every_instead_is_there():
    """What is named in the place of a wrong attribute is an attribute, or a public name of the package."""
    word = r"\b(?:use|set) (?:an? |the function )?(\w+)"
    named = {found for text in _INSTEAD.values() for found in re.findall(word, text)}
    assert {"learn", "Snapshot", "fork", "observe", "score"} <= named
    assert [each for each in named if not hasattr(StreamPredictor, each) and not hasattr(streamlstm, each)] == []
    assert [name for name in _INSTEAD if hasattr(StreamPredictor, name)] == []


def test_attributes_of_ones_own_belong_to_a_subclass():
    class Mine(StreamPredictor):
        pass

    mine = Mine(config=SMALL)
    mine.user = "ann"
    assert mine.fork().user == "ann"
    mine.about = {"who": "ann"}
    assert mine.fork().about == {"who": "ann"}
