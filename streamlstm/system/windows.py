"""Functions of Windows itself that `portable` needs and Python does not have. Not imported elsewhere."""

from __future__ import annotations

import ctypes
import os
from importlib import import_module
from typing import Any

_ANY: Any = ctypes
msvcrt: Any = import_module("msvcrt")
kernel32: Any = _ANY.WinDLL("kernel32", use_last_error=True)

_READ, _SHARE_ALL, _EXISTING, _FOLDERS_TOO = 0x80000000, 1 | 2 | 4, 3, 0x02000000
_NO_HANDLE = ctypes.c_void_p(-1).value
_LONGEST_PATH = 32768


def open_shared(path: str) -> int:
    """A descriptor to read a file that others may write to, rename and delete meanwhile. Raises OSError."""
    create, word, pointer = kernel32.CreateFileW, ctypes.c_uint32, ctypes.c_void_p
    create.argtypes = (ctypes.c_wchar_p, word, word, pointer, word, word, pointer)
    create.restype = pointer
    handle = create(path, _READ, _SHARE_ALL, None, _EXISTING, _FOLDERS_TOO, None)
    if handle in (None, _NO_HANDLE):
        raise _error(path)
    number: int = msvcrt.open_osfhandle(handle, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    return number


def path_of(number: int) -> str:
    """The path of an open file, without links. Raises OSError."""
    find = kernel32.GetFinalPathNameByHandleW
    find.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p, ctypes.c_uint32, ctypes.c_uint32)
    buffer = ctypes.create_unicode_buffer(_LONGEST_PATH)
    if not find(msvcrt.get_osfhandle(number), buffer, _LONGEST_PATH, 0):
        raise _error("")
    path = buffer.value
    return "\\\\" + path[8:] if path.startswith("\\\\?\\UNC\\") else path.removeprefix("\\\\?\\")


def memory_bytes() -> int:
    """The size of the memory of this machine."""
    status = _MemoryStatus(ctypes.sizeof(_MemoryStatus))
    kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.sizes[0])


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX: the first of the sizes is that of the memory."""

    _fields_ = (("length", ctypes.c_uint32), ("load", ctypes.c_uint32), ("sizes", ctypes.c_uint64 * 7))


def _error(path: str) -> OSError:
    """The last error of a function of Windows, as Python raises it: its errno is found by that number."""
    number = _ANY.get_last_error()
    return OSError(0, _ANY.FormatError(number).strip(), path or None, number)
