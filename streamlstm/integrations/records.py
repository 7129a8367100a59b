"""Records of a stream, as River and Kafka users have them: the text of a record, and its surprisal as features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..kernels.arrays import F32

Record = Mapping[Any, Any] | str | bytes
"""A dict of features, or the text itself."""

FEATURES = ("bits", "bits_per_character", "max_bits")


def text_of(record: Record, on: str | None) -> str:
    r"""What is read of a record: a line of text.

    on  the feature that holds the text; None: all features in the order of their names, or the record is the text

    Bytes are decoded as UTF-8. Any other value is read as `str` writes it: a missing one as None or nan. A feature that
    the record does not have is read as an empty text.

    >>> text_of({"b": 1.5, "a": "x"}, None), text_of({"b": 1.5, "a": "x"}, "a"), text_of({}, "a"), text_of(b"x", None)
    ('a=x b=1.5\n', 'x\n', '\n', 'x\n')
    """
    if not isinstance(record, Mapping):
        return _decoded(record) + "\n"
    if on is not None:
        return _decoded(record.get(on, "")) + "\n"
    return " ".join(f"{_decoded(name)}={_decoded(record[name])}" for name in sorted(record, key=str)) + "\n"


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def features(bits: F32, n_characters: int) -> dict[str, float]:
    """The surprisal of a text in total, per character, and of its most surprising symbol.

    >>> features(np.array([1.0, 3.0], dtype=np.float32), 2)
    {'bits': 4.0, 'bits_per_character': 2.0, 'max_bits': 3.0}
    """
    total = float(bits.sum(dtype=np.float64))
    values = total, total / max(n_characters, 1), float(bits.max(initial=0.0))
    return dict(zip(FEATURES, values, strict=True))


def prefixed(values: dict[str, float], on: str | None) -> dict[str, float]:
    """The features with the name of the one that they describe before theirs.

    >>> prefixed({"bits": 4.0}, "line"), prefixed({"bits": 4.0}, None)
    ({'line_bits': 4.0}, {'bits': 4.0})
    """
    return values if on is None else {f"{on}_{name}": value for name, value in values.items()}
