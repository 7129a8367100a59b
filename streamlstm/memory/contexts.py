"""Where in its stream a memory is: what the contexts of the next symbol are made of, and what was found for it.

state  int64    [STATE], the places below.
kinds  int32    [V]: what kind of symbol it is (END_OF_LINE …), plus 16 · a letter's own number, the same for upper
                and lower case.
history int32   [RING + HEADS]: the symbols learned from, a ring; and where the last six symbols stood before, by hash.
"""

from ..kernels.jit import kernel
from .counts import combine

ORDERS, CONTEXTS, EXPERTS = 7, 16, 16
NETWORK = EXPERTS - 1

END_OF_LINE, GAP, DIGIT, LOWER, UPPER, HIGH, POINT, SIGN = range(8)
KINDS = 8**3

FIELDS, ROWS_IN_FORCE = 64, 5
RING, HEADS, RECENT = 2**20, 2**18, 256
MATCH_ORDER, LONGEST_CHECKED = 6, 32

# Places in `state`: symbols seen, symbols learned from; hashes of the word so far and of the two before; where this
# line and the line before began, in symbols seen and in symbols learned from; the match: place in the ring (or -1),
# length, the symbol it expects (or -1), its bucket; how many gaps the line has, the hash of the piece since the last,
# and of its shape, where digits are alike; the kinds of the last three symbols; per context: hash, distinct symbols,
# sum of counts, and 16 · the symbol that followed last + how often in a row (or -1); per expert: its bucket; the rows
# of B in force; per field: the hash of the piece that stood there last; the last symbols, a ring.
SEEN, LEARNED, WORD, WORD_BEFORE, WORD_BEFORE_THAT, LINE, LINE_BEFORE, LINE_LEARNED, LINE_BEFORE_LEARNED = range(9)
MATCH, LENGTH, GUESS, MATCH_BUCKET, FIELD, PIECE, SHAPE, LAST_KINDS = range(9, 17)
HASH = 17
DISTINCT = HASH + CONTEXTS
TOTAL = DISTINCT + CONTEXTS
LATEST = TOTAL + CONTEXTS
BUCKET = LATEST + CONTEXTS
ROW = BUCKET + EXPERTS
STOOD = ROW + ROWS_IN_FORCE
LAST = STOOD + FIELDS
STATE = LAST + RECENT

ANY_DIGIT = 2**16  # stands for all digits in the hash of a shape; no symbol is as large
FAMILY = 2**40  # hashes of contexts of different kinds begin at multiples of this, beyond symbols; 9 is the match's


@kernel
def recent(state, back):
    """The symbol `back` symbols ago, 1 for the last; -1 before the first."""
    return state[LAST + (state[SEEN] - back) % RECENT]


@kernel
def set_contexts(state):
    """The hashes of the contexts of the next symbol: the orders 0 … 6, then those that `memory.EXPERTS` explains."""
    h = FAMILY
    state[HASH] = h
    for order in range(1, ORDERS):
        h = combine(h, recent(state, order))
        state[HASH + order] = h
    place = state[LINE_BEFORE] + state[SEEN] - state[LINE]
    back = state[SEEN] - place
    above = recent(state, back) if place < state[LINE] and back <= RECENT else -1
    stood = state[STOOD + min(state[FIELD], FIELDS - 1)]
    state[HASH + 7] = combine(combine(2 * FAMILY, state[WORD]), state[WORD_BEFORE])  # word after word
    before = combine(combine(3 * FAMILY, recent(state, 2)), recent(state, 3))
    state[HASH + 8] = combine(before, above)  # before and above
    state[HASH + 9] = combine(combine(4 * FAMILY, above), recent(state, 1))  # above
    state[HASH + 10] = combine(5 * FAMILY, state[WORD])  # word
    state[HASH + 11] = combine(combine(6 * FAMILY, state[FIELD]), state[SHAPE])  # field
    state[HASH + 12] = combine(combine(combine(7 * FAMILY, state[FIELD]), stood), state[PIECE])  # field above
    state[HASH + 13] = combine(combine(8 * FAMILY, state[SEEN] - state[LINE]), recent(state, 1))  # column
    state[HASH + 14] = combine(combine(10 * FAMILY, state[SHAPE]), state[WORD_BEFORE])  # shape
    state[HASH + 15] = combine(combine(11 * FAMILY, state[WORD]), state[WORD_BEFORE_THAT])  # skipped word


@kernel
def advance(state, kinds, token):
    """The symbol becomes the last one; words, pieces between gaps, and lines go on or begin."""
    kind, letter = kinds[token] & 15, kinds[token] >> 4
    state[LAST + state[SEEN] % RECENT] = token
    state[LAST_KINDS] = (state[LAST_KINDS] * 8 + kind) % KINDS
    state[SEEN] += 1
    if letter > 0:
        state[WORD] = combine(state[WORD], letter)
    elif state[WORD] != 0:
        state[WORD_BEFORE_THAT] = state[WORD_BEFORE]
        state[WORD_BEFORE] = state[WORD]
        state[WORD] = 0
    if kind > GAP:
        state[PIECE] = combine(state[PIECE], token)
        state[SHAPE] = combine(state[SHAPE], ANY_DIGIT if kind == DIGIT else token)
    else:
        state[STOOD + min(state[FIELD], FIELDS - 1)] = state[PIECE]
        state[PIECE] = state[SHAPE] = 0
        state[FIELD] += 1
    if kind == END_OF_LINE:
        state[FIELD] = 0
        state[LINE_BEFORE] = state[LINE]
        state[LINE] = state[SEEN]


@kernel
def follow_match(history, state, token, learn):
    """The match goes on if it expected the symbol; else the last place where the last six symbols stood is tried."""
    if learn:
        history[state[LEARNED] % RING] = token
    if state[GUESS] == token:
        state[MATCH] = (state[MATCH] + 1) % RING
        state[LENGTH] += 1
    else:
        state[MATCH] = -1
    h = combine(9 * FAMILY, state[HASH + MATCH_ORDER])
    head = RING + (h >> 31) % HEADS
    if state[MATCH] < 0 and history[head] > 0:
        at, length = history[head] - 1, 0
        while length < LONGEST_CHECKED and history[(at - 1 - length) % RING] == recent(state, length + 1):
            length += 1
        if length >= MATCH_ORDER:
            state[MATCH], state[LENGTH] = at, length
    if learn:
        state[LEARNED] += 1
        history[head] = state[LEARNED] % RING + 1
    if state[MATCH] == state[LEARNED] % RING:
        state[MATCH] = -1  # what was learned ends there
    state[GUESS] = history[state[MATCH]] if state[MATCH] >= 0 else -1
    if state[SEEN] == state[LINE]:
        state[LINE_BEFORE_LEARNED] = state[LINE_LEARNED]
        state[LINE_LEARNED] = state[LEARNED]


@kernel
def lines_back(state):
    """Where the match lies: 0 in this line, 1 in the line before, 2 further back."""
    back = (state[LEARNED] - state[MATCH]) % RING
    if back <= state[LEARNED] - state[LINE_LEARNED]:
        return 0
    return 1 if back <= state[LEARNED] - state[LINE_BEFORE_LEARNED] else 2
