"""Files of models: where the bundled ones are, and what the header of any says, checked, and as text for people.

Nothing here needs the arrays of a file, or the kernels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np

from .checkpoint import read_header
from .memory.arrays import n_count_bytes
from .model import Config, Layout
from .optim import PROGRESS, Optimizer, OptimizerState, optimizer_from
from .ranges import whole_number
from .vocabulary import Vocabulary

PRETRAINED = Path(__file__).parent / "pretrained"

Learn = Literal["all", "memory", "nothing"]
"""What learns: the network's weights and the memory, the memory only, or nothing."""

Shapes = Mapping[str, tuple[int, ...]]


class Parsed(NamedTuple):
    """The values of a checkpoint, checked."""

    vocabulary: Vocabulary
    config: Config
    optimizer: Optimizer
    n_updates: int
    learn: Learn
    n_symbols: int
    about: dict[str, Any]

    def describe(self) -> dict[str, str]:
        """Shape, vocabulary, optimizer and progress, and what else is known about the weights."""
        vocabulary, config, optimizer = self.vocabulary, self.config, self.optimizer
        n_weights = sum(int(np.prod(shape)) for shape in Layout(config, len(vocabulary)).shapes.values())
        kind = "bytes" if vocabulary.characters is None else f"text, unknown {vocabulary.unknown!r}"
        memory = "none"
        if config.memory:
            n_bytes = n_count_bytes(len(vocabulary), config.memory_bits)
            memory = f"2**{config.memory_bits} pages of 64 bytes, up to {n_bytes / 1e6:,.0f} MB"
        options = ", ".join(f"{name} {value:g}" for name, value in asdict(optimizer).items())
        layers = "1 layer" if config.layers == 1 else f"{config.layers} layers"
        own = {
            "network": f"{layers} of {config.hidden}, {config.connections}, window {config.window}",
            "weights": f"{n_weights:,}",
            "memory": memory,
            "vocabulary": f"{len(vocabulary)} symbols ({kind})",
            "optimizer": f"{optimizer.name}: {options}",
            "learns": f"{self.learn}, {self.n_updates:,} updates so far",
            "symbols": f"{self.n_symbols:,} seen",
        }
        return {**own, **{name: str(value) for name, value in self.about.items() if name not in own}}


def parsed(values: dict[str, Any], shapes: Shapes) -> Parsed:
    """Check the values of a checkpoint, and that its weights have the shapes that they name.

    shapes  of the arrays, by name

    Raises KeyError, TypeError or ValueError.
    """
    if "plan" in values:
        raise ValueError("it is an unfinished training run; continue it with train --resume")
    vocabulary = Vocabulary.from_description(values["vocabulary"], _n_symbols(shapes))
    config = Config(**values["config"])
    learn, n_symbols = _learn_of(values, config), whole_number(values["n_symbols"], "n_symbols")
    described = dict(values["optimizer"])
    optimizer = optimizer_from({name: value for name, value in described.items() if name not in PROGRESS})
    progress = OptimizerState(optimizer, np.zeros(0, dtype=np.float32))
    progress.load_state(described["n_steps"], described["powers"], described["surprisals"])
    Layout(config, len(vocabulary)).check_shapes(shapes)
    return Parsed(vocabulary, config, optimizer, progress.n_steps, learn, n_symbols, dict(values["about"] or {}))


def describe_file(path: str | os.PathLike[str]) -> dict[str, str]:
    """What `StreamPredictor.load(path).describe()` returns, from the header of the file: its arrays are not read.

    Raises OSError if the file cannot be read, ValueError if what its header says is not that of a model.
    """
    shapes, values = read_header(path)
    try:
        return parsed(values, shapes).describe()
    except KeyError as error:
        raise ValueError(f"{path} is not a usable model: {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a usable model: {error}") from None


def bundled_models() -> dict[str, Path]:
    """The files of the bundled models, by their names."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def bundled_model(name: str) -> Path:
    """The file of a bundled model. Raises ValueError for a name that is not bundled."""
    bundled = bundled_models()
    if name not in bundled:
        names = ", ".join(bundled)
        raise ValueError(f"there is neither a file nor a bundled model named {name!r}; bundled models: {names}")
    return bundled[name]


def _n_symbols(shapes: Shapes) -> int | None:
    """The size of the vocabulary, as the arrays have it."""
    shape = shapes.get("bias_out", ())
    return shape[0] if len(shape) == 1 else None


def _learn_of(values: dict[str, Any], config: Config) -> Learn:
    learn = values["learn"]
    if learn not in get_args(Learn):
        raise ValueError(f"learn must be 'all', 'memory' or 'nothing', not {learn!r}")
    if learn == "memory" and not config.memory:
        raise ValueError("learn is 'memory', but there is none")
    return cast(Learn, learn)
