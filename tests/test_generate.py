"""Generated symbols: drawn from the predicted distributions, the same for the same seed."""

import numpy as np
import pytest
from nets import random_predictor

from streamlstm import Config, StreamPredictor
from streamlstm.kernels.ranks import apply_temperature
from streamlstm.tasks.generate import generate

PREDICTOR = random_predictor(Config(hidden=8, layers=1), memory=True)


def text(length=300, **options):
    return "".join(generate(PREDICTOR, length, "abc", **options))


def test_the_same_seed_draws_the_same_symbols_and_another_seed_others():
    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert len(text()) == 300


def test_the_predictor_does_not_change():
    before = PREDICTOR.predict()
    text()
    assert np.array_equal(PREDICTOR.predict(), before)
    assert PREDICTOR.n_symbols == 0


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


def test_symbols_are_drawn_as_often_as_they_are_probable():
    p = random_predictor(Config(hidden=8, layers=1), seed=3)
    first = [next(generate(p, 1, seed=seed)) for seed in range(2000)]
    for symbol, probability in p.top(3):
        assert first.count(symbol) / 2000 == pytest.approx(probability, abs=4 * np.sqrt(probability / 2000))


def test_top_k_and_top_p_leave_only_the_most_probable_symbols():
    best = [symbol for symbol, _ in PREDICTOR.top(10)]
    probabilities = [probability for _, probability in PREDICTOR.top(10)]
    share = (sum(probabilities[:3]) + sum(probabilities[:4])) / 2
    for options, expected in (({"top_k": 3}, best[:3]), ({"top_p": share}, best[:4]), ({}, best)):
        drawn = {next(generate(PREDICTOR, 1, seed=seed, **options)) for seed in range(1000)}
        assert drawn == set(expected)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 1e-7])
def test_a_temperature_is_a_power_of_the_probabilities(temperature):
    p = np.random.default_rng(0).random(50)
    expected = (p / p.max()) ** (1 / temperature)
    apply_temperature(p, temperature)
    assert np.allclose(p, expected, atol=1e-5)


def test_bytes_above_127_are_yielded_as_bytes():
    predictor = StreamPredictor.from_weights(StreamPredictor().weights(), StreamPredictor().vocabulary, Config())
    assert {type(symbol) for symbol in generate(predictor, 100)} == {str, bytes}


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
