"""Scores as minicons returns them, against the predictor itself."""

import inspect
import math
import types

import numpy as np
import pytest
from extras import library
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
    same = conditional_score(predictor, "the", stimuli, reduction=total, base_two=True, surprisal=True)
    assert same == pytest.approx(score_many(predictor, stimuli, "the ").tolist(), rel=1e-6)
    own = conditional_score(predictor, ["the", "a"], stimuli, "", total)
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


OWN_OPTIONS = {"surprisal", "prob", "word_boundary"}
"""Options that a function may have although the method of minicons has none of this name."""


@pytest.mark.parametrize("name", ["token_score", "word_score", "sequence_score", "conditional_score"])
def test_a_function_has_the_parameters_of_minicons_in_their_order(name):
    scorer = library("minicons.scorer").IncrementalLMScorer
    theirs = dict(list(inspect.signature(getattr(scorer, name)).parameters.items())[1:])
    ours = dict(list(inspect.signature(getattr(minicons, name)).parameters.items())[1:])
    positional = [each for each, parameter in ours.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert positional == list(theirs)[: len(positional)]
    assert ours.keys() - theirs.keys() <= OWN_OPTIONS
    for each in (ours.keys() & theirs.keys()) - {"reduction"}:
        assert ours[each].default == theirs[each].default, each


class Logits:
    """A predictor as a model of Hugging Face's kind, whose tokens are bytes."""

    def __init__(self, predictor):
        self.predictor = predictor

    def to(self, device):
        return self

    def __call__(self, input_ids, **others):
        torch = library("torch")
        rows = []
        for row in input_ids.tolist():
            reader = self.predictor.fork(learning=False)
            rows.append([np.log(reader.predict()) for token in row if reader.observe(bytes([token])) > 0])
        return types.SimpleNamespace(logits=torch.tensor(np.array(rows)))


@pytest.fixture(scope="module")
def scorer(predictor):
    """minicons with the predictor as its model."""
    tokenizers, transformers = library("tokenizers"), library("transformers")
    characters = tokenizers.Tokenizer(tokenizers.models.WordLevel({chr(n): n for n in range(128)}))
    characters.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=characters, pad_token="\0")
    return library("minicons.scorer").IncrementalLMScorer(Logits(predictor), tokenizer=tokenizer)


@pytest.mark.parametrize("options", [{}, {"surprisal": True, "base_two": True}, {"prob": True}])
def test_the_scores_are_those_that_minicons_computes_from_the_same_predictions(options, scorer, predictor):
    texts = ["the cat sat.", "a dog"]
    ours = token_score(predictor, texts, **options)
    for row, expected in zip(ours, scorer.token_score(texts, **options), strict=True):
        assert [name for name, _ in row] == [name for name, _ in expected]
        assert [score for _, score in row[1:]] == pytest.approx([score for _, score in expected[1:]], rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"base_two": True}, {"prob": True}])
def test_the_separator_counts_to_the_prefix_and_for_minicons_to_the_stimulus(options, scorer, predictor):
    prefixes, stimuli = ["the cat", "a"], ["sat.", "dog"]
    expected = scorer.conditional_score(prefixes, stimuli, " ", **options)
    found = conditional_score(predictor, prefixes, [f" {each}" for each in stimuli], "", **options)
    assert found == pytest.approx(expected, rel=1e-4)


def test_ranks_are_those_of_minicons(scorer, predictor):
    theirs, ours = scorer.token_score("the cat", rank=True)[0], token_score(predictor, "the cat", rank=True)[0]
    assert [rank for *_, rank in theirs[1:]] == [rank for *_, rank in ours[1:]]
