"""Symbols to tokens and back."""

import copy
import pickle
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Vocabulary

BOTH = [Vocabulary.bytes(), Vocabulary.from_text("abc")]


@given(st.binary())
def test_bytes_are_their_own_tokens(data):
    tokens = Vocabulary.bytes().encode(data)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == list(data)


@given(st.text())
def test_a_byte_vocabulary_encodes_text_as_utf8(text):
    vocabulary = Vocabulary.bytes()
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    assert vocabulary.encode(text).tolist() == list(text.encode())
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_text_vocabulary_returns_the_text_that_it_was_made_from(text):
    vocabulary = Vocabulary.from_text(text)
    assert len(vocabulary) == len(set(text))
    assert list(vocabulary.characters) == sorted(set(text))
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.decode(vocabulary.encode(text.encode())) == text
    assert Vocabulary.from_description(vocabulary.describe()) == vocabulary


def test_an_unknown_symbol_is_named_with_its_position():
    with pytest.raises(ValueError, match=r"'€' \(position 2\).*unknown="):
        Vocabulary.from_text("abc").encode("ab€c")


def test_an_unknown_symbol_becomes_the_stand_in():
    vocabulary = Vocabulary.from_text("abc", unknown="?")
    assert vocabulary.decode(vocabulary.encode("aXb\U0001f600")) == "a?b?"


def test_symbols_of_bytes_can_be_told_from_text():
    vocabulary = Vocabulary.bytes()
    assert [vocabulary.symbol(token) for token in (65, 127, 128, 255)] == ["A", "\x7f", b"\x80", b"\xff"]
    assert all(vocabulary.encode_symbol(vocabulary.symbol(token))[0] == token for token in range(256))


@pytest.mark.parametrize("token", [-1, 256])
def test_a_token_out_of_range_is_refused(token):
    with pytest.raises(ValueError, match="between 0 and 255"):
        Vocabulary.bytes().symbol(token)
    with pytest.raises(ValueError, match="between 0 and 255"):
        Vocabulary.bytes().decode([token])
    for tokens in ([7, token], np.array([7, token])):
        with pytest.raises(ValueError, match=rf"between 0 and 255, not {token} \(position 1 of the tokens\)"):
            Vocabulary.bytes().encode(tokens)


def test_a_token_beyond_64_bits_is_refused():
    with pytest.raises(ValueError, match="out of range"):
        Vocabulary.bytes().encode([0, 2**64])


@pytest.mark.parametrize(
    "description",
    [
        None,
        {},
        {"characters": "ba", "unknown": None},
        {"characters": "", "unknown": None},
        {"characters": 5, "unknown": None},
    ]
    + [
        {"characters": None, "unknown": "?"},
        {"characters": "ab", "unknown": "c"},
        {"characters": "ab", "unknown": "ab"},
    ],
)
def test_what_does_not_describe_a_vocabulary_is_refused(description):
    with pytest.raises(ValueError, match=r"vocabulary|character"):
        Vocabulary.from_description(description)


def test_a_vocabulary_cannot_be_changed():
    vocabulary = Vocabulary.from_text("ab")
    with pytest.raises(AttributeError):
        vocabulary.characters = "abc"
    with pytest.raises(TypeError):
        vocabulary.token_of["c"] = 2


@pytest.mark.parametrize("symbol", [True, 1.0, np.float32(104), np.float64(104), None, [104], (1,)])
@pytest.mark.parametrize("vocabulary", BOTH, ids=repr)
def test_what_only_equals_a_byte_is_not_a_symbol(vocabulary, symbol):
    with pytest.raises(TypeError, match="a symbol is one character"):
        vocabulary.encode_symbol(symbol)
    assert symbol not in vocabulary


@pytest.mark.parametrize("tokens", [[0, 2, 1], (0, 2, 1), range(3), [np.int64(2), np.uint8(0)], array("i", [1, 2]), []])
@pytest.mark.parametrize("vocabulary", BOTH, ids=repr)
def test_a_sequence_of_ints_is_taken_as_tokens(vocabulary, tokens):
    encoded = vocabulary.encode(tokens)
    assert encoded.dtype == np.int32
    assert encoded.tolist() == list(tokens)


@pytest.mark.parametrize(
    "symbols",
    [["h", "i"], [b"h"], [1, True], [1.0], [[1, 2]], {1, 2}, 7, None, iter([1]), memoryview(np.array([1], np.int32))],
    ids=lambda symbols: type(symbols).__name__,
)
@pytest.mark.parametrize("vocabulary", BOTH, ids=repr)
def test_what_is_neither_text_nor_bytes_nor_tokens_is_a_type_error(vocabulary, symbols):
    with pytest.raises(TypeError, match="must be str, bytes, or a sequence of int tokens, not "):
        vocabulary.encode(symbols)


@pytest.mark.parametrize("tokens", [np.array([1.0]), np.array([[1, 2]]), np.array([True])])
def test_an_array_that_is_not_flat_integers_is_a_type_error(tokens):
    with pytest.raises(TypeError, match="flat array of integers"):
        Vocabulary.bytes().encode(tokens)


def test_a_vocabulary_can_be_asked_for_a_symbol():
    assert "h" in Vocabulary.from_text("hello")
    assert "x" not in Vocabulary.from_text("hello", unknown="?")
    assert "hello" not in Vocabulary.from_text("hello")
    assert all(symbol in Vocabulary.bytes() for symbol in ("h", b"\xff", 255, np.uint8(255)))
    assert not any(symbol in Vocabulary.bytes() for symbol in ("é", b"hi", 256, -1))


def test_a_repr_says_what_the_vocabulary_is_and_stays_short():
    assert repr(Vocabulary.bytes()) == "Vocabulary.bytes()"
    assert repr(Vocabulary.from_text("hello", unknown="?")) == "Vocabulary('?ehlo', unknown='?')"
    assert eval(repr(BOTH[1])) == BOTH[1]
    large = repr(Vocabulary.from_text("".join(map(chr, range(0x4E00, 0x6E00))), unknown="?"))
    assert large.startswith("<Vocabulary: 8,193 characters, '?一丁")
    assert large.endswith("unknown='?'>")
    assert len(large) < 150


def test_equal_vocabularies_have_equal_hashes():
    assert Vocabulary.from_text("ab") == Vocabulary.from_text("bab")
    assert len({Vocabulary.from_text("ab"), Vocabulary.from_text("bab"), Vocabulary.bytes(), Vocabulary.bytes()}) == 2
    assert Vocabulary.from_text("ab?") != Vocabulary.from_text("ab", unknown="?")


@pytest.mark.parametrize("vocabulary", BOTH, ids=repr)
def test_a_vocabulary_can_be_copied_and_pickled(vocabulary):
    for twin in (copy.copy(vocabulary), copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary))):
        assert twin == vocabulary
        assert twin.encode("abc").tolist() == vocabulary.encode("abc").tolist()


def test_a_text_vocabulary_is_made_from_str_only():
    with pytest.raises(TypeError, match="text must be str, not bytes"):
        Vocabulary.from_text(b"abc")
