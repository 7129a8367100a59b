"""How a predictor is turned into the arrays and values of a checkpoint, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Arrays
from ..kernels.arrays import F32
from ..model import Layout, aligned_zeros
from ..modelfile import Parsed
from ..vocabulary import Tokens, Vocabulary
from .stream import TokenStream
from .weights import Weights


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


def state_of(layout: Layout, arrays: Arrays) -> F32:
    """The state that the unfinished window began with, as it lies in a record."""
    state = aligned_zeros(layout.state)
    for name, view in zip("hc", layout.hidden_state(state), strict=True):
        if arrays[name].shape != view.shape:
            raise ValueError(f"{name} has the shape {arrays[name].shape}, which does not fit the config")
        view[:] = arrays[name]
    return state


def tokens_of(parsed: Parsed, arrays: Arrays) -> Tokens:
    """The tokens of the unfinished window."""
    tokens = parsed.vocabulary.encode(arrays["tokens"])
    if len(tokens) > parsed.config.window:
        raise ValueError(f"a window of {len(tokens)} symbols, where the config has {parsed.config.window}")
    if len(tokens) > parsed.n_symbols:
        raise ValueError(f"a window of {len(tokens)} symbols, though only {parsed.n_symbols} were observed")
    if len(tokens) and parsed.learn != "all":
        raise ValueError("an unfinished window, though its weights do not learn")
    return tokens


def bits_of(tokens: Tokens, arrays: Arrays) -> F32:
    """The surprisals of the tokens of the unfinished window."""
    bits: F32 = arrays["bits"]
    if bits.shape != tokens.shape or bits.dtype != np.float32 or not (bits >= 0).all():
        raise ValueError(f"bits must be {len(tokens)} surprisals in float32, not {bits.dtype} {list(bits.shape)}")
    return bits
