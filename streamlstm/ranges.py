"""The ranges of numbers from files, which kernels use as indices: each module that stores arrays declares its own.

A declaration is a table of `Range`, beside the layout of the array. It holds bounds, and relations: the bound of one
word may be another word, and a part of an array may be in range as far as another word says.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

COUNT = 2**62 - 1
"""The most symbols, or lines, that a file may claim to have been seen: no stream has as many; to add more is safe."""


class Range(NamedTuple):
    """What some numbers of a file may be: from `least` to `most`, both included.

    name     what they are, for errors
    numbers  a number, or an array of any shape
    """

    name: str
    numbers: npt.NDArray[Any] | float
    least: float
    most: float


def check_ranges(declared: Iterable[Range], problem: str) -> None:
    """Raise ValueError, which begins with the problem, for the first number that is out of its range or not a number.

    >>> check_ranges([Range("a token", np.array([7, 9]), 0, 8)], "out of range")
    Traceback (most recent call last):
      ...
    ValueError: out of range: a token is 9, where it must be from 0 to 8
    """
    for name, numbers, least, most in declared:
        if not isinstance(numbers, np.ndarray):
            is_within = least <= numbers <= most
        else:
            is_within = not numbers.size or (least <= _least(numbers) and _most(numbers) <= most)
        if not is_within:
            wrong = np.extract(~((np.asarray(numbers) >= least) & (np.asarray(numbers) <= most)), numbers)[0]
            raise ValueError(f"{problem}: {name} is {wrong}, where it must be from {least} to {most}")


_least, _most = partial(np.minimum.reduce, axis=None), partial(np.maximum.reduce, axis=None)
"""The least and the largest number of an array, or NaN if there is one; they take half the time of its methods."""


def whole_number(value: Any, name: str, least: int = 0, most: int = COUNT) -> int:
    """The value itself. Raises ValueError unless it is an int, and not a bool, from `least` to `most`.

    >>> whole_number(1.0, "step")
    Traceback (most recent call last):
      ...
    ValueError: step must be a whole number from 0 on, not 1.0
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        limit = "on" if most >= 2**53 else f"to {most}"
        raise ValueError(f"{name} must be a whole number from {least} {limit}, not {value!r}")
    return value
