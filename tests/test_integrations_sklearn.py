"""scikit-learn: its checks that apply to texts, and that texts are independent after `fit`."""

import pickle

import numpy as np
import pytest
from extras import library

from streamlstm import Config, StreamPredictor, score_many

sklearn = library("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402
from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: E402

from streamlstm.integrations.sklearn import SurprisalTransformer  # noqa: E402

TEXTS = ["job 1 done", "job 2 done", "job 3 failed: naïve", "KERNEL PANIC", ""]


class RowsAsTexts(SurprisalTransformer):
    """The same estimator for rows of numbers, which it reads as texts.

    scikit-learn's checks give an estimator arrays of numbers, and skip one that takes texts, such as CountVectorizer.
    """

    def fit(self, X, y=None):
        return super().fit(self._rows(X, reset=True), y)

    def transform(self, X):
        check_is_fitted(self)
        return super().transform(self._rows(X, reset=False))

    def score_samples(self, X):
        check_is_fitted(self)
        return super().score_samples(self._rows(X, reset=False))

    def _rows(self, X, reset):
        return [" ".join(f"{number:.2g}" for number in row) for row in validate_data(self, X, reset=reset)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = False, True
        return tags


def transformer(**options):
    return SurprisalTransformer(StreamPredictor(config=Config(hidden=12, layers=1, memory_bits=12)), **options)


def test_check_estimator_passes_for_texts():
    with pytest.warns(sklearn.exceptions.SkipTestWarning, match="string=True"):  # as for CountVectorizer
        check_estimator(transformer())


CANNOT_APPLY = {"check_array_api_input"}
"""Checks that scikit-learn itself skips here: the one needs the variable SCIPY_ARRAY_API."""


def test_check_estimator_passes_for_rows_of_numbers_as_texts():
    results = check_estimator(RowsAsTexts(transformer().predictor), on_skip=None)
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= CANNOT_APPLY
    assert len(results) > 40


def test_fitting_twice_gives_the_same():
    fitted = transformer().fit(TEXTS)
    first = fitted.transform(TEXTS)
    assert np.array_equal(fitted.fit(TEXTS).transform(TEXTS), first)
    assert np.array_equal(clone(fitted).fit(iter(TEXTS)).transform(TEXTS), first)


def test_texts_are_independent():
    fitted = transformer().fit(TEXTS * 3)
    together = fitted.score_samples(TEXTS)
    assert np.array_equal(fitted.score_samples(TEXTS[::-1])[::-1], together)
    assert np.array_equal(np.concatenate([fitted.score_samples([text]) for text in TEXTS]), together)
    assert fitted.transform([]).shape == (0, 3)


def test_the_likelihoods_are_those_of_a_predictor():
    given = transformer(learn=False)
    bits = score_many(given.predictor, [text + "\n" for text in TEXTS])
    fitted = given.fit(TEXTS)
    assert np.allclose(fitted.score_samples(TEXTS), -np.log(2) * bits, rtol=1e-12)
    features = fitted.transform(TEXTS)
    assert np.allclose(features[:, 0], bits, rtol=1e-12)
    assert np.allclose(features[:, 1], bits / [len(text) + 1 for text in TEXTS], rtol=1e-12)


def test_bytes_are_texts_and_y_is_ignored():
    fitted = transformer().fit([text.encode() for text in TEXTS], y=[0, 1, 0, 1, 0])
    assert np.array_equal(fitted.transform(TEXTS), transformer().fit(TEXTS).transform([t.encode() for t in TEXTS]))


def test_what_it_has_learned_becomes_likelier_and_the_given_predictor_does_not_change():
    given = transformer()
    before = given.predictor.predict()
    likelihoods = given.fit(["job 1 done", "job 2 done"] * 50).score_samples(["job 2 done", "dog 2 jone"])
    assert likelihoods[0] > likelihoods[1]
    assert np.array_equal(given.predictor.predict(), before)


@pytest.mark.parametrize("mode", ["all", "memory", "nothing", "fitted"])
@pytest.mark.parametrize("learn", [True, False])
def test_fit_learns_whatever_the_predictor_learned_before_unless_it_is_told_not_to(mode, learn):
    predictor = transformer().fit(["job 1 done"] * 9).predictor_ if mode == "fitted" else transformer().predictor
    if mode != "fitted":
        predictor.learn = mode
    expected = [SurprisalTransformer(predictor, learn=False).fit([]).score_samples([text])[0] for text in TEXTS]
    given = predictor.learn, predictor.n_symbols, predictor.predict().tobytes()
    fitted = SurprisalTransformer(predictor, learn=learn).fit(TEXTS * 30)
    found = fitted.score_samples(TEXTS)
    assert found.sum() > np.sum(expected) / 2 if learn else np.array_equal(found, expected)
    assert given == (predictor.learn, predictor.n_symbols, predictor.predict().tobytes())


def test_a_pickled_transformer_gives_the_same():
    fitted = transformer().fit(TEXTS)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).transform(TEXTS), fitted.transform(TEXTS))


def test_a_pipeline_tells_texts_apart():
    usual, odd = [f"job {n % 7} done" for n in range(40)], [f"{n * 7919 % 10007:x} {n * 31 % 97:x}" for n in range(40)]
    fitted = transformer().fit(usual)
    fitted.set_params(learn=False, predictor=fitted.predictor_)
    model = make_pipeline(fitted, StandardScaler(), LogisticRegression())
    model.fit(usual[:20] + odd[:20], [0] * 20 + [1] * 20)
    assert model.score(usual[20:] + odd[20:], [0] * 20 + [1] * 20) > 0.9
    assert fitted.get_feature_names_out().tolist() == ["bits", "bits_per_character", "max_bits"]


def test_what_is_no_list_of_texts_is_refused():
    for wrong, message in (("one text", "not one text"), ([1, 2], "not of int")):
        with pytest.raises(ValueError, match=message):
            transformer().fit(wrong)
    with pytest.raises(NotFittedError):
        transformer().transform(TEXTS)
