"""How a predictor is turned into the arrays and values of a checkpoint, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Arrays
from ..kernels.arrays import F32
from ..model import Layout, aligned_zeros
from ..ranges import COUNT, Range, check_ranges
from ..vocabulary import Vocabulary
from .stream import TokenStream, Window
from .weights import Weights

MOST_BITS = 256
"""No symbol has as many bits: `exp` is at least e**-72, and a vocabulary has fewer than 2**21 symbols."""


def to_checkpoint(
    stream: TokenStream, vocabulary: Vocabulary, about: dict[str, Any], *, half: bool, whole: bool
) -> tuple[Arrays, dict[str, Any]]:
    """The arrays by name and the JSON values that hold all of a predictor."""
    layout, weights, tape, memory = stream.layout, stream.weights, stream.tape, stream.memory
    optimizer = weights.optimizer
    state, tokens = (tape.first_state, tape.tokens) if tape.learning else (tape.state, tape.tokens[:0])
    named = layout.named(weights.theta)
    arrays: Arrays = {name: weight.astype(np.float16) if half else weight for name, weight in named.items()}
    for index in range(optimizer.optimizer.n_slots if optimizer.n_steps else 0):
        slot = optimizer.slots[index * layout.size : (index + 1) * layout.size]
        arrays |= {f"optimizer.{index}.{name}": array for name, array in layout.named(slot).items()}
    if optimizer.n_steps and len(weights.first):
        arrays |= {f"first.{name}": _narrowed(weight) for name, weight in layout.named(weights.first).items()}
    arrays["h"], arrays["c"] = layout.hidden_state(state)
    arrays["tokens"], arrays["bits"] = tokens, tape.stream.bits[: len(tokens)]
    if memory is not None:
        arrays |= memory.to_arrays(whole=whole)
    values = {
        "config": asdict(layout.config),
        "vocabulary": vocabulary.describe(),
        "optimizer": optimizer.describe(),
        "learn": stream.learn,
        "n_symbols": tape.n_symbols,
        "about": about,
    }
    return arrays, values


def _narrowed(weight: F32) -> npt.NDArray[Any]:
    """The weight in float16 if that is exact, as it is for the bundled models."""
    with np.errstate(over="ignore"):
        narrow = weight.astype(np.float16)
    return narrow if np.array_equal(narrow.astype(np.float32), weight) else weight


def load_optimizer(weights: Weights, layout: Layout, arrays: Arrays, values: dict[str, Any]) -> None:
    """Take over the progress and the slots of an optimizer, and the weights that it pulls back to."""
    optimizer = weights.optimizer
    described = values["optimizer"]
    optimizer.load_state(described["n_steps"], described["powers"], described["surprisals"])
    for index in range(optimizer.optimizer.n_slots if optimizer.n_steps else 0):
        prefix = f"optimizer.{index}."
        optimizer.set_slot(index, layout.flat(_without_prefix(arrays, prefix)))
    if optimizer.n_steps and len(weights.first):
        weights.first[:] = layout.flat(_without_prefix(arrays, "first."))


def _without_prefix(arrays: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def window_of(layout: Layout, arrays: Arrays) -> Window:
    """An unfinished window, which is not checked. Its state is as it lies in a record."""
    state = aligned_zeros(layout.state)
    for name, view in zip("hc", layout.hidden_state(state), strict=True):
        view[:] = arrays[name]
    return Window(state, arrays["tokens"].astype(np.int32), arrays["bits"])


def checked_window(layout: Layout, arrays: Arrays, n_symbols: int, longest: int) -> Window:
    """The unfinished window of a stream that has seen so many symbols. Raises ValueError if it cannot be one.

    longest  the most tokens that the window may have
    """
    tokens, bits = arrays["tokens"], arrays["bits"]
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ValueError(f"the tokens must be a flat array of whole numbers, not {tokens.dtype} {list(tokens.shape)}")
    n = len(tokens)
    if bits.shape != tokens.shape or bits.dtype != np.float32:
        raise ValueError(f"bits must be {n} surprisals in float32, not {bits.dtype} {list(bits.shape)}")
    declared = [
        Range("the length of a window", n, 0, longest),
        Range("n_symbols", n_symbols, n, COUNT),
        Range("a token", tokens, 0, layout.n_symbols - 1),
        Range("a surprisal", bits, 0, MOST_BITS),
    ]
    check_ranges(declared, "the unfinished window is out of range")
    for name in "hc":
        if arrays[name].shape != (layout.config.layers, layout.config.hidden):
            raise ValueError(f"{name} has the shape {arrays[name].shape}, which does not fit the config")
    window = window_of(layout, arrays)
    check_ranges(layout.state_ranges(window.state), "the state is out of range")
    return window
