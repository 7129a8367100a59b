"""Predictions and traces by character, for models of bytes too.

A byte model streams the bytes of UTF-8; people read characters. In the arrays of a `Trace` a character is an int32 id:
its code point, or `BYTES_ID` + the value of its bytes where they are not valid UTF-8. In a text each byte that is not
valid UTF-8 counts as a character of its own. As a guess, the first bytes of an incomplete character stay together.
"""

from __future__ import annotations

import heapq
from codecs import utf_8_decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F64
from ..predictor import KnownTokens, StreamPredictor, Trace, TraceRecorder
from ..ranges import check_count
from ..vocabulary import Symbols, Tokens
from .units import byte_widths, code_points, readable

BYTES_ID = 0x110000
"""The first id above all code points."""

N_CHARACTERS = 0x110000
"""More than there are characters."""

N_BYTES = 256

_ESCAPE = 0xDC00
"""What `surrogateescape` adds to a byte that is not valid UTF-8."""

_LEADS = range(0xC2, 0xF5)
"""The bytes that begin a character of several bytes."""

_IS_LEAD = np.isin(np.arange(256), _LEADS).astype(np.uint8)

_STARTS = [*range(0x80), *_LEADS]
_ANY = range(0x80, 0xC0)
_CONTINUATIONS = {0xE0: range(0xA0, 0xC0), 0xED: range(0x80, 0xA0), 0xF0: range(0x90, 0xC0), 0xF4: range(0x80, 0x90)}
"""The second bytes that a first byte allows, where not all of 80 to BF: overlong forms and surrogates are invalid."""


def character(id: int) -> str | bytes:
    r"""The character with an id, or its bytes if they are not valid UTF-8.

    >>> character(0x20AC), character(BYTES_ID + 0xFF), character(BYTES_ID + 0xE282)
    ('€', b'\xff', b'\xe2\x82')
    """
    if id < BYTES_ID:
        return chr(id)
    value = id - BYTES_ID
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _id(symbol: str | bytes) -> int:
    return ord(symbol) if isinstance(symbol, str) else BYTES_ID + int.from_bytes(symbol, "big")


def top_characters(predictor: StreamPredictor, k: int = 5) -> list[tuple[str | bytes, float]]:
    r"""The k most probable next characters with their probabilities, the most probable first. Changes nothing.

    With a byte vocabulary this is a best-first search over the first bytes of characters, which stops when no remaining
    one can be among the best k. The probabilities are exact: the product of those of the bytes. An item of `bytes` is
    not a character: a byte that cannot begin one, or the first bytes of one with the probability that it ends there.
    With a text vocabulary this is `predictor.top(k)`. The predictor must be between two characters. Raises ValueError
    for k below 0.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> _ = predictor.observe_many("é" * 200)
    >>> [(symbol, round(p, 1)) for symbol, p in top_characters(predictor, 1)]
    [('é', 1.0)]
    """
    k = check_count("top", k, 0)
    if k < 1 or predictor.vocabulary.characters is not None:
        return predictor.top(k)
    return list(islice(((_decoded(prefix), chance) for prefix, chance in _best_first(predictor, k)), k))


def likely_characters(predictor: StreamPredictor, k: int, mass: float, least: float) -> tuple[list[str], F64]:
    """The most probable next characters and their probabilities, float64 [n]: at least one, at most k.

    mass   stop when their probabilities sum to this share of those of all characters
    least  leave out those that are less probable than this, unless all are

    Only characters: bytes that are not valid UTF-8 are left out. The predictor must be between two characters.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> _ = predictor.observe_many("né" * 200)
    >>> likely_characters(predictor, k=5, mass=0.5, least=0)[0]
    ['n']
    """
    if predictor.vocabulary.characters is not None:
        p = predictor.predict().astype(np.float64)
        order = np.argsort(-p, kind="stable")
        kept = max(1, min(k, int(np.searchsorted(np.cumsum(p[order]), mass)) + 1, int((p >= least).sum())))
        return [predictor.vocabulary.characters[token] for token in order[:kept]], p[order[:kept]]
    found: list[str] = []
    chances: list[float] = []
    missing = mass * float(predictor.distribution[_STARTS].sum(dtype=np.float64))
    for prefix, chance in _best_first(predictor, N_CHARACTERS, least):
        symbol = _decoded(prefix)
        if isinstance(symbol, str):
            found.append(symbol)
            chances.append(chance)
            missing -= chance
            if len(found) == k or missing <= 0:
                break
    return (found, np.array(chances)) if found else likely_characters(predictor, 1, 1.0, 0.0)


