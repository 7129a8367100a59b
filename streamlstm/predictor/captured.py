"""What has to be copied of a predictor so that it can be restored."""

from __future__ import annotations

from ..memory.memory import CapturedMemory
from .tape import Tape
from .weights import Weights


class Captured:
    """What `StreamPredictor.restore` needs besides the undo log of the memory.

    weights  shared with the predictor until it learns
    tape     a copy
    memory   what is not in the undo log
    """

    def __init__(self, weights: Weights, tape: Tape, memory: CapturedMemory | None) -> None:
        weights.share_with(self)
        self.weights, self.tape, self.memory = weights, tape, memory
