"""Surprisal in scikit-learn: texts in, log-likelihoods or features out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F32, F64
from ..predictor import StreamPredictor
from .extras import missing_extra
from .records import FEATURES, features

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import Tags
    from sklearn.utils.validation import check_is_fitted
except ModuleNotFoundError as error:
    raise missing_extra(error, "sklearn") from None


class SurprisalTransformer(TransformerMixin, BaseEstimator):
    """Replaces texts by how surprising they are, given those that it was fitted to.

    predictor  what to begin with, which does not change; None: the bundled model `small`
    learn      whether `fit` learns from its texts, also if the predictor is frozen, as `predictor_` is; False: `fit`
               only takes the predictor over
    end        what is read after each text, and counts as a part of it

    The features of a text are `bits`, `bits_per_character`, and `max_bits`, the surprisal of the most surprising
    symbol. After `fit`, each text is read as a stream of its own: the order of the texts does not matter, and nothing
    is learned from them.

    >>> from streamlstm import Config, StreamPredictor
    >>> transformer = SurprisalTransformer(StreamPredictor(config=Config(hidden=16, layers=1)))
    >>> log_likelihoods = transformer.fit(["job 1 done", "job 2 done"] * 99).score_samples(["job 1 done", "panic"])
    >>> bool(log_likelihoods[0] > log_likelihoods[1])
    True
    >>> transformer.transform(["job 2 done"]).shape
    (1, 3)
    """

    def __init__(self, predictor: StreamPredictor | None = None, learn: bool = True, end: str = "\n") -> None:
        self.predictor, self.learn, self.end = predictor, learn, end

    def fit(self, X: Iterable[str | bytes], y: Any = None) -> SurprisalTransformer:
        """Read the texts in their order and, with `learn`, learn from them. y is ignored."""
        texts = _texts(X)
        reader = StreamPredictor.pretrained() if self.predictor is None else self.predictor.fork()
        if self.learn:
            if not reader.learning:
                reader.learning = True
            for text in texts:
                reader.observe_many(text + self.end)
        reader.learning = False
        reader.reset()
        self.predictor_ = reader
        return self

    def transform(self, X: Iterable[str | bytes]) -> F64:
        """The features of each text, float64 [n, 3]."""
        rows = [list(features(bits, n).values()) for bits, n in self._surprisals(X)]
        return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))

    def score_samples(self, X: Iterable[str | bytes]) -> F64:
        """The natural log-likelihood of each text, float64 [n]; the higher, the more usual."""
        totals = [features(bits, n)["bits"] for bits, n in self._surprisals(X)]
        return -math.log(2) * np.array(totals, dtype=np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """The names of the features."""
        return np.array(FEATURES, dtype=object)

    def _surprisals(self, X: Iterable[str | bytes]) -> list[tuple[F32, int]]:
        """The surprisal of each symbol of each text, and how many characters the text has."""
        check_is_fitted(self)
        texts = [text + self.end for text in _texts(X)]
        return [(self.predictor_.fork().observe_many(text), len(text)) for text in texts]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags


def _texts(X: Iterable[str | bytes]) -> list[str]:
    """The texts. Raises ValueError for a single text, and for what is not text."""
    if isinstance(X, str | bytes):
        raise ValueError("X must be a list of texts, not one text; use [text]")
    texts = [text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text for text in X]
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"X must be a list of texts, not of {type(text).__name__}")
    return texts
