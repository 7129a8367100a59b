"""The memory of a predictor: what it has counted, how it weighs its experts, and where in its stream it is.

The mathematics is in `contexts`, `counts`, `experts` and `mixture`; here the arrays are made, shared between forks,
saved and restored.
"""

from __future__ import annotations

import string
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F32, U8, Stream
from ..kernels.jit import native
from ..model import aligned_zeros
from ..vocabulary import Tokens, Vocabulary
from . import contexts, mixture
from .arrays import MemoryArrays
from .counts import CHECK, ENTRIES, PAGE, ROOM, USED
from .experts import ORDER_LIMIT

Arrays = dict[str, npt.NDArray[Any]]

EXPERTS = (
    *(f"order {order}" for order in range(1, contexts.ORDERS)),
    *("word after word", "before and above", "above", "word", "field", "field above", "column", "shape"),
    *("skipped word", "network"),
)
"""The names of the experts, by what they know; a piece is what stands since the last gap: a space, tab or comma.

order 1 … 6       the last symbols
word after word   the word so far and the word before
before and above  the two symbols before the last, and the one above the next in the line before
above             that one, and the last symbol
word              the word so far
field             how many gaps the line has, and the shape of the piece, where digits are alike
field above       how many gaps, the piece that stood there last, and the piece so far
column            the place in the line, and the last symbol
shape             the shape of the piece, and the word before
skipped word      the word so far, and the one before the word before
network           the LSTM
"""

REPORT = 2 * contexts.EXPERTS
"""How many numbers report what the experts said of one symbol."""

LARGEST_VOCABULARY = 65536
"""An entry of a count has 16 bits for the token."""

_NOTHING_CHANGED = np.zeros(0, dtype=np.int32)
_NO_REPORT = np.zeros(0, dtype=np.float32)
_NOTHING_MARKED = np.zeros(0, dtype=np.uint8)

_TRUST = {False: (0.3, 0.4, 0.05), True: (0.6, 0.15, 0.03)}
"""The first weights of the network, of order 6 and of each extra, beside a fresh and beside a trained network."""


_NO_I32 = np.zeros(0, dtype=np.int32)
NO_MEMORY = MemoryArrays(
    table=_NO_I32,
    changed=_NO_I32,
    history=_NO_I32,
    weights=_NO_REPORT,
    state=np.zeros(0, dtype=np.int64),
    scratch=_NO_REPORT,
    entries=_NO_I32,
    kinds=_NO_I32,
)
"""What a kernel takes that may do without a memory."""


