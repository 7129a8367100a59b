"""The options that several commands share: those that select the model, the files, and --engine."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Optional, cast

import typer

from .help import FRESH

if TYPE_CHECKING:
    from ..optim import Optimizer
    from ..predictor import Learn, StreamPredictor
    from ..system.process import Interruptible

Input = Annotated[str, typer.Argument(metavar="FILE", help="A file, or - for stdin.", show_default=False)]
Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Files; - is stdin.")]
SaveFile = Annotated[
    Optional[Path],
    typer.Option("--save", metavar="FILE", help="Save the model at the end, and every 10 minutes until then."),
]


SHAPE = ("hidden", "layers", "window", "connections", "memory_bits")
"""The options of a fresh network that are fields of its `Config`."""


def option(metavar: str, text: str, group: str | None = None) -> Any:
    """An option with a value, its help, and its group in the help of a command; default: that of its record."""
    return typer.Option(metavar=metavar, help=text, rich_help_panel=group)


def _fresh_option(metavar: str, text: str) -> Any:
    return option(metavar, text, FRESH)


@dataclass(frozen=True)
class ModelOptions:
    """The options that select the model: a bundled one, a saved one, or a fresh one of a given shape."""

    model: Annotated[
        Optional[str],
        typer.Option(
            metavar="NAME|FILE", help="small or large (bundled), a saved model, or none for a fresh network. [small]"
        ),
    ] = None
    learn: Annotated[
        Optional[str],
        typer.Option(
            metavar="all|memory",
            help="What learns from the input: the network's weights and the memory, or the memory only, which is "
            "faster. [all; a saved model: as saved]",
        ),
    ] = None
    freeze: Annotated[bool, typer.Option("--freeze", help="Do not learn from the input.")] = False
    hidden: Annotated[Optional[int], _fresh_option("N", "Hidden units per layer. [64]")] = None
    layers: Annotated[Optional[int], _fresh_option("N", "Layers. [3]")] = None
    window: Annotated[Optional[int], _fresh_option("N", "Symbols between two updates of the weights. [16]")] = None
    memory: Annotated[
        Optional[bool],
        typer.Option(
            "--memory/--no-memory",
            help="Mix in counts of what followed each context so far. [memory; a saved model: as saved]",
        ),
    ] = None
    memory_bits: Annotated[Optional[int], _fresh_option("N", "2^N pages of 64 bytes in the memory. [20]")] = None
    connections: Annotated[Optional[str], _fresh_option("KIND", "skip or stacked. [skip]")] = None
    optimizer: Annotated[Optional[str], _fresh_option("NAME", "sgd, rmsprop or adam. [rmsprop]")] = None
    lr: Annotated[Optional[float], _fresh_option("RATE", "Learning rate. [the optimizer's]")] = None
    seed: Annotated[Optional[int], _fresh_option("N", "Seed of the initial weights. [0]")] = None
    vocab: Annotated[Optional[str], _fresh_option("KIND", "bytes, or text (the characters of the input). [bytes]")] = (
        None
    )

    def open(
        self, source: BinaryIO, control: "Interruptible"
    ) -> "tuple[StreamPredictor, Iterator[bytes] | Iterator[str]]":
        """The predictor, and the parts of the input as they arrive: bytes, or str for a model of characters."""
        from ..system.input import blocks, chunks, text_blocks

        if self.vocab == "text":
            text = "".join(text_blocks(source, control))
            return self.predictor(text), chunks(text, control)
        predictor = self.predictor()
        is_bytes = predictor.vocabulary.characters is None
        return predictor, blocks(source, control) if is_bytes else text_blocks(source, control)

    def predictor(self, text: str = "") -> "StreamPredictor":
        """The predictor. The characters of `text` become the vocabulary of a fresh network with --vocab text."""
        if self.learn not in (None, "all", "memory"):
            raise ValueError(f"--learn must be all or memory, not {self.learn!r}")
        if self.learn and self.freeze:
            raise ValueError("give --learn or --freeze, not both")
        predictor = self._fresh(text) or load_model(self.model or "small", self.memory)
        if self.learn == "memory" and not predictor.config.memory:
            raise ValueError("--learn memory needs a memory, which this model does not have")
        if self.learn is not None:
            predictor.learn = cast("Learn", self.learn)
        elif self.freeze:
            predictor.learn = "nothing"
        return predictor

    def _fresh(self, text: str) -> "StreamPredictor | None":
        """A fresh predictor, if --model none or an option of its shape is given; otherwise None."""
        from ..model import Config
        from ..predictor import StreamPredictor
        from ..vocabulary import Vocabulary

        shape: dict[str, Any] = {name: vars(self)[name] for name in SHAPE if vars(self)[name] is not None}
        given = [*shape, *(name for name in ("optimizer", "lr", "seed", "vocab") if vars(self)[name] is not None)]
        if self.model not in (None, "none") and given:
            option = given[0].replace("_", "-")
            raise ValueError(f"--{option} is for a fresh network; --model {self.model} has its own value")
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
    """Whether a --model names a file: it has a dot or a slash, or exists and is not the name of a bundled model."""
    from ..modelfile import PRETRAINED

    bundled = (PRETRAINED / f"{model}.safetensors").exists()
    return "." in model or "/" in model or (Path(model).exists() and not bundled)


def size_of(option: str, text: str) -> int:
    """The bytes of a size like `300MB` or `1.5GiB`. Raises ValueError with the name of the option."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmgt]?)(i?)b?", text, re.IGNORECASE)
    if match is None or not 0 < float(match[1]) < 1e15 or (match[3] and not match[2]):
        raise ValueError(f"{option} is a size like 300MB, 1GB or 1.5GiB, not {text!r}")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2].lower() or " "))


