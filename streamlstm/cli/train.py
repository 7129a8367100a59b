"""The command `train`."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .command import command
from .options import Files, check_files, is_saved, load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..kernels.arrays import F32
    from ..model import Config
    from ..predictor import StreamPredictor
    from ..tasks.pieces import Document
    from ..tasks.signals import Interruptible
    from ..tasks.training import Trainer
    from ..vocabulary import Tokens, Vocabulary

_CURVE = "update\tsymbols\tseconds\tlr\tbits\tvalidation_bits\n"


@command
def train(
    files: Files,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="MODEL", help="The model to write.")],
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    epochs: Annotated[float, typer.Option(metavar="X", help="How many times to read the text.")] = 10.0,
    stop_at: Annotated[
        Optional[int],
        typer.Option(metavar="N", help="Stop after update N, as Ctrl-C does; --resume continues. [the last update]"),
    ] = None,
    batch: Annotated[
        Optional[int], typer.Option(metavar="N", help="Parallel streams. [1 to 16, depending on the text's size]")
    ] = None,
    window: Annotated[int, typer.Option(metavar="N", help="Symbols of each stream between two updates.")] = 64,
    lr: Annotated[float, typer.Option(metavar="RATE", help="Adam's learning rate after the warm-up.")] = 0.004,
    warmup: Annotated[int, typer.Option(metavar="N", help="Updates over which the learning rate rises.")] = 100,
    clip: Annotated[float, typer.Option(metavar="X", help="Maximum norm of the gradient.")] = 1.0,
    pieces: Annotated[
        str,
        typer.Option(metavar="N:N", help="Shortest and longest length of the pieces into which each file is cut."),
    ] = "64:16384",
    crlf: Annotated[float, typer.Option(metavar="X", help="Share of the pieces that get CRLF line ends.")] = 0.0,
    threads: Annotated[
        int, typer.Option(metavar="N", help="Threads; the weights do not depend on it. 0: one per core.")
    ] = 0,
    mixture: Annotated[
        Optional[list[str]],
        typer.Option(
            metavar="FILE",
            help="Learn the weights with which the mixture begins from this text, best one that is not trained on; "
            "repeatable. [the training text]",
        ),
    ] = None,
    mixture_symbols: Annotated[
        int, typer.Option(metavar="N", help="How many symbols to learn those weights from; 0: default weights.")
    ] = 4_000_000,
    about: Annotated[
        Optional[list[str]],
        typer.Option(metavar="NAME=TEXT", help="Note this in the model, for `streamlstm info`; repeatable."),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Round the weights to float16 at the end: half the size of the file.")
    ] = False,
    model: Annotated[
        Optional[str],
        typer.Option(metavar="NAME|FILE", help="Start from the weights of this model instead of random ones."),
    ] = None,
    hidden: Annotated[
        Optional[int],
        typer.Option(metavar="N", help="Hidden units per layer; with --model, widen its layers to N. [128]"),
    ] = None,
    layers: Annotated[Optional[int], typer.Option(metavar="N", help="Layers. [3]")] = None,
    connections: Annotated[Optional[str], typer.Option(metavar="KIND", help="skip or stacked. [skip]")] = None,
    vocab: Annotated[
        Optional[str], typer.Option(metavar="KIND", help="bytes, or text (the characters of the files). [bytes]")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the initial weights and of the shuffling.")] = 0,
    val: Annotated[Optional[Path], typer.Option(metavar="FILE", help="Score this file at each checkpoint.")] = None,
    curve: Annotated[
        Optional[Path],
        typer.Option(metavar="FILE", help="Append a row of the learning curve (tsv) at each checkpoint."),
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(metavar="SECONDS", help="Time between checkpoints.")] = 120.0,
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
    from ..kernels.cores import n_cores
    from ..tasks.pieces import sample
    from ..tasks.signals import Interruptible
    from ..tasks.training import Trainer, TrainingPlan, read_documents, streams_for

    check_files([*files, *(mixture or [])])
    state = output.with_name(output.name + ".resume")
    sources: list[str | Path] = [*files, *(mixture or []), *([val] if val else [])]
    _check_targets(sources + ([model] if model and is_saved(model) else []), output, state, curve)
    if not checkpoint_every >= 0:
        raise ValueError(f"--checkpoint-every must be at least 0 seconds, not {checkpoint_every}")
    if stop_at is not None and stop_at < 1:
        raise ValueError(f"--stop-at must be at least update 1, not {stop_at}")
    if mixture_symbols < 0:
        raise ValueError(f"--mixture-symbols must be at least 0, not {mixture_symbols}")
    if threads < 0:
        raise ValueError(f"--threads must be at least 0, not {threads}")
    held_out = val.read_bytes() if val else b""
    if val and not held_out:
        raise ValueError(f"{val} is empty; --val needs a file with text")
    if state.exists() and not resume:
        raise ValueError(f"{state} holds an interrupted run; continue it with --resume, or remove the file")
    if resume and not state.exists():
        raise ValueError(f"there is no {state} to resume; omit --resume to start a new run")
    told = dict(_told(text) for text in about or [])
    shape = {"hidden": hidden, "layers": layers, "connections": connections, "vocab": vocab}
    documents, vocabulary, config, weights, known = _start(
        files, model, {k: v for k, v in shape.items() if v is not None}, seed
    )
    streams = streams_for(sum(map(len, documents))) if batch is None else batch
    plan = TrainingPlan(epochs, streams, window, lr, warmup, clip=clip, pieces=_lengths(pieces), crlf=crlf, seed=seed)
    trainer = Trainer(documents, vocabulary, config, plan, threads or n_cores(), weights=weights, about=known | told)
    if resume:
        trainer.restore(state)
    last = trainer.n_steps if stop_at is None else min(stop_at, trainer.n_steps)
    if last < trainer.step:
        raise ValueError(f"--stop-at {stop_at} is before update {trainer.step:,}, which {state} has reached")
    texts = read_documents(mixture, vocabulary)[0] if mixture else documents
    with Interruptible() as control:
        _run_training(trainer, last, output, state, held_out, curve, checkpoint_every, control)
        predictor = trainer.predictor(half)
        trained = trainer.step == trainer.n_steps
        if config.memory and mixture_symbols and trained and not control.interrupted:
            total = min(mixture_symbols, 2 * sum(map(len, texts)))
            _learn_mixture(predictor, sample(texts, vocabulary, total, seed), total, control)
        if trained and not control.interrupted:
            predictor.save(output, half)
    if not trained or control.interrupted:
        typer.echo(f"stopped at update {trainer.step:,} of {trainer.n_steps:,}; continue with --resume", err=True)
        control.raise_if_interrupted()
    else:
        state.unlink(missing_ok=True)


def _check_targets(sources: list[str | Path], *targets: Path | None) -> None:
    """Raises OSError for a file that cannot be written or is one of the sources, and for one that is named twice."""
    from ..checkpoint import check_target

    taken = list(sources)
    for target in filter(None, targets):
        check_target(target, *taken)
        taken.append(target)


def _told(text: str) -> tuple[str, str]:
    """The name and the text of an --about."""
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise ValueError(f"--about must be a name and a text, for example licence=MIT, not {text!r}")
    return name, value


def _lengths(pieces: str) -> tuple[int, int]:
    """The two numbers of --pieces."""
    shortest, _, longest = pieces.partition(":")
    if not (shortest.isdecimal() and longest.isdecimal() and 0 < int(shortest) <= int(longest)):
        raise ValueError(f"--pieces must be two lengths such as 64:16384, the shorter one first, not {pieces!r}")
    return int(shortest), int(longest)


def _start(
    files: list[str], model: str | None, shape: dict[str, Any], seed: int
) -> "tuple[list[Document], Vocabulary, Config, dict[str, F32] | None, dict[str, str]]":
    """The documents' tokens, their vocabulary, the network's shape, the initial weights (None: random), and notes."""
    from dataclasses import replace

    from ..model import Config, Layout, widened
    from ..tasks.training import WINDOW, read_documents

    if model in (None, "none"):
        documents, vocabulary = read_documents(files, shape.pop("vocab", "bytes"))
        return documents, vocabulary, Config(**{"window": WINDOW, "hidden": 128, **shape}), None, {}
    start = load_model(model)
    config = replace(start.config, window=WINDOW, hidden=shape.pop("hidden", start.config.hidden))
    if shape:
        raise ValueError(f"--{next(iter(shape))} is for a new network; --model {model} has its own value")
    if config.hidden < start.config.hidden:
        raise ValueError(
            f"--hidden can only widen the layers of --model {model}; it must be at least {start.config.hidden}"
        )
    n_symbols = len(start.vocabulary)
    weights = widened(start.weights(), Layout(start.config, n_symbols), Layout(config, n_symbols), seed)
    name = start.about.pop("name", Path(model).name)
    about = {**start.about, "started from": os.path.basename(name)}
    return *read_documents(files, start.vocabulary), config, weights, about


def _run_training(
    trainer: "Trainer",
    last: int,
    output: Path,
    state: Path,
    held_out: bytes,
    curve: Path | None,
    checkpoint_every: float,
    control: "Interruptible",
) -> None:
    """Train to update `last`, or to a signal, with a progress bar.

    A checkpoint writes the model and a row of the curve.
    """
    from itertools import islice

    from ..checkpoint import append_text
    from ..render.progress import Bar
    from ..tasks.score import score as score_text

    started = saved = time.monotonic()
    bits, updates, validation = 0.0, 0, ""

    def checkpoint() -> str:
        trainer.save(state)
        trainer.predictor().save(output)
        network = trainer.network()
        network.learning = False
        text = held_out if trainer.vocabulary.characters is None else held_out.decode("utf-8", "replace")
        result = f"{score_text(network, [text]).bits_per_symbol:.4f}" if held_out else ""
        if curve is not None:
            mean, n_symbols = bits / max(updates, 1), trainer.step * trainer.symbols_per_step
            seconds = time.monotonic() - started
            row = f"{trainer.step}\t{n_symbols}\t{seconds:.0f}\t{trainer.lr:.6f}\t{mean:.4f}\t{result}\n"
            append_text(curve, row if curve.exists() and curve.stat().st_size else _CURVE + row)
        return result

    with Bar(trainer.n_steps, trainer.step, trainer.symbols_per_step) as bar:
        for progress in islice(trainer.run(), last - trainer.step):
            bits, updates = bits + progress.bits, updates + 1
            bar.show(progress.step, f"{bits / updates:.4f} bits" + (f", held out {validation}" if validation else ""))
            if control.interrupted:
                break
            if time.monotonic() - saved >= checkpoint_every:
                validation, saved = checkpoint(), time.monotonic()
                bits, updates = 0.0, 0
    validation = checkpoint()
    typer.echo(
        f"{trainer.step * trainer.symbols_per_step:,} symbols"
        + (f", {bits / updates:.4f} bits per symbol over the last {updates:,} updates" if updates else "")
        + (f", {validation} on the validation file" if validation else ""),
        err=True,
    )


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
