"""A model: its shape (Config), the layout of its flat arrays (Layout), and its initial weights (theta)."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .kernels.arrays import F32, I64
from .ranges import Range, check_number

MAX_WINDOW = 4096

CONNECTIONS = ("skip", "stacked")

CACHE_LINE, HUGE_PAGE = 1 << 4, 1 << 19
"""How many float32 numbers 64 bytes hold, and 2 MB."""

LARGEST_H, LARGEST_C = 1.001, 2.0**26
"""No number of h or c becomes as large: |tanh| is at most 1 + 4e-7, too little to change a float32 of 2**25."""

NOT_WEIGHTS = ("h", "c", "tokens", "bits"), ("memory.", "optimizer.", "first.", "stream.")
"""The names, and the prefixes of names, of the arrays of a checkpoint that are not weights."""


@dataclass(frozen=True)
class Config:
    """The shape of a network.

    hidden       hidden units per layer, 1 … 4096
    layers       number of LSTM layers, 1 … 16
    window       symbols between two updates, and how far back the gradient goes (truncated BPTT), 1 … 4096
    connections  "skip": every layer reads the symbol, the output layer reads every layer; "stacked": only the first
                 layer reads the symbol and the output layer reads only the last, as with PyTorch's nn.LSTM
    memory       whether counts of the symbols seen are mixed with the network's predictions
    memory_bits  the memory has 2**memory_bits pages of 64 bytes, 10 … 26, and keeps four symbols of the text for each

    Raises ValueError for a value out of its range.

    >>> Config(hidden=128, layers=2).window
    16
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
                raise ValueError(f"{name} must be an integer from {least} to {most}, not {value!r}")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.memory, bool):
            raise ValueError(f"memory must be True or False, not {self.memory!r}")
        if self.connections not in CONNECTIONS:
            raise ValueError(f"connections must be one of {', '.join(CONNECTIONS)}, not {self.connections!r}")


class Block(NamedTuple):
    """A part of a named weight, as it is stored in a flat array.

    name  the weight's name
    kind  "table" (from the symbol), "start" (from the begin-of-stream symbol), "hidden" (from a layer), "bias" or
          "output"
    view  float32 [inputs, gates, units], a view of the flat array without padding: 4 gates (i, f, g, o), in the output
          layer 1

    A weight with several parts is their concatenation along the inputs, in the order in which `Layout.blocks` yields
    them: the symbol before the layer below, lower layers before upper ones.
    """

    name: str
    kind: str
    view: F32


