"""The kernels against the NumPy implementation (the twin), and the twin against finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor, random_tokens, theta_of, twin_of
from numba import njit

from streamlstm import SGD, Adam, Config, RMSprop, StreamPredictor, Vocabulary
from streamlstm.jit.decorators import native
from streamlstm.jit.lanes import load, store
from streamlstm.kernels import functions, gradient, network
from streamlstm.kernels.arrays import FILLED
from streamlstm.kernels.descent import DECAY, LEAST_SQUARE, N_HYPER
from streamlstm.kernels.distribution import surprisal_ratio
from streamlstm.kernels.gradient import LEAST
from streamlstm.model import Layout
from streamlstm.optim import FIRST_SUMS
from streamlstm.predictor.tape import Tape, start_state
from streamlstm.predictor.weights import Learner
from streamlstm.reference import arithmetic
from streamlstm.reference.network import Reference

SHAPES = [
    Config(hidden=7, layers=1, window=1),
    Config(hidden=32, layers=1, window=32),
    Config(hidden=20, layers=2, window=23),
    Config(hidden=33, layers=3, window=8),
    Config(hidden=16, layers=1, window=6, connections="stacked"),
    Config(hidden=40, layers=2, window=3, connections="stacked"),
    Config(hidden=24, layers=3, window=16, connections="stacked"),
]
OPTIMIZERS = [
    *[SGD(lr=0.3, l2=1e-3), SGD(lr=0.1, momentum=0.9, pull_back=0.2), RMSprop(lr=0.02)],
    *[RMSprop(lr=0.02, pull_back=0.1), Adam(lr=0.01, clip=0.05)],
]

LEAST_OF_SLOTS = {"sgd": [LEAST], "rmsprop": [LEAST_SQUARE], "adam": [LEAST_SQUARE, LEAST]}

ids = repr


@njit(error_model="numpy")
def _exp(x, y):
    for j in range(0, x.size, 16):
        store(y, j, functions.exp(load(x, j, 16)))


@njit(error_model="numpy")
def _sigmoid(x, y):
    for j in range(0, x.size, 16):
        store(y, j, functions.sigmoid(load(x, j, 16)))


@njit(error_model="numpy")
def _tanh(x, y):
    for j in range(0, x.size, 16):
        store(y, j, functions.tanh(load(x, j, 16)))


@njit(error_model="numpy")
def _log2(x, y):
    for j in range(x.size):
        y[j] = functions.log2(x[j])


EVERYWHERE = np.linspace(-20, 20, 160_000, dtype=np.float32)
POSITIVE = np.exp2(np.linspace(-125, 2, 160_000)).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "twin", "truth", "x", "tolerance"),
    [
        (_exp, arithmetic.exp, np.exp, EVERYWHERE, 2e-7),
        (_sigmoid, arithmetic.sigmoid, lambda x: 1 / (1 + np.exp(-x)), EVERYWHERE, 4e-7),
        (_tanh, arithmetic.tanh, np.tanh, EVERYWHERE, 5e-7),
        (_log2, arithmetic.log2, np.log2, POSITIVE, 2e-7),
    ],
    ids=["exp", "sigmoid", "tanh", "log2"],
)
def test_elementary_functions_are_accurate_and_give_the_bits_of_the_twin(function, twin, truth, x, tolerance):
    y = np.empty_like(x)
    function(x, y)
    exact = truth(x.astype(np.float64))
    assert np.max(np.abs(y - exact) / np.maximum(np.abs(exact), 1e-30)) < tolerance
    assert np.array_equal(y, twin(x))


def test_elementary_functions_stay_in_their_range_for_every_argument():
    x = np.array([-np.inf, -1e30, -88, 88, 1e30, np.inf, 0, -0.0] * 2, dtype=np.float32)
    y = np.empty_like(x)
    _sigmoid(x, y)
    assert np.all((y >= 0) & (y <= 1))
    _tanh(x, y)
    assert np.all(np.abs(y) <= 1)
    _exp(x, y)
    assert np.all((y > np.finfo(np.float32).tiny) & np.isfinite(y))


@pytest.mark.parametrize("config", SHAPES, ids=ids)
def test_forward_agrees_with_the_float64_twin_within_1e_5(config):
    predictor = random_predictor(config)
    predictor.learning = False
    twin = twin_of(predictor)
    for token in random_tokens(40, 10):
        assert np.max(np.abs(predictor.predict() - twin.p[:10])) < 1e-5
        predictor.observe_many(np.array([token]))
        twin.step(int(token))
    h, c = predictor.state
    assert np.max(np.abs(h - twin.h[:, : config.hidden])) < 1e-5
    assert np.max(np.abs(c - twin.c[:, : config.hidden])) < 1e-5


BEGIN = 10
"""The begin-of-stream symbol of the ten symbols in these tests."""


@pytest.mark.parametrize("config", SHAPES, ids=ids)
def test_parallel_streams_that_begin_anywhere_have_the_gradient_of_the_twin(config):
    predictor = random_predictor(config)
    T, B, layout = config.window, 3, Layout(predictor.config, BEGIN)
    theta, twin = theta_of(predictor), twin_of(predictor)
    tokens = random_tokens((T + 1) * B, BEGIN).reshape(T + 1, B)
    tokens[np.random.default_rng(1).random(tokens.shape) < 0.2] = BEGIN
    tokens[0] = BEGIN
    learner, stream = Learner(layout, T, B), Tape(layout, T, learning=True, batch=B).stream
    learner.gradient.grad[:] = 0  # the rows of symbols that do not occur keep what they hold
    for _ in range(2):  # nothing of an earlier window is left over
        stream.tokens[:] = tokens.ravel()
        native(network.forward)(theta, stream, 0, T, B)
        native(gradient.backward)(theta, learner.gradient, stream, T, B)
    total = None
    for b in range(B):
        for token in tokens[:-1, b].tolist():
            twin.step(token)
        each = twin.gradient(tokens[1:, b].tolist())
        total = each if total is None else {name: total[name] + each[name] for name in each}
    theirs = layout.named(np.concatenate([array.ravel() for array in total.values()]))
    for name, ours in layout.named(learner.gradient.grad).items():
        assert np.max(np.abs(ours - theirs[name])) < 1e-4 * max(np.max(np.abs(theirs[name])), 1e-2), name
    assert np.array_equal(stream.bits.reshape(T + 1, B)[:-1] > 0, tokens[:-1] != BEGIN)


def gradients(config, seed=0):
    """The gradient of one window, by name: that of the kernels and that of the float64 twin."""
    predictor = random_predictor(config, optimizer=SGD(lr=1.0, clip=float("inf")), seed=seed)
    twin, before = twin_of(predictor), theta_of(predictor).copy()
    tokens = random_tokens(config.window + 1, 10, seed + 1)
    predictor.observe_many(tokens)  # the last one triggers the step theta -= 1.0 · mean gradient
    for token in tokens[:-1]:
        twin.step(int(token))
    layout = Layout(config, 10)
    ours = layout.named((before - theta_of(predictor)) * config.window)
    exact = twin.gradient([int(token) for token in tokens[1:]])
    theirs = layout.named(np.concatenate([array.ravel() for array in exact.values()]))
    return ours, theirs


@pytest.mark.parametrize("config", SHAPES, ids=ids)
def test_every_gradient_agrees_with_the_float64_twin_within_1e_4(config):
    ours, theirs = gradients(config)
    for name, exact in theirs.items():
        assert np.linalg.norm(exact) > 0 or config.window == 1 or name.startswith("start_"), name
        error = np.linalg.norm(ours[name] - exact) / max(np.linalg.norm(exact), 1e-12)
        assert error < 1e-4 or np.linalg.norm(ours[name] - exact) < 1e-6, (name, error)


@settings(max_examples=25)
@given(
    layers=st.integers(1, 3),
    hidden=st.integers(1, 40),
    window=st.integers(1, 32),
    connections=st.sampled_from(["skip", "stacked"]),
    seed=st.integers(0, 1000),
)
def test_gradients_agree_with_the_twin_for_random_shapes(layers, hidden, window, connections, seed):
    ours, theirs = gradients(Config(hidden, layers, window, connections), seed)
    largest = max(np.max(np.abs(exact)) for exact in theirs.values())
    for name, exact in theirs.items():
        assert np.max(np.abs(ours[name] - exact)) < 1e-4 * largest, name


@pytest.mark.parametrize("config", [SHAPES[2], SHAPES[5], SHAPES[1]], ids=ids)
def test_the_gradient_of_the_twin_agrees_with_finite_differences(config):
    predictor = random_predictor(config)
    tokens = [int(token) for token in random_tokens(config.window + 1, 10)]
    tokens[1 :: 1 + config.window // 3] = [BEGIN] * len(tokens[1 :: 1 + config.window // 3])

    def loss(twin):
        total = 0.0
        for token, target in zip(tokens[:-1], tokens[1:], strict=True):
            twin.step(token)
            total -= np.log(twin.p[target]) if target != BEGIN else 0.0
        return total

    twin = twin_of(predictor)
    loss(twin)
    exact_gradient = twin.gradient(tokens[1:])
    generator = np.random.default_rng(0)
    for name, exact in exact_gradient.items():
        for index in generator.choice(exact.size, 6):
            sides = []
            for epsilon in (1e-5, -1e-5):
                moved = twin_of(predictor)
                moved.weights[name].reshape(-1)[index] += epsilon
                moved.p = moved.distribution()
                sides.append(loss(moved))
            numeric = (sides[0] - sides[1]) / 2e-5
            assert abs(numeric - exact.reshape(-1)[index]) < 1e-6, (name, index)


@pytest.mark.parametrize("config", SHAPES, ids=ids)
def test_the_network_of_a_predictor_stands_where_it_stands_and_goes_on_with_the_same_bits(config):
    predictor = random_predictor(config)
    predictor.learn = "nothing"
    tokens = random_tokens(23, 10)
    predictor.observe_many(tokens[:11])
    twin = Reference.of(predictor, dtype=np.float32)
    for token in tokens[11:]:
        assert np.array_equal(twin.p[:10], predictor.predict())
        predictor.observe_token(int(token))
        twin.step(int(token))
    assert np.array_equal(twin.h[:, : config.hidden], predictor.state[0])


def check_bits(predictor, optimizer, n_symbols=10):
    """Let a predictor and its float32 twin read and learn from the same tokens, and compare all that they compute."""
    twin, window = twin_of(predictor, np.float32), predictor.config.window
    slots = [{name: np.zeros_like(weight) for name, weight in twin.weights.items()} for _ in range(2)]
    tokens = [int(token) for token in random_tokens(5 * window + 2, n_symbols)]
    powers, n_steps, bits = [1.0, 1.0], 0, []
    for index, token in enumerate(tokens):
        if len(twin.tape) == window:
            gradient = twin.gradient(tokens[index - window + 1 : index + 1])
            powers = [power * beta for power, beta in zip(powers, optimizer.betas, strict=True)]
            lr, n_steps = optimizer.lr_after(n_steps * window), n_steps + 1
            hyper = {
                "lr": lr,
                "lr_candidate": lr * optimizer.candidate_lr_scale,
                "lr_output": lr * optimizer.output_lr_scale,
                "l2": optimizer.l2,
                "beta1": optimizer.betas[0],
                "beta2": optimizer.betas[1],
                "epsilon": getattr(optimizer, "epsilon", 0.0),
                "correct1": 1 / (1 - powers[0]),
                "correct2": 1 / (1 - powers[1]),
                "pull": optimizer.pull_after(n_steps - 1),
                "scale": 1 / window,
                "clip": optimizer.clip,
            }
            twin.descend(optimizer.name, gradient, slots, hyper)
        bits.append(predictor.observe_many(np.array([token]))[0])
        assert bits[-1] == -arithmetic.log2(twin.p[token : token + 1])[0]
        twin.step(token)
        assert np.array_equal(predictor.predict(), twin.p[:10]), f"symbol {index}"
    flat = np.concatenate([weight.ravel() for weight in twin.weights.values()])
    assert np.array_equal(flat, theta_of(predictor))
    state = predictor._stream.weights.optimizer
    assert state.n_steps == n_steps
    kept = {"sgd": slots[: optimizer.n_slots], "rmsprop": slots[1:], "adam": slots[::-1]}[optimizer.name]
    flat = [mean.ravel() for slot in kept for mean in slot.values()]
    assert np.array_equal(np.concatenate(flat) if flat else [], state.slots)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=ids)
@pytest.mark.parametrize("config", SHAPES[1:], ids=ids)
def test_the_float32_twin_gives_the_bits_of_the_kernels_while_predicting_and_learning(config, optimizer):
    check_bits(random_predictor(config, optimizer=optimizer), optimizer)


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, Adam(beta1=0.0, clip=1e-4)], ids=ids)
@pytest.mark.parametrize("bias", [-39, -90], ids=["probabilities of 2⁻⁵⁹", "probabilities of 2⁻¹⁰⁴"])
def test_tiny_derivatives_leave_no_subnormal_number_behind(bias, optimizer):
    random = random_predictor(SHAPES[2])
    weights = random.weights()
    weights["bias_out"][6:] = bias
    optimizer = replace(optimizer, l2=0.0)
    predictor = StreamPredictor.from_weights(weights, random.vocabulary, random.config, optimizer)
    check_bits(predictor, optimizer, n_symbols=6)
    slots = predictor._stream.weights.optimizer.slots.reshape(-1, theta_of(predictor).size)
    for slot, least in zip(slots, LEAST_OF_SLOTS[optimizer.name], strict=bool(slots.size)):
        assert np.all((slot == 0) | (np.abs(slot) >= least))
        of_output = Layout(SHAPES[2], 10).named(slot)["bias_out"]
        assert of_output[:6].all()
        if bias == -90 or least == LEAST_SQUARE:
            assert not of_output[6:].any()


def test_closed_gates_leave_no_subnormal_number_in_the_gradient():
    random = random_predictor(SHAPES[2])
    config, weights = random.config, random.weights()
    for l in range(config.layers):
        i, f, _, o = weights[f"bias_l{l}"].reshape(4, -1)
        i[:4] = f[2:6] = o[4:8] = -90  # σ(-90) is 2⁻¹⁰⁴ in the kernels
    predictor = StreamPredictor.from_weights(weights, random.vocabulary, config, RMSprop())
    check_bits(predictor, RMSprop())
    layout, T = Layout(config, 10), config.window
    learner, stream = Learner(layout, T), Tape(layout, T, learning=True).stream
    learner.gradient.grad[:] = 0
    stream.tokens[:] = random_tokens(T + 1, 10)
    theta = predictor._stream._parts.weights.theta
    native(network.forward)(theta, stream, 0, T, 1)
    native(gradient.backward)(theta, learner.gradient, stream, T, 1)
    grad = learner.gradient.grad[learner.gradient.grad != 0]
    assert np.all(np.abs(grad) >= LEAST * LEAST)


def test_the_surprisal_ratio_of_a_window_follows_that_of_its_symbols():
    predictor = random_predictor(Config(hidden=20, layers=2, window=9), optimizer=RMSprop(repetition=4.0), memory=True)
    tokens, sums = random_tokens(2 * 9 + 2, 10), np.array(FIRST_SUMS)
    for window in np.split(tokens, [9, 18])[:2]:
        predictor.observe_many(window)
        tape, state = predictor._stream.tape, predictor._stream.weights.optimizer
        records = tape.stream.tape.reshape(-1, tape.record)
        p = records[np.arange(1, 9), window[1:]]
        assert np.array_equal(state.progress[5:], sums)
        sums = sums * DECAY
        sums += arithmetic.in_order(list(-arithmetic.log2(p))), arithmetic.in_order(list(tape.stream.bits[1:9]))
        hyper = np.zeros(N_HYPER, dtype=np.float32)
        assert native(surprisal_ratio)(tape.stream, hyper, state.progress) == sums[1] / sums[0]
    assert state.optimizer.lr_after(0) * state.optimizer.lr_factor(sums[1] / sums[0]) < state.optimizer.lr


def test_padding_stays_zero_while_the_network_learns():
    config = Config(hidden=19, layers=2, window=4)
    predictor = random_predictor(config, optimizer=Adam(lr=0.05, l2=0.01))
    predictor.observe_many(random_tokens(200, 10))
    unpadded, padded = (
        theta_of(predictor),
        predictor._stream._parts.weights.theta,
    )  # theta_of fills the padding with zeros
    assert np.array_equal(unpadded, padded)
    assert np.count_nonzero(unpadded) < unpadded.size


def test_steps_give_the_bits_of_a_block_and_a_full_window_refuses_the_next_step():
    config, count = Config(hidden=20, layers=2, window=6, memory=False), 6
    theta, tokens = theta_of(random_predictor(config)), random_tokens(count, 10)
    streams = [Tape(Layout(config, 10), count, learning=True).stream for _ in range(2)]
    for stream in streams:
        network.forward(theta, stream, 0, 0, 1)
    streams[0].tokens[:count] = tokens
    network.forward(theta, streams[0], 0, count, 1)
    bits = [network.step(theta, streams[1], int(token)) for token in tokens]
    assert bits == streams[0].bits[:count].tolist()
    before = [array.copy() for array in streams[1]]
    assert network.step(theta, streams[1], 3) == -1
    assert all(np.array_equal(now, then, equal_nan=True) for now, then in zip(streams[1], before, strict=True))
    assert streams[0].position.tolist() == streams[1].position.tolist()


def test_no_surprisal_is_negative():
    p = np.nextafter(np.float32(1), np.float32(0)) - np.arange(2**20, dtype=np.float32) * np.float32(2**-24)
    assert (arithmetic.log2(p) <= 0).all()
    assert arithmetic.log2(np.ones(1, np.float32))[0] == 0


def test_a_batch_of_streams_gives_the_bits_of_each_stream_alone():
    config, batch, count = Config(hidden=20, layers=2, window=6, memory=False), 7, 6
    vocabulary = Vocabulary.from_text("abcdefghij")
    theta = theta_of(random_predictor(config, vocabulary))
    tokens = random_tokens((count + 1) * batch, 10).reshape(count + 1, batch)
    layout = Layout(config, 10)
    stream = Tape(layout, count, learning=True, batch=batch).stream
    stream.tokens[:] = tokens.reshape(-1)
    stream.tape.reshape(-1, layout.record(learning=True))[:batch, : layout.state] = start_state(layout, theta)
    for n in (0, count):
        network.forward(theta, stream, 0, n, batch)
    bits = stream.bits.reshape(count + 1, batch)
    assert stream.position[FILLED] == count
    for b in range(batch):
        alone = random_predictor(config, vocabulary)
        alone.learning = False
        assert np.array_equal(alone.observe_many(tokens[:count, b]), bits[:count, b])
