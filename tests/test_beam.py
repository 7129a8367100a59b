"""`complete` and `fill`: the most probable texts, held against all texts there are, and against `observe`."""

import itertools
import math

import numpy as np
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor

from streamlstm import Config, StreamPredictor, Vocabulary, complete, fill, top_characters
from streamlstm.search.beam import WORD_ENDS, Beam, Template
from streamlstm.search.generate import Alphabet

TINY = Config(hidden=8, layers=1)
LETTERS = Vocabulary.from_text("abc ")
NETS = [random_predictor(TINY, LETTERS, seed=seed, memory=bool(seed % 2)) for seed in range(4)]
MIXED = "".join(np.random.default_rng(5).choice(list("aéèô€🙂 "), 500, p=[0.3, 0.2, 0.2, 0.1, 0.06, 0.04, 0.1]))
"""Characters of one to four bytes in random order: after it, all of them are probable."""
ALL = 10**6
"""A width that excludes nothing."""
nets = st.sampled_from(NETS)
contexts = st.text("abc ", max_size=12)
counts = st.integers(1, 12)


@pytest.fixture(scope="module")
def reader():
    """A predictor of bytes that has read characters of one to four bytes."""
    predictor = StreamPredictor(config=TINY)
    predictor.observe_many(MIXED)
    return predictor


def after(predictor, text):
    branch = predictor.fork(learning=False)
    branch.observe_many(text)
    return branch


def surprisal(predictor, text):
    """The sum of the surprisals when a fork observes the text symbol by symbol."""
    branch = predictor.fork(learning=False)
    return math.fsum(branch.observe_token(int(token)) for token in predictor.vocabulary.encode(text))


def best_of_all(predictor, texts, k):
    """The k most probable of these texts."""
    return sorted((surprisal(predictor, text), text) for text in texts)[:k]


def assert_same(found, expected):
    assert [text for text, _ in found] == [text for _, text in expected]
    assert [bits for _, bits in found] == pytest.approx([bits for bits, _ in expected], rel=1e-9)


@settings(max_examples=30)
@given(predictor=nets, context=contexts, k=counts, length=st.integers(0, 4))
def test_completions_of_a_length_are_the_most_probable_of_all_texts(predictor, context, k, length):
    texts = map("".join, itertools.product("abc ", repeat=length))
    found = complete(predictor, k, context, length=length, width=ALL)
    assert_same(found, best_of_all(after(predictor, context), texts, k))


@settings(max_examples=30)
@given(predictor=nets, context=contexts, k=counts, length=st.integers(1, 4), stop=st.sampled_from([" ", "c ", "xb"]))
def test_completions_that_may_stop_are_the_most_probable_of_all_texts(predictor, context, k, length, stop):
    """A text that stops early has the probability that any of the stop characters follows it."""
    start, letters, scored = after(predictor, context), sorted(set("abc ") - set(stop)), []
    for n in range(length + 1):
        for text in map("".join, itertools.product(letters, repeat=n)):
            bits = surprisal(start, text)
            if n < length:
                p = dict(after(start, text).top(4))
                bits -= math.log2(sum(p.get(symbol, 0) for symbol in stop))
            scored.append((bits, text))
    assert math.fsum(2**-bits for bits, _ in scored) == pytest.approx(1, abs=1e-4)
    found = complete(predictor, k, context, length=length, stop=stop, width=ALL)
    expected = sorted(scored)[:k]
    assert [bits for _, bits in found] == pytest.approx([bits for bits, _ in expected], abs=1e-4)
    assert dict((text, round(bits, 3)) for bits, text in scored).items() >= {
        (text, round(bits, 3)) for text, bits in found
    }


@settings(max_examples=40)
@given(predictor=nets, context=contexts, k=counts, text=st.text("abc ??", max_size=7))
def test_fill_finds_the_most_probable_of_all_texts(predictor, context, k, text):
    start, n = after(predictor, context), text.count("?")
    if n > 4:
        text, n = text.replace("?", "a", n - 4), 4
    texts = [text.replace("?", "{}").format(*filling) for filling in itertools.product("abc ", repeat=n)]
    assert_same(fill(start, text, k=k, width=ALL), best_of_all(start, texts, k))


def test_fill_finds_characters_of_several_bytes(reader):
    texts = ["".join(pair) for pair in itertools.product("aéèô€🙂", repeat=2)]
    expected = best_of_all(reader, [f"{first}é €{second}🙂a" for first, second in texts], 8)
    assert_same(fill(reader, "_é €_🙂a", "_", k=8, characters="🙂€aôéè", width=ALL), expected)


def test_one_character_is_completed_by_the_most_probable_ones(reader):
    expected = [(symbol, p) for symbol, p in top_characters(reader, 40) if isinstance(symbol, str)][:7]
    found = complete(reader, 7, length=1, width=ALL)
    assert [candidate.text for candidate in found] == [symbol for symbol, _ in expected]
    assert [candidate.probability for candidate in found] == pytest.approx([p for _, p in expected], rel=1e-4)


@settings(max_examples=20)
@given(width=st.integers(1, 6), length=st.integers(1, 12), k=st.integers(1, 6))
def test_whatever_the_width_texts_of_bytes_are_whole_and_their_bits_are_those_of_observe(reader, width, length, k):
    """Also sorted, and without repetition."""
    found = complete(reader, k, "aé", length=length, width=width)
    assert found
    assert len(found) <= k
    assert all(len(text) == length and text.encode().decode() == text for text, _ in found)
    assert [bits for _, bits in found] == [surprisal(after(reader, "aé"), text) for text, _ in found]
    assert sorted(found, key=lambda each: each.bits) == found
    assert len({text for text, _ in found}) == len(found)
    assert [text for text, _ in fill(after(reader, "aé"), "?" * length, k=k, width=width)] == [
        text for text, _ in found
    ]