def next_bytes(prefix: bytes) -> Sequence[int]:
    r"""The bytes that may follow the first bytes of a character of UTF-8; none if it is complete.

    >>> [len(next_bytes(prefix)) for prefix in (b"", b"\xf0", b"\xf0\x9f\x98", b"a")]
    [179, 48, 64, 0]
    """
    if not prefix:
        return _STARTS
    first = prefix[0]
    if len(prefix) > (first >= 0xC2) + (first >= 0xE0) + (first >= 0xF0):
        return ()
    return _CONTINUATIONS.get(first, _ANY) if len(prefix) == 1 else _ANY


def _best_first(predictor: StreamPredictor, k: int, least: float = 0.0) -> Iterator[tuple[bytes, float]]:
    """The next characters with their probabilities, the most probable first.

    The best k of them that have a probability of at least `least`, and maybe others. Among them are what is no
    character: a byte that cannot begin one, or the first bytes of an incomplete one.
    """
    root = predictor.fork(learning=False)
    chances = root.predict().astype(np.float64)
    best = np.sort(np.delete(chances, _LEADS))[-k:].tolist()  # the chances of the best k symbols found so far
    bound = max(best[0], least) if len(best) == k else least
    heap = [(-float(chances[b]), bytes([b]), root if b in _LEADS else None) for b in np.flatnonzero(chances >= bound)]
    heapq.heapify(heap)
    while heap:
        chance, prefix, before = heapq.heappop(heap)
        if before is None:
            yield prefix, -chance
            continue
        branches = _branches(prefix, -chance, before, k, bound)
        best = sorted([*best, *(-chance for chance, _, node in branches if node is None)])[-k:]
        bound = max(best[0], least) if len(best) == k else least
        for branch in branches:
            heapq.heappush(heap, branch)


def character_chances(predictor: StreamPredictor, least: float = 1e-5) -> F64:
    """The probabilities of the next characters, float64 [n], in no particular order; they sum to 1. Changes nothing.

    least  the characters with the same first bytes count as one if these bytes are less probable than this

    With a text vocabulary these are the probabilities of the symbols. The predictor must be between two characters.

    >>> from streamlstm import StreamPredictor
    >>> len(character_chances(StreamPredictor(), least=0.1))
    256
    """
    chances = predictor.predict().astype(np.float64)
    if predictor.vocabulary.characters is not None:
        return chances
    is_open = (_IS_LEAD == 1) & (chances >= least)
    root = predictor.fork(learning=False)
    unfinished = [(bytes([byte]), float(chances[byte]), root) for byte in np.flatnonzero(is_open).tolist()]
    found = chances[~is_open].tolist()
    while unfinished:
        for chance, prefix, node in _branches(*unfinished.pop(), k=64, bound=0.0):
            if node is None or -chance < least:
                found.append(-chance)
            else:
                unfinished.append((prefix, -chance, node))
    return np.array(found)


def _branches(
    prefix: bytes, chance: float, before: StreamPredictor, k: int, bound: float
) -> list[tuple[float, bytes, StreamPredictor | None]]:
    """The continuations of a character after its first bytes with a probability of at least `bound`.

    prefix  its first bytes, of probability `chance`
    before  the predictor that has observed all of them but the last

    One of them stands for the incomplete character. If the next byte completes it, only the best k are returned.
    """
    node = before.fork()
    node.observe_token(prefix[-1])
    following = next_bytes(prefix)
    chances = chance * node.distribution[following[0] : following[-1] + 1].astype(np.float64)
    is_whole = not next_bytes(prefix + bytes([following[0]]))
    likely = np.flatnonzero(chances >= bound)
    if is_whole and len(likely) > k:
        likely = likely[np.argsort(-chances[likely], kind="stable")[:k]]
    branches: list[tuple[float, bytes, StreamPredictor | None]] = [
        (-float(chances[at]), prefix + bytes([following[at]]), None if is_whole else node) for at in likely.tolist()
    ]
    incomplete = chance - float(chances.sum())
    return [*branches, (-incomplete, prefix, None)] if incomplete >= bound else branches


def _decoded(symbol: bytes) -> str | bytes:
    try:
        return symbol.decode()
    except UnicodeDecodeError:
        return symbol


def split_characters(parts: Iterable[bytes | str]) -> Iterator[bytes | str]:
    r"""A stream of UTF-8, cut between characters wherever its parts are cut.

    Bytes stay bytes, and text stays text: an incomplete character before a text, each byte of which is a lone surrogate
    there (Python's `surrogateescape`), becomes a part of it.

    >>> list(split_characters([b"na\xc3", b"\xafve \xe2\x82"]))
    [b'na', b'\xc3\xafve ', b'\xe2\x82']
    """
    rest = b""
    for part in parts:
        if isinstance(part, str):
            whole: bytes | str = rest.decode("utf-8", "surrogateescape") + part
            rest = b""
        elif rest or part[-1:] >= b"\x80":
            part = rest + part
            tail = part[-3:]  # no incomplete character has more bytes, and a decoder finds its beginning anywhere
            end = len(part) - len(tail) + utf_8_decode(tail, "surrogateescape")[1]
            whole, rest = part[:end], part[end:]
        else:
            whole = part
        if whole:
            yield whole
    if rest:
        yield rest


