"""Gradient descent: three rules, their hyper-parameters, and the slots that they keep.

Rules work on flat float32 arrays laid out as theta. A row of an input table is updated only when its symbol was in the
window, and its slots with it: the other rows' gradients are zero, and reading them would cost more than the network.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .gradient import has
from .jit import entry, kernel, native
from .kernels import COLUMNS, HIDDEN, LAYERS, OUTPUT, TABLES
from .lanes import lane_sum, load, reciprocal_root_guess, root, splat, store
from .shares import ASSISTANT, CALLER, DESCEND, WHOLE, call, leave, meet, share

F32 = npt.NDArray[np.float32]
f32 = np.float32
ZERO, ONE = f32(0.0), f32(1.0)
SMALLEST, TOO_LARGE = 2.0**-126, 2.0**128  # what a normal float32 can hold

# Places in `hyper`: the learning rates of the layers, of their candidates' weights and of the output layer;
# L2 regularisation, both decays, epsilon, the two bias corrections 1 / (1 - βᵏ), the scale and the largest norm of the
# gradient, and room for 128 lanes of two threads.
LR, LR_CANDIDATE, LR_OUTPUT, L2, BETA1, BETA2, EPSILON, CORRECT1, CORRECT2, SCALE, CLIP = range(11)
ROOM, N_HYPER = 16, 16 + 128


@kernel
def reciprocal_root(x):
    """1 / √x with a relative error below 7e-7, without root and division; finite for x = 0.

    Two steps of Newton's method from a guess; the first has the constants that Kadlec (2010) fitted to the guess.
    """
    y = reciprocal_root_guess(x)
    y = y * f32(0.703952253) * (f32(2.38924456) - x * y * y)
    return y * (f32(1.5) - f32(0.5) * x * y * y)


@kernel
def sgd(theta, slots, grad, at, n, hyper, lr, scale):
    """m = β₁·m + (scale·g + λ·θ);  θ -= lr·m.  Without momentum (β₁ = 0) there is no slot m."""
    for j in range(at, at + n, 32):
        w = load(theta, j, 32)
        g = load(grad, j, 32) * scale + hyper[L2] * w
        if hyper[BETA1] != ZERO:
            g = hyper[BETA1] * load(slots, j, 32) + g
            store(slots, j, g)
        store(theta, j, w - lr * g)


@kernel
def rmsprop(theta, slots, grad, at, n, hyper, lr, scale):
    """v = β₂·v + (1 - β₂)·g²;  θ -= lr·g / √(v / (1 - β₂ᵏ) + ε²);  g = scale·grad + λ·θ."""
    for j in range(at, at + n, 32):
        w = load(theta, j, 32)
        g = load(grad, j, 32) * scale + hyper[L2] * w
        v = hyper[BETA2] * load(slots, j, 32) + (ONE - hyper[BETA2]) * (g * g)
        store(slots, j, v)
        store(theta, j, w - (lr * g) * reciprocal_root(v * hyper[CORRECT2] + hyper[EPSILON] * hyper[EPSILON]))


@kernel
def adam(theta, slots, grad, at, n, hyper, lr, scale):
    """θ -= lr·m̂ / (√v̂ + ε), with the mean m = β₁·m + (1 - β₁)·g and v as above, each over 1 - βᵏ (Kingma & Ba)."""
    for j in range(at, at + n, 32):
        w = load(theta, j, 32)
        g = load(grad, j, 32) * scale + hyper[L2] * w
        v = hyper[BETA2] * load(slots, j, 32) + (ONE - hyper[BETA2]) * (g * g)
        m = hyper[BETA1] * load(slots, theta.size + j, 32) + (ONE - hyper[BETA1]) * g
        store(slots, j, v)
        store(slots, theta.size + j, m)
        store(theta, j, w - lr * (m * hyper[CORRECT1]) / (root(v * hyper[CORRECT2]) + hyper[EPSILON]))


@kernel
def apply_rule(rule, theta, slots, grad, at, n, hyper, lr, scale):
    """One of the rules above on theta[at : at + n], n a multiple of 32."""
    if rule == 0:
        sgd(theta, slots, grad, at, n, hyper, lr, scale)
    elif rule == 1:
        rmsprop(theta, slots, grad, at, n, hyper, lr, scale)
    else:
        adam(theta, slots, grad, at, n, hyper, lr, scale)


@kernel
def apply_by_gate(rule, theta, slots, grad, at, n, width, hyper, scale):
    """The rule on rows of `width` from theta[at] on, i f [g] o: the candidate's quarter g may have its own rate."""
    if hyper[LR_CANDIDATE] == hyper[LR]:
        apply_rule(rule, theta, slots, grad, at, n, hyper, hyper[LR], scale)
        return
    quarter = width // 4
    start = at
    for candidate in range(at + 2 * quarter, at + n, width):
        apply_rule(rule, theta, slots, grad, start, candidate - start, hyper, hyper[LR], scale)
        apply_rule(rule, theta, slots, grad, candidate, quarter, hyper, hyper[LR_CANDIDATE], scale)
        start = candidate + quarter
    apply_rule(rule, theta, slots, grad, start, at + n - start, hyper, hyper[LR], scale)


