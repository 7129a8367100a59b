"""An overlay: the pages of a memory's table and history that a fork has changed, while it shares all others.

A page is PAGE words. Before a kernel writes to a page of shared arrays, it copies the page to the overlay; from then on
this memory reads and writes the copy. So a fork costs what it has changed.

As long as an overlay may not grow and has no space left, a page gives way to each new one: the memory then reads again
what the shared page contains. It is one of two, chosen by the number of the new page: the one that was written to less
often. The other one counts as written to once less.

The places of the matches are spread over the history: hardly two of them lie on one page. An overlay may have space for
N_PLACES pairs of them, each under its index in the history; a pair gives way to another one with the same hash. Without
such space they are in the pages.

A kernel that knows that nothing is shared passes None as the overlay to the kernels that it calls: they are then
compiled without it. Otherwise a predictor alone would take 3 % more time where only its memory learns.

overlay  int32 [0] if nothing is shared, or
    N_SLOTS, N_OWN   the number of pages that there is space for, and of those in use
    GROWS_AT         after how many thousands of symbols (1,024) it may grow; -1 for never
    INDEX_MASK       the length of the index, a power of two, minus 1
    IS_FULL          1 once a kernel has stopped because it must grow
    N_PLACES         the number of pairs of places, a power of two or 0
    then, from PAGE on,
    [N_SLOTS, PAGE]  the pages
    [N_SLOTS]        their numbers: those of the table first, then those of the history
    [N_SLOTS]        their numbers of uses
    [INDEX_MASK + 1] the index, a hash table with linear probing: place of the page + 1, or 0
    [N_PLACES, 3]    for each pair: its index in the history, 0 if there is none, and the two places
"""

from typing import NamedTuple

import numpy as np

from ..jit.decorators import entry, kernel, native, plain
from ..jit.intrinsics import address_of
from ..kernels.arrays import I32, PAGE
from ..ranges import Range

N_SLOTS, N_OWN, GROWS_AT, INDEX_MASK, IS_FULL, N_PLACES = range(6)
MAX_USES = 255
NUMBER_FACTOR = 0x9E3779B1

NO_OVERLAY = np.zeros(0, dtype=np.int32)


@kernel
def numbers_at(overlay):
    """Where the numbers of the pages begin."""
    return PAGE * (1 + overlay[N_SLOTS])


@kernel
def uses_at(overlay):
    """Where the numbers of uses begin."""
    return numbers_at(overlay) + overlay[N_SLOTS]


@kernel
def index_at(overlay):
    """Where the index begins."""
    return uses_at(overlay) + overlay[N_SLOTS]


@kernel
def hashed(number):
    """A hash of the number of a page, or of an index in the history."""
    return (number * NUMBER_FACTOR) >> 15


@kernel
def home(overlay, number):
    """The place in the index at which the search for a page begins."""
    return hashed(number) & overlay[INDEX_MASK]


@kernel
def slot_of(overlay, number):
    """The slot of a page, or -1 if it is not in the overlay."""
    index, i = index_at(overlay), home(overlay, number)
    while True:
        slot = overlay[index + i] - 1
        if slot < 0 or overlay[numbers_at(overlay) + slot] == number:
            return slot
        i = (i + 1) & overlay[INDEX_MASK]


@kernel
def add_to_index(overlay, number, slot):
    """Enter a page into the index."""
    index, i = index_at(overlay), home(overlay, number)
    while overlay[index + i] > 0:
        i = (i + 1) & overlay[INDEX_MASK]
    overlay[index + i] = slot + 1


@kernel
def remove_from_index(overlay, number):
    """Remove a page from the index, and move back those that a search would not find any more."""
    index, mask, numbers = index_at(overlay), overlay[INDEX_MASK], numbers_at(overlay)
    gap = home(overlay, number)
    while overlay[numbers + overlay[index + gap] - 1] != number:
        gap = (gap + 1) & mask
    i = gap
    while True:
        i = (i + 1) & mask
        slot = overlay[index + i] - 1
        if slot < 0:
            overlay[index + gap] = 0
            return
        if ((i - home(overlay, overlay[numbers + slot])) & mask) >= ((i - gap) & mask):
            overlay[index + gap] = slot + 1
            gap = i


@kernel
def free_slot(overlay, number):
    """A slot for a new page: an unused one, or that of a page which gives way."""
    if overlay[N_OWN] < overlay[N_SLOTS]:
        overlay[N_OWN] += 1
        return overlay[N_OWN] - 1
    uses, slot = uses_at(overlay), hashed(number) % overlay[N_SLOTS]
    other = slot ^ 1
    if overlay[uses + other] < overlay[uses + slot]:
        slot, other = other, slot
    if overlay[uses + other] > 0:
        overlay[uses + other] -= 1
    remove_from_index(overlay, overlay[numbers_at(overlay) + slot])
    return slot


