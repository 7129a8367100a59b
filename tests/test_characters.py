"""Characters of byte models: guesses, grouping, sums; and their text form."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor
from test_cli import bytes_of

from streamlstm import Config, StreamPredictor, Vocabulary, top_characters
from streamlstm.render.escape import escaped, json_object, json_string
from streamlstm.text.characters import BYTES_ID, character, character_traces, split_characters, trace_characters
from streamlstm.text.units import decoded

TINY = Config(hidden=16, layers=1)
MANY = "naïve café, 10 € – 日本語のテキスト, привет 😀! "


def reader(text: str = MANY * 30) -> StreamPredictor:
    """A byte model that has read characters of one to four bytes."""
    predictor = StreamPredictor(config=TINY)
    predictor.observe_many(text)
    return predictor


def decodes(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


def all_characters(predictor: StreamPredictor, least: float) -> dict[str | bytes, float]:
    """Everything that may come next with a probability of at least `least`, by Python's own decoder."""
    found: dict[str | bytes, float] = {}

    def follow(prefix: bytes, chance: float, node: StreamPredictor) -> None:
        breaks_off = 0.0
        for byte, p in enumerate(node.predict().tolist()):
            longer = prefix + bytes([byte])
            if decodes(longer):
                found[longer.decode()] = chance * p
            elif any(decodes(longer + filler * n) for filler in (b"\x80", b"\xbf") for n in (1, 2, 3)):
                if chance * p >= least:
                    after = node.fork()
                    after.observe(byte)
                    follow(longer, chance * p, after)
            elif prefix:
                breaks_off += chance * p
            else:
                found[longer] = p
        if prefix:
            found[prefix] = breaks_off

    frozen = predictor.fork()
    frozen.learning = False
    follow(b"", 1.0, frozen)
    return found


@pytest.mark.parametrize(
    ("make", "k"),
    [
        (lambda: random_predictor(TINY, Vocabulary.bytes()), 60),
        (lambda: reader(), 10),
        (lambda: StreamPredictor(config=TINY), 60),
    ],
    ids=["random", "trained", "fresh"],
)
def test_the_best_characters_are_those_of_an_exhaustive_search(make, k):
    predictor = make()
    guesses = top_characters(predictor, k)
    truth = all_characters(predictor, least=1e-6)
    best = sorted(truth.values(), reverse=True)[:k]
    assert best[-1] > 1e-6
    assert len(guesses) == len(dict(guesses)) == k
    np.testing.assert_allclose([chance for _, chance in guesses], best, rtol=1e-5)
    np.testing.assert_allclose([truth[symbol] for symbol, _ in guesses], best, rtol=1e-5)


def test_characters_of_one_to_four_bytes_are_guessed():
    for letter in "aé€😀":
        predictor = StreamPredictor(config=TINY)
        predictor.observe_many(letter * 1500)
        ((best, chance),) = top_characters(predictor, 1)
        assert best == letter
        assert 0.5 < chance <= 1


def test_a_byte_that_is_never_continued_to_a_character_is_guessed_as_that_byte():
    predictor = StreamPredictor(config=TINY)
    predictor.observe_many(b"caf\xe9 " * 200 + b"caf")
    ((best, chance),) = top_characters(predictor, 1)
    assert best == b"\xe9"
    assert chance > 0.5


def test_top_characters_changes_nothing():
    predictor, twin = reader(), reader()
    top_characters(predictor, 20)
    assert np.array_equal(predictor.predict(), twin.predict())
    assert predictor.n_symbols == twin.n_symbols
    assert np.array_equal(predictor.observe_many(MANY * 3), twin.observe_many(MANY * 3))


def test_with_a_text_vocabulary_the_best_characters_are_the_best_symbols():
    predictor = random_predictor(TINY)
    assert top_characters(predictor, 4) == predictor.top(4)


def test_k_0_returns_no_characters():
    assert top_characters(StreamPredictor(config=TINY), 0) == []


def test_k_may_be_larger_than_the_number_of_bytes():
    guesses = top_characters(reader(), 400)
    chances = [chance for _, chance in guesses]
    assert len(guesses) == 400
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) <= 1 + 1e-6


