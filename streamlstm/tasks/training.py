"""Offline training: many parallel streams through a text, several times, with a schedule for the learning rate.

The text is cut into chunks, which are shuffled for each epoch and laid end to end; B streams read it from B
places at once. Streams are worked on in groups of a fixed size, whose gradients are added in a fixed order: the
weights are the same for any number of threads.
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

from ..checkpoint import read_checkpoint, write_checkpoint
from ..kernels import gradient, network
from ..kernels.arrays import F32, Gradient
from ..kernels.descent import add_gradient
from ..kernels.jit import native
from ..model import Config, InitConfig, Layout, aligned_zeros, fresh_theta
from ..optim import Adam, OptimizerState, RMSprop
from ..predictor import StreamPredictor
from ..predictor.tape import Tape
from ..vocabulary import Tokens, Vocabulary
from .input import open_input

WINDOW = 32
"""The window of the streaming predictor that comes out of training."""

GROUP = 8
"""Streams that one thread works on at a time; part of the arithmetic, since groups' sums are added."""


@dataclass(frozen=True)
class Plan:
    """The hyper-parameters of a training run.

    epochs   times that the text is read
    batch    parallel streams
    window   symbols of each stream between two updates, and how far back the gradient goes; a short text is cut into
             windows that are somewhat longer, so that none of it is left over
    lr       learning rate of Adam after the warm-up of `warmup` updates; from there it falls to 0 on half a cosine
    clip     largest norm of the gradient of the mean loss per symbol
    chunk    symbols that stay together when the text is shuffled
    """

    epochs: float = 10.0
    batch: int = 16
    window: int = 64
    lr: float = 0.004
    warmup: int = 100
    beta2: float = 0.99
    clip: float = 1.0
    chunk: int = 16384
    seed: int = 0

    def __post_init__(self) -> None:
        for name, smallest in (("batch", 1), ("window", 1), ("warmup", 0), ("chunk", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
                raise ValueError(f"{name} must be a whole number from {smallest} on, not {value!r}")
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"epochs must be a number above 0, not {self.epochs}")
        self.optimizer()

    def optimizer(self) -> Adam:
        """The rule; raises ValueError for a hyper-parameter out of its range."""
        return Adam(lr=self.lr, beta2=self.beta2, clip=self.clip)


@dataclass(frozen=True)
class Progress:
    """One update: how many are done, of how many; the symbols read; surprisal of the symbols just read; the rate."""

    step: int
    n_steps: int
    n_symbols: int
    bits: float
    lr: float


class _Group:
    """The streams of one worker: their tape, gradient and scratch."""

    def __init__(self, layout: Layout, window: int, batch: int) -> None:
        self.batch, self._window = batch, window
        self._tape = Tape(layout, window, learning=True, batch=batch)
        self.stream = self._tape.stream
        self.gradient = Gradient(
            grad=aligned_zeros(layout.size),
            work=aligned_zeros((window + 1) * batch * layout.hidden),
            touched=np.zeros(layout.n_symbols, dtype=np.uint8),
        )

    @property
    def carried(self) -> F32:
        """A view of the states that the next window begins with."""
        return self.stream.tape[: self._tape.record * self.batch]

    @property
    def bits(self) -> F32:
        """A view of the surprisals of the symbols of the window."""
        return self.stream.bits[: self._window * self.batch]

    def begin(self, theta: F32) -> None:
        """Make the distributions of the states in slot 0."""
        native(network.forward)(theta, self.stream, 0, 0, self.batch)

    def run(self, theta: F32, tokens: Tokens) -> None:
        """One window of tokens [T + 1, B]: forward, backward, and the carried state into slot 0."""
        self.stream.tokens[:] = tokens.reshape(-1)
        native(network.forward)(theta, self.stream, 0, self._window, self.batch)
        native(gradient.backward)(theta, self.gradient, self.stream, self._window, self.batch)
        slot = len(self.carried)
        self.carried[:] = self.stream.tape[(self._window + 1) * slot : (self._window + 2) * slot]


class Trainer:
    """A training run that can be stopped after any update, saved, and resumed to the same last bit.

    tokens      the training text, int [n], n ≥ 2
    vocabulary  what the tokens mean
    config      the shape of the net; its `window` is that of the streaming predictor that comes out
    threads     workers; any number gives the same weights
    weights     where to start, by name; None: random weights
    about       what is to be known of these weights
    """

    def __init__(
        self,
        tokens: npt.NDArray[Any],
        vocabulary: Vocabulary,
        config: Config,
        plan: Plan,
        threads: int = 1,
        weights: dict[str, F32] | None = None,
        about: dict[str, str] | None = None,
    ) -> None:
        if len(tokens) < 2:
            raise ValueError(f"training needs at least 2 symbols, the text has {len(tokens)}")
        if threads < 1:
            raise ValueError(f"threads must be a whole number from 1 on, not {threads}")
        self.plan, self.vocabulary = plan, vocabulary
        self.config = config
        self._about = dict(about or {})
        self.layout = Layout(replace(config, memory=False), len(vocabulary))
        self._text = tokens
        self.batch = max(1, min(plan.batch, len(tokens) // (plan.window + 1)))
        self._stream = len(tokens) // self.batch
        self._steps_per_epoch = max(1, (self._stream - 1) // plan.window)
        self.window = (self._stream - 1) // self._steps_per_epoch
        self.n_steps = max(1, round(plan.epochs * self._steps_per_epoch))
        self.step = 0
        if weights is None:
            self.theta = fresh_theta(self.layout, plan.seed, InitConfig(table=0.7, gain=1.0, forget_bias=0.5))
        else:
            self.theta = self.layout.flat(weights)
        self._start = hashlib.sha256(self.theta.tobytes()).hexdigest()
        optimizer = plan.optimizer()
        self.optimizer_state = OptimizerState(optimizer, aligned_zeros(optimizer.n_slots * self.layout.size))
        sizes = [min(GROUP, self.batch - first) for first in range(0, self.batch, GROUP)]
        self._groups = [_Group(self.layout, self.window, size) for size in sizes]
        for group in self._groups:
            group.begin(self.theta)
        self._threads = threads
        self._epoch, self._shuffled = -1, tokens[:0]

    def run(self) -> Iterator[Progress]:
        """Train to the end; yields after each update, when the trainer may be saved."""
        with ThreadPoolExecutor(self._threads) as pool:
            while self.step < self.n_steps:
                tokens, lr = self._next_tokens(), self.lr
                starts = np.cumsum([0] + [group.batch for group in self._groups])
                parts = [tokens[:, a:b] for a, b in zip(starts[:-1], starts[1:], strict=True)]
                list(pool.map(lambda group, part: group.run(self.theta, part), self._groups, parts))
                self._descend(lr)
                self.step += 1
                bits = np.concatenate([group.bits for group in self._groups])
                n_symbols = self.step * self.symbols_per_step
                yield Progress(self.step, self.n_steps, n_symbols, float(bits.mean(dtype=np.float64)), lr)

    def _descend(self, lr: float) -> None:
        first, *others = self._groups
        for other in others:
            native(add_gradient)(first.gradient, other.gradient, self.layout.tables, self.layout.width)
        self.optimizer_state.step(self.theta, first.gradient, first.stream, self.symbols_per_step, lr)

    @property
    def symbols_per_step(self) -> int:
        """How many symbols an update reads."""
        return self.window * self.batch

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        if self.step < self.plan.warmup:
            return self.plan.lr * (self.step + 1) / self.plan.warmup
        done = (self.step - self.plan.warmup) / max(1, self.n_steps - self.plan.warmup)
        return self.plan.lr * _half_cosine(done)

    def _next_tokens(self) -> Tokens:
        """tokens [T + 1, B] of the next update."""
        epoch, step = divmod(self.step, self._steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._shuffled = epoch, self._shuffle(epoch)
        at = np.arange(self.batch) * self._stream + step * self.window
        tokens: Tokens = self._shuffled[at[None, :] + np.arange(self.window + 1)[:, None]].astype(np.int32)
        return tokens

    def _shuffle(self, epoch: int) -> npt.NDArray[Any]:
        """The text with its chunks in an order that depends on seed and epoch only."""
        starts = np.arange(0, len(self._text), self.plan.chunk)
        keys = np.random.PCG64([self.plan.seed, epoch]).random_raw(len(starts))
        order = np.argsort(keys, kind="stable")
        return np.concatenate([self._text[s : s + self.plan.chunk] for s in starts[order]])

    def predictor(self) -> StreamPredictor:
        """A predictor with the weights as they are now, which goes on learning by `adaptation`."""
        about = {
            **self._about,
            "trained": f"on {self.step * self.symbols_per_step:,} symbols in {self.step:,} updates of Adam",
        }
        return self._predictor(self.config, about)

    def network(self) -> StreamPredictor:
        """That predictor without a memory: what the training itself has reached."""
        return self._predictor(self.layout.config, {})

    def _predictor(self, config: Config, about: dict[str, str]) -> StreamPredictor:
        weights, optimizer = self.layout.named(self.theta), adaptation(config.hidden)
        return StreamPredictor.from_weights(weights, self.vocabulary, config, optimizer, about)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that `restore` needs, atomically."""
        arrays = {"theta": self.theta, "slots": self.optimizer_state.slots}
        arrays |= {f"carried.{i}": group.carried for i, group in enumerate(self._groups)}
        write_checkpoint(
            path, arrays, {**self._identity(), "step": self.step, "optimizer": self.optimizer_state.describe()}
        )

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on where `save` was called. Raises ValueError for a file of another run: other text, shape or plan."""
        arrays, values = read_checkpoint(path)
        for key, mine in self._identity().items():
            theirs = values.get(key)
            if isinstance(mine, dict) and isinstance(theirs, dict):
                key = next((name for name in mine if mine[name] != theirs.get(name)), key)
                mine, theirs = mine.get(key), theirs.get(key)
            if mine != theirs:
                differs = "" if key in ("training text", "start") else f" ({theirs} there, {mine} here)"
                raise ValueError(f"{path} is of another run, its {key} differs{differs}; give the same, or remove it")
        self.theta[:], self.optimizer_state.slots[:] = arrays["theta"], arrays["slots"]
        self.optimizer_state.load_state(values["optimizer"]["n_steps"], values["optimizer"]["powers"])
        self.step = values["step"]
        for index, group in enumerate(self._groups):
            group.carried[:] = arrays[f"carried.{index}"]

    def _identity(self) -> dict[str, Any]:
        text = hashlib.sha256(np.ascontiguousarray(self._text).tobytes()).hexdigest()
        return {
            "training text": text,
            "vocabulary": self.vocabulary.describe(),
            "config": asdict(self.config),
            "plan": asdict(self.plan),
            "start": self._start,
        }


def adaptation(hidden: int) -> RMSprop:
    """How a trained model of that width goes on learning in a stream: tuned for 128 and 256, see the models' cards.

    >>> adaptation(128).lr, adaptation(256).lr
    (0.0045, 0.00225)
    """
    wider = max(1.0, hidden / 128)
    rates = {"lr": 0.0045 / wider, "output_lr_scale": 5 * math.sqrt(wider), "candidate_lr_scale": 1.0}
    return RMSprop(**rates, half_life=2e4, floor=0.3, beta2=0.9999)


def streams_for(n_symbols: int) -> int:
    """How many parallel streams suit a text: up to 16 of at least 8,192 symbols; a short text gets more updates."""
    return max(1, min(16, n_symbols // 8192))


def read_text(
    files: Sequence[str | os.PathLike[str]], vocabulary: str | Vocabulary
) -> tuple[npt.NDArray[Any], Vocabulary]:
    """The tokens of files laid end to end, and their vocabulary: "bytes", or "text", the characters that occur.

    A vocabulary that is there already is taken as it is. Raises OSError for a file that cannot be read, ValueError for
    text that is no UTF-8, a character that the vocabulary lacks, or another word than those two.
    """
    if vocabulary == "bytes":
        vocabulary = Vocabulary.bytes()
    if isinstance(vocabulary, Vocabulary) and vocabulary.characters is None:
        return np.frombuffer(b"".join(map(_read, files)), dtype=np.uint8), vocabulary
    text = "".join(map(_read_characters, files))
    if vocabulary == "text":
        vocabulary = Vocabulary.from_text(text)
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"the vocabulary must be bytes or text, not {vocabulary!r}")
    return vocabulary.encode(text), vocabulary


def _read(file: str | os.PathLike[str]) -> bytes:
    with open_input(os.fspath(file)) as source:
        return source.read()


def _read_characters(file: str | os.PathLike[str]) -> str:
    try:
        return _read(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no UTF-8 text at byte {error.start}; use --vocab bytes") from None


def _half_cosine(x: float) -> float:
    """From 1 at x = 0 to 0 at x = 1, near (1 + cos πx)/2 but without libm: its smoothstep 1 - 3x² + 2x³."""
    x = min(max(x, 0.0), 1.0)
    return 1 - x * x * (3 - 2 * x)
