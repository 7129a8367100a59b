"""Hyper-parameters, schedules, and one step of each rule by hand."""

import math

import numpy as np
import pytest

from streamlstm import SGD, Adam, Config, RMSprop
from streamlstm.checkpoint import read_checkpoint
from streamlstm.kernels.arrays import Gradient
from streamlstm.model import Layout
from streamlstm.optim import (
    OPTIMIZERS,
    PROGRESS,
    PULL_PERIOD,
    OptimizerState,
    add_gradient,
    describe_optimizer,
    optimizer_from,
)
from streamlstm.predictor import PRETRAINED
from streamlstm.predictor.tape import Tape

V = 3
LAYOUT = Layout(Config(32, 1), V)
OUTPUT, TABLES, WIDTH = LAYOUT.output, LAYOUT.tables, LAYOUT.width
N_ROWS = TABLES // WIDTH


def step(optimizer, theta, grad, touched=(1, 1, 1, 1), n_targets=1, lr=0.1, state=None, first=None):
    state = state or OptimizerState(optimizer, np.zeros(optimizer.n_slots * theta.size, dtype=np.float32))
    stream = Tape(LAYOUT, window=1, learning=True).stream
    norm = state.step(theta, gradient_of(grad, touched), stream, n_targets, lr, first=first)
    return state, norm


def gradient_of(grad, touched):
    grad, touched = np.asarray(grad, dtype=np.float32), np.array(touched, dtype=np.uint8)
    return Gradient(grad, np.zeros(0, dtype=np.float32), touched)


def arrays(seed=0):
    generator = np.random.default_rng(seed)
    size = TABLES + (V + 1) * WIDTH
    return generator.normal(size=size).astype(np.float32), generator.normal(size=size)


def test_sgd_steps_against_the_gradient_of_loss_and_regularisation():
    theta, grad = arrays()
    before = theta.astype(np.float64)
    step(SGD(l2=0.5, clip=math.inf), theta, grad, n_targets=4)
    assert np.allclose(theta, before - 0.1 * (grad / 4 + 0.5 * before), atol=1e-6)


def test_momentum_repeats_a_part_of_the_last_step():
    theta, grad = arrays()
    before = theta.astype(np.float64)
    optimizer = SGD(momentum=0.5, clip=math.inf)
    state, _ = step(optimizer, theta, grad)
    step(optimizer, theta, 0 * grad, state=state)
    assert np.allclose(theta, before - 0.1 * grad - 0.1 * 0.5 * grad, atol=1e-6)


