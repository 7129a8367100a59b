"""Counts of the tokens that followed each context, in a hash table of a fixed size.

A context is identified by a hash of 62 bits. Its counts lie in pages of 64 bytes, numbered from 0. The hash and the
page number select two neighbouring pages of the table; the page is one of these. If both are taken, the one with the
lower priority is replaced.

table  int32 [pages · PAGE], the words of each page:
    TAG       31 bits of the hash, by which a page is recognised; 0 if it is unused
    PRIORITY  how often it was counted in, up to MAX_PRIORITY, and less whenever its neighbour was replaced
    HEADER    the number of its entries, 4 bits; in the first page of a context also its latest token and the run of
              this token, how often it came in a row, 4 bits: token · 256 + run · 16 + number of entries
    ENTRIES   up to MAX_ENTRIES entries: count · 65536 + token

A kernel finds a page by where it begins in the table. Of a shared table, the page itself may lie in the overlay: see
`page_to_read` and `page_to_write`. The overlay is None or empty if the table is not shared.
"""

import numpy as np

from ..jit.decorators import kernel
from ..jit.intrinsics import prefetch, set_word, word
from ..kernels.arrays import I32, PAGE
from ..ranges import Range
from .overlay import n_free, readable, writable

TAG, PRIORITY, HEADER, ENTRIES = 0, 1, 2, 3
MAX_ENTRIES = PAGE - ENTRIES
MAX_PRIORITY, MAX_RUN = 255, 15
ADMIT_ONE_IN = 3

MOST_COUNTED = 30000
"""The largest limit of a count: when a count reaches its limit, all counts of its context are halved."""

HASH_MASK = 2**62 - 1
HASH_FACTOR = 0x1F83D9ABFB41BD6B


def page_ranges(pages: I32, n_symbols: int) -> tuple[Range, ...]:
    """What the words of pages, [n, PAGE], may be; n_symbols: the size of the vocabulary."""
    headers, lengths = pages[:, HEADER], pages[:, HEADER] & 15
    entries = pages[:, ENTRIES:][np.arange(MAX_ENTRIES) < lengths[:, None]]
    return (
        Range("a tag", pages[:, TAG], 0, 2**31 - 1),
        Range("a priority", pages[:, PRIORITY], 0, MAX_PRIORITY),
        Range("the number of entries of a page", lengths, 0, MAX_ENTRIES),
        Range("the latest token of a page", headers >> 8, 0, n_symbols - 1),
        Range("the token of an entry", entries & 0xFFFF, 0, n_symbols - 1),
        Range("a count", entries >> 16, 1, MOST_COUNTED - 1),
    )


@kernel
def combine(h, x):
    """The hash of a context extended by a number x ≥ -1; whole numbers only, the same on every machine."""
    h = ((h ^ (x + 1)) * HASH_FACTOR) & HASH_MASK
    return h ^ (h >> 29)


@kernel
def tag_of(h):
    """The tag of a page, from the hash of its context and its number; never 0."""
    return (h & 0x7FFFFFFF) | 1