@kernel
def squares(grad, at, n):
    """Σ grad[at : at + n]² on 128 lanes; n a multiple of 128."""
    total = splat(ZERO, 128)
    for j in range(at, at + n, 128):
        g = load(grad, j, 128)
        total = total + g * g
    return lane_sum(total)


@kernel
def half_squares(grad, at, n, part):
    """One thread's half of the 128 lanes of `squares`; what `lane_sum` does first is to add the other half."""
    total = splat(ZERO, 64)
    for j in range(at + (0 if part == CALLER else 64), at + n, 128):
        g = load(grad, j, 64)
        total = total + g * g
    return total


@kernel
def norm_of(grad, touched, hyper, layout, part):
    """The norm of the sum of gradients; of two threads only the caller gets it."""
    V, width, output, tables = touched.size, 4 * layout[HIDDEN], layout[OUTPUT], layout[TABLES]
    if part == WHOLE:
        total = squares(grad, 0, output) + squares(grad, output, tables - output)
    else:
        layers, out = half_squares(grad, 0, output, part), half_squares(grad, output, tables - output, part)
        if part == ASSISTANT:
            store(hyper, ROOM, layers)
            store(hyper, ROOM + 64, out)
        meet(layout, part)
        total = lane_sum(layers + load(hyper, ROOM, 64)) + lane_sum(out + load(hyper, ROOM + 64, 64))
    if part != ASSISTANT:
        for table in range(tables, grad.size, V * width):
            for v in range(V):
                if touched[v]:
                    total += squares(grad, table + v * width, width)
    return np.sqrt(total)


@kernel
def descend_by(rule, theta, slots, grad, touched, hyper, layout, part):
    """`descend`, or one thread's part: the rows of the gradient that it made. Returns the norm to the caller."""
    V, C, H, L = touched.size, layout[COLUMNS], layout[HIDDEN], layout[LAYERS]
    N, output, tables = 4 * H, layout[OUTPUT], layout[TABLES]
    norm = norm_of(grad, touched, hyper, layout, part)
    if part != ASSISTANT:
        norm *= hyper[SCALE]
        if not norm < f32(np.inf):
            hyper[SCALE] = f32(np.inf)
        elif norm > hyper[CLIP]:
            hyper[SCALE] *= hyper[CLIP] / norm
    meet(layout, part)
    scale = hyper[SCALE]
    if not scale < f32(np.inf):
        return norm
    begin, n = share(H, 32, part)
    for layer in range(L):
        w = layer * (2 * H + 1) * N
        for at in range(w - H * N if layer > 0 else w, w + 1, H * N):
            apply_by_gate(rule, theta, slots, grad, at + begin * N, n * N, N, hyper, scale)
        if part != ASSISTANT:
            apply_by_gate(rule, theta, slots, grad, w + H * N, N, N, hyper, scale)
    for at in range(output, tables - C, H * C):
        apply_rule(rule, theta, slots, grad, at + begin * C, n * C, hyper, hyper[LR_OUTPUT], scale)
    if part != ASSISTANT:
        apply_rule(rule, theta, slots, grad, tables - C, C, hyper, hyper[LR_OUTPUT], scale)
    for table in range(tables, theta.size, V * N):
        for v in range(V):
            if touched[v] and has(v, part):
                apply_by_gate(rule, theta, slots, grad, table + v * N, N, N, hyper, scale)
    return norm


