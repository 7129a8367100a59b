"""Characters over bytes: what a person reads, where a byte model streams the bytes of UTF-8.

A character has an id, an int32 that fits in the arrays of a `Trace`: its code point, or `BROKEN` + its bytes' value
where the bytes are no UTF-8. Such bytes stand alone, one by one; only as a guess do the first bytes of a character that
breaks off stay together.
"""

from __future__ import annotations

import codecs
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..predictor import KnownTokens, StreamPredictor, Trace, TraceRecorder
from ..vocabulary import Symbols, Tokens, Vocabulary
from .units import byte_widths, code_points

BROKEN = 0x110000
"""The first id above all code points."""

_ESCAPED = 0xDC00
"""Where `surrogateescape` puts the bytes that are no UTF-8."""

_LEADS = range(0xC2, 0xF5)
"""The bytes that begin a character of several."""

_IS_LEAD = np.isin(np.arange(256), _LEADS).astype(np.uint8)

_ANY = range(0x80, 0xC0)
_CONTINUATIONS = {0xE0: range(0xA0, 0xC0), 0xED: range(0x80, 0xA0), 0xF0: range(0x90, 0xC0), 0xF4: range(0x80, 0x90)}
"""Which bytes may follow a first byte, where they are fewer than 80 to BF: no overlong forms, no surrogates."""


def character(id: int) -> str | bytes:
    r"""The character that an id stands for, or the bytes that are none.

    >>> character(0x20AC), character(BROKEN + 0xFF), character(BROKEN + 0xE282)
    ('€', b'\xff', b'\xe2\x82')
    """
    if id < BROKEN:
        return chr(id)
    value = id - BROKEN
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def written(symbol: str | bytes) -> str:
    r"""A symbol as it stands in a table: itself, or an escape if it does not print, such as \n or \xff.

    >>> written("é"), written("\n"), written(b"\xff"), written("\\")
    ('é', '\\n', '\\xff', '\\\\')
    """
    if isinstance(symbol, bytes):
        return "".join(f"\\x{byte:02x}" for byte in symbol)
    if symbol == "\\":
        return "\\\\"
    return symbol if symbol.isprintable() else symbol.encode("unicode_escape").decode()


def _id(symbol: str | bytes) -> int:
    return ord(symbol) if isinstance(symbol, str) else BROKEN + int.from_bytes(symbol, "big")


def character_ids(tokens: Tokens, vocabulary: Vocabulary) -> Tokens:
    """The ids of tokens taken one by one, of any shape: a byte above 127 is no character by itself."""
    if vocabulary.characters is None:
        return np.where(tokens < 128, tokens, tokens + BROKEN).astype(np.int32)
    points = np.fromiter(map(ord, vocabulary.characters), dtype=np.int32)
    return points[tokens]


def top_characters(predictor: StreamPredictor, k: int = 5) -> list[tuple[str | bytes, float]]:
    r"""The k most probable next characters with their probabilities, the most probable first. Changes nothing.

    Over a byte vocabulary the first bytes of a character are followed, the most probable first, until k characters are
    found that nothing left can beat: the probabilities are exact, those of the bytes multiplied. `bytes` stand for what
    is no character: a byte that begins none, or first bytes of one together with the chance that it breaks off there.
    Over a text vocabulary it is `predictor.top(k)`. The predictor must stand between two characters.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> _ = predictor.observe_many("é" * 200)
    >>> [(symbol, round(p, 1)) for symbol, p in top_characters(predictor, 1)]
    [('é', 1.0)]
    """
    if predictor.vocabulary.characters is not None:
        return predictor.top(k)
    if k < 1:
        return []
    root = predictor.fork(learning=False)
    chances = root.predict().astype(np.float64)
    best = np.sort(np.delete(chances, _LEADS))[-k:]  # chances of whole characters: what is below all k is of no use
    bound = best[0] if len(best) == k else 0.0
    heap = [(-float(chances[b]), bytes([b]), root if b in _LEADS else None) for b in np.flatnonzero(chances >= bound)]
    heapq.heapify(heap)
    found: list[tuple[str | bytes, float]] = []
    while heap and len(found) < k:
        chance, prefix, before = heapq.heappop(heap)
        if before is None:
            found.append((_decoded(prefix), -chance))
            continue
        branches = _branches(prefix, -chance, before, k, bound)
        best = np.sort(np.append(best, [-chance for chance, _, node in branches if node is None]))[-k:]
        bound = best[0] if len(best) == k else 0.0
        for branch in branches:
            heapq.heappush(heap, branch)
    return found


