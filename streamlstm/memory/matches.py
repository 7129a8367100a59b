"""The matches: earlier places in the text at which the last symbols occurred, each of which predicts what followed.

history  int32  a ring of the last tokens that were learned from, RING_PER_PAGE for each page of the table; 4 per word,
                or 2 if there are more than 256 symbols, from the lowest bits on. Then a hash table, one word for each
                page of the table: for each of MIN_LENGTHS the last two places at which the last symbols of that number
                occurred, the later one first: position in the ring + 1, or 0

A match keeps following the text after it was wrong, until it was wrong more than MAX_MISSES times in 16 predictions or
a longer one is found: so it is not lost where one symbol was replaced by another.
"""

import numpy as np

from ..jit.decorators import kernel
from ..jit.intrinsics import prefetch, set_word, word
from ..kernels.arrays import I32, PAGE
from ..ranges import Range
from .arrays import BYTE_SYMBOLS, RING_PER_PAGE, tokens_per_word
from .counts import combine
from .layout import (
    CONTEXT_HASH,
    LINE_START,
    LINE_START_LEARNED,
    MATCH,
    MATCH_HEAD,
    MATCH_LENGTH,
    MATCH_MISSES,
    MATCH_RECOVERIES,
    MATCH_TOKEN,
    N_LEARNED,
    N_MATCHES,
    N_SEEN,
    PREVIOUS_LINE_START_LEARNED,
)
from .overlay import has_places, places_at, readable, writable
from .text import recent_token

MIN_LENGTHS = (16, 6)
"""How many of the last symbols must equal those before a new match, for each match; the last is one of the orders."""
MAX_CHECKED, MAX_MISSES = 32, 8
STRENGTHS = 16, 8
"""The numbers of buckets of lengths and of misses."""
MATCH_FAMILY = 9 * 2**40
"""The hash of the last symbols of match m starts from MATCH_FAMILY + m; see `contexts.FAMILY`."""


def history_ranges(words: I32, places: I32, n_symbols: int, n_pages: int) -> tuple[Range, ...]:
    """What words of the ring and of the hash table may be.

    n_symbols  the size of the vocabulary
    n_pages    that of the table of counts
    """
    width = 32 // tokens_per_word(n_symbols)
    tokens = (words.reshape(-1, 1) >> np.arange(0, 32, width, dtype=np.int32)) & np.int32(2**width - 1)
    return (
        Range("a token of the history", tokens, 0, n_symbols - 1),
        Range("a place in the history", places, 0, RING_PER_PAGE * n_pages),
    )


@kernel
def ring_mask(memory):
    """How many tokens the ring has space for, a power of two, minus 1: n & mask is n modulo that power."""
    return memory.table.size // PAGE * RING_PER_PAGE - 1


@kernel
def token_width(memory):
    """How many bits a token of the ring takes."""
    return 8 if memory.entries.size <= BYTE_SYMBOLS else 16


