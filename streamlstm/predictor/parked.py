"""A parked stream: all that it does not share with the other streams over the same model."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..checkpoint import Arrays
from ..kernels.arrays import F32
from ..memory.parked import ParkedMemory
from ..model import Layout
from ..vocabulary import Tokens
from .weights import Weights


class Window(NamedTuple):
    """An unfinished window.

    state   float32, h and c at its beginning, as they lie in a record
    tokens  int32 [n]
    bits    float32 [n], their surprisals
    """

    state: F32
    tokens: Tokens
    bits: F32


class ParkedStream:
    """One of many streams over a model, while no `StreamReader` reads for it.

    weights    those of the model, until the stream learns: then its own
    window     the unfinished window
    n_symbols  how many symbols it has seen
    memory     None without one
    """

    def __init__(self, weights: Weights, window: Window, n_symbols: int, memory: ParkedMemory | None) -> None:
        weights.share_with(self)
        self.weights, self.window, self.n_symbols, self.memory = weights, window, n_symbols, memory

    def copy(self) -> ParkedStream:
        """An independent copy, which shares the weights until one of the two learns."""
        memory = None if self.memory is None else self.memory.copy()
        return ParkedStream(self.weights, self.window, self.n_symbols, memory)

    def nbytes(self, model: Weights) -> int:
        """The number of bytes that it takes, without the weights of its model."""
        own = sum(array.nbytes for array in self.window)
        own += 0 if self.memory is None else self.memory.nbytes
        return own if self.weights is model else own + self.weights.nbytes

    def own_arrays(self, model: Weights) -> tuple[Arrays, Any]:
        """All arrays as they are, and the other values, for `StreamReader.unpack`."""
        arrays: Arrays = {} if self.memory is None else self.memory.own_arrays()
        arrays |= self.window._asdict()
        if self.weights is model:
            return arrays, [self.n_symbols, None]
        optimizer = self.weights.optimizer
        return arrays | {"theta": self.weights.theta, "slots": optimizer.slots}, [self.n_symbols, optimizer.describe()]

    def to_arrays(self, layout: Layout, model: Weights) -> tuple[Arrays, dict[str, Any]]:
        """The arrays by name and the JSON values of a snapshot, without the weights of the model."""
        h, c = layout.hidden_state(self.window.state)
        arrays: Arrays = {"h": h, "c": c, "tokens": self.window.tokens, "bits": self.window.bits}
        values: dict[str, Any] = {"n_symbols": self.n_symbols}
        if self.memory is not None:
            arrays |= self.memory.to_arrays()
        if self.weights is not model:
            arrays |= {"theta": self.weights.theta, "slots": self.weights.optimizer.slots}
            values["optimizer"] = self.weights.optimizer.describe()
        return arrays, values
