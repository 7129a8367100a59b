"""Surprisals in steps of a bit: integers, whose sums are the same in any order and on every machine; and e^x.

C libraries differ in the last bits of logarithms and powers. These use only operations that IEEE 754 defines exactly.
"""

import math

import numpy as np

from ..kernels.arrays import F64, I64

STEPS = 4096
"""Steps per bit."""

_TWO_OVER_LN_2 = 2.8853900817779268
_LOG2_E, _LN_2_HIGH, _LN_2_LOW = 1.4426950408889634, 0.693147180369123816490, 1.90821492927058770002e-10
"""The former part of ln 2 has so few digits that its multiples by small integers are exact."""
_INVERSE_FACTORIALS = [1 / math.factorial(k) for k in range(15)]
_SPLIT = 134217729.0
"""2^27 + 1, with which a number is split into two halves of its digits (Dekker 1971)."""


def bits_of(p: float) -> int:
    """-log2 p in steps of 1 / STEPS bit.

    >>> bits_of(0.125) / STEPS, bits_of(1.0)
    (3.0, 0)
    """
    mantissa, exponent = math.frexp(p)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = 2 * mantissa, exponent - 1
    t = (mantissa - 1) / (mantissa + 1)  # ln m = 2 (t + t³/3 + t⁵/5 + …), |t| < 0.172
    s = t * t
    series = t * (1 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s / 11)))))
    return -math.floor((exponent + _TWO_OVER_LN_2 * series) * STEPS + 0.5)


def entropy_of(p: list[float]) -> int:
    """The entropy of a distribution, in steps of bits."""
    total = 0
    for each in p:
        total += int(each * bits_of(each))
    return total


def bits_of_all(p: F64) -> I64:
    """`bits_of` of each number of an array, to the last bit.

    >>> bits_of_all(np.array([0.125, 1.0])) / STEPS
    array([3., 0.])
    """
    mantissa, exponent = np.frexp(p)
    is_small = mantissa < 0.7071067811865476
    mantissa, exponent = np.where(is_small, 2 * mantissa, mantissa), np.where(is_small, exponent - 1, exponent)
    t = (mantissa - 1) / (mantissa + 1)
    s = t * t
    series = t * (1 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s / 11)))))
    steps: I64 = -np.floor((exponent + _TWO_OVER_LN_2 * series) * STEPS + 0.5).astype(np.int64)
    return steps


def exp_of(x: float) -> float:
    """e^x for x from -700 to 700, with an error below 0.51 units in the last place.

    Nearly all results are the nearest numbers of all, which good C libraries give too.

    >>> exp_of(0.0), exp_of(-1.0)
    (1.0, 0.36787944117144233)
    """
    n = math.floor(x * _LOG2_E + 0.5)
    high, low = x - n * _LN_2_HIGH, -n * _LN_2_LOW
    r = high + low  # |r| < 0.35; e^r = 1 + r + r²/2 + r³ t
    missing = (high - r) + low
    t = _INVERSE_FACTORIALS[-1]
    for each in _INVERSE_FACTORIALS[-2:2:-1]:
        t = each + t * r
    square, upper = r * r, _SPLIT * r - (_SPLIT * r - r)
    rest = r - upper
    square_low = ((upper * upper - square) + 2 * upper * rest) + rest * rest  # r² is exactly square + square_low
    terms = (1.0, high, low, square / 2, square_low / 2, r * missing, t * r * square)
    return math.ldexp(math.fsum(terms), n)
