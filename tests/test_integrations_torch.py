"""CharLSTM: the forward pass and the gradients of the kernels, weights both ways, and the begin-of-stream symbol."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from extras import library
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor, random_tokens, theta_of

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.jit.decorators import native
from streamlstm.kernels import gradient, network
from streamlstm.model import Layout
from streamlstm.predictor.tape import Tape
from streamlstm.predictor.weights import Learner

torch = library("torch")
torch.set_num_threads(1)  # on a busy machine the threads of so small products only wait for each other
from streamlstm.integrations.torch import CharLSTM  # noqa: E402  needs PyTorch

SHAPES = [
    Config(12, 1, 9),
    Config(16, 3, 12),
    Config(20, 2, 7, "stacked"),
    Config(32, 2, 24),
]
V = 10
BEGIN = V


def ids(config):
    return f"{config.layers}x{config.hidden}-{config.connections}"


def without_start(predictor):
    """The same predictor with weights that do not know the begin-of-stream symbol."""
    weights = {name: weight for name, weight in predictor.weights().items() if not name.startswith("start_")}
    return StreamPredictor.from_weights(weights, predictor.vocabulary, predictor.config)


@pytest.mark.parametrize("config", SHAPES, ids=ids)
@pytest.mark.parametrize("knows_start", [True, False])
def test_the_distributions_and_states_are_those_of_a_predictor_within_1e_5(config, knows_start):
    predictor = random_predictor(config)
    predictor = predictor if knows_start else without_start(predictor)
    predictor.learning = False
    model, tokens = CharLSTM.from_predictor(predictor), random_tokens(40, V)
    with torch.no_grad():
        logits, (h, c) = model(torch.from_numpy(tokens[None]).long())
        distributions = torch.softmax(logits[0], 1).numpy()
    for token, expected in zip(tokens.tolist(), distributions, strict=True):
        predictor.observe_token(token)
        assert np.max(np.abs(predictor.predict() - expected)) < 1e-5
    for ours, theirs in zip(predictor.state, (h, c), strict=True):
        assert np.max(np.abs(ours - theirs[:, 0].numpy())) < 1e-5


def starts_of(predictor, kind):
    """The predictor with weights from the begin-of-stream symbol in each layer, in none, or in one of them only."""
    weights, names = predictor.weights(), sorted(name for name in predictor.weights() if name.startswith("start_"))
    zero = {"all": [], "none": names, "first": names[1:], "last": names[:-1]}[kind]
    weights |= {name: np.zeros_like(weights[name]) for name in zero}
    return StreamPredictor.from_weights(weights, predictor.vocabulary, predictor.config)


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 3), st.sampled_from(["skip", "stacked"])),
    kind=st.sampled_from(["all", "none", "first", "last"]),
    tokens=st.integers(1, 12).flatmap(
        lambda T: st.lists(st.lists(st.integers(0, V) | st.just(BEGIN), min_size=T, max_size=T), min_size=1, max_size=3)
    ),
    n_before=st.none() | st.integers(0, 5),
    seed=st.integers(0, 3),
)
@settings(max_examples=60)
def test_whatever_the_tokens_are_it_is_its_predictor(shape, kind, tokens, n_before, seed):
    """A stream of the predictor is reset where the module reads the begin-of-stream symbol."""
    hidden, layers, connections = shape
    predictor = starts_of(random_predictor(Config(hidden, layers, 8, connections), seed=seed), kind)
    model = CharLSTM.from_predictor(predictor)
    predictor.learning = False
    predictor.observe_many(random_tokens(n_before or 0, V))
    state = None
    if n_before is not None:
        state = tuple(part.expand(-1, len(tokens), -1) for part in model.state_of(predictor))
    with torch.no_grad():
        logits, (h, c) = model(torch.tensor(tokens), state)
    for row, stream in enumerate(tokens):
        twin = predictor.fork()
        for token, expected in zip(stream, torch.softmax(logits[row], 1).numpy(), strict=True):
            twin.reset() if token == BEGIN else twin.observe_token(token)
            assert np.max(np.abs(twin.predict() - expected)) < 1e-5
        for ours, theirs in zip(twin.state, (h, c), strict=True):
            assert np.max(np.abs(ours - theirs[:, row].numpy())) < 1e-5


def test_weights_from_the_begin_of_stream_symbol_that_are_zero_learn():
    predictor = without_start(random_predictor(Config(16, 2, 8)))
    model = CharLSTM.from_predictor(predictor)
    logits, _ = model(torch.tensor([[BEGIN, 1, 2], [1, BEGIN, 3]]))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor([1, 2, 3, 2, 3, 4])).backward()
    assert all(model.get_parameter(f"start_l{layer}").grad.any() for layer in range(2))


def begin_anywhere(T, B):
    """Tokens [T + 1, B] in which streams begin at any time, also at the same one."""
    tokens = random_tokens((T + 1) * B, V).reshape(T + 1, B)
    tokens[np.random.default_rng(1).random(tokens.shape) < 0.15] = BEGIN
    tokens[0] = BEGIN
    return tokens


@pytest.mark.parametrize("config", SHAPES, ids=ids)
def test_the_gradients_are_those_of_the_kernels_within_1e_5(config):
    predictor = random_predictor(config)
    T, B, layout = config.window, 3, Layout(predictor.config, V)
    tokens, theta = begin_anywhere(T, B), theta_of(predictor)
    learner, stream = Learner(layout, T, B), Tape(layout, T, learning=True, batch=B).stream
    learner.gradient.grad[:] = 0  # the rows of symbols that do not occur keep what they hold
    stream.tokens[:] = tokens.ravel()
    native(network.forward)(theta, stream, 0, T, B)
    native(gradient.backward)(theta, learner.gradient, stream, T, B)
    model, text = CharLSTM.from_predictor(predictor), torch.from_numpy(tokens.T.copy()).long()
    logits, _ = model(text[:, :-1])
    targets = text[:, 1:].flatten()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, ignore_index=BEGIN, reduction="sum").backward()
    for name, ours in layout.named(learner.gradient.grad).items():
        theirs = model.get_parameter(name).grad.numpy()
        assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs), name


@pytest.mark.parametrize("config", SHAPES, ids=ids)
def test_weights_go_both_ways_unchanged(config):
    predictor = random_predictor(config, memory=True)
    back = CharLSTM.from_predictor(predictor).to_predictor()
    assert (back.config, back.vocabulary) == (replace(config, memory=True), predictor.vocabulary)
    for name, weight in predictor.weights().items():
        assert np.array_equal(weight, back.weights()[name]), name
    again = CharLSTM.from_predictor(back)
    for name, weight in CharLSTM.from_predictor(predictor).state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_the_names_and_shapes_of_the_parameters_are_those_of_a_predictor():
    predictor = random_predictor(SHAPES[1])
    shapes = {name: tuple(weight.shape) for name, weight in CharLSTM.from_predictor(predictor).named_parameters()}
    assert shapes == {name: weight.shape for name, weight in predictor.weights().items()}


@pytest.mark.parametrize("config", SHAPES, ids=ids)
def test_streams_begin_in_the_state_in_which_those_of_a_predictor_begin(config):
    for predictor in (random_predictor(config), without_start(random_predictor(config))):
        state = CharLSTM.from_predictor(predictor).initial_state(2)
        for ours, theirs in zip(predictor.state, state, strict=True):
            assert theirs.shape == (config.layers, 2, config.hidden)
            for stream in range(2):
                assert np.max(np.abs(ours - theirs[:, stream].detach().numpy())) < 1e-5


def test_a_predictor_in_midstream_is_continued_from_its_state():
    predictor = random_predictor(SHAPES[1])
    predictor.learning = False
    predictor.observe_many(random_tokens(30, V))
    model = CharLSTM.from_predictor(predictor)
    state = model.state_of(predictor)
    predictor.observe_token(3)
    with torch.no_grad():
        expected = torch.softmax(model(torch.tensor([[3]]), state)[0][0, 0], 0).numpy()
    assert np.max(np.abs(predictor.predict() - expected)) < 1e-5


def test_reading_in_parts_gives_what_reading_at_once_gives():
    model = CharLSTM.from_predictor(random_predictor(SHAPES[1]))
    tokens = torch.from_numpy(begin_anywhere(20, 4).T.copy()).long()
    with torch.no_grad():
        whole, last = model(tokens)
        first, state = model(tokens[:, :7])
        second, end = model(tokens[:, 7:], state)
    assert torch.allclose(whole, torch.cat([first, second], 1), atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(last, end, strict=True))


def test_stacked_layers_are_those_of_torchs_own_lstm():
    config = SHAPES[2]
    model = CharLSTM.from_predictor(random_predictor(config))
    lstm = torch.nn.LSTM(V, config.hidden, config.layers, batch_first=True)
    layers = {name: value for name, value in model.state_dict().items() if not name.startswith("start_")}
    weights = {name.replace("bias_", "bias_ih_"): value for name, value in layers.items() if name[-3:-1] == "_l"}
    zeros = {name.replace("_ih_", "_hh_"): 0 * value for name, value in weights.items() if name.startswith("bias_ih_")}
    lstm.load_state_dict(weights | zeros)
    tokens = torch.from_numpy(random_tokens(24, V).reshape(2, 12)).long()
    state = tuple(torch.zeros(config.layers, 2, config.hidden) for _ in range(2))
    with torch.no_grad():
        expected = lstm(torch.nn.functional.one_hot(tokens, V).float(), state)[0]
        expected = torch.nn.functional.linear(expected, model.weight_out, model.bias_out)
        assert torch.allclose(model(tokens, state)[0], expected, atol=1e-5)


def test_a_fresh_module_predicts_uniformly_and_learns():
    vocabulary = Vocabulary.from_text("abc")
    model = CharLSTM(vocabulary, Config(hidden=16, layers=2), seed=3)
    tokens = torch.tensor([[len(vocabulary), *([0, 1, 2] * 12)]])
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.02), []
    for _ in range(40):
        logits, _ = model(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(3))
    assert losses[-1] < 0.1
    predictor = model.to_predictor(about={"trained": "in a test"})
    assert predictor.observe("a") < 1  # it has learned how to begin
    assert predictor.observe_many("bcabc").mean() < 0.3
    assert predictor.about["trained"] == "in a test"


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (CharLSTM(Vocabulary.from_text("ab"), Config(8, 1), seed) for seed in (1, 1, 2))
    assert torch.equal(one.weight_hh_l0, same.weight_hh_l0)
    assert not torch.equal(one.weight_hh_l0, other.weight_hh_l0)


@pytest.mark.parametrize("shape", [(5,), (2, 0), (1, 2, 3)])
def test_tokens_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="must have the shape"):
        CharLSTM(Vocabulary.from_text("ab"), Config(8, 1))(torch.zeros(shape, dtype=torch.long))


def test_weights_that_are_not_finite_are_refused():
    model = CharLSTM(Vocabulary.from_text("ab"), Config(8, 1))
    with torch.no_grad():
        model.bias_l0[0] = float("nan")
    with pytest.raises(ValueError, match="bias_l0"):
        model.to_predictor()


@pytest.mark.slow
def test_the_training_script_writes_a_model_for_a_stream(tmp_path):
    text, model = tmp_path / "text", tmp_path / "model.safetensors"
    text.write_text("one two three four. " * 400)
    script = Path(__file__).parent.parent / "demos" / "train_torch.py"
    options = "--vocab text --hidden 16 --layers 2 --epochs 6 --batch 4 --window 32 --longest 256 --lr 0.02 --warmup 5"
    options += " --connections stacked --device cpu"
    command = [sys.executable, script, text, "-o", model, *options.split()]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    predictor = StreamPredictor.load(model)
    assert predictor.config == Config(16, 2, 32, "stacked")
    predictor.learning = False
    assert predictor.observe_many("one two three four. " * 5).mean() < 1
