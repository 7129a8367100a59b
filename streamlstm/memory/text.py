"""The text read so far: classes of characters, words, fields, lines, brackets, and the contexts made from them.

The contexts of the next symbol, and the position in the text that they are made from.

state         int64  see `layout`
char_classes  int32  [V]: the class of each symbol (NEWLINE …), plus 16 · a number below LETTERS that identifies a
                     letter, the same for upper and lower case, 0 for what is not a letter, plus 16 · LETTERS · what it
                     means to `brackets`

A word is a run of letters. A field is what lies between two separators: white space or commas.

The brackets, quotes, tags and elements that are open: what the next symbol lies in.

state  int64  DEPTH and, for each that is open, its bracket and a hash that tells what it belongs to (see `layout`):
              for a bracket and a quote the word before it; for an element its name; for a tag the name of the element
              around it, so that a closing tag can be expected. The stack is a ring: the oldest are overwritten.

A quote ends with the line. "<" begins a tag if a letter or "/" follows. Elements are only noted once a closing tag was
seen, since "<" and ">" have other meanings where there are none.

The character classes of a vocabulary's symbols, by which `contexts` finds words, fields and lines.
"""

import string

import numpy as np

from ..jit.decorators import kernel
from ..vocabulary import Tokens, Vocabulary
from .counts import combine
from .layout import (
    CLASS_HISTORY,
    CONTEXT_HASH,
    DEPTH,
    FIELD,
    FIELD_ABOVE,
    FIELD_SHAPE,
    FIELD_TEXT,
    IN_CLOSING_TAG,
    IS_MARKUP,
    LAST_BRACKET,
    LINE_START,
    N_CLASS_HISTORIES,
    N_FIELDS,
    N_OPEN,
    N_ORDERS,
    N_RECENT,
    N_SEEN,
    OPEN,
    PREVIOUS_LINE_START,
    RECENT,
    TAG_NAME,
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


# The brackets, quotes, tags and elements that are open: what the next symbol lies in

NO_BRACKET, ROUND, SQUARE, CURLY, ELEMENT, TAG, QUOTE = range(7)
"""What can be open."""
SLASH, TAG_END, LINE_END, LETTER = 7, 8, 9, 10
"""What else matters."""
CLOSING = 16
"""CLOSING + ROUND is what closes ROUND."""


@kernel
def bracket_at(depth):
    """Where in `state` the bracket at a depth is; there is none at depth 0."""
    return OPEN + 2 * (1 + (depth - 1) % N_OPEN) if depth > 0 else OPEN


@kernel
def innermost(state):
    """Where in `state` the innermost open bracket is; its hash follows it. NO_BRACKET and 0 if none is open."""
    return bracket_at(state[DEPTH])


@kernel
def open_bracket(state, bracket, name):
    """Put a bracket on the stack."""
    state[DEPTH] += 1
    at = innermost(state)
    state[at], state[at + 1] = bracket, name


@kernel
def close_bracket(state, bracket, name):
    """Close the innermost such bracket and all that are open in it; nothing if there is none. Name 0: any name."""
    for depth in range(state[DEPTH], max(state[DEPTH] - N_OPEN, 0), -1):
        at = bracket_at(depth)
        if state[at] == bracket and (name == 0 or state[at + 1] == name):
            state[DEPTH] = depth - 1
            return


@kernel
def close_innermost(state):
    """Close the innermost open bracket, if there is one: DEPTH, by which others find their place, is never below 0."""
    state[DEPTH] = max(state[DEPTH] - 1, 0)


@kernel
def end_tag(state, bracket, before):
    """Take the end of a tag: it opens an element, closes one, or does neither if it ends with a slash."""
    close_innermost(state)
    name = state[TAG_NAME] if state[TAG_NAME] != 0 else state[WORD]
    if state[IN_CLOSING_TAG] == 1:
        close_bracket(state, ELEMENT, name)
    elif state[IS_MARKUP] == 1 and before != SLASH:
        open_bracket(state, ELEMENT, name)


@kernel
def follow_brackets(state, bracket):
    """Take a symbol, before `advance` does; `bracket`: what it is, one of the numbers above, or 0."""
    before = state[LAST_BRACKET]
    state[LAST_BRACKET] = bracket
    if before == TAG and bracket != LETTER and bracket != SLASH and state[innermost(state)] == TAG:
        close_innermost(state)  # not a tag
    top = state[innermost(state)]
    word = state[WORD] if state[WORD] != 0 else state[WORD_MINUS_1]
    if top == QUOTE:
        if bracket in (QUOTE, LINE_END):
            close_innermost(state)
    elif bracket == TAG:
        around = state[innermost(state) + 1] if top == ELEMENT else word
        open_bracket(state, TAG, around)
        state[TAG_NAME] = state[IN_CLOSING_TAG] = 0
    elif bracket == TAG_END:
        if top == TAG:
            end_tag(state, bracket, before)
    elif bracket >= CLOSING:
        close_bracket(state, bracket - CLOSING, 0)
    elif bracket == QUOTE or ROUND <= bracket <= CURLY:
        open_bracket(state, bracket, word)
    elif bracket == SLASH and before == TAG:
        state[IN_CLOSING_TAG] = state[IS_MARKUP] = 1
    if top == TAG and state[TAG_NAME] == 0 and bracket != LETTER:
        state[TAG_NAME] = state[WORD]


# The character classes of a vocabulary's symbols, by which `contexts` finds words, fields and lines

_CHARACTERS = {
    NEWLINE: "\n",
    SEPARATOR: " \t,",
    DIGIT: string.digits,
    LOWER: string.ascii_lowercase,
    UPPER: string.ascii_uppercase,
    PUNCTUATION: ".;:'\"",
}
_BRACKETS = {
    "(": ROUND,
    ")": CLOSING + ROUND,
    "[": SQUARE,
    "]": CLOSING + SQUARE,
    "{": CURLY,
    "}": CLOSING + CURLY,
    "<": TAG,
    ">": TAG_END,
    "/": SLASH,
    '"': QUOTE,
    "\n": LINE_END,
}


def classify(vocabulary: Vocabulary) -> Tokens:
    """int32 [V]: the class of each symbol, the code of its lower-case letter, and its bracket: see `contexts`.

    Letters are those of ASCII, and every character or byte above ASCII.
    """
    if vocabulary.characters is None:
        codes = np.arange(256, dtype=np.int32)
    else:
        codes = np.array([ord(character) for character in vocabulary.characters], dtype=np.int32)
    classes = np.full(len(codes), OTHER, dtype=np.int32)
    classes[codes >= 128] = NON_ASCII
    for char_class, characters in _CHARACTERS.items():
        classes[np.isin(codes, [ord(character) for character in characters])] = char_class
    lower_case = np.where(classes == UPPER, codes + 32, codes)
    is_letter = np.isin(classes, (LOWER, UPPER, NON_ASCII))
    kinds = np.where(is_letter, LETTER, NO_BRACKET)
    for character, bracket in _BRACKETS.items():
        kinds[codes == ord(character)] = bracket
    letters = np.where(is_letter, lower_case, 0)
    return classes + 16 * letters.astype(np.int32) + 16 * LETTERS * kinds.astype(np.int32)
