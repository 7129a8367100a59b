"""What every StreamPredictor promises: the properties P1 to P10 of the design."""

import copy
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor, random_tokens, theta_of

from streamlstm import SGD, Adam, Config, RMSprop, StreamPredictor, Vocabulary

SMALL = Config(hidden=12, layers=2, window=5)
LETTERS = Vocabulary.from_text("abcdefghij")
text = st.text(alphabet="abcdefghij", max_size=60)
any_optimizer = st.sampled_from([SGD(lr=0.2, momentum=0.5), RMSprop(), Adam()])


def same(a: StreamPredictor, b: StreamPredictor) -> bool:
    """Whether two predictors hold the same distribution, state and weights, bit for bit."""
    arrays = [(a.predict(), b.predict()), *zip(a.state, b.state, strict=True), (theta_of(a), theta_of(b))]
    return all(np.array_equal(x, y) for x, y in arrays) and a.n_symbols == b.n_symbols


@settings(max_examples=40)
@given(text, st.lists(st.integers(0, 60), max_size=5), st.booleans(), any_optimizer)
def test_p1_observe_n_times_is_observe_many_for_every_split(symbols, cuts, learning, optimizer):
    one, many = random_predictor(SMALL, optimizer=optimizer), random_predictor(SMALL, optimizer=optimizer)
    one.learning = many.learning = learning
    singly = [one.observe(symbol) for symbol in symbols]
    edges = [0, *sorted(min(cut, len(symbols)) for cut in cuts), len(symbols)]
    blocks = [many.observe_many(symbols[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert np.array_equal(np.array(singly, dtype=np.float32), np.concatenate(blocks))
    assert same(one, many)


@settings(max_examples=30)
@given(text, text, text)
def test_p2_the_future_changes_nothing_before_it(past, future, other_future):
    a, b = random_predictor(SMALL), random_predictor(SMALL)
    bits_a, bits_b = a.observe_many(past + future), b.observe_many(past + other_future)
    assert np.array_equal(bits_a[: len(past)], bits_b[: len(past)])


@settings(max_examples=30)
@given(text, st.integers(1, 300))
def test_p3_each_distribution_is_positive_and_sums_to_one(symbols, n_symbols):
    vocabulary = Vocabulary.from_text("".join(map(chr, range(97, 97 + max(n_symbols, 10)))))
    predictor = random_predictor(SMALL, vocabulary)
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


@settings(max_examples=30)
@given(text.filter(len))
def test_p4_each_symbol_is_scored_by_the_distribution_held_before_it(symbols):
    predictor = random_predictor(SMALL, optimizer=SGD(lr=5.0))
    for symbol in symbols:
        expected = -np.log2(float(predictor.predict()[LETTERS.encode(symbol)[0]]))
        assert abs(predictor.observe(symbol) - expected) < 1e-5 * max(1, expected)


@settings(max_examples=30)
@given(text, text, st.booleans())
def test_p6_queries_change_nothing(past, future, learning):
    asked, left_alone = random_predictor(SMALL), random_predictor(SMALL)
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


@settings(max_examples=30)
@given(text, text, text, st.booleans())
def test_p6_a_fork_and_its_parent_go_their_own_ways(past, left, right, learning):
    def fresh(symbols):
        predictor = random_predictor(SMALL)
        predictor.learning = learning
        predictor.observe_many(symbols)
        return predictor

    parent = fresh(past)
    twin = parent.fork()
    twin.observe_many(left)
    parent.observe_many(right)
    assert same(twin, fresh(past + left))
    assert same(parent, fresh(past + right))


def test_a_fork_of_a_fork_is_independent_too():
    parent = random_predictor(SMALL)
    child = parent.fork()
    grandchild = child.fork()
    before = theta_of(parent).copy()
    grandchild.observe_many("abcdefghijabcdefghij")
    assert np.array_equal(theta_of(parent), before)
    assert np.array_equal(theta_of(child), before)
    assert not np.array_equal(theta_of(grandchild), before)


@settings(max_examples=25)
@given(text, text, st.booleans(), any_optimizer)
def test_p8_save_and_load_go_on_as_if_never_stopped(tmp_path_factory, past, future, learning, optimizer):
    path = tmp_path_factory.mktemp("p8") / "model.safetensors"
    stopped, never_stopped = random_predictor(SMALL, optimizer=optimizer), random_predictor(SMALL, optimizer=optimizer)
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


@pytest.mark.parametrize("learning", [True, False])
def test_p9_memory_does_not_grow_with_the_stream(learning):
    predictor = random_predictor(SMALL)
    predictor.learning = learning
    symbols = "abcdefghij" * 200
    predictor.observe_many(symbols)
    tracemalloc.start()
    try:
        predictor.observe_many(symbols)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10):
            predictor.observe_many(symbols)
        assert tracemalloc.get_traced_memory()[0] - before < 4096
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "wrong",
    ["abcX", "X", "ab\udc80", b"abX", np.array([3, 10]), np.array([0.5]), np.array([-1])]
    + [np.ma.MaskedArray([1, 2 * 10**8], mask=[False, True])],
)
def test_p10_a_bad_input_is_refused_before_anything_changes(wrong):
    predictor, left_alone = random_predictor(SMALL), random_predictor(SMALL)
    with pytest.raises((ValueError, TypeError)):
        predictor.observe_many(wrong)
    assert same(predictor, left_alone)


def test_learning_that_diverges_is_refused_and_leaves_a_usable_predictor():
    predictor = random_predictor(SMALL, optimizer=SGD(lr=1e38, clip=float("inf")))
    with pytest.raises(FloatingPointError, match="learning rate"):
        predictor.observe_many("abcdefghij" * 20)
    assert abs(predictor.predict().sum() - 1) < 1e-5


def test_a_fresh_net_expects_every_symbol_alike():
    assert np.array_equal(StreamPredictor().predict(), np.full(256, 1 / 256, dtype=np.float32))
    assert StreamPredictor(LETTERS).observe("a") == pytest.approx(np.log2(10))


def test_the_distribution_of_the_zero_state_is_the_softmax_of_the_output_bias():
    predictor = random_predictor(SMALL)
    bias = predictor.weights()["bias_out"].astype(np.float64)
    assert np.max(np.abs(predictor.predict() - np.exp(bias) / np.exp(bias).sum())) < 1e-6


def test_learning_lowers_the_surprisal_of_what_repeats():
    predictor = StreamPredictor(LETTERS, Config(hidden=32, layers=1, window=8))
    bits = predictor.observe_many("abcdefghij" * 100)
    assert bits[-50:].mean() < 0.2 < bits[:50].mean()


def test_a_frozen_predictor_keeps_its_weights():
    predictor = random_predictor(SMALL)
    predictor.learning = False
    before = theta_of(predictor).copy()
    predictor.observe_many("abcdefghij" * 20)
    assert np.array_equal(theta_of(predictor), before)


def test_switching_learning_keeps_the_context():
    predictor = random_predictor(SMALL)
    predictor.observe_many("abcabca")
    expected = predictor.predict()
    predictor.learning = False
    assert np.array_equal(predictor.predict(), expected)
    predictor.learning = True
    assert np.array_equal(predictor.predict(), expected)


def test_reset_forgets_the_context_and_keeps_the_weights():
    predictor = random_predictor(SMALL)
    fresh = predictor.predict()
    predictor.learning = False
    predictor.observe_many("abcde")
    assert not np.array_equal(predictor.predict(), fresh)
    predictor.reset()
    assert np.array_equal(predictor.predict(), fresh)
    assert predictor.learning is False


def test_top_gives_the_most_probable_symbols_first():
    predictor = random_predictor(SMALL)
    p = predictor.predict()
    top = predictor.top(3)
    assert [symbol for symbol, _ in top] == ["abcdefghij"[index] for index in np.argsort(-p)[:3]]
    assert [probability for _, probability in top] == sorted(p.tolist(), reverse=True)[:3]
    assert len(predictor.top(99)) == 10


def test_trace_says_what_observe_and_top_say():
    traced, asked = random_predictor(SMALL), random_predictor(SMALL)
    symbols = "abcdefghijjihgfedcba" * 3
    trace = traced.trace(symbols, 4)
    for index, symbol in enumerate(symbols):
        p = asked.predict()
        assert trace.ranks[index] == 1 + np.sum(p > p[LETTERS.encode(symbol)[0]])
        assert trace.bits[index] == np.float32(asked.observe(symbol))
        expected = [(LETTERS.encode(guess)[0], np.float32(chance)) for guess, chance in asked.top(4)]
        assert list(zip(trace.next_tokens[index], trace.next_probabilities[index], strict=True)) == expected
    assert same(traced, asked)


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("k", [0, 1, 10, 50])
def test_trace_shows_at_most_the_vocabulary(k, learning):
    predictor = random_predictor(SMALL)
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
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        forks = [predictor.fork() for _ in range(20)]
        assert (tracemalloc.get_traced_memory()[0] - before) / len(forks) <= 10_000 + 2 * 256 * 8
    finally:
        tracemalloc.stop()


def test_the_same_seed_gives_the_same_net_and_another_seed_another():
    first, again, other = (StreamPredictor(LETTERS, SMALL, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(theta_of(first), theta_of(again))
    assert not np.array_equal(theta_of(first), theta_of(other))


def test_n_symbols_counts_what_was_observed():
    predictor = random_predictor(SMALL)
    predictor.observe_many(random_tokens(17, 10))
    predictor.observe("a")
    assert predictor.n_symbols == 18


def test_no_fewer_than_0_guesses_can_be_asked_for():
    predictor = StreamPredictor(config=Config(hidden=6, layers=1, memory=False))
    assert predictor.top(0) == []
    for ask in (lambda: predictor.top(-1), lambda: predictor.trace("a", k=-1)):
        with pytest.raises(ValueError, match="k must be at least 0, not -1"):
            ask()
    assert predictor.n_symbols == 0


@pytest.mark.parametrize("given", [{"vocabulary": "bytes"}, {"config": 64}, {"optimizer": "adam"}, {"start": 1}])
def test_what_is_of_another_type_is_refused_with_the_type_that_is_right(given):
    (name,) = given
    with pytest.raises(TypeError, match=f"{name.title()} there, or None"):
        StreamPredictor(**given)
