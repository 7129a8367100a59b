"""A predictor in plain NumPy: the network, the memory and their learning, symbol by symbol, from a model file on."""

import numpy as np

from .arithmetic import Array, log2
from .learning import Learning
from .model import Model, theta_of
from .network import Reference
from .saved import memory_of


class ReferenceStream:
    """What a model goes on to predict and to learn.

    p  the distribution of the next symbol, float32 [V]
    """

    def __init__(self, model: Model) -> None:
        config, arrays = model.values["config"], model.arrays
        H, skip = config["hidden"], config["connections"] == "skip"
        width = -(-H // 32) * 32
        self.V, self.window, self.learn = model.n_symbols, config["window"], model.values["learn"]
        self.network = Reference(theta_of(model), self.V, width, config["layers"], skip, dtype=np.float32)
        self.learning, self.memory = Learning(model, self.network), memory_of(model)
        self.tokens, self.bits = arrays["tokens"].tolist(), list(arrays["bits"])
        self.network.h[:, :H], self.network.c[:, :H] = arrays["h"], arrays["c"]
        self.network.p = self.network.distribution()
        for token in self.tokens:
            self.network.step(token)
        self.p = self.predict()

    def predict(self) -> Array:
        """The distribution of the next symbol."""
        p = self.network.p if self.memory is None else self.memory.predict(self.network.p)
        return p[: self.V]

    def observe(self, token: int) -> None:
        """Take the next symbol, and learn from it. The network learns once the symbol after a window is known."""
        bits = -log2(self.p[[token]])[0]
        if len(self.tokens) == self.window:
            self.learning.finish(self.tokens, self.bits, token)
            self.tokens, self.bits = [], []
        self.network.step(token)
        if self.learn == "all":
            self.tokens.append(token)
            self.bits.append(bits)
        else:
            self.network.tape = []
        if self.memory is not None:
            self.memory.observe(token, self.learn != "nothing")
        self.p = self.predict()
