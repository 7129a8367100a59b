"""Which parts of the weights are written to: a memory that is that of one stream after another keeps account of it."""

from ..jit.decorators import kernel
from .delta import PART
from .experts import latest_weight_at
from .layout import (
    ADJUSTMENTS,
    BACKOFF_LOGITS,
    CURVATURE,
    EXPERT_BUCKET,
    EXPERT_WEIGHTS,
    LATEST,
    MATCH_BUCKET,
    MATCH_TOKEN,
    MATCH_WEIGHTS,
    N_ACTIVE_ROWS,
    N_CONTEXTS,
    N_EXPERTS,
    N_MATCHES,
    active_row_at,
    expert_weight_at,
    n_uses_at,
)


@kernel
def mark_writes(memory):
    """Mark all parts of the weights that the updates after the next symbol may write to."""
    state, written = memory.state, memory.written
    if written.size == 0:
        return
    for part in range(BACKOFF_LOGITS // PART, EXPERT_WEIGHTS // PART):
        written[part] = 1
    for part in range(CURVATURE // PART, ADJUSTMENTS // PART):
        written[part] = 1
    for k in range(N_EXPERTS):
        if state[EXPERT_BUCKET + k] >= 0:
            written[expert_weight_at(state, k) // PART] = 1
    for m in range(N_MATCHES):
        if state[MATCH_TOKEN + m] >= 0:
            written[(MATCH_WEIGHTS + state[MATCH_BUCKET + m]) // PART] = 1
    for context in range(1, N_CONTEXTS):
        if state[LATEST + context] >= 0:
            written[latest_weight_at(state, context) // PART] = 1
    for n in range(N_ACTIVE_ROWS):
        written[active_row_at(state, n) // PART] = 1
        written[n_uses_at(state, n, memory.entries.size) // PART] = 1
