"""The memory of a predictor: its counts, the weights of its mixture, and its position in the text.

The mathematics is in `text`, `counts`, `matches`, `experts` and `mixture`, the form of a checkpoint in `saved`. Here is
how memories share their arrays. A memory is a base, the table and the history, and what it has changed: the pages of
its overlay, and weights of its own. Whoever is alone with a base has no overlay and writes to the base itself.

A fork shares the base, the overlay and the weights, until one of those that share them learns from a symbol. That one
then gets an overlay of its own: a copy of the shared one; or, if all that share the base share this overlay too, an
empty one, after the pages of the shared one were written to the base. So the overlay is *adopted* when nobody needs the
base without it any more, and *dropped* with the last one that has it. A snapshot is such a fork: to update it drops the
older fork, and what has changed since is adopted; to restore it drops what has changed.

A page is written to a base only with what all that share the base already have there, in their overlay. So this may be
interrupted and repeated, and each memory reads the same before, meanwhile and afterwards, in any thread.
"""

from __future__ import annotations

from weakref import WeakSet

import numpy as np

from ..checkpoint import Arrays
from ..jit.decorators import native
from ..kernels.arrays import F32, FILLED, I32, I64, PAGE, U8, Stream
from ..model import aligned_zeros
from ..vocabulary import Vocabulary
from . import layout, matches, mixture, saved
from .arrays import MemoryArrays, history_size
from .overlay import N_OWN, N_SLOTS, NO_OVERLAY, enlarged, is_full, merge, new_overlay
from .saved import sparse_copy
from .text import classify

EXPERTS = (
    *(f"order {order}" for order in range(1, layout.N_ORDERS)),
    *("word after word", "bracket", "above", "word", "field", "field above", "column", "shape"),
    *("skipped word", "network"),
)
"""The names of the experts, after the context that each predicts from. Fields are separated by white space or commas.

order 1 … 6       the last 1 … 6 symbols
word after word   the word so far, and the previous word
bracket           the innermost open bracket, quote or tag, the word before it, the word so far, and the last symbol
above             the symbol above the next one in the previous line, and the last symbol
word              the word so far
field             the number of the field, and its shape so far: its text with all digits treated as equal
field above       the number of the field, the text of the last field with that number, and the text so far
column            the position in the line, and the last symbol
shape             the shape of the field so far, and the previous word
skipped word      the word so far, and the word before the previous one
network           the LSTM
"""

REPORT = 2 * layout.N_EXPERTS
"""How many numbers `remember` reports of each symbol: the bits that each expert would have given it, and its weight."""

MAX_VOCABULARY = 65536
"""An entry of the table has 16 bits for the token."""

NO_REPORT = np.zeros(0, dtype=np.float32)
"""The `report` of a caller that needs none."""
NONE_MARKED = np.zeros(0, dtype=np.uint8)
"""The `marked` of a caller that does not stop at any token."""

NO_MEMORY = MemoryArrays(
    table=NO_OVERLAY,
    history=NO_OVERLAY,
    overlay=NO_OVERLAY,
    weights=NO_REPORT,
    state=np.zeros(0, dtype=np.int64),
    scratch=NO_REPORT,
    entries=NO_OVERLAY,
    char_classes=NO_OVERLAY,
)
"""What a kernel takes for a predictor without a memory."""

_FIRST_WEIGHTS = {False: (0.3, 0.4, 0.05), True: (0.6, 0.15, 0.03)}
"""The first mixing weights of the network, of order 6 and of each extra, by whether the network is trained."""

_FIRST_MATCH_WEIGHTS = (0.2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.2, 0.3, 0.5, 0.6, 1.0, 1.3, 1.6, 2.0, 2.0)
"""The first weights of a match that was not wrong of late, by the bucket of its length; 0.5 or 3 if it was."""


FIRST_SLOTS = 1024
"""For how many pages a new overlay has space."""

MAX_OVERLAY = 1 / 4
"""If more than this part of all pages is in the overlay, the memory gets a table and a history of its own."""

