"""The whole network in plain NumPy. Read this first: the kernels compute the same, only faster.

In float64 it uses NumPy's exp and tanh, and the tests check the kernels against it. In float32 it uses the kernels'
polynomials and their order of summation, and its results are equal to theirs bit for bit.

The letters: V symbols, H hidden units, G = 4·H gates, L layers, C columns of the output layer (V rounded up to a
multiple of 128); l layer, t time; z the gates i, f, g, o before σ and tanh. See `kernels/network.py`.
"""

from typing import Any

import numpy as np

from .arithmetic import Array, add_product, dot, exp, flush, in_order, reciprocal_root, sigmoid, tanh, tree
from .model import Model, theta_of

HYPER = [
    *["lr", "lr_candidate", "lr_output", "l2", "beta1", "beta2"],
    *["epsilon", "correct1", "correct2", "pull", "scale", "clip"],
]
LEAST, LEAST_TO_SQUARE, LEAST_SQUARE = 2.0**-60, 2.0**-54, 2.0**-120
"""What counts as 0, so that no product is a subnormal number: a smaller dy, dz, dc or h in the gradient, a smaller
gradient or its mean; the square of a smaller gradient; and a smaller mean square."""

Weights = dict[tuple[str, int], Array]
"""Matrices and biases by name and layer: ("recurrent", 0), …"""


