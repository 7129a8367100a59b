"""The memory of one of many streams over a shared memory: in use, or parked until the stream goes on.

A parked memory has what the stream has changed, and nothing else: an overlay, and the delta of the weights, the words
in which they differ from the shared ones. An overlay holds MIN_SLOTS pages or, if those are more, one for every
SYMBOLS_PER_PAGE symbols that the stream has learned from, up to a limit. So a stream costs in proportion to what it has
learned.

A reader goes on with another stream and reads for it in one kernel: a call of a kernel lets another thread of Python
run, and has to wait for that thread at its end. So the fewer kernels they call, the less the threads of a pool wait for
each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..checkpoint import Arrays
from ..jit.decorators import entry, kernel, native
from ..kernels.arrays import F32, I32, I64, PAGE, U8, Stream
from ..kernels.network import forward, output_layer
from ..ranges import Range, check_ranges
from . import layout, saved
from .arrays import MemoryArrays, n_ring_words
from .memory import NO_REPORT, NONE_MARKED, Memory, Share
from .mixture import mix, remember
from .overlay import (
    GROWS_AT,
    N_SLOTS,
    Parts,
    enlarged,
    filled,
    is_full,
    new_overlay,
    overlay_ranges,
    parts,
    places,
)
from .text import set_contexts

FIRST_SLOTS, MIN_SLOTS, SYMBOLS_PER_PAGE = 32, 512, 4

ROW = 32
"""How many words of the weights share a word of marks."""


class Delta(NamedTuple):
    """The words in which an array differs from its base.

    marks  int32 [rows]: a bit for each word of a row, 1 if it differs; the first word has the lowest bit
    words  int32 [n]: what the array contains there, in order
    """

    marks: I32
    words: I32


@entry
def find_delta(array: I32, base: I32, marks: I32, words: I32):
    """Write the delta of an array, of whole rows, to `marks` and `words`, which have space for any.

    Returns how many words differ.
    """
    n = 0
    for row in range(marks.size):
        differs = np.int32(0)
        for j in range(row * ROW, (row + 1) * ROW):
            differs |= array[j] ^ base[j]
        mark = 0
        if differs != 0:
            for j in range(ROW):
                is_other = 1 if array[row * ROW + j] != base[row * ROW + j] else 0
                words[n] = array[row * ROW + j]
                mark |= is_other << j
                n += is_other
        marks[row] = mark
    return n


@kernel
def set_delta(array, base, marks, words):
    """Let an array differ from its base by a delta only."""
    for j in range(array.size):
        array[j] = base[j]
    n = 0
    for row in range(marks.size):
        if marks[row] != 0:
            for j in range(ROW):
                if (marks[row] >> j) & 1:
                    array[row * ROW + j] = words[n]
                    n += 1


@entry
def apply_delta(array: I32, base: I32, marks: I32, words: I32):
    """See `set_delta`."""
    set_delta(array, base, marks, words)


@entry
def resume_and_read(
    theta: F32,
    stream: Stream,
    memory: MemoryArrays,
    weights: I32,
    base: I32,
    marks: I32,
    words: I32,
    report: F32,
    marked: U8,
    count: int,
    learn: bool,
):
    """Give the weights of the mixture the delta `marks`, `words`, and read `count` symbols from the state in slot 0 on.

    weights  those of the memory, as int32; `base` is what the delta is one from
    report   empty, as `marked` is

    Returns the number of symbols done, as `mixture.remember` does.
    """
    set_delta(weights, base, marks, words)
    output_layer(theta, stream, 0, 1)
    set_contexts(memory.state)
    mix(memory, stream.tape, stream.layout, 0)
    if count == 0:
        return 0
    forward(theta, stream, 0, count, 1)
    return remember(memory, stream, report, marked, 0, 0, count, learn)


class DeltaArray:
    """An array that has one delta after another, all from the same base.

    base  float32 [n], which is copied

    values  float32 [n]
    words   the same as int32, in whole rows; `base`: what they are without a delta
    """

    def __init__(self, base: F32) -> None:
        self._n_rows = -(-len(base) // ROW)
        self.base, self.words, self._found = np.zeros((3, self._n_rows * ROW), dtype=np.int32)
        self.base[: len(base)] = self.words[: len(base)] = base.view(np.int32)
        self.values: F32 = self.words[: len(base)].view(np.float32)

    def delta(self) -> Delta:
        """The delta of the values."""
        marks = np.empty(self._n_rows, dtype=np.int32)
        n = native(find_delta)(self.words, self.base, marks, self._found)
        return Delta(marks, self._found[:n].copy())

    def apply(self, delta: Delta) -> None:
        """Let the values be those of a delta."""
        native(apply_delta)(self.words, self.base, *delta)

    def with_delta(self, delta: Delta) -> F32:
        """What the values would be with a delta."""
        words = np.empty_like(self.base)
        native(apply_delta)(words, self.base, *delta)
        return words[: len(self.values)].view(np.float32)

    def is_valid(self, delta: Delta) -> bool:
        """Whether a delta has a word for each mark, and no mark beyond the array."""
        marked = np.unpackbits(delta.marks.view(np.uint8), bitorder="little")
        is_within = len(marked) == len(self.words) and not marked[len(self.values) :].any()
        return is_within and int(marked.sum()) == len(delta.words)


class ParkedMemory(NamedTuple):
    """What the memory of a stream has of its own.

    state    int64       see `layout`
    overlay  int32       see `overlay`
    delta    of the weights, from the shared ones
    """

    state: I64
    overlay: I32
    delta: Delta

    @property
    def nbytes(self) -> int:
        """The number of bytes of all arrays."""
        return sum(array.nbytes for array in (self.state, self.overlay, *self.delta))

    def copy(self) -> ParkedMemory:
        """An independent copy."""
        return ParkedMemory(self.state.copy(), self.overlay.copy(), self.delta)

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
            "memory.marks": self.delta.marks,
            "memory.weights": self.delta.words.view(np.float32),
        }


class StreamMemory(Memory):
    """A memory that is that of one stream after another, each over the same shared memory.

    shared    the memory that all streams begin with; it must not change
    max_slots the most pages in the overlay of a stream
    """

    def __init__(self, shared: Memory, max_slots: int) -> None:
        self.__dict__.update(shared.fork().__dict__)
        self._shared = shared  # so that the base stays shared, and is not written to
        self._own, self._is_shared = Share(self._base), True
        self._max_slots = max_slots - max_slots % 2  # of two pages one gives way
        mine = self._arrays
        self._weights = DeltaArray(mine.weights)
        self._first_n_learned = int(mine.state[layout.N_LEARNED])
        n_slots = min(FIRST_SLOTS, max_slots)
        overlay = new_overlay(n_slots, self._grows_at(n_slots), _n_places(n_slots))
        self._arrays = mine._replace(weights=self._weights.values, overlay=overlay)

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
        return ParkedMemory(self._arrays.state, self._arrays.overlay, self._weights.delta())

    def resume(self, parked: ParkedMemory) -> None:
        """Become the memory of another stream, whose arrays it takes over."""
        self._weights.apply(parked.delta)
        self._arrays = self._arrays._replace(state=parked.state, overlay=parked.overlay)

    def resume_and_read(self, parked: ParkedMemory, theta: F32, stream: Stream, count: int) -> None:
        """`resume`, mix for the state in slot 0 of the tape, and read the `count` symbols that are on it.

        theta  the weights of the network
        """
        self._arrays = self._arrays._replace(state=parked.state, overlay=parked.overlay)
        mine = self._weights
        n = native(resume_and_read)(
            theta,
            stream,
            self._arrays,
            mine.words,
            mine.base,
            *parked.delta,
            NO_REPORT,
            NONE_MARKED,
            count,
            self.learning,
        )
        if n < count and self.make_space():
            self.remember(stream, n, count - n)

    def from_arrays(self, arrays: Arrays) -> ParkedMemory:
        """The memory of a snapshot, which is not checked."""
        n_slots, grows_at = (int(number) for number in arrays["memory.slots"])
        own = Parts(arrays["memory.pages"], arrays["memory.words"], arrays["memory.uses"])
        overlay = filled(new_overlay(n_slots, grows_at, _n_places(n_slots)), own, arrays["memory.places"])
        return ParkedMemory(arrays["memory.state"].copy(), overlay, _delta_of(arrays))

    def check(self, arrays: Arrays) -> None:
        """Raise KeyError or ValueError for arrays that are not those of a memory over the shared one.

        Kernels use what is stored as indices, without bounds checks: `overlay` and `saved.memory_ranges` declare the
        ranges.
        """
        mine = self._arrays
        expected: Arrays = {
            "memory.state": mine.state,
            "memory.slots": np.zeros(2, dtype=np.int32),
            "memory.pages": np.zeros(0, dtype=np.int32),
            "memory.words": np.zeros((0, PAGE), dtype=np.int32),
            "memory.uses": np.zeros(0, dtype=np.int32),
            "memory.places": np.zeros((0, 3), dtype=np.int32),
            "memory.marks": np.zeros(0, dtype=np.int32),
            "memory.weights": np.zeros(0, dtype=np.float32),
        }
        for name, like in expected.items():
            if arrays[name].dtype != like.dtype or arrays[name].shape[1:] != like.shape[1:]:
                raise ValueError(saved.OTHER_TYPES)
        state, slots, numbers, pages, uses, pairs, *_ = (arrays[name] for name in expected)
        if state.shape != mine.state.shape or slots.shape != (2,) or slots[0] > self._max_slots:
            raise ValueError(saved.OTHER_SHAPE)
        delta = _delta_of(arrays)
        if not len(numbers) == len(pages) == len(uses) <= slots[0] or not self._weights.is_valid(delta):
            raise ValueError(saved.INCONSISTENT)
        declared = self._ranges(state, slots, Parts(numbers, pages, uses), pairs, self._weights.with_delta(delta))
        check_ranges(declared, saved.OUT_OF_RANGE)

    def _ranges(self, state: I64, slots: I32, own: Parts, pairs: I32, weights: F32) -> list[Range]:
        """What the numbers of a stream over this memory may be."""
        mine, n_pages = self._arrays, len(self._arrays.table) // PAGE
        n_words = n_ring_words(len(mine.entries), n_pages)
        first_head = n_pages + n_words // PAGE
        ring = own.words[(own.numbers >= n_pages) & (own.numbers < first_head)]
        heads = np.concatenate([own.words[own.numbers >= first_head].reshape(-1), pairs[:, 1:].reshape(-1)])
        return [
            *overlay_ranges(
                slots,
                own,
                pairs,
                self._max_slots,
                n_pages + len(mine.history) // PAGE,
                range(n_words, len(mine.history), 2),
            ),
            *saved.memory_ranges(mine, state, weights, own.words[own.numbers < n_pages], ring, heads),
        ]


def _delta_of(arrays: Arrays) -> Delta:
    """The delta of the weights in a snapshot."""
    return Delta(arrays["memory.marks"], arrays["memory.weights"].view(np.int32))


def _n_places(n_slots: int) -> int:
    """For how many pairs of places an overlay of so many pages has space: the largest power of two up to that."""
    return 1 << (n_slots.bit_length() - 1)
