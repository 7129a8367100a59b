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

from ..kernels.jit import native
from ..model import F32, aligned_zeros
from ..vocabulary import Tokens, Vocabulary
from . import contexts, mixture
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

SHARES = 2 * contexts.EXPERTS
"""How many numbers tell what the experts said of one symbol."""

LARGEST_VOCABULARY = 65536
"""An entry of a count has 16 bits for the token."""

_NO_TOKENS, _NO_BITS = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)

_TRUST = {False: (0.3, 0.4, 0.05), True: (0.6, 0.15, 0.03)}
"""The first weights of the network, of order 6 and of each extra, beside a fresh and beside a trained network."""


class Memory:
    """Counts of what followed each context, and the mixture that weighs them with the network.

    vocabulary  what the tokens mean: letters, digits, gaps and ends of lines are told by it
    columns     the room of a distribution
    bits        the table has 2**bits pages of 64 bytes; it never grows
    trained     whether the network beside it is trained: then it is trusted more at the start
    """

    def __init__(self, vocabulary: Vocabulary, columns: int, bits: int, trained: bool) -> None:
        if len(vocabulary) > LARGEST_VOCABULARY:
            raise ValueError(
                f"a memory takes at most {LARGEST_VOCABULARY} symbols, the vocabulary has {len(vocabulary)}"
            )
        self._table = np.zeros(PAGE << bits, dtype=np.int32)
        self._changed = np.zeros(0, dtype=np.int32)
        self._history = np.zeros(contexts.RING + contexts.HEADS, dtype=np.int32)
        self._weights = np.zeros(mixture.B + (mixture.ROWS + len(vocabulary)) * mixture.WIDTH, dtype=np.float32)
        trust = self._weights[mixture.A : mixture.M].reshape(contexts.EXPERTS, mixture.BUCKETS)
        network, longest, extra = _TRUST[trained]
        trust[contexts.NETWORK], trust[contexts.ORDERS - 2], trust[contexts.ORDERS - 1 : contexts.NETWORK] = (
            network,
            longest,
            extra,
        )
        self._weights[mixture.M : mixture.N] = 1
        spread = self._weights[mixture.H : mixture.B].reshape(2, contexts.EXPERTS, contexts.EXPERTS)
        for square, scale in zip(spread, (1, 1 / (1 + mixture.DAMPING)), strict=True):
            np.fill_diagonal(square, scale)
        self._as_made = trained  # what a memory beside trained weights is before it has seen anything
        self._kinds = _kinds(vocabulary)
        self._entries = np.zeros(len(vocabulary), dtype=np.int32)
        self._scratch = aligned_zeros(2 * contexts.CONTEXTS * columns + contexts.CONTEXTS + 3 * contexts.EXPERTS)
        self._state = _start()
        self._remember = native(mixture.remember)
        self._holders: WeakSet[Memory] = WeakSet(
            [self]
        )  # table, history and weights are copied before they change if there are more

    def mix(self, tape: F32, places: npt.NDArray[np.int64], first: int) -> None:
        """Write the mixture's distribution of the next symbol into slot `first` of a tape."""
        self.remember(tape, _NO_TOKENS, _NO_BITS, places, first, 0, False, _NO_BITS)

    def remember(
        self,
        tape: F32,
        tokens: Tokens,
        bits: F32,
        places: npt.NDArray[np.int64],
        first: int,
        count: int,
        learn: bool,
        shares: F32,
    ) -> None:
        """Score, learn and remember symbols that have flowed through the network; see `mixture.remember`."""
        self._remember(*self.arrays(learn), tape, tokens, bits, shares, places, first, count, learn)

    def arrays(self, learn: bool) -> tuple[npt.NDArray[Any], ...]:
        """The arrays that `mixture.remember` takes first; if it is to learn, they are this memory's own."""
        if learn and len(self._holders) > 1:
            self._table, self._history = self._table.copy(), self._history.copy()
            self._weights = self._weights.copy()
            self._holders.discard(self)
            self._holders = WeakSet([self])
        learned = (self._table, self._changed, self._history, self._weights)
        return (*learned, self._state, self._scratch, self._entries, self._kinds)

    def fork(self) -> Memory:
        """An independent copy, which shares the counts until one of the two learns."""
        twin = object.__new__(Memory)
        twin.__dict__.update(self.__dict__)
        self._holders.add(twin)
        twin._changed = self._changed[:0]
        twin._state, twin._scratch, twin._entries = self._state.copy(), self._scratch.copy(), self._entries.copy()
        return twin

    def note_changes(self) -> None:
        """From now on keep a list of the pages that change, for `become`."""
        self._changed = np.zeros(1 + 2 * (self._table.size // PAGE), dtype=np.int32)

    def become(self, other: Memory) -> None:
        """Be as `other`: a fork, or what this is a fork of. One of the two has noted its changes since they were alike.

        Only what has changed is copied, and the list is empty then.
        """
        table, _, history, weights, state, scratch, *_ = self.arrays(learn=True)
        changed = self._changed if self._changed.size else other._changed
        pages = changed[1 : 1 + changed[0]]
        table.reshape(-1, PAGE)[pages] = other._table.reshape(-1, PAGE)[pages]
        changed[1 + changed.size // 2 + pages] = changed[0] = 0
        learned = sorted(int(memory._state[contexts.LEARNED]) for memory in (self, other))
        recent = np.arange(max(learned[0], learned[1] - contexts.RING), learned[1]) % contexts.RING
        history[recent] = other._history[recent]
        history[contexts.RING :] = other._history[contexts.RING :]
        weights[:], state[:], scratch[:] = other._weights, other._state, other._scratch

    def reset(self) -> None:
        """Forget where in a stream it is, not what it has counted."""
        learned = self._state[contexts.LEARNED]
        self._state = _start()
        self._state[[contexts.LEARNED, contexts.LINE_LEARNED, contexts.LINE_BEFORE_LEARNED]] = learned

    @property
    def is_new(self) -> bool:
        """Whether it is what a memory beside a trained network starts as: then it need not be saved."""
        return self._as_made and not self._state[contexts.SEEN] and not self._state[contexts.LEARNED]

    def save(self) -> Arrays:
        """All of it as arrays: of the table only what is in use."""
        pages = self._table.reshape(-1, PAGE)
        places = np.flatnonzero(pages[:, CHECK]).astype(np.int32)
        pages = pages[places]
        heads = self._history[contexts.RING :]
        used = np.flatnonzero(heads).astype(np.int32)
        learned = min(int(self._state[contexts.LEARNED]), contexts.RING)
        return {
            "memory.pages": places,
            "memory.words": pages[_in_use(pages[:, USED] & 15)],
            "memory.lengths": (pages[:, USED] & 15).astype(np.uint8),
            "memory.history": self._history[:learned],
            "memory.heads": np.stack([used, heads[used]]),
            "memory.weights": self._weights,
            "memory.state": self._state,
        }

    def restore(self, arrays: Arrays) -> None:
        """Take what `save` gave. Raises ValueError where it does not fit this memory."""
        mine = self.save()
        if any(arrays[name].dtype != array.dtype or arrays[name].ndim != array.ndim for name, array in mine.items()):
            raise ValueError("its memory has other types of numbers")
        places, words, lengths, history, heads, weights, state = (arrays[name] for name in mine)
        if weights.shape != self._weights.shape or state.shape != self._state.shape or len(history) > contexts.RING:
            raise ValueError("its memory is of another vocabulary or version")
        in_use, pages = _in_use(lengths), np.zeros((len(places), PAGE), dtype=np.int32)
        if len(lengths) != len(places) or len(heads) != 2 or words.shape != (int(in_use.sum()),):
            raise ValueError("its memory does not hold together")
        pages[in_use] = words
        V, used, entries = len(self._entries), pages[:, USED], pages[:, ENTRIES:][in_use[:, ENTRIES:]]
        whole_numbers = state[[contexts.SEEN, contexts.LEARNED, contexts.LENGTH, contexts.FIELD]]
        whole = (
            _within(places, 0, self._table.size // PAGE - 1),
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
        self._table.reshape(-1, PAGE)[places] = pages
        self._history[: len(history)] = history
        self._history[contexts.RING + heads[0]] = heads[1]
        self._weights[:], self._state[:] = weights, state
        self._as_made = False


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
