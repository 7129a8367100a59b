"""Generated characters: drawn from the predicted distributions, the same for the same seed."""

import inspect

import numpy as np
import pytest
from nets import random_predictor

from streamlstm import Config, StreamPredictor, Vocabulary, top_characters
from streamlstm.cli.generate import generate as command
from streamlstm.kernels.distribution import apply_temperature
from streamlstm.search.generate import LEAST, generate
from streamlstm.text.characters import likely_characters, next_bytes

PREDICTOR = random_predictor(Config(hidden=8, layers=1), memory=True)
ALL = {"temperature": 1, "top_p": 1}
"""The options with which it draws from the distributions as they are."""


MIXED = "".join(np.random.default_rng(5).choice(list("aéèôñ€"), 800, p=[0.3, 0.25, 0.2, 0.12, 0.08, 0.05]))
"""Characters of one to three bytes in random order: after it, all of them are probable."""


def byte_predictor(text: str) -> StreamPredictor:
    """A predictor of bytes that has read a text."""
    predictor = StreamPredictor(config=Config(hidden=8, layers=1))
    predictor.observe_many(text)
    return predictor


def text(length=300, **options):
    return "".join(generate(PREDICTOR, length, "abc", **options))


def test_the_same_seed_draws_the_same_characters_and_another_seed_others():
    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert len(text()) == 300


def test_the_predictor_does_not_change():
    before = PREDICTOR.predict()
    text()
    assert np.array_equal(PREDICTOR.predict(), before)
    assert PREDICTOR.n_symbols == 0


def test_the_defaults_of_the_command_are_those_of_the_function():
    defaults = inspect.signature(generate).parameters
    for name, parameter in inspect.signature(command).parameters.items():
        if name in ("temperature", "top_k", "top_p", "seed"):
            assert parameter.default == defaults[name].default, name


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {"temperature": 1e-300}, {"top_k": 1}, {"top_p": 1e-9}], ids=str
)
def test_each_symbol_is_the_most_probable_one(options):
    reader, expected = PREDICTOR.fork(learning=False), ""
    reader.observe_many("abc")
    for _ in range(50):
        expected += reader.top(1)[0][0]
        reader.observe(expected[-1])
    assert text(50, **options) == expected


def assert_drawn_as_often(drawn: list[str], expected: dict[str, float]):
    """Each character's share of those drawn is its probability, within four standard deviations."""
    for symbol, p in expected.items():
        assert drawn.count(symbol) / len(drawn) == pytest.approx(p, abs=4 * np.sqrt(p / len(drawn)))


def test_characters_are_drawn_as_often_as_they_are_probable():
    p = random_predictor(Config(hidden=8, layers=1), seed=3)
    assert_drawn_as_often([next(generate(p, 1, seed=seed, **ALL)) for seed in range(2000)], dict(p.top(3)))


def test_characters_of_several_bytes_are_drawn_as_often_as_they_are_probable():
    p = byte_predictor(MIXED)
    best = {symbol: chance for symbol, chance in top_characters(p, 9) if isinstance(symbol, str)}
    assert set("aéèôñ€") <= set(best)
    assert_drawn_as_often([next(generate(p, 1, seed=seed, **ALL)) for seed in range(1500)], best)
    for temperature in (0.5, 1.5):
        powers = {symbol: best[symbol] ** (1 / temperature) for symbol in list(best)[:6]}
        expected = {symbol: power / sum(powers.values()) for symbol, power in powers.items()}
        options = {"temperature": temperature, "top_k": 6, "top_p": 1}
        assert_drawn_as_often([next(generate(p, 1, seed=seed, **options)) for seed in range(500)], expected)


def test_top_k_and_top_p_leave_only_the_most_probable_characters():
    for predictor in (PREDICTOR, byte_predictor(MIXED)):
        characters = [each for each in top_characters(predictor, 10) if isinstance(each[0], str)]
        best, probabilities = [symbol for symbol, _ in characters], [chance for _, chance in characters]
        share = (sum(probabilities[:3]) + sum(probabilities[:4])) / 2
        for options, expected in (({"top_k": 3, "top_p": 1}, best[:3]), ({"top_p": share}, best[:4])):
            drawn = {next(generate(predictor, 1, seed=seed, temperature=1.5, **options)) for seed in range(500)}
            assert drawn == set(expected)
    assert {next(generate(PREDICTOR, 1, seed=seed, **ALL)) for seed in range(1000)} == set("abcdefghij")


def test_very_improbable_characters_are_not_drawn_at_other_temperatures():
    predictor = byte_predictor("a" * 3000)
    assert predictor.predict().min() < LEAST < predictor.predict().max()
    likely, p = likely_characters(predictor, 1000, 1.0, LEAST)
    assert p.min() >= LEAST
    assert {next(generate(predictor, 1, seed=seed, temperature=9, top_p=1)) for seed in range(50)} <= set(likely)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 1e-7])
def test_a_temperature_is_a_power_of_the_probabilities(temperature):
    p = np.random.default_rng(0).random(50)
    expected = (p / p.max()) ** (1 / temperature)
    apply_temperature(p, temperature)
    assert np.allclose(p, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, ALL, {"temperature": 2, "top_p": 1}, {"top_k": 3}], ids=str)
@pytest.mark.parametrize("text", ["", "naïve façade, 日本語の文字 🙂 " * 9])
def test_a_model_of_bytes_generates_whole_characters_only(options, text):
    generated = "".join(generate(byte_predictor(text), 60, seed=2, **options))
    assert len(generated) == 60
    assert generated.encode().decode() == generated
    assert not text or options == ALL or set(generated) - set(map(chr, range(128)))


def test_the_next_bytes_of_a_character_are_those_of_utf8():
    """Seen with Python's decoder: a prefix of a character ends unexpectedly, any other is invalid."""
    whole, prefixes = 0, [b""]
    while prefixes:
        prefix = prefixes.pop()
        following = next_bytes(prefix)
        if not following:
            whole += len(prefix.decode()) == 1
            continue
        for byte in (set(range(256)) - set(following)) if len(prefix) < 2 else ():
            with pytest.raises(UnicodeDecodeError):
                (prefix + bytes([byte]) + b"\x80" * 3)[: len(prefix) + 4].decode()
        prefixes += [prefix + bytes([byte]) for byte in (following if len(prefix) < 2 else following[:1])]
    assert whole == 128 + 30 * 64 + (16 * 64 - 32 - 32) + (5 * 64 - 16 - 48)


def test_a_text_vocabulary_may_have_any_characters():
    predictor = StreamPredictor(Vocabulary.from_text("é€a"), Config(hidden=8, layers=1))
    assert {next(generate(predictor, 1, seed=seed)) for seed in range(50)} == set("é€a")


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1), ("temperature", np.inf), ("temperature", np.nan), ("top_k", -1), ("top_p", 0), ("top_p", 1.5)]
    + [("length", -1), ("seed", -1), ("seed", 0.5)],
)
def test_an_option_out_of_range_is_refused_by_name_before_the_first_symbol(name, value):
    with pytest.raises(ValueError, match=f"{name} must be .*, not {value}"):
        generate(PREDICTOR, **{"length": 5, name: value})


def test_a_prompt_with_an_unknown_symbol_is_refused_before_the_first_symbol():
    with pytest.raises(ValueError, match="'€'"):
        generate(PREDICTOR, 5, "ab€")