@entry("i8, f4[::1], f4[::1], f4[::1], u1[::1], f4[::1], i8[::1]")
def descend(rule, theta, slots, grad, touched, hyper, layout):
    """One step down the gradient SCALE·grad, first shortened to the norm CLIP where it is longer.

    theta, grad float32 [P]; slots float32 [slots of the rule · P]; touched uint8 [V]: of the tables only these rows
    are updated; hyper float32 [N_HYPER]. An assistant makes half, if there is one.
    Returns the norm before clipping; where that is not finite, nothing is changed.
    """
    part = call(layout, DESCEND, rule, 0)
    norm = descend_by(rule, theta, slots, grad, touched, hyper, layout, part)
    leave(layout, part)
    return norm


@entry("f4[::1], u1[::1], f4[::1], u1[::1], i8, i8")
def add_gradient(grad, touched, other, other_touched, tables, width):
    """grad += other and touched |= other_touched, for two gradients as `gradient.backward` writes them."""
    for j in range(0, tables, 64):
        store(grad, j, load(grad, j, 64) + load(other, j, 64))
    V = touched.size
    for v in range(V):
        if other_touched[v]:
            for row in range(tables + v * width, grad.size, V * width):
                for j in range(row, row + width, 64):
                    store(grad, j, load(grad, j, 64) + load(other, j, 64) if touched[v] else load(other, j, 64))
            touched[v] = 1


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
    """What an optimizer has come to with one theta: its slots, how many steps it took, and β₁ᵏ and β₂ᵏ.

    The powers are running products: `**` may differ between machines, products do not.
    """

    def __init__(self, optimizer: Optimizer, slots: F32) -> None:
        self.optimizer = optimizer
        self.slots = slots
        self.n_steps = 0
        self.powers = (1.0, 1.0)

    def copy(self) -> "OptimizerState":
        """An independent copy."""
        twin = OptimizerState(self.optimizer, self.slots.copy())
        twin.n_steps, twin.powers = self.n_steps, self.powers
        return twin

    def keep(self, index: int, slot: F32) -> None:
        """Take up one of its slots, laid out as theta; ValueError where it cannot be that."""
        if index == 0 and self.optimizer.betas[1] and not slot.min() >= 0:
            raise ValueError("a mean of squares is below 0")
        size = len(self.slots) // self.optimizer.n_slots
        self.slots[index * size : (index + 1) * size] = slot

    def describe(self) -> dict[str, Any]:
        """All but the slots, as plain values."""
        return {
            "name": self.optimizer.name,
            **asdict(self.optimizer),
            "n_steps": self.n_steps,
            "powers": list(self.powers),
        }

    def go_on(self, n_steps: int, powers: Sequence[float]) -> None:
        """Take up what `describe` told; ValueError where it cannot be that."""
        if isinstance(n_steps, bool) or not isinstance(n_steps, int) or n_steps < 0:
            raise ValueError(f"n_steps must be a whole number from 0 on, not {n_steps!r}")
        if len(powers) != 2 or not all(0 <= power <= 1 for power in powers):
            raise ValueError(f"powers must be two numbers from 0 to 1, not {powers!r}")
        self.n_steps, self.powers = n_steps, (powers[0], powers[1])

    def step(
        self,
        theta: F32,
        grad: F32,
        touched: npt.NDArray[np.uint8],
        places: npt.NDArray[np.int64],
        n_targets: int,
        lr: float,
        hyper: F32 | None = None,
    ) -> float:
        """Update theta in place from `grad`, the sum over `n_targets` losses; returns the norm of the mean.

        touched, places: as `gradient.backward` and the layout give them. hyper: room that an assistant knows.
        Raises FloatingPointError, with theta as it was, where the gradient is not finite.
        """
        rule, betas = self.optimizer, self.optimizer.betas
        powers = (self.powers[0] * betas[0], self.powers[1] * betas[1])
        rates = (lr, lr * rule.candidate, lr * rule.output)
        others = (rule.l2, *betas, getattr(rule, "epsilon", 0.0), 1 / (1 - powers[0]), 1 / (1 - powers[1]))
        hyper = np.empty(N_HYPER, dtype=np.float32) if hyper is None else hyper
        hyper[: CLIP + 1] = (*rates, *others, 1 / n_targets, rule.clip)
        norm = native(descend)(rule.rule, theta, self.slots, grad, touched, hyper, places)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"learning diverged: the gradient's norm is {norm}; try a learning rate below {rule.lr:g}"
            )
        self.n_steps += 1
        self.powers = powers
        return float(norm)