def _branches(
    prefix: bytes, chance: float, before: StreamPredictor, k: int, bound: float
) -> list[tuple[float, bytes, StreamPredictor | None]]:
    """How a character may go on after its first bytes, or break off, where that is as probable as `bound`.

    Of the whole characters among them, the k most probable. `before` has seen all the bytes but the last.
    """
    node = before.fork()
    node.observe(prefix[-1:])
    following = _CONTINUATIONS.get(prefix[0], _ANY) if len(prefix) == 1 else _ANY
    chances = chance * node.predict().astype(np.float64)[following.start : following.stop]
    is_whole = len(prefix) == 1 + (prefix[0] >= 0xE0) + (prefix[0] >= 0xF0)
    order = np.argsort(-chances, kind="stable")[: k if is_whole else None]
    branches: list[tuple[float, bytes, StreamPredictor | None]] = [
        (-float(chances[at]), prefix + bytes([following.start + at]), None if is_whole else node)
        for at in order[chances[order] >= bound]
    ]
    breaks_off = chance - float(chances.sum())
    return [*branches, (-breaks_off, prefix, None)] if breaks_off >= bound else branches


def _decoded(symbol: bytes) -> str | bytes:
    try:
        return symbol.decode()
    except UnicodeDecodeError:
        return symbol


def split_characters(parts: Iterable[bytes | str]) -> Iterator[str]:
    """The text of a stream, cut so that each part ends with a whole character.

    Bytes that are not valid UTF-8 become lone surrogates, as Python's error handler `surrogateescape` makes them.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for part in parts:
        if text := part if isinstance(part, str) else decoder.decode(part):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def trace_characters(predictor: StreamPredictor, symbols: Symbols, top: int = 5, position: int = 0) -> Trace:
    """Observe whole characters as `predictor.trace` does, and tell of each character instead of each byte.

    tokens         the characters' ids, and so are `next_tokens`
    bits           the sum of the surprisals of a character's bytes
    ranks          the largest of its bytes' ranks: 1 where each of them was thought the most probable
    next_tokens    those of `top_characters` after each

    An error names the position of an unknown character, counted from `position` on.

    >>> from streamlstm import StreamPredictor
    >>> trace = trace_characters(StreamPredictor(), "né", 2)
    >>> trace.tokens.tolist(), len(trace.bits)
    ([110, 233], 2)
    """
    vocabulary = predictor.vocabulary
    if vocabulary.characters is not None:
        trace = predictor.trace(vocabulary.encode(symbols, position), top)
        ids, next_ids = (character_ids(tokens, vocabulary) for tokens in (trace.tokens, trace.next_tokens))
        return replace(trace, tokens=ids, next_tokens=next_ids)
    tokens = vocabulary.encode(symbols)
    text = symbols if isinstance(symbols, str) else bytes(tokens.tolist()).decode("utf-8", "surrogateescape")
    points = code_points(text).astype(np.int32)
    widths = byte_widths(code_points(text))
    ends = np.cumsum(widths)
    last_bytes = set((ends - 1).tolist())
    found: dict[int, list[tuple[str | bytes, float]]] = {}
    k = min(top, len(vocabulary))
    recorder = TraceRecorder(tokens, k)
    for step in predictor.steps(KnownTokens(tokens, marked=_IS_LEAD, k=k), len(tokens)):
        recorder.add(step)
        index = step.start + step.count - 1
        if index in last_bytes and any(token in _LEADS for token in recorder.next_tokens[index].tolist()):
            found[index] = top_characters(predictor, k)
    trace = recorder.trace()
    if not len(ends):
        return trace
    regrouped = Trace(
        np.where((widths == 1) & (points > 127), points - _ESCAPED + BROKEN, points),
        np.add.reduceat(trace.bits, ends - widths),
        np.maximum.reduceat(trace.ranks, ends - widths),
        character_ids(trace.next_tokens[ends - 1], vocabulary),
        trace.next_probabilities[ends - 1],
    )
    for index, guesses in found.items():
        at = np.searchsorted(ends, index + 1)
        regrouped.next_tokens[at] = [_id(symbol) for symbol, _ in guesses]
        regrouped.next_probabilities[at] = [chance for _, chance in guesses]
    return regrouped
