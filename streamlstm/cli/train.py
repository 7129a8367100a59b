"""The command `train`: its schedule, the initial weights, the mixture, and what is written."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from ..render.escape import counted
from .command import command, say
from .options import Files, check_files, is_saved, load_model, option

if TYPE_CHECKING:
    from ..kernels.arrays import F32
    from ..model import Config
    from ..predictor import StreamPredictor
    from ..system.process import Interruptible
    from ..training.excerpts import Document
    from ..training.trainer import Trainer, TrainingPlan
    from ..vocabulary import Tokens, Vocabulary


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
        from ..training.trainer import TrainingPlan, streams_for

        values: dict[str, Any] = {
            each.name: vars(self)[each.name] for each in fields(TrainingPlan) if each.name in vars(self)
        }
        values["batch"] = streams_for(n_symbols) if self.batch is None else self.batch
        return TrainingPlan(**{**values, "pieces": _lengths(self.pieces)})

    @property
    def n_threads(self) -> int:
        """How many threads to use."""
        from ..system.process import n_cores

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
        from ..training.trainer import WINDOW, read_documents

        shape: dict[str, Any] = {name: value for name, value in vars(self).items() if value is not None}
        shape.pop("model", None)
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
        from ..system.files import check_target

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


CURVE = "update\tsymbols\tseconds\tlr\tbits\tvalidation_bits\n"
"""The first row of a learning curve."""


@command
def train(
    files: Files,
    outputs: OutputOptions,
    schedule: ScheduleOptions,
    starting: StartOptions,
    mixture: MixtureOptions,
) -> None:
    """Train a model on files.

    At each checkpoint MODEL is written, ready for use, and MODEL.resume, from which --resume continues to the same
    weights as an uninterrupted run. Ctrl-C writes both and stops. With --resume, another number of --epochs makes the
    rest of the run shorter or longer: from there the learning rate is that of the new schedule. At the end the weights
    with which the mixture of network and counts begins are learned, and MODEL.resume is removed. --window and --lr
    apply to the training only: in a stream, MODEL learns with the optimizer that `streamlstm info` shows.

    \b
      streamlstm train book.txt -o book.safetensors
      streamlstm train *.txt -o all.safetensors --epochs 3 --val held-out.txt --curve curve.tsv
      streamlstm train *.txt -o all.safetensors --epochs 3 --resume
      streamlstm train mine.txt -o mine.safetensors --model small --lr 0.002
      streamlstm train *.txt -o wide.safetensors --model small --hidden 256
      streamlstm train *.txt -o new.safetensors --model old.safetensors --epochs 0   # learn the mixture only
    """
    from ..system.process import Interruptible
    from ..training.excerpts import sample
    from ..training.trainer import Trainer, read_documents

    check_files(files)
    schedule.check()
    mixture.check()
    outputs.check(*files, *mixture.files, *starting.saved)
    held_out, notes = outputs.held_out(), outputs.notes
    start = starting.start(files, schedule.seed)
    trainer = Trainer(
        start.documents,
        start.vocabulary,
        start.config,
        schedule.plan(start.n_symbols),
        schedule.n_threads,
        weights=start.weights,
        about=start.about | notes,
    )
    if outputs.resume:
        trainer.restore(outputs.state)
    last = min(schedule.stop_at or trainer.n_steps, trainer.n_steps)
    if last < trainer.step:
        raise ValueError(
            f"--stop-at {schedule.stop_at} is before update {trainer.step:,}, which {outputs.state} has reached"
        )
    texts = read_documents(mixture.files, start.vocabulary)[0] if mixture.files else start.documents
    with Interruptible() as control:
        _run_training(trainer, last, held_out, outputs, control)
        predictor = trainer.predictor(outputs.half)
        is_trained = trainer.step == trainer.n_steps
        if start.config.memory and mixture.mixture_symbols and is_trained and not control.interrupted:
            total = min(mixture.mixture_symbols, 2 * sum(map(len, texts)))
            _learn_mixture(predictor, sample(texts, start.vocabulary, total, schedule.seed), total, control)
        if is_trained and not control.interrupted:
            predictor.save(outputs.output, outputs.half)
    if not is_trained or control.interrupted:
        say(f"stopped at update {trainer.step:,} of {trainer.n_steps:,}; continue with --resume")
        control.raise_if_interrupted()
    else:
        outputs.state.unlink(missing_ok=True)


def _run_training(
    trainer: "Trainer", last: int, held_out: bytes, outputs: OutputOptions, control: "Interruptible"
) -> None:
    """Train to update `last`, or to a signal, with a progress bar.

    A checkpoint writes the model and a row of the curve.
    """
    from itertools import islice

    from ..render.progress import Bar
    from ..system.files import append_text
    from ..text.score import score as score_text

    curve, started = outputs.curve, time.monotonic()
    saved, bits, updates, validation = started, 0.0, 0, ""
    written = -1  # the update of the last row of the curve
    if outputs.resume:
        written = trainer.step
        if curve is not None:
            cut_curve(curve, trainer.step)

    def checkpoint() -> str:
        nonlocal written
        unwritten = None
        network = trainer.network()
        network.learning = False
        text = held_out if trainer.vocabulary.characters is None else held_out.decode("utf-8", "replace")
        result = f"{score_text(network, [text]).bits_per_symbol:.4f}" if held_out else ""
        if curve is not None and trainer.step != written:
            mean, n_symbols = bits / max(updates, 1), trainer.step * trainer.symbols_per_step
            seconds = time.monotonic() - started
            row = f"{trainer.step}\t{n_symbols}\t{seconds:.0f}\t{trainer.lr:.6f}\t{mean:.4f}\t{result}\n"
            try:
                append_text(curve, row if curve.exists() and curve.stat().st_size else CURVE + row)
            except OSError as error:
                unwritten = error
        written = trainer.step
        trainer.save(outputs.state)  # after the row: what is in the curve behind it is cut off by --resume
        trainer.predictor().save(outputs.output)
        if unwritten is not None:  # only now: what was trained must not be lost with a row
            say(f"stopped at update {trainer.step:,} of {trainer.n_steps:,}; continue with --resume")
            raise unwritten
        return result

    with Bar(trainer.n_steps, trainer.step, trainer.symbols_per_step) as bar:
        for progress in islice(trainer.run(), last - trainer.step):
            bits, updates = bits + progress.bits, updates + 1
            bar.show(progress.step, f"{bits / updates:.4f} bits" + (f", held out {validation}" if validation else ""))
            if control.interrupted:
                break
            if time.monotonic() - saved >= outputs.checkpoint_every:
                validation, saved = checkpoint(), time.monotonic()
                bits, updates = 0.0, 0
    validation = checkpoint()
    say(
        counted(trainer.step * trainer.symbols_per_step, "symbol")
        + (f", {bits / updates:.4f} bits per symbol over the last {counted(updates, 'update')}" if updates else "")
        + (f", {validation} on the validation file" if validation else "")
    )


def cut_curve(curve: "Path", step: int) -> None:
    """Remove the rows behind the one of update `step`: they were written after the state from which a run continues."""
    data = curve.read_bytes() if curve.exists() else b""
    rows = data.splitlines(keepends=True)
    if rows and rows[0] == CURVE.encode() and not data.endswith(b"\n"):
        rows.pop()  # the disk was full
        os.truncate(curve, sum(map(len, rows)))
    while rows and (update := rows[-1].split(b"\t")[0]).isdigit() and (int(update) > step or rows[-1][-1:] != b"\n"):
        rows.pop()
    if rows and rows[-1].startswith(b"%d\t" % step):
        os.truncate(curve, sum(map(len, rows)))


def _learn_mixture(
    predictor: "StreamPredictor", texts: "Iterator[Tokens]", total: int, control: "Interruptible"
) -> None:
    """Learn the weights with which the mixture begins, unless there is a signal."""
    from ..render.progress import Bar

    def until_interrupted() -> "Iterator[Tokens]":
        done = 0
        with Bar(total, 0, 1) as bar:
            for text in texts:
                if control.interrupted:
                    return
                yield text
                done += len(text)
                bar.show(done, "first weights of the mixture")

    n_symbols = predictor.learn_mixture(until_interrupted())
    predictor.about["mixture"] = f"its first weights were learned on {n_symbols:,} symbols"
