"""Kernels in machine code that comes with the package, so that neither numba nor a compiler is needed.

`ahead` compiles all entries into one shared library for each level of CPU. The function of an entry takes its arguments
from Python and returns its result by the stable part of Python's C interface, and releases the global interpreter lock.
It finds the data and the length of an array as a C extension does, at fixed places in the array object. All versions of
CPython and NumPy have them there, except a free-threaded Python, and `_finds_arrays` checks it. Where a tuple has its
items it is told when it is loaded. So one library serves all versions of Python. It needs nothing of a C library but
`memset`, which any has.

A library is used if it was compiled from the sources beside it, for a CPU like this one. If there is none, or
STREAMLSTM_JIT=1 is set, numba compiles the kernels; with NUMBA_BOUNDSCHECK=1 too, since they check no index.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import platform
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = Path(__file__).parents[1]
FOLDER = PACKAGE / "compiled"

DATA, LENGTHS = 16, 32
"""Where an array object holds the addresses of its data and of its lengths."""
ITEMS = tuple.__basicsize__
"""Where a tuple holds its items: from Python 3.14 on after its hash."""
TUPLE_ITEMS = "streamlstm_tuple_items"
"""The variable of a library that is set to ITEMS, 64 bits."""

SOURCES = "streamlstm_sources"
"""The symbol of a library with the digest of its sources and their names, a line each; ends with a zero byte."""

_DEFINES_KERNELS = re.compile(rb"^@(entry|kernel|inlined|intrinsic)\b", re.MULTILINE)
_DEFINES_ENTRIES = re.compile(rb"^@entry\b", re.MULTILINE)

LEVELS = {
    "x86-64-v4": "avx512f avx512bw avx512cd avx512dq avx512vl",
    "x86-64-v3": "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave",
    "x86-64-v2": "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
    "aarch64": "asimd fp",
}
"""The levels of CPU, best first: the names in /proc/cpuinfo of what each has beyond the next one."""

ASKED_OF_NUMPY = {"x86-64-v4": "AVX512F", "x86-64-v3": "AVX2", "x86-64-v2": "SSE42", "aarch64": "ASIMD"}
"""NumPy asks the CPU itself: under an emulator, /proc/cpuinfo may list what the real CPU has."""

CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux lists what the CPU has."""

_FASTCALL = 0x80  # METH_FASTCALL: a function of (self, array of arguments, their number)


class _Method(ctypes.Structure):
    """Python's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class Library:
    """The machine code of all entries.

    Raises OSError if the file cannot be loaded, ValueError if it is damaged or was compiled from other sources.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes()
        if content != sealed(content[: -hashlib.sha256().digest_size]):
            raise ValueError(f"{path} is damaged")
        self._library = ctypes.CDLL(str(path))
        digest, *names = (
            ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(self._library, SOURCES))).decode().split("\n")
        )
        if digest != digest_of(PACKAGE / name for name in names):
            raise ValueError(f"{path} was compiled from other sources")
        ctypes.c_int64.in_dll(self._library, TUPLE_ITEMS).value = ITEMS
        self._methods: list[_Method] = []  # a function refers to its method as long as it lives

    def function(self, entry: Any) -> Any:
        """The machine code of an entry, as a builtin function."""
        symbol = symbol_of(entry)
        address = ctypes.cast(getattr(self._library, symbol), ctypes.c_void_p).value
        method = _Method(entry.__name__.encode(), address, _FASTCALL, None)
        self._methods.append(method)
        new = ctypes.pythonapi.PyCFunction_NewEx
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        return new(ctypes.addressof(method), None, None)


def sealed(content: bytes) -> bytes:
    """A library with its SHA-256 at the end: to load a damaged one could end the process."""
    return content + hashlib.sha256(content).digest()


def symbol_of(entry: Any) -> str:
    """The name of an entry in a library, from that of its module: `streamlstm_kernels_network_forward`."""
    return f"{entry.__module__}.{entry.__name__}".replace(".", "_")


def kernel_sources(package: Path) -> list[Path]:
    """The source files of a package that machine code is made from, in alphabetical order."""
    rooms = ("jit", "kernels", "memory")
    return [
        source
        for source in sorted(package.rglob("*.py"))
        if source.relative_to(package).parts[0] in rooms or _DEFINES_KERNELS.search(source.read_bytes())
    ]


def modules_with_entries(package: Path) -> list[str]:
    """The names of the modules of a package that define entries, in alphabetical order."""
    return [
        ".".join([package.name, *source.relative_to(package).with_suffix("").parts])
        for source in sorted(package.rglob("*.py"))
        if _DEFINES_ENTRIES.search(source.read_bytes())
    ]


def digest_of(sources: Iterable[Path]) -> str:
    """A SHA-256 over source files, in hexadecimal digits. Raises OSError if one cannot be read."""
    digest = hashlib.sha256()
    for source in sources:
        text = source.read_bytes()
        digest.update(b"%d\n%b" % (len(text), text))
    return digest.hexdigest()


def library() -> Library | None:
    """The library of the best level that this CPU has; None if there is none that can be used."""
    if any(os.environ.get(name) == "1" for name in ("STREAMLSTM_JIT", "NUMBA_BOUNDSCHECK")):
        return None
    if not sys.platform.startswith("linux") or not _finds_arrays():
        return None
    for level in levels():
        with suppress(OSError, ValueError, AttributeError):
            return Library(FOLDER / f"{level}.so")
    return None


def levels() -> list[str]:
    """The levels that this CPU has, best first."""
    words, answers = _cpu_flags(), _answers()
    found: list[str] = []
    family = {"x86_64": "x86-64", "aarch64": "aarch64"}.get(platform.machine(), "")
    for level in reversed(LEVELS):
        if family and level.startswith(family):
            if not (words.issuperset(LEVELS[level].split()) and answers.get(ASKED_OF_NUMPY[level], True)):
                break
            found.insert(0, level)
    return found


def _cpu_flags() -> set[str]:
    with suppress(OSError), open(CPU_INFO, encoding="ascii", errors="replace") as file:
        for line in file:
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return set(words.split())
    return set()


def _answers() -> dict[str, bool]:
    """What NumPy found out about the CPU; nothing if this version of NumPy does not tell."""
    for name in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        with suppress(ImportError, AttributeError):
            return dict(importlib.import_module(name).__cpu_features__)
    return {}


def _finds_arrays() -> bool:
    """Whether the data and length of arrays, and the items of tuples, are where the libraries look for them."""
    array = np.zeros(3, dtype=np.float32)
    group = (array, None)

    def word(address: int) -> int:
        return ctypes.c_size_t.from_address(address).value

    return (
        sys.implementation.name == "cpython"
        and word(id(array) + DATA) == array.__array_interface__["data"][0]
        and word(id(group) + ITEMS) == id(array)
        and word(word(id(array) + LENGTHS)) == len(array)
    )
