"""The memory of a model file."""

import numpy as np

from .arithmetic import Array
from .layout import N_MATCHES, N_OPEN, N_RECENT, state_of
from .matches import Match
from .memory import Page, ReferenceMemory
from .model import Model, memory_arrays
from .text import Text


def memory_of(model: Model) -> ReferenceMemory | None:
    """The memory of a model; None if it has none."""
    arrays, config = memory_arrays(model) | model.arrays, model.values["config"]
    if not config["memory"]:
        return None
    C = -(-model.n_symbols // 128) * 128
    memory = ReferenceMemory(arrays["memory.weights"], model.characters, 2 ** config["memory_bits"], C)
    load_pages(memory, arrays)
    state = state_of(arrays["memory.state"])
    memory.surprisals = state["surprisals"][0]
    load_text(memory.text, state)
    load_history(memory.text, state, arrays)
    return memory


def load_pages(memory: ReferenceMemory, arrays: dict[str, Array]) -> None:
    """Fill the table of counts."""
    words, lengths = arrays["memory.words"].tolist(), arrays["memory.lengths"].tolist()
    for place, length in zip(arrays["memory.pages"].tolist(), lengths, strict=True):
        tag, priority, header, *entries = words[: 3 + length]
        counts = {entry % 65536: entry // 65536 for entry in entries}
        memory.counts.pages[place] = Page(tag, priority, header // 256, header // 16 % 16, counts)
        words = words[3 + length :]


def load_text(text: Text, state: dict[str, list[int]]) -> None:
    """Set the position in the text."""
    single = ["n_seen", "word", "previous_word", "word_minus_2", "line_start", "previous_line_start"]
    single += ["line_start_learned", "previous_line_start_learned", "field", "field_text", "field_shape"]
    for name in [*single, "class_history"]:
        setattr(text, name, state[name][0])
    ring = state["recent"]
    text.recent = [ring[n % N_RECENT] for n in range(max(0, text.n_seen - N_RECENT), text.n_seen)]
    text.fields_above = state["fields_above"]
    brackets, pairs = text.brackets, state["open"][2:]
    brackets.ring = [(pairs[2 * n], pairs[2 * n + 1]) for n in range(N_OPEN)]
    brackets.depth, brackets.before = state["depth"][0], state["last_bracket"][0]
    brackets.tag_name = state["tag_name"][0]
    brackets.in_closing_tag, brackets.is_markup = state["in_closing_tag"] == [1], state["is_markup"] == [1]


def load_history(text: Text, state: dict[str, list[int]], arrays: dict[str, Array]) -> None:
    """Set the tokens that were learned, where they occurred, and the matches."""
    history = text.history
    width = np.uint8 if len(text.kinds) <= 256 else np.uint16
    tokens = arrays["memory.history"].view(width).tolist()
    history.ring[: len(tokens)] = tokens
    history.n_learned = state["n_learned"][0]
    for index, place in arrays["memory.heads"].T.tolist():
        history.heads.setdefault(index // 2, []).append(place - 1)
    names = ("position", "length", "misses", "recoveries", "token")
    history.matches = [Match(*(state[name][n] for name in names)) for n in range(N_MATCHES)]
