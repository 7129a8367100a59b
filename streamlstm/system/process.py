"""A process: how it ends when a signal comes, and how many cores it may use.

A signal that asks a program to stop ends a stream between two blocks; a second one ends it at once.
"""

from __future__ import annotations

import _thread
import inspect
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, BinaryIO

from .portable import STOP_SIGNALS, wait_for

REPEAT_SECONDS = 0.1
"""A signal that follows another within this time is the same request: `timeout` and shells send signals twice."""


RETRY_SECONDS = 0.01
"""How long a signal waits that comes where its exception would be lost."""

_LOSES_EXCEPTIONS = ("importlib", "llvmlite", "weakref", "_weakrefset")
"""Packages below which an exception is lost or does harm: C code that calls Python drops it, replaces it, as the
initialisation of an extension module does, or goes on with half of an answer, as LLVM does while it loads kernels."""


class Interrupted(KeyboardInterrupt):
    """Raised when a signal stops the program.

    number     that of the signal
    exit_code  128 + the number of the signal: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP
    at_once    whether it was a second request to stop
    """

    def __init__(self, number: int, at_once: bool = False) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.exit_code, self.at_once = number, 128 + number, at_once


def exit_at_once(number: int, frame: FrameType | None) -> None:
    """A signal handler that ends the process without cleaning up."""
    os._exit(128 + number)


def handle_stop_signals(handler: Any) -> dict[int, Any]:
    """Set the handler of the `STOP_SIGNALS`, and return the previous handlers by signal.

    A signal that is ignored stays ignored: SIGHUP under `nohup`, SIGINT in a background command of a script.
    """
    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in numbers}


def _where_exceptions_are_lost(frame: FrameType | None) -> FrameType | None:
    """The innermost call, from a frame outwards, through which exceptions are lost; None if there is none."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in _LOSES_EXCEPTIONS or frame.f_code.co_name == "__del__":
            return frame
        frame = frame.f_back
    return None


class Interruptible:
    """A context in which SIGINT, SIGTERM and SIGHUP end `blocks` after the block at hand.

    A second signal raises `Interrupted`. With `raises=True` the first one does. A signal whose exception would be lost,
    in an import, while kernels are loaded, or in a destructor, waits until that is over.

    interrupted  whether a signal has come
    exit_code    128 + its number; 0 if none has come
    """

    def __init__(self, raises: bool = False) -> None:
        self.interrupted, self.exit_code = False, 0
        self._raises, self._is_waiting = raises, False
        self._time = 0.0
        self._previous: dict[int, Any] = {}
        self._outer: FrameType | None = None  # what is below it already when it begins does not count
        self._unraisable: Any = None
        self._late = 0  # a signal that is to be delivered in a moment

    def __enter__(self) -> Interruptible:
        self._outer = _where_exceptions_are_lost(inspect.currentframe())
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._take_lost
        self._previous = handle_stop_signals(self.interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        sys.unraisablehook, self._outer = self._unraisable, None
        late, self._late = self._late, 0
        if late and not isinstance(error, KeyboardInterrupt):
            signal.raise_signal(late)

    def interrupt(self, number: int, frame: FrameType | None = None) -> None:
        """Do what is done when this signal comes."""
        is_second = self.interrupted
        if is_second and time.monotonic() - self._time < REPEAT_SECONDS:
            return
        raises = is_second or self._raises or self._is_waiting
        if raises and _where_exceptions_are_lost(frame) is not self._outer:
            self._deliver_later(number)
            return
        self.interrupted, self.exit_code, self._time = True, 128 + number, time.monotonic()
        if raises:
            raise Interrupted(number, at_once=is_second)

    def _take_lost(self, lost: Any) -> None:
        """Deliver a signal again whose exception was lost nevertheless."""
        if isinstance(lost.exc_value, Interrupted):
            self.interrupted = lost.exc_value.at_once
            self._time = 0.0
            self._deliver_later(lost.exc_value.number)
        else:
            self._unraisable(lost)

    def _deliver_later(self, number: int) -> None:
        """Send a signal to the main thread again, in a moment."""
        self._late = number
        _thread.start_new_thread(self._deliver, ())  # a handler must not take the locks of `threading`

    def _deliver(self) -> None:
        time.sleep(RETRY_SECONDS)
        number, self._late = self._late, 0
        if number and hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, number)  # which ends a call that waits
        elif number:
            signal.raise_signal(number)

    def raise_if_interrupted(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.interrupted:
            raise Interrupted(self.exit_code - 128)

    def read(self, source: BinaryIO, size: int) -> bytes:
        """Up to `size` bytes, as soon as there are any; b"" at the end of the source or after a signal."""
        try:
            self._is_waiting = True
            if self.interrupted:
                return b""
            return source.read1(size) if hasattr(source, "read1") else source.read(size)
        except Interrupted as error:
            if error.at_once:
                raise
            return b""
        finally:
            self._is_waiting = False

    def wait(self, seconds: float, source: BinaryIO | None = None) -> bool:
        """Wait until the time is over, a signal comes, or bytes of a source can be read. Returns whether they can."""
        try:
            self._is_waiting = True
            if self.interrupted:
                return False
            if source is None:
                time.sleep(seconds)
                return False
            return wait_for(source, seconds)
        except Interrupted as error:
            if error.at_once:
                raise
            return False
        finally:
            self._is_waiting = False


def n_cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many cores this process may use, at least 1: by its affinity and, in a container, by its quota.

    quota: where Linux tells a container how many µs of how many it may compute.
    """
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # there is no such file, or it says "max"
        microseconds, period = quota.read_text().split()
        n = min(n, int(microseconds) // int(period))
    return max(n, 1)
