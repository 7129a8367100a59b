"""The stream of all lines of a watcher without keys: the predictor itself reads it."""

from __future__ import annotations

import os
from typing import Any

from ..checkpoint import Arrays, write_checkpoint
from ..kernels.arrays import F64
from ..predictor import StreamPredictor
from ..vocabulary import Tokens
from .baseline import Baseline
from .familiar import FamiliarLines
from .line_reader import LineReader
from .line_stream import History, LineStream

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
        self._reader = LineReader(predictor)
        self._lines = LineStream(None if thorough else FamiliarLines(predictor.vocabulary))

    def __len__(self) -> int:
        return 1

    def get(self, key: str, notes: list[str]) -> LineStream:
        """The stream, whatever the key."""
        return self._lines

    def read(self, tokens: Tokens, undoable: bool) -> F64:
        """Observe a line; see `LineReader.read`."""
        if not self._thorough and self._lines.baseline.n_scores >= NETWORK_LINES:
            self._reader.freeze_network()
        return self._reader.read(tokens, undoable)

    def undo(self) -> None:
        """Make the predictor what it was before the last line."""
        self._reader.undo()

    def save(self, path: str | os.PathLike[str], state: dict[str, Any]) -> None:
        """Write the predictor, this stream and the state of the watcher to a file, atomically."""
        self._reader.finish_undo()
        arrays, values = self._predictor.to_checkpoint()
        described = {"key": "", **self._lines.history.describe(), "baseline": self._lines.baseline.describe()}
        if self._lines.familiar is not None:
            described["familiar"] = self._lines.familiar.describe(arrays, FAMILIAR)
        watch = {**state, "keyed": False, "streams": [described]}
        write_checkpoint(path, arrays, {**values, "watch": watch})

    def restored(
        self, path: str | os.PathLike[str], saved: dict[str, Any], arrays: Arrays, *, exclusive: bool
    ) -> tuple[SingleStream, dict[str, Any]]:
        """The stream that `save` wrote, and the state of the watcher. There is no store to be used exclusively.

        Raises ValueError, TypeError, KeyError, AttributeError or OverflowError for an inconsistent description.
        """
        found = SingleStream(self._predictor, self._thorough)
        for values in saved["streams"]:
            if found._lines.familiar is not None and "familiar" in values:
                found._lines.familiar.restore(values["familiar"], arrays, FAMILIAR)
            baseline, history = Baseline.from_description(values["baseline"]), History.from_description(values)
            found._lines = LineStream(found._lines.familiar, baseline, history)
        return found, saved

    def close(self) -> None:
        """There is nothing to close."""
