"""Hyper-parameters, schedules, and one step of each rule by hand."""

import math

import numpy as np
import pytest

from streamlstm import SGD, Adam, Config, RMSprop
from streamlstm.kernels.descent import add_gradient
from streamlstm.model import Layout
from streamlstm.optim import OPTIMIZERS, OptimizerState, optimizer_from

V = 3
LAYOUT = Layout(Config(32, 1), V)
OUTPUT, TABLES, WIDTH = LAYOUT.output, LAYOUT.tables, LAYOUT.width
PLACES = LAYOUT.places(learning=True)
N_ROWS = TABLES // WIDTH


def step(optimizer, theta, grad, touched=(1, 1, 1), n_targets=1, lr=0.1, state=None):
    state = state or OptimizerState(optimizer, np.zeros(optimizer.n_slots * theta.size, dtype=np.float32))
    touched = np.array(touched, dtype=np.uint8)
    norm = state.step(theta, grad.astype(np.float32), touched, PLACES, n_targets, lr)
    return state, norm


def arrays(seed=0):
    generator = np.random.default_rng(seed)
    size = TABLES + V * WIDTH
    return generator.normal(size=size).astype(np.float32), generator.normal(size=size)


def test_sgd_steps_against_the_gradient_of_loss_and_regularisation():
    theta, grad = arrays()
    before = theta.astype(np.float64)
    step(SGD(l2=0.5, clip=math.inf), theta, grad, n_targets=4)
    assert np.allclose(theta, before - 0.1 * (grad / 4 + 0.5 * before), atol=1e-6)


def test_momentum_goes_on_where_the_last_step_went():
    theta, grad = arrays()
    before = theta.astype(np.float64)
    optimizer = SGD(momentum=0.5, clip=math.inf)
    state, _ = step(optimizer, theta, grad)
    step(optimizer, theta, 0 * grad, state=state)
    assert np.allclose(theta, before - 0.1 * grad - 0.1 * 0.5 * grad, atol=1e-6)


@pytest.mark.parametrize("optimizer", [RMSprop(candidate=1, epsilon=1e-12), Adam(epsilon=1e-12)])
def test_the_first_step_of_a_bias_corrected_rule_has_the_size_of_the_rate(optimizer):
    theta, grad = arrays()
    before = theta.copy()
    step(optimizer, theta, grad)
    assert np.allclose(before - theta, 0.1 * np.sign(grad), atol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_candidate_and_the_output_layer_have_their_share_of_the_rate(name):
    theta, _ = arrays()
    before = theta.copy()
    step(optimizer_from({"name": name, "candidate": 0.25, "output": 3.0, "clip": math.inf}), theta, np.ones(theta.size))
    moved = (before - theta).reshape(-1, 4, WIDTH // 4)
    expected = np.full(moved.shape, moved[0, 0, 0])
    expected[:, 2] *= 0.25
    expected[OUTPUT // WIDTH : N_ROWS] = 3 * moved[0, 0, 0]
    assert np.allclose(moved, expected, rtol=1e-4)


def test_adam_is_adam():
    theta, _ = arrays()
    exact, m, v = theta.astype(np.float64), 0.0, 0.0
    optimizer, state = Adam(clip=math.inf), None
    for k in range(1, 6):
        grad = arrays(k)[1]
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        exact -= 0.1 * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
        state, _ = step(optimizer, theta, grad, state=state)
    assert np.allclose(theta, exact, atol=1e-4)


@pytest.mark.parametrize("optimizer", [SGD(l2=0.1), RMSprop(), Adam()])
def test_rows_of_symbols_not_seen_keep_their_weights_whatever_their_gradient_holds(optimizer):
    theta, grad = arrays()
    before = theta.copy()
    grad[TABLES + WIDTH : TABLES + 2 * WIDTH] = np.nan  # left over from an earlier use of the buffer
    step(optimizer, theta, grad, touched=(1, 0, 1))
    changed = (theta != before).reshape(-1, WIDTH).any(axis=1)
    assert changed.tolist() == [True] * N_ROWS + [True, False, True]


def test_a_long_gradient_is_shortened_to_the_clip():
    theta, grad = arrays()
    before = theta.astype(np.float64)
    _, norm = step(SGD(clip=0.5), theta, grad)
    assert norm == pytest.approx(np.linalg.norm(grad), rel=1e-5)
    assert np.linalg.norm(before - theta) == pytest.approx(0.1 * 0.5, rel=1e-3)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(poison):
    theta, grad = arrays()
    before = theta.copy()
    grad[5] = poison
    with pytest.raises(FloatingPointError, match="diverged"):
        step(Adam(), theta, grad)
    assert np.array_equal(theta, before)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0.0), ("lr", -1.0), ("lr", math.nan), ("lr", math.inf), ("clip", 0.0), ("l2", -0.1), ("l2", math.nan)]
    + [("candidate", -0.1), ("candidate", math.inf), ("output", math.nan)]
    + [("half_life", 0.0), ("floor", 1.5), ("beta1", 1.0), ("beta2", -0.1), ("epsilon", 0.0), ("momentum", 1.0)],
)
def test_a_hyper_parameter_out_of_range_is_refused_by_name(name, field, value):
    with pytest.raises(ValueError, match=field):
        optimizer_from({"name": name, field: value})


def test_an_unknown_optimizer_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="sgd, rmsprop, adam, not 'lion'"):
        optimizer_from({"name": "lion"})


def test_the_rate_falls_to_its_floor():
    optimizer = RMSprop(lr=1.0, half_life=100, floor=0.1)
    assert optimizer.lr_after(0) == 1.0
    assert optimizer.lr_after(100) == pytest.approx(0.55)
    assert optimizer.lr_after(10**9) == pytest.approx(0.1, abs=1e-6)
    assert SGD(lr=0.5).lr_after(10**9) == 0.5


def test_gradients_add_row_by_row():
    size = TABLES + V * WIDTH
    a, b = np.full(size, 1, dtype=np.float32), np.full(size, 2, dtype=np.float32)
    a_touched, b_touched = np.array([1, 0, 0], np.uint8), np.array([1, 1, 0], np.uint8)
    add_gradient(a, a_touched, b, b_touched, TABLES, WIDTH)
    assert a.reshape(-1, WIDTH)[:, 0].tolist() == [3] * N_ROWS + [3, 2, 1]
    assert a_touched.tolist() == [1, 1, 0]


@pytest.mark.parametrize("options", [{"lr": 1e39}, {"lr": 1e-60}, {"epsilon": 1e-50}])
def test_what_is_0_or_infinite_in_float32_is_refused(options):
    with pytest.raises(ValueError, match="above 0"):
        Adam(**options)
