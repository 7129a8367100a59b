"""How a network learns: the optimizers' hyper-parameters and state. The update rules are in `kernels.descent`."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from .kernels.arrays import F32, Gradient, Stream
from .ranges import Range, check_ranges, whole_number

SMALLEST, TOO_LARGE = 2.0**-126, 2.0**128
"""The smallest normal float32, and the smallest number too large for a float32."""

PULL_PERIOD = 4
"""One update in this many pulls back, since reading the first weights takes time."""

FIRST_SUMS = (640.0, 595.2)
"""The recent sums of surprisals at first, see `kernels.surprise`."""

LARGEST_GRADIENT = 2.0**60
"""Learning that has come as far has diverged long before: gradients are of the mean loss per symbol, in nats."""

LARGEST_SUM = 2.0**100
"""No recent sum of surprisals becomes as large: 200 windows of 4,096 symbols have at most 2**28 bits."""

PROGRESS = ("n_steps", "powers", "surprisals")
"""The keys of the progress in a description of an optimizer's state."""

_KEYS = {"candidate_lr_scale": "candidate", "output_lr_scale": "output"}
"""The keys of hyper-parameters in checkpoints and archives where they differ from the names."""


@dataclass(frozen=True)
class Optimizer:
    """The hyper-parameters that all optimizers have.

    lr                  learning rate at the first symbol
    half_life           the learning rate after n symbols is lr·(floor + (1 - floor)/(1 + n/half_life)); inf: constant
    floor               the limit of the learning rate, as a fraction of lr
    candidate_lr_scale  factor on the learning rate of the weights of the candidate gate g
    output_lr_scale     factor on the learning rate of the output layer
    clip                gradients (of the mean loss per symbol, in nats) are scaled down to this norm; inf: never
    l2                  λ of the L2 regularisation ½·λ·|θ|² that is added to the loss
    pull_back           the part of its distance to its first value that each weight goes back per update, at most 1/4;
                        0: none. Each fourth update pulls back four times as far, which takes less time
    repetition          the learning rate is multiplied by 0.05 + `repetition`·(1 - r), at most by 1. r is the recent
                        surprisal divided by that of the network alone: text that repeats itself is learned faster.
                        Without a memory, r counts as 0.8. 0: the learning rate does not depend on the text
    skip_below          beside a memory, the network does not learn from a window whose mean surprisal is below this
                        many bits per symbol; 0: it learns from every window

    Raises ValueError for a value out of its range, TypeError for one that is not a number.
    """

    lr: float
    half_life: float = math.inf
    floor: float = 0.1
    candidate_lr_scale: float = 1.0
    output_lr_scale: float = 1.0
    clip: float = 1.0
    l2: float = 0.0
    pull_back: float = 0.0
    repetition: float = 0.0
    skip_below: float = 0.1

    name: ClassVar[str] = "optimizer"
    rule: ClassVar[int]

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"{self.name}: {each.name} must be a number, not {value!r}")
            if isinstance(value, int):
                self._require(abs(value) < TOO_LARGE, each.name, "a number in float32")
            elif not isinstance(value, float):  # a NumPy number, for example, which JSON does not know
                object.__setattr__(self, each.name, float(value))
        self._require(SMALLEST <= self.lr < TOO_LARGE, "lr", "a number above 0 in float32")
        self._require(self.half_life > 0, "half_life", "a number of symbols above 0, or inf")
        self._require(0 <= self.floor <= 1, "floor", "between 0 and 1")
        for field in ("candidate_lr_scale", "output_lr_scale"):
            self._require(0 <= getattr(self, field) < math.inf, field, "a number of at least 0")
        self._require(self.clip > 0, "clip", "a norm above 0, or inf")
        self._require(0 <= self.l2 < 1, "l2", "at least 0 and below 1")
        self._require(0 <= self.pull_back <= 1 / PULL_PERIOD, "pull_back", f"between 0 and {1 / PULL_PERIOD}")
        self._require(0 <= self.repetition < math.inf, "repetition", "a number of at least 0")
        self._require(0 <= self.skip_below < math.inf, "skip_below", "a number of bits of at least 0")
        for decay in ("momentum", "beta1", "beta2"):
            if hasattr(self, decay):
                self._require(0 <= getattr(self, decay) < 1, decay, "at least 0 and below 1")
        if hasattr(self, "epsilon"):
            self._require(SMALLEST <= self.epsilon < TOO_LARGE, "epsilon", "a number above 0 in float32")

    def _require(self, holds: bool, field: str, what: str) -> None:
        if not holds:
            raise ValueError(f"{self.name}: {field} must be {what}, not {getattr(self, field)}")

    @property
    def n_slots(self) -> int:
        """How many numbers of state the optimizer has per weight."""
        raise NotImplementedError

    @property
    def betas(self) -> tuple[float, float]:
        """The decay rates: β₁ of the mean gradient and β₂ of the mean squared gradient."""
        raise NotImplementedError

    def lr_after(self, n_symbols: float) -> float:
        """The learning rate after `n_symbols` symbols."""
        return self.lr * (self.floor + (1 - self.floor) / (1 + n_symbols / self.half_life))

    def pull_after(self, n_steps: int) -> float:
        """What part of its distance to its first value a weight goes back in the update that follows `n_steps`."""
        return PULL_PERIOD * self.pull_back if n_steps % PULL_PERIOD == PULL_PERIOD - 1 else 0.0

    def lr_factor(self, surprisal_ratio: float) -> float:
        """What `repetition` multiplies the learning rate by, for the ratio r of surprisals."""
        return min(1.0, 0.05 + self.repetition * max(0.0, 1 - surprisal_ratio)) if self.repetition else 1.0


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent.

    momentum  decay rate β₁ of the mean gradient; 0: none

    >>> SGD(lr=0.5, l2=1e-3).l2
    0.001
    """

    lr: float = 0.1
    momentum: float = 0.0

    name: ClassVar[str] = "sgd"
    rule: ClassVar[int] = 0

    @property
    def n_slots(self) -> int:
        """See `Optimizer`."""
        return 1 if self.momentum else 0

    @property
    def betas(self) -> tuple[float, float]:
        """See `Optimizer`."""
        return self.momentum, 0.0


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop with bias correction. The defaults are tuned for a fresh network of 3 × 64 units that learns online.

    beta2    decay rate of the mean squared gradient
    epsilon  its square is added to the mean squared gradient, which limits the step

    >>> round(RMSprop().lr_after(30_000), 4)
    0.011
    """

    lr: float = 0.02
    half_life: float = 3e4
    candidate_lr_scale: float = 0.2
    beta2: float = 0.999
    epsilon: float = 1e-5

    name: ClassVar[str] = "rmsprop"
    rule: ClassVar[int] = 1

    @property
    def n_slots(self) -> int:
        """See `Optimizer`."""
        return 1

    @property
    def betas(self) -> tuple[float, float]:
        """See `Optimizer`."""
        return 0.0, self.beta2


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015).

    beta1    decay rate of the mean gradient
    beta2    decay rate of the mean squared gradient
    epsilon  added to the root of the mean squared gradient, which limits the step

    >>> Adam(lr=0.001).lr_after(10**6)
    0.001
    """

    lr: float = 0.003
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    name: ClassVar[str] = "adam"
    rule: ClassVar[int] = 2

    @property
    def n_slots(self) -> int:
        """See `Optimizer`."""
        return 2

    @property
    def betas(self) -> tuple[float, float]:
        """See `Optimizer`."""
        return self.beta1, self.beta2


OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, RMSprop, Adam)}
"""The optimizers by name."""


def optimizer_from(description: dict[str, Any]) -> Optimizer:
    """The optimizer that `describe_optimizer` described. Raises ValueError for anything else.

    >>> optimizer_from({"name": "adam", "lr": 0.5, "output": 2.0}).output_lr_scale
    2.0
    """
    values = dict(description)
    name = values.pop("name", None)
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {name!r}")
    fields_by_key = {_KEYS.get(field.name, field.name): field.name for field in fields(OPTIMIZERS[name])}
    if unknown := sorted(set(values) - set(fields_by_key)):
        raise ValueError(f"{name} has no {unknown[0]!r}; it has {', '.join(sorted(fields_by_key))}")
    return OPTIMIZERS[name](**{fields_by_key[key]: value for key, value in values.items()})


def describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Its name and hyper-parameters as JSON values, under the keys of checkpoints and archives.

    >>> describe_optimizer(SGD(candidate_lr_scale=0.5))["candidate"]
    0.5
    """
    values = {_KEYS.get(field, field): value for field, value in asdict(optimizer).items()}
    return {"name": optimizer.name, **values}


