"""Streams of records in River: an anomaly detector, and surprisal as features.

Both read records one after the other, as one stream. A record is a dict of features; what is read is one text field of
it (`on`), or all features in the order of their names. Scoring changes nothing, learning reads on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..model import Config
from ..predictor import StreamPredictor
from ..text.score import check_choice
from ..watch.lines import Baseline
from .extras import missing_extra
from .records import Record, features, prefixed, text_of

try:
    from river import base
except ModuleNotFoundError as error:
    raise missing_extra(error, "river") from None

UNITS = ("z", "bits")


class StreamAnomaly(base.AnomalyDetector):
    """Scores how unusual a record is, given those that it has learned from.

    on         the feature that holds the text; None: all features, or the record is the text itself
    predictor  what to begin with, which does not change; None: the bundled model `small`
    unit       of the score: "z", by how many robust standard deviations the bits per character exceed those of recent
               records, as `streamlstm watch` measures it; or "bits", the bits per character

    Raises ValueError for another unit.

    >>> from streamlstm import Config, StreamPredictor
    >>> detector = StreamAnomaly(on="line", predictor=StreamPredictor(config=Config(hidden=16, layers=1)))
    >>> for n in range(300):
    ...     detector.learn_one({"line": f"job {n % 7} done", "host": n})
    >>> detector.score_one({"line": "job 3 done"}) < 3 < detector.score_one({"line": "KERNEL PANIC at 0xc0ffee"})
    True
    """

    def __init__(self, on: str | None = None, predictor: StreamPredictor | None = None, unit: str = "z") -> None:
        check_choice("unit", unit, UNITS)
        self.on, self.predictor, self.unit = on, predictor, unit
        self._reader = _reader(predictor)
        self._baseline = Baseline()

    def score_one(self, x: Record) -> float:
        """The score of a record; the higher, the more unusual."""
        text = text_of(x, self.on)
        bits = _bits_per_character(self._reader.fork(learning=False), text)
        return bits if self.unit == "bits" else self._baseline.compare(bits, len(text))[1]

    def learn_one(self, x: Record) -> None:
        """Read a record, and learn from it what the predictor learns: nothing, if it is frozen."""
        text = text_of(x, self.on)
        self._baseline.add(_bits_per_character(self._reader, text), len(text))

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {"predictor": _small_predictor()}


class Surprisal(base.Transformer):
    """Replaces a text by how surprising it is, given those that it has learned from.

    on         the feature that holds the text; None: all features, or the record is the text itself
    predictor  what to begin with, which does not change; None: the bundled model `small`

    The features are `bits`, `bits_per_character`, and `max_bits`, the surprisal of the most surprising symbol. With
    `on` the feature's name and an underscore come before them.

    >>> from streamlstm import Config, StreamPredictor
    >>> surprisal = Surprisal(on="text", predictor=StreamPredictor(config=Config(hidden=16, layers=1)))
    >>> surprisal.transform_one({"text": "hello"})
    {'text_bits': 48.0, 'text_bits_per_character': 8.0, 'text_max_bits': 8.0}
    """

    def __init__(self, on: str | None = None, predictor: StreamPredictor | None = None) -> None:
        self.on, self.predictor = on, predictor
        self._reader = _reader(predictor)

    def transform_one(self, x: Record) -> dict[str, float]:
        """The features of a record; its newline counts as one of its characters."""
        text = text_of(x, self.on)
        bits = self._reader.fork(learning=False).observe_many(text)
        return prefixed(features(bits, len(text)), self.on)

    def learn_one(self, x: Record) -> None:
        """Read a record, and learn from it what the predictor learns: nothing, if it is frozen."""
        self._reader.observe_many(text_of(x, self.on))

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        yield {"predictor": _small_predictor()}


def _reader(predictor: StreamPredictor | None) -> StreamPredictor:
    return StreamPredictor.pretrained() if predictor is None else predictor.fork()


def _bits_per_character(predictor: StreamPredictor, text: str) -> float:
    return float(predictor.observe_many(text).sum(dtype=np.float64)) / len(text)


def _small_predictor() -> StreamPredictor:
    """What River's checks use instead of a bundled model."""
    return StreamPredictor(config=Config(hidden=8, layers=1, memory=False))
