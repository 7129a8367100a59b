"""Where each part lies in the arrays `memory.weights` and `memory.state` of a checkpoint."""

from typing import NamedTuple

import numpy as np

from .arithmetic import Array

N_ORDERS, N_CONTEXTS, N_EXPERTS = 7, 16, 16
LONGEST_ORDER = N_ORDERS - 1
N_MATCHES, N_OPEN, N_RECENT = 2, 16, 256
N_FIELDS, N_COLUMNS, N_CLASS_HISTORIES, N_AGES, N_SURPRISALS, N_BRACKETS, N_STRENGTHS = 64, 256, 512, 18, 256, 7, 128

FAMILIES = {
    "field": N_FIELDS,
    "column": N_COLUMNS,
    "known": N_ORDERS * (N_CONTEXTS - N_ORDERS + 1),
    "classes": N_CLASS_HISTORIES,
    "age": N_AGES,
    "surprisals": N_SURPRISALS,
    "bracket": N_BRACKETS * 4 * 8,
    "match": 1 + 2 * N_STRENGTHS,
}
"""The families of the rows of adjustments, and their numbers of rows; those of the last symbol follow, 1 + V."""
FIRST_ROW = dict(zip([*FAMILIES, "symbol"], np.cumsum([0, *FAMILIES.values()]).tolist(), strict=True))

STATE = {
    **dict.fromkeys(("n_seen", "n_learned", "word", "previous_word", "word_minus_2"), 1),
    **dict.fromkeys(("line_start", "previous_line_start", "line_start_learned", "previous_line_start_learned"), 1),
    **dict.fromkeys(("field", "field_text", "field_shape", "class_history"), 1),
    **dict.fromkeys(("depth", "last_bracket", "tag_name", "in_closing_tag", "is_markup"), 1),
    **dict.fromkeys(("position", "length", "misses", "recoveries", "token"), N_MATCHES),
    "computed": 2 * N_MATCHES + 5 * N_CONTEXTS + 9,  # anew for each symbol
    "surprisals": 1,
    "fields_above": N_FIELDS,
    "open": 2 * (1 + N_OPEN),
    "recent": N_RECENT,
}
"""The parts of `memory.state`, and their lengths."""


class MemoryWeights(NamedTuple):
    """The parts of `memory.weights`, in its order."""

    backoff_logits: Array
    padding: Array
    expert_weights: Array
    match_weights: Array
    latest_weights: Array
    curvature: Array
    inverse: Array
    adjustments: Array
    n_uses: Array


def weight_shapes(V: int) -> list[tuple[int, ...]]:
    """The shapes of the parts; each begins at a multiple of 16."""
    n_rows, matrix = FIRST_ROW["symbol"] + 1 + V, (N_EXPERTS, N_EXPERTS)
    return [
        *[(N_ORDERS, 60), (12,), (N_EXPERTS, 168), (N_MATCHES, 3, 2 * N_STRENGTHS), (N_CONTEXTS - 1, 96)],
        *[matrix, matrix, (n_rows, N_EXPERTS), (n_rows,)],
    ]


def weights_of(flat: Array, V: int) -> MemoryWeights:
    """Copies of the parts of `memory.weights`."""
    shapes = weight_shapes(V)
    parts = np.split(flat.copy(), np.cumsum([np.prod(shape) for shape in shapes])[:-1])
    return MemoryWeights(*(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)))


def first_weights(V: int) -> Array:
    """The `memory.weights` of a checkpoint that has none: beside a trained network."""
    weights = MemoryWeights(*(np.zeros(shape, np.float32) for shape in weight_shapes(V)))
    weights.expert_weights[LONGEST_ORDER - 1 :] = 0.03
    weights.expert_weights[LONGEST_ORDER - 1] = 0.15
    weights.expert_weights[-1] = 0.6
    by_strength = weights.match_weights.reshape(N_MATCHES, 3, 16, 8, 2)
    by_strength[..., 0], by_strength[..., 1] = 0.5, 3
    for length, weight in enumerate((0.2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.2, 0.3, 0.5, 0.6, 1, 1.3, 1.6, 2, 2)):
        by_strength[:, :, length, 0] = weight
    np.fill_diagonal(weights.curvature, 1)
    np.fill_diagonal(weights.inverse, 1 / 3)
    return np.concatenate([weight.ravel() for weight in weights])


def state_of(flat: Array) -> dict[str, list[int]]:
    """The parts of `memory.state`."""
    parts = np.split(flat, np.cumsum(list(STATE.values()))[:-1])
    return {name: part.tolist() for name, part in zip(STATE, parts, strict=True)}


def first_state() -> Array:
    """The `memory.state` of a memory that has seen nothing: zeros, and -1 for what is not there."""
    parts = {name: np.zeros(length, np.int64) for name, length in STATE.items()}
    for name in ("position", "token", "recent"):
        parts[name][:] = -1
    return np.concatenate(list(parts.values()))


def without_computed(state: Array) -> Array:
    """A copy of `memory.state` with zeros for what is computed anew."""
    first = 1 + list(STATE).index("computed")
    begin, end = (sum(list(STATE.values())[:n]) for n in (first - 1, first))
    return np.concatenate([state[:begin], np.zeros(end - begin, np.int64), state[end:]])
