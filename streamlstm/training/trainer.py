"""Offline training: parallel streams read a text for several epochs, with a learning rate schedule.

The documents are cut into pieces, see `pieces`, which B streams read in parallel. Each thread works on a group of
streams. The groups have a fixed size and their gradients are added in a fixed order, so that the weights are the same
for any number of threads.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Arrays, read_checkpoint, write_checkpoint
from ..jit.decorators import native
from ..kernels import gradient, network
from ..kernels.arrays import F32
from ..model import Config, InitConfig, Layout, aligned_zeros, fresh_theta
from ..optim import Adam, OptimizerState, RMSprop, add_gradient
from ..predictor import StreamPredictor
from ..predictor.tape import Tape
from ..predictor.weights import Learner
from ..ranges import COUNT, Range, check_count, check_number, check_ranges, whole_number
from ..system.input import open_input
from ..vocabulary import Tokens, Vocabulary
from .excerpts import Cutting, Document, Feed, Pieces

WINDOW = 32
"""The window of the trained predictor."""

OFFLINE_INIT = InitConfig(table=0.7, gain=1.0, forget_bias=0.5)
"""How the weights are drawn that training begins with."""

GROUP = 8
"""How many streams a group has. Another number gives other weights, because sums are added in another order."""


@dataclass(frozen=True)
class TrainingPlan:
    """The hyper-parameters of a training run.

    epochs  how many times the text is read; 0 for initial weights that are trained already
    batch   parallel streams
    window  symbols of each stream between two updates, and how far back the gradient goes
    lr      learning rate of Adam after the warm-up; from there it falls to 0 along half a cosine
    warmup  updates during which the learning rate rises linearly to `lr`
    beta2   decay rate of the mean squared gradient
    clip    gradients (of the mean loss per symbol, in nats) are scaled down to this norm
    pieces  the shortest and the longest length that is drawn for a piece
    crlf    the share of pieces that are read with CRLF line ends, of those documents that have only LF
    seed    of the initial weights, of the lengths and of the order of the pieces

    Raises ValueError for a value out of its range, TypeError for what is not a number.

    >>> TrainingPlan(epochs=2).optimizer().lr
    0.004
    """

    epochs: float = 10.0
    batch: int = 16
    window: int = 64
    lr: float = 0.004
    warmup: int = 100
    beta2: float = 0.99
    clip: float = 1.0
    pieces: tuple[int, int] = (64, 16384)
    crlf: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("batch", 1, COUNT),
            ("window", 1, COUNT),
            ("warmup", 0, COUNT),
            ("seed", 0, 2**512),
        ):
            object.__setattr__(self, name, check_count(name, getattr(self, name), least, most, floats=True))
        if not isinstance(self.pieces, tuple | list) or len(self.pieces) != 2:
            raise ValueError(f"pieces must be two lengths, the shortest and the longest, not {self.pieces!r}")
        shortest = check_count("pieces", self.pieces[0], 1, floats=True)
        longest = check_count("pieces", self.pieces[1], shortest, floats=True)
        object.__setattr__(self, "pieces", (shortest, longest))
        check_number("crlf", self.crlf, 0, 1)
        check_number("epochs", self.epochs, 0, 1e12)
        for name in ("epochs", "lr", "beta2", "clip", "crlf"):
            if isinstance(value := getattr(self, name), np.generic):
                object.__setattr__(self, name, value.item())
        self.optimizer()

    def optimizer(self) -> Adam:
        """The optimizer. Raises ValueError for a hyper-parameter out of its range."""
        return Adam(lr=self.lr, beta2=self.beta2, clip=self.clip, skip_below=0.0)


@dataclass(frozen=True)
class TrainingProgress:
    """What `Trainer.run` yields after each update.

    step       how many updates are done
    n_steps    how many the run has
    n_symbols  how many symbols have been read
    bits       mean surprisal, in bits per symbol, of the symbols of this update
    lr         the learning rate of this update
    """

    step: int
    n_steps: int
    n_symbols: int
    bits: float
    lr: float


class _Group:
    """A group of streams that one thread works on: their tape and their gradient."""

    def __init__(self, layout: Layout, window: int, batch: int) -> None:
        self.batch, self._window = batch, window
        self._tape = Tape(layout, window, learning=True, batch=batch)
        self.stream = self._tape.stream
        self.stream.tape[:] = 0  # what lies between the parts of a record is saved too
        self.gradient = Learner(layout, window, batch).gradient

    @property
    def carried(self) -> F32:
        """The states with which the next window begins; a view."""
        return self.stream.tape[: self._tape.record * self.batch]

    @property
    def bits(self) -> F32:
        """The surprisals of the symbols of the window, in bits; a view."""
        return self.stream.bits[: self._window * self.batch]

    def begin(self, theta: F32) -> None:
        """Compute the distributions of the states in slot 0."""
        native(network.forward)(theta, self.stream, 0, 0, self.batch)

    def run(self, theta: F32, tokens: Tokens) -> None:
        """Forward and backward over a window of tokens [T + 1, B]; the final states move to slot 0."""
        self.stream.tokens[:] = tokens.reshape(-1)
        native(network.forward)(theta, self.stream, 0, self._window, self.batch)
        native(gradient.backward)(theta, self.gradient, self.stream, self._window, self.batch)
        slot = len(self.carried)
        self.carried[:] = self.stream.tape[(self._window + 1) * slot : (self._window + 2) * slot]


class Trainer:
    """A training run that can be saved after any update and resumed bit for bit.

    documents   the tokens of each document, int [n], in all at least 2; or those of a single one
    vocabulary  the vocabulary of the tokens
    config      the network's shape; its `window` is that of the trained predictor
    plan        the hyper-parameters
    threads     how many threads to use; any number gives the same weights
    weights     the initial weights, by name; default: random
    about       information on the initial weights, which the trained predictor keeps

    Raises ValueError for a text that is too short, and for weights that do not fit the config.

    >>> tokens, vocabulary = Vocabulary.bytes().encode("to be or not to be " * 20), Vocabulary.bytes()
    >>> trainer = Trainer(tokens, vocabulary, Config(hidden=16, layers=1), TrainingPlan(batch=4, window=16, warmup=2))
    >>> bits = [progress.bits for progress in trainer.run()]
    >>> bits[0] == 8.0 and bits[-1] < 6
    True
    >>> trainer.predictor()
    <StreamPredictor: 256 symbols, 1×16, memory, learning, 0 symbols seen>
    """

    def __init__(
        self,
        documents: Document | Sequence[Document],
        vocabulary: Vocabulary,
        config: Config,
        plan: TrainingPlan,
        threads: int = 1,
        *,
        weights: dict[str, F32] | None = None,
        about: dict[str, str] | None = None,
    ) -> None:
        self._documents = [documents] if isinstance(documents, np.ndarray) else list(documents)
        size = sum(map(len, self._documents))
        if size < 2:
            raise ValueError(f"training needs at least 2 symbols; the text has {size}")
        threads = check_count("threads", threads, 1, 1024)
        self.plan, self.vocabulary = plan, vocabulary
        self.config = config
        self._about = dict(about or {})
        self.layout = Layout(replace(config, memory=False), len(vocabulary))
        self.window = min(plan.window, size)
        self.batch = max(1, min(plan.batch, size // (self.window + 1)))
        self.n_steps = max(1, round(plan.epochs * size / self.symbols_per_step)) if plan.epochs else 0
        self._feed = Feed(Pieces(self._documents, vocabulary, Cutting(*plan.pieces, plan.crlf, plan.seed)), self.batch)
        self.step = 0
        if weights is None:
            self.theta = fresh_theta(self.layout, plan.seed, OFFLINE_INIT)
        else:
            self.theta = self.layout.flat(weights)
        self._initial_weights = hashlib.sha256(self.theta.tobytes()).hexdigest()
        optimizer = plan.optimizer()
        self.optimizer_state = OptimizerState(optimizer, aligned_zeros(optimizer.n_slots * self.layout.size))
        sizes = [min(GROUP, self.batch - first) for first in range(0, self.batch, GROUP)]
        self._groups = [_Group(self.layout, self.window, size) for size in sizes]
        for group in self._groups:
            group.begin(self.theta)
        self._threads = threads

    def run(self) -> Iterator[TrainingProgress]:
        """Train to the end. Yields after each update; at that point the trainer may be saved."""
        with ThreadPoolExecutor(self._threads) as pool:
            while self.step < self.n_steps:
                tokens, lr = self._feed.window(self.window), self.lr
                starts = np.cumsum([0] + [group.batch for group in self._groups])
                parts = [tokens[:, a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]
                list(pool.map(lambda group, part: group.run(self.theta, part), self._groups, parts))
                self._descend(lr)
                self.step += 1
                bits = np.concatenate([group.bits for group in self._groups])
                n_symbols, n_predicted = self.step * self.symbols_per_step, np.sum(tokens[:-1] != len(self.vocabulary))
                mean = float(bits.sum(dtype=np.float64) / max(1, n_predicted))
                yield TrainingProgress(self.step, self.n_steps, n_symbols, mean, lr)

    def _descend(self, lr: float) -> None:
        first, *others = self._groups
        for other in others:
            add_gradient(first.gradient, other.gradient, self.layout.tables, self.layout.width)
        self.optimizer_state.step(self.theta, first.gradient, first.stream, self.symbols_per_step, lr)

    @property
    def symbols_per_step(self) -> int:
        """How many symbols each update reads, begin-of-stream symbols included."""
        return self.window * self.batch

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        if self.step < self.plan.warmup:
            return self.plan.lr * (self.step + 1) / self.plan.warmup
        done = (self.step - self.plan.warmup) / max(1, self.n_steps - self.plan.warmup)
        return self.plan.lr * _half_cosine(done)

    def predictor(self, half: bool = False) -> StreamPredictor:
        """A predictor with the present weights, which continues to learn with `streaming_optimizer`.

        half  round the weights to float16
        """
        progress = f"on {self.step * self.symbols_per_step:,} symbols in {self.step:,} updates of Adam"
        about = self._about | ({"trained": progress} if self.step else {})
        weights = self.layout.named(self.theta)
        if half:
            weights = {name: weight.astype(np.float16).astype(np.float32) for name, weight in weights.items()}
        return self._predictor(self.config, about, weights)

    def network(self) -> StreamPredictor:
        """The same predictor without a memory, which shows what the training alone has reached."""
        return self._predictor(self.layout.config, {}, self.layout.named(self.theta))

    def _predictor(self, config: Config, about: dict[str, str], weights: dict[str, F32]) -> StreamPredictor:
        optimizer = streaming_optimizer(config.hidden)
        return StreamPredictor.from_weights(weights, self.vocabulary, config, optimizer, about)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that `restore` needs, atomically. Raises OSError if the file cannot be written."""
        arrays = {"theta": self.theta, "slots": self.optimizer_state.slots}
        arrays |= {f"carried.{i}": group.carried for i, group in enumerate(self._groups)}
        rests, position = self._feed.save()
        values = {"step": self.step, "optimizer": self.optimizer_state.describe(), "position": position}
        write_checkpoint(path, arrays | rests, self._identity() | values)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Continue the run that `save` wrote; `plan.epochs` may differ, and is that of the rest of the run.

        Raises OSError if the file cannot be read, and ValueError, with nothing changed, if something is missing in it,
        or if its text, weights, config or plan differ.
        """
        arrays, values = read_checkpoint(path)
        for key, mine in self._identity().items():
            theirs = values.get(key)
            if key == "plan" and isinstance(theirs, dict):
                theirs = {**theirs, "epochs": self.plan.epochs}
            if isinstance(mine, dict) and isinstance(theirs, dict):
                key = next((name for name in mine if mine[name] != theirs.get(name)), key)
                mine, theirs = mine.get(key), theirs.get(key)
            if mine != theirs:
                others = {"training text": "another training text", "start": "other initial weights"}
                difference = others.get(key, f"{key} {theirs}, not {mine}")
                raise ValueError(
                    f"{path} belongs to a different run ({difference}); use the same text and options, or delete it"
                )
        try:
            optimizer_state, step = self.optimizer_state.copy(), values["step"]
            optimizer_state.load_state(values["optimizer"]["n_steps"], values["optimizer"]["powers"])
            targets = {"theta": self.theta, "slots": optimizer_state.slots}
            targets |= {f"carried.{i}": group.carried for i, group in enumerate(self._groups)}
            saved = {name: _like(target, arrays[name], name) for name, target in targets.items()}
            optimizer_state.slots[:] = saved["slots"]
            check_ranges(self._ranges(saved, optimizer_state), "it is out of range")
            whole_number(step, "step", most=self.n_steps)
            self._feed.restore(arrays, values["position"])
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{path} is not a usable training run: {what}") from None
        for name, target in targets.items():
            target[:] = saved[name]
        self.optimizer_state.copy_from(optimizer_state)
        self.step = step

    def _ranges(self, saved: Arrays, optimizer_state: OptimizerState) -> list[Range]:
        """What the numbers of a saved run may be, besides finite."""
        flat = saved["theta"], *optimizer_state.slots.reshape(-1, self.layout.size)
        ranges = [each for weights in flat for each in self.layout.padding_ranges(weights)]
        for index, group in enumerate(self._groups):
            for record in saved[f"carried.{index}"].reshape(group.batch, -1):
                ranges += [Range("a probability", record[: self.layout.columns], 0, 1)]
                ranges += self.layout.state_ranges(record[: self.layout.state])
        return [*ranges, *optimizer_state.ranges()]

    def _identity(self) -> dict[str, Any]:
        text = hashlib.sha256()
        for document in self._documents:
            text.update(len(document).to_bytes(8, "little") + np.ascontiguousarray(document).tobytes())
        return {
            "training text": text.hexdigest(),
            "vocabulary": self.vocabulary.describe(),
            "config": asdict(self.config),
            "plan": {**asdict(self.plan), "pieces": list(self.plan.pieces)},
            "start": self._initial_weights,
        }


def streaming_optimizer(hidden: int) -> RMSprop:
    """The optimizer with which a trained model of that hidden size learns in a stream.

    It is tuned for 128 and 256; the model cards of the bundled models have the measurements.

    >>> streaming_optimizer(128).lr, streaming_optimizer(256).lr
    (0.007, 0.0035)
    """
    wider = max(1.0, hidden / 128)
    rates = {"lr": 0.007 / wider, "output_lr_scale": 5 * math.sqrt(wider), "candidate_lr_scale": 1.0}
    return RMSprop(**rates, half_life=2e4, floor=0.3, beta2=0.9999, pull_back=0.005, repetition=4.0)


def streams_for(n_symbols: int) -> int:
    """How many parallel streams to use for a text: at most 16, with at least 8,192 symbols each.

    >>> streams_for(20_000)
    2
    """
    return max(1, min(16, n_symbols // 8192))


def read_documents(
    files: Sequence[str | os.PathLike[str]], vocabulary: str | Vocabulary
) -> tuple[list[Document], Vocabulary]:
    """The tokens of each file, and their vocabulary.

    vocabulary  "bytes"; "text", the characters that occur in the files; or a Vocabulary

    Raises OSError for a file that cannot be read, and ValueError for text that is not valid UTF-8, for a character that
    is not in the vocabulary, and for any other value of `vocabulary`.
    """
    if vocabulary == "bytes":
        vocabulary = Vocabulary.bytes()
    if isinstance(vocabulary, Vocabulary) and vocabulary.characters is None:
        return [np.frombuffer(_read(file), dtype=np.uint8) for file in files], vocabulary
    texts = [_read_characters(file) for file in files]
    if vocabulary == "text":
        vocabulary = Vocabulary.from_text("".join(texts))
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"the vocabulary must be bytes or text, not {vocabulary!r}")
    return [vocabulary.encode(text) for text in texts], vocabulary


def _read(file: str | os.PathLike[str]) -> bytes:
    with open_input(os.fspath(file)) as source:
        return source.read()


def _read_characters(file: str | os.PathLike[str]) -> str:
    try:
        return _read(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not valid UTF-8 at byte {error.start}; use --vocab bytes") from None


def _like(target: F32, saved: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """A saved array. Raises ValueError if it does not fit."""
    if saved.shape != target.shape or saved.dtype != target.dtype:
        raise ValueError(f"{name!r} must be {target.dtype} {list(target.shape)}, not {saved.dtype} {list(saved.shape)}")
    return saved


def _half_cosine(x: float) -> float:
    """1 at x = 0, 0 at x = 1: the smoothstep 1 - 3x² + 2x³, close to (1 + cos πx)/2 but the same on every machine."""
    x = min(max(x, 0.0), 1.0)
    return 1 - x * x * (3 - 2 * x)