SPARSE = 1 / 16
"""If less than this part of all pages is in use, the memory of a file begins as an overlay over an empty table. So a
small file takes little memory, however large a table it claims: without huge pages each page of 64 bytes would take
4 kB, with them 2 MB."""

USUAL_PAGES = 1 << 20
"""A table of up to this many pages, that of the default `Config`, is filled when such an overlay is full: a fresh
predictor takes as much. A larger one is not before MAX_OVERLAY is reached."""

BYTES_PER_BYTE = 128
"""A larger table of up to this many bytes for each byte of its file is never in such an overlay, which takes 3 to 4 µs
more per symbol than a table. So a file of 1 MB does not fill a table of more than USUAL_PAGES."""


class Share:
    """A share in arrays that nobody changes while others have one too. It ends with this object.

    base  a share that ends after this one, however it ends: in what these arrays differ from
    """

    def __init__(self, base: Share | None = None, shares: WeakSet[Share] | None = None) -> None:
        self._base = base
        self._shares: WeakSet[Share] = WeakSet() if shares is None else shares
        self._shares.add(self)

    def another(self, base: Share | None = None) -> Share:
        """One more share in the same arrays."""
        return Share(base, self._shares)

    @property
    def count(self) -> int:
        """How many shares there are."""
        return len(self._shares)


