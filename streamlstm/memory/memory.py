"""The memory of a predictor: its counts, the weights of its mixture, and its position in the text.

The mathematics is in `contexts`, `counts`, `experts` and `mixture`. Here the arrays are created, shared between forks,
and restored. `saved` turns them into those of a checkpoint and back.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import ReferenceType, WeakSet, ref

import numpy as np

from ..checkpoint import Arrays
from ..jit.decorators import native
from ..kernels.arrays import F32, FILLED, I64, PAGE, U8, Stream
from ..model import aligned_zeros
from ..vocabulary import Vocabulary
from . import layout, matches, mixture, saved
from .arrays import MemoryArrays, history_size
from .overlay import N_OWN, N_SLOTS, NO_OVERLAY, enlarged, is_full, merge, new_overlay
from .saved import sparse_copy
from .text import classify
from .undo import N_RECORDS, NO_UNDO, UndoLog, write_back

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
NO_ACCOUNT = np.zeros(0, dtype=np.uint8)
"""The `written` of a memory that keeps no account of what it writes to."""

NO_MEMORY = MemoryArrays(
    table=NO_UNDO,
    history=NO_UNDO,
    undo=NO_UNDO,
    overlay=NO_OVERLAY,
    weights=NO_REPORT,
    written=NO_ACCOUNT,
    state=np.zeros(0, dtype=np.int64),
    scratch=NO_REPORT,
    entries=NO_UNDO,
    char_classes=NO_UNDO,
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


USUAL_PAGES = 1 << 20
"""A table of more pages than this is larger than that of the default `Config`."""

SMALL_PAGES = 1 << 18
"""A table of up to this many pages is small enough to be filled whatever is in it."""

SPARSE = 1 / 16
"""If less than this part of all pages is in use, the memory of a file begins as an overlay over an empty table. So a
small file takes little memory, however large a table it claims: without huge pages each page of 64 bytes would take
4 kB, with them 2 MB. A table up to USUAL_PAGES is filled as soon as a text is read: a fresh predictor takes as much. A
larger one of up to BYTES_PER_BYTE bytes for each of the file is never in an overlay."""

BYTES_PER_BYTE = 128
"""See SPARSE. So a file of 1 MB never fills a table of more than USUAL_PAGES, and an overlay, which is slower, is for
tables that are far too large for their file."""

MOST_SPARSE = 1 << 18
"""How many pages are kept in such an overlay in any case; an overlay takes 3 to 4 µs more per symbol than a table."""


class CapturedMemory(NamedTuple):
    """What is copied of a memory so that it can be restored; the rest is in the undo log, or in a fork."""

    weights: F32
    state: I64
    scratch: F32
    learning: bool
    twin: Memory | None = None


class _Holder:
    """Stands for one predictor's memory among those that share arrays."""


