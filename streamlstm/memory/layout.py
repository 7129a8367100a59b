"""Where each part of a memory lies in its flat arrays `state`, `weights` and `scratch`.

A context is what the next symbol is predicted from: the last few symbols, the current word, and so on. Contexts 0 to 6
are the orders, the last 0 to 6 symbols; the others are the extras. An expert is what the mixture combines: expert k is
context k + 1, and the last expert is the network. Order 0 is not an expert of its own.

Letters: V is the size of the vocabulary, C the padded length of a distribution, as in `kernels.network`.

Kernels use words of `state` as indices, without bounds checks. `state_ranges` and `weight_ranges` declare what the
words of a file may be. A memory begins within these ranges and stays within them, whatever it reads.
"""

import numpy as np

from ..jit.decorators import kernel
from ..kernels.arrays import F32, F64, I64
from ..ranges import COUNT, Range

N_ORDERS, N_CONTEXTS, N_EXPERTS = 7, 16, 16
LONGEST_ORDER, NETWORK = N_ORDERS - 1, N_EXPERTS - 1

# state, int64 [STATE_SIZE]: single numbers first, then one array after the other.

N_FIELDS, N_RECENT, N_ACTIVE_ROWS, N_MATCHES, N_OPEN = 64, 256, 9, 2, 16

N_SEEN, N_LEARNED = 0, 1
"""How many symbols were seen, and how many of them were learned from."""
WORD, WORD_MINUS_1, WORD_MINUS_2 = 2, 3, 4
"""Hashes of the word so far, 0 between words, and of the two words before it."""
LINE_START, PREVIOUS_LINE_START, LINE_START_LEARNED, PREVIOUS_LINE_START_LEARNED = 5, 6, 7, 8
"""Where this line and the one before it began: in symbols seen, and in symbols learned from."""
FIELD, FIELD_TEXT, FIELD_SHAPE = 9, 10, 11
"""The number of the field within its line, the hash of its text so far, and that of its shape: its text with all digits
treated as equal."""
CLASS_HISTORY = 12
"""The character classes of the last three symbols, an octal number."""
DEPTH, LAST_BRACKET, TAG_NAME, IN_CLOSING_TAG, IS_MARKUP = 13, 14, 15, 16, 17
"""How many brackets are open; what the last symbol was; the hash of the name in the last tag, 0 before its end; whether
that is a closing tag; and whether there was a closing tag: see `brackets`."""
MATCH, MATCH_LENGTH = 18, 18 + N_MATCHES
"""[N_MATCHES] each: the position of a match in the ring of `history`, -1 if there is none, and how many symbols before
it were predicted or are equal."""
MATCH_MISSES = MATCH_LENGTH + N_MATCHES
"""[N_MATCHES]: which of the last 16 predictions of a match were wrong, one bit each, the last one the lowest."""
MATCH_RECOVERIES = MATCH_MISSES + N_MATCHES
"""[N_MATCHES]: how often 16 predictions in a row were right again after one that was wrong."""
MATCH_TOKEN, MATCH_BUCKET = MATCH_RECOVERIES + N_MATCHES, MATCH_RECOVERIES + 2 * N_MATCHES
"""[N_MATCHES] each: the token that a match predicts, -1 if there is none, and the index of its weight."""
MATCH_HEAD = MATCH_BUCKET + N_MATCHES
"""[N_MATCHES]: where in `history` the places of the last symbols are."""
CONTEXT_HASH = MATCH_HEAD + N_MATCHES
"""[N_CONTEXTS]: the hash of each context of the next symbol."""
DISTINCT, TOTAL = CONTEXT_HASH + N_CONTEXTS, CONTEXT_HASH + 2 * N_CONTEXTS
"""[N_CONTEXTS] each: how many symbols followed the context before, without and with repetitions."""
LATEST = TOTAL + N_CONTEXTS
"""[N_CONTEXTS]: 16 · the token that followed the context last + its run, see `counts`; -1 if none did."""
EXPERT_BUCKET = LATEST + N_CONTEXTS
"""[N_EXPERTS]: which of its weights an expert is mixed with; -1 if it has no prediction."""
ACTIVE_ROWS = EXPERT_BUCKET + N_EXPERTS
"""[N_ACTIVE_ROWS]: which rows of ADJUSTMENTS apply to the next symbol."""
SURPRISALS = ACTIVE_ROWS + N_ACTIVE_ROWS
"""How surprising the last four symbols were, in four steps each: a number of base 4."""
FIELD_ABOVE = SURPRISALS + 1
"""[N_FIELDS]: for each field number the hash of the text that the last such field had."""
OPEN = FIELD_ABOVE + N_FIELDS
"""[1 + N_OPEN, 2]: no bracket, then the open brackets and their hashes, a ring."""
RECENT = OPEN + 2 * (1 + N_OPEN)
"""[N_RECENT]: the last tokens seen, a ring; -1 before the first."""
STATE_SIZE = RECENT + N_RECENT

