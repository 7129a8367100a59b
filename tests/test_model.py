"""Shapes, places and initial weights."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.model import Layout, Start, aligned_zeros, fresh_theta, widened

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


def test_a_config_takes_whole_numbers_of_numpy_as_its_own():
    config = Config(hidden=np.int64(32), window=np.uint8(4))
    assert config == Config(hidden=32, window=4)
    assert {type(config.hidden), type(config.window)} == {int}


@given(configs, st.integers(1, 300))
def test_every_weight_has_pytorchs_name_and_shape_and_its_own_place(config, n_symbols):
    layout = Layout(config, n_symbols)
    H, V, skip = config.hidden, n_symbols, config.connections == "skip"
    flat = np.zeros(layout.size, dtype=np.float32)
    for number, block in enumerate(layout.blocks(flat), 1):
        assert not block.view.any(), "two weights share a place"
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
    assert {name: weight.shape for name, weight in named.items()} == shapes
    assert np.array_equal(layout.flat(named), flat)


@given(configs, st.integers(1, 200), st.integers(0, 5))
def test_fresh_weights_do_not_depend_on_padding_and_leave_it_zero(config, n_symbols, seed):
    layout = Layout(config, n_symbols)
    theta = fresh_theta(layout, seed)
    assert np.array_equal(layout.flat(layout.named(theta)), theta)


def test_fresh_weights_are_spread_as_asked_and_the_output_layer_is_zero():
    layout = Layout(Config(hidden=100, layers=2), 256)
    named = layout.named(fresh_theta(layout, 0, Start(table=0.5, gain=2.0, forget_bias=0.25)))
    assert named["weight_ih_l0"].std() == pytest.approx(0.5, rel=0.02)
    assert named["weight_ih_l1"][:, :256].std() == pytest.approx(0.5, rel=0.02)
    assert named["weight_ih_l1"][:, 256:].std() == pytest.approx(0.2, rel=0.02)
    assert named["weight_hh_l0"].std() == pytest.approx(0.2, rel=0.02)
    assert abs(named["weight_hh_l0"].mean()) < 0.01
    assert named["bias_l0"].reshape(4, 100).mean(axis=1).tolist() == [0, 0.25, 0, 0]
    assert not named["weight_out"].any()
    assert not named["bias_out"].any()


def test_a_seed_may_be_numpys_whole_number():
    layout = Layout(Config(hidden=4), 4)
    assert np.array_equal(fresh_theta(layout, 7), fresh_theta(layout, np.uint8(7)))


@pytest.mark.parametrize("seed", [-1, 0.5, None, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed must be a whole number"):
        fresh_theta(Layout(Config(hidden=4), 4), seed)


@pytest.mark.parametrize("size", [1, 1000, 99_999])
def test_arrays_begin_at_cache_lines(size):
    assert aligned_zeros(size).ctypes.data % 64 == 0
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
