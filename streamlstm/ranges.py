"""What numbers from files may be: each module that stores arrays or JSON values declares those of its own.

Kernels use the numbers of arrays as indices. A declaration is a table of `Range`, beside the layout of the array. It
holds bounds, and relations: the bound of one word may be another word, and a part of an array may be in range as far as
another word says.

The declaration of JSON values is a shape, beside what describes them: `Whole`, `Real`, `Text`, `str`, `bool`, or
`object` for any value; `Maybe` of a shape; a list `[shape]` of any length, or a tuple of shapes for a list of as many
values; a dict with the shape of each key, where a key that ends with a question mark may be missing; or `Named`, a dict
with any keys.
"""

import math
import reprlib
import sys
from collections.abc import Iterable
from functools import partial
from numbers import Real as AnyReal
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

COUNT = 2**62 - 1
"""The most symbols, or lines, that a file may claim to have been seen: no stream has as many; to add more is safe."""

FINITE = sys.float_info.max

LARGEST = 1e100
"""The largest number of a file where nothing else bounds it: products of three such numbers are finite."""


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


def is_whole_number(value: object) -> bool:
    """Whether a value is an integer, Python's or NumPy's; True is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_count(name: str, value: Any, least: int, most: int = COUNT, *, floats: bool = False) -> int:
    """The value of a parameter as an int.

    floats  whether a float that is a whole number, such as 1e9, is one too

    Raises TypeError for what is not a whole number, and ValueError for one that is out of range, and for NaN.
    """
    if type(value) is int and least <= value <= most:  # three times for each character of a live stream
        return value
    is_float = floats and isinstance(value, float | np.floating)
    if not is_whole_number(value) and not is_float:
        raise TypeError(f"{name} must be a whole number, not {reprlib.repr(value)}")
    if not least <= value <= most:
        limit = f"at most {most}" if value > most else f"at least {least}"
        raise ValueError(f"{name} must be {limit}, not {reprlib.repr(value)}")
    if is_float and not value.is_integer():
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return int(value)


def check_number(name: str, value: Any, least: float = -FINITE, most: float = FINITE, *, above: bool = False) -> float:
    """The value of a parameter as a float; default: any finite one.

    above  whether it must be more than `least`

    Raises TypeError for what is not a number, as a bool is not, and ValueError for one that is out of range, or NaN.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, AnyReal):
        raise TypeError(f"{name} must be a number, not {reprlib.repr(value)}")
    number = value if isinstance(value, int) and abs(value) > FINITE else float(value)
    if isinstance(number, int) or not least <= number <= most or (above and number == least):
        limits = f"above {least:g}" if above else f"at least {least:g}"
        limits += "" if most >= FINITE else f" and at most {most:g}"
        raise ValueError(
            f"{name} must be {'a finite number' if least == -FINITE else limits}, not {reprlib.repr(value)}"
        )
    return float(number)


class Whole(NamedTuple):
    """A whole number, and not a bool."""

    least: int = 0
    most: int = COUNT


class Real(NamedTuple):
    """A number, and not a bool, that is finite."""

    least: float = -LARGEST
    most: float = LARGEST


class Text(NamedTuple):
    """Text from a file or a pipe: UTF-8, or with surrogates for the bytes that are not, as `surrogateescape` makes."""


class Maybe(NamedTuple):
    """A value of this shape, or None."""

    shape: Any


class Named(NamedTuple):
    """A dict in which each value is of this shape."""

    shape: Any


_TYPES = {str: "text", bool: "true or false", list: "a list", dict: "names with values"}


def check_values(value: Any, shape: Any, name: str) -> None:
    """Raise ValueError, which begins with the name, for the first JSON value that is not of the shape.

    >>> check_values({"n": [1, 2.5]}, {"n": [Whole(0, 9)], "time?": Maybe(Real())}, "the account")
    Traceback (most recent call last):
      ...
    ValueError: the account: n[1] is 2.5, where it must be a whole number from 0 to 9
    """
    _check(value, shape, name, "")


def _check(value: Any, shape: Any, name: str, at: str) -> None:
    if isinstance(shape, Maybe):
        if value is not None:
            _check(value, shape.shape, name, at)
    elif isinstance(shape, Whole):
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        _expect(is_whole and shape.least <= value <= shape.most, value, _numbers("a whole number", *shape), name, at)
    elif isinstance(shape, Real):
        is_real = isinstance(value, int | float) and not isinstance(value, bool)
        _expect(is_real and shape.least <= value <= shape.most, value, _numbers("a number", *shape), name, at)
    elif isinstance(shape, Text):
        _expect(isinstance(value, str) and _is_from_bytes(value), value, "text in UTF-8", name, at)
    elif isinstance(shape, type):
        _expect(isinstance(value, shape), value, _TYPES.get(shape, ""), name, at)
    elif isinstance(shape, Named):
        _expect(isinstance(value, dict), value, _TYPES[dict], name, at)
        for key, each in value.items():
            _check(each, shape.shape, name, f"{at}.{key}".removeprefix("."))
    elif isinstance(shape, dict):
        _check_keys(value, shape, name, at)
    else:
        _expect(isinstance(value, list | tuple), value, _TYPES[list], name, at)
        n = len(value) if isinstance(shape, list) else len(shape)
        _expect(len(value) == n, value, f"a list of {n} values", name, at)
        for index, each in enumerate(value):
            _check(each, shape[0] if isinstance(shape, list) else shape[index], name, f"{at}[{index}]")


def _check_keys(value: Any, shape: dict[str, Any], name: str, at: str) -> None:
    _expect(isinstance(value, dict), value, _TYPES[dict], name, at)
    for optional, each in shape.items():
        key = optional.removesuffix("?")
        where = f"{at}.{key}".removeprefix(".")
        if key in value:
            _check(value[key], each, name, where)
        elif key == optional:
            raise ValueError(f"{name}: {where} is missing")


def _is_from_bytes(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _expect(is_so: bool, value: Any, expected: str, name: str, at: str) -> None:
    if not is_so:
        where = f": {at}" if at else ""
        raise ValueError(f"{name}{where} is {reprlib.repr(value)}, where it must be {expected}")


def _numbers(what: str, least: float, most: float) -> str:
    if math.fabs(least) >= 2**53:
        return f"{what} up to {most:g}" if most < 2**53 else f"{what} that is not infinite or huge"
    return f"{what} from {least:g} on" if most >= 2**53 else f"{what} from {least:g} to {most:g}"