@kernel
def start_of(table, h):
    """Where the first of the two pages begins that such a hash selects; the other begins at start ^ PAGE."""
    return ((h >> 31) & (table.size // PAGE - 1)) * PAGE


@kernel
def fetch(table, h):
    """Begin to load the first page of the context h into the CPU's cache."""
    prefetch(table, start_of(table, combine(h, 0)))


@kernel
def page_to_read(table, overlay, at):
    """The address of the page that begins at table[at]."""
    return readable(overlay, table, 0, at)


@kernel
def page_to_write(table, overlay, at):
    """The same, for writing; the next call may end its validity."""
    return writable(overlay, table, 0, at)


@kernel
def tag_at(table, overlay, at):
    """The tag of the page that begins at table[at]."""
    return word(page_to_read(table, overlay, at), TAG)


@kernel
def find(table, overlay, h, number):
    """Where a page of the context h begins, or -1 if the table does not contain it."""
    h = combine(h, number)
    at = start_of(table, h)
    if tag_at(table, overlay, at) == tag_of(h):
        return at
    at ^= PAGE
    return at if tag_at(table, overlay, at) == tag_of(h) else -1


@kernel
def priority_at(table, overlay, at):
    """The priority of the page that begins at table[at]."""
    return word(page_to_read(table, overlay, at), PRIORITY)


@kernel
def find_or_create(table, overlay, h, number):
    """Where a page of the context h begins. A missing page is created empty, in the place of another one."""
    at = find(table, overlay, h, number)
    if at >= 0:
        return at
    h = combine(h, number)
    at = start_of(table, h)
    other = at ^ PAGE
    if priority_at(table, overlay, other) < priority_at(table, overlay, at):
        at, other = other, at
    if priority_at(table, overlay, other) > 0:
        page = page_to_write(table, overlay, other)
        set_word(page, PRIORITY, word(page, PRIORITY) - 1)
    page = page_to_write(table, overlay, at)
    set_word(page, TAG, tag_of(h))
    set_word(page, PRIORITY, 0)
    set_word(page, HEADER, 0)
    return at


@kernel
def n_entries(page):
    """The number of entries of a page."""
    return word(page, HEADER) & 15


@kernel
def collect(table, overlay, h, entries):
    """Copy the entries of the context h into `entries`.

    Returns how many there are, the sum of their counts, and 16 · the latest token + its run, or -1 if there is none.
    """
    distinct, total, latest, number = 0, 0, -1, 0
    while True:
        at = find(table, overlay, h, number)
        if at < 0:
            return distinct, total, latest
        page = page_to_read(table, overlay, at)
        if number == 0:
            latest = word(page, HEADER) >> 4
        n = min(n_entries(page), entries.size - distinct)
        for j in range(ENTRIES, ENTRIES + n):
            entry = word(page, j)
            entries[distinct] = entry
            distinct += 1
            total += entry >> 16
        if n < MAX_ENTRIES:
            return distinct, total, latest
        number += 1


@kernel
def halve(table, overlay, h):
    """Halve the counts of the context h, rounding up, so that old symbols weigh less than recent ones."""
    number = 0
    while True:
        at = find(table, overlay, h, number)
        if at < 0:
            return
        page = page_to_write(table, overlay, at)
        for j in range(ENTRIES, ENTRIES + n_entries(page)):
            entry = word(page, j)
            set_word(page, j, entry - ((entry >> 17) << 16))
        if n_entries(page) < MAX_ENTRIES:
            return
        number += 1


@kernel
def set_latest(page, token):
    """Note the latest token of the context whose first page this is."""
    latest = word(page, HEADER) >> 4
    run = min((latest & 15) + 1, MAX_RUN) if latest >> 4 == token else 1
    set_word(page, HEADER, (token << 8) | (run << 4) | n_entries(page))


@kernel
def is_admitted(table, overlay, h, n_learned):
    """Whether the context h is counted in: not if it is new and the overlay full, except for one in ADMIT_ONE_IN times.

    Otherwise each new context would push out another one before that occurs again.
    """
    if n_free(overlay) > 0 or find(table, overlay, h, 0) >= 0:
        return True
    return (combine(h, n_learned) >> 20) % ADMIT_ONE_IN == 0


@kernel
def add(table, overlay, h, token, limit):
    """Count a token once in the context h; returns whether it had a count before.

    When its count reaches `limit`, all counts of the context are halved.
    """
    number = 0
    while True:
        page = page_to_write(table, overlay, find_or_create(table, overlay, h, number))
        set_word(page, PRIORITY, min(word(page, PRIORITY) + 1, MAX_PRIORITY))
        n = n_entries(page)
        if number == 0:
            set_latest(page, token)
        for j in range(ENTRIES, ENTRIES + n):
            entry = word(page, j)
            if entry & 0xFFFF == token:
                set_word(page, j, entry + 65536)
                if (entry >> 16) + 1 >= limit:
                    halve(table, overlay, h)
                return True
        if n < MAX_ENTRIES:
            set_word(page, ENTRIES + n, 65536 + token)
            set_word(page, HEADER, word(page, HEADER) + 1)
            if n + 1 == MAX_ENTRIES:
                next_page = find(table, overlay, h, number + 1)
                if next_page >= 0:  # a remnant: this page was replaced and created again since
                    set_word(page_to_write(table, overlay, next_page), HEADER, 0)
            return False
        number += 1


@kernel
def n_pages_to_write(table, overlay, h):
    """At most how many pages `add` writes to for the context h: its own, and both places of one that may be created."""
    number = 0
    while find(table, overlay, h, number) >= 0:
        number += 1
    return number + 2
