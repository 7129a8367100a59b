"""The kernels' arithmetic in NumPy: elementary functions, sums in a fixed order, and hashes.

In float32 each operation is that of the kernels, so the results are equal bit for bit. In float64 the functions are
NumPy's own.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
f32 = np.float32

EXP = 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1
# fmt: off
LN = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
      -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
TANH_NUMERATOR = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
                  1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)
# fmt: on
TANH_DENOMINATOR = 1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03
ARITHMETIC = "8d27c81539662937"
"""The identity of this arithmetic: a part of the identity of each model."""
HASH_FACTOR = 0x1F83D9ABFB41BD6B


def add_product(y: Array, x: Array, W: Array) -> Array:
    """y + Σ_k x[k]·W[k], with k in ascending order."""
    for k in range(len(x)):
        y = y + x[k] * W[k]
    return y


def dot(W: Array, d: Array) -> Array:
    """Σ_j W[:, j]·d[j] on 16 lanes, which are then folded in halves."""
    return tree(in_order((W * d).reshape(len(W), -1, 16).swapaxes(0, 1)))


def in_order(terms: Any) -> Array:
    """The sum of the terms, from the first to the last."""
    total: Array = np.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total


def tree(a: Array) -> Array:
    """The sum over the last axis: the upper half is added to the lower half until one element is left."""
    while a.shape[-1] > 1:
        a = a[..., : a.shape[-1] // 2] + a[..., a.shape[-1] // 2 :]
    total: Array = a[..., 0]
    return total


def flush(a: Array, least: float) -> Array:
    """Each number, or 0 if its magnitude is less than `least`."""
    return np.where(np.abs(a) < least, a.dtype.type(0), a)


def polynomial(x: Array, *coefficients: float) -> Array:
    """A polynomial by Horner's method, the highest power first."""
    y: Array = f32(coefficients[0]) * x + f32(coefficients[1])
    for coefficient in coefficients[2:]:
        y = y * x + f32(coefficient)
    return y


def exp(x: Array) -> Array:
    """e**x; in float32 with x clamped to [-72, 88] (Cephes expf)."""
    if x.dtype == np.float64:
        return np.asarray(np.exp(x))
    x = np.minimum(np.maximum(x, f32(-72)), f32(88))
    n = (x * f32(1.44269504) + f32(12582912)) - f32(12582912)
    r = (x - n * f32(0.693359375)) - n * f32(-2.12194440e-4)
    p = polynomial(r, *EXP)
    power = ((n.astype(np.int32) + np.int32(127)) << np.int32(23)).view(f32)
    result: Array = ((p * (r * r) + r) + f32(1)) * power
    return result


def sigmoid(x: Array) -> Array:
    """1 / (1 + e**-x)."""
    return 1 / (1 + exp(0 - x))


def tanh(x: Array) -> Array:
    """tanh x; in float32 the rational minimax approximation of degree 13/6 that Eigen uses."""
    if x.dtype == np.float64:
        return np.asarray(np.tanh(x))
    x = np.minimum(np.maximum(x, f32(-7.9053111)), f32(7.9053111))
    q = x * x
    return (x * polynomial(q, *TANH_NUMERATOR)) / polynomial(q, *TANH_DENOMINATOR)


def reciprocal_root(x: Array) -> Array:
    """1 / √x; in float32 by two steps of Newton's method from an estimate, finite for x = 0."""
    if x.dtype == np.float64:
        return np.asarray(1 / np.sqrt(np.maximum(x, 1e-300)))
    y = (np.int32(0x5F1FFFF9) - (x.view(np.int32) >> 1)).view(f32)
    y = y * f32(0.703952253) * (f32(2.38924456) - x * y * y)
    result: Array = y * (f32(1.5) - f32(0.5) * x * y * y)
    return result


def ln_near_one(r: Array) -> Array:
    """ln(1 + r) for 1 + r in [√½, √2) (Cephes logf)."""
    q = r * r
    result: Array = (polynomial(r, *LN) * (r * q) - f32(0.5) * q) + r
    return result


def split(x: Array) -> tuple[Array, Array]:
    """The exponent n, as float32, and the mantissa x / 2**n in [√½, √2) of positive normal float32 numbers."""
    bits = x.view(np.int32)
    power = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    return power.astype(f32), (bits - (power << np.int32(23))).view(f32)


def log2(x: Array) -> Array:
    """log2 x of positive normal numbers."""
    if x.dtype == np.float64:
        return np.asarray(np.log2(x))
    power, mantissa = split(x)
    return power + ln_near_one(mantissa - f32(1)) * f32(1.44269504)


def ln(x: Array) -> Array:
    """ln x of positive normal float32 numbers."""
    power, mantissa = split(x)
    return power * f32(0.69314718) + ln_near_one(mantissa - f32(1))


def combine(h: int, *numbers: int) -> int:
    """The hash of a context extended by some numbers."""
    for x in numbers:
        h = ((h ^ (x + 1)) * HASH_FACTOR) % 2**62
        h ^= h >> 29
    return h