def trace_characters(predictor: StreamPredictor, symbols: Symbols, top: int = 5, position: int = 0) -> Trace:
    """Observe whole characters, and record each one as `predictor.trace` records each symbol.

    top       how many of the next characters to record
    position  index of the first symbol in the stream, for the error message about an unknown one

    In the trace returned, with n characters:
    tokens         int32 [n], the ids of the characters; `next_tokens` holds ids as well
    bits           float32 [n], the sum of the surprisals of the bytes of each character
    ranks          int32 [n], the largest of the ranks of its bytes
    next_tokens    int32 [n, top], the `top_characters` after each

    Raises ValueError, with nothing changed, if the vocabulary lacks one of the characters.

    >>> from streamlstm import StreamPredictor
    >>> trace = trace_characters(StreamPredictor(), "né", 2)
    >>> trace.tokens.tolist(), len(trace.bits)
    ([110, 233], 2)
    """
    vocabulary, top = predictor.vocabulary, check_count("top", top, 0)
    if isinstance(symbols, bytearray | memoryview):
        symbols = bytes(symbols)
    if vocabulary.characters is None:
        tokens = vocabulary.encode(symbols, position)
        data = symbols if isinstance(symbols, bytes) else tokens.astype(np.uint8).tobytes()
        return _trace_bytes(predictor, tokens, data, min(top, N_BYTES))
    if isinstance(symbols, str | bytes):
        symbols = readable(symbols, vocabulary)
    trace = predictor.trace(vocabulary.encode(symbols, position), top)
    points = np.fromiter(map(ord, vocabulary.characters), dtype=np.int32)
    return replace(trace, tokens=points[trace.tokens], next_tokens=points[trace.next_tokens])


def character_traces(
    predictor: StreamPredictor, parts: Iterable[bytes | str], top: int = 5
) -> Iterator[tuple[int, Trace]]:
    """Observe a stream of UTF-8 as its parts arrive; yields the index of a character and the trace from there on.

    The parts may be cut anywhere. The traces are those of `trace_characters`.
    """
    vocabulary, index = predictor.vocabulary, 0
    is_of_bytes, k = vocabulary.characters is None, min(top, N_BYTES)
    for part in split_characters(parts):
        if is_of_bytes and isinstance(part, bytes):
            trace = _trace_bytes(predictor, vocabulary.encode(part), part, k)
        else:
            trace = trace_characters(predictor, part, top, index)
        yield index, trace
        index += len(trace.bits)


def _trace_bytes(predictor: StreamPredictor, tokens: Tokens, data: bytes, k: int) -> Trace:
    """The trace of the characters of UTF-8, with the k most probable next ones; `tokens` are its bytes."""
    if data.isascii():  # each byte is a character
        return _byte_trace(predictor, tokens, k)
    points = code_points(data.decode("utf-8", "surrogateescape"))
    widths = byte_widths(points)
    lasts = widths.cumsum() - 1
    firsts = lasts + 1 - widths
    is_last = np.zeros(len(tokens), dtype=np.bool_)
    is_last[lasts] = True
    trace = _byte_trace(predictor, tokens, k, is_last)
    is_escaped = (widths == 1) & (points > 127)
    return Trace(
        np.where(is_escaped, points - _ESCAPE + BYTES_ID, points).astype(np.int32),
        np.add.reduceat(trace.bits, firsts),
        np.maximum.reduceat(trace.ranks, firsts),
        trace.next_tokens[lasts],
        trace.next_probabilities[lasts],
    )


def _byte_trace(
    predictor: StreamPredictor, tokens: Tokens, k: int, is_last: npt.NDArray[np.bool_] | None = None
) -> Trace:
    """The trace of bytes, in which `next_tokens` holds the ids of characters.

    is_last  bool [n], whether each byte is the last one of a character; None: all are
    """
    guesses: dict[int, list[tuple[str | bytes, float]]] = {}
    recorder = TraceRecorder(tokens, k)
    # A step ends where the first byte of a longer character may be among the best k: only there is a search needed.
    for step in predictor.steps(KnownTokens(tokens, marked=_IS_LEAD, k=k), len(tokens)):
        recorder.add(step)
        index = step.start + step.count - 1
        if (is_last is None or is_last[index]) and 1 in _IS_LEAD[recorder.next_tokens[index]]:
            guesses[index] = top_characters(predictor, k)
    trace = recorder.trace()
    trace.next_tokens[trace.next_tokens > 127] += BYTES_ID
    for index, best in guesses.items():
        trace.next_tokens[index] = [_id(symbol) for symbol, _ in best]
        trace.next_probabilities[index] = [chance for _, chance in best]
    return trace
