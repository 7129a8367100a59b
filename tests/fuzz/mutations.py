"""Mutations: small changes of bytes, of JSON values, of arrays, and of files of them with a valid checksum.

Most leave a file acceptable, so that what reads it afterwards is tried too: a number becomes a near one, or one that
stands elsewhere in the same array.
"""

import copy
import math
from functools import lru_cache

import numpy as np

from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint

POWERS = (2, 3, 4, 5, 7, 8, 9, 10, 12, 15, 16, 24, 28, 30, 31, 32, 40, 53, 62, 63, 64)
NUMBERS = [0, 1, -1, 6, 13, 14, 29_999, 30_000, 30_000 << 16]  # some are sizes of a memory of 1,024 pages
NUMBERS += [sign * 2**power + step for power in POWERS for sign in (1, -1) for step in (-1, 0, 1)]
VALUES = [None, True, False, "", "x", "0", "\ud800", "\0", [], {}, [[]], [0], [-1, 1], {"": 0}]
VALUES += [0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, math.inf, -math.inf, math.nan, 10**400]
FLOATS = [0.0, -0.0, 1e-45, 1e-30, 0.5, 1.0, 1.5, 300.0, 2.0**24, 2.0**25, 1e10, 1e19, 1e30, 3.4e38, math.inf, math.nan]
DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
LONGEST = 1 << 18


def mutated_bytes(rng, data, other=b"", words=()):
    """A copy of the bytes with one to four changes; `words` are parts that are worth inserting."""
    data = bytearray(data)
    for _ in range(1 << rng.randrange(3)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(8)
        n = min(1 << rng.randrange(8), len(data) - at)
        if kind == 0:
            del data[at : at + n]
        elif kind <= 2:
            data[at : at + n * (kind - 1)] = rng.choice(words) if words else rng.randbytes(1 << rng.randrange(4))
        elif kind == 3 and other:
            start = rng.randrange(len(other))
            data[at : at + n] = other[start : start + n]
        elif kind == 4:
            data[at:at] = data[at : at + n] * rng.choice((1, 1, 1, 1, 2, 9, 4096))
        elif kind == 5:
            size = rng.randrange(1, 5)
            data[at : at + size] = (rng.choice(NUMBERS) & 0xFFFFFFFF).to_bytes(4, "little")[:size]
        elif n:
            data[at] = rng.randrange(256) if kind == 6 else data[at] ^ (1 << rng.randrange(8))
    return bytes(data[:LONGEST])


def mutated_json(rng, value):
    """A copy of a JSON value in which one part, at any depth, is replaced, removed, repeated or renamed."""
    root = [copy.deepcopy(value)]
    holder, key = root, 0
    while isinstance(holder[key], list | dict) and holder[key] and (holder is root or rng.randrange(6)):
        holder = holder[key]
        key = rng.randrange(len(holder)) if isinstance(holder, list) else rng.choice(sorted(holder))
    kind, old = rng.randrange(12), holder[key]
    if kind == 0 and holder is not root:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(old))
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "memory", "store", "format"))] = holder.pop(key)
    elif kind == 3:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind <= 5:
        holder[key] = rng.choice(NUMBERS)
    elif isinstance(old, bool):
        holder[key] = not old
    elif isinstance(old, int):
        holder[key] = max(old + rng.choice((1, -1, 2, -2, 100)), 0)
    elif isinstance(old, float):
        holder[key] = old * rng.choice((0.0, 0.5, 1.5, -1.0)) + rng.choice((0.0, 0.01, 1.0))
    elif isinstance(old, str):
        holder[key] = rng.choice((old[1:], old + "x", old.upper(), "#", "job"))
    return root[0]


def mutated_arrays(rng, arrays, others):
    """A copy of a dict of arrays in which numbers of one are changed; or it is cut, typed otherwise, renamed, …"""
    arrays, name = dict(arrays), _some_array(rng, arrays)
    array, kind = arrays[name], rng.randrange(40)
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
        arrays[name] = array[: rng.randrange(len(array) + 1)] if array.ndim else array
    elif kind == 5 and array.size < 4096 and array.ndim:
        arrays[name] = np.concatenate([array, array])
    elif kind == 6:
        arrays[name] = arrays[rng.choice(sorted(arrays))]
    elif kind <= 9 and name in others:
        arrays[name] = others[name]
    elif array.size:
        arrays[name] = _with_other_words(rng, array, 1 << rng.randrange(3), is_mild=rng.randrange(4) > 0)
    return arrays


def _some_array(rng, arrays):
    """The name of an array: each equally often, but the state of a memory half of the time."""
    return "memory.state" if "memory.state" in arrays and rng.randrange(2) else rng.choice(sorted(arrays))


def with_another_word(rng, case, checksum="sha256"):
    """A file with a valid checksum in which one word of an array, or two neighbouring ones, have any value."""
    arrays, values = parts_of(case, checksum)
    name = _some_array(rng, {name: array for name, array in arrays.items() if array.size})
    changed = _with_other_words(rng, arrays[name], 1, is_mild=False)
    return dump_checkpoint({**arrays, name: changed}, values, checksum)


def _with_other_words(rng, array, n_places, is_mild):
    """A copy in which one word, or two neighbouring ones, are changed, in so many places."""
    flat = array.reshape(-1).copy()
    for _ in range(n_places):
        at = rng.randrange(flat.size)
        for i in range(at, min(at + rng.randrange(1, 3), flat.size)):
            flat[i] = _other_word(rng, flat, i, is_mild)
    return flat.reshape(array.shape)


def _other_word(rng, flat, i, is_mild):
    other = flat[rng.randrange(flat.size)]
    if flat.dtype.kind == "b":
        return not flat[i]
    if flat.dtype.kind == "f":
        usual = (other, -flat[i], rng.randrange(-3000, 3000) / 1000)
        return rng.choice(usual if is_mild else (rng.choice((1, -1)) * rng.choice(FLOATS), *usual))
    limits = np.iinfo(flat.dtype)
    near = int(flat[i]) + rng.choice((1, -1, 2, -2, 16, -16, 65536) if rng.randrange(2) else (1, -1))
    number = rng.choice((int(other), near)) if is_mild else rng.choice((*NUMBERS, near))
    return min(max(number, limits.min), limits.max)


@lru_cache(maxsize=64)
def parts_of(case, checksum):
    """The arrays and values of a file with a valid checksum; None of any other file."""
    try:
        arrays, values = parse_checkpoint(case, "", checksum)
    except ValueError:
        return None
    return arrays, values


def mutated_file(rng, case, other, checksum="sha256"):
    """A file with other arrays or values, and a valid checksum most of the time."""
    parts, others = parts_of(case, checksum), parts_of(other, checksum)
    if parts is None or others is None or not rng.randrange(20):
        return mutated_bytes(rng, case, other)
    arrays, values = parts
    for _ in range(rng.randrange(1, 4)):
        if arrays and rng.randrange(4):
            arrays = mutated_arrays(rng, arrays, others[0])
        elif values and rng.randrange(4):
            name = rng.choice(sorted(values))
            values = {**values, name: mutated_json(rng, values[name])}
        elif not rng.randrange(4):
            values = mutated_json(rng, values)
    try:
        return dump_checkpoint(arrays, values, checksum)
    except (ValueError, TypeError, OverflowError, KeyError, AttributeError):
        return mutated_bytes(rng, case, other)


def mutator(checksum):
    """`mutated_file` with this checksum."""
    return lambda rng, case, other: mutated_file(rng, case, other, checksum)
