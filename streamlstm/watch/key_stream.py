"""The stream of one key, of many: the model that reads its lines, parked, and what is known of the lines; as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checkpoint import Arrays, dump_checkpoint, parse_checkpoint
from ..predictor.packed import packed, unpacked
from ..predictor.parked import ParkedStream
from ..predictor.stream_reader import StreamReader
from .baseline import Baseline
from .familiar import FamiliarLines
from .line_stream import History, LineStream

FAMILIAR = "familiar."
"""What the names of the arrays of familiar lines begin with in a snapshot."""

MODEL = "model"
"""The name of the model in a packed stream."""

OVERHEAD = 12_000
"""The bytes that the baselines of a key and Python's objects take, about."""


@dataclass
class KeyStream:
    """The stream of a key.

    model  reads its lines, unless another one is in use
    lines  the scores of its lines, and which are familiar
    """

    model: ParkedStream
    lines: LineStream

    @property
    def n_symbols(self) -> int:
        """How many symbols the model has seen."""
        return self.model.n_symbols


class KeyStreamCodec:
    """Turns the stream of a key into bytes and back.

    reader    reads for all streams
    identity  identifies the model that all streams begin with
    familiar  of which those of a new stream are made; None if all lines are to be read in full
    """

    def __init__(self, reader: StreamReader, identity: bytes, familiar: FamiliarLines | None) -> None:
        self._reader, self._identity, self._familiar = reader, identity.hex(), familiar

    def new(self, model: ParkedStream, history: History) -> KeyStream:
        """The stream of a key that comes for the first time, or whose model was dropped."""
        familiar = None if self._familiar is None else self._familiar.new()
        return KeyStream(model, LineStream(familiar, history=history))

    def nbytes(self, parked: KeyStream) -> int:
        """How many bytes a stream takes in memory."""
        familiar = parked.lines.familiar
        return self._reader.nbytes(parked.model) + (0 if familiar is None else familiar.nbytes) + OVERHEAD

    def dump(self, parked: KeyStream) -> bytes:
        """The bytes of a stream."""
        arrays, values = self._reader.to_arrays(parked.model)
        lines = _described(parked.lines, arrays)
        return dump_checkpoint(arrays, {**values, "model": self._identity, "lines": lines}, "crc32")

    def pack(self, parked: KeyStream) -> bytes:
        """The bytes of a stream, for this process."""
        arrays: Arrays = {MODEL: np.frombuffer(self._reader.pack(parked.model), dtype=np.uint8)}
        lines = _described(parked.lines, arrays)
        return packed(arrays, lines)

    def unpack(self, content: bytes) -> KeyStream:
        """The stream that `pack` has packed."""
        arrays, lines = unpacked(content)
        return KeyStream(self._reader.unpack(arrays[MODEL].tobytes()), self._lines_of(arrays, lines))

    def parse(self, content: bytes, name: str) -> KeyStream:
        """The stream of these bytes, called `name` in errors. Raises ValueError if they are not valid."""
        arrays, values = parse_checkpoint(content, name, "crc32")
        if values.get("model") != self._identity:
            raise ValueError(f"{name} is of another model")
        try:
            model = self._reader.from_arrays(arrays, values)
            return KeyStream(model, self._lines_of(arrays, values["lines"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{name} cannot be used: {error!r}") from None

    def dump_history(self, history: History) -> bytes:
        """The bytes of what is kept of a key whose model is dropped."""
        return dump_checkpoint({}, history.describe(), "crc32")

    def parse_history(self, content: bytes, name: str) -> History:
        """What these bytes say, called `name` in errors. Raises ValueError if they are not valid."""
        try:
            return History.from_description(parse_checkpoint(content, name, "crc32")[1])
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{name} cannot be used: {error!r}") from None

    def _lines_of(self, arrays: Arrays, described: dict[str, Any]) -> LineStream:
        familiar = None if self._familiar is None else self._familiar.new()
        if familiar is not None and "familiar" in described:
            familiar.restore(described["familiar"], arrays, FAMILIAR)
        baseline = Baseline.from_description({**described["baseline"], "recent": arrays["recent"].tolist()})
        return LineStream(familiar, baseline, History.from_description(described))


def _described(lines: LineStream, arrays: Arrays) -> dict[str, Any]:
    """What is known of the lines as JSON values; large parts are added to `arrays`."""
    described: dict[str, Any] = lines.history.describe()
    baseline = lines.baseline.describe()
    arrays["recent"] = np.array(baseline.pop("recent"), dtype=np.uint16)
    described["baseline"] = baseline
    if lines.familiar is not None:
        described["familiar"] = lines.familiar.describe(arrays, FAMILIAR)
    return described
