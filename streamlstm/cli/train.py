"""The command `train`."""

import os
import time
from typing import TYPE_CHECKING

from ..render.escape import counted
from .command import command, say
from .options import Files, check_files
from .train_options import MixtureOptions, OutputOptions, ScheduleOptions, StartOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..predictor import StreamPredictor
    from ..tasks.signals import Interruptible
    from ..tasks.training import Trainer
    from ..vocabulary import Tokens

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
    from ..tasks.pieces import sample
    from ..tasks.signals import Interruptible
    from ..tasks.training import Trainer, read_documents

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

    from ..checkpoint import append_text
    from ..render.progress import Bar
    from ..tasks.score import score as score_text

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