class Memory:
    """Counts of what followed each context, and the mixture of their predictions with the network's.

    vocabulary  the symbols; it tells letters, digits and separators apart
    columns     the padded length of a distribution
    bits        the table has 2**bits pages of 64 bytes, and the history four symbols for each; they never grow
    trained     whether the network is trained: then its first weight in the mixture is larger

    `learning` says whether it learns from what it scores.

    Forks share what neither of them changes, as the module describes.
    """

    def __init__(self, vocabulary: Vocabulary, columns: int, bits: int, trained: bool) -> None:
        n_symbols = len(vocabulary)
        if n_symbols > MAX_VOCABULARY:
            raise ValueError(f"a memory supports at most {MAX_VOCABULARY} symbols; the vocabulary has {n_symbols}")
        self._arrays = MemoryArrays(
            table=np.zeros(PAGE << bits, dtype=np.int32),
            history=np.zeros(history_size(n_symbols, 1 << bits), dtype=np.int32),
            overlay=NO_OVERLAY,
            weights=_first_weights(n_symbols, trained),
            state=_first_state(),
            scratch=aligned_zeros(layout.scratch_size(columns)),
            entries=np.zeros(n_symbols, dtype=np.int32),
            char_classes=classify(vocabulary),
        )
        self._is_default = trained  # before it has seen anything: what a memory beside a trained network starts as
        self.learning = True
        self._remember = native(mixture.remember)
        self._base = Share()  # in the table and the history
        self._own = Share(self._base)  # in the overlay and the weights
        self._is_shared: bool | None = False  # whether the base is, as `_prepare` found it; None since a fork
        self._empty: Share | None = None  # keeps an empty base from being written to, see SPARSE

    # The kernels

    def mix(self, stream: Stream, slot: int) -> None:
        """Write the mixture's distribution of the next symbol to a slot of the tape."""
        self._remember(self._arrays, stream, NO_REPORT, NONE_MARKED, 0, slot, 0, False)

    def remember(
        self,
        stream: Stream,
        first: int,
        count: int,
        *,
        report: F32 = NO_REPORT,
        marked: U8 = NONE_MARKED,
        k: int = 0,
    ) -> int:
        """Score symbols that the network has read, and learn from them; returns how many. See `mixture.remember`."""
        n: int = self._remember(self.arrays(), stream, report, marked, k, first, count, self.learning)
        while n < count and self.make_space():
            rest = report[n * REPORT :]
            n += self._remember(self.arrays(), stream, rest, marked, k, first + n, count - n, self.learning)
        return n

    def remember_next(self, stream: Stream) -> float:
        """Score the symbol that the network has read last, and learn from it; returns its surprisal in bits."""
        first = stream.position.item(FILLED)
        self.remember(stream, first, 1)
        return stream.bits.item(first)

    def arrays(self) -> MemoryArrays:
        """The arrays, as the kernels take them to score symbols: if it learns, what they change is its own."""
        if self.learning and (self._base.count > 1) is not self._is_shared:
            self._prepare()
        return self._arrays

    @property
    def nbytes(self) -> int:
        """How many bytes the counts take at most; the system gives them memory as text is read."""
        return self._arrays.table.nbytes + self._arrays.history.nbytes

    # Sharing

    def _prepare(self) -> None:
        """Make the overlay and the weights its own, or the base if it is alone: see the module."""
        mine, n, n_own = self._arrays, self._base.count, self._own.count
        if n_own == n:
            merge(mine.overlay, mine.table, mine.history)
        if n == 1:
            self._arrays = mine._replace(overlay=NO_OVERLAY)
        elif n_own == n or mine.overlay is NO_OVERLAY:
            weights = mine.weights.copy() if n_own > 1 else mine.weights
            self._arrays = mine._replace(overlay=new_overlay(_n_slots_after(mine.overlay)), weights=weights)
        elif n_own > 1:
            self._arrays = mine._replace(overlay=mine.overlay.copy(), weights=mine.weights.copy())
        if n_own > 1:
            self._own = Share(self._base)
        self._is_shared = n > 1

    def without_overlay(self) -> None:
        """Have no overlay from now on, so that others may have one over the table and the history."""
        if self._arrays.overlay.size > 0:
            self._own_arrays()

    def make_space(self) -> bool:
        """Enlarge the overlay if a kernel has stopped because it is full; returns whether one had."""
        mine = self._arrays
        if not is_full(mine.overlay):
            return False
        n_slots = 2 * mine.overlay.item(N_SLOTS)
        most = MAX_OVERLAY * self._n_pages if self._empty is None or self._has_unusual_table else 0
        if n_slots > most:
            self._own_arrays()
        else:
            self._arrays = mine._replace(overlay=enlarged(mine.overlay, n_slots))
        return True

    @property
    def _n_pages(self) -> int:
        """The number of pages of the table and the history."""
        return (len(self._arrays.table) + len(self._arrays.history)) // PAGE

    @property
    def _has_unusual_table(self) -> bool:
        return len(self._arrays.table) // PAGE > USUAL_PAGES

    def _own_arrays(self) -> None:
        """Have a base of its own, a copy with the pages of the overlay in their places."""
        mine = self._arrays
        is_sparse = self._empty is not None and mine.overlay.item(N_OWN) < SPARSE * self._n_pages
        spread = is_sparse and self._has_unusual_table
        table, history = sparse_copy(mine.table, spread), sparse_copy(mine.history, spread)
        merge(mine.overlay, table, history)
        self._arrays = mine._replace(table=table, history=history, weights=mine.weights.copy(), overlay=NO_OVERLAY)
        base = Share()
        self._own, self._base, self._is_shared, self._empty = Share(base), base, False, None

    # Copies

    def _successor(self, arrays: MemoryArrays) -> Memory:
        """A memory with these arrays that takes the place of this one."""
        successor = object.__new__(type(self))
        successor.__dict__.update(self.__dict__)
        successor._arrays = arrays
        return successor

    def fork(self) -> Memory:
        """An independent copy, which shares what neither of the two changes."""
        self._is_shared = None
        copies = {name: getattr(self._arrays, name).copy() for name in ("state", "scratch", "entries")}
        twin = self._successor(self._arrays._replace(**copies))
        twin._base = self._base.another()
        twin._own = self._own.another(twin._base)
        return twin

    def with_learning(self, learning: bool) -> Memory:
        """The memory that takes the place of this one, and learns or does not."""
        successor = self._successor(self._arrays)
        successor.learning = learning
        return successor

    def restarted(self) -> Memory:
        """The memory that takes the place of this one at the beginning of another stream: it keeps the counts only."""
        mine, state = self._arrays, _first_state()
        starts = [layout.N_LEARNED, layout.LINE_START_LEARNED, layout.PREVIOUS_LINE_START_LEARNED]
        state[starts] = mine.state[layout.N_LEARNED]
        return self._successor(mine._replace(state=state, scratch=mine.scratch.copy()))

    # Checkpoints

    @property
    def is_new(self) -> bool:
        """Whether it has seen nothing yet."""
        state = self._arrays.state
        return not state[layout.N_SEEN] and not state[layout.N_LEARNED]

    @property
    def weights(self) -> F32:
        """A copy of the weights of the mixture."""
        return self._arrays.weights.copy()

    def begin_with(self, weights: F32) -> None:
        """Give a new memory other weights to begin with. Raises ValueError, with nothing changed, if they don't fit."""
        self._arrays, self._is_default = saved.with_first_weights(self._arrays, weights), False

    def to_arrays(self, *, whole: bool) -> Arrays:
        """The arrays of a checkpoint; of the table only the pages in use.

        whole  as equal memories have them: with what a memory that has seen nothing has by default, and with zeros for
               the part of the state that is computed anew
        """
        mine = self._arrays
        arrays = saved.to_arrays(mine)
        if whole:
            return arrays | {"memory.state": saved.without_computed(mine.state)}
        if not self.is_new:
            return arrays
        return {} if self._is_default else {"memory.weights": arrays["memory.weights"]}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take over what `to_arrays` returned. Raises ValueError, with nothing changed, if it does not fit."""
        n_bytes = sum(array.nbytes for array in arrays.values())
        is_large = self._has_unusual_table and self.nbytes > BYTES_PER_BYTE * n_bytes
        if "memory.state" in arrays:
            n_used = saved.n_pages_in(arrays)
            is_sparse = n_used < SPARSE * self._n_pages and (is_large or not self._has_unusual_table)
            mine = self._over_nothing(n_used) if is_sparse else self._arrays
            saved.load_arrays(mine, arrays)
            self._arrays, self._is_default = mine, False
            return
        if "memory.weights" in arrays:
            self.begin_with(arrays["memory.weights"])
        if is_large:
            self._arrays = self._over_nothing(0)

    def _over_nothing(self, n_used: int) -> MemoryArrays:
        """The arrays of a new memory with an overlay that has space for some pages and more: see SPARSE."""
        self._empty = self._base.another()
        return self._arrays._replace(overlay=new_overlay(n_used + n_used % 2 + FIRST_SLOTS))


def _n_slots_after(overlay: I32) -> int:
    """For how many pages the next overlay has space: twice what this one has used, so that it need not grow."""
    n_used = overlay.item(N_OWN) if overlay.size > 0 else 0
    return max(FIRST_SLOTS, 1 << (2 * n_used).bit_length())


def _first_weights(n_symbols: int, trained: bool) -> F32:
    """The weights of a new memory beside a trained or a fresh network."""
    weights = np.zeros(layout.weights_size(n_symbols), dtype=np.float32)
    experts = weights[layout.EXPERT_WEIGHTS : layout.MATCH_WEIGHTS].reshape(layout.N_EXPERTS, layout.EXPERT_BUCKETS)
    network, longest_order, extra = _FIRST_WEIGHTS[trained]
    experts[layout.LONGEST_ORDER - 1] = longest_order
    experts[layout.LONGEST_ORDER : layout.NETWORK] = extra
    experts[layout.NETWORK] = network
    by_strength = weights[layout.MATCH_WEIGHTS : layout.LATEST_WEIGHTS].reshape(-1, *matches.STRENGTHS, 2)
    by_strength[..., 0], by_strength[..., 1] = 0.5, 3
    by_strength[:, :, 0] = np.array(_FIRST_MATCH_WEIGHTS, dtype=np.float32)[:, None]
    matrices = weights[layout.CURVATURE : layout.ADJUSTMENTS].reshape(2, layout.N_EXPERTS, layout.N_EXPERTS)
    np.fill_diagonal(matrices[0], 1)
    np.fill_diagonal(matrices[1], 1 / (1 + mixture.DAMPING))
    return weights


def _first_state() -> I64:
    """The state at the beginning of a stream."""
    state = np.zeros(layout.STATE_SIZE, dtype=np.int64)
    state[layout.RECENT :] = -1
    for start in (layout.MATCH, layout.MATCH_TOKEN):
        state[start : start + layout.N_MATCHES] = -1
    return state