def in_step(predictor, length, k, width):
    """A beam search that extends all beginnings by one character at a time."""
    beam = [(0.0, "")]
    for _ in range(length):
        extended = [text + character for _, text in beam for character in predictor.vocabulary.characters]
        beam = best_of_all(predictor, extended, width)
    return beam[:k]


@settings(max_examples=25)
@given(predictor=nets, context=contexts, width=st.integers(1, 5), length=st.integers(1, 6), k=st.integers(1, 5))
def test_it_finds_what_a_beam_search_finds_that_extends_all_lengths_in_step(predictor, context, width, length, k):
    found = complete(predictor, k, context, length=length, width=width)
    assert_same(found, in_step(after(predictor, context), length, k, width))


def test_stop_characters_of_several_bytes_end_a_text_as_others_do(reader):
    words = complete(reader, 30, stop="€🙂 ", length=3, width=ALL)
    assert any(len(text) < 3 for text, _ in words)
    assert not any(set("€🙂 ") & set(text) for text, _ in words)
    for text, bits in words:
        if len(text) < 3:
            branch = after(reader, text)
            chances = [2 ** -surprisal(branch, symbol) for symbol in "€🙂 "]
            assert bits == pytest.approx(surprisal(reader, text) - math.log2(sum(chances)), abs=1e-4)


def test_by_default_a_word_is_completed():
    predictor = StreamPredictor(config=TINY)
    predictor.observe_many("over the river. into the river! by the river " * 20)
    best = complete(predictor, prompt="over the ri")[0]
    assert best.text == "ver"
    assert best.probability > 0.8
    assert complete(predictor, prompt="over the river")[0].text == ""
    assert complete(predictor, 1, prompt="over the ri", stop=".")[0].text == "ver"
    assert set(" \n.,;:!?()") < set(WORD_ENDS)
    assert not set("'-_") & set(WORD_ENDS)


def test_the_predictor_does_not_change(reader):
    reader.learning = True
    expected = reader.fork()
    complete(reader, prompt="é a")
    fill(reader, "a?é ?")
    assert reader.learning
    assert reader.n_symbols == expected.n_symbols
    assert np.array_equal(reader.predict(), expected.predict())
    assert np.array_equal(reader.fork().observe_many(MIXED[:200]), expected.observe_many(MIXED[:200]))


def test_texts_without_unknown_characters_are_scored_and_a_replacement_stands_for_unknown_symbols():
    predictor = random_predictor(TINY, Vocabulary.from_text("abc", unknown="b"))
    assert fill(predictor, "a€c") == [("a€c", surprisal(predictor, "abc"))]
    assert {text[-1] for text, _ in fill(predictor, "€€?")} == set("abc")
    assert fill(predictor, "") == [("", 0.0)]


def test_by_default_the_width_suffices_for_k_texts():
    assert len(complete(NETS[0], 80, length=4)) == 80
    assert len(fill(NETS[0], "????", k=80)) == 80
    assert len(complete(NETS[0], 80, length=4, width=10)) == 10


def test_a_long_search_keeps_few_forks():
    """Beginnings that may not be extended any more are dropped at once."""
    search = Beam(NETS[0], Template([""] * 31, Alphabet(LETTERS)), 4)
    assert search.best(1)
    assert len(search._heap) <= 2 * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": -1}, "k must be at least 0, not -1"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"length": -1}, "length must be at least 0, not -1"),
        ({"stop": ""}, "stop must name characters of the vocabulary, not ''"),
        ({"stop": "x"}, "stop must name characters of the vocabulary, not 'x'"),
        ({"prompt": "ax"}, r"no symbol 'x' \(position 1\)"),
    ],
)
def test_a_bad_option_of_complete_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        complete(NETS[0], **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": -1}, "k must be at least 0, not -1"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"unknown": ""}, "unknown must be one character, not ''"),
        ({"unknown": "??"}, "unknown must be one character, not '[?][?]'"),
        ({"characters": ""}, "characters must name at least one"),
        ({"characters": "ax"}, "no symbol 'x'"),
        ({"text": "a?x"}, "no symbol 'x'"),
    ],
)
def test_a_bad_option_of_fill_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        fill(NETS[0], **{"text": "a?", **options})
    with pytest.raises(TypeError, match="text must be str, not bytes"):
        fill(NETS[0], b"a?")


def test_the_commands_print_what_the_functions_return(reader, tmp_path):
    reader.save(tmp_path / "m")
    completed = run("complete", "--model", tmp_path / "m", "--prompt", "aé", "-n", 2, "-k", 3)
    rows = [f"{bits:.2f}\t{text}" for text, bits in complete(reader, 3, "aé", length=2)]
    assert completed.stdout.decode().splitlines() == ["bits\ttext", *rows]
    filled = run("fill", "a_é", "--model", tmp_path / "m", "--unknown", "_", "-k", 2, "--characters", "é€")
    rows = [f"{bits:.2f}\t{text}" for text, bits in fill(reader, "a_é", "_", k=2, characters="é€")]
    assert filled.stdout.decode().splitlines() == ["bits\ttext", *rows]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["complete", "-k", -1], "k must be at least 0, not -1"),
        (["complete", "--stop", ""], "stop"),
        (["fill", "a?", "--unknown", "ab"], "unknown must be one character, not 'ab'"),
        (["fill", "a?", "--model", "none"], "none"),
    ],
)
def test_a_bad_option_of_the_commands_is_one_line(arguments, words):
    result = run(*arguments)
    assert result.returncode == 1
    assert result.stderr.decode().count("\n") == 1
    assert words in result.stderr.decode()
