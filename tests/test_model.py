"""Shapes, the layout of flat arrays, and initial weights."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.model import InitConfig, Layout, aligned_zeros, fresh_theta, widened

configs = st.builds(
    Config, st.integers(1, 70), st.integers(1, 4), st.integers(1, 9), st.sampled_from(["skip", "stacked"])
)


@pytest.mark.parametrize(
    ("field", "value"),
    [("hidden", 0), ("hidden", 4097), ("hidden", 1.5), ("hidden", True), ("layers", 0), ("layers", -1), ("window", 0)]
    + [("window", "16"), ("connections", "dense")],
)
def test_a_config_out_of_range_is_refused_by_name_and_value(field, value):
    with pytest.raises(ValueError, match=rf"^{field} must be .*{value!r}$"):
        Config(**{field: value})


def test_a_config_converts_integers_of_numpy():
    config = Config(hidden=np.int64(32), window=np.uint8(4))
    assert config == Config(hidden=32, window=4)
    assert {type(config.hidden), type(config.window)} == {int}


@given(configs, st.integers(1, 300))
def test_every_weight_has_pytorchs_name_and_shape_and_its_own_offset(config, n_symbols):
    layout = Layout(config, n_symbols)
    H, V, skip = config.hidden, n_symbols, config.connections == "skip"
    flat = np.zeros(layout.size, dtype=np.float32)
    for number, block in enumerate(layout.blocks(flat), 1):
        assert not block.view.any(), "two weights overlap"
        block.view[:] = number
    named = layout.named(flat)
    shapes = {"weight_out": (V, H * config.layers if skip else H), "bias_out": (V,)}
    for layer in range(config.layers):
        inputs = V if layer == 0 else V + H if skip else H
        shapes |= {
            f"weight_ih_l{layer}": (4 * H, inputs),
            f"weight_hh_l{layer}": (4 * H, H),
            f"bias_l{layer}": (4 * H,),
        }
        shapes |= {f"start_l{layer}": (4 * H,)} if skip or layer == 0 else {}
    assert {name: weight.shape for name, weight in named.items()} == layout.shapes == shapes
    assert list(named) == list(layout.shapes)
    assert np.array_equal(layout.flat(named), flat)


WEIGHTS = Layout(Config(3, 2), 5)
"""A layout whose weights the tests below give to `flat`."""


def weights(**replaced):
    """Weights for WEIGHTS, distinct numbers; some replaced, or with None left out."""
    generator = np.random.default_rng(0)
    given = {name: generator.normal(size=shape).astype(np.float32) for name, shape in WEIGHTS.shapes.items()}
    return {name: weight for name, weight in (given | replaced).items() if weight is not None}


class Tensor:
    """An array of another library, which NumPy can convert."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        if not isinstance(self.array, np.ndarray):
            raise RuntimeError("call detach() first")
        return self.array


def test_the_two_biases_of_pytorch_are_added_in_float32():
    one, other = np.float32(0.1) * np.arange(12, dtype=np.float32), np.float32(1 / 3) * np.ones(12, np.float32)
    for kind in (np.asarray, np.float64, Tensor, list):
        given = weights(bias_l1=None, bias_ih_l1=kind(one), bias_hh_l1=kind(other))
        assert np.array_equal(WEIGHTS.flat(given), WEIGHTS.flat(weights(bias_l1=one + other)))


def test_half_of_the_biases_of_pytorch_or_both_forms_are_refused():
    bias = np.ones(12, np.float32)
    for present, missing in (("bias_ih_l1", "bias_hh_l1"), ("bias_hh_l1", "bias_ih_l1")):
        with pytest.raises(ValueError, match=f"the weight {missing} is missing"):
            WEIGHTS.flat(weights(bias_l1=None, **{present: bias}))
        with pytest.raises(ValueError, match="bias_ih_l1 and bias_hh_l1 replace bias_l1; give one or the other"):
            WEIGHTS.flat(weights(**{present: bias}))


@pytest.mark.parametrize("name", ["weight_ih_l2", "bias_ih", "weight_hh_l0_reverse", "bias_ih_out", "Weight_out", "hh"])
def test_an_unknown_weight_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"unknown weight '{name}'; this network has weight_ih_l0, .*bias_out"):
        WEIGHTS.flat(weights(**{name: np.zeros(3)}))


def test_the_other_arrays_of_a_checkpoint_are_ignored():
    names = ["h", "c", "tokens", "memory.counts", "optimizer.0.weight_out"]
    assert np.array_equal(WEIGHTS.flat(weights(**{name: [np.nan] for name in names})), WEIGHTS.flat(weights()))


@pytest.mark.parametrize("name", [name for name in WEIGHTS.shapes if not name.startswith("start_")])
def test_a_weight_that_is_missing_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"the weight {name} is missing"):
        WEIGHTS.flat(weights(**{name: None}))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("name", [*WEIGHTS.shapes, "bias_ih_l1"])
def test_a_weight_that_is_not_finite_is_refused_by_name(name, poison):
    given = weights(bias_l1=None, bias_ih_l1=np.ones(12), bias_hh_l1=np.ones(12)) if name == "bias_ih_l1" else weights()
    given[name] = given[name].astype(np.float64)
    given[name].flat[-1] = poison
    with pytest.raises(ValueError, match=rf"the weight {name}( \+ bias_hh_l1)? holds a number that is not finite"):
        WEIGHTS.flat(given)


