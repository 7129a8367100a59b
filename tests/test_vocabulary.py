"""Symbols to tokens and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Vocabulary


@given(st.binary())
def test_bytes_are_their_own_tokens(data):
    tokens = Vocabulary.bytes().encode(data)
    assert tokens.dtype == np.int32
    assert tokens.tolist() == list(data)


@given(st.text())
def test_a_byte_vocabulary_reads_text_as_utf8(text):
    vocabulary = Vocabulary.bytes()
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    assert vocabulary.encode(text).tolist() == list(text.encode())
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_text_vocabulary_gives_back_the_text_it_was_made_from(text):
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
def test_what_is_no_vocabulary_is_refused(description):
    with pytest.raises(ValueError, match=r"vocabulary|character"):
        Vocabulary.from_description(description)


def test_a_vocabulary_cannot_be_changed():
    with pytest.raises(AttributeError):
        Vocabulary.from_text("ab").characters = "abc"


@pytest.mark.parametrize("symbol", [True, 1.0, np.float32(104), np.float64(104), None, [104], (1,)])
@pytest.mark.parametrize("vocabulary", [Vocabulary.bytes(), Vocabulary.from_text("abc")])
def test_what_only_equals_a_byte_is_no_symbol(vocabulary, symbol):
    with pytest.raises(TypeError, match="a symbol is one character"):
        vocabulary.encode_symbol(symbol)


@pytest.mark.parametrize("symbols", [[104, 105], ["h", "i"], 7, None, memoryview(np.array([104, 105], np.int32))])
@pytest.mark.parametrize("vocabulary", [Vocabulary.bytes(), Vocabulary.from_text("hi")])
def test_many_symbols_are_text_bytes_or_an_array(vocabulary, symbols):
    with pytest.raises(TypeError, match="text, bytes, or an integer array"):
        vocabulary.encode(symbols)
