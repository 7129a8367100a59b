"""How a memory is turned into the arrays of a checkpoint, and back.

memory.pages    int32 [n]     the numbers of the pages of the table that are in use
memory.words    int32         the words of each of these pages up to its last entry, one page after the other
memory.lengths  uint8 [n]     the number of entries of each
memory.history  int32         the ring of the tokens learned from, as far as it is filled, see `matches`
memory.heads    int32 [2, m]  the places of its hash table that are in use, and what they contain
memory.weights  float32       see `layout`
memory.state    int64         see `layout`

Of a memory that has seen nothing there are only the weights, if they are not the default ones.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..checkpoint import Arrays
from ..kernels.arrays import F32, I32, I64, PAGE
from . import layout
from .arrays import BYTE_SYMBOLS, RING_PER_PAGE, MemoryArrays, n_ring_words
from .counts import ENTRIES, HEADER, MAX_ENTRIES, TAG
from .experts import ORDER_LIMIT
from .overlay import Parts, filled, parts
from .sparse import nonzero_places

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
    return min(len(ring), -(-int(state[layout.N_LEARNED]) // _tokens_per_word(memory)))


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
    state[layout.MATCH_BUCKET : layout.SURPRISALS] = 0
    return state


def load_arrays(memory: MemoryArrays, arrays: Arrays) -> None:
    """Write the arrays of a checkpoint to a new memory. Raises ValueError, with nothing changed, if they do not fit.

    The counts are written to the overlay if there is one, and to the table and the history otherwise.

    Kernels use what is stored as indices, without bounds checks: so every number that is one is checked here.
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
    n_symbols, n_pages = len(memory.entries), len(memory.table) // PAGE
    ring_size = RING_PER_PAGE * n_pages
    if not (
        is_within(numbers, 0, n_pages - 1)
        and _are_pages(pages, lengths, n_symbols)
        and is_within(_unpacked(history, _tokens_per_word(memory)), 0, n_symbols - 1)
        and is_within(heads[0], 0, len(all_heads) - 1)
        and is_within(heads[1], 0, ring_size)
        and _is_state(state, n_symbols, ring_size)
        and are_weights(weights, n_symbols)
    ):
        raise ValueError(OUT_OF_RANGE)
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


def are_own(memory: MemoryArrays, state: I64, numbers: I32, pages: I32, pairs: I32) -> bool:
    """Whether these can be the state of a stream over this memory, and the pages and places in its overlay."""
    n_symbols, n_pages = len(memory.entries), len(memory.table) // PAGE
    n_words, ring_size = n_ring_words(n_symbols, n_pages), RING_PER_PAGE * n_pages
    is_ring = (numbers >= n_pages) & (numbers < n_pages + n_words // PAGE)
    counts, ring, heads = pages[numbers < n_pages], pages[is_ring], pages[numbers >= n_pages + n_words // PAGE]
    return (
        are_distinct(numbers, n_pages + len(memory.history) // PAGE)
        and _are_pages(counts, (counts[:, HEADER] & 15).astype(np.uint8), n_symbols)
        and is_within(_unpacked(ring.reshape(-1), _tokens_per_word(memory)), 0, n_symbols - 1)
        and is_within(heads, 0, ring_size)
        and is_within(pairs[:, 0], n_words, len(memory.history) - 2)
        and not (pairs[:, 0] & 1).any()
        and is_within(pairs[:, 1:], 0, ring_size)
        and _is_state(state, n_symbols, ring_size)
    )


def are_distinct(numbers: npt.NDArray[Any], n: int) -> bool:
    """Whether these are different numbers below n."""
    return is_within(numbers, 0, n - 1) and len(np.unique(numbers)) == len(numbers)


def load_first_weights(memory: MemoryArrays, weights: F32) -> None:
    """Write the weights that a new memory begins with. Raises ValueError, with nothing changed, if they do not fit."""
    if weights.dtype != memory.weights.dtype:
        raise ValueError(OTHER_TYPES)
    if weights.shape != memory.weights.shape:
        raise ValueError(OTHER_SHAPE)
    if not are_weights(weights, len(memory.entries)):
        raise ValueError(OUT_OF_RANGE)
    memory.weights[:] = weights


def are_weights(weights: F32, n_symbols: int) -> bool:
    """Whether these can be weights: a row of adjustments was used at least 0 times."""
    return bool(weights[layout.uses_at(n_symbols) :].min() >= 0)


def _tokens_per_word(memory: MemoryArrays) -> int:
    return 4 if len(memory.entries) <= BYTE_SYMBOLS else 2


def _ring_and_heads(memory: MemoryArrays) -> tuple[I32, I32]:
    """Views of the two parts of the history."""
    n_words = n_ring_words(len(memory.entries), len(memory.table) // PAGE)
    return memory.history[:n_words], memory.history[n_words:]


def _unpacked(words: I32, per_word: int) -> I32:
    """The tokens of the ring, of which each word holds so many."""
    width = 32 // per_word
    return (words[:, None] >> np.arange(0, 32, width, dtype=np.int32)) & np.int32(2**width - 1)


def _in_use(lengths: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """bool [n, PAGE]: which words of n pages are in use; `lengths` are their numbers of entries."""
    in_use: npt.NDArray[np.bool_] = np.arange(PAGE) < ENTRIES + lengths.astype(np.int64)[:, None]
    return in_use


def _are_pages(pages: I32, lengths: npt.NDArray[np.uint8], n_symbols: int) -> bool:
    """Whether these can be pages of a table; `lengths` are their numbers of entries."""
    headers, entries = pages[:, HEADER], pages[:, ENTRIES:]
    entries = entries[np.arange(MAX_ENTRIES) < lengths[:, None]]
    tokens, counts = entries & 0xFFFF, entries >> 16
    return (
        is_within(lengths, 0, MAX_ENTRIES)
        and np.array_equal(headers & 15, lengths)
        and is_within(headers >> 8, 0, n_symbols - 1)  # the latest token
        and is_within(tokens, 0, n_symbols - 1)
        and is_within(counts, 1, ORDER_LIMIT - 1)
    )


def _is_state(state: I64, n_symbols: int, ring_size: int) -> bool:
    """Whether this can be a state. What is not checked here is computed anew before it is used, or is a hash."""
    matches, lengths, misses, recoveries, tokens = state[layout.MATCH : layout.MATCH_BUCKET].reshape(5, -1)
    return bool(
        is_within(state[[layout.N_SEEN, layout.N_LEARNED, layout.FIELD, layout.DEPTH]], 0, 2**62)
        and is_within(matches, -1, ring_size - 1)
        and is_within(lengths, 0, 2**62)
        and is_within(recoveries, 0, 2**62)
        and is_within(misses, 0, 2**16 - 1)
        and is_within(tokens, -1, n_symbols - 1)
        and is_within(state[layout.OPEN : layout.RECENT : 2], 0, layout.N_BRACKETS - 1)
        and is_within(state[layout.RECENT :], -1, n_symbols - 1)
        and 0 <= state[layout.CLASS_HISTORY] < layout.N_CLASS_HISTORIES
        and 0 <= state[layout.SURPRISALS] < layout.N_SURPRISALS
        and 0 <= state[layout.PREVIOUS_LINE_START] <= state[layout.LINE_START] <= state[layout.N_SEEN]
    )


def is_within(numbers: npt.NDArray[Any], least: int, most: int) -> bool:
    """Whether all numbers are between these two, which are included."""
    return bool(least <= numbers.min(initial=most) and numbers.max(initial=least) <= most)
