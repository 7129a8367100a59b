"""e**x, σ, tanh and logarithms of float32 lanes, with the same bits on every CPU."""

import numpy as np

from ..jit.decorators import kernel
from ..jit.intrinsics import bits_float, exponent, float_bits, mantissa, maximum, minimum, times_power_of_two
from .arrays import ONE, ZERO

f32 = np.float32


@kernel
def exp(x):
    """e**x within 1 ulp on [-72, 88], clamped there so that no result is 0, subnormal or infinite (Cephes expf)."""
    x = minimum(maximum(x, f32(-72.0)), f32(88.0))
    shifted = x * f32(1.44269504) + f32(12582912.0)  # n = x / ln 2, rounded: 1.5·2**23 leaves no fraction
    n = shifted - f32(12582912.0)
    r = (x - n * f32(0.693359375)) - n * f32(-2.12194440e-4)
    p = f32(1.9875691500e-4) * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    return times_power_of_two((p * (r * r) + r) + ONE, shifted)


@kernel
def sigmoid(x):
    """1 / (1 + e**-x)."""
    return ONE / (ONE + exp(ZERO - x))


@kernel
def tanh(x):
    """tanh x with a relative error below 4e-7: the rational minimax approximation of degree 13/6 that Eigen uses."""
    x = minimum(maximum(x, f32(-7.9053111)), f32(7.9053111))
    q = x * x
    p = f32(-2.76076847742355e-16) * q + f32(2.00018790482477e-13)
    p = p * q + f32(-8.60467152213735e-11)
    p = p * q + f32(5.12229709037114e-08)
    p = p * q + f32(1.48572235717979e-05)
    p = p * q + f32(6.37261928875436e-04)
    p = p * q + f32(4.89352455891786e-03)
    d = f32(1.19825839466702e-06) * q + f32(1.18534705686654e-04)
    d = d * q + f32(2.26843463243900e-03)
    d = d * q + f32(4.89352518554385e-03)
    return (x * p) / d


@kernel
def ln_near_one(r):
    """ln(1 + r) for 1 + r in [√½, √2) (Cephes logf)."""
    p = f32(7.0376836292e-2) * r + f32(-1.1514610310e-1)
    p = p * r + f32(1.1676998740e-1)
    p = p * r + f32(-1.2420140846e-1)
    p = p * r + f32(1.4249322787e-1)
    p = p * r + f32(-1.6668057665e-1)
    p = p * r + f32(2.0000714765e-1)
    p = p * r + f32(-2.4999993993e-1)
    p = p * r + f32(3.3333331174e-1)
    q = r * r
    return (p * (r * q) - f32(0.5) * q) + r


@kernel
def log2(x):
    """log2 of one positive normal float32."""
    bits = float_bits(x)
    power = (bits - np.int32(0x3F3504F3)) >> np.int32(23)  # so that the mantissa lies in [√½, √2)
    return f32(power) + ln_near_one(bits_float(bits - (power << np.int32(23))) - ONE) * f32(1.44269504)


@kernel
def ln(x):
    """ln x of positive normal float32 lanes."""
    return exponent(x) * f32(0.69314718) + ln_near_one(mantissa(x) - ONE)