@kernel
def learned_token(memory, position):
    """The token at a position of the ring."""
    width = token_width(memory)
    return (word_at(memory, position * width // 32) >> (position * width % 32)) & ((1 << width) - 1)


@kernel
def word_at(memory, at):
    """The word history[at]; the page that it lies in may be in the overlay."""
    if memory.overlay.size == 0:
        return memory.history[at]
    page = readable(memory.overlay, memory.history, memory.table.size // PAGE, at - at % PAGE)
    return word(page, at % PAGE)


@kernel
def page_to_write(memory, at):
    """The address at which to write to the page that history[at] belongs to."""
    return writable(memory.overlay, memory.history, memory.table.size // PAGE, at - at % PAGE)


@kernel
def append_token(memory, token):
    """Write a token to the ring, after the last one that was learned from."""
    state, width = memory.state, token_width(memory)
    start = (state[N_LEARNED] & ring_mask(memory)) * width  # in bits
    shift = start % 32
    page, j = page_to_write(memory, start // 32), start // 32 % PAGE
    set_word(page, j, (word(page, j) & ~(((1 << width) - 1) << shift)) | (token << shift))
    state[N_LEARNED] += 1


@kernel
def set_heads(memory):
    """Find, for each match, where in `history` the places of the last symbols are, and begin to load them."""
    state, n_pages = memory.state, memory.table.size // PAGE
    first, n_heads = memory.history.size - n_pages, n_pages // 2
    length = MIN_LENGTHS[N_MATCHES - 1]
    h = state[CONTEXT_HASH + length]
    for m in range(N_MATCHES - 1, -1, -1):
        while length < MIN_LENGTHS[m]:
            length += 1
            h = combine(h, recent_token(state, length))
        state[MATCH_HEAD + m] = first + ((combine(MATCH_FAMILY + m, h) >> 31) & (n_heads - 1)) * 2
        prefetch(memory.history, state[MATCH_HEAD + m])


@kernel
def common_length(memory, position):
    """How many of the last symbols, at most MAX_CHECKED, equal those before a position of the ring."""
    length, mask = 0, ring_mask(memory)
    while length < MAX_CHECKED:
        if learned_token(memory, (position - 1 - length) & mask) != recent_token(memory.state, length + 1):
            break
        length += 1
    return length


@kernel
def n_set_bits(n):
    """How many of the 16 bits of n are 1: of pairs of bits, of fours, of eights, and of all."""
    n = n - ((n >> 1) & 0x5555)
    n = (n & 0x3333) + ((n >> 2) & 0x3333)
    n = (n + (n >> 4)) & 0x0F0F
    return (n + (n >> 8)) & 0xFF


@kernel
def follow(memory, m, token, end):
    """Move match m past a token, if there is one; end it if it was wrong too often or nothing was learned after it."""
    state = memory.state
    if state[MATCH + m] >= 0:
        is_wrong = 1 if state[MATCH_TOKEN + m] != token else 0
        state[MATCH + m] = (state[MATCH + m] + 1) & ring_mask(memory)
        state[MATCH_LENGTH + m] = 0 if is_wrong else state[MATCH_LENGTH + m] + 1
        if state[MATCH_MISSES + m] == 2**15 and not is_wrong:
            state[MATCH_RECOVERIES + m] += 1
        state[MATCH_MISSES + m] = (state[MATCH_MISSES + m] * 2 + is_wrong) % 2**16
        if n_set_bits(state[MATCH_MISSES + m]) > MAX_MISSES or state[MATCH + m] == end:
            state[MATCH + m] = -1


@kernel
def is_short(state, m):
    """Whether match m is missing, or shorter than its minimum because it was wrong."""
    return state[MATCH + m] < 0 or state[MATCH_LENGTH + m] < MIN_LENGTHS[m]


@kernel
def promote(state, m):
    """Exchange match m, which is short, for the next match if that is long enough for it."""
    if state[MATCH + m + 1] >= 0 and state[MATCH_LENGTH + m + 1] >= MIN_LENGTHS[m]:
        for at in range(MATCH + m, MATCH_TOKEN + m, N_MATCHES):
            state[at], state[at + 1] = state[at + 1], state[at]


@kernel
def place_at(memory, head, j):
    """The place history[head + j]; the pair may be in the overlay."""
    if has_places(memory.overlay):
        at = places_at(memory.overlay, head)
        if memory.overlay[at] == head:
            return memory.overlay[at + 1 + j]
    return word_at(memory, head + j)


@kernel
def find_match(memory, m, end):
    """Move match m to where the last symbols occurred last and no other match is, if there is such a place."""
    state = memory.state
    for j in range(2):
        position = place_at(memory, state[MATCH_HEAD + m], j) - 1
        is_new = position >= 0 and position != end
        for other in range(N_MATCHES):
            is_new = is_new and position != state[MATCH + other]
        if is_new:
            length = common_length(memory, position)
            if length >= MIN_LENGTHS[m]:
                state[MATCH + m], state[MATCH_LENGTH + m] = position, length
                state[MATCH_MISSES + m] = state[MATCH_RECOVERIES + m] = 0
                return


@kernel
def note_place(memory, m, end):
    """Write to the hash table that the last symbols occurred here."""
    head, overlay = memory.state[MATCH_HEAD + m], memory.overlay
    if has_places(overlay):
        at = places_at(overlay, head)
        latest = place_at(memory, head, 0)
        overlay[at], overlay[at + 1], overlay[at + 2] = head, end + 1, latest
        return
    page, j = page_to_write(memory, head), head % PAGE
    set_word(page, j + 1, word(page, j))
    set_word(page, j, end + 1)


@kernel
def follow_matches(memory, token, learn):
    """Update the matches after `set_heads`; `learn`: whether the token is learned from.

    A match that is short gives way to the next one, or to one that is found.
    """
    state = memory.state
    if learn:
        append_token(memory, token)
    end = state[N_LEARNED] & ring_mask(memory)
    for m in range(N_MATCHES):
        follow(memory, m, token, end)
    for m in range(N_MATCHES):
        if is_short(state, m) and m + 1 < N_MATCHES:
            promote(state, m)
        if is_short(state, m):
            find_match(memory, m, end)
        if learn:
            note_place(memory, m, end)
        state[MATCH_TOKEN + m] = learned_token(memory, state[MATCH + m]) if state[MATCH + m] >= 0 else -1
    if state[N_SEEN] == state[LINE_START]:
        state[PREVIOUS_LINE_START_LEARNED] = state[LINE_START_LEARNED]
        state[LINE_START_LEARNED] = state[N_LEARNED]


@kernel
def match_distance(memory, m):
    """How far back match m is: 0 in this line, 1 in the previous line, 2 further back."""
    state = memory.state
    back = (state[N_LEARNED] - state[MATCH + m]) & ring_mask(memory)
    if back <= state[N_LEARNED] - state[LINE_START_LEARNED]:
        return 0
    return 1 if back <= state[N_LEARNED] - state[PREVIOUS_LINE_START_LEARNED] else 2


@kernel
def strength(state, m):
    """How long match m is and how often it was wrong, as one number below N_STRENGTHS."""
    return length_bucket(state[MATCH_LENGTH + m]) * STRENGTHS[1] + miss_bucket(state[MATCH_MISSES + m])


@kernel
def is_robust(state, m):
    """Whether match m was wrong of late, but had been right again after that before: as in a copy with changes."""
    return state[MATCH_MISSES + m] > 0 and state[MATCH_RECOVERIES + m] > 1


@kernel
def length_bucket(length):
    """The length of a match as one number below 16: 0 … 7, then 8, 12, 16, 24, 32, 64, 128 and 512 or more."""
    if length < 8:
        return length
    if length < 32:
        return 8 + (length - 8) // 4 if length < 16 else 10 + (length - 16) // 8
    return 12 if length < 64 else 13 if length < 128 else 14 if length < 512 else 15


@kernel
def miss_bucket(misses):
    """How often a match was wrong of late, as one number below 8: by the last 8 predictions, then by the 8 before."""
    last_8, last_16 = n_set_bits(misses % 2**8), n_set_bits(misses)
    if last_8 == 0:
        return min(last_16, 2)
    return 2 + min(last_16, 2) if last_8 == 1 else min(3 + last_8, 7)