def split_by_python(data: bytes) -> list[str | bytes]:
    """The characters of bytes, and each byte that is not valid UTF-8, by Python's own decoder."""
    text = data.decode("utf-8", "surrogateescape")
    return [bytes([ord(c) - 0xDC00]) if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text]


BYTES = st.lists(st.one_of(st.text(max_size=5).map(str.encode), st.binary(max_size=4)), max_size=8).map(b"".join)


@settings(max_examples=60)
@given(BYTES)
def test_bytes_are_grouped_as_python_decodes_them_and_their_bits_add_up(data):
    predictor = random_predictor(TINY, Vocabulary.bytes())
    predictor.learning = False
    twin = predictor.fork()
    trace, bits = trace_characters(predictor, data, 3), twin.observe_many(data)
    assert [character(token) for token in trace.tokens.tolist()] == split_by_python(data)
    assert trace.bits.sum() == pytest.approx(bits.sum(), rel=1e-5)
    assert len(trace.bits) == len(trace.ranks) == len(trace.next_tokens) == len(trace.next_probabilities)


@settings(max_examples=60)
@given(BYTES, st.lists(st.integers(1, 5), min_size=1, max_size=30))
def test_a_stream_is_split_between_characters_without_losing_a_byte(data, sizes):
    cuts = [0, *np.cumsum(sizes).tolist(), len(data)]
    parts = [data[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]
    assert b"".join(parts) == data
    pieces = list(split_characters(parts))
    assert all(pieces)
    assert b"".join(pieces) == data
    assert "".join(map(decoded, pieces)) == decoded(data)


def test_text_passes_through_split_characters_after_the_incomplete_bytes_before_it():
    assert list(split_characters(["né", "日"])) == ["né", "日"]
    assert list(split_characters([b"a\xe2\x82", "b", b"\xe2\x82\xac"])) == [
        b"a",
        "\udce2\udc82b",
        "€".encode(),
    ]


@pytest.mark.parametrize("learning", [True, False])
def test_the_guesses_after_each_character_are_its_best_characters(learning):
    predictor, twin, k = reader(), reader(), 4
    predictor.learning = twin.learning = learning
    text = MANY * 2
    trace = trace_characters(predictor, text, k)
    for index, letter in enumerate(text):
        bits = twin.observe(letter)
        guesses = top_characters(twin, k)
        assert trace.bits[index] == pytest.approx(bits, rel=1e-5)
        assert [character(token) for token in trace.next_tokens[index].tolist()] == [symbol for symbol, _ in guesses]
        np.testing.assert_allclose(trace.next_probabilities[index], [chance for _, chance in guesses], rtol=1e-6)
    assert np.array_equal(predictor.predict(), twin.predict())


def test_a_text_has_the_same_trace_at_once_and_character_by_character():
    whole = trace_characters(reader(), MANY, 3)
    predictor = reader()
    parts = [trace_characters(predictor, letter, 3) for letter in MANY]
    stream = [MANY.encode()[at : at + 1] for at in range(len(MANY.encode()))]
    indices, arriving = zip(*character_traces(reader(), stream, 3), strict=True)
    assert indices == tuple(range(len(MANY)))
    for name in ("tokens", "bits", "ranks", "next_tokens", "next_probabilities"):
        expected = getattr(whole, name)
        assert expected.dtype == (np.float32 if name in ("bits", "next_probabilities") else np.int32)
        assert np.array_equal(expected, np.concatenate([getattr(part, name) for part in parts]))
        assert np.array_equal(expected, np.concatenate([getattr(part, name) for part in arriving]))


def test_the_rank_of_a_character_is_the_largest_of_its_bytes():
    trace = reader().trace("€a", 1)
    ranks = trace_characters(reader(), "€a", 1).ranks
    assert ranks.tolist() == [trace.ranks[:3].max(), trace.ranks[3]]


def test_a_trace_of_ascii_is_that_of_its_bytes():
    text = "plain text, no more. " * 20
    by_byte, by_character = StreamPredictor(config=TINY), StreamPredictor(config=TINY)
    one, other = by_byte.trace(text * 5, 5), trace_characters(by_character, text * 5, 5)
    late = slice(len(text), None)  # by then no first byte of several is among the best five
    assert one.next_tokens[late].max() < 128
    for name in ("tokens", "bits", "ranks", "next_tokens", "next_probabilities"):
        assert np.array_equal(getattr(one, name)[late], getattr(other, name)[late])


def test_with_a_text_vocabulary_the_tokens_of_a_trace_are_code_points():
    predictor = random_predictor(TINY, Vocabulary.from_text("aé€"))
    trace = trace_characters(predictor, "€aé", 2)
    assert trace.tokens.tolist() == [ord("€"), ord("a"), ord("é")]
    assert set(map(character, trace.next_tokens.ravel().tolist())) <= {"a", "é", "€"}


def test_no_bytes_have_no_characters():
    trace = trace_characters(StreamPredictor(config=TINY), b"", 3)
    assert trace.next_tokens.shape == (0, 3)
    assert list(split_characters([])) == []


@given(st.binary(min_size=1, max_size=3).filter(lambda data: data[0] > 127))
def test_invalid_bytes_are_recovered_from_their_id_and_escaped(data):
    assert character(BYTES_ID + int.from_bytes(data, "big")) == data
    assert escaped(data) == "".join(f"\\x{byte:02x}" for byte in data)


@pytest.mark.parametrize("text", [MANY, "a\udcff b"])
def test_a_text_has_the_same_trace_as_str_as_bytes_and_as_tokens(text):
    data = text.encode("utf-8", "surrogateescape")
    of_str, *others = (trace_characters(reader(), each, 3) for each in (text, data, Vocabulary.bytes().encode(data)))
    for other in others:
        for name in ("tokens", "bits", "ranks", "next_tokens", "next_probabilities"):
            assert np.array_equal(getattr(of_str, name), getattr(other, name))


def test_an_unknown_character_is_refused_with_its_position_in_the_stream():
    predictor = random_predictor(TINY, Vocabulary.from_text("ab"))
    for text in ("abx", b"abx"):
        with pytest.raises(ValueError, match=r"no symbol 'x' \(position 1002\)"):
            trace_characters(predictor, text, position=1000)
    assert predictor.n_symbols == 0


def test_a_text_model_traces_invalid_bytes_as_the_replacement_character():
    predictor = random_predictor(TINY, Vocabulary.from_text("a\ufffd"))
    assert trace_characters(predictor, b"a\xff", 1).tokens.tolist() == [ord("a"), 0xFFFD]


@pytest.mark.parametrize("vocabulary", [Vocabulary.bytes(), Vocabulary.from_text("a")])
def test_a_negative_number_of_guesses_is_refused(vocabulary):
    predictor = StreamPredictor(vocabulary, TINY)
    for ask in (
        lambda: predictor.top(-1),
        lambda: top_characters(predictor, -1),
        lambda: predictor.trace("a", top=-1),
        lambda: trace_characters(predictor, "a", top=-1),
    ):
        with pytest.raises(ValueError, match=r"^top must be at least 0, not -1$"):
            ask()


@given(st.text())
def test_a_json_string_is_printable_and_means_the_text(text):
    assert json_string(text).isprintable()
    assert json.loads(json_string(text)) == text


def test_the_controls_of_a_terminal_are_escaped_in_a_json_string_and_invalid_bytes_replaced():
    assert json_string("\x9b2J \x1b é\u202e\udcff") == r'"\u009b2J \u001b é\u202e' + '\ufffd"'


@given(st.binary(), st.binary())
def test_a_json_object_is_utf8_and_has_the_exact_bytes_of_each_text(first, second):
    texts = {name: data.decode("utf-8", "surrogateescape") for name, data in (("a", first), ("b", second))}
    found = json.loads(json_object({**texts, "n": 7}).encode("utf-8", "strict"))
    assert (bytes_of(found, "a"), bytes_of(found, "b"), found["n"]) == (first, second, 7)
    assert [len(found[name]) for name in texts] == [len(text) for text in texts.values()]
    assert ("a_base64" in found) == ("\ufffd" in found["a"] and "\ufffd".encode() not in first)
