"""Read lines such that the last one can be undone, as if it had never been there.

A line can be judged only after it was read, and reading it twice, first with frozen weights and then to learn, would
cost a third more. So the reader learns from each line as it reads it, and keeps a snapshot of the predictor that is a
few lines old. To undo a line it restores the snapshot and reads the lines since then again, which gives the same bits.
It updates the snapshot every sqrt(n) lines, n being the number of lines since the last one that was undone, which costs
least if those come at random, and at least every MAX_LAG lines.
"""

import math

import numpy as np

from ..predictor import StreamPredictor
from ..vocabulary import Tokens
from .snapshot import Snapshot
from .units import F64

MAX_LAG = 32
"""The most lines that a snapshot is behind."""


class LineReader:
    """A predictor that observes lines and can undo the last one.

    predictor  used and modified by the reader

    >>> from streamlstm import Config
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> reader, before = LineReader(predictor), predictor.predict()
    >>> bits = reader.read(predictor.vocabulary.encode("never mind\\n"), undoable=True)
    >>> reader.undo()
    >>> bool((predictor.predict() == before).all())
    True
    """

    def __init__(self, predictor: StreamPredictor) -> None:
        self.predictor = predictor
        self._snapshot: Snapshot | None = None
        self._since: list[Tokens] = []  # the lines since the snapshot
        self._n_kept = 0  # lines since the last one that was undone

    def read(self, tokens: Tokens, undoable: bool) -> F64:
        """Observe a line. Returns the surprisals of its tokens in bits, float64 [n].

        undoable  whether `undo` may follow; reading costs less otherwise
        """
        if not undoable:
            self._snapshot, self._since = None, []
            return self.predictor.observe_many(tokens).astype(np.float64)
        if self._snapshot is None:
            self._snapshot = Snapshot(self.predictor)
        elif len(self._since) >= min(math.sqrt(self._n_kept), MAX_LAG):
            self._snapshot.update()
            self._since = []
        bits = self.predictor.observe_many(tokens).astype(np.float64)
        self._since.append(tokens)
        self._n_kept += 1
        return bits

    def undo(self) -> None:
        """Make the predictor what it was before the last line. Raises ValueError if that was not read as undoable."""
        if self._snapshot is None or not self._since:
            raise ValueError("there is no line to undo: none was read as undoable since the last was undone")
        self._snapshot.restore()
        for tokens in self._since[:-1]:
            self.predictor.observe_many(tokens)
        self._snapshot.update()
        self._since, self._n_kept = [], 0
