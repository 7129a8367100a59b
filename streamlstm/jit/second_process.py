"""A second process that compiles some entries while this one compiles the others.

A pipe holds the entries to compile, a byte each. Both processes read from it, so that each byte goes to one of them.
The helper writes what it compiles to the disk cache, for which its parent holds the lock. If it cannot start or dies,
the parent compiles all; if the parent dies, the helper ends.

It is a new interpreter with the parent's `sys.path`. A fork would copy the locks of threads, and `multiprocessing`
would run the user's script again.
"""

import importlib
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..system.process import n_cores
from .cache import LONGEST_WAIT, cache_folder, cache_lock

_SCRIPT = """
import sys
sys.path[:] = sys.argv[4:]
from streamlstm.jit import second_process
second_process.help_parent(*sys.argv[1:4])
"""


def can_help() -> bool:
    """Whether a helper would have a core, and `sys.executable` is an interpreter, not a program with Python in it."""
    is_frozen = getattr(sys, "frozen", False)
    return n_cores() > 1 and not is_frozen and Path(sys.executable or "").name.startswith("python")


def compile_with_helper(entries: list[Any], folder: Path) -> dict[str, float]:
    """Compile at most 255 entries, each after those that it calls, for the cache in this folder, which is locked.

    Returns how many seconds each took. An entry is missing if the helper did not finish it.
    """
    reader, writer = os.pipe()
    helper, seconds = None, {}
    try:
        os.write(writer, bytes([*range(len(entries)), *[len(entries)] * 2]))  # at the end one byte for each process
        helper = _start(entries, folder, reader)
        seconds = _compile_from(reader, entries)
        if helper is not None:
            with suppress(subprocess.TimeoutExpired, ValueError):
                for line in helper.communicate(timeout=LONGEST_WAIT)[0].splitlines():
                    name, duration = line.split()
                    seconds[name] = float(duration)
    finally:
        os.close(reader)
        os.close(writer)
        if helper is not None:
            helper.kill()
            helper.communicate()
    return seconds


def _compile_from(reader: int, entries: list[Any]) -> dict[str, float]:
    seconds = {}
    while (number := os.read(reader, 1)[0]) < len(entries):
        started = time.perf_counter()
        entries[number].compile(entries[number].arguments)
        seconds[entries[number].py_func.__name__] = time.perf_counter() - started
    return seconds


def _start(entries: list[Any], folder: Path, stdin: int) -> Any:
    """Start the helper; None if that fails."""
    names = ",".join(f"{entry.py_func.__module__}:{entry.py_func.__name__}" for entry in entries)
    paths = [path for path in sys.path if isinstance(path, str)]
    with suppress(OSError, ValueError):
        return subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(os.getpid()), str(folder), names, *paths],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    return None


def help_parent(parent: str, folder: str, names: str) -> None:
    """The helper: compile entries from the pipe on stdin, and print how many seconds each took."""
    entries = _begin(parent, names)
    if str(cache_folder()) == folder:
        cache_lock(Path(folder)).borrow()
        for name, seconds in _compile_from(0, entries).items():
            print(name, seconds)


def _begin(parent: str, names: str) -> list[Any]:
    """End with the parent from now on; returns the entries that have these names."""
    threading.Thread(target=_end_with, args=(int(parent),), daemon=True).start()
    entries = []
    for name in names.split(","):
        module, _, function = name.partition(":")
        entries.append(getattr(importlib.import_module(module), function))
    return entries


def _end_with(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)