@dataclass(frozen=True)
class Layout:
    """The layout of theta and of the records on a tape (see `kernels.network`) for one Config and V symbols."""

    config: Config
    n_symbols: int

    @cached_property
    def hidden(self) -> int:
        """Hidden units, padded to a multiple of 32."""
        return _round_up(self.config.hidden, 32)

    @cached_property
    def columns(self) -> int:
        """Symbols, padded to a multiple of 128."""
        return _round_up(self.n_symbols, 128)

    @cached_property
    def width(self) -> int:
        """The length of a row of a layer: its 4 gates."""
        return 4 * self.hidden

    @cached_property
    def n_read(self) -> int:
        """How many layers the output layer reads, which is also how many layers read the symbol."""
        return self.config.layers if self.config.connections == "skip" else 1

    @cached_property
    def output(self) -> int:
        """The offset of the output layer in theta."""
        return (self.config.layers * (2 * self.hidden + 1) - self.hidden) * self.width

    @cached_property
    def tables(self) -> int:
        """The offset of the input tables in theta."""
        return self.output + (self.n_read * self.hidden + 1) * self.columns

    @cached_property
    def size(self) -> int:
        """The length of theta."""
        return self.tables + self.n_read * (self.n_symbols + 1) * self.width

    @cached_property
    def network_state(self) -> int:
        """The length of the network's part of a state: p, and h and c of each layer."""
        return self.columns + 2 * self.config.layers * self.hidden

    @cached_property
    def state(self) -> int:
        """The length of a stream's state: the network's part, and with a memory the distribution of the mixture."""
        return self.network_state + (self.columns if self.config.memory else 0)

    @cached_property
    def prediction(self) -> int:
        """The offset in a record of the predicted distribution: with a memory the mixture's, without one p."""
        return self.network_state if self.config.memory else 0

    def hidden_state(self, state: F32) -> tuple[F32, F32]:
        """h and c of every layer, float32 [L, H] each: views of a state, without padding."""
        layers = self._layers_of(state)
        return layers[:, 0, : self.config.hidden], layers[:, 1, : self.config.hidden]

    def _layers_of(self, state: F32) -> F32:
        """h and c of every layer with their padding, [L, 2, hidden]: a view."""
        return state[self.columns : self.network_state].reshape(self.config.layers, 2, self.hidden)

    def state_ranges(self, state: F32) -> tuple[Range, ...]:
        """What h and c of a state may be. Those of the padding are zero: otherwise its weights would learn."""
        h, c = self.hidden_state(state)
        padding = self._layers_of(state)[:, :, self.config.hidden :]
        return (
            Range("h", h, -LARGEST_H, LARGEST_H),
            Range("c", c, -LARGEST_C, LARGEST_C),
            Range("a number between the units", padding, 0, 0),
        )

    def padding_ranges(self, flat: F32) -> tuple[Range, ...]:
        """What lies between the weights in an array laid out as theta may be: zero, as kernels count on."""
        padding = flat.copy()
        for _, _, view in self.blocks(padding):
            view[:] = 0
        return (Range("a number between the weights", padding, 0, 0),)

    def record(self, learning: bool) -> int:
        """The length of a record: a state, and the gates of every layer, or of one layer if it is not for learning.

        Its parts are even numbers of cache lines. One line more makes the length odd, so that successive records use
        all sets of the cache; with a power of two they would evict each other.
        """
        return self.state + (self.config.layers if learning else 1) * self.width + CACHE_LINE

    def describe(self, learning: bool, batch: int = 1) -> I64:
        """The sizes and offsets that the kernels read, int64 [12]: do not write to it.

        The index of each number is a constant of `kernels.network`, from VOCABULARY to PREDICTION. For one stream, all
        calls return the same array.
        """
        if batch == 1:
            return self._learning_layout if learning else self._frozen_layout
        return self._describe(learning, batch)

    @cached_property
    def _learning_layout(self) -> I64:
        return self._describe(learning=True, batch=1)

    @cached_property
    def _frozen_layout(self) -> I64:
        return self._describe(learning=False, batch=1)

    def _describe(self, learning: bool, batch: int) -> I64:
        record, skip = self.record(learning), int(self.config.connections == "skip")
        numbers = [self.n_symbols, self.columns, self.hidden, self.config.layers, skip, self.output, self.tables]
        numbers += [record, record * batch, self.state, self.width if learning else 0, self.prediction]
        return np.array(numbers, dtype=np.int64)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each named weight, unpadded and in PyTorch's orientation: [outputs, inputs]."""
        units, skip, shapes = self.config.hidden, self.config.connections == "skip", dict[str, tuple[int, ...]]()
        for layer in range(self.config.layers):
            inputs = self.n_symbols if layer == 0 else units + (self.n_symbols if skip else 0)
            shapes[f"weight_ih_l{layer}"] = 4 * units, inputs
            shapes[f"weight_hh_l{layer}"] = 4 * units, units
            shapes[f"bias_l{layer}"] = (4 * units,)
            if layer < self.n_read:
                shapes[f"start_l{layer}"] = (4 * units,)
        return shapes | {"weight_out": (self.n_symbols, units * self.n_read), "bias_out": (self.n_symbols,)}

    def blocks(self, flat: F32) -> Iterator[Block]:
        """The weights in `flat`, an array laid out as theta, in the order of `shapes`; writing to a view sets them."""
        hidden, units, width = self.hidden, self.config.hidden, self.width
        n_symbols, columns = self.n_symbols, self.columns

        def view(start: int, inputs: int, gates: int, padded: int, used: tuple[int, int]) -> F32:
            block = flat[start : start + inputs * gates * padded].reshape(inputs, gates, padded)
            return block[: used[0], :, : used[1]]

        for layer in range(self.config.layers):
            recurrent = layer * (2 * hidden + 1) * width
            below, bias = recurrent - hidden * width, recurrent + hidden * width
            table = self.tables + layer * (n_symbols + 1) * width
            name = f"weight_ih_l{layer}"
            if layer < self.n_read:
                yield Block(name, "table", view(table, n_symbols, 4, hidden, (n_symbols, units)))
            if layer > 0:
                yield Block(name, "hidden", view(below, hidden, 4, hidden, (units, units)))
            yield Block(f"weight_hh_l{layer}", "hidden", view(recurrent, hidden, 4, hidden, (units, units)))
            yield Block(f"bias_l{layer}", "bias", view(bias, 1, 4, hidden, (1, units)))
            if layer < self.n_read:
                yield Block(f"start_l{layer}", "start", view(table + n_symbols * width, 1, 4, hidden, (1, units)))
        for index in range(self.n_read):
            start = self.output + index * hidden * columns
            yield Block("weight_out", "output", view(start, hidden, 1, columns, (units, n_symbols)))
        start = self.output + self.n_read * hidden * columns
        yield Block("bias_out", "output", view(start, 1, 1, columns, (1, n_symbols)))

    def has_start(self, theta: F32) -> bool:
        """Whether the weights from the begin-of-stream symbol were trained. If not, streams begin in the zero state."""
        return any(bool(block.any()) for _, kind, block in self.blocks(theta) if kind == "start")

    def named(self, flat: F32) -> dict[str, F32]:
        """Copies of the weights in `flat` under their names, in the shapes of `shapes`."""
        parts: dict[str, list[F32]] = {}
        for name, _, block in self.blocks(flat):
            parts.setdefault(name, []).append(block.transpose(1, 2, 0).reshape(-1, len(block)))
        whole = {name: np.ascontiguousarray(np.concatenate(part, axis=1)) for name, part in parts.items()}
        return {name: weight.reshape(self.shapes[name]) for name, weight in whole.items()}

    def flat(self, named: Mapping[str, npt.ArrayLike]) -> F32:
        """The inverse of `named`: a new array laid out as theta, with zeros for padding.

        PyTorch's two biases `bias_ih_l0` and `bias_hh_l0` are accepted instead of `bias_l0`, and added. The weights
        from the begin-of-stream symbol, `start_l0` …, are zero if they are not given. The arrays of a checkpoint that
        are not weights are ignored.
        Raises ValueError that names the weight which is missing, unknown, of another shape, or not finite.
        """
        weights = self._float32_weights(named)
        flat = aligned_zeros(self.size)
        taken = dict.fromkeys(weights, 0)
        for name, _, block in self.blocks(flat):
            inputs, gates, units = block.shape
            part = weights[name].reshape(gates * units, -1)[:, taken[name] : taken[name] + inputs]
            block[:] = part.reshape(gates, units, inputs).transpose(2, 0, 1)
            taken[name] += inputs
        return flat

    def check_shapes(self, given: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ValueError that names a weight which is missing, unknown, or of another shape.

        given  the shapes of what `flat` takes, by name
        """
        others = {name: given[name] for name in given if _is_weight(name)}
        for name, shape in self.shapes.items():
            if name.startswith("start_") and name not in others:
                continue
            for part in _parts_of(name, others):
                if tuple(others.pop(part)) != shape:
                    theirs = list(given[part])
                    raise ValueError(f"the weight {part} has the shape {theirs}; this network needs {list(shape)}")
        if others:
            raise ValueError(f"unknown weight {min(others)!r}; this network has {', '.join(self.shapes)}")

    def _float32_weights(self, named: Mapping[str, npt.ArrayLike]) -> dict[str, F32]:
        """The weights under the names of `shapes`, checked."""
        given = {name: _real_numbers(name, named[name]) for name in named if _is_weight(name)}
        self.check_shapes({name: weight.shape for name, weight in given.items()})
        weights = {}
        for name, shape in self.shapes.items():
            if name.startswith("start_") and name not in given:
                weights[name] = np.zeros(shape, dtype=np.float32)
                continue
            parts = _parts_of(name, given)
            with np.errstate(over="ignore"):
                first, *others = [given[part].astype(np.float32, copy=False) for part in parts]
                weights[name] = first + others[0] if others else first
            if not np.isfinite(weights[name]).all():
                raise ValueError(f"the weight {' + '.join(parts)} holds a number that is not finite in float32")
        return weights


def _is_weight(name: str) -> bool:
    """Whether an array of this name is a weight, and not another array of a checkpoint."""
    names, prefixes = NOT_WEIGHTS
    return name not in names and not name.startswith(prefixes)


def _parts_of(name: str, given: Mapping[str, Any]) -> list[str]:
    """The given names of a weight: its own, or those of the two biases that PyTorch adds."""
    pair = [name.replace("bias_l", f"bias_{part}_l") for part in ("ih", "hh")]
    is_split = name not in pair and not given.keys().isdisjoint(pair)
    if is_split and name in given:
        raise ValueError(f"the weights {pair[0]} and {pair[1]} replace {name}; give one or the other")
    parts = pair if is_split else [name]
    for part in parts:
        if part not in given:
            raise ValueError(f"the weight {part} is missing")
    return parts


def _real_numbers(name: str, weight: npt.ArrayLike) -> npt.NDArray[Any]:
    """A weight as an array. Raises ValueError if it does not hold real numbers."""
    try:
        array = np.asarray(weight)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the weight {name} is not an array: {error}") from None
    if array.dtype.kind not in "fiu":
        raise ValueError(f"the weight {name} must hold real numbers, not {array.dtype}")
    return array


@dataclass(frozen=True)
class InitConfig:
    """How initial weights are drawn. The output layer starts at zero: a fresh network predicts uniformly.

    table        standard deviation of the weights from the symbol
    gain         standard deviation of the weights from a layer, times √hidden
    forget_bias  bias of the forget gate; other biases are 0

    >>> InitConfig(forget_bias=1.0).gain
    0.7
    """

    table: float = 1.0
    gain: float = 0.7
    forget_bias: float = 0.0

    def __post_init__(self) -> None:
        for name in ("table", "gain", "forget_bias"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))


def fresh_theta(layout: Layout, seed: int, init: InitConfig = InitConfig()) -> F32:
    """Initial weights, the same on every machine: they need only NumPy's PCG64, sums and products."""
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
    """The weights, by name, of a wider network that predicts the same as a given one (Net2Net, Chen et al. 2016).

    weights  the given network's weights, by name
    layout   the given network's layout
    wide     the layout of the wider network: of the same kind, with more hidden units
    seed     of the new units' incoming weights; their weights to the old units and to the output start at zero
    """
    theta = fresh_theta(wide, seed)
    for (_, kind, block), (_, _, old) in zip(wide.blocks(theta), layout.blocks(layout.flat(weights)), strict=True):
        inputs, _, units = old.shape
        block[:inputs, :, :units] = old
        if kind == "hidden":
            block[inputs:, :, :units] = 0
    return wide.named(theta)


def generator(seed: int) -> np.random.PCG64:
    """The source of random bits for a seed; all randomness comes from it. The same seed gives the same bits everywhere.

    Raises ValueError if the seed is not an integer of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, not {seed!r}")
    return np.random.PCG64(int(seed))


def aligned_zeros(size: int) -> F32:
    """float32 zeros, aligned to a cache line; kernels are a third slower on arrays that are not."""
    return _aligned(np.zeros, size)


def aligned_empty(size: int) -> F32:
    """An uninitialised float32 array, aligned to a cache line."""
    return _aligned(np.empty, size)


def aligned_copy(array: F32) -> F32:
    """A copy of a flat float32 array, aligned to a cache line."""
    copy = aligned_empty(len(array))
    copy[:] = array
    return copy


def _aligned(allocate: Callable[..., F32], size: int) -> F32:
    """A large array is aligned to a huge page: the CPU then translates fewer addresses, and `small` learns 7 % faster.

    The buffer of such an array has at least 4 MB, for which NumPy asks Linux for huge pages.
    """
    unit = HUGE_PAGE if size >= HUGE_PAGE else CACHE_LINE
    buffer = allocate(size + unit, dtype=np.float32)
    first = -buffer.__array_interface__["data"][0] // 4 % unit
    return buffer[first : first + size]


def _normal(bits: np.random.PCG64, shape: tuple[int, ...]) -> F32:
    """Approximately normal deviates of variance 1: the centred sum of the four 16-bit parts of each random number."""
    raw = bits.random_raw(math.prod(shape)).astype(np.uint64)
    quarters = raw.view(np.uint16).reshape(-1, 4).astype(np.int64)
    scale = np.float32(math.sqrt(3) / 65536)
    centred: F32 = (quarters.sum(axis=1) - 2 * 65535).astype(np.float32)
    return (centred * scale).reshape(shape)


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
