"""The brackets, quotes, tags and elements that are open: what the next symbol lies in.

state  int64  DEPTH and, for each that is open, its bracket and a hash that tells what it belongs to (see `layout`):
              for a bracket and a quote the word before it; for an element its name; for a tag the name of the element
              around it, so that a closing tag can be expected. The stack is a ring: the oldest are overwritten.

A quote ends with the line. "<" begins a tag if a letter or "/" follows. Elements are only noted once a closing tag was
seen, since "<" and ">" have other meanings where there are none.
"""

from ..jit.decorators import kernel
from .layout import DEPTH, IN_CLOSING_TAG, IS_MARKUP, LAST_BRACKET, N_OPEN, OPEN, TAG_NAME, WORD, WORD_MINUS_1

NO_BRACKET, ROUND, SQUARE, CURLY, ELEMENT, TAG, QUOTE = range(7)
"""What can be open."""
SLASH, TAG_END, NEWLINE, LETTER = 7, 8, 9, 10
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
        if bracket in (QUOTE, NEWLINE):
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
