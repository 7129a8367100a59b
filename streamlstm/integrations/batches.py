"""Batches of records: callables that Ray Data's `map_batches` and similar functions apply to each batch.

Each record is read by a fork of the same model: its results do not depend on the other records, nor on how they are
divided into batches and among workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..codec.archive import compress
from ..predictor import StreamPredictor
from ..text.score import check_choice, score_by

DETAILS = ("word", "line")

Batch = dict[str, Any]
"""The columns of a batch by name, as arrays or lists."""


class Score:
    """Adds to each record how surprising its text is.

    column     the column of texts, which are str or bytes
    predictor  the model that reads each record from its beginning, and does not change; None: the bundled model `small`
    detail     also add the surprisals of the words ("word") or lines ("line") of each text

    The new columns are `bits` and `bits_per_byte`, and with `detail` also `words` and `word_bits`, or `lines` and
    `line_bits`, which have a list for each record. A text of None has None in all of them. Raises ValueError for
    another value of `detail`, for a model of characters, and, when it is called, for a batch without the column.

    >>> from streamlstm import Config
    >>> score = Score(predictor=StreamPredictor(config=Config(hidden=16, layers=1)), detail="word")
    >>> batch = score({"id": [1, 2], "text": ["a b", ""]})
    >>> batch["bits_per_byte"].round().tolist(), batch["words"].tolist()
    ([8.0, 0.0], [['a', 'b'], []])
    """

    def __init__(
        self, column: str = "text", predictor: StreamPredictor | None = None, detail: str | None = None
    ) -> None:
        if detail is not None:
            check_choice("detail", detail, DETAILS)
        self._column, self._detail = column, detail
        self._predictor = model_of_bytes(predictor)

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the new columns."""
        scores = [None if text is None else self._scored(text) for text in texts_of(batch, self._column)]
        per_byte = [None if each is None else each.bits_per_byte for each in scores]
        columns: Batch = {"bits": [each and each.bits for each in scores], "bits_per_byte": per_byte}
        if None not in scores:
            columns = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
        if self._detail is not None:
            columns[f"{self._detail}s"] = _object_array([each and each.texts for each in scores])
            columns[f"{self._detail}_bits"] = _object_array([each and each.parts for each in scores])
        return {**batch, **columns}

    def _scored(self, text: str | bytes) -> TextScore:
        return score_text(self._predictor.fork(), [text], self._detail)


class Compress:
    """Adds the text of each record in compressed form, as `compress` makes it.

    column     the column of texts, which are str or bytes
    predictor  the model that compresses each record, and does not change; None: the bundled model `small`

    The new column is `compressed`; `decompress` restores each of its values, with the same model. A text of None stays
    None. Raises ValueError for a model of characters and, when it is called, for a batch without the column.

    >>> from streamlstm import Config, decompress
    >>> predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    >>> batch = Compress(predictor=predictor)({"text": ["to be or not to be"]})
    >>> decompress(batch["compressed"][0], predictor)
    b'to be or not to be'
    """

    def __init__(self, column: str = "text", predictor: StreamPredictor | None = None) -> None:
        self._column, self._predictor = column, model_of_bytes(predictor)

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the new column."""
        values = [None if text is None else compress(text, self._predictor) for text in texts_of(batch, self._column)]
        return {**batch, "compressed": _object_array(values)}


class TextScore(NamedTuple):
    """The surprisal of a text.

    bits     in total
    n_bytes  the length of the text in UTF-8
    texts    of its words or lines, if they were asked for
    parts    the surprisals of these in bits
    """

    bits: float
    n_bytes: int
    texts: list[str]
    parts: list[float]

    @property
    def bits_per_byte(self) -> float:
        """The mean surprisal of a byte; 0 for an empty text."""
        return self.bits / self.n_bytes if self.n_bytes else 0.0


def score_text(
    predictor: StreamPredictor, parts: Iterable[str | bytes], detail: str | None, context_reset: str = "never"
) -> TextScore:
    """The surprisal of a text for a model of bytes, which observes it, and that of its words or lines."""
    bits, n_bytes = 0.0, 0
    texts: list[str] = []
    values: list[float] = []
    for scores in score_by(predictor, parts, detail or "file", context_reset=context_reset):
        bits += float(scores.bits.sum())
        n_bytes += int(scores.n_symbols.sum())
        if detail is not None:
            texts += [valid_text(text) for text in scores.texts]
            values += scores.bits.tolist()
    return TextScore(bits, n_bytes, texts, values)


def valid_text(text: str) -> str:
    r"""The text with U+FFFD for each byte that is not valid UTF-8, which a table cannot hold.

    >>> valid_text("na\udcefve")
    'na\ufffdve'
    """
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def texts_of(batch: Batch, column: str) -> list[Any]:
    """A column of texts. Raises ValueError if it is missing, or has anything but str, bytes and None."""
    if column not in batch:
        raise ValueError(f"there is no column {column!r}; the columns are {', '.join(map(repr, batch))}")
    texts = list(batch[column])
    for index, text in enumerate(texts):
        if not isinstance(text, str | bytes | None):
            raise ValueError(f"the column {column!r} must have texts, not {text!r} (row {index} of the batch)")
    return texts


def model_of_bytes(predictor: StreamPredictor | None) -> StreamPredictor:
    """The model; None: the bundled model `small`. Raises ValueError for a model of characters."""
    predictor = StreamPredictor.pretrained() if predictor is None else predictor
    if predictor.vocabulary.characters is not None:
        raise ValueError("records are read by a model of bytes; this one is of characters (its vocabulary is of text)")
    return predictor


def _object_array(values: list[Any]) -> np.typing.NDArray[np.object_]:
    """An array of one dimension, whatever the values are."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
