"""Surprisals in steps of a bit: integers, whose sums are the same in any order and on every machine."""

import math

STEPS = 4096
"""Steps per bit."""

_TWO_OVER_LN_2 = 2.8853900817779268


def bits_of(p: float) -> int:
    """-log2 p in steps of 1 / STEPS bit; only operations that IEEE 754 defines exactly, and so the same everywhere.

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
