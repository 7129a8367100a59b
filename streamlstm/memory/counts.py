"""Counts of what followed each context, in one flat hash table of a fixed size.

A context is known by its hash, an int of 62 bits. Its counts lie in pages of 64 bytes; each page is found by the hash
and its number, in one of two neighbouring places. Where both are taken, the less useful one is replaced.

table  int32 [pages · 16]  A page: CHECK, the part of the hash that tells it from others; WORTH, how useful it was;
                           USED, how many entries it has, 4 bits, and above them in a context's first page how often in
                           a row the token came that came last, 4 bits, and that token; then up to 13 entries,
                           count · 65536 + token.
changed int32 [0] or [1 + 2·pages]  Which pages changed: how many, their numbers, and for each page whether it did.
"""

from ..kernels.jit import kernel
from ..kernels.lanes import prefetch

CHECK, WORTH, USED, ENTRIES, PAGE = 0, 1, 2, 3, 16
ROOM = PAGE - ENTRIES
MOST_WORTH, LONGEST_RUN = 255, 15

HASH_MASK = 2**62 - 1
HASH_FACTOR = 0x1F83D9ABFB41BD6B


@kernel
def combine(h, x):
    """The hash of a context with one more number x ≥ -1: sums, products and shifts of whole numbers."""
    h = ((h ^ (x + 1)) * HASH_FACTOR) & HASH_MASK
    return h ^ (h >> 29)


@kernel
def fetch(table, h):
    """Begin to bring the first page of the context h into the cache."""
    prefetch(table, ((combine(h, 0) >> 31) & (table.size // PAGE - 1)) * PAGE)


@kernel
def find(table, h, page):
    """Where a page of the context h begins, or -1."""
    h = combine(h, page)
    check = (h & 0x7FFFFFFF) | 1
    at = ((h >> 31) & (table.size // PAGE - 1)) * PAGE
    if table[at] == check:
        return at
    at ^= PAGE
    return at if table[at] == check else -1


@kernel
def note(changed, at):
    """Put the page that begins at table[at] on the list of the changed ones, if there is a list and it is not on it."""
    if changed.size > 0:
        page = at // PAGE
        mark = 1 + changed.size // 2 + page
        if changed[mark] == 0:
            changed[mark] = 1
            changed[0] += 1
            changed[changed[0]] = page


@kernel
def claim(table, changed, h, page):
    """Where a page of the context h begins; if it is not there, it is made, empty, and a less useful one goes."""
    at = find(table, h, page)
    if at < 0:
        h = combine(h, page)
        at = ((h >> 31) & (table.size // PAGE - 1)) * PAGE
        other = at ^ PAGE
        if table[other + WORTH] < table[at + WORTH]:
            at, other = other, at
        if table[other + WORTH] > 0:
            table[other + WORTH] -= 1
            note(changed, other)
        table[at] = (h & 0x7FFFFFFF) | 1
        table[at + WORTH] = 0
        table[at + USED] = 0
    note(changed, at)
    return at


@kernel
def used_of(table, at):
    """How many entries the page that begins at table[at] has."""
    return table[at + USED] & 15


@kernel
def collect(table, h, entries):
    """Copy the entries of the context h into `entries`.

    Returns how many there are, the sum of their counts, and 16 · the token that came last + how often in a row (or -1).
    """
    distinct, total, latest, page = 0, 0, -1, 0
    while True:
        at = find(table, h, page)
        if at < 0:
            return distinct, total, latest
        if page == 0:
            latest = table[at + USED] >> 4
        used = min(used_of(table, at), entries.size - distinct)
        for j in range(at + ENTRIES, at + ENTRIES + used):
            entries[distinct] = table[j]
            distinct += 1
            total += table[j] >> 16
        if used < ROOM:
            return distinct, total, latest
        page += 1


@kernel
def halve(table, changed, h):
    """Halve the counts of the context h, rounding up, so that what is old weighs less."""
    page = 0
    while True:
        at = find(table, h, page)
        if at < 0:
            return
        note(changed, at)
        for j in range(at + ENTRIES, at + ENTRIES + used_of(table, at)):
            count = table[j] >> 16
            table[j] -= (count >> 1) << 16
        if used_of(table, at) < ROOM:
            return
        page += 1


@kernel
def note_latest(table, at, token):
    """The token came last in the context whose first page begins at table[at]."""
    used, latest = used_of(table, at), table[at + USED] >> 4
    run = min((latest & 15) + 1, LONGEST_RUN) if latest >> 4 == token else 1
    table[at + USED] = (token << 8) | (run << 4) | used


@kernel
def add(table, changed, h, token, limit):
    """Count `token` once in the context h, and halve its counts when one reaches `limit`; returns if it was known."""
    page = 0
    while True:
        at = claim(table, changed, h, page)
        table[at + WORTH] = min(table[at + WORTH] + 1, MOST_WORTH)
        used = used_of(table, at)
        if page == 0:
            note_latest(table, at, token)
        for j in range(at + ENTRIES, at + ENTRIES + used):
            if table[j] & 0xFFFF == token:
                table[j] += 65536
                if table[j] >> 16 >= limit:
                    halve(table, changed, h)
                return True
        if used < ROOM:
            table[at + ENTRIES + used] = 65536 + token
            table[at + USED] += 1
            if used + 1 == ROOM:
                following = find(table, h, page + 1)
                if following >= 0:  # left from a time before this page was replaced
                    table[following + USED] = 0
                    note(changed, following)
            return False
        page += 1
