"""What differs between operating systems. All else in the package asks here, and is the same on each of them.

macOS differs from Linux in how what is written reaches a disk. Windows opens files as text, renames and deletes none
that is open, waits for sockets only, keeps a user's cache elsewhere, and has other processes and signals.

Whether there is a function is asked by `hasattr`, so that what is done without it is tested wherever it is taken away:
see tests/elsewhere. Functions of Windows itself are in `windows`.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, TextIO

IS_WINDOWS = sys.platform == "win32"

fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
"""Locks of files; None on Windows."""

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""The signals that ask a program to stop. Windows has SIGBREAK, and no SIGHUP."""

IN_USE = (5, 32, 33)
"""What Windows says of a file that a process has open: access denied, a sharing violation, a lock violation."""

PATIENCE_SECONDS = 2.0
"""How long a file in use is waited for: a virus scanner or an indexer opens what was just written, for a moment."""


def windows() -> Any:
    """The module with the functions of Windows, which exists only there."""
    return import_module(f"{__package__}.windows")


# Files


def open_binary(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """A descriptor, as `os.open` gives it, of a file that is not read or written as text: Windows would change it."""
    return os.open(path, flags | getattr(os, "O_BINARY", 0), mode)


def open_shared(path: str | os.PathLike[str]) -> int:
    """A descriptor to read a file that others may write to, rename and delete meanwhile; a pipe does not block.

    Windows lets nobody rename what `os.open` has open, so a log could not be rotated.
    """
    if IS_WINDOWS:
        number: int = windows().open_shared(os.fspath(path))
        return number
    return open_binary(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))


def read_at(number: int, size: int, offset: int) -> bytes:
    """Up to `size` bytes of an open file from an offset on. Where `os.pread` is missing, its position changes."""
    if hasattr(os, "pread"):
        return os.pread(number, size, offset)
    with _POSITIONS:
        os.lseek(number, offset, os.SEEK_SET)
        return os.read(number, size)


_POSITIONS = threading.Lock()
"""Held between a seek and a read, since copies of a descriptor have one position."""


def replace_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Rename a file, in place of the one that has the name; wait for a moment while Windows says that it is in use."""
    _patiently(lambda: os.replace(source, target))


def remove_file(path: str | os.PathLike[str]) -> None:
    """Delete a file; wait for a moment while Windows says that it is in use."""
    _patiently(lambda: os.unlink(path))


def is_in_use(error: OSError) -> bool:
    """Whether an error means that Windows changes no file that a process has open."""
    return isinstance(error, PermissionError) and getattr(error, "winerror", None) in IN_USE


def _patiently(change: Callable[[], None]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return change()
        except PermissionError as error:
            if not is_in_use(error) or time.monotonic() > end:
                raise
        time.sleep(0.02)


def sync(number: int) -> None:
    """Write an open file to the medium. On macOS `fsync` stops at the disk's cache, which a power failure empties."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # not every file system has it
            fcntl.fcntl(number, fcntl.F_FULLFSYNC)
            return
    os.fsync(number)


def open_below(file: Path) -> int:
    """A descriptor of a file with an absolute path, none of whose parts may be a symbolic link; a FIFO does not block.

    Raises OSError if a part is one, also if it became one meanwhile.
    """
    if os.open not in os.supports_dir_fd:
        return _open_unmoved(file)
    search = getattr(os, "O_PATH", os.O_RDONLY)  # on Linux this needs no permission to list a folder
    folder = os.open(file.anchor, search | os.O_DIRECTORY)
    try:
        for part in file.parts[1:-1]:
            below = os.open(part, search | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _open_unmoved(file: Path) -> int:
    """Open a file, and ask the system where what was opened really is."""
    number = open_shared(file)
    try:
        if os.path.normcase(_path_of(number)) != os.path.normcase(file):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(file))
    except BaseException:
        os.close(number)
        raise
    return number


def _path_of(number: int) -> str:
    """The path of an open file, without links."""
    if IS_WINDOWS:
        path: str = windows().path_of(number)
        return path
    return os.readlink(f"/proc/self/fd/{number}")


