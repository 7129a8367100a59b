"""The decorators that compile kernels."""

import numba
import numpy as np
import pytest

from streamlstm.jit import decorators


@decorators.kernel
def increased(n, step):
    return n + step


@numba.njit
def increased_twice(n):
    return increased(increased(n, 1), 2)


@decorators.kernel
def zeros(n):
    return np.zeros(n)


@numba.njit
def sum_of_zeros(n):
    return zeros(n).sum()


def test_a_kernel_that_allocates_is_refused():
    with pytest.raises(numba.TypingError):
        sum_of_zeros(3)


def test_a_kernel_is_compiled_once_whatever_literals_it_is_given():
    assert increased_twice(3) == 6
    assert increased.signatures == [(numba.int64, numba.int64)]
