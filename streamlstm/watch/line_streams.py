"""The lines of each key: the model that reads them, and their scores; the least recently used model is dropped."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ..checkpoint import Arrays
from ..predictor import StreamPredictor
from ..tasks.units import F64
from ..vocabulary import Tokens
from .baseline import Baseline, BaselinesByAge
from .familiar import FamiliarLines
from .line_reader import LineReader

MAX_DROPPED_KEYS = 5_000
"""The number of keys whose baselines are kept after their model was dropped."""

FAMILIAR = "familiar."
"""What the names of the arrays of familiar lines begin with in a checkpoint, after the prefix of their stream."""

NETWORK_LINES = 2_000
"""From so many scores of a stream on, only the memory of its model learns, unless all lines are read in full. A line
that is read in full then takes half the time, for 1.5 % more bits. If this began after 500 lines, the AUC of replaced
tokens would be 0.01 lower on three training logs."""

BURST_LINES = 3
"""If this many more lines were flagged than were not, flagged lines are learned from."""


@dataclass
class History:
    """What is kept of a key when its model is dropped.

    early   the scores of the first lines that each of its models read
    excess  recently flagged lines minus lines not flagged, from 0 to BURST_LINES
    """

    early: BaselinesByAge = field(default_factory=BaselinesByAge)
    excess: int = 0

    @property
    def is_burst(self) -> bool:
        """Whether so many lines were flagged that the stream has changed."""
        return self.excess >= BURST_LINES

    def count(self, flagged: bool) -> None:
        """Count a line in `excess`."""
        self.excess = min(max(self.excess + (1 if flagged else -1), 0), BURST_LINES)

    def describe(self, key: str) -> dict[str, Any]:
        """The JSON-able description of the history of a key."""
        return {"key": key, "alarms": self.excess, "early": self.early.describe()}

    @classmethod
    def from_description(cls, values: dict[str, Any]) -> History:
        """The history that `describe` described. Raises ValueError, TypeError or KeyError if it is not one."""
        excess = values["alarms"]  # the key of version 0.1
        if excess not in range(BURST_LINES + 1):
            raise ValueError(f"alarms must be from 0 to {BURST_LINES}, not {excess!r}")
        return cls(BaselinesByAge(values.get("early", ())), excess)  # version 0.1 wrote no "early"


@dataclass
class LineStream:
    """The lines of one key: the model that reads them, their scores, and which lines are familiar.

    familiar  None if all lines are to be read in full
    """

    reader: LineReader
    familiar: FamiliarLines | None = None
    baseline: Baseline = field(default_factory=Baseline)
    history: History = field(default_factory=History)

    def read(self, tokens: Tokens, undoable: bool) -> F64:
        """Read a line in full; see `LineReader.read`."""
        if self.familiar is not None and self.baseline.n_scores >= NETWORK_LINES:
            self.reader.freeze_network()
        return self.reader.read(tokens, undoable)

    def reference(self, warmup: int) -> Baseline:
        """The baseline that the next line is compared with."""
        age = self.baseline.n_scores
        early = self.history.early.latest(age, warmup) if age < warmup else None
        return early or self.baseline

    def add_score(self, score: float, length: int, warmup: int) -> None:
        """Add the score of a line to the baselines."""
        age = self.baseline.n_scores
        if age < warmup:
            self.history.early.add(score, length, age)
        self.baseline.add(score, length)


class LineStreams:
    """The streams by key, at most `max_keys` of them.

    predictor  of the stream of all lines or, if `keyed`, what the model of each key begins as a fork of
    keyed      whether each key has a model of its own
    thorough   whether all lines are to be read in full
    """

    def __init__(self, predictor: StreamPredictor, keyed: bool, max_keys: int, thorough: bool = True) -> None:
        self.keyed = keyed
        self._thorough = thorough
        self._predictor, self._max_keys = predictor, max_keys
        self._streams: OrderedDict[str, LineStream] = OrderedDict()
        self._dropped: OrderedDict[str, History] = OrderedDict()
        self._n_dropped = 0

    def __len__(self) -> int:
        return len(self._streams)

    def of(self, key: str, notes: list[str]) -> LineStream:
        """The stream of a key; if it is new, the least recently used one may be dropped, which `notes` then tells."""
        if key in self._streams:
            self._streams.move_to_end(key)
            return self._streams[key]
        if len(self._streams) == self._max_keys:
            self._drop(key, notes)
        predictor = self._predictor.fork() if self.keyed else self._predictor
        history = self._dropped.pop(key, History())
        stream = self._streams[key] = LineStream(LineReader(predictor), self._new_familiar(), history=history)
        return stream

    def _new_familiar(self) -> FamiliarLines | None:
        return None if self._thorough else FamiliarLines(self._predictor.vocabulary)

    def _drop(self, new_key: str, notes: list[str]) -> None:
        key, stream = self._streams.popitem(last=False)
        self._keep_history(key, stream.history)
        self._n_dropped += 1
        if is_power_of_2(self._n_dropped):
            notes.append(
                f"dropped the model of key {key!r} to make one for {new_key!r}: max_keys is {self._max_keys} "
                f"({self._n_dropped:,} dropped so far); a new model misses more until it has read enough lines"
            )

    def _keep_history(self, key: str, history: History) -> None:
        self._dropped[key] = history
        if len(self._dropped) > MAX_DROPPED_KEYS:
            self._dropped.popitem(last=False)

    def finish_undo(self) -> None:
        """Complete an undo that was interrupted, in any of the streams."""
        for stream in self._streams.values():
            stream.reader.finish_undo()

    def describe(self, arrays: Arrays) -> dict[str, Any]:
        """The JSON-able description of all streams; the arrays of their models are added to `arrays`."""
        streams = []
        for index, (key, stream) in enumerate(self._streams.items()):
            streams.append({**stream.history.describe(key), "baseline": stream.baseline.describe()})
            if self.keyed:
                own, streams[-1]["predictor"] = stream.reader.predictor.to_checkpoint()
                arrays |= {_prefix(index) + name: array for name, array in own.items()}
            if stream.familiar is not None:
                streams[-1]["familiar"] = stream.familiar.describe(arrays, _prefix(index) + FAMILIAR)
        dropped = [history.describe(key) for key, history in self._dropped.items()]
        return {"keyed": self.keyed, "streams": streams, "dropped": dropped}

    def parsed(self, saved: dict[str, Any], arrays: Arrays) -> LineStreams:
        """The streams of a checkpoint: the most recent ones, and the histories of all other keys.

        Raises ValueError, TypeError, KeyError, AttributeError or OverflowError for an inconsistent description.
        """
        found = LineStreams(self._predictor, self.keyed, self._max_keys, self._thorough)
        dropped = {str(values["key"]): History.from_description(values) for values in saved.get("dropped", ())}
        first = max(len(saved["streams"]) - self._max_keys, 0)
        for index, values in enumerate(saved["streams"]):
            key, history = str(values["key"]), History.from_description(values)
            if index < first:
                dropped[key] = history
                continue
            predictor = self._predictor
            if self.keyed:
                prefix = _prefix(index)
                names = [name for name in arrays if name.startswith(prefix) and not name.startswith(prefix + FAMILIAR)]
                own = {name.removeprefix(prefix): arrays[name] for name in names}
                predictor = StreamPredictor.from_checkpoint(own, values["predictor"])
                if (predictor.learn, self._predictor.learn) != ("memory", "all"):  # see NETWORK_LINES
                    predictor.learn = self._predictor.learn
            familiar = self._new_familiar()
            if familiar is not None and "familiar" in values:
                familiar.restore(values["familiar"], arrays, _prefix(index) + FAMILIAR)
            found._streams[key] = LineStream(LineReader(predictor), familiar, Baseline(**values["baseline"]), history)
        for key, history in dropped.items():
            found._keep_history(key, history)
        return found


def _prefix(index: int) -> str:
    """What the names of a stream's arrays begin with in a checkpoint."""
    return f"stream.{index}."


def is_power_of_2(n: int) -> bool:
    """Whether a count is worth a note: 1, 2, 4, 8, …"""
    return n & (n - 1) == 0