def add_gradient(gradient: Gradient, other: Gradient, tables: int, width: int) -> None:
    """grad += other.grad and touched |= other.touched, for gradients that `gradient.backward` wrote.

    tables  where the input tables start in theta
    width   the length of a row of a table
    """
    gradient.grad[:tables] += other.grad[:tables]
    rows, others = (each.grad[tables:].reshape(-1, len(each.touched), width) for each in (gradient, other))
    is_touched, is_new = gradient.touched.astype(bool), other.touched.astype(bool)
    both, only_other = np.flatnonzero(is_touched & is_new), np.flatnonzero(~is_touched & is_new)
    rows[:, both] += others[:, both]
    rows[:, only_other] = others[:, only_other]  # what `rows` holds there is of no window
    gradient.touched[only_other] = 1


class OptimizerState:
    """The state of an optimizer for one theta.

    slots     float32 [n_slots · size of theta]: the mean squared gradient, the mean gradient
    progress  float64 [7]: the number k of steps taken, β₁ᵏ, β₂ᵏ, β₁, β₂, and the recent sums of surprisals, by the
              network and by the prediction, see `kernels.surprise`

    The powers are running products, because `**` may differ between machines and products do not. The kernel that
    changes theta also counts the step, so that an interrupt cannot come between the two.
    """

    def __init__(self, optimizer: Optimizer, slots: F32) -> None:
        self.optimizer = optimizer
        self.slots = slots
        self.progress = np.array([0.0, 1.0, 1.0, *optimizer.betas, *FIRST_SUMS])

    @property
    def n_steps(self) -> int:
        """The number k of steps taken."""
        return int(self.progress[0])

    @property
    def powers(self) -> tuple[float, float]:
        """β₁ᵏ and β₂ᵏ."""
        return float(self.progress[1]), float(self.progress[2])

    def copy(self) -> "OptimizerState":
        """An independent copy."""
        twin = OptimizerState(self.optimizer, self.slots.copy())
        twin.progress[:] = self.progress
        return twin

    def copy_from(self, other: "OptimizerState") -> None:
        """Copy the slots and the progress of another state of the same optimizer."""
        self.slots[:], self.progress[:] = other.slots, other.progress

    def set_slot(self, index: int, slot: F32) -> None:
        """Set one of the slots, laid out as theta, after `load_state`. Raises ValueError if it is out of range."""
        size = len(self.slots) // self.optimizer.n_slots
        self.slots[index * size : (index + 1) * size] = slot
        check_ranges(self.ranges(), "the optimizer's state is out of range")

    def ranges(self) -> tuple[Range, ...]:
        """What its slots may be: a kernel divides by the root of a mean squared gradient, and that by 1 - β₂ᵏ."""
        n_squares = len(self.slots) // self.optimizer.n_slots if self.optimizer.betas[1] else 0
        largest_square = LARGEST_GRADIENT**2 * (1 - self.powers[1])
        return (
            Range("a mean squared gradient", self.slots[:n_squares], 0, largest_square),
            Range("a mean gradient", self.slots[n_squares:], -LARGEST_GRADIENT, LARGEST_GRADIENT),
        )

    def describe(self) -> dict[str, Any]:
        """Everything except the slots, as JSON values."""
        progress = {"n_steps": self.n_steps, "powers": list(self.powers), "surprisals": self.progress[5:].tolist()}
        return {**describe_optimizer(self.optimizer), **progress}

    def load_state(self, n_steps: int, powers: Sequence[float], surprisals: Sequence[float] = FIRST_SUMS) -> None:
        """Set the progress that `describe` returned. Raises ValueError for values that it cannot have returned."""
        whole_number(n_steps, "n_steps", most=2**53 - 1)
        if len(powers) != 2 or not all(0 <= power <= 1 for power in powers):
            raise ValueError(f"powers must be two numbers from 0 to 1, not {powers!r}")
        if len(surprisals) != 2 or not all(0 < bits < LARGEST_SUM for bits in surprisals):
            raise ValueError(f"surprisals must be two numbers above 0, not {surprisals!r}")
        self.progress[:3], self.progress[5:] = (n_steps, *powers), surprisals

    def step(
        self,
        theta: F32,
        gradient: Gradient,
        stream: Stream,
        n_targets: int,
        lr: float,
        *,
        first: F32 | None = None,
        hyper: F32 | None = None,
        token: int = -1,
    ) -> float:
        """Update theta in place, and begin a new window of the stream. Returns the norm of the mean gradient.

        gradient   of the sum of the losses of `n_targets` symbols; or its buffers, if there is a `token`
        lr         the learning rate
        first      what theta was before it learned; needed if the optimizer pulls back
        hyper      a buffer float32 [N_HYPER] for the hyper-parameters, which holds the surprisals of the window;
                   default: a new one, without surprisals
        token      the next symbol of a single stream, with which the gradient is computed; -1: it is computed

        Raises FloatingPointError, with theta unchanged, if the gradient is not finite.
        """
        from .jit.decorators import native
        from .kernels.descent import CLIP, N_HYPER, descend  # hyper-parameters are described without the kernels

        optimizer, betas = self.optimizer, self.optimizer.betas
        powers = (self.powers[0] * betas[0], self.powers[1] * betas[1])
        rates = (lr, lr * optimizer.candidate_lr_scale, lr * optimizer.output_lr_scale)
        others = (optimizer.l2, *betas, getattr(optimizer, "epsilon", 0.0), 1 / (1 - powers[0]), 1 / (1 - powers[1]))
        hyper = np.zeros(N_HYPER, dtype=np.float32) if hyper is None else hyper
        hyper[: CLIP + 1] = (*rates, *others, optimizer.pull_after(self.n_steps), 1 / n_targets, optimizer.clip)
        first = theta[:0] if first is None else first
        norm = native(descend)(optimizer.rule, theta, first, self.slots, gradient, hyper, self.progress, stream, token)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"learning diverged: the gradient's norm is {norm}; try a learning rate below {optimizer.lr:g}"
            )
        return float(norm)
