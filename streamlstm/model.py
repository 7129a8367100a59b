"""A model: its shape (Config), where everything lies in flat arrays (Layout), and the weights (theta)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .kernels.arrays import F32, I64

MAX_WINDOW = 4096

CONNECTIONS = ("skip", "stacked")

CACHE_LINE = 16
"""float32 numbers in 64 bytes."""


@dataclass(frozen=True)
class Config:
    """The shape of a network.

    hidden       hidden units per layer, 1 … 4096
    layers       number of LSTM layers, 1 … 16
    window       symbols between two learning steps, and how far back the gradient goes, 1 … 4096
    memory       whether counts of what was seen are mixed with the network's predictions
    memory_bits  the memory has 2**memory_bits pages of 64 bytes, 10 … 26
    connections  "skip": every layer sees the symbol, the output layer reads every layer; "stacked": only the first
                 sees the symbol and only the last is read, as in PyTorch's nn.LSTM
    """

    hidden: int = 64
    layers: int = 3
    window: int = 16
    connections: str = "skip"
    memory: bool = True
    memory_bits: int = 20

    def __post_init__(self) -> None:
        for name, least, most in (
            ("hidden", 1, 4096),
            ("layers", 1, 16),
            ("window", 1, MAX_WINDOW),
            ("memory_bits", 10, 26),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
                raise ValueError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.memory, bool):
            raise ValueError(f"memory must be True or False, not {self.memory!r}")
        if self.connections not in CONNECTIONS:
            raise ValueError(f"connections must be one of {', '.join(CONNECTIONS)}, not {self.connections!r}")


class Block(NamedTuple):
    """A part of a named weight: a view [inputs, gates, units] of a flat array.

    There are 4 gates (i, f, g, o), and 1 in the output layer. Parts of one name follow each other along the inputs:
    the symbol before the layer below, lower layers before upper ones.
    """

    name: str
    kind: str  # table, hidden, bias or output
    view: F32


@dataclass(frozen=True)
class Layout:
    """Where everything lies in theta and in the tape (see `kernels`), for one Config and V symbols."""

    config: Config
    n_symbols: int

    @cached_property
    def hidden(self) -> int:
        """Hidden units, padded to whole lanes."""
        return _round_up(self.config.hidden, 32)

    @cached_property
    def columns(self) -> int:
        """Symbols, padded to whole lanes."""
        return _round_up(self.n_symbols, 128)

    @cached_property
    def width(self) -> int:
        """The gates of a layer, and so the length of its rows."""
        return 4 * self.hidden

    @cached_property
    def n_read(self) -> int:
        """How many layers the output layer reads; as many see the symbol."""
        return self.config.layers if self.config.connections == "skip" else 1

    @cached_property
    def output(self) -> int:
        """Where the output layer begins in theta."""
        return (self.config.layers * (2 * self.hidden + 1) - self.hidden) * self.width

    @cached_property
    def tables(self) -> int:
        """Where the input tables begin in theta."""
        return self.output + (self.n_read * self.hidden + 1) * self.columns

    @cached_property
    def size(self) -> int:
        """The length of theta."""
        return self.tables + self.n_read * self.n_symbols * self.width

    @cached_property
    def network_state(self) -> int:
        """The length of what the network carries from symbol to symbol: p, and h and c of each layer."""
        return self.columns + 2 * self.config.layers * self.hidden

    @cached_property
    def state(self) -> int:
        """The length of what a stream carries: that, and with a memory the distribution of the mixture."""
        return self.network_state + (self.columns if self.config.memory else 0)

    @cached_property
    def prediction(self) -> int:
        """Where the distribution that counts begins in a record: the mixture's, or without a memory p."""
        return self.network_state if self.config.memory else 0

    def hidden_state(self, state: F32) -> tuple[F32, F32]:
        """Views of h and c of every layer in a state, [L, H] each."""
        layers = state[self.columns : self.network_state].reshape(self.config.layers, 2, self.hidden)
        return layers[:, 0, : self.config.hidden], layers[:, 1, : self.config.hidden]

    def record(self, learning: bool) -> int:
        """The length of a record: with the gates of all layers to learn from, else with room for those of one.

        All its parts are even numbers of cache lines. One line more makes it odd: so the records of a tape begin
        everywhere in the cache, where a power of two would have them push each other out.
        """
        return self.state + (self.config.layers if learning else 1) * self.width + CACHE_LINE

    def describe(self, learning: bool, batch: int = 1) -> I64:
        """The `layout` that the kernels read, int64; not to be written to. See `network`."""
        if batch == 1:
            return self._of_learner if learning else self._of_reader
        return self._describe(learning, batch)

    @cached_property
    def _of_learner(self) -> I64:
        return self._describe(learning=True, batch=1)

    @cached_property
    def _of_reader(self) -> I64:
        return self._describe(learning=False, batch=1)

    def _describe(self, learning: bool, batch: int) -> I64:
        record, skip = self.record(learning), int(self.config.connections == "skip")
        numbers = [self.n_symbols, self.columns, self.hidden, self.config.layers, skip, self.output, self.tables]
        numbers += [record, record * batch, self.state, self.width if learning else 0, self.prediction]
        return np.array(numbers, dtype=np.int64)

    def blocks(self, flat: F32) -> Iterator[Block]:
        """The weights in `flat`, an array laid out as theta, without padding and in the order of the named weights."""
        hidden, units, width = self.hidden, self.config.hidden, self.width
        n_symbols, columns = self.n_symbols, self.columns

        def view(place: int, inputs: int, gates: int, padded: int, used: tuple[int, int]) -> F32:
            block = flat[place : place + inputs * gates * padded].reshape(inputs, gates, padded)
            return block[: used[0], :, : used[1]]

        for layer in range(self.config.layers):
            recurrent = layer * (2 * hidden + 1) * width
            below, bias = recurrent - hidden * width, recurrent + hidden * width
            table = self.tables + layer * n_symbols * width
            name = f"weight_ih_l{layer}"
            if layer < self.n_read:
                yield Block(name, "table", view(table, n_symbols, 4, hidden, (n_symbols, units)))
            if layer > 0:
                yield Block(name, "hidden", view(below, hidden, 4, hidden, (units, units)))
            yield Block(f"weight_hh_l{layer}", "hidden", view(recurrent, hidden, 4, hidden, (units, units)))
            yield Block(f"bias_l{layer}", "bias", view(bias, 1, 4, hidden, (1, units)))
        for index in range(self.n_read):
            place = self.output + index * hidden * columns
            yield Block("weight_out", "output", view(place, hidden, 1, columns, (units, n_symbols)))
        place = self.output + self.n_read * hidden * columns
        yield Block("bias_out", "output", view(place, 1, 1, columns, (1, n_symbols)))

    def named(self, flat: F32) -> dict[str, F32]:
        """The weights in `flat` by name, copied into PyTorch's shapes: [4H, inputs], [V, inputs]; biases [4H], [V]."""
        parts: dict[str, list[F32]] = {}
        for name, _, block in self.blocks(flat):
            parts.setdefault(name, []).append(block.transpose(1, 2, 0).reshape(-1, len(block)))
        whole = {name: np.ascontiguousarray(np.concatenate(part, axis=1)) for name, part in parts.items()}
        return {name: weight[:, 0] if name.startswith("bias") else weight for name, weight in whole.items()}

    def flat(self, named: dict[str, F32]) -> F32:
        """The inverse of `named`: a flat array, padded with zeros. Raises ValueError for a weight that does not fit."""
        flat = aligned_zeros(self.size)
        taken: dict[str, int] = {}
        for name, _, block in self.blocks(flat):
            if name not in named:
                raise ValueError(f"the weight {name} is missing")
            weight = named[name].reshape(len(named[name]), -1)
            start = taken.get(name, 0)
            taken[name] = start + len(block)
            part = weight[:, start : taken[name]]
            if part.shape != (block.shape[1] * block.shape[2], len(block)):
                raise ValueError(
                    f"the weight {name} has the shape {list(named[name].shape)}, which does not fit the config"
                )
            block[:] = part.reshape(block.shape[1], block.shape[2], -1).transpose(2, 0, 1)
        for name, inputs in taken.items():
            if named[name].size != named[name].shape[0] * inputs:
                raise ValueError(
                    f"the weight {name} has the shape {list(named[name].shape)}, which does not fit the config"
                )
        return flat


