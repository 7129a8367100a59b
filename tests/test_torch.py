"""The network against PyTorch's nn.LSTM: against stored results, and against PyTorch itself if it is installed."""

from pathlib import Path

import numpy as np
import pytest
from extras import library
from safetensors.numpy import load_file

from streamlstm import SGD, Config, StreamPredictor, Vocabulary

FILE = Path(__file__).with_name("torch_answers.safetensors")
SHAPES = [(5, 1, 7, 6), (9, 2, 12, 11), (6, 3, 8, 20)]  # hidden, layers, symbols, window


def check(answers, hidden, layers, n_symbols, window):
    """Assert that a stacked network with PyTorch's weights has PyTorch's distributions, loss and gradients."""
    vocabulary = Vocabulary.from_text("".join(chr(97 + index) for index in range(n_symbols)))
    weights = {name[7:]: array.astype(np.float32) for name, array in answers.items() if name.startswith("weight/")}
    config = Config(hidden, layers, window, "stacked", memory=False)
    predictor = StreamPredictor.from_weights(weights, vocabulary, config, SGD(lr=1.0, clip=float("inf")))
    symbols, bits = vocabulary.decode(answers["tokens"]), []
    for symbol, expected in zip(symbols[:-1], answers["distributions"], strict=True):
        bits.append(predictor.observe(symbol))
        assert np.max(np.abs(predictor.predict() - expected)) < 1e-5
    before = predictor.weights()
    bits.append(predictor.observe(symbols[-1]))  # theta -= 1.0 · gradient of the mean loss
    assert np.mean(bits[1:]) * np.log(2) == pytest.approx(answers["loss"].item(), rel=1e-5)
    for name, after in predictor.weights().items():
        if name.startswith("start_"):  # PyTorch knows no begin-of-stream symbol, and the text has none
            assert np.array_equal(before[name], after)
            continue
        gradient = answers[f"gradient/{name}"]
        error = np.linalg.norm(before[name] - after - gradient) / np.linalg.norm(gradient)
        assert error < 1e-4, (name, error)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_stored_results_of_pytorch_are_reproduced(shape):
    prefix = "-".join(map(str, shape)) + "/"
    answers = {name[len(prefix) :]: array for name, array in load_file(FILE).items() if name.startswith(prefix)}
    check(answers, *shape)


@pytest.mark.parametrize("shape", [*SHAPES, (32, 2, 27, 32)], ids=str)
def test_the_results_of_the_installed_pytorch_are_reproduced(shape):
    library("torch")
    from torch_answers import answers

    check(answers(*shape), *shape)


def test_the_weights_of_a_torch_lstm_are_accepted_as_they_are():
    torch = library("torch")
    torch.manual_seed(0)
    lstm, linear = torch.nn.LSTM(7, 5, 2), torch.nn.Linear(5, 7)
    weights = {**lstm.state_dict(), "weight_out": linear.weight.detach(), "bias_out": linear.bias.detach()}
    vocabulary, text = Vocabulary.from_text("abcdefg"), "abcdefgabc"
    predictor = StreamPredictor.from_weights(weights, vocabulary, Config(5, 2, connections="stacked", memory=False))
    predictor.observe_many(text)
    inputs = torch.nn.functional.one_hot(torch.tensor(vocabulary.encode(text)).long(), 7).float()
    with torch.no_grad():
        expected = torch.softmax(linear(lstm(inputs)[0][-1]), 0).numpy()
    assert np.max(np.abs(predictor.predict() - expected)) < 1e-5
