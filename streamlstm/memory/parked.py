"""The memory of one of many streams over a shared memory: in use, or parked until the stream goes on.

A parked memory has what the stream has changed, and nothing else: an overlay, and pages of the weights. An overlay
holds MIN_SLOTS pages or, if those are more, one for every SYMBOLS_PER_PAGE symbols that the stream has learned from, up
to a limit. So a stream costs in proportion to what it has learned.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..checkpoint import Arrays
from ..kernels.arrays import F32, I32, I64
from . import layout, saved
from .memory import Memory
from .overlay import GROWS_AT, MAX_USES, N_SLOTS, Parts, enlarged, filled, is_full, new_overlay, parts, places
from .undo import PAGE

Numbers = npt.NDArray[np.unsignedinteger[Any]]

FIRST_SLOTS, MIN_SLOTS, SYMBOLS_PER_PAGE = 32, 512, 4
UNIT = 4
"""How many weights are stored together."""


class ParkedMemory(NamedTuple):
    """What the memory of a stream has of its own.

    state    int64       see `layout`
    overlay  int32       see `overlay`
    numbers  uint16 or uint32 [n]: which units of the weights differ from the shared ones
    weights  float32 [n, UNIT]: what they contain
    """

    state: I64
    overlay: I32
    numbers: Numbers
    weights: F32

    @property
    def nbytes(self) -> int:
        """The number of bytes of all arrays."""
        return int(sum(array.nbytes for array in self))

    def copy(self) -> ParkedMemory:
        """An independent copy."""
        return ParkedMemory(self.state.copy(), self.overlay.copy(), self.numbers, self.weights)

    def to_arrays(self) -> Arrays:
        """The arrays of a snapshot; the index of the overlay is left out."""
        numbers, pages, uses = parts(self.overlay)
        pairs = places(self.overlay)
        return {
            "memory.state": self.state,
            "memory.slots": self.overlay[[N_SLOTS, GROWS_AT]],
            "memory.pages": numbers,
            "memory.words": pages,
            "memory.uses": uses,
            "memory.places": pairs[pairs[:, 0] > 0],
            "memory.units": self.numbers,
            "memory.weights": self.weights,
        }


class StreamMemory(Memory):
    """A memory that is that of one stream after another, each over the same shared memory.

    shared    the memory that all streams begin with; it must not change
    max_slots the most pages in the overlay of a stream
    """

    def __init__(self, shared: Memory, max_slots: int) -> None:
        self.__dict__.update(shared.fork().__dict__)
        self._max_slots = max_slots
        mine = self._arrays
        self._shared_weights, buffer = _padded(mine.weights), _padded(mine.weights)
        self._units = buffer.view(np.int32).reshape(-1, UNIT)
        self._type = np.uint16 if len(self._units) <= 2**16 else np.uint32
        self._first_n_learned = int(mine.state[layout.N_LEARNED])
        n_slots = min(FIRST_SLOTS, max_slots)
        overlay = new_overlay(n_slots, self._grows_at(n_slots), _n_places(n_slots))
        self._arrays = mine._replace(weights=buffer[: len(mine.weights)], overlay=overlay)

    def _grows_at(self, n_slots: int) -> int:
        """When an overlay of so many pages may grow; see `overlay`."""
        if n_slots >= self._max_slots:
            return -1
        n_more = 0 if 2 * n_slots <= MIN_SLOTS else 2 * n_slots * SYMBOLS_PER_PAGE
        return (self._first_n_learned + n_more) >> 10

    def make_space(self) -> bool:
        """See `Memory.make_space`."""
        mine = self._arrays
        if not is_full(mine.overlay):
            return False
        n_slots = min(2 * mine.overlay.item(N_SLOTS), self._max_slots)
        self._arrays = mine._replace(
            overlay=enlarged(mine.overlay, n_slots, self._grows_at(n_slots), _n_places(n_slots))
        )
        return True

    def park(self) -> ParkedMemory:
        """What the stream has of its own. Its arrays are no copies: before it goes on, another stream must `resume`."""
        differs = self._units.reshape(-1) != self._shared_weights.view(np.int32)
        numbers: Numbers = np.flatnonzero(differs.view(f"u{UNIT}")).astype(self._type)
        weights = self._units[numbers].view(np.float32)
        return ParkedMemory(self._arrays.state, self._arrays.overlay, numbers, weights)

    def resume(self, parked: ParkedMemory) -> None:
        """Become the memory of another stream, whose arrays it takes over."""
        self._units.reshape(-1)[:] = self._shared_weights.view(np.int32)
        self._units[parked.numbers] = parked.weights.view(np.int32)
        self._arrays = self._arrays._replace(state=parked.state, overlay=parked.overlay)

    def from_arrays(self, arrays: Arrays) -> ParkedMemory:
        """The memory of a snapshot. Raises KeyError or ValueError if it does not fit.

        Kernels use what is stored as indices, without bounds checks: so every number that is one is checked here.
        """
        mine = self._arrays
        expected: Arrays = {
            "memory.state": mine.state,
            "memory.slots": np.zeros(2, dtype=np.int32),
            "memory.pages": np.zeros(0, dtype=np.int32),
            "memory.words": np.zeros((0, PAGE), dtype=np.int32),
            "memory.uses": np.zeros(0, dtype=np.int32),
            "memory.places": np.zeros((0, 3), dtype=np.int32),
            "memory.units": np.zeros(0, dtype=self._type),
            "memory.weights": np.zeros((0, UNIT), dtype=np.float32),
        }
        for name, like in expected.items():
            if arrays[name].dtype != like.dtype or arrays[name].shape[1:] != like.shape[1:]:
                raise ValueError(saved.OTHER_TYPES)
        state, slots, numbers, pages, uses, pairs, units, weights = (arrays[name] for name in expected)
        n_slots, grows_at = (int(number) for number in slots)
        if state.shape != mine.state.shape or slots.shape != (2,) or n_slots > self._max_slots:
            raise ValueError(saved.OTHER_SHAPE)
        if not len(numbers) == len(pages) == len(uses) <= n_slots or len(units) != len(weights):
            raise ValueError(saved.INCONSISTENT)
        is_valid = saved.are_own(mine, state, numbers, pages, pairs) and saved.is_within(uses, 0, MAX_USES)
        if not is_valid or not saved.are_distinct(units, len(self._units)) or n_slots < 1 or grows_at < -1:
            raise ValueError(saved.OUT_OF_RANGE)
        merged = self._shared_weights.copy()
        merged.reshape(-1, UNIT)[units] = weights
        if not saved.are_weights(merged[: len(mine.weights)], len(mine.entries)):
            raise ValueError(saved.OUT_OF_RANGE)
        overlay = filled(new_overlay(n_slots, grows_at, _n_places(n_slots)), Parts(numbers, pages, uses), pairs)
        return ParkedMemory(state.copy(), overlay, units, weights)


def _n_places(n_slots: int) -> int:
    """For how many pairs of places an overlay of so many pages has space: the largest power of two up to that."""
    return 1 << (n_slots.bit_length() - 1)


def _padded(weights: F32) -> F32:
    """A copy whose length is a multiple of UNIT."""
    padded = np.zeros(-(-len(weights) // UNIT) * UNIT, dtype=np.float32)
    padded[: len(weights)] = weights
    return padded