class Memory:
    """Counts of what followed each context, and the mixture of their predictions with the network's.

    vocabulary  the symbols; it tells letters, digits and separators apart
    columns     the padded length of a distribution
    bits        the table has 2**bits pages of 64 bytes, and the history four symbols for each; they never grow
    trained     whether the network is trained: then its first weight in the mixture is larger

    `learning` says whether it learns from what it scores.

    Forks share the table, the history and the weights until one of them learns; then it has an overlay with the pages
    that it has changed, and weights of its own.
    """

    def __init__(self, vocabulary: Vocabulary, columns: int, bits: int, trained: bool) -> None:
        n_symbols = len(vocabulary)
        if n_symbols > MAX_VOCABULARY:
            raise ValueError(f"a memory supports at most {MAX_VOCABULARY} symbols; the vocabulary has {n_symbols}")
        self._arrays = MemoryArrays(
            table=np.zeros(PAGE << bits, dtype=np.int32),
            history=np.zeros(history_size(n_symbols, 1 << bits), dtype=np.int32),
            undo=NO_UNDO,
            overlay=NO_OVERLAY,
            weights=_first_weights(n_symbols, trained),
            written=NO_ACCOUNT,
            state=_first_state(),
            scratch=aligned_zeros(layout.scratch_size(columns)),
            entries=np.zeros(n_symbols, dtype=np.int32),
            char_classes=classify(vocabulary),
        )
        self._is_default = trained  # before it has seen anything: what a memory beside a trained network starts as
        self.learning = True
        self._remember = native(mixture.remember)
        self._holder = _Holder()
        self._holders: WeakSet[_Holder] = WeakSet([self._holder])
        self._log: ReferenceType[UndoLog] | None = None
        self._must_write_back = False  # set by `restored`
        self._empty: _Holder | None = None  # holds the empty table that a sparse memory shares, see SPARSE
        self._is_spread = False  # whether few places of the table and the history are in use, see `spread_zeros`

    # The kernels

    def mix(self, stream: Stream, slot: int) -> None:
        """Write the mixture's distribution of the next symbol to a slot of the tape."""
        self._remember(self._unchanged(), stream, NO_REPORT, NONE_MARKED, 0, slot, 0, False)

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
        if self._must_write_back:
            self.finish_restore()
        if self.learning:
            if self._log is not None and self._log() is None:  # no one holds the log any more
                self._arrays, self._log = self._arrays._replace(undo=NO_UNDO), None
            if (len(self._holders) > 1) != (self._arrays.overlay is not NO_OVERLAY):
                self._set_overlay()
        return self._arrays

    def _unchanged(self) -> MemoryArrays:
        """The arrays for reading."""
        if self._must_write_back:
            self.finish_restore()
        return self._arrays

    @property
    def nbytes(self) -> int:
        """How many bytes the counts take at most; the system gives them memory as text is read."""
        return self._arrays.table.nbytes + self._arrays.history.nbytes

    # Sharing

    @property
    def _is_shared(self) -> bool:
        """Whether forks share the table and the history: then they do not change."""
        return len(self._holders) > 1

    def _set_overlay(self) -> None:
        """Begin an overlay if there are forks now, or end it if there are none any more."""
        mine = self._arrays
        if mine.overlay.size > 0 or mine.undo.size > 0:
            self._without_overlay()
        else:
            overlay, weights = new_overlay(FIRST_SLOTS), mine.weights.copy()
            self._arrays = mine._replace(overlay=overlay, weights=weights)

    def merge_overlay(self) -> None:
        """Have no overlay from now on, so that others may have one over the table and the history."""
        if self._unchanged().overlay.size > 0:
            self._without_overlay()

    def _without_overlay(self) -> MemoryArrays:
        """Write the pages of the overlay to arrays that are not shared."""
        mine = self._arrays
        if self._is_shared:
            self._own_arrays()
        else:
            merge(mine.overlay, mine.table, mine.history)
            self._arrays = mine._replace(overlay=NO_OVERLAY)
        return self._arrays

    def make_space(self) -> bool:
        """Enlarge the overlay if a kernel has stopped because it is full; returns whether one had."""
        mine = self._arrays
        if not is_full(mine.overlay):
            return False
        n_slots = 2 * mine.overlay.item(N_SLOTS)
        if n_slots > self._most_slots:
            self._own_arrays()
        else:
            self._arrays = mine._replace(overlay=enlarged(mine.overlay, n_slots))
        return True

    @property
    def _n_pages(self) -> int:
        """The number of pages of the table and the history."""
        return (len(self._arrays.table) + len(self._arrays.history)) // PAGE

    @property
    def _most_slots(self) -> float:
        """For how many pages an overlay may have space at most."""
        if self._empty is None:
            return MAX_OVERLAY * self._n_pages
        return max(MOST_SPARSE, SPARSE * self._n_pages) if self._has_unusual_table else 0

    @property
    def _has_unusual_table(self) -> bool:
        return len(self._arrays.table) // PAGE > USUAL_PAGES

    @property
    def _is_sparse(self) -> bool:
        """Whether its table is large and hardly used: see SPARSE."""
        return self._has_unusual_table and (self._empty is not None or self._is_spread)

    def _own_arrays(self) -> None:
        """Copy the arrays that are shared with forks."""
        mine, shared = self._arrays, self._holders
        is_sparse = self._empty is not None and mine.overlay.item(N_OWN) < SPARSE * self._n_pages
        self._is_spread = is_sparse and self._has_unusual_table
        self._arrays = _merged(mine, self._is_spread)
        self._holders, self._empty = WeakSet([self._holder]), None
        shared.discard(self._holder)

    # Copies

    def _successor(self, arrays: MemoryArrays) -> Memory:
        """A memory with these arrays that takes the place of this one."""
        successor = object.__new__(type(self))
        successor.__dict__.update(self.__dict__)
        successor._arrays = arrays
        return successor

    def fork(self) -> Memory:
        """An independent copy, which shares the counts that neither of the two changes."""
        mine = self._unchanged()
        copies = {name: getattr(mine, name).copy() for name in ("state", "scratch", "entries")}
        if mine.overlay.size > 0:
            copies |= {"overlay": mine.overlay.copy(), "weights": mine.weights.copy()}
        twin = self._successor(mine._replace(undo=NO_UNDO, **copies))
        twin._holder, twin._log = _Holder(), None
        self._holders.add(twin._holder)
        return twin

    def with_learning(self, learning: bool) -> Memory:
        """The memory that takes the place of this one, and learns or does not."""
        successor = self._successor(self._unchanged())
        successor.learning = learning
        return successor

    def restarted(self) -> Memory:
        """The memory that takes the place of this one at the beginning of another stream: it keeps the counts only."""
        mine, state = self._unchanged(), _first_state()
        starts = [layout.N_LEARNED, layout.LINE_START_LEARNED, layout.PREVIOUS_LINE_START_LEARNED]
        state[starts] = mine.state[layout.N_LEARNED]
        return self._successor(mine._replace(state=state, scratch=mine.scratch.copy()))

    # Undo

    def log_changes(self) -> UndoLog:
        """Log all changes from now on, for `restored`; an earlier log ends."""
        mine = self._unchanged()
        if self._is_sparse:  # a log of a large table takes much memory too; a fork copies what is in the overlay
            log = UndoLog(0)
            self._log = ref(log)
            return log
        if mine.overlay.size > 0:
            mine = self._without_overlay()
        log = UndoLog(self._n_pages)
        self._log = ref(log)
        self._arrays = mine._replace(undo=log.array)
        return log

    def captured(self, log: UndoLog) -> CapturedMemory:
        """What `restored` needs beside the log. Raises ValueError if the log has ended."""
        self._require(log)
        mine = self._unchanged()
        twin = self.fork() if mine.undo.size == 0 else None
        return CapturedMemory(mine.weights.copy(), mine.state.copy(), mine.scratch.copy(), self.learning, twin)

    def restored(self, captured: CapturedMemory, log: UndoLog) -> Memory:
        """The memory that takes the place of this one, equal to what it was when the log's epoch began.

        captured  what `captured` returned at that time

        The pages of the log are written back at once by `finish_restore`, or by whatever uses the memory next.
        Raises ValueError if the log has ended.
        """
        self._require(log)
        if captured.twin is not None:
            successor = captured.twin.fork()
            successor.learning, successor._log = captured.learning, self._log
            return successor
        copies = {name: getattr(captured, name).copy() for name in ("weights", "state", "scratch")}
        successor = self._successor(self._arrays._replace(**copies))
        successor.learning, successor._must_write_back = captured.learning, True
        return successor

    def finish_restore(self) -> None:
        """Write back the pages of the log, if this memory was restored. It may be repeated after an interrupt."""
        if self._must_write_back:
            if self._arrays.undo.item(N_RECORDS) and len(self._holders) > 1:
                self._own_arrays()
            write_back(self._arrays.undo, self._arrays.table, self._arrays.history)
            self._must_write_back = False

    def _require(self, log: UndoLog) -> None:
        if self._log is None or self._log() is not log:
            raise ValueError("this snapshot is not valid any more: a newer snapshot of the predictor was made")

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
        saved.load_first_weights(self.arrays(), weights)
        self._is_default = False

    def to_arrays(self, *, whole: bool) -> Arrays:
        """The arrays of a checkpoint; of the table only the pages in use.

        whole  as equal memories have them: with what a memory that has seen nothing has by default, and with zeros for
               the part of the state that is computed anew
        """
        mine = self._unchanged()
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
            n_used, n_pages = saved.n_pages_in(arrays), len(self._arrays.table) // PAGE
            is_sparse = n_used < SPARSE * self._n_pages and (is_large or SMALL_PAGES < n_pages <= USUAL_PAGES)
            mine = self._over_nothing(n_used) if is_sparse else self.arrays()
            saved.load_arrays(mine, arrays)
            self._arrays, self._is_default = mine, False
            return
        if "memory.weights" in arrays:
            self.begin_with(arrays["memory.weights"])
        if is_large:
            self._arrays = self._over_nothing(0)

    def _over_nothing(self, n_used: int) -> MemoryArrays:
        """The arrays of a new memory with an overlay that has space for some pages and more: see SPARSE."""
        self._empty = _Holder()
        self._holders.add(self._empty)
        return self._arrays._replace(overlay=new_overlay(n_used + n_used % 2 + FIRST_SLOTS))


def _merged(arrays: MemoryArrays, spread: bool) -> MemoryArrays:
    """Copies of all that may be shared, with the pages of the overlay in their places; `spread`: see `sparse_copy`."""
    table, history = sparse_copy(arrays.table, spread), sparse_copy(arrays.history, spread)
    weights = arrays.weights.copy()
    if arrays.overlay.size > 0:
        merge(arrays.overlay, table, history)
    return arrays._replace(table=table, history=history, weights=weights, overlay=NO_OVERLAY)


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
