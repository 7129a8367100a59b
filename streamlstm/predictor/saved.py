"""How a predictor is turned into the arrays and values of a checkpoint, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import numpy.typing as npt

from ..checkpoint import Arrays
from ..kernels.arrays import F32
from ..model import Config, Layout, aligned_zeros
from ..optim import PROGRESS, Optimizer, optimizer_from
from ..vocabulary import Tokens, Vocabulary
from .stream import Learn, TokenStream
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


class Parsed(NamedTuple):
    """The values of a checkpoint, checked."""

    vocabulary: Vocabulary
    config: Config
    optimizer: Optimizer
    learn: Learn
    n_symbols: int
    about: dict[str, Any]


def from_checkpoint(values: dict[str, Any]) -> Parsed:
    """Check the values of a checkpoint. Raises KeyError, TypeError or ValueError."""
    if "plan" in values:
        raise ValueError("it is an unfinished training run; continue it with train --resume")
    vocabulary, config = Vocabulary.from_description(values["vocabulary"]), Config(**values["config"])
    learn, n_symbols = _learn_of(values, config), values["n_symbols"]
    if isinstance(n_symbols, bool) or not isinstance(n_symbols, int) or not 0 <= n_symbols < 2**62:
        raise ValueError(f"n_symbols must be a whole number from 0 on, not {n_symbols!r}")
    described = {name: value for name, value in dict(values["optimizer"]).items() if name not in PROGRESS}
    return Parsed(vocabulary, config, optimizer_from(described), learn, n_symbols, values["about"])


def _learn_of(values: dict[str, Any], config: Config) -> Learn:
    learn = values["learn"]
    if learn not in get_args(Learn):
        raise ValueError(f"learn must be 'all', 'memory' or 'nothing', not {learn!r}")
    if learn == "memory" and not config.memory:
        raise ValueError("learn is 'memory', but there is none")
    return cast(Learn, learn)


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