COMPUTED = slice(MATCH_BUCKET, SURPRISALS)
"""What is computed anew from the rest before it is used."""

LAST_HASH, LAST_KIND = 2**62 - 1, 19
"""The largest hash, and the largest number that says what a symbol is to `brackets`."""


def state_ranges(state: I64, n_symbols: int, ring_size: int) -> tuple[Range, ...]:
    """What each word of a state may be, except those that are computed anew.

    n_symbols  the size of the vocabulary
    ring_size  for how many tokens the history has space
    """
    n_seen, n_learned, depth = (int(state[at]) for at in (N_SEEN, N_LEARNED, DEPTH))
    line_start, line_start_learned = int(state[LINE_START]), int(state[LINE_START_LEARNED])
    matches, lengths, misses, recoveries, tokens = state[MATCH:MATCH_BUCKET].reshape(5, N_MATCHES)
    no_bracket, *pairs = state[OPEN:RECENT].reshape(1 + N_OPEN, 2)
    brackets, names = np.array(pairs).T
    return (
        Range("N_SEEN", state[N_SEEN], 0, COUNT),
        Range("N_LEARNED", state[N_LEARNED], 0, COUNT),
        Range("the hash of a word", state[WORD : WORD_MINUS_2 + 1], 0, LAST_HASH),
        Range("LINE_START", state[LINE_START], 0, n_seen),
        Range("PREVIOUS_LINE_START", state[PREVIOUS_LINE_START], 0, line_start),
        Range("LINE_START_LEARNED", state[LINE_START_LEARNED], 0, n_learned),
        Range("PREVIOUS_LINE_START_LEARNED", state[PREVIOUS_LINE_START_LEARNED], 0, line_start_learned),
        Range("FIELD", state[FIELD], 0, n_seen),
        Range("the hash of a field", state[FIELD_TEXT : FIELD_SHAPE + 1], 0, LAST_HASH),
        Range("CLASS_HISTORY", state[CLASS_HISTORY], 0, N_CLASS_HISTORIES - 1),
        Range("DEPTH", state[DEPTH], 0, n_seen),
        Range("LAST_BRACKET", state[LAST_BRACKET], 0, LAST_KIND),
        Range("TAG_NAME", state[TAG_NAME], 0, LAST_HASH),
        Range("IN_CLOSING_TAG or IS_MARKUP", state[IN_CLOSING_TAG : IS_MARKUP + 1], 0, 1),
        Range("MATCH", matches, -1, ring_size - 1),
        Range("MATCH_LENGTH", lengths, 0, n_seen),
        Range("MATCH_MISSES", misses, 0, 2**16 - 1),
        Range("MATCH_RECOVERIES", recoveries, 0, n_seen),
        Range("MATCH_TOKEN", tokens, -1, n_symbols - 1),
        Range("SURPRISALS", state[SURPRISALS], 0, N_SURPRISALS - 1),
        Range("FIELD_ABOVE", state[FIELD_ABOVE:OPEN], 0, LAST_HASH),
        Range("the bracket at depth 0", no_bracket, 0, 0),
        Range("a bracket", brackets, 0, N_BRACKETS - 1),
        Range("an open bracket", brackets[: max(depth, 0)], 1, N_BRACKETS - 1),
        Range("the hash of a bracket", names, 0, LAST_HASH),
        Range("RECENT", state[RECENT:], -1, n_symbols - 1),
        Range("a token seen", state[RECENT:][: max(n_seen, 0)], 0, n_symbols - 1),
    )


