"""Many streams over one model: a reader, the streams that it does not read at the moment, and their bytes.

Arrays and values as bytes, to be read by the process that wrote them. This takes a tenth of a checkpoint's time.

Nothing is checked, so such bytes must not come from anywhere else.

A predictor that reads for one stream after another, of many streams that share a model.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..checkpoint import Arrays
from ..kernels.arrays import F32
from ..memory.parked import ParkedMemory, StreamMemory
from ..ranges import check_ranges, whole_number
from ..vocabulary import Tokens
from . import saved
from .sources import KnownTokens
from .stream import ParkedStream, TokenStream, Window
from .weights import Weights


def packed(arrays: Arrays, values: Any) -> bytes:
    """The bytes of arrays, which are contiguous, and of JSON values.

    >>> unpacked(packed({"a": np.arange(3)}, 7))
    ({'a': array([0, 1, 2])}, 7)
    """
    described = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    header = json.dumps([described, values]).encode()
    return b"".join([len(header).to_bytes(8, "little"), header, *(array.data for array in arrays.values())])


def unpacked(content: bytes) -> tuple[Arrays, Any]:
    """The arrays, as copies, and the values."""
    start = 8 + int.from_bytes(content[:8], "little")
    described, values = json.loads(content[8:start])
    arrays: Arrays = {}
    for name, kind, shape in described:
        array = np.ndarray(shape, kind, content, start).copy()
        arrays[name] = array
        start += array.nbytes
    return arrays, values


# A predictor that reads for one stream after another, of many streams that share a model

NO_TOKENS: Tokens = np.zeros(0, dtype=np.int32)


class StreamReader:
    """Reads for one stream at a time, and switches between streams.

    model      each stream begins as a copy of it, and learns what it learns; it must not change while readers exist
    max_pages  the most pages of 64 bytes in which a stream keeps counts, see `memory.parked`

    `park` gives the current stream, and `resume` continues another one. Use a reader from one thread at a time;
    readers of one model may be used in different threads.
    """

    def __init__(self, model: TokenStream, max_pages: int) -> None:
        self._model_weights = model.weights
        self._stream = model.resumable(max_pages)
        self._window = model.layout.config.window if model.learn == "all" else 0

    @property
    def distribution(self) -> F32:
        """The distribution of the next token of the current stream, float32 [V]; a view."""
        return self._stream.distribution

    def read(self, tokens: Tokens) -> F32:
        """Observe tokens, which are not checked; returns their surprisals in bits, float32 [n]."""
        bits = np.empty(len(tokens), dtype=np.float32)
        for step in self._stream.steps(KnownTokens(tokens), len(tokens)):
            bits[step.start : step.start + step.count] = step.bits
        return bits

    def resume_and_read(self, parked: ParkedStream, tokens: Tokens) -> F32:
        """`resume` and then `read`, with fewer calls of kernels. An interrupt leaves the stream undefined."""
        n = self._stream.resume_and_read(parked, tokens)
        bits: F32 = self._stream.tape.stream.bits[:n].copy()
        return bits if n == len(tokens) else np.concatenate([bits, self.read(tokens[n:])])

    def park(self) -> ParkedStream:
        """The current stream. Its arrays are not copies: `resume` must be the next call."""
        return self._stream.park()

    def resume(self, parked: ParkedStream) -> None:
        """Continue a stream, whose arrays this reader uses from now on."""
        self._stream.resume_and_read(parked, NO_TOKENS)

    def nbytes(self, parked: ParkedStream) -> int:
        """How many bytes a stream takes, without the model."""
        return parked.nbytes(self._model_weights)

    def to_arrays(self, parked: ParkedStream) -> tuple[Arrays, dict[str, Any]]:
        """The arrays by name and the JSON-serialisable values of a snapshot."""
        return parked.to_arrays(self._stream.layout, self._model_weights)

    def pack(self, parked: ParkedStream) -> bytes:
        """The bytes of a stream, for `unpack` in this process."""
        return packed(*parked.own_arrays(self._model_weights))

    def unpack(self, content: bytes) -> ParkedStream:
        """The stream that `pack` packed."""
        arrays, (n_symbols, optimizer) = unpacked(content)
        memory = ParkedMemory.from_own_arrays(arrays) if "memory.state" in arrays else None
        window = Window(arrays["state"], arrays["tokens"], arrays["bits"])
        return ParkedStream(self._weights_of(arrays, optimizer), window, n_symbols, memory)

    def from_arrays(self, arrays: Arrays, values: dict[str, Any]) -> ParkedStream:
        """The stream of a snapshot. Raises KeyError, TypeError or ValueError if it does not fit."""
        n_symbols = whole_number(values["n_symbols"], "n_symbols")
        window = saved.window_of(self._stream.layout, arrays, n_symbols, self._window)
        memory: ParkedMemory | None = None
        if isinstance(self._stream.memory, StreamMemory):
            memory = self._stream.memory.from_arrays(arrays)
        weights = self._weights_of(arrays, values.get("optimizer"))
        if weights is not self._model_weights:
            check_ranges(weights.ranges(self._stream.layout), "its weights are out of range")
        return ParkedStream(weights, window, n_symbols, memory)

    def _weights_of(self, arrays: Arrays, optimizer: Any) -> Weights:
        """The weights of a snapshot: those of the model, or its own."""
        if "theta" not in arrays:
            return self._model_weights
        weights = self._model_weights.copy(self)
        weights.release(self)
        for name, mine in (("theta", weights.theta), ("slots", weights.optimizer.slots)):
            if arrays[name].dtype != mine.dtype or arrays[name].shape != mine.shape:
                raise ValueError(f"{name} does not fit the model")
            mine[:] = arrays[name]
        weights.optimizer.load_state(optimizer["n_steps"], optimizer["powers"], optimizer["surprisals"])
        return weights