class Memory:
    """Counts of what followed each context, and the mixture that weighs them with the network.

    vocabulary  what the tokens mean: letters, digits, gaps and ends of lines are told by it
    columns     the length of a distribution, padded
    bits        the table has 2**bits pages of 64 bytes; it never grows
    trained     whether the network beside it is trained: then it is trusted more at the start
    """

    def __init__(self, vocabulary: Vocabulary, columns: int, bits: int, trained: bool) -> None:
        if len(vocabulary) > LARGEST_VOCABULARY:
            raise ValueError(
                f"a memory takes at most {LARGEST_VOCABULARY} symbols, the vocabulary has {len(vocabulary)}"
            )
        self._as_made = trained  # what a memory beside trained weights is before it has seen anything
        self._arrays = MemoryArrays(
            table=np.zeros(PAGE << bits, dtype=np.int32),
            changed=_NOTHING_CHANGED,
            history=np.zeros(contexts.RING + contexts.HEADS, dtype=np.int32),
            weights=_first_weights(len(vocabulary), trained),
            state=_start(),
            scratch=aligned_zeros(2 * contexts.CONTEXTS * columns + contexts.CONTEXTS + 3 * contexts.EXPERTS),
            entries=np.zeros(len(vocabulary), dtype=np.int32),
            kinds=_kinds(vocabulary),
        )
        self._remember = native(mixture.remember)
        self._holders: WeakSet[Memory] = WeakSet([self])  # of table, history and weights, which are copied before
        # they change if there are more

    def mix(self, stream: Stream, slot: int) -> None:
        """Write the mixture's distribution of the next symbol into a slot of the tape."""
        self._remember(self._arrays, stream, _NO_REPORT, _NOTHING_MARKED, 0, slot, 0, False)

    def remember(
        self,
        stream: Stream,
        first: int,
        count: int,
        learn: bool,
        report: F32 = _NO_REPORT,
        marked: U8 = _NOTHING_MARKED,
        k: int = 0,
    ) -> int:
        """Score, learn and remember symbols that the network has read; see `mixture.remember`. Returns how many."""
        n: int = self._remember(self.arrays(learn), stream, report, marked, k, first, count, learn)
        return n

    def arrays(self, learn: bool) -> MemoryArrays:
        """The arrays that the kernels take; if they are to learn, they are this memory's own."""
        if learn and len(self._holders) > 1:
            self._own_arrays()
        return self._arrays

    def _own_arrays(self) -> None:
        """Copy what is shared with forks."""
        mine, shared = self._arrays, self._holders
        table, history, weights = mine.table.copy(), mine.history.copy(), mine.weights.copy()
        self._arrays = mine._replace(table=table, history=history, weights=weights)
        self._holders = WeakSet([self])
        shared.discard(self)

    def fork(self) -> Memory:
        """An independent copy, which shares the counts until one of the two learns."""
        mine = self._arrays
        state, scratch, entries = mine.state.copy(), mine.scratch.copy(), mine.entries.copy()
        twin = object.__new__(Memory)
        twin.__dict__.update(self.__dict__)
        twin._arrays = mine._replace(changed=_NOTHING_CHANGED, state=state, scratch=scratch, entries=entries)
        self._holders.add(twin)
        return twin

    def restarted(self) -> Memory:
        """This memory at the beginning of another stream: it forgets where it is, not what it has counted."""
        twin = self.fork()
        state, learned = _start(), self._arrays.state[contexts.LEARNED]
        state[[contexts.LEARNED, contexts.LINE_LEARNED, contexts.LINE_BEFORE_LEARNED]] = learned
        twin._arrays = twin._arrays._replace(state=state, changed=self._arrays.changed)
        return twin

    def track_changes(self) -> None:
        """From now on keep a list of the pages that change, for `copy_from`."""
        changed = np.zeros(1 + 2 * (self._arrays.table.size // PAGE), dtype=np.int32)
        self._arrays = self._arrays._replace(changed=changed)

    def copy_from(self, other: Memory) -> None:
        """Become equal to a fork of this memory, or to the memory that this is a fork of.

        One of the two has tracked its changes since they were equal. Only what has changed is copied.
        """
        mine, theirs = self.arrays(learn=True), other._arrays
        changed = mine.changed if mine.changed.size else theirs.changed
        pages = changed[1 : 1 + changed[0]]
        mine.table.reshape(-1, PAGE)[pages] = theirs.table.reshape(-1, PAGE)[pages]
        changed[1 + changed.size // 2 + pages] = changed[0] = 0
        learned = sorted(int(arrays.state[contexts.LEARNED]) for arrays in (mine, theirs))
        recent = np.arange(max(learned[0], learned[1] - contexts.RING), learned[1]) % contexts.RING
        mine.history[recent] = theirs.history[recent]
        mine.history[contexts.RING :] = theirs.history[contexts.RING :]
        mine.weights[:], mine.state[:], mine.scratch[:] = theirs.weights, theirs.state, theirs.scratch

    @property
    def is_new(self) -> bool:
        """Whether it is what a memory beside a trained network starts as: then it need not be saved."""
        state = self._arrays.state
        return self._as_made and not state[contexts.SEEN] and not state[contexts.LEARNED]

    def to_arrays(self) -> Arrays:
        """All of it as arrays: of the table only what is in use."""
        pages = self._arrays.table.reshape(-1, PAGE)
        places = np.flatnonzero(pages[:, CHECK]).astype(np.int32)
        pages = pages[places]
        heads = self._arrays.history[contexts.RING :]
        used = np.flatnonzero(heads).astype(np.int32)
        learned = min(int(self._arrays.state[contexts.LEARNED]), contexts.RING)
        return {
            "memory.pages": places,
            "memory.words": pages[_in_use(pages[:, USED] & 15)],
            "memory.lengths": (pages[:, USED] & 15).astype(np.uint8),
            "memory.history": self._arrays.history[:learned],
            "memory.heads": np.stack([used, heads[used]]),
            "memory.weights": self._arrays.weights,
            "memory.state": self._arrays.state,
        }

    def load_arrays(self, arrays: Arrays) -> None:
        """Take over what `to_arrays` returned. Raises ValueError where it does not fit this memory."""
        mine = self.to_arrays()
        if any(arrays[name].dtype != array.dtype or arrays[name].ndim != array.ndim for name, array in mine.items()):
            raise ValueError("its memory has other types of numbers")
        places, words, lengths, history, heads, weights, state = (arrays[name] for name in mine)
        if (
            weights.shape != self._arrays.weights.shape
            or state.shape != self._arrays.state.shape
            or len(history) > contexts.RING
        ):
            raise ValueError("its memory is of another vocabulary or version")
        in_use, pages = _in_use(lengths), np.zeros((len(places), PAGE), dtype=np.int32)
        if len(lengths) != len(places) or len(heads) != 2 or words.shape != (int(in_use.sum()),):
            raise ValueError("its memory does not hold together")
        pages[in_use] = words
        V, used, entries = len(self._arrays.entries), pages[:, USED], pages[:, ENTRIES:][in_use[:, ENTRIES:]]
        whole_numbers = state[[contexts.SEEN, contexts.LEARNED, contexts.LENGTH, contexts.FIELD]]
        whole = (
            _within(places, 0, self._arrays.table.size // PAGE - 1),
            _within(lengths, 0, ROOM) and np.array_equal(used & 15, lengths) and _within(used >> 8, 0, V - 1),
            _within(entries & 0xFFFF, 0, V - 1) and _within(entries >> 16, 1, ORDER_LIMIT - 1),
            _within(history, 0, V - 1),
            _within(heads[0], 0, contexts.HEADS - 1) and _within(heads[1], 0, contexts.RING),
            _within(state[contexts.LAST :], -1, V - 1) and -1 <= state[contexts.GUESS] < V,
            -1 <= state[contexts.MATCH] < contexts.RING and 0 <= state[contexts.LAST_KINDS] < contexts.KINDS,
            0 <= state[contexts.LINE_BEFORE] <= state[contexts.LINE] <= state[contexts.SEEN],
            _within(whole_numbers, 0, 2**62) and weights[mixture.B :].reshape(-1, mixture.WIDTH)[:, -1].min() >= 0,
        )
        if not all(whole):
            raise ValueError("its memory points outside of itself")
        self._arrays.table.reshape(-1, PAGE)[places] = pages
        self._arrays.history[: len(history)] = history
        self._arrays.history[contexts.RING + heads[0]] = heads[1]
        self._arrays.weights[:], self._arrays.state[:] = weights, state
        self._as_made = False


def _first_weights(n_symbols: int, trained: bool) -> F32:
    """The mixture's weights beside a fresh or a trained network."""
    weights = np.zeros(mixture.B + (mixture.ROWS + n_symbols) * mixture.WIDTH, dtype=np.float32)
    trust = weights[mixture.A : mixture.M].reshape(contexts.EXPERTS, mixture.BUCKETS)
    network, longest, extra = _TRUST[trained]
    trust[contexts.NETWORK], trust[contexts.ORDERS - 2] = network, longest
    trust[contexts.ORDERS - 1 : contexts.NETWORK] = extra
    weights[mixture.M : mixture.N] = 1
    spread = weights[mixture.H : mixture.B].reshape(2, contexts.EXPERTS, contexts.EXPERTS)
    for square, scale in zip(spread, (1, 1 / (1 + mixture.DAMPING)), strict=True):
        np.fill_diagonal(square, scale)
    return weights


def _start() -> npt.NDArray[np.int64]:
    """The state of a stream of which nothing was seen."""
    state = np.zeros(contexts.STATE, dtype=np.int64)
    state[contexts.LAST :] = -1
    state[contexts.MATCH] = state[contexts.GUESS] = -1
    return state


def _within(numbers: npt.NDArray[Any], least: int, most: int) -> bool:
    return bool(least <= numbers.min(initial=most) and numbers.max(initial=least) <= most)


def _in_use(lengths: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which words of pages [n, 16] are in use, for pages with so many entries each."""
    in_use: npt.NDArray[np.bool_] = np.arange(PAGE) < ENTRIES + lengths.astype(np.int64)[:, None]
    return in_use


def _kinds(vocabulary: Vocabulary) -> Tokens:
    """What `contexts` calls kinds: letters are those of ASCII, and all that is above it."""
    if vocabulary.characters is None:
        codes = np.arange(256, dtype=np.int32)
    else:
        codes = np.array([ord(character) for character in vocabulary.characters], dtype=np.int32)
    kinds = np.full(len(codes), contexts.SIGN, dtype=np.int32)
    kinds[codes >= 128] = contexts.HIGH
    for kind, symbols in _ASCII.items():
        kinds[np.isin(codes, [ord(symbol) for symbol in symbols])] = kind
    letters = np.where(kinds == contexts.UPPER, codes + 32, codes)
    is_letter = np.isin(kinds, (contexts.LOWER, contexts.UPPER, contexts.HIGH))
    return kinds + 16 * np.where(is_letter, letters, 0).astype(np.int32)


_ASCII = {
    contexts.END_OF_LINE: "\n",
    contexts.GAP: " \t,",
    contexts.DIGIT: string.digits,
    contexts.LOWER: string.ascii_lowercase,
    contexts.UPPER: string.ascii_uppercase,
    contexts.POINT: ".;:'\"",
}
