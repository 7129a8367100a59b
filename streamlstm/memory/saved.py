"""A memory as the arrays of a checkpoint.

How a memory is turned into the arrays of a checkpoint, and back.

memory.pages    int32 [n]     the numbers of the pages of the table that are in use
memory.words    int32         the words of each of these pages up to its last entry, one page after the other
memory.lengths  uint8 [n]     the number of entries of each
memory.history  int32         the ring of the tokens learned from, as far as it is filled, see `matches`
memory.heads    int32 [2, m]  the places of its hash table that are in use, and what they contain
memory.weights  float32       see `layout`
memory.state    int64         see `layout`

Of a memory that has seen nothing there are only the weights, if they are not the default ones.

Large arrays that are zero for the most part: the system gives them memory only where they are written to.

So nothing here copies or writes what is zero: a model may have space for gigabytes of counts, and little text in it.
"""

import contextlib
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Arrays
from ..kernels.arrays import F32, I32, I64, PAGE
from ..ranges import Range, check_ranges
from . import layout
from .arrays import RING_PER_PAGE, MemoryArrays, n_ring_words, tokens_per_word
from .counts import ENTRIES, HEADER, TAG, page_ranges
from .matches import history_ranges
from .overlay import Parts, filled, parts

OTHER_TYPES = "its memory contains arrays of other types"
OTHER_SHAPE = "its memory was made for another vocabulary or by another version"
INCONSISTENT = "its memory is inconsistent: its arrays differ in length"
OUT_OF_RANGE = "its memory contains an out-of-range index or count"


_TYPES = {
    "memory.pages": (np.int32, 1),
    "memory.words": (np.int32, 1),
    "memory.lengths": (np.uint8, 1),
    "memory.history": (np.int32, 1),
    "memory.heads": (np.int32, 2),
    "memory.weights": (np.float32, 1),
    "memory.state": (np.int64, 1),
}
"""The type and the number of dimensions of each array."""


def to_arrays(memory: MemoryArrays) -> Arrays:
    """The arrays of a checkpoint, with the pages of the overlay in their places."""
    numbers = nonzero_places(memory.table[TAG:], PAGE)
    pages = memory.table.reshape(-1, PAGE)[numbers]
    ring, heads = _ring_and_heads(memory)
    ring = ring[: _n_history(memory, memory.state)]
    used_heads = nonzero_places(heads)
    places = np.stack([used_heads, heads[used_heads]])
    if memory.overlay.size > 0:
        own, n_pages, n_ring = (
            parts(memory.overlay),
            len(memory.table) // PAGE,
            (len(memory.history) - len(heads)) // PAGE,
        )
        kinds = np.searchsorted([n_pages, n_pages + n_ring], own.numbers, side="right")
        numbers, pages = _overlaid(numbers, pages, own.numbers[kinds == 0], own.words[kinds == 0])
        ring = _overlaid_ring(ring, own.numbers[kinds == 1] - n_pages, own.words[kinds == 1])
        places = _overlaid_places(places, own.numbers[kinds == 2] - n_pages - n_ring, own.words[kinds == 2])
    lengths = pages[:, HEADER] & 15
    return {
        "memory.pages": numbers,
        "memory.words": pages[_in_use(lengths)],
        "memory.lengths": lengths.astype(np.uint8),
        "memory.history": ring,
        "memory.heads": places,
        "memory.weights": memory.weights,
        "memory.state": memory.state,
    }


