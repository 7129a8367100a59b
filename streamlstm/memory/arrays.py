"""The arrays of a memory, as its kernels take them."""

from typing import NamedTuple

from ..kernels.arrays import F32, I32, I64, PAGE

RING_PER_PAGE, BYTE_SYMBOLS = 4, 256
"""How many tokens the ring of `history` has space for, for each page of the table; and up to how many symbols of the
vocabulary a token of it takes 8 bits, not 16."""


class MemoryArrays(NamedTuple):
    """All arrays of one memory; flat and C-contiguous.

    table         int32    the counts, see `counts`
    history       int32    the symbols that were learned from, and where the last ones occurred before, see `matches`
    overlay       int32    what has changed in these two while they are shared, see `overlay`; empty if they are not
    weights       float32  what the mixture learns, see `layout`
    state         int64    the position in the text, see `layout`
    scratch       float32  distributions and intermediate results, see `layout`
    entries       int32    [V]: space for the counts of one context
    char_classes  int32    [V]: the class of each symbol, see `contexts`
    """

    table: I32
    history: I32
    overlay: I32
    weights: F32
    state: I64
    scratch: F32
    entries: I32
    char_classes: I32


def history_size(n_symbols: int, n_pages: int) -> int:
    """The length of `history` for a vocabulary of this many symbols and a table of this many pages."""
    return n_ring_words(n_symbols, n_pages) + n_pages


def n_ring_words(n_symbols: int, n_pages: int) -> int:
    """How many words of `history` the ring takes."""
    return n_pages * RING_PER_PAGE // tokens_per_word(n_symbols)


def tokens_per_word(n_symbols: int) -> int:
    """How many tokens a word of the ring holds."""
    return 4 if n_symbols <= BYTE_SYMBOLS else 2


def n_count_bytes(n_symbols: int, bits: int) -> int:
    """How many bytes the table and the history take at most, for a table of 2**bits pages."""
    return 4 * ((PAGE << bits) + history_size(n_symbols, 1 << bits))