@pytest.mark.parametrize("wrong", [1.0, [], np.ones((12, 1)), np.ones(11), np.ones((3, 4)), [[1.0], [1.0, 2.0]]])
def test_a_weight_of_another_shape_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=r"the weight bias_l1 (has the shape .*; this network needs \[12\]|is not an)"):
        WEIGHTS.flat(weights(bias_l1=wrong))


@pytest.mark.parametrize("wrong", [["1"] * 12, [None] * 12, [True] * 12, np.ones(12, complex), Tensor([1.0] * 12)])
def test_a_weight_that_does_not_hold_real_numbers_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=r"the weight bias_l1 (must hold real numbers|is not an array: call detach)"):
        WEIGHTS.flat(weights(bias_l1=wrong))


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int8, np.uint32])
def test_a_weight_of_another_type_of_number_is_converted(kind):
    bias = np.arange(12)
    assert np.array_equal(WEIGHTS.flat(weights(bias_l1=kind(bias))), WEIGHTS.flat(weights(bias_l1=np.float32(bias))))


def test_weights_that_do_not_fit_are_refused_before_anything_is_allocated(monkeypatch):
    monkeypatch.setattr("streamlstm.model.aligned_zeros", lambda size: pytest.fail(f"{size} numbers are allocated"))
    with pytest.raises(ValueError, match="the weight weight_ih_l0 has the shape"):
        Layout(Config(4096, 16), 5).flat(weights())


@pytest.mark.parametrize("field", ["table", "gain", "forget_bias"])
def test_an_initial_weight_that_is_not_finite_is_refused_by_name(field):
    with pytest.raises(ValueError, match=f"{field} must be a finite number, not nan"):
        InitConfig(**{field: float("nan")})


def test_hidden_states_are_views_of_a_state():
    layout = Layout(Config(3, 2), 5)
    state = np.zeros(layout.state, dtype=np.float32)
    h, c = layout.hidden_state(state)
    assert h.shape == c.shape == (2, 3)
    h[:], c[:] = 1, 2
    assert state.sum() == 6 + 12


@given(configs, st.integers(1, 200), st.integers(0, 5))
def test_fresh_weights_do_not_depend_on_padding_and_leave_it_zero(config, n_symbols, seed):
    layout = Layout(config, n_symbols)
    theta = fresh_theta(layout, seed)
    assert np.array_equal(layout.flat(layout.named(theta)), theta)


def test_fresh_weights_are_spread_as_asked_and_the_output_layer_is_zero():
    layout = Layout(Config(hidden=100, layers=2), 256)
    named = layout.named(fresh_theta(layout, 0, InitConfig(table=0.5, gain=2.0, forget_bias=0.25)))
    assert named["weight_ih_l0"].std() == pytest.approx(0.5, rel=0.02)
    assert named["weight_ih_l1"][:, :256].std() == pytest.approx(0.5, rel=0.02)
    assert named["weight_ih_l1"][:, 256:].std() == pytest.approx(0.2, rel=0.02)
    assert named["weight_hh_l0"].std() == pytest.approx(0.2, rel=0.02)
    assert abs(named["weight_hh_l0"].mean()) < 0.01
    assert named["bias_l0"].reshape(4, 100).mean(axis=1).tolist() == [0, 0.25, 0, 0]
    assert not named["weight_out"].any()
    assert not named["bias_out"].any()


def test_a_seed_may_be_an_integer_of_numpy():
    layout = Layout(Config(hidden=4), 4)
    assert np.array_equal(fresh_theta(layout, 7), fresh_theta(layout, np.uint8(7)))


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_a_seed_must_be_an_integer(seed):
    with pytest.raises(ValueError, match="seed must be an integer"):
        fresh_theta(Layout(Config(hidden=4), 4), seed)


@pytest.mark.parametrize(("size", "unit"), [(1, 64), (1000, 64), (99_999, 64), (1 << 19, 1 << 21), (777_777, 1 << 21)])
def test_arrays_are_aligned_to_cache_lines_and_large_ones_to_huge_pages(size, unit):
    assert aligned_zeros(size).ctypes.data % unit == 0
    assert aligned_zeros(size).size == size


@given(configs, st.integers(0, 70), st.integers(0, 9))
def test_a_widened_net_predicts_the_same_and_its_new_units_are_alive(config, more, seed):
    vocabulary = Vocabulary.from_text("abc")
    config = replace(config, memory=False)
    wide = replace(config, hidden=config.hidden + more)
    rng = np.random.default_rng(seed)
    fresh = StreamPredictor(vocabulary, config).weights()
    weights = {name: rng.normal(size=weight.shape).astype(np.float32) for name, weight in fresh.items()}
    after = widened(weights, Layout(config, 3), Layout(wide, 3), seed)
    nets = [StreamPredictor.from_weights(w, vocabulary, c) for w, c in ((weights, config), (after, wide))]
    for net in nets:
        net.learning = False
        net.observe_many("abcab")
    assert np.allclose(nets[0].predict(), nets[1].predict(), atol=1e-5)
    assert after["weight_hh_l0"].reshape(4, wide.hidden, -1)[:, config.hidden :].any(axis=-1).all()
