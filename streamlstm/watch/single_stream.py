"""The stream of all lines of a watcher without keys, and how a line is read such that it can be undone.

A line can be judged only after it was read, and reading it twice, first with frozen weights and then to learn, would
cost a third more. So a `LineReader` learns from each line as it reads it, and keeps a snapshot of the model that is a
few lines old. To undo a line it restores the snapshot and reads the lines since then again, which gives the same bits.
It updates the snapshot every sqrt(n) lines, n being the number of lines since the last one that was undone, which costs
least if those come at random, and at least every MAX_LAG lines.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..checkpoint import Arrays, write_checkpoint
from ..kernels.arrays import F32, F64
from ..predictor import StreamPredictor
from ..predictor.snapshot import Snapshot
from ..vocabulary import Tokens
from .familiar import FamiliarLines
from .lines import LineStream

MAX_LAG = 32
"""The most lines that a snapshot is behind."""


class Restorable(Protocol):
    """The state of a model to which it can return: a `Snapshot` of a predictor, or of the model of a key.

    An interrupt leaves the old state with its epoch or the new one, and a model that `restore` makes right.
    """

    @property
    def epoch(self) -> int:
        """A number that each `update` changes."""

    def update(self) -> None:
        """Make it the state of now."""

    def restore(self) -> None:
        """Return the model to it."""


class LineReader:
    """Reads lines for a model and can undo the last one.

    observe   lets the model observe tokens, and returns their surprisals in bits
    snapshot  makes a snapshot of the model

    >>> from streamlstm import Config
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> reader, before = LineReader(predictor.observe_many, lambda: Snapshot(predictor)), predictor.predict()
    >>> bits = reader.read(predictor.vocabulary.encode("never mind\\n"), undoable=True)
    >>> reader.undo()
    >>> bool((predictor.predict() == before).all())
    True
    """

    def __init__(self, observe: Callable[[Tokens], F32], snapshot: Callable[[], Restorable]) -> None:
        self._observe, self._snapshot = observe, snapshot
        self._undo: _Undo | None = None
        self._n_kept = 0  # lines since the last one that was undone

    def read(self, tokens: Tokens, undoable: bool) -> F64:
        """Observe a line. Returns the surprisals of its tokens in bits, float64 [n].

        undoable  whether `undo` may follow; reading costs less otherwise
        """
        self.finish_undo()
        if not undoable:
            self._undo = None
            return self._observe(tokens).astype(np.float64)
        undo = self._undo
        if undo is None:
            undo = _Undo.since(self._snapshot())
        elif len(undo.lines) >= min(math.sqrt(self._n_kept), MAX_LAG):
            undo.snapshot.update()
            undo = _Undo.since(undo.snapshot)
        self._undo = undo
        bits = self._observe(tokens).astype(np.float64)
        self._undo = undo._replace(lines=(*undo.lines, tokens))
        self._n_kept += 1
        return bits

    def undo(self) -> None:
        """Make the model what it was before the last line. Raises ValueError if that was not read as undoable.

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
                self._observe(tokens)
            self._n_kept = 0
            undo.snapshot.update()
        self._undo = _Undo.since(undo.snapshot)

    def forget(self) -> None:
        """Drop the snapshot, because the model changes in another way: what was read stays."""
        self.finish_undo()
        self._undo = None


class _Undo(NamedTuple):
    """What is needed to undo the last line. It is replaced as a whole, so that an interrupt leaves the old or the new.

    snapshot  of the model before `lines`
    epoch     of the snapshot; if the snapshot has another one, it was updated after `lines`
    lines     the lines since the snapshot that count
    is_begun  whether the model is being brought from the snapshot to the end of `lines`
    """

    snapshot: Restorable
    epoch: int
    lines: tuple[Tokens, ...] = ()
    is_begun: bool = False

    @classmethod
    def since(cls, snapshot: Restorable) -> _Undo:
        return cls(snapshot, snapshot.epoch)


FAMILIAR = "stream.0.familiar."
"""What the names of the arrays of familiar lines begin with in a checkpoint."""

NETWORK_LINES = 2_000
"""From this many scores on, only the memory of the model learns, unless all lines are read in full. A line that is read
in full then takes half the time, for 1.5 % more bits. If this began after 500 lines, the AUC of replaced tokens would
be 0.01 lower on three training logs."""


class SingleStream:
    """The stream of all lines.

    predictor  used and modified
    thorough   whether all lines are to be read in full
    """

    keyed = False

    def __init__(self, predictor: StreamPredictor, thorough: bool) -> None:
        self._predictor, self._thorough = predictor, thorough
        self._reader = LineReader(predictor.observe_many, lambda: Snapshot(predictor))
        self._lines = LineStream(None if thorough else FamiliarLines(predictor.vocabulary))

    def __len__(self) -> int:
        return 1

    def get(self, key: str, notes: list[str]) -> LineStream:
        """The stream, whatever the key."""
        return self._lines

    def read(self, tokens: Tokens, undoable: bool) -> F64:
        """Observe a line; see `LineReader.read`."""
        if not self._thorough and self._lines.baseline.n_scores >= NETWORK_LINES:
            self._freeze_network()
        return self._reader.read(tokens, undoable)

    def _freeze_network(self) -> None:
        """Let only the memory learn from now on, if there is one."""
        if self._predictor.learn == "all" and self._predictor.config.memory:
            self._reader.forget()
            self._predictor.learn = "memory"

    def undo(self) -> None:
        """Make the predictor what it was before the last line."""
        self._reader.undo()

    def save(self, path: str | os.PathLike[str], state: dict[str, Any]) -> None:
        """Write the predictor, this stream and the state of the watcher to a file, atomically."""
        self._reader.finish_undo()
        arrays, values = self._predictor.to_checkpoint()
        watch = {**state, "keyed": False, "streams": [{"key": "", **self._lines.describe(arrays, FAMILIAR)}]}
        write_checkpoint(path, arrays, {**values, "watch": watch})

    def restored(
        self, path: str | os.PathLike[str], saved: dict[str, Any], arrays: Arrays, *, exclusive: bool
    ) -> tuple[SingleStream, dict[str, Any]]:
        """The stream that `save` wrote, and the state of the watcher. There is no store to be used exclusively.

        Raises ValueError, TypeError, KeyError, AttributeError or OverflowError for an inconsistent description.
        """
        found = SingleStream(self._predictor, self._thorough)
        for values in saved["streams"]:
            found._lines = LineStream.from_description(values, arrays, FAMILIAR, found._lines.familiar)
        return found, saved

    def close(self) -> None:
        """There is nothing to close."""