@pytest.mark.parametrize("optimizer", [RMSprop(candidate_lr_scale=1, epsilon=1e-12), Adam(epsilon=1e-12)])
def test_the_first_step_of_a_bias_corrected_rule_has_the_size_of_the_rate(optimizer):
    theta, grad = arrays()
    before = theta.copy()
    step(optimizer, theta, grad)
    assert np.allclose(before - theta, 0.1 * np.sign(grad), atol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_candidate_gate_and_the_output_layer_have_scaled_learning_rates(name):
    theta, _ = arrays()
    before = theta.copy()
    optimizer = OPTIMIZERS[name](candidate_lr_scale=0.25, output_lr_scale=3.0, clip=math.inf)
    step(optimizer, theta, np.ones(theta.size))
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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_weight_goes_back_a_part_of_its_distance_to_its_first_value(name):
    theta, grad = arrays()
    first, alone = arrays(1)[0], theta.copy()
    states = [None, None]
    for _ in range(PULL_PERIOD):
        before = theta.copy()
        states[0], _ = step(OPTIMIZERS[name](), alone, grad, state=states[0])
        states[1], _ = step(OPTIMIZERS[name](pull_back=0.125), theta, grad, state=states[1], first=first)
    assert np.allclose(theta - alone, 0.5 * (first - before), atol=1e-5)


def test_repetition_scales_the_rate_of_the_surprisal_that_the_memory_saves():
    optimizer = RMSprop(repetition=4.0)
    assert optimizer.lr_factor(0.875) == pytest.approx(0.55)
    assert optimizer.lr_factor(1.5) == pytest.approx(0.05)
    assert optimizer.lr_factor(0.1) == 1.0
    assert RMSprop().lr_factor(0.875) == 1.0


@pytest.mark.parametrize("optimizer", [SGD(l2=0.1), RMSprop(), Adam()])
def test_rows_of_symbols_not_seen_keep_their_weights_whatever_their_gradient_holds(optimizer):
    theta, grad = arrays()
    before = theta.copy()
    grad[TABLES + WIDTH : TABLES + 2 * WIDTH] = np.nan  # left over from an earlier use of the buffer
    step(optimizer, theta, grad, touched=(1, 0, 1, 0))
    changed = (theta != before).reshape(-1, WIDTH).any(axis=1)
    assert changed.tolist() == [True] * N_ROWS + [True, False, True, False]


def test_a_long_gradient_is_scaled_down_to_the_clip_norm():
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


OUT_OF_RANGE = [
    *[("lr", 0.0), ("lr", -1.0), ("lr", math.nan), ("lr", math.inf), ("clip", 0.0), ("l2", -0.1), ("l2", math.nan)],
    *[("candidate_lr_scale", -0.1), ("candidate_lr_scale", math.inf), ("output_lr_scale", math.nan)],
    *[("pull_back", -0.1), ("pull_back", 0.3), ("repetition", -1.0), ("repetition", math.inf)],
    *[("skip_below", -0.1), ("skip_below", math.inf), ("skip_below", math.nan)],
    *[("half_life", 0.0), ("floor", 1.5), ("beta1", 1.0), ("beta2", -0.1), ("epsilon", 0.0), ("momentum", 1.0)],
]


@pytest.mark.parametrize(
    ("optimizer", "field", "value"),
    [(kind, *case) for kind in OPTIMIZERS.values() for case in OUT_OF_RANGE if case[0] in kind.__dataclass_fields__],
)
def test_a_hyper_parameter_out_of_range_is_refused_by_name(optimizer, field, value):
    with pytest.raises(ValueError, match=f"{optimizer.name}: {field} must be .*, not {value}"):
        optimizer(**{field: value})


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("key", ["candidate_lr_scale", "output_lr_scale", "rate"])
def test_an_unknown_key_of_a_description_is_refused_with_the_known_ones(name, key):
    with pytest.raises(ValueError, match=rf"{name} has no '{key}'; it has .*candidate, clip, .*lr, .*output"):
        optimizer_from({"name": name, key: 1.0})


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.5), RMSprop(output_lr_scale=5.0), Adam(candidate_lr_scale=0.5)])
def test_a_description_has_the_keys_of_version_0_1_and_leads_back_to_the_optimizer(optimizer):
    description = describe_optimizer(optimizer)
    assert description["candidate"] == optimizer.candidate_lr_scale
    assert description["output"] == optimizer.output_lr_scale
    assert not [key for key in description if key.endswith("scale")]
    assert optimizer_from(description) == optimizer


def test_the_checkpoints_of_the_bundled_models_describe_their_optimizer_by_these_keys():
    described = read_checkpoint(PRETRAINED / "small.safetensors")[1]["optimizer"]
    optimizer = optimizer_from({key: value for key, value in described.items() if key not in PROGRESS})
    assert (optimizer.candidate_lr_scale, optimizer.output_lr_scale) == (described["candidate"], described["output"])
    assert OptimizerState(optimizer, np.zeros(0, dtype=np.float32)).describe().keys() >= described.keys()


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
    size = TABLES + (V + 1) * WIDTH
    a, b = np.full(size, 1, dtype=np.float32), np.full(size, 2, dtype=np.float32)
    ours, theirs = gradient_of(a, [1, 0, 0, 1]), gradient_of(b, [1, 1, 0, 0])
    add_gradient(ours, theirs, TABLES, WIDTH)
    assert ours.grad.reshape(-1, WIDTH)[:, 0].tolist() == [3] * N_ROWS + [3, 2, 1, 1]
    assert ours.touched.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("options", [{"lr": 1e39}, {"lr": 1e-60}, {"epsilon": 1e-50}])
def test_a_number_that_is_0_or_infinite_in_float32_is_refused(options):
    with pytest.raises(ValueError, match="above 0"):
        Adam(**options)


@pytest.mark.parametrize("value", ["x", None, True])
def test_a_hyper_parameter_that_is_no_number_is_refused_by_name(value):
    with pytest.raises(TypeError, match=f"adam: lr must be a number, not {value!r}"):
        Adam(lr=value)


def test_a_number_of_numpy_becomes_one_that_json_knows():
    assert type(RMSprop(lr=np.float32(0.5)).lr) is float
