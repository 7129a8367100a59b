"""A predictor that reads for one stream after another, of many streams that share a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checkpoint import Arrays
from ..kernels.arrays import F32
from ..memory.parked import StreamMemory
from ..ranges import check_ranges, whole_number
from ..vocabulary import Tokens
from . import saved
from .sources import KnownTokens
from .stream import ParkedStream, TokenStream
from .weights import Weights

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
        memory = self._stream.memory  # found once: another thread may ask for a stream while this reader learns
        self._memory = memory if isinstance(memory, StreamMemory) else None
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
        """The stored form of a stream: what it has of its own, as arrays by name and JSON values."""
        return parked.to_arrays(self._stream.layout, self._model_weights)

    def from_arrays(self, arrays: Arrays, values: dict[str, Any]) -> ParkedStream:
        """The stream with a stored form, which is not checked."""
        window = saved.window_of(self._stream.layout, arrays)
        memory = self._memory.from_arrays(arrays) if self._memory else None
        return ParkedStream(self._weights_of(arrays, values), window, values["n_symbols"], memory)

    def checked_stream(self, arrays: Arrays, values: dict[str, Any]) -> ParkedStream:
        """The stream with a stored form. Raises KeyError, TypeError or ValueError if it does not fit the model."""
        layout, n_symbols = self._stream.layout, whole_number(values["n_symbols"], "n_symbols")
        saved.checked_window(layout, arrays, n_symbols, self._window)
        if self._memory:
            self._memory.check(arrays)
        stream = self.from_arrays(arrays, values)
        if "theta" in arrays:
            check_ranges(stream.weights.ranges(layout), "its weights are out of range")
        return stream

    def _weights_of(self, arrays: Arrays, values: dict[str, Any]) -> Weights:
        """The weights of a stored form: those of the model, or its own. Raises ValueError if they do not fit."""
        if "theta" not in arrays:
            return self._model_weights.shared()
        weights, optimizer = self._model_weights.copy(), values["optimizer"]
        for name, mine in (("theta", weights.theta), ("slots", weights.optimizer.slots)):
            if arrays[name].dtype != mine.dtype or arrays[name].shape != mine.shape:
                raise ValueError(f"{name} does not fit the model")
            mine[:] = arrays[name]
        weights.optimizer.load_state(optimizer["n_steps"], optimizer["powers"], optimizer["surprisals"])
        return weights