class Reference:
    """An LSTM that reads one stream, with or without skip connections. `theta` is the flat array of the kernels.

    It begins in the zero state. Token V is the begin-of-stream symbol: reading it begins a new stream.
    """

    def __init__(self, theta: Array, V: int, H: int, L: int, skip: bool, *, dtype: type = np.float64) -> None:
        G, C, layers_read = 4 * H, -(-V // 128) * 128, range(0 if skip else L - 1, L)
        shapes: dict[tuple[str, int], tuple[int, ...]] = {}
        for l in range(L):
            shapes |= {("below", l): (H, G)} if l else {}
            shapes |= {("recurrent", l): (H, G), ("bias", l): (G,)}
        shapes |= {("output", l): (H, C) for l in layers_read} | {("output bias", 0): (C,)}
        shapes |= {("table", l): (V + 1, G) for l in (range(L) if skip else [0])}
        self.shapes, self.V, self.L, self.dtype = shapes, V, L, dtype
        self.weights, self.first = self.parts_of(theta), self.parts_of(theta)
        self.h: Array = np.zeros((L, H), dtype)
        self.c: Array = np.zeros((L, H), dtype)
        self.tape: list[tuple[Any, ...]] = []
        self.read: list[int] = []
        self.p = self.distribution()

    @classmethod
    def of(cls, predictor: Any, *, dtype: type = np.float64) -> "Reference":
        """The network of a `StreamPredictor`, without its memory, in the state in which the predictor is now.

        The hidden units are rounded up to a multiple of 32; those that the predictor does not have stay 0.
        """
        config, characters = predictor.config, predictor.vocabulary.characters
        shape = {"hidden": config.hidden, "layers": config.layers, "connections": config.connections}
        model = Model(predictor.weights(), {"config": shape, "vocabulary": {"characters": characters}})
        skip, rows = config.connections == "skip", -(-config.hidden // 32) * 32
        network = cls(theta_of(model), model.n_symbols, rows, config.layers, skip, dtype=dtype)
        network.h[:, : config.hidden], network.c[:, : config.hidden] = predictor.state
        network.p = network.distribution()
        return network

    def parts_of(self, flat: Array) -> Weights:
        """Copies of the parts of an array that is laid out as theta."""
        parts = np.split(flat, np.cumsum([np.prod(shape) for shape in self.shapes.values()])[:-1])
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.reshape(shape).astype(self.dtype) for (name, shape), part in named}

    def step(self, token: int) -> None:
        """Read a symbol: z = table[token] + W_below·h_below + W_recurrent·h + bias; then the gates, c, h and p."""
        if token == self.V:
            self.h[:], self.c[:] = 0, 0
        w, old_h, old_c, gates = self.weights, self.h.copy(), self.c.copy(), []
        for l in range(self.L):
            z = w["bias", l]
            z = z + w["table", l][token] if ("table", l) in w else z
            z = add_product(z, self.h[l - 1], w["below", l]) if l else z
            i, f, g, o = np.split(add_product(z, self.h[l], w["recurrent", l]), 4)
            i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
            self.c[l] = f * self.c[l] + i * g
            self.h[l] = o * tanh(self.c[l])
            gates.append((i, f, g, o))
        self.p = self.distribution()
        self.tape.append((token, old_h, old_c, gates, self.h.copy(), self.c.copy(), self.p))

    def distribution(self) -> Array:
        """p = softmax(Σ_l W_output·h_l + bias), with zeros in the padded columns."""
        y = self.weights["output bias", 0]
        for name in self.weights:
            y = add_product(y, self.h[name[1]], self.weights[name]) if name[0] == "output" else y
        e = exp(y - y[: self.V].max())
        e[self.V :] = 0
        return e / tree(in_order(e.reshape(-1, 128)))

    def gradient(self, targets: list[int]) -> Weights:
        """The gradient of the loss Σ_t -ln p_t(target_t) by truncated backpropagation through time; clears the tape.

        The begin-of-stream symbol as a target adds no loss, and nothing goes back beyond it.
        """
        tokens, h_before, old_c, gates, h_after, c, p = zip(*self.tape, strict=True)
        old_h, h = ([flush(row, LEAST) for row in rows] for rows in (h_before, h_after))
        w, T = self.weights, range(len(self.tape))
        ends = [target == self.V for target in targets]
        dy = [p[t] * 0 if ends[t] else p[t] - np.eye(len(p[t]), dtype=self.dtype)[targets[t]] for t in T]
        dy = [flush(dy[t], LEAST) for t in T]
        grad = {("output bias", 0): in_order(dy)}
        dz: list[Array] = []
        for l in reversed(range(self.L)):
            dh = [np.zeros_like(h[t][l]) for t in T]
            if ("output", l) in w:
                dh = [dh[t] + dot(w["output", l], dy[t]) for t in T]
                grad["output", l] = in_order([np.outer(h[t][l], dy[t]) for t in T])
            if l < self.L - 1:
                dh = [dh[t] + dot(w["below", l + 1], dz[t]) for t in T]
            dc, dz = np.zeros_like(dh[0]), [np.zeros(0)] * len(T)
            for t in reversed(T):
                i, f, g, o = gates[t][l]
                if ends[t]:
                    dc, dz[t] = np.zeros_like(dc), np.zeros(4 * len(dc), self.dtype)
                    continue
                if t < T[-1]:
                    dh[t] = dh[t] + dot(w["recurrent", l], dz[t + 1])
                tanh_c = tanh(c[t][l])
                dc = dc + dh[t] * o * (1 - tanh_c * tanh_c)
                df, do = dc * old_c[t][l] * f * (1 - f), dh[t] * tanh_c * o * (1 - o)
                dz[t] = flush(np.concatenate([dc * g * i * (1 - i), df, dc * i * (1 - g * g), do]), LEAST)
                dc = flush(dc * f, LEAST)
            grad["recurrent", l] = in_order([np.outer(old_h[t][l], dz[t]) for t in T])
            grad["bias", l] = in_order(dz)
            if l:
                grad["below", l] = in_order([np.outer(h[t][l - 1], dz[t]) for t in T])
            if ("table", l) in w:
                grad["table", l] = np.zeros_like(w["table", l])
                for t in T:
                    grad["table", l][tokens[t]] += dz[t]
        self.tape, self.read = [], sorted(set(tokens))
        return {name: grad[name] for name in w}

    def descend(self, rule: str, grad: Weights, slots: list[Weights], hyper: dict[str, float]) -> None:
        """One step of SGD, RMSprop or Adam down the gradient scale·grad, clipped to the norm `clip`.

        slots  the means m and v of the gradient and of its square, updated
        hyper  the values that `HYPER` names; correct1 and correct2 are the bias corrections 1 / (1 - βᵏ)

        Each weight also goes back a part `pull` of the distance that it had to its first value. The rows of tables of
        symbols that were not read in the window, and their slots, do not change.
        """
        lr, lr_candidate, lr_output, l2, b1, b2, epsilon, c1, c2, pull, scale, clip = (
            self.dtype(hyper[key]) for key in HYPER
        )
        dense = [name for name in grad if name[0] != "table"]
        layers, output = ([grad[name].ravel() for name in dense if ("output" in name[0]) is on] for on in (False, True))
        rows = [grad[name][v] for name in grad if name[0] == "table" for v in self.read]
        parts = [flush(part, LEAST_TO_SQUARE) for part in (np.concatenate(layers), np.concatenate(output), *rows)]
        norm = scale * np.sqrt(in_order([tree(in_order((part * part).reshape(-1, 128))) for part in parts]))
        scale, one = scale * (clip / norm) if norm > clip else scale, self.dtype(1)
        for name, w in self.weights.items():
            rate = np.full(w.shape[-1], lr_output if "output" in name[0] else lr)
            if "output" not in name[0]:
                rate.reshape(4, -1)[2] = lr_candidate
            used = self.read if name[0] == "table" else slice(None)
            g = flush(grad[name][used], LEAST) * scale + l2 * w[used]
            m, v = slots[0][name], slots[1][name]
            m[used] = b1 * m[used] + ((one - b1) * g if rule == "adam" else g)
            m[used] = flush(m[used], LEAST) if b1 or rule == "adam" else m[used]
            large = flush(g, LEAST_TO_SQUARE)
            v[used] = flush(b2 * v[used] + (one - b2) * (large * large), LEAST_SQUARE)
            x = v[used] * c2
            if rule == "adam":
                step = rate * (m[used] * c1) / (np.sqrt(x) + epsilon)
            elif rule == "rmsprop":
                step = rate * g * reciprocal_root(x + epsilon * epsilon)
            else:
                step = rate * m[used]
            w[used] = w[used] - step + pull * (self.first[name][used] - w[used])