def _n_history(memory: MemoryArrays, state: I64) -> int:
    """How many words of the ring are filled in such a state."""
    ring, _ = _ring_and_heads(memory)
    return min(len(ring), -(-int(state[layout.N_LEARNED]) // tokens_per_word(len(memory.entries))))


def _overlaid(numbers: I32, pages: I32, own_numbers: I32, own_pages: I32) -> tuple[I32, I32]:
    """The pages in use of a table, in order, some of which are in an overlay."""
    is_own, is_used = np.isin(numbers, own_numbers), own_pages[:, TAG] != 0
    numbers = np.concatenate([numbers[~is_own], own_numbers[is_used]])
    pages = np.concatenate([pages[~is_own], own_pages[is_used]])
    order = np.argsort(numbers)
    return numbers[order], pages[order]


def _overlaid_ring(ring: I32, own_numbers: I32, own_pages: I32) -> I32:
    """The filled part of a ring, some of whose pages are in an overlay."""
    rows = np.zeros((-(-len(ring) // PAGE), PAGE), dtype=np.int32)
    rows.reshape(-1)[: len(ring)] = ring
    is_filled = own_numbers < len(rows)
    rows[own_numbers[is_filled]] = own_pages[is_filled]
    return rows.reshape(-1)[: len(ring)]


def _overlaid_places(places: I32, own_numbers: I32, own_pages: I32) -> I32:
    """The places in use of the hash table, in order, some of whose pages are in an overlay."""
    own = np.stack([(own_numbers[:, None] * PAGE + np.arange(PAGE, dtype=np.int32)).reshape(-1), own_pages.reshape(-1)])
    both = np.concatenate([places[:, ~np.isin(places[0] // PAGE, own_numbers)], own[:, own[1] != 0]], axis=1)
    ordered: I32 = both[:, np.argsort(both[0])]
    return ordered


def n_pages_in(arrays: Arrays) -> int:
    """At most how many pages the arrays of a checkpoint fill."""
    return arrays["memory.pages"].size + arrays["memory.history"].size // PAGE + 1 + arrays["memory.heads"].size // 2


def without_computed(state: I64) -> I64:
    """A copy of the state with zeros for what is computed anew from the rest before it is used."""
    state = state.copy()
    state[layout.COMPUTED] = 0
    return state


def load_arrays(memory: MemoryArrays, arrays: Arrays) -> None:
    """Write the arrays of a checkpoint to a new memory. Raises ValueError, with nothing changed, if they do not fit.

    The counts are written to the overlay if there is one, and to the table and the history otherwise.

    Kernels use what is stored as indices, without bounds checks: `layout`, `counts` and `matches` declare the ranges.
    """
    if any(arrays[name].dtype != dtype or arrays[name].ndim != ndim for name, (dtype, ndim) in _TYPES.items()):
        raise ValueError(OTHER_TYPES)
    numbers, words, lengths, history, heads, weights, state = (arrays[name] for name in _TYPES)
    ring, all_heads = _ring_and_heads(memory)
    if weights.shape != memory.weights.shape or state.shape != memory.state.shape or len(history) > len(ring):
        raise ValueError(OTHER_SHAPE)
    in_use = _in_use(lengths)
    if len(lengths) != len(numbers) or len(heads) != 2 or words.shape != (int(in_use.sum()),):
        raise ValueError(INCONSISTENT)
    if len(history) != _n_history(memory, state):  # a large N_LEARNED would make `to_arrays` write a large history
        raise ValueError(INCONSISTENT)
    pages = np.zeros((len(numbers), PAGE), dtype=np.int32)
    pages[in_use] = words
    declared = [
        *memory_ranges(memory, state, weights, pages, history, heads[1]),
        Range("the number of a page", numbers, 0, len(memory.table) // PAGE - 1),
        Range("the difference of two lengths of a page", (pages[:, HEADER] & 15) - lengths, 0, 0),
        Range("the index of a place", heads[0], 0, len(all_heads) - 1),
    ]
    check_ranges(declared, OUT_OF_RANGE)
    if memory.overlay.size > 0:
        _fill(memory, numbers, pages, history, heads)
    else:
        memory.table.reshape(-1, PAGE)[numbers] = pages
        ring[: len(history)] = history
        all_heads[heads[0]] = heads[1]
    memory.weights[:], memory.state[:] = weights, state


def _fill(memory: MemoryArrays, numbers: I32, pages: I32, history: I32, heads: I32) -> None:
    """Write the counts of a checkpoint to an overlay that has space for them."""
    last = len(numbers) - 1 - np.unique(numbers[::-1], return_index=True)[1]  # of equal numbers the last one counts
    n_ring = len(_ring_and_heads(memory)[0])
    words = np.concatenate([history, heads[1]])
    places = np.concatenate([np.arange(len(history)), n_ring + heads[0].astype(np.int64)])
    of_history, row = np.unique(places // PAGE, return_inverse=True)
    rows = np.zeros((len(of_history), PAGE), dtype=np.int32)
    rows[row, places % PAGE] = words
    own = Parts(
        np.concatenate([numbers[last], (len(memory.table) // PAGE + of_history).astype(np.int32)]),
        np.concatenate([pages[last], rows]),
        np.zeros(len(last) + len(rows), dtype=np.int32),
    )
    filled(memory.overlay, own, np.zeros((0, 3), dtype=np.int32))


def memory_ranges(
    memory: MemoryArrays, state: I64, weights: F32, pages: I32, ring: I32, heads: I32
) -> tuple[Range, ...]:
    """What the numbers may be that are stored of a memory like this one.

    pages  [n, PAGE]: pages of the table
    ring   words of the ring of tokens
    heads  words of its hash table
    """
    n_symbols, n_pages = len(memory.entries), len(memory.table) // PAGE
    return (
        *layout.state_ranges(state, n_symbols, RING_PER_PAGE * n_pages),
        *layout.weight_ranges(weights, n_symbols),
        *page_ranges(pages, n_symbols),
        *history_ranges(ring, heads, n_symbols, n_pages),
    )


def with_first_weights(memory: MemoryArrays, weights: F32) -> MemoryArrays:
    """A new memory that begins with other weights. Raises ValueError if they do not fit."""
    if weights.dtype != memory.weights.dtype:
        raise ValueError(OTHER_TYPES)
    if weights.shape != memory.weights.shape:
        raise ValueError(OTHER_SHAPE)
    check_ranges(layout.weight_ranges(weights, len(memory.entries)), OUT_OF_RANGE)
    return memory._replace(weights=weights.copy())


def _ring_and_heads(memory: MemoryArrays) -> tuple[I32, I32]:
    """Views of the two parts of the history."""
    n_words = n_ring_words(len(memory.entries), len(memory.table) // PAGE)
    return memory.history[:n_words], memory.history[n_words:]


def _in_use(lengths: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """bool [n, PAGE]: which words of n pages are in use; `lengths` are their numbers of entries."""
    in_use: npt.NDArray[np.bool_] = np.arange(PAGE) < ENTRIES + lengths.astype(np.int64)[:, None]
    return in_use


# Large arrays that are zero for the most part: the system gives them memory only where they are written to

BLOCK = 1 << 16
"""How many words are looked at at once, a multiple of a page."""


def spread_zeros(n_words: int) -> I32:
    """Zeros of which few will be written to, far from each other: the system gives 4 kB for each, not 2 MB.

    NumPy asks Linux for huge pages for large arrays, which are faster if all of an array is in use.
    """
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):
        return np.zeros(n_words, dtype=np.int32)
    memory = mmap.mmap(-1, 4 * n_words, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype=np.int32)


def used_blocks(array: I32) -> Iterator[tuple[int, I32]]:
    """The blocks of a flat array that are not zero, as views, each with its offset."""
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        if np.count_nonzero(block):
            yield start, block


def sparse_copy(array: I32, spread: bool = False) -> I32:
    """A copy of a flat array; `spread`: see `spread_zeros`."""
    copy = spread_zeros(len(array)) if spread else np.zeros(len(array), dtype=array.dtype)  # not zeros_like: it writes
    for start, block in used_blocks(array):
        copy[start : start + len(block)] = block
    return copy


def nonzero_places(array: I32, step: int = 1) -> I32:
    """Where every step-th word of a flat array is not zero, counted in steps; `step` divides BLOCK."""
    found = [start // step + np.flatnonzero(block[::step]) for start, block in used_blocks(array)]
    return np.concatenate([*found, np.zeros(0, dtype=np.int64)]).astype(np.int32)