# weights, float32 [weights_size(V)]: the parts below, one after the other, each from a multiple of 16 on.

COUNT_BUCKETS, EXPERT_BUCKETS, MATCH_BUCKETS, LATEST_BUCKETS, MATCH_DISTANCES = 60, 168, 256, 96, 3
N_CLASS_HISTORIES, N_COLUMNS, N_AGES, N_SURPRISALS, N_BRACKETS, N_STRENGTHS = 8**3, 256, 18, 4**4, 7, 128

BACKOFF_LOGITS = 0
"""[N_ORDERS, COUNT_BUCKETS]: what an order adds to the logit of its back-off weight."""
EXPERT_WEIGHTS = -(-(BACKOFF_LOGITS + N_ORDERS * COUNT_BUCKETS) // 16) * 16
"""[N_EXPERTS, EXPERT_BUCKETS]: the mixing weights of each expert."""
MATCH_WEIGHTS = EXPERT_WEIGHTS + N_EXPERTS * EXPERT_BUCKETS
"""[N_MATCHES, MATCH_DISTANCES, MATCH_BUCKETS]: what a match adds to the logit of the token it predicts."""
LATEST_WEIGHTS = MATCH_WEIGHTS + N_MATCHES * MATCH_DISTANCES * MATCH_BUCKETS
"""[N_CONTEXTS - 1, LATEST_BUCKETS]: what each context adds to the logit of the token that followed it last."""
CURVATURE = LATEST_WEIGHTS + (N_CONTEXTS - 1) * LATEST_BUCKETS
"""[N_EXPERTS, N_EXPERTS]: the running mean of the outer products of the gradients of the experts' weights."""
INVERSE_CURVATURE = CURVATURE + N_EXPERTS * N_EXPERTS
"""[N_EXPERTS, N_EXPERTS]: its inverse, with damping."""
ADJUSTMENTS = INVERSE_CURVATURE + N_EXPERTS * N_EXPERTS
"""[SYMBOL_ROWS + 1 + V, N_EXPERTS]: what is added to the weights of all experts, in nine families of rows; followed by
[SYMBOL_ROWS + 1 + V]: how often each row was used."""

FIELD_ROWS = 0
"""The first row of the family that is chosen by the number of the field."""
COLUMN_ROWS = FIELD_ROWS + N_FIELDS
"""… by the number of symbols since the line began."""
KNOWN_ROWS = COLUMN_ROWS + N_COLUMNS
"""… by the longest order that has counts, and by how many extras have."""
CLASS_ROWS = KNOWN_ROWS + N_ORDERS * (N_CONTEXTS - N_ORDERS + 1)
"""… by the classes of the last three symbols."""
AGE_ROWS = CLASS_ROWS + N_CLASS_HISTORIES
"""… by the number of binary digits of the number of symbols learned from."""
SURPRISAL_ROWS = AGE_ROWS + N_AGES
"""… by how surprising the last four symbols were."""
BRACKET_ROWS = SURPRISAL_ROWS + N_SURPRISALS
"""… by the innermost open bracket, the number of open ones up to 3, and the class of the last symbol."""
MATCH_ROWS = BRACKET_ROWS + N_BRACKETS * 4 * 8
"""… by the first match that predicts: how strong it is, and whether the longest order expects the same token; the first
row is for no match."""
SYMBOL_ROWS = MATCH_ROWS + 1 + 2 * N_STRENGTHS
"""… by the last symbol: the first row is for the beginning of a stream."""

MOST_USES = 2**24
"""A float32 does not count any further."""
LARGEST_WEIGHT, LARGEST_CURVATURE, LARGEST_INVERSE = 2.0**24, 1024, 1
"""No number becomes as large: a weight's step is below ½, which does not change a float32 of 2**23; a gradient is the
difference of two logarithms of at least TINY, so its square is below 400; and the inverse is damped by 2."""


def weight_ranges(weights: F32, n_symbols: int) -> tuple[Range, ...]:
    """What the weights may be: with these every distribution is finite."""
    matrix = weights[CURVATURE:INVERSE_CURVATURE].astype(np.float64).reshape(N_EXPERTS, N_EXPERTS)
    uses = uses_at(n_symbols)
    return (
        Range("a weight", weights[:CURVATURE], -LARGEST_WEIGHT, LARGEST_WEIGHT),
        Range("a curvature", matrix, -LARGEST_CURVATURE, LARGEST_CURVATURE),
        Range("a number of the inverse", weights[INVERSE_CURVATURE:ADJUSTMENTS], -LARGEST_INVERSE, LARGEST_INVERSE),
        Range("an adjustment", weights[ADJUSTMENTS:uses], -LARGEST_WEIGHT, LARGEST_WEIGHT),
        Range("the number of uses of a row", weights[uses:], 0, MOST_USES),
        Range("an eigenvalue of the curvature", _eigenvalues(matrix), -1, np.inf),
    )


def _eigenvalues(matrix: F64) -> F64:
    """Those of the symmetric part of a matrix. If all are at least -1, no pivot of the damped matrix is 0."""
    return np.linalg.eigvalsh((matrix + matrix.T) / 2).astype(np.float64)


# scratch, float32 [scratch_size(C)]: single numbers first, then the distributions.

BACKOFF = 0
"""[N_CONTEXTS]: the back-off weight λ of each context."""
MIXING = BACKOFF + N_CONTEXTS
"""[N_EXPERTS]: the mixing weight of each expert."""
GRADIENT = MIXING + N_EXPERTS
"""[N_EXPERTS]: the gradient of the log-likelihood by those."""
STEP = GRADIENT + N_EXPERTS
"""[N_EXPERTS]: the Newton step."""
DISTRIBUTIONS = STEP + N_EXPERTS
"""[N_CONTEXTS, C]: the distribution of each context; followed by [N_EXPERTS, C]: the logarithms of each expert's."""


def weights_size(n_symbols: int) -> int:
    """The length of `weights` for a vocabulary of this many symbols."""
    return uses_at(n_symbols) + SYMBOL_ROWS + 1 + n_symbols


def uses_at(n_symbols: int) -> int:
    """Where the numbers of uses of the rows begin in `weights`."""
    return ADJUSTMENTS + (SYMBOL_ROWS + 1 + n_symbols) * N_EXPERTS


def scratch_size(columns: int) -> int:
    """The length of `scratch` for distributions of this many columns."""
    return DISTRIBUTIONS + (N_CONTEXTS + N_EXPERTS) * columns


@kernel
def distribution_at(context, C):
    """Where the distribution of a context begins in `scratch`."""
    return DISTRIBUTIONS + context * C


@kernel
def logarithms_at(expert, C):
    """Where the logarithms of an expert's distribution begin in `scratch`."""
    return DISTRIBUTIONS + (N_CONTEXTS + expert) * C


@kernel
def expert_weight_at(state, expert):
    """Where the weight of an expert that has a prediction lies in `weights`."""
    return EXPERT_WEIGHTS + expert * EXPERT_BUCKETS + state[EXPERT_BUCKET + expert]


@kernel
def active_row_at(state, n):
    """Where the n-th of the active rows of ADJUSTMENTS begins in `weights`."""
    return ADJUSTMENTS + state[ACTIVE_ROWS + n] * N_EXPERTS


@kernel
def n_uses_at(state, n, V):
    """Where `weights` has how often the n-th of the active rows was used."""
    return ADJUSTMENTS + (SYMBOL_ROWS + 1 + V) * N_EXPERTS + state[ACTIVE_ROWS + n]


@kernel
def latest_token(state, context):
    """The token that followed a context last; negative if none did."""
    return state[LATEST + context] >> 4


@kernel
def latest_run(state, context):
    """How often in a row that token followed the context."""
    return state[LATEST + context] & 15
