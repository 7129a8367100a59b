"""Bounds checks of kernels: NUMBA_BOUNDSCHECK=1 checks the indices of arrays and of the intrinsics."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import config

import streamlstm
from streamlstm.jit import cache, lanes, precompiled
from streamlstm.jit.lanes import (
    address_of,
    lane_sum,
    load,
    load_tile,
    set_word,
    splat,
    spread,
    store,
    store_tile,
    word,
)
from streamlstm.kernels.arrays import PAGE

F32, I32 = np.float32, np.int32
N = 64
ONE = F32(1)


def array_item(a, i):
    return a[i]


def loaded(a, i):
    return lane_sum(load(a, i, 8))


def stored(a, i):
    store(a, i, splat(ONE, 8))


def loaded_tile(a, i):
    return lane_sum(load_tile(a, i, 16, 2, 8))


def loaded_backwards(a, i):
    return lane_sum(load_tile(a, i, -16, 2, 8))


def stored_tile(a, i):
    store_tile(a, i, 16, 2, splat(ONE, 16))


def spread_rows(a, i):
    return lane_sum(spread(a, i, 16, 2, 4))


def address(a, i):
    return address_of(a, i)


def word_of_page(a, i):
    return word(address_of(a, 0), i)


def set_word_of_page(a, i):
    set_word(address_of(a, 0), i, 1)


ACCESSES = [
    (array_item, F32, -N, N - 1),  # numba counts a negative index from the end, as NumPy does
    (loaded, F32, 0, N - 8),
    (stored, F32, 0, N - 8),
    (loaded_tile, F32, 0, N - 24),
    (loaded_backwards, F32, 16, N - 8),
    (stored_tile, F32, 0, N - 24),
    (spread_rows, F32, 0, N - 17),
    (address, I32, 0, N - PAGE),
    (word_of_page, I32, 0, PAGE - 1),
    (set_word_of_page, I32, 0, PAGE - 1),
]
"""Functions that access an array of N numbers from an index on, the type of the numbers, and the first and last index
that is valid."""


@pytest.mark.parametrize(("access", "dtype", "first", "last"), ACCESSES, ids=[case[0].__name__ for case in ACCESSES])
def test_an_access_is_checked_if_numba_checks_indices_and_not_compiled_otherwise(
    monkeypatch, access, dtype, first, last
):
    kinds = (numba.from_dtype(np.dtype(dtype))[::1], numba.int64)
    monkeypatch.setattr(config, "BOUNDSCHECK", None)
    unchecked = numba.njit(kinds)(access)
    assert "IndexError" not in unchecked.inspect_llvm(kinds)
    monkeypatch.setattr(config, "BOUNDSCHECK", 1)
    checked = numba.njit(kinds)(access)
    array = np.zeros(N, dtype)
    for index in (first, last):
        checked(array, index)
    for index in (first - 1, last + 1, -(2**40), 2**40):
        before = array.copy()
        with pytest.raises(IndexError, match="index is out of bounds"):
            checked(array, index)
        assert np.array_equal(array, before)


CHECKED = """
from streamlstm.jit import decorators
from streamlstm.memory import overlay
pages = overlay.new_overlay(2)
pages[overlay.N_OWN] = 2
fill = decorators.native(overlay.fill_index)
fill(pages.copy())
try:
    fill(pages[: overlay.PAGE])
except IndexError as error:
    print(error)
"""


def test_the_kernels_of_a_process_with_numbas_bounds_checks_are_checked(tmp_path):
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):  # compiled, and from the cache
        printed = subprocess.run([sys.executable, "-c", CHECKED], env=environment, stdout=subprocess.PIPE, check=True)
        assert printed.stdout.decode() == "index is out of bounds\n"


def test_checked_kernels_have_a_cache_of_their_own_and_no_library_is_used(monkeypatch):
    package = Path(streamlstm.__file__).parent
    folders = set()
    for setting in (None, 1):
        monkeypatch.setattr(config, "BOUNDSCHECK", setting)
        folders.add(cache.digest_of(package))
    assert len(folders) == 2
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    monkeypatch.setattr(precompiled, "Library", lambda path: pytest.fail(f"{path} is loaded"))
    assert precompiled.library() is None


def test_a_page_has_as_many_words_for_the_checks_as_for_the_kernels():
    assert lanes.PAGE == PAGE
