"""Tables of the templates of lines and of the numbers in them, by which a familiar line is recognised: compiled.

The template of a line is its words, with the numbers masked. A number is a run of letters and digits that is
decimal or hexadecimal, without the sign before it, or an identifier, in which digits and letters alternate at least
twice, as in `x2b9z`. In any other run with digits only the digits are numbers, and the letters belong to the template.
Words are separated by white space, which belongs to it too. Further words that equal the one before them, once masked,
are only marked as repeated: lists of any length have the same template.

A hash finds the row of a template, and the caller decides whether it is the same: anyone can build a line with a given
hash. So `scan` writes the template itself, as tokens and marks. Two lines have the same kind if these are equal.

Each number has a slot, which is its place in its word after the two words before it. Repeated words share their slots.
A slot knows the lengths of its numbers, and the first MAX_VALUES of their values. A line is familiar if its kind was
read in full MIN_READ times and each slot knows the length of its number and, unless it has had more than MAX_VALUES
values, the number itself. The length of the line, to a power of two, is one of its numbers.

kinds  int64  rows of KEY, STAMP, N_READ and N_FAMILIAR: how many lines of the kind were read in full, and how often one
              was familiar
slots  int64  rows of KEY, STAMP, LENGTHS (a bit for each), N_VALUES, and the hashes of the values
found  int64  what `scan` found: COUNT, KIND and, from NUMBERS on, for each number the key of its slot, its length, and
              its hash; N_TEMPLATE, the length of the template; ROW, where `look` found the template, or -1
template  int32 [as many as tokens, or more]  the template: tokens, and marks, which are negative

KEY is a hash; an empty row has 0. STAMP is the number of the line that used the row last. A key may be in one of WAYS
rows; a new key takes the one that was not used for longest. The number of rows is a power of two.
"""

import numpy as np

from ..jit.decorators import entry, kernel
from ..kernels.arrays import I32, I64

OTHER, SPACE, SIGN, DIGIT, HEX, X, LETTER = range(7)
"""The classes of symbols. HEX is a letter from a to f. X is an x, which after one digit begins a hexadecimal number."""

MIN_READ, MAX_VALUES = 4, 8

WAYS = 8
KEY, STAMP, N_READ, N_FAMILIAR, KIND_SIZE = range(5)
LENGTHS, N_VALUES, VALUES = 2, 3, 4
SLOT_SIZE = VALUES + MAX_VALUES

MAX_LENGTH = 30
"""Longer numbers count as this long. The lengths of hexadecimal numbers follow those of decimal ones."""

MAX_NUMBERS = 512
"""A line with more numbers is never familiar."""

COUNT, KIND, GAP, WORD, LAST_WORD, WORD_BEFORE, ROLE, PLACE, IS_REPEATED = range(9)
N_TEMPLATE, GAP_AT, WORD_AT, LAST_AT, LAST_END, ROW, NUMBERS = range(9, 16)
"""What `scan` keeps. The last ones are places in the template: where its end is, the gap before the word that is being
read, this word, and the last word, which is the one before the gap. ROW is that of the template, for `look`."""

FOUND_SIZE = NUMBERS + 3 * MAX_NUMBERS

FIRST, PRIME = np.int64(-3750763034362895579), np.int64(1099511628211)
"""The constants of the hash FNV-1a of 64 bits."""

MIN_IDENTIFIER = 5
"""The shortest identifier."""

NUMBER, REPEATED, IDENTIFIER = -1, -2, -3
"""The marks: what is in the place of a number, of words that are repeated, and of an identifier."""


@kernel
def combined(h, value):
    """The hash of everything so far and of one more value, which is at least -3, or a hash."""
    return (h ^ (np.int64(value) + np.int64(4))) * PRIME


@kernel
def key_of(h):
    """The key of a hash: its bits are mixed, and it is not 0."""
    h = (h ^ (h >> np.int64(32))) * PRIME
    h = (h ^ (h >> np.int64(29))) * PRIME
    return h if h != 0 else np.int64(1)