# Pipes and standard streams


class PipeReader(io.RawIOBase):
    """A pipe that a thread reads, where neither waiting for a pipe nor reading one can be interrupted: on Windows.

    At most two blocks are read before they are asked for.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file, self._rest, self._is_at_end = file, b"", False
        self._blocks: queue.Queue[bytes | OSError] = queue.Queue(1)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        data: bytes | OSError = b" "
        while data:
            try:
                data = self._file.read(8192) or b""
            except OSError as error:
                self._blocks.put(error)
                return
            self._blocks.put(data)

    def is_ready(self, seconds: float) -> bool:
        """Whether there are bytes, or the end, within this time. Raises OSError if the pipe cannot be read."""
        if self._rest or self._is_at_end:
            return True
        try:
            data = self._blocks.get(timeout=seconds)
        except queue.Empty:
            return False
        if isinstance(data, OSError):
            raise data
        self._rest, self._is_at_end = data, not data
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes, as soon as there are any; 0 at the end."""
        while not self.is_ready(0.1):  # Windows delivers a signal only between two waits
            pass
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n

    def readable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor of the pipe."""
        return self._file.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._file.isatty()

    def close(self) -> None:
        """Close the pipe; Windows would wait for the read of a thread, which ends with the process instead."""
        super().close()
        if not self._thread.is_alive():
            self._file.close()


def open_pipe(file: io.FileIO) -> BinaryIO:
    """A pipe, or a terminal, to be read such that signals are seen meanwhile, and to `wait_for`."""
    return io.BufferedReader(file if can_wait_for_pipes() else PipeReader(file))


def wait_for(source: Any, seconds: float) -> bool:
    """Whether bytes of a pipe, or its end, come within this time."""
    if hasattr(source, "is_ready"):
        return bool(source.is_ready(seconds))
    return bool(select.select([source], [], [], seconds)[0])


@functools.cache
def can_wait_for_pipes() -> bool:
    """Whether `select` takes pipes; on Windows it takes sockets only."""
    reader, writer = os.pipe()
    try:
        select.select([reader], [], [], 0)
        return True
    except OSError:
        return False
    finally:
        os.close(reader)
        os.close(writer)


def standard_output() -> TextIO:
    """Stdout as UTF-8 with "\\n" at the end of lines, whatever the system and the locale say.

    A pipe that nobody reads is a BrokenPipeError; Windows calls it an invalid argument.
    """
    raw = _Output(1, "w", closefd=False)
    raw.name = "<stdout>"
    buffer = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffer, "utf-8", "backslashreplace", newline="\n", line_buffering=raw.isatty())


def use_utf8(stream: Any) -> None:
    """Let a standard stream write UTF-8 with "\\n" at the end of lines from now on."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")


class _Output(io.FileIO):
    def write(self, data: Any) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            raise


# Processes


def start_group(command: str) -> subprocess.Popen[bytes]:
    """Run a command of the shell, with a pipe as its stdin, so that `end_group` ends all that it starts.

    The shell is `sh`, and on Windows `cmd`. What the command writes goes to stderr.
    """
    if hasattr(os, "killpg"):
        return subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, stdout=2, start_new_session=True)
    group: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    return subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, stdout=2, creationflags=group)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End at once a command that `start_group` started, and all that it started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif IS_WINDOWS:
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
    with suppress(OSError):
        process.kill()
    process.wait()


def memory_bytes() -> int:
    """The size of the memory of this machine; 4 GiB where it cannot be asked for."""
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return windows().memory_bytes() if IS_WINDOWS else 4 << 30


# Folders


def cache_homes() -> Iterator[Path]:
    """The folders for a user's caches, best first. On Windows the user's home is private; so is what is below it."""
    if home := os.environ.get("XDG_CACHE_HOME"):
        yield Path(home)
    if IS_WINDOWS and (home := os.environ.get("LOCALAPPDATA")):
        yield Path(home)
    with suppress(RuntimeError):
        yield Path.home() / ".cache"
