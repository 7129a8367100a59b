"""Vocabularies: any text, bytes or numbers, encoded and decoded."""

import json
import pickle

import numpy as np
from engine import Target, refused
from mutations import mutated_bytes

from streamlstm import Vocabulary

WORDS = ["é".encode(), "€".encode(), "🙂".encode(), b"\xff", b"\xed\xa0\x80", b"\xed\xb2\x80", b"\0", b"\n", b"?"]
WORDS += ["e\u0301".encode(), b"[0, 255]", b"256", b"-1", b"9223372036854775808", b"1e400", b"true", b"null"]


BYTES = Vocabulary.bytes()


def seeds():
    for flags in range(16):
        yield bytes([flags]) + b"hello\x01?\x01hello world"
    yield b"\x08hello\x01?\x01[0, 1, 2]"
    yield b"\x07\xc3\xa9\x01\x01caf\xc3\xa9"
    yield b'\x02{"characters": "abc", "unknown": "a"}\x01\x01abc'


def check(case):
    """The first byte says which kinds of arguments; then come the characters, the unknown one, and the symbols."""
    flags, (characters, unknown, symbols) = case[:1] or b"\0", (case[1:].split(b"\x01", 2) + [b"", b""])[:3]
    kind, given = flags[0] & 3, flags[0] >> 2
    try:
        vocabulary = vocabulary_of(kind, characters, unknown)
    except (ValueError, TypeError) as error:
        return refused(error)
    if vocabulary is not BYTES:
        assert Vocabulary.from_description(json.loads(json.dumps(vocabulary.describe()))) == vocabulary
        assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary
        assert len(repr(vocabulary)) < 1000
    try:
        many = symbols_of(given & 3, symbols)
    except (ValueError, RecursionError):
        return [False]
    try:
        tokens = vocabulary.encode(many)
    except (ValueError, TypeError) as error:
        return refused(error)
    check_tokens(vocabulary, many, tokens)
    return [True]


def vocabulary_of(kind, characters, unknown):
    if kind == 0:
        return BYTES
    if kind == 2:
        return Vocabulary.from_description(json.loads(characters))
    return Vocabulary.from_text(as_text(characters), as_text(unknown) if kind == 3 else None)


def symbols_of(given, symbols):
    if given == 0:
        return symbols
    if given == 1:
        return as_text(symbols)
    return json.loads(symbols) if given == 2 else np.frombuffer(symbols[: len(symbols) // 4 * 4], np.int32)


def as_text(data):
    return data.decode("utf-8", "surrogateescape")


def check_tokens(vocabulary, symbols, tokens):
    assert tokens.dtype == np.int32
    assert not len(tokens) or 0 <= tokens.min() <= tokens.max() < len(vocabulary)
    decoded = vocabulary.decode(tokens)
    if isinstance(symbols, list | np.ndarray):
        assert tokens.tolist() == list(symbols)
        return
    if vocabulary.characters is None:
        data = symbols.encode("utf-8", "surrogateescape") if isinstance(symbols, str) else symbols
        assert bytes(tokens.tolist()) == data
        assert decoded == data.decode("utf-8", "replace")
    else:
        text = symbols if isinstance(symbols, str) else symbols.decode()
        expected = [c if c in vocabulary.characters else vocabulary.unknown for c in text]
        assert list(decoded) == expected
    for token in tokens[:4].tolist():
        symbol = vocabulary.symbol(token)
        assert symbol in vocabulary
        assert list(vocabulary.encode_symbol(symbol)) == [token]


def mutate(rng, case, other):
    if not rng.randrange(10):
        return bytes([rng.randrange(16)]) + case[1:]
    return mutated_bytes(rng, case, other, WORDS)


VOCABULARY = Target(seeds, mutate, check)
