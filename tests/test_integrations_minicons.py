"""Scores as minicons returns them, against the predictor itself."""

import inspect
import math

import numpy as np
import pytest
from nets import random_predictor

from streamlstm import Config, Vocabulary, score_many
from streamlstm.integrations import minicons
from streamlstm.integrations.minicons import conditional_score, sequence_score, token_score, word_score

TEXTS = ["the cat sat.", "naïve – yes", "a"]


@pytest.fixture(scope="module")
def predictor():
    return random_predictor(Config(12, 2), Vocabulary.bytes())


def total(x):
    return x.sum(0).item()


def test_the_tokens_are_characters_and_their_scores_log_probabilities(predictor):
    for text, scores in zip(TEXTS, token_score(predictor, TEXTS), strict=True):
        assert [name for name, _ in scores] == list(text)
        nats = sum(score for _, score in scores)
        assert nats == pytest.approx(-math.log(2) * score_many(predictor, [text])[0], rel=1e-6)


def test_the_first_character_is_scored_by_the_state_in_which_the_predictor_is(predictor):
    [[(_, probability), *_]] = token_score(predictor, "the", prob=True)
    assert probability == pytest.approx(float(predictor.predict()[ord("t")]), rel=1e-5)


def test_the_options_convert_the_scores(predictor):
    nats = np.array([score for _, score in token_score(predictor, TEXTS[1])[0]])
    bits = np.array([score for _, score in token_score(predictor, TEXTS[1], surprisal=True, base_two=True)[0]])
    assert np.allclose(nats, -math.log(2) * bits)
    probabilities = [score for _, score in token_score(predictor, TEXTS[1], prob=True)[0]]
    assert np.allclose(probabilities, 2**-bits)
    with pytest.raises(ValueError, match="use it without surprisal"):
        token_score(predictor, "a", prob=True, surprisal=True)


def test_ranks_count_from_1(predictor):
    best = chr(int(np.argmax(predictor.predict()[:128])))
    order = np.argsort(-predictor.predict(), kind="stable")
    [[(_, _, rank)]] = token_score(predictor, best, rank=True)
    assert rank == 1 + order.tolist().index(ord(best))


@pytest.mark.parametrize("word_boundary", ["trailing", "leading"])
def test_words_add_up_to_their_text(predictor, word_boundary):
    for text, words in zip(TEXTS, word_score(predictor, TEXTS, word_boundary=word_boundary), strict=True):
        assert [word for word, _ in words] == text.split()
        assert sum(score for _, score in words) == pytest.approx(sequence_score(predictor, text, total)[0])


def test_a_sequence_has_the_mean_of_its_characters_by_default(predictor):
    totals = sequence_score(predictor, TEXTS, total, base_two=True, surprisal=True)
    assert totals == pytest.approx(score_many(predictor, TEXTS).tolist(), rel=1e-6)
    means = sequence_score(predictor, TEXTS, base_two=True, surprisal=True)
    assert means == pytest.approx([bits / len(text) for bits, text in zip(totals, TEXTS, strict=True)])
    assert sequence_score(predictor, "") == [0.0]


def test_a_stimulus_is_scored_after_its_prefix(predictor):
    stimuli = ["cat", "dog"]
    same = conditional_score(predictor, "the", stimuli, total, base_two=True, surprisal=True)
    assert same == pytest.approx(score_many(predictor, stimuli, "the ").tolist(), rel=1e-6)
    own = conditional_score(predictor, ["the", "a"], stimuli, total, separator="")
    bits = [score_many(predictor, ["cat"], "the")[0], score_many(predictor, ["dog"], "a")[0]]
    expected = [-math.log(2) * each for each in bits]
    assert own == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="each of the 2 stimuli, not 3"):
        conditional_score(predictor, ["a", "b", "c"], stimuli)


def test_the_predictor_does_not_change(predictor):
    before = predictor.predict()
    token_score(predictor, TEXTS)
    conditional_score(predictor, "the", TEXTS)
    assert np.array_equal(predictor.predict(), before)


def test_options_have_the_names_of_minicons():
    scorer = pytest.importorskip("minicons.scorer").IncrementalLMScorer
    for name in ("token_score", "sequence_score", "conditional_score"):
        theirs = inspect.signature(getattr(scorer, name)).parameters
        ours = inspect.signature(getattr(minicons, name)).parameters
        extra = set(ours) - set(theirs) - {"predictor"}
        has_kwargs = any(parameter.kind is parameter.VAR_KEYWORD for parameter in theirs.values())
        assert not extra or has_kwargs, (name, extra)
