"""Read lines such that the last one can be undone, as if it had never been there.

A line can be judged only after it was read, and reading it twice, first with frozen weights and then to learn, would
cost a third more. So the reader learns from each line as it reads it, and keeps a snapshot of the predictor that is a
few lines old. To undo a line it restores the snapshot and reads the lines since then again, which gives the same bits.
It updates the snapshot every sqrt(n) lines, n being the number of lines since the last one that was undone, which costs
least if those come at random, and at least every MAX_LAG lines.
"""

import math
from typing import NamedTuple

import numpy as np

from ..kernels.arrays import F64
from ..predictor import StreamPredictor
from ..tasks.snapshot import Snapshot
from ..vocabulary import Tokens

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
        self._undo: _Undo | None = None
        self._n_kept = 0  # lines since the last one that was undone

    def freeze_network(self) -> None:
        """Let only the memory learn from now on, which takes half the time; do nothing if that is not possible."""
        if self.predictor.learn == "all" and self.predictor.config.memory:
            self.finish_undo()
            self._undo = None
            self.predictor.learn = "memory"

    def read(self, tokens: Tokens, undoable: bool) -> F64:
        """Observe a line. Returns the surprisals of its tokens in bits, float64 [n].

        undoable  whether `undo` may follow; reading costs less otherwise
        """
        self.finish_undo()
        if not undoable:
            self._undo = None
            return self.predictor.observe_many(tokens).astype(np.float64)
        undo = self._undo
        if undo is None:
            undo = _Undo.since(Snapshot(self.predictor))
        elif len(undo.lines) >= min(math.sqrt(self._n_kept), MAX_LAG):
            undo.snapshot.update()
            undo = _Undo.since(undo.snapshot)
        self._undo = undo
        bits = self.predictor.observe_many(tokens).astype(np.float64)
        self._undo = undo._replace(lines=(*undo.lines, tokens))
        self._n_kept += 1
        return bits

    def undo(self) -> None:
        """Make the predictor what it was before the last line. Raises ValueError if that was not read as undoable.

        After an interrupt, `finish_undo` or the next `read` completes it.
        """
        self.finish_undo()
        if self._undo is None or not self._undo.lines:
            raise ValueError("there is no line to undo: none was read as undoable since the last was undone")
        self._undo = self._undo._replace(lines=self._undo.lines[:-1], is_begun=True)
        self.finish_undo()

    def finish_undo(self) -> None:
        """Complete an `undo` that was interrupted; do nothing if there is none."""
        undo = self._undo
        if undo is None:
            return
        if undo.epoch == undo.snapshot.epoch:
            if not undo.is_begun:
                return
            undo.snapshot.restore()
            for tokens in undo.lines:
                self.predictor.observe_many(tokens)
            self._n_kept = 0
            undo.snapshot.update()
        self._undo = _Undo.since(undo.snapshot)


class _Undo(NamedTuple):
    """What is needed to undo the last line. It is replaced as a whole, so that an interrupt leaves the old or the new.

    snapshot  of the predictor before `lines`
    epoch     of the snapshot; if the snapshot has another one, it was updated after `lines`
    lines     the lines since the snapshot that count
    is_begun  whether the predictor is being brought from the snapshot to the end of `lines`
    """

    snapshot: Snapshot
    epoch: int
    lines: tuple[Tokens, ...] = ()
    is_begun: bool = False

    @classmethod
    def since(cls, snapshot: Snapshot) -> "_Undo":
        return cls(snapshot, snapshot.epoch)
