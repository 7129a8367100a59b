"""Runs of a predictor over a text, compared bit for bit, and the results of the checks that `verify` makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..kernels.arrays import F32
from ..predictor import StreamPredictor
from ..vocabulary import Tokens


@dataclass(frozen=True)
class CheckResult:
    """The name of a check, its figures, and the first counterexample, or "" if it passed."""

    check: str
    figures: str
    counterexample: str = ""


class Run(NamedTuple):
    """The surprisals of the data, and the predictor after it."""

    bits: F32
    end: StreamPredictor

    @classmethod
    def over(cls, tokens: Tokens, predictor: StreamPredictor) -> Run:
        """The predictor observes the tokens in one block."""
        return cls(predictor.observe_many(tokens), predictor)


def difference(run: Run, other: Run, first: int) -> str:
    """The first difference between two runs, as text: in a surprisal, or in the final distribution or weights.

    first: the index in the data of their first surprisal
    """
    found = bits_difference(run.bits, other.bits, first)
    if found:
        return found
    if not same(run.end.predict(), other.end.predict()).all():
        return "the distribution at the end differs"
    others = other.end.weights()
    for name, weight in run.end.weights().items():
        if not same(weight.ravel(), others[name].ravel()).all():
            return f"{name} at the end differs"
    return ""


def bits_difference(bits: F32, others: F32, first: int = 0) -> str:
    """The first difference between the surprisals of the same symbols, as text; "" if there is none."""
    wrong = first_of(~same(bits, others))
    return "" if wrong is None else f"symbol {first + wrong:,} has {others[wrong]} bits, not {bits[wrong]}"


def same(one: F32, other: F32) -> npt.NDArray[np.bool_]:
    """Where two arrays have the same bits."""
    return np.equal(one.view(np.uint32), other.view(np.uint32))


def first_of(wrong: npt.NDArray[np.bool_]) -> int | None:
    """The index of the first True; None if there is none."""
    return int(np.argmax(wrong)) if wrong.any() else None