@kernel
def bucket(table, size, key):
    """The first of the WAYS rows in which a key may be."""
    return ((key >> np.int64(16)) & np.int64(table.size // (size * WAYS) - 1)) * WAYS


@kernel
def row_of(table, size, key):
    """The row of a key; -1 if the table does not have it."""
    first = bucket(table, size, key)
    for row in range(first, first + WAYS):
        if table[row * size + KEY] == key:
            return row
    return -1


@kernel
def claim(table, size, key, stamp):
    """The row of a key; if the table does not have it, the row that was not used for longest, emptied."""
    row = row_of(table, size, key)
    if row < 0:
        row = first = bucket(table, size, key)
        for other in range(first, first + WAYS):
            if table[other * size + STAMP] < table[row * size + STAMP]:
                row = other
        table[row * size : (row + 1) * size] = 0
        table[row * size + KEY] = key
    table[row * size + STAMP] = stamp
    return row


@kernel
def add_number(found, place, length, h):
    """Add a number to what was found; of too many only the count."""
    n = found[COUNT]
    if n < MAX_NUMBERS:
        at = NUMBERS + 3 * n
        found[at], found[at + 1], found[at + 2] = place, length, h
    found[COUNT] = n + 1


@kernel
def extend(found, part, template, value):
    """Add a token or a mark to the template, and to the hash of a part of it: GAP, WORD or KIND."""
    found[part] = combined(found[part], value)
    template[found[N_TEMPLATE]] = value
    found[N_TEMPLATE] += 1


@kernel
def take_number(tokens, start, end, mark, found, template):
    """Take a number or an identifier as a part of the word. mark: what the template has in its place."""
    h = FIRST
    for at in range(start, end):
        h = combined(h, tokens[at])
    add_number(found, found[PLACE], min(end - start, MAX_LENGTH), h)
    found[PLACE] += 1
    extend(found, WORD, template, mark)


@kernel
def take_parts(tokens, classes, start, end, found, template):
    """Take a run of letters and digits as a part of the word; only its digits are numbers."""
    at = start
    while at < end:
        first = at
        while at < end and classes[tokens[at]] == DIGIT:
            at += 1
        if at > first:
            take_number(tokens, first, at, NUMBER, found, template)
        else:
            extend(found, WORD, template, tokens[at])
            at += 1


@kernel
def take_run(tokens, classes, start, end, found, template):
    """Take a run of letters and digits as a part of the word."""
    n_digits, n_changes, is_hex = 0, 0, True
    for at in range(start, end):
        symbol_class, before = classes[tokens[at]], classes[tokens[max(at - 1, start)]]
        n_digits += symbol_class == DIGIT
        n_changes += (symbol_class == DIGIT) != (before == DIGIT)
        is_prefix = symbol_class == X and at == start + 1 and before == DIGIT and end > start + 2
        is_hex = is_hex and (symbol_class <= HEX or is_prefix)
    if n_digits > 0 and is_hex:
        take_number(tokens, start, end, NUMBER, found, template)
        if n_digits < end - start and found[COUNT] <= MAX_NUMBERS:
            found[NUMBERS + 3 * (found[COUNT] - 1) + 1] += MAX_LENGTH + 1
    elif n_changes >= 2 and end - start >= MIN_IDENTIFIER:
        take_number(tokens, start, end, IDENTIFIER, found, template)
    else:
        take_parts(tokens, classes, start, end, found, template)


@kernel
def is_last_word(found, template):
    """Whether the word is the same as the last one, once masked."""
    n, at, last = found[N_TEMPLATE] - found[WORD_AT], found[WORD_AT], found[LAST_AT]
    if found[WORD] != found[LAST_WORD] or n != found[LAST_END] - last:
        return False
    for each in range(n):  # noqa: SIM110  kernels have no generators
        if template[at + each] != template[last + each]:
            return False
    return True


@kernel
def end_word(found, template):
    """Keep the word in the template, unless it repeats the one before it, and give its numbers their slots."""
    word, n_numbers, count = found[WORD], found[PLACE], found[COUNT]
    if word == FIRST:
        return
    if n_numbers > 0 and is_last_word(found, template):
        found[N_TEMPLATE] = found[GAP_AT]
        if found[IS_REPEATED] == 0:
            extend(found, KIND, template, REPEATED)
        found[IS_REPEATED] = 1
    else:
        found[KIND] = combined(combined(found[KIND], found[GAP]), word)
        found[ROLE] = combined(combined(found[WORD_BEFORE], found[LAST_WORD]), word)
        found[WORD_BEFORE], found[LAST_WORD] = found[LAST_WORD], word
        found[LAST_AT], found[LAST_END] = found[WORD_AT], found[N_TEMPLATE]
        found[IS_REPEATED] = 0
    for n in range(count - n_numbers, min(count, MAX_NUMBERS)):
        at = NUMBERS + 3 * n
        found[at] = key_of(combined(found[ROLE], found[at]))
    found[WORD] = found[GAP] = FIRST
    found[GAP_AT] = found[WORD_AT] = found[N_TEMPLATE]
    found[PLACE] = 0


@kernel
def scan(tokens, classes, found, template):
    """Write the template of a line, and its hash and the numbers of the line to `found`."""
    found[:NUMBERS] = 0
    found[KIND] = found[WORD] = found[GAP] = FIRST
    at, n = 0, tokens.size
    while at < n:
        start, symbol_class = at, classes[tokens[at]]
        at += 1
        if symbol_class >= DIGIT:
            while at < n and classes[tokens[at]] >= DIGIT:
                at += 1
            take_run(tokens, classes, start, at, found, template)
        elif symbol_class == SPACE:
            end_word(found, template)
            extend(found, GAP, template, tokens[start])
            found[WORD_AT] = found[N_TEMPLATE]
        elif (
            symbol_class == OTHER
            or at == n
            or classes[tokens[at]] != DIGIT
            or (start > 0 and classes[tokens[start - 1]] >= DIGIT)
        ):
            extend(found, WORD, template, tokens[start])
    end_word(found, template)
    length = 0
    while n >> length > 0:
        length += 1
    found[KIND] = combined(found[KIND], found[GAP])
    add_number(found, key_of(found[KIND]), length, FIRST)


@kernel
def knows(slots, row, length, h):
    """Whether a slot knows a number."""
    at = row * SLOT_SIZE
    if (slots[at + LENGTHS] >> length) & 1 == 0:
        return False
    if slots[at + N_VALUES] > MAX_VALUES:
        return True
    for value in range(slots[at + N_VALUES]):  # noqa: SIM110  kernels have no generators
        if slots[at + VALUES + value] == h:
            return True
    return False


@entry
def look(tokens: I32, classes: I32, found: I64, template: I32, kinds: I64, slots: I64, stamp: int):
    """The row of a line's kind if the line is familiar, else -1. stamp: the number of the line."""
    scan(tokens, classes, found, template)
    row = found[ROW] = row_of(kinds, KIND_SIZE, key_of(found[KIND]))
    if row < 0 or kinds[row * KIND_SIZE + N_READ] < MIN_READ or found[COUNT] > MAX_NUMBERS:
        return -1
    for n in range(found[COUNT]):
        at = NUMBERS + 3 * n
        slot = row_of(slots, SLOT_SIZE, found[at])
        if slot < 0 or not knows(slots, slot, found[at + 1], found[at + 2]):
            return -1
        slots[slot * SLOT_SIZE + STAMP] = stamp
    kinds[row * KIND_SIZE + STAMP] = stamp
    kinds[row * KIND_SIZE + N_FAMILIAR] += 1
    return row


@entry
def learn(tokens: I32, classes: I32, found: I64, template: I32, kinds: I64, slots: I64, stamp: int):
    """Take a line that was read in full. Returns the row of its kind. stamp: the number of the line."""
    scan(tokens, classes, found, template)
    row = claim(kinds, KIND_SIZE, key_of(found[KIND]), stamp)
    kinds[row * KIND_SIZE + N_READ] += 1
    for n in range(min(found[COUNT], MAX_NUMBERS)):
        at = NUMBERS + 3 * n
        row_of_slot = claim(slots, SLOT_SIZE, found[at], stamp)
        slot = row_of_slot * SLOT_SIZE
        slots[slot + LENGTHS] |= np.int64(1) << found[at + 1]
        n_values = slots[slot + N_VALUES]
        if not knows(slots, row_of_slot, found[at + 1], found[at + 2]):
            if n_values < MAX_VALUES:
                slots[slot + VALUES + n_values] = found[at + 2]
            slots[slot + N_VALUES] = n_values + 1
    return row