@dataclass(frozen=True)
class InitConfig:
    """How fresh weights are drawn: the spread of the input tables, that of the other weights times √H, forget bias.

    The output layer starts at zero, so that a fresh network expects every symbol alike.
    """

    table: float = 1.0
    gain: float = 0.7
    forget_bias: float = 0.0


def fresh_theta(layout: Layout, seed: int, init: InitConfig = InitConfig()) -> F32:
    """Random initial weights, the same on every machine: numpy's PCG64 and nothing but sums and products."""
    bits = generator(seed)
    theta = aligned_zeros(layout.size)
    spread = {"table": init.table, "hidden": init.gain / math.sqrt(layout.config.hidden)}
    for _, kind, block in layout.blocks(theta):
        if kind in spread:
            block[:] = _normal(bits, block.shape) * np.float32(spread[kind])
        elif kind == "bias":
            block[:, 1] = init.forget_bias
    return theta


def widened(weights: dict[str, F32], layout: Layout, wide: Layout, seed: int) -> dict[str, F32]:
    """The weights of a net, by name, in one with more hidden units that predicts the same (Net2Net, Chen et al. 2016).

    The new units begin random; their own weights to the old units and to the output are zero, and learned.
    """
    theta = fresh_theta(wide, seed)
    for (_, kind, block), (_, _, old) in zip(wide.blocks(theta), layout.blocks(layout.flat(weights)), strict=True):
        inputs, _, units = old.shape
        block[:inputs, :, :units] = old
        if kind == "hidden":
            block[inputs:, :, :units] = 0
    return wide.named(theta)


def generator(seed: int) -> np.random.PCG64:
    """The one door of randomness: a fixed algorithm, so a seed draws the same on every machine."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be a whole number from 0 on, not {seed!r}")
    return np.random.PCG64(int(seed))


def aligned_zeros(size: int) -> F32:
    """float32 zeros that begin with a cache line: kernels that straddle the lines lose a third."""
    return _aligned(np.zeros(size + CACHE_LINE, dtype=np.float32))


def aligned_empty(size: int) -> F32:
    """The like, with anything in it."""
    return _aligned(np.empty(size + CACHE_LINE, dtype=np.float32))


def aligned_copy(array: F32) -> F32:
    """A copy of an array, aligned in the same way."""
    copy = aligned_empty(len(array))
    copy[:] = array
    return copy


def _aligned(room: F32) -> F32:
    first = -room.__array_interface__["data"][0] // 4 % CACHE_LINE
    return room[first : first + len(room) - CACHE_LINE]


def _normal(bits: np.random.PCG64, shape: tuple[int, ...]) -> F32:
    """Nearly normal deviates: the sum of the four 16-bit quarters of a random number, centred, of variance 1."""
    raw = bits.random_raw(math.prod(shape)).astype(np.uint64)
    quarters = raw.view(np.uint16).reshape(-1, 4).astype(np.int64)
    scale = np.float32(math.sqrt(3) / 65536)
    centred: F32 = (quarters.sum(axis=1) - 2 * 65535).astype(np.float32)
    return (centred * scale).reshape(shape)


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