def check_files(files: list[str]) -> None:
    """Raise OSError or ValueError if one of the files cannot be read, before the first is read."""
    from ..system.input import open_input

    if files.count("-") > 1:
        raise ValueError("- is stdin, which can be read only once; name it once")
    for file in files:
        if not Path(file).is_fifo():
            open_input(file).close()


def check_extra(extra: str, *libraries: str) -> None:
    """Raise ValueError, which names the extra, if one of its libraries is not installed."""
    for library in libraries:
        if find_spec(library) is None:
            raise ValueError(f"{library} is not installed; install it with: pip install 'streamlstm[{extra}]'")


def check_experts(predictor: "StreamPredictor") -> None:
    """Raise ValueError if --explain has no experts to report on."""
    if not predictor.config.memory:
        raise ValueError("--explain reports what the experts of the memory predicted; this model has no memory")


def load_model(model: str, memory: bool | None = None) -> "StreamPredictor":
    """A bundled model by its name, or a saved model by its path.

    memory  whether a bundled model has a memory; a saved model must agree
    """
    from ..predictor import StreamPredictor

    _check_has_learned(model)
    if is_saved(model):
        predictor = StreamPredictor.load(model)
        if memory not in (None, predictor.config.memory):
            raise ValueError(f"{model} was saved {'with' if predictor.config.memory else 'without'} a memory")
        return predictor
    return StreamPredictor.pretrained(model, memory is not False)


def file_of(model: str) -> str | Path:
    """The file of a bundled or a saved model."""
    from ..modelfile import bundled_model

    _check_has_learned(model)
    return model if is_saved(model) else bundled_model(model)


def _check_has_learned(model: str) -> None:
    if model == "none":
        raise ValueError(
            "the model none is a fresh network, which has learned nothing yet; name a bundled or a saved model"
        )


def check_engine(engine: str | None, others: dict[str, Any]) -> bool:
    """Whether an engine is given.

    others  the options that need an engine, by name; None if they are not given

    Raises ValueError for an engine that is not known, and for such options without one.
    """
    if engine is None:
        for option, value in others.items():
            if value is not None:
                raise ValueError(f"{option} is for an engine; add --engine ray")
        return False
    if engine != "ray":
        raise ValueError(f"--engine must be ray, not {engine!r}")
    workers = others["--workers"]
    if workers is not None and workers < 1:
        raise ValueError(f"--workers must be at least 1, not {workers}")
    return True
