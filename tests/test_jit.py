"""The decorators that compile kernels."""

import numba

from streamlstm.kernels import jit


@jit.kernel
def increased(n, step):
    return n + step


@numba.njit
def increased_twice(n):
    return increased(increased(n, 1), 2)


def test_a_kernel_is_compiled_once_whatever_literals_it_is_given():
    assert increased_twice(3) == 6
    assert increased.signatures == [(numba.int64, numba.int64)]
