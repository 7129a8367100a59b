"""How a network learns: the optimizers' hyper-parameters, and what they remember. The rules themselves: `descent`."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from .kernels.arrays import F32, Gradient, Stream
from .kernels.descent import CLIP, N_HYPER, descend
from .kernels.jit import native

SMALLEST, TOO_LARGE = 2.0**-126, 2.0**128  # what a normal float32 can hold


@dataclass(frozen=True)
class Optimizer:
    """The hyper-parameters that all rules share.

    lr          learning rate at the first symbol
    half_life   the rate after n symbols is lr·(floor + (1 - floor)/(1 + n/half_life)); inf keeps it constant
    floor       the share of the rate that is left in the end
    candidate   the rate of the candidates' weights (gate g), as a share of lr
    output      the rate of the output layer, as a share of lr
    clip        largest norm of a gradient (of the mean loss per symbol, in nats); longer ones are shortened to it
    l2          λ of the L2 regularisation ½·λ·|θ|² that is added to the loss
    """

    lr: float
    half_life: float = math.inf
    floor: float = 0.1
    candidate: float = 1.0
    output: float = 1.0
    clip: float = 1.0
    l2: float = 0.0

    name: ClassVar[str] = "optimizer"
    rule: ClassVar[int]

    def __post_init__(self) -> None:
        self._require(SMALLEST <= self.lr < TOO_LARGE, "lr", "a number above 0, in float32")
        self._require(self.half_life > 0, "half_life", "a number of symbols above 0, or inf")
        self._require(0 <= self.floor <= 1, "floor", "between 0 and 1")
        for field in ("candidate", "output"):
            self._require(0 <= getattr(self, field) < math.inf, field, "a share from 0 on")
        self._require(self.clip > 0, "clip", "a norm above 0, or inf")
        self._require(0 <= self.l2 < 1, "l2", "at least 0 and below 1")
        for decay in ("momentum", "beta1", "beta2"):
            if hasattr(self, decay):
                self._require(0 <= getattr(self, decay) < 1, decay, "at least 0 and below 1")
        if hasattr(self, "epsilon"):
            self._require(SMALLEST <= self.epsilon < TOO_LARGE, "epsilon", "a number above 0, in float32")

    def _require(self, holds: bool, field: str, what: str) -> None:
        if not holds:
            raise ValueError(f"{self.name}: {field} must be {what}, not {getattr(self, field)}")

    @property
    def n_slots(self) -> int:
        """How many numbers the rule keeps per weight."""
        raise NotImplementedError

    @property
    def betas(self) -> tuple[float, float]:
        """The decays β₁ of the mean gradient and β₂ of its mean square."""
        raise NotImplementedError

    def lr_after(self, n_symbols: float) -> float:
        """The learning rate after `n_symbols` symbols."""
        return self.lr * (self.floor + (1 - self.floor) / (1 + n_symbols / self.half_life))


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if it is above 0.

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
    """RMSprop with bias correction; the defaults are tuned for a fresh 3×64 net that learns online."""

    lr: float = 0.02
    half_life: float = 3e4
    candidate: float = 0.2
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
    """Adam (Kingma & Ba 2015)."""

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


OPTIMIZERS: dict[str, type[Optimizer]] = {rule.name: rule for rule in (SGD, RMSprop, Adam)}
"""The rules by name."""


def optimizer_from(description: dict[str, Any]) -> Optimizer:
    """The optimizer that `dataclasses.asdict` and its `name` describe; ValueError for anything else.

    >>> optimizer_from({"name": "adam", "lr": 0.5}).lr
    0.5
    """
    values = dict(description)
    name = values.pop("name", None)
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {name!r}")
    known = {field.name for field in fields(OPTIMIZERS[name])}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{name} has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    return OPTIMIZERS[name](**values)


class OptimizerState:
    """What an optimizer remembers of one theta: its slots, how many steps it has taken, and β₁ᵏ and β₂ᵏ.

    The powers are running products: `**` may differ between machines, products do not. The kernel that changes theta
    also counts the step, so that no interrupt comes between the two.

    slots     float32 [n_slots · size of theta]
    progress  float64 [5]: steps, β₁ᵏ, β₂ᵏ, β₁, β₂
    """

    def __init__(self, optimizer: Optimizer, slots: F32) -> None:
        self.optimizer = optimizer
        self.slots = slots
        self.progress = np.array([0.0, 1.0, 1.0, *optimizer.betas])

    @property
    def n_steps(self) -> int:
        """How many steps it has taken."""
        return int(self.progress[0])

    @property
    def powers(self) -> tuple[float, float]:
        """β₁ᵏ and β₂ᵏ after k steps."""
        return float(self.progress[1]), float(self.progress[2])

    def copy(self) -> "OptimizerState":
        """An independent copy."""
        twin = OptimizerState(self.optimizer, self.slots.copy())
        twin.progress[:] = self.progress
        return twin

    def copy_from(self, other: "OptimizerState") -> None:
        """Take over the slots and the progress of another state of the same optimizer."""
        self.slots[:], self.progress[:] = other.slots, other.progress

    def set_slot(self, index: int, slot: F32) -> None:
        """Set one of its slots, laid out as theta; ValueError where a mean of squares is negative."""
        if index == 0 and self.optimizer.betas[1] and not slot.min() >= 0:
            raise ValueError("a mean of squares is below 0")
        size = len(self.slots) // self.optimizer.n_slots
        self.slots[index * size : (index + 1) * size] = slot

    def describe(self) -> dict[str, Any]:
        """Everything except the slots, as plain values."""
        return {
            "name": self.optimizer.name,
            **asdict(self.optimizer),
            "n_steps": self.n_steps,
            "powers": list(self.powers),
        }

    def load_state(self, n_steps: int, powers: Sequence[float]) -> None:
        """Take over what `describe` returned; ValueError for values that it cannot have returned."""
        if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 0:
            raise ValueError(f"n_steps must be a whole number from 0 on, not {n_steps!r}")
        if len(powers) != 2 or not all(0 <= power <= 1 for power in powers):
            raise ValueError(f"powers must be two numbers from 0 to 1, not {powers!r}")
        self.progress[:3] = (n_steps, *powers)

    def step(
        self, theta: F32, gradient: Gradient, stream: Stream, n_targets: int, lr: float, hyper: F32 | None = None
    ) -> float:
        """Update theta in place from the gradient of the sum over `n_targets` losses; returns the norm of the mean.

        The stream begins a new window. hyper: a buffer that an assistant reads too.
        Raises FloatingPointError, with theta as it was, where the gradient is not finite.
        """
        rule, betas = self.optimizer, self.optimizer.betas
        powers = (self.powers[0] * betas[0], self.powers[1] * betas[1])
        rates = (lr, lr * rule.candidate, lr * rule.output)
        others = (rule.l2, *betas, getattr(rule, "epsilon", 0.0), 1 / (1 - powers[0]), 1 / (1 - powers[1]))
        hyper = np.empty(N_HYPER, dtype=np.float32) if hyper is None else hyper
        hyper[: CLIP + 1] = (*rates, *others, 1 / n_targets, rule.clip)
        norm = native(descend)(rule.rule, theta, self.slots, gradient, hyper, self.progress, stream)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"learning diverged: the gradient's norm is {norm}; try a learning rate below {rule.lr:g}"
            )
        return float(norm)
