"""The contexts of the next symbol, and the position in the text that they are made from.

state         int64  see `layout`
char_classes  int32  [V]: the class of each symbol (NEWLINE …), plus 16 · a number below LETTERS that identifies a
                     letter, the same for upper and lower case, 0 for what is not a letter, plus 16 · LETTERS · what it
                     means to `brackets`

A word is a run of letters. A field is what lies between two separators: white space or commas.
"""

from ..jit.decorators import kernel
from .brackets import follow_brackets, innermost
from .counts import combine
from .layout import (
    CLASS_HISTORY,
    CONTEXT_HASH,
    FIELD,
    FIELD_ABOVE,
    FIELD_SHAPE,
    FIELD_TEXT,
    LINE_START,
    N_CLASS_HISTORIES,
    N_FIELDS,
    N_ORDERS,
    N_RECENT,
    N_SEEN,
    PREVIOUS_LINE_START,
    RECENT,
    WORD,
    WORD_MINUS_1,
    WORD_MINUS_2,
)

LETTERS = 2**21
NEWLINE, SEPARATOR, DIGIT, LOWER, UPPER, NON_ASCII, PUNCTUATION, OTHER = range(8)
"""The character classes. The newline is a separator too."""

ANY_DIGIT = 2**16
"""Stands for every digit in the hash of a shape; no token is as large."""
FAMILY = 2**40
"""Hashes of contexts of different kinds start from different multiples of this, which no token reaches; 9 is for
the matches."""


@kernel
def recent_token(state, back):
    """The token `back` symbols ago, 1 for the last one; -1 before the beginning."""
    return state[RECENT + (state[N_SEEN] - back) % N_RECENT]


@kernel
def token_above(state):
    """The token in the previous line above the next symbol; -1 if that line is too short or too far back."""
    above = state[PREVIOUS_LINE_START] + state[N_SEEN] - state[LINE_START]
    back = state[N_SEEN] - above
    return recent_token(state, back) if above < state[LINE_START] and back <= N_RECENT else -1


@kernel
def set_contexts(state):
    """Hash the contexts of the next symbol: the orders 0 to 6, then the extras in the order of `memory.EXPERTS`."""
    h = FAMILY
    state[CONTEXT_HASH] = h
    for order in range(1, N_ORDERS):
        h = combine(h, recent_token(state, order))
        state[CONTEXT_HASH + order] = h
    last, above, column = recent_token(state, 1), token_above(state), state[N_SEEN] - state[LINE_START]
    word, previous_word, field, shape = state[WORD], state[WORD_MINUS_1], state[FIELD], state[FIELD_SHAPE]
    field_above = state[FIELD_ABOVE + min(field, N_FIELDS - 1)]
    extras = CONTEXT_HASH + N_ORDERS
    state[extras] = combine(combine(2 * FAMILY, word), previous_word)  # word after word
    bracket = innermost(state)
    inside = combine(combine(3 * FAMILY, state[bracket]), state[bracket + 1])
    state[extras + 1] = combine(combine(inside, word), last)  # bracket
    state[extras + 2] = combine(combine(4 * FAMILY, above), last)  # above
    state[extras + 3] = combine(5 * FAMILY, word)  # word
    state[extras + 4] = combine(combine(6 * FAMILY, field), shape)  # field
    state[extras + 5] = combine(combine(combine(7 * FAMILY, field), field_above), state[FIELD_TEXT])  # field above
    state[extras + 6] = combine(combine(8 * FAMILY, column), last)  # column
    state[extras + 7] = combine(combine(10 * FAMILY, shape), previous_word)  # shape
    state[extras + 8] = combine(combine(11 * FAMILY, word), state[WORD_MINUS_2])  # skipped word


@kernel
def advance(state, char_classes, token):
    """Take a token as the last one: it continues, begins or ends a word, a field and a line."""
    char_class, letter = char_classes[token] & 15, (char_classes[token] >> 4) % LETTERS
    follow_brackets(state, char_classes[token] >> 25)
    state[RECENT + state[N_SEEN] % N_RECENT] = token
    state[CLASS_HISTORY] = (state[CLASS_HISTORY] * 8 + char_class) % N_CLASS_HISTORIES
    state[N_SEEN] += 1
    if letter > 0:
        state[WORD] = combine(state[WORD], letter)
    elif state[WORD] != 0:
        state[WORD_MINUS_2] = state[WORD_MINUS_1]
        state[WORD_MINUS_1] = state[WORD]
        state[WORD] = 0
    if char_class > SEPARATOR:
        state[FIELD_TEXT] = combine(state[FIELD_TEXT], token)
        state[FIELD_SHAPE] = combine(state[FIELD_SHAPE], ANY_DIGIT if char_class == DIGIT else token)
    else:
        state[FIELD_ABOVE + min(state[FIELD], N_FIELDS - 1)] = state[FIELD_TEXT]
        state[FIELD_TEXT] = state[FIELD_SHAPE] = 0
        state[FIELD] += 1
    if char_class == NEWLINE:
        state[FIELD] = 0
        state[PREVIOUS_LINE_START] = state[LINE_START]
        state[LINE_START] = state[N_SEEN]
