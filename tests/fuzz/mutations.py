"""Mutations: small changes of bytes, of JSON values and of arrays, as a fuzzer makes them."""

import copy
import math

import numpy as np

NUMBERS = [0, 1, -1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 127, 128, 255, 256, 1023, 1024, 4096, 65535, 65536]
NUMBERS += [sign * 2**power + step for power in (31, 32, 53, 62, 63, 64) for sign in (1, -1) for step in (-1, 0, 1)]
VALUES = [None, True, False, "", "x", "0", "\ud800", "\0", [], {}, [[]], [0], [-1, 1], {"": 0}]
VALUES += [0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, math.inf, -math.inf, math.nan, 10**400]
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
LONGEST = 1 << 16


def mutated_bytes(rng, data, other=b"", words=()):
    """A copy of the bytes with one to four changes; `words` are parts that are worth inserting."""
    data = bytearray(data)
    for _ in range(1 << rng.randrange(3)):
        at = rng.randrange(len(data) + 1)
        n = min(1 << rng.randrange(6), len(data) - at)
        kind = rng.randrange(10)
        if kind == 0:
            del data[at : at + n]
        elif kind == 1:
            data[at:at] = rng.randbytes(1 << rng.randrange(4))
        elif kind == 2 and words:
            data[at:at] = rng.choice(words)
        elif kind == 3 and words:
            word = rng.choice(words)
            data[at : at + len(word)] = word
        elif kind == 4 and other:
            start = rng.randrange(len(other))
            data[at : at + n] = other[start : start + (1 << rng.randrange(8))]
        elif kind == 5:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + n]
        elif kind == 6 and rng.random() < 0.02:
            data[at:at] = data[at : at + n] * rng.randrange(4096)
        elif kind == 7:
            number = rng.choice(NUMBERS) & 0xFFFFFFFF
            size = rng.choice((1, 2, 3, 4))
            data[at : at + size] = number.to_bytes(4, "little")[:size]
        elif n:
            data[at] = rng.randrange(256) if kind == 8 else data[at] ^ (1 << rng.randrange(8))
    return bytes(data[:LONGEST])


def mutated_json(rng, value):
    """A copy of a JSON value in which one part is replaced, removed, repeated or exchanged."""
    root = [copy.deepcopy(value)]
    places = list(_places(root))
    holder, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0 and holder is not root:
        del holder[key]
    elif kind == 1 and isinstance(holder, list) and holder is not root:
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 2:
        other, name = rng.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif kind == 3 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "memory", "store", "format"))] = holder.pop(key)
    elif kind <= 5 and isinstance(holder[key], int | float):
        step = rng.choice((1, -1, 2, -2, 0.5))
        holder[key] += step if abs(holder[key]) < 2**1000 else int(step)  # a larger integer has no sum with a float
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES) if rng.random() < 0.4 else rng.choice(NUMBERS))
    return root[0]


def _places(holder):
    for key in range(len(holder)) if isinstance(holder, list) else list(holder):
        yield holder, key
        if isinstance(holder[key], list | dict):
            yield from _places(holder[key])


def mutated_arrays(rng, arrays, other=None):
    """A copy of a dict of arrays in which one is changed, cut, typed otherwise, renamed, removed or exchanged."""
    arrays, name = dict(arrays), rng.choice(sorted(arrays))
    array = arrays[name]
    kind = rng.randrange(16)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[rng.choice(("theta", "slots", "h", "memory.state", "x"))] = arrays.pop(name)
    elif kind == 2:
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(rng.choice(DTYPES))
    elif kind == 3:
        arrays[name] = array.reshape(rng.choice(((-1,), (1, -1), (-1, 1), (1, 1, -1))))
    elif kind == 4:
        arrays[name] = array[: rng.randrange(len(array) + 1)]
    elif kind == 5 and array.size < 4096:
        arrays[name] = np.concatenate([array, array])
    elif kind == 6:
        arrays[name] = arrays[rng.choice(sorted(arrays))]
    elif kind == 7 and other and name in other:
        arrays[name] = other[name]
    elif kind == 8 and array.ndim:
        arrays[name] = array[::-1]
    else:
        arrays[name] = _with_other_numbers(rng, array)
    return arrays


def _with_other_numbers(rng, array):
    flat = array.reshape(-1).copy()
    for _ in range(1 << rng.randrange(4) if len(flat) else 0):
        at = rng.randrange(len(flat))
        if flat.dtype.kind == "f":
            flat[at] = rng.choice((0.0, 1.0, -1.0, 1e-38, 1e4, -1e4, 6e4, rng.gauss(0, 2)))
        elif flat.dtype.kind == "b":
            flat[at] = not flat[at]
        else:
            limits = np.iinfo(flat.dtype)
            number = (
                rng.choice(NUMBERS) if rng.random() < 0.4 else int(flat[at]) + rng.choice((1, -1, 2, 16, -16, 65536))
            )
            flat[at] = min(max(number, limits.min), limits.max)
    return flat.reshape(array.shape)
