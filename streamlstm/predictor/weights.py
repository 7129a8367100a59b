"""The weights of a predictor and what its optimizer remembers, shared with its forks until one of them learns."""

from __future__ import annotations

import numpy as np

from ..jit.decorators import native
from ..kernels.arrays import F32, Gradient
from ..kernels.descent import BITS, N_HYPER, NETWORK_BITS
from ..kernels.distribution import skip, surprisal_ratio
from ..memory.memory import Share
from ..model import Layout, aligned_copy, aligned_empty, aligned_zeros
from ..optim import Optimizer, OptimizerState
from ..ranges import Range
from .tape import Tape

RATIO_WITHOUT_MEMORY = 0.8
"""What the ratio of surprisals counts as where there is none; see `Optimizer.repetition`."""


class Learner:
    """The buffers of an update; nothing in them outlives it."""

    def __init__(self, layout: Layout, window: int, batch: int = 1) -> None:
        self.gradient = Gradient(
            grad=aligned_empty(layout.size),
            work=np.empty((window + 1) * batch * layout.hidden, dtype=np.float32),
            touched=np.empty(layout.n_symbols + 1, dtype=np.uint8),
        )
        self.hyper = np.empty(N_HYPER, dtype=np.float32)


class Weights:
    """theta and the optimizer's state, as one of those who share them has them.

    theta      float32 [P], see `network`
    first      float32 [P], what theta was before it learned, if the optimizer pulls back to it; else empty
    optimizer  the optimizer's state, with slots of the same size
    """

    def __init__(self, theta: F32, first: F32, optimizer: OptimizerState, share: Share | None = None) -> None:
        self.theta, self.first, self.optimizer = theta, first, optimizer
        self._share = share or Share()

    @classmethod
    def fresh(cls, theta: F32, optimizer: Optimizer) -> Weights:
        """Weights that have not learned yet, and that nobody shares."""
        first = aligned_copy(theta if optimizer.pull_back else theta[:0])
        return cls(theta, first, OptimizerState(optimizer, aligned_zeros(optimizer.n_slots * len(theta))))

    @property
    def nbytes(self) -> int:
        """The number of bytes of theta and the optimizer's state."""
        return self.theta.nbytes + self.optimizer.slots.nbytes

    def ranges(self, layout: Layout) -> list[Range]:
        """What its numbers may be, besides finite: those between the weights and between their slots are zero."""
        slots = self.optimizer.slots.reshape(-1, layout.size)
        padding = [each for flat in (self.theta, *slots) for each in layout.padding_ranges(flat)]
        return [*padding, *self.optimizer.ranges()]

    @property
    def is_shared(self) -> bool:
        """Whether somebody else has them too: then they must not change."""
        return self._share.count > 1

    def shared(self) -> Weights:
        """The same weights for somebody else."""
        return Weights(self.theta, self.first, self.optimizer, self._share.another())

    def copy(self) -> Weights:
        """A copy that nobody shares."""
        return Weights(aligned_copy(self.theta), self.first, self.optimizer.copy())

    def skip(self, tape: Tape, next_token: int) -> bool:
        """Begin a new window of the tape without learning from this one, if it was predicted well enough.

        Returns whether it did; see `Optimizer.skip_below`. Without a memory, which goes on learning, it never does: the
        surprisal would not fall any further.
        """
        below = self.optimizer.optimizer.skip_below if tape.layout.config.memory else 0.0
        return below > 0 and bool(native(skip)(tape.stream, float(below), next_token))

    def update(self, tape: Tape, next_token: int, learner: Learner) -> None:
        """One step down the gradient of the window's predictions; the tape then begins a new window.

        next_token  the target of the window's last distribution, with which the new window begins: it is not read yet

        Raises FloatingPointError, with theta unchanged, if the gradient is not finite.
        """
        lr, hyper = self._learning_rate(tape, learner.hyper), learner.hyper
        arrays = self.theta, learner.gradient, tape.stream
        self.optimizer.step(*arrays, tape.window, lr, first=self.first, hyper=hyper, token=next_token)

    def _learning_rate(self, tape: Tape, hyper: F32) -> float:
        """The learning rate of this update; writes the surprisals of the window to hyper."""
        state, optimizer = self.optimizer, self.optimizer.optimizer
        lr = optimizer.lr_after(state.n_steps * tape.window)
        hyper[NETWORK_BITS] = hyper[BITS] = 0
        ratio = RATIO_WITHOUT_MEMORY
        if optimizer.repetition and tape.layout.config.memory:
            ratio = native(surprisal_ratio)(tape.stream, hyper, state.progress)
        return lr * optimizer.lr_factor(ratio)
