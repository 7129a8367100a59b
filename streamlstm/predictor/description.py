"""What a predictor is, as text for people."""

from dataclasses import asdict
from typing import Any

from ..vocabulary import Vocabulary
from .stream import TokenStream


def described(stream: TokenStream, vocabulary: Vocabulary, about: dict[str, Any]) -> dict[str, str]:
    """Shape, vocabulary, optimizer and progress, and what else is known about the weights."""
    config, optimizer = stream.layout.config, stream.weights.optimizer
    n_weights = sum(weight.size for weight in stream.layout.named(stream.weights.theta).values())
    kind = "bytes" if vocabulary.characters is None else f"text, unknown {vocabulary.unknown!r}"
    memory = "none"
    if stream.memory is not None:
        memory = f"2**{config.memory_bits} pages of 64 bytes, up to {stream.memory.nbytes / 1e6:,.0f} MB"
    options = ", ".join(f"{name} {value:g}" for name, value in asdict(optimizer.optimizer).items())
    layers = "1 layer" if config.layers == 1 else f"{config.layers} layers"
    own = {
        "network": f"{layers} of {config.hidden}, {config.connections}, window {config.window}",
        "weights": f"{n_weights:,}",
        "memory": memory,
        "vocabulary": f"{len(vocabulary)} symbols ({kind})",
        "optimizer": f"{optimizer.optimizer.name}: {options}",
        "learns": f"{stream.learn}, {optimizer.n_steps:,} updates so far",
        "symbols": f"{stream.tape.n_symbols:,} seen",
    }
    return {**own, **{name: str(value) for name, value in about.items() if name not in own}}
