"""The options of `train`: the schedule, the initial weights, the mixture, and what is written."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .options import check_files, is_saved, load_model, option

if TYPE_CHECKING:
    from ..kernels.arrays import F32
    from ..model import Config
    from ..tasks.pieces import Document
    from ..tasks.training import TrainingPlan
    from ..vocabulary import Vocabulary


@dataclass(frozen=True)
class ScheduleOptions:
    """How long the network is trained, and how fast: see `TrainingPlan`."""

    epochs: Annotated[float, option("X", "How many times to read the text.")] = 10.0
    stop_at: Annotated[
        Optional[int], option("N", "Stop after update N, as Ctrl-C does; --resume continues. [the last update]")
    ] = None
    batch: Annotated[Optional[int], option("N", "Parallel streams. [1 to 16, depending on the text's size]")] = None
    window: Annotated[int, option("N", "Symbols of each stream between two updates.")] = 64
    lr: Annotated[float, option("RATE", "Adam's learning rate after the warm-up.")] = 0.004
    warmup: Annotated[int, option("N", "Updates over which the learning rate rises.")] = 100
    clip: Annotated[float, option("X", "Maximum norm of the gradient.")] = 1.0
    pieces: Annotated[str, option("N:N", "Shortest and longest length of the pieces into which each file is cut.")] = (
        "64:16384"
    )
    crlf: Annotated[float, option("X", "Share of the pieces that get CRLF line ends.")] = 0.0
    seed: Annotated[int, option("N", "Seed of the initial weights and of the shuffling.")] = 0
    threads: Annotated[int, option("N", "Threads; the weights do not depend on it. 0: one per core.")] = 0

    def check(self) -> None:
        """Raise ValueError for an option that is not valid, of those that are not part of the plan."""
        if self.threads < 0:
            raise ValueError(f"--threads must be at least 0, not {self.threads}")
        if self.stop_at is not None and self.stop_at < 1:
            raise ValueError(f"--stop-at must be at least update 1, not {self.stop_at}")

    def plan(self, n_symbols: int) -> "TrainingPlan":
        """The plan for a text of n symbols. Raises ValueError for an option that is not valid."""
        from ..tasks.training import TrainingPlan, streams_for

        return TrainingPlan(
            epochs=self.epochs,
            batch=streams_for(n_symbols) if self.batch is None else self.batch,
            window=self.window,
            lr=self.lr,
            warmup=self.warmup,
            clip=self.clip,
            pieces=_lengths(self.pieces),
            crlf=self.crlf,
            seed=self.seed,
        )

    @property
    def n_threads(self) -> int:
        """How many threads to use."""
        from ..jit.cores import n_cores

        return self.threads or n_cores()


def _lengths(pieces: str) -> tuple[int, int]:
    """The two numbers of --pieces."""
    shortest, _, longest = pieces.partition(":")
    if not (shortest.isdecimal() and longest.isdecimal() and 0 < int(shortest) <= int(longest)):
        raise ValueError(f"--pieces must be two lengths such as 64:16384, the shorter one first, not {pieces!r}")
    return int(shortest), int(longest)


@dataclass(frozen=True)
class Start:
    """Where training starts.

    documents   the tokens of each file
    vocabulary  their vocabulary
    config      the network's shape
    weights     the initial weights, by name; None: random ones
    about       what is known of the initial weights
    """

    documents: "list[Document]"
    vocabulary: "Vocabulary"
    config: "Config"
    weights: "dict[str, F32] | None" = None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def n_symbols(self) -> int:
        """The length of the text."""
        return sum(map(len, self.documents))


@dataclass(frozen=True)
class StartOptions:
    """Which weights training starts from, and the shape of a new network."""

    model: Annotated[
        Optional[str], option("NAME|FILE", "Start from the weights of this model instead of random ones.")
    ] = None
    hidden: Annotated[
        Optional[int], option("N", "Hidden units per layer; with --model, widen its layers to N. [128]")
    ] = None
    layers: Annotated[Optional[int], option("N", "Layers. [3]")] = None
    connections: Annotated[Optional[str], option("KIND", "skip or stacked. [skip]")] = None
    vocab: Annotated[Optional[str], option("KIND", "bytes, or text (the characters of the files). [bytes]")] = None

    @property
    def saved(self) -> list[str]:
        """The file of the model, if there is one."""
        return [self.model] if self.model and is_saved(self.model) else []

    def start(self, files: list[str], seed: int) -> Start:
        """Read the files and the model. Raises OSError or ValueError for what cannot be read, or does not fit."""
        from ..model import Config, Layout, widened
        from ..tasks.training import WINDOW, read_documents

        given = {"hidden": self.hidden, "layers": self.layers, "connections": self.connections, "vocab": self.vocab}
        shape: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if self.model in (None, "none"):
            documents, vocabulary = read_documents(files, shape.pop("vocab", "bytes"))
            return Start(documents, vocabulary, Config(**{"window": WINDOW, "hidden": 128, **shape}))
        model = load_model(self.model)
        config = replace(model.config, window=WINDOW, hidden=shape.pop("hidden", model.config.hidden))
        if shape:
            raise ValueError(f"--{next(iter(shape))} is for a new network; --model {self.model} has its own value")
        if config.hidden < model.config.hidden:
            raise ValueError(
                f"--hidden can only widen the layers of --model {self.model}; it must be at least {model.config.hidden}"
            )
        documents, vocabulary = read_documents(files, model.vocabulary)
        n_symbols = len(vocabulary)
        weights = widened(model.weights(), Layout(model.config, n_symbols), Layout(config, n_symbols), seed)
        name = model.about.pop("name", self.model)
        return Start(documents, vocabulary, config, weights, {**model.about, "started from": os.path.basename(name)})


@dataclass(frozen=True)
class MixtureOptions:
    """What the first weights of the mixture are learned from."""

    mixture: Annotated[
        Optional[list[str]],
        option(
            "FILE",
            "Learn the weights with which the mixture begins from this text, best one that is not trained on; "
            "repeatable. [the training text]",
        ),
    ] = None
    mixture_symbols: Annotated[
        int, option("N", "How many symbols to learn those weights from; 0: default weights.")
    ] = 4_000_000

    @property
    def files(self) -> list[str]:
        """The files of --mixture."""
        return self.mixture or []

    def check(self) -> None:
        """Raise OSError or ValueError for an option that is not valid."""
        check_files(self.files)
        if self.mixture_symbols < 0:
            raise ValueError(f"--mixture-symbols must be at least 0, not {self.mixture_symbols}")


@dataclass(frozen=True)
class OutputOptions:
    """What is written."""

    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="The model to write.")]
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False
    half: Annotated[
        bool, typer.Option("--half", help="Round the weights to float16 at the end: half the size of the file.")
    ] = False
    about: Annotated[
        Optional[list[str]],
        option("NAME=TEXT", "Note this in the model, for `streamlstm info`; repeatable."),
    ] = None
    val: Annotated[Optional[Path], option("FILE", "Score this file at each checkpoint.")] = None
    curve: Annotated[Optional[Path], option("FILE", "Append a row of the learning curve (tsv) at each checkpoint.")] = (
        None
    )
    checkpoint_every: Annotated[float, option("SECONDS", "Time between checkpoints.")] = 120.0

    @property
    def state(self) -> Path:
        """The file of an interrupted run."""
        return self.output.with_name(self.output.name + ".resume")

    @property
    def notes(self) -> dict[str, str]:
        """The names and texts of --about. Raises ValueError for one without a name."""
        return dict(_note(text) for text in self.about or [])

    def check(self, *sources: str) -> None:
        """Raise OSError or ValueError, before any work is done, for an option that is not valid.

        sources  the files that are read
        """
        from ..checkpoint import check_target

        taken: list[str | Path] = [*sources, *([self.val] if self.val else [])]
        for target in filter(None, (self.output, self.state, self.curve)):
            check_target(target, *taken)
            taken.append(target)
        if not self.checkpoint_every >= 0:
            raise ValueError(f"--checkpoint-every must be at least 0 seconds, not {self.checkpoint_every}")
        if self.state.exists() and not self.resume:
            raise ValueError(f"{self.state} holds an interrupted run; continue it with --resume, or remove the file")
        if self.resume and not self.state.exists():
            raise ValueError(f"there is no {self.state} to resume; omit --resume to start a new run")

    def held_out(self) -> bytes:
        """The text of --val. Raises OSError or ValueError for a file that cannot be read or is empty."""
        text = self.val.read_bytes() if self.val else b""
        if self.val and not text:
            raise ValueError(f"{self.val} is empty; --val needs a file with text")
        return text


def _note(text: str) -> tuple[str, str]:
    """The name and the text of an --about."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise ValueError(f"--about must be a name and a text, for example licence=MIT, not {text!r}")
    return name, value
