"""The options that say which model reads a stream, the same for every command that reads one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from ..optim import Optimizer
    from ..predictor import StreamPredictor
    from ..tasks.input import Interruptible
    from ..vocabulary import Tokens

Input = Annotated[str, typer.Argument(metavar="[FILE]", help="A file, or - for stdin.", show_default=False)]
Files = Annotated[list[str], typer.Argument(metavar="FILE…", help="Files; - is stdin.")]
SaveFile = Annotated[Optional[Path], typer.Option("--save", metavar="FILE", help="Save the model at the end.")]


def _fresh(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=f"Fresh net: {text}")


@dataclass(frozen=True)
class ModelOptions:
    """Which model reads: a bundled one, a saved one, or a fresh one of a given shape."""

    model: Annotated[
        Optional[str],
        typer.Option(metavar="NAME|FILE", help="small or large (bundled), a saved one, or none: a fresh net. [small]"),
    ] = None
    learn: Annotated[
        Optional[bool],
        typer.Option("--learn/--freeze", help="Learn from each symbol, or keep the weights. [as the model was]"),
    ] = None
    hidden: Annotated[Optional[int], _fresh("N", "hidden units per layer. [64]")] = None
    layers: Annotated[Optional[int], _fresh("N", "layers. [3]")] = None
    window: Annotated[Optional[int], _fresh("N", "symbols between learning steps. [16]")] = None
    memory: Annotated[
        Optional[bool], typer.Option("--memory/--no-memory", help="Count what was seen beside the network. [memory]")
    ] = None
    memory_bits: Annotated[Optional[int], _fresh("N", "the memory has 2^N pages of 64 bytes. [20]")] = None
    connections: Annotated[Optional[str], _fresh("KIND", "skip or stacked. [skip]")] = None
    optimizer: Annotated[Optional[str], _fresh("NAME", "sgd, rmsprop or adam. [rmsprop]")] = None
    lr: Annotated[Optional[float], _fresh("RATE", "learning rate. [the optimizer's]")] = None
    seed: Annotated[Optional[int], _fresh("N", "seed of the initial weights. [0]")] = None
    vocab: Annotated[Optional[str], _fresh("KIND", "bytes, or text (characters). [bytes]")] = None

    def open(self, source: Any, control: "Interruptible") -> "tuple[StreamPredictor, Iterator[Tokens]]":
        """The predictor that the options ask for, and the tokens of the input as they arrive."""
        from ..tasks.input import blocks, pieces, text_blocks, tokens

        parts: Iterator[bytes] | Iterator[str]
        if self.vocab == "text":
            text = "".join(text_blocks(source, control))
            predictor, parts = self.predictor(text), pieces(text, control)
        else:
            predictor = self.predictor()
            is_bytes = predictor.vocabulary.characters is None
            parts = blocks(source, control) if is_bytes else text_blocks(source, control)
        return predictor, tokens(parts, predictor.vocabulary)

    def predictor(self, text: str = "") -> "StreamPredictor":
        """The predictor that the options ask for; `text` holds the characters of a fresh text vocabulary."""
        predictor = self._fresh(text) or load_model(self.model or "small", self.memory)
        if self.learn is not None:
            predictor.learning = self.learn
        return predictor

    def _fresh(self, text: str) -> "StreamPredictor | None":
        """A fresh predictor, if --model none or an option of its shape asks for one."""
        from ..model import Config
        from ..predictor import StreamPredictor
        from ..vocabulary import Vocabulary

        wanted = {"hidden": self.hidden, "layers": self.layers, "window": self.window, "connections": self.connections}
        wanted |= {"memory_bits": self.memory_bits}
        shape: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        others = {"optimizer": self.optimizer, "lr": self.lr, "seed": self.seed, "vocab": self.vocab}
        given = [*shape, *(name for name, value in others.items() if value is not None)]
        if self.model not in (None, "none") and given:
            raise ValueError(f"--{given[0]} describes a fresh net; --model {self.model} has its own")
        if self.model != "none" and not given:
            return None
        if self.memory is not None:
            shape["memory"] = self.memory
        if self.vocab not in (None, "bytes", "text"):
            raise ValueError(f"--vocab must be bytes or text, not {self.vocab!r}")
        vocabulary = Vocabulary.from_text(text or "\n") if self.vocab == "text" else Vocabulary.bytes()
        return StreamPredictor(vocabulary, Config(**shape), self._optimizer(), self.seed or 0)

    def _optimizer(self) -> "Optimizer":
        from ..optim import optimizer_from

        description: dict[str, Any] = {"name": self.optimizer or "rmsprop"}
        if self.lr is not None:
            description["lr"] = self.lr
        return optimizer_from(description)


def is_saved(model: str) -> bool:
    """Whether that names a file: what has a dot or a slash, or is there and is not the name of a bundled model."""
    from ..predictor import PRETRAINED

    bundled = (PRETRAINED / f"{model}.safetensors").exists()
    return "." in model or "/" in model or (Path(model).exists() and not bundled)


def check_files(files: list[str]) -> None:
    """Raise OSError or ValueError where not all can be read: now, not after the first was."""
    from ..tasks.input import open_input

    if files.count("-") > 1:
        raise ValueError("- is stdin, which can be read once; name it once")
    for file in files:
        if file != "-" and not Path(file).is_fifo():
            open_input(file).close()


def check_experts(predictor: "StreamPredictor") -> None:
    """Refuse --explain where there is nothing to explain."""
    if not predictor.config.memory:
        raise ValueError("--explain tells what the experts of the memory said; this model has no memory")


def load_model(model: str, memory: bool | None = None) -> "StreamPredictor":
    """A bundled model by its name, or a saved one by its path.

    memory: whether a bundled one gets a memory; a saved one has what it was saved with.
    """
    from ..predictor import StreamPredictor

    if model == "none":
        raise ValueError("--model none, a fresh net, knows nothing yet; name a bundled or a saved model")
    if is_saved(model):
        predictor = StreamPredictor.load(model)
        if memory not in (None, predictor.config.memory):
            raise ValueError(f"{model} was saved {'with' if predictor.config.memory else 'without'} a memory")
        return predictor
    return StreamPredictor.pretrained(model, memory is not False)