@kernel
def readable(overlay, array, first, at):
    """The address at which to read the page that begins at array[at]; `first`: the number of the array's first page."""
    if overlay is None or overlay.size == 0:
        return address_of(array, at)
    slot = slot_of(overlay, first + at // PAGE)
    return address_of(overlay, (1 + slot) * PAGE) if slot >= 0 else address_of(array, at)


@kernel
def writable(overlay, array, first, at):
    """The address at which to write to the page that begins at array[at]; the next call may end its validity."""
    if overlay is None or overlay.size == 0:
        return address_of(array, at)
    number = first + at // PAGE
    slot = slot_of(overlay, number)
    if slot < 0:
        slot = free_slot(overlay, number)
        overlay[numbers_at(overlay) + slot] = number
        overlay[uses_at(overlay) + slot] = 0
        add_to_index(overlay, number, slot)
        for j in range(PAGE):
            overlay[(1 + slot) * PAGE + j] = array[at + j]
    uses = uses_at(overlay) + slot
    overlay[uses] = min(overlay[uses] + 1, MAX_USES)
    return address_of(overlay, (1 + slot) * PAGE)


@kernel
def places_at(overlay, at):
    """Where the overlay has the pair of places that begins at history[at], or where another pair is in its place."""
    return index_at(overlay) + overlay[INDEX_MASK] + 1 + 3 * (hashed(at) & (overlay[N_PLACES] - 1))


@kernel
def has_places(overlay):
    """Whether the overlay has space for pairs of places."""
    return overlay.size > 0 and overlay[N_PLACES] > 0


@kernel
def may_grow(overlay, n_learned):
    """Whether the overlay may grow, after so many symbols were learned from: else pages give way."""
    return 0 <= overlay[GROWS_AT] <= n_learned >> 10


@kernel
def n_free(overlay):
    """How many more pages there is space for."""
    return overlay[N_SLOTS] - overlay[N_OWN]


@entry
def fill_index(overlay: I32):
    """Enter all pages into an empty index."""
    for slot in range(overlay[N_OWN]):
        add_to_index(overlay, overlay[numbers_at(overlay) + slot], slot)


def is_full(overlay: I32) -> bool:
    """Whether a kernel has stopped because the overlay must grow."""
    return len(overlay) > 0 and overlay.item(IS_FULL) == 1


class Parts(NamedTuple):
    """The pages in use: their numbers [n], their words [n, PAGE] and their numbers of uses [n]."""

    numbers: I32
    words: I32
    uses: I32


def overlay_ranges(slots: I32, own: Parts, pairs: I32, most_slots: int, n_pages: int, heads: range) -> list[Range]:
    """What the numbers of an overlay may be that is made of these parts.

    slots       N_SLOTS and GROWS_AT
    pairs       [n, 3]: the pairs of places
    most_slots  the most pages that there may be space for
    n_pages     the number of pages of the table and the history
    heads       where in the history the pairs of places may be
    """
    n, n_slots, n_own = len(own.numbers), int(slots[0]), len(np.unique(own.numbers))
    return [
        Range("the number of pages with space", n_slots, 2, most_slots),
        Range("that number modulo 2", n_slots % 2, 0, 0),
        Range("the time when an overlay may grow", slots[1], -1, 2**31 - 1),
        Range("the number of pages in use", n, 0, n_slots),
        Range("the number of different pages in use", n_own, n, n),
        Range("the number of a page", own.numbers, 0, n_pages - 1),
        Range("the number of uses of a page", own.uses, 0, MAX_USES),
        Range("the index of a pair of places", pairs[:, 0], heads.start, heads.stop - heads.step),
        Range("that index modulo 2", (pairs[:, 0] - heads.start) % heads.step, 0, 0),
    ]


def new_overlay(n_slots: int, grows_at: int = 0, n_places: int = 0) -> I32:
    """An overlay without pages, and with space for so many."""
    index_size = 1 << (2 * n_slots - 1).bit_length()
    overlay = np.zeros(PAGE * (1 + n_slots) + 2 * n_slots + index_size + 3 * n_places, dtype=np.int32)
    overlay[N_SLOTS], overlay[GROWS_AT], overlay[INDEX_MASK] = n_slots, grows_at, index_size - 1
    overlay[N_PLACES] = n_places
    return overlay


def enlarged(overlay: I32, n_slots: int, grows_at: int = 0, n_places: int = 0) -> I32:
    """A copy with space for more pages and pairs of places."""
    return filled(new_overlay(n_slots, grows_at, n_places), parts(overlay), places(overlay))


def filled(overlay: I32, own: Parts, pairs: I32) -> I32:
    """A new overlay, filled with these pages and pairs of places."""
    overlay[N_OWN] = len(own.numbers)
    for new, old in zip(parts(overlay), own, strict=True):
        new[:] = old
    native(fill_index)(overlay)
    pairs = pairs[pairs[:, 0] > 0]
    places(overlay)[plain(hashed)(pairs[:, 0].astype(np.int64)) & (overlay.item(N_PLACES) - 1)] = pairs
    return overlay


def places(overlay: I32) -> I32:
    """A view of the pairs of places with their indices, [N_PLACES, 3]."""
    n_slots, index_size = overlay.item(N_SLOTS), overlay.item(INDEX_MASK) + 1
    return overlay[PAGE * (1 + n_slots) + 2 * n_slots + index_size :].reshape(-1, 3)


def parts(overlay: I32) -> Parts:
    """Views of the pages in use."""
    n_slots, n = overlay.item(N_SLOTS), overlay.item(N_OWN)
    numbers, uses = PAGE * (1 + n_slots), PAGE * (1 + n_slots) + n_slots
    pages = overlay[PAGE : PAGE * (1 + n)].reshape(n, PAGE)
    return Parts(overlay[numbers : numbers + n], pages, overlay[uses : uses + n])


def merge(overlay: I32, table: I32, history: I32) -> None:
    """Write the pages, if there are any, to the table and the history. May be repeated after an interrupt."""
    if overlay.size == 0:
        return
    numbers, pages, _ = parts(overlay)
    n_table_pages = len(table) // PAGE
    in_table = numbers < n_table_pages
    table.reshape(-1, PAGE)[numbers[in_table]] = pages[in_table]
    history.reshape(-1, PAGE)[numbers[~in_table] - n_table_pages] = pages[~in_table]
