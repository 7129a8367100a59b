"""Where each part of a memory lies in its flat arrays `state`, `weights` and `scratch`.

A context is what the next symbol is predicted from: the last few symbols, the current word, and so on. Contexts 0 to 6
are the orders, the last 0 to 6 symbols; the others are the extras. An expert is what the mixture combines: expert k is
context k + 1, and the last expert is the network. Order 0 is not an expert of its own.

Letters: V is the size of the vocabulary, C the padded length of a distribution, as in `kernels.network`.
"""

from ..kernels.jit import kernel

N_ORDERS, N_CONTEXTS, N_EXPERTS = 7, 16, 16
LONGEST_ORDER, NETWORK = N_ORDERS - 1, N_EXPERTS - 1

# state, int64 [STATE_SIZE]: single numbers first, then one array after the other.

N_FIELDS, N_RECENT, N_ACTIVE_ROWS = 64, 256, 7

N_SEEN, N_LEARNED = 0, 1
"""How many symbols were seen, and how many of them were learned from."""
WORD, WORD_MINUS_1, WORD_MINUS_2 = 2, 3, 4
"""Hashes of the word so far, 0 between words, and of the two words before it."""
LINE_START, PREVIOUS_LINE_START, LINE_START_LEARNED, PREVIOUS_LINE_START_LEARNED = 5, 6, 7, 8
"""Where this line and the one before it began: in symbols seen, and in symbols learned from."""
MATCH, MATCH_LENGTH, MATCH_TOKEN, MATCH_BUCKET = 9, 10, 11, 12
"""The match: its position in the ring of `history`, its length, the token it predicts, and the index of its weight.
Position and token are -1 if there is no match."""
FIELD, FIELD_TEXT, FIELD_SHAPE = 13, 14, 15
"""The number of the field within its line, the hash of its text so far, and that of its shape: its text with all digits
treated as equal."""
CLASS_HISTORY = 16
"""The character classes of the last three symbols, an octal number."""
CONTEXT_HASH = 17
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
RECENT = FIELD_ABOVE + N_FIELDS
"""[N_RECENT]: the last tokens seen, a ring; -1 before the first."""
STATE_SIZE = RECENT + N_RECENT

# weights, float32 [weights_size(V)]: the parts below, one after the other.

COUNT_BUCKETS, EXPERT_BUCKETS, MATCH_BUCKETS, LATEST_BUCKETS, MATCH_DISTANCES = 60, 168, 64, 96, 3
N_CLASS_HISTORIES, N_COLUMNS, N_AGES, N_SURPRISALS = 8**3, 256, 18, 4**4

BACKOFF_LOGITS = 0
"""[N_ORDERS, COUNT_BUCKETS]: what an order adds to the logit of its back-off weight."""
EXPERT_WEIGHTS = BACKOFF_LOGITS + N_ORDERS * COUNT_BUCKETS
"""[N_EXPERTS, EXPERT_BUCKETS]: the mixing weights of each expert."""
MATCH_WEIGHTS = EXPERT_WEIGHTS + N_EXPERTS * EXPERT_BUCKETS
"""[MATCH_DISTANCES, MATCH_BUCKETS]: what the match adds to the logit of the token it predicts."""
LATEST_WEIGHTS = MATCH_WEIGHTS + MATCH_DISTANCES * MATCH_BUCKETS
"""[N_CONTEXTS - 1, LATEST_BUCKETS]: what each context adds to the logit of the token that followed it last."""
CURVATURE = LATEST_WEIGHTS + (N_CONTEXTS - 1) * LATEST_BUCKETS
"""[N_EXPERTS, N_EXPERTS]: the running mean of the outer products of the gradients of the experts' weights."""
INVERSE_CURVATURE = CURVATURE + N_EXPERTS * N_EXPERTS
"""[N_EXPERTS, N_EXPERTS]: its inverse, with damping."""
ADJUSTMENTS = INVERSE_CURVATURE + N_EXPERTS * N_EXPERTS
"""[SYMBOL_ROWS + 1 + V, ROW_SIZE]: what is added to the weights of all experts, in seven families of rows. The last
number of a row says how often it was used."""
ROW_SIZE = N_EXPERTS + 1

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
SYMBOL_ROWS = SURPRISAL_ROWS + N_SURPRISALS
"""… by the last symbol: the first row is for the beginning of a stream."""

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
    return ADJUSTMENTS + (SYMBOL_ROWS + 1 + n_symbols) * ROW_SIZE


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
    return ADJUSTMENTS + state[ACTIVE_ROWS + n] * ROW_SIZE


@kernel
def latest_token(state, context):
    """The token that followed a context last; negative if none did."""
    return state[LATEST + context] >> 4


@kernel
def latest_run(state, context):
    """How often in a row that token followed the context."""
    return state[LATEST + context] & 15
