"""A second process that compiles some entries while this one compiles the others.

Each entry goes to whichever process is free. The helper is told the number of an entry on its stdin, a byte, and prints
how long it took when it is done, which asks for the next one. It writes what it compiles to the disk cache, for which
its parent holds the lock. If it cannot start or dies, the parent compiles all; if the parent dies, however it does, the
helper's stdin ends, and the helper with it.

It is a new interpreter with the parent's `sys.path`. A fork would copy the locks of threads, and `multiprocessing`
would run the user's script again.
"""

import importlib
import os
import queue
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
sys.path[:] = sys.argv[3:]
from streamlstm.jit import second_process
second_process.help_parent(*sys.argv[1:3])
"""


def can_help() -> bool:
    """Whether a helper would have a core, and `sys.executable` is an interpreter, not a program with Python in it."""
    is_frozen = getattr(sys, "frozen", False)
    return n_cores() > 1 and not is_frozen and Path(sys.executable or "").name.startswith("python")


class Work:
    """The numbers of the entries that nobody has taken yet, for two threads."""

    def __init__(self, n: int) -> None:
        self._left = list(reversed(range(n)))

    def take(self) -> int | None:
        """The number of the next entry; None if there is none."""
        with suppress(IndexError):
            return self._left.pop()
        return None


def compile_with_helper(entries: list[Any], folder: Path) -> dict[str, float]:
    """Compile at most 256 entries, each after those that it calls, for the cache in this folder, which is locked.

    Returns how many seconds each took. An entry is missing if the helper did not finish it.
    """
    others: dict[str, float] = {}
    work = Work(len(entries))
    helper = _start(entries, folder)
    try:
        if helper is not None:
            waiter = threading.Thread(target=_lead, args=(helper, work, others), daemon=True)
            waiter.start()
        seconds = _compile_from(work, entries)
        if helper is not None:
            waiter.join(LONGEST_WAIT)
    finally:
        if helper is not None:
            helper.kill()
            helper.wait()
            with suppress(OSError):
                helper.stdin.close()
    return seconds | others


def _compile_from(work: Work, entries: list[Any]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    while (number := work.take()) is not None:
        seconds.update([_compiled(entries[number])])
    return seconds


def _compiled(entry: Any) -> tuple[str, float]:
    started = time.perf_counter()
    entry.compile(entry.arguments)
    return entry.py_func.__name__, time.perf_counter() - started


def _lead(helper: Any, work: Work, seconds: dict[str, float]) -> None:
    """Give the helper entries until there are none, or it ends."""
    with suppress(OSError, ValueError), helper.stdout:
        while (number := work.take()) is not None:
            helper.stdin.write(bytes([number]))
            name, duration = helper.stdout.readline().decode().split()
            seconds[name] = float(duration)
        helper.stdin.close()


def _start(entries: list[Any], folder: Path) -> Any:
    """Start the helper; None if that fails."""
    names = ",".join(f"{entry.py_func.__module__}:{entry.py_func.__name__}" for entry in entries)
    paths = [path for path in sys.path if isinstance(path, str)]
    with suppress(OSError, ValueError):
        return subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(folder), names, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    return None


def help_parent(folder: str, names: str) -> None:
    """The helper: compile the entries whose numbers come on stdin, and print how many seconds each took."""
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(numbers,), daemon=True).start()
    entries = []
    for name in names.split(","):
        module, _, function = name.partition(":")
        entries.append(getattr(importlib.import_module(module), function))
    if str(cache_folder()) == folder:
        cache_lock(Path(folder)).borrow()
        while True:
            print(*_compiled(entries[numbers.get()]), flush=True)


def _listen(numbers: queue.SimpleQueue[int]) -> None:
    """Take numbers from stdin. At its end this process ends too: nothing is left, or the parent has ended."""
    while data := os.read(0, 1):
        numbers.put(data[0])
    os._exit(0)
