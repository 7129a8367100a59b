"""Predictors and tokens for the tests."""

from dataclasses import replace

import numpy as np

from streamlstm import RMSprop, StreamPredictor, Vocabulary
from streamlstm.model import Layout
from streamlstm.reference.arithmetic import Array
from streamlstm.reference.network import Reference


def random_predictor(config, vocabulary=None, optimizer=None, seed=0, memory=False):
    """A predictor with random weights, also in the output layer: a fresh one would predict uniformly."""
    vocabulary, config = vocabulary or Vocabulary.from_text("abcdefghij"), replace(config, memory=memory)
    generator = np.random.default_rng(seed)
    layout = Layout(config, len(vocabulary))
    empty = layout.named(np.zeros(layout.size, dtype=np.float32))
    weights = {name: generator.normal(0, 0.4, array.shape).astype(np.float32) for name, array in empty.items()}
    return StreamPredictor.from_weights(weights, vocabulary, config, optimizer or RMSprop())


def random_tokens(n, n_symbols, seed=0):
    """n random tokens; lower tokens are more frequent."""
    generator = np.random.default_rng(seed)
    return (n_symbols * generator.random(n) ** 2).astype(np.int32)


def theta_of(predictor) -> Array:
    """The predictor's weights, flat and padded as the kernels read them."""
    return Layout(predictor.config, len(predictor.vocabulary)).flat(predictor.weights())


def twin_of(predictor, dtype=np.float64) -> Reference:
    """The NumPy twin with the predictor's weights, in the state in which streams begin."""
    config, theta = predictor.config, theta_of(predictor)
    layout = Layout(config, len(predictor.vocabulary))
    twin = Reference(theta, layout.n_symbols, layout.hidden, config.layers, config.connections == "skip", dtype=dtype)
    if layout.has_start(theta):
        twin.step(layout.n_symbols)
        twin.tape = []
    return twin
