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
"""

from ..kernels.jit import kernel
from ..kernels.lanes import prefetch
from .undo import PAGE, log_page

TAG, PRIORITY, HEADER, ENTRIES = 0, 1, 2, 3
MAX_ENTRIES = PAGE - ENTRIES
MAX_PRIORITY, MAX_RUN = 255, 15

HASH_MASK = 2**62 - 1
HASH_FACTOR = 0x1F83D9ABFB41BD6B


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
def find(table, h, page):
    """Where a page of the context h begins, or -1 if the table does not contain it."""
    h = combine(h, page)
    at = start_of(table, h)
    if table[at] == tag_of(h):
        return at
    at ^= PAGE
    return at if table[at] == tag_of(h) else -1


@kernel
def find_or_create(table, h, page):
    """Where a page of the context h begins. A missing page is created empty, in the place of another one."""
    at = find(table, h, page)
    if at >= 0:
        return at
    h = combine(h, page)
    at = start_of(table, h)
    other = at ^ PAGE
    if table[other + PRIORITY] < table[at + PRIORITY]:
        at, other = other, at
    if table[other + PRIORITY] > 0:
        table[other + PRIORITY] -= 1
    table[at] = tag_of(h)
    table[at + PRIORITY] = 0
    table[at + HEADER] = 0
    return at


@kernel
def n_entries(table, at):
    """The number of entries of the page that begins at table[at]."""
    return table[at + HEADER] & 15


@kernel
def collect(table, h, entries):
    """Copy the entries of the context h into `entries`.

    Returns how many there are, the sum of their counts, and 16 · the latest token + its run, or -1 if there is none.
    """
    distinct, total, latest, page = 0, 0, -1, 0
    while True:
        at = find(table, h, page)
        if at < 0:
            return distinct, total, latest
        if page == 0:
            latest = table[at + HEADER] >> 4
        n = min(n_entries(table, at), entries.size - distinct)
        for j in range(at + ENTRIES, at + ENTRIES + n):
            entries[distinct] = table[j]
            distinct += 1
            total += table[j] >> 16
        if n < MAX_ENTRIES:
            return distinct, total, latest
        page += 1


@kernel
def halve(table, h):
    """Halve the counts of the context h, rounding up, so that old symbols weigh less than recent ones."""
    page = 0
    while True:
        at = find(table, h, page)
        if at < 0:
            return
        for j in range(at + ENTRIES, at + ENTRIES + n_entries(table, at)):
            count = table[j] >> 16
            table[j] -= (count >> 1) << 16
        if n_entries(table, at) < MAX_ENTRIES:
            return
        page += 1


@kernel
def set_latest(table, at, token):
    """Note the latest token of the context whose first page begins at table[at]."""
    latest = table[at + HEADER] >> 4
    run = min((latest & 15) + 1, MAX_RUN) if latest >> 4 == token else 1
    table[at + HEADER] = (token << 8) | (run << 4) | n_entries(table, at)


@kernel
def log_context(undo, table, h):
    """Log all pages that `add` may change for the context h: its own, and both places of one that may be created."""
    page = 0
    while True:
        at = find(table, h, page)
        if at < 0:
            start = start_of(table, combine(h, page))
            log_page(undo, start // PAGE, table, start)
            log_page(undo, (start ^ PAGE) // PAGE, table, start ^ PAGE)
            return
        log_page(undo, at // PAGE, table, at)
        if n_entries(table, at) < MAX_ENTRIES - 1:
            return
        page += 1


@kernel
def add(table, undo, h, token, limit):
    """Count a token once in the context h; returns whether it had a count before.

    When its count reaches `limit`, all counts of the context are halved. The pages that change are logged first.
    """
    if undo.size > 0:
        log_context(undo, table, h)
    page = 0
    while True:
        at = find_or_create(table, h, page)
        table[at + PRIORITY] = min(table[at + PRIORITY] + 1, MAX_PRIORITY)
        n = n_entries(table, at)
        if page == 0:
            set_latest(table, at, token)
        for j in range(at + ENTRIES, at + ENTRIES + n):
            if table[j] & 0xFFFF == token:
                table[j] += 65536
                if table[j] >> 16 >= limit:
                    halve(table, h)
                return True
        if n < MAX_ENTRIES:
            table[at + ENTRIES + n] = 65536 + token
            table[at + HEADER] += 1
            if n + 1 == MAX_ENTRIES:
                next_page = find(table, h, page + 1)
                if next_page >= 0:  # a remnant: this page was replaced and created again since
                    table[next_page + HEADER] = 0
            return False
        page += 1
