"""The disk cache of compiled kernels.

Numba's own cache has three gaps, which this module closes:

- It notices an edit of a kernel's file but not of the files that the kernel calls. Here the folder's name is a digest
  of all kernel sources.
- It trusts what it reads. Here a checksum lies beside each kernel's files, and a kernel whose files do not match it is
  compiled again.
- Processes that fill the cache at the same time can mix their files (numba issues 4807 and 10128). Here a file lock
  lets one process compile while the others wait for the result.
"""

import hashlib
import logging
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import llvmlite
import numba
from filelock import FileLock
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.runtime import rtsys

from ..system.portable import cache_homes, replace_file
from . import precompiled
from .precompiled import PACKAGE, kernel_sources

NOTICE = "compiling kernels once for this CPU, about 7 s…"
NO_CACHE_NOTICE = "compiling kernels for this CPU; no cache folder is writable (see streamlstm warmup)"
WAITING_NOTICE = "waiting for another process that compiles the kernels…"
SILENT_WAIT, LONGEST_WAIT = 1, 300
"""How many seconds a process waits for another one that compiles before it says so, and at most: the other one may be
suspended."""
DAYS_KEPT = 30
"""How long the kernels of another version are kept after their last use."""

_log = logging.getLogger("streamlstm")


def digest_of(package: Path) -> str:
    """Sixteen hexadecimal digits that change with every source file and setting that machine code is made from."""
    digest = hashlib.sha256()
    for part in (numba.__version__, llvmlite.__version__, sys.version, str(config.OPT), str(config.BOUNDSCHECK)):
        digest.update(part.encode())
    sources = kernel_sources(package)
    names = [source.relative_to(package).as_posix() for source in sources]
    digest.update("\n".join([precompiled.digest_of(sources), *names]).encode())
    return digest.hexdigest()[:16]


@cache
def cache_folder() -> Path | None:
    """The first candidate folder that can be used, created if it is missing; None if there is none."""
    digest = digest_of(PACKAGE)
    for parents in _candidates():
        with suppress(OSError):
            folder = parents[-1] / digest
            is_new = not folder.exists()
            for each in (*parents, folder):
                each.mkdir(parents=True, exist_ok=True, mode=0o700)
                _require_private(each)
            with tempfile.TemporaryFile(dir=folder):
                os.utime(folder)  # it was used today: see `remove_unused`
            if is_new:
                remove_unused(folder.parent, DAYS_KEPT)
            return folder
    return None


def _candidates() -> Iterator[tuple[Path, ...]]:
    """Folders that may hold the cache, best first, each after the parent folders that must be our own too."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield (Path(chosen) / "streamlstm",)
        return
    for home in cache_homes():
        yield (home / "streamlstm",)
    if hasattr(os, "getuid"):  # else it is not known who owns a folder
        with suppress(OSError):
            own = Path(tempfile.gettempdir()) / f"streamlstm-{os.getuid()}"
            yield own, own / "streamlstm"


def _require_private(folder: Path) -> None:
    """Raise PermissionError if another user may have put machine code into a folder, or may put a link in its place."""
    if hasattr(os, "getuid"):
        status = folder.stat()
        is_own = status.st_uid == folder.lstat().st_uid == os.getuid()
        if not is_own or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{folder} can be written by another user")


def remove_unused(parent: Path, days: float) -> None:
    """Remove the kernels of other versions that no process has used for some days.

    A process that uses such a folder marks it as used before it takes its lock, and fills it again if it is empty: it
    finds the kernels, or compiles them.
    """
    oldest = time.time() - days * 86400
    for folder in parent.iterdir():
        if re.fullmatch("[0-9a-f]{16}", folder.name):
            with suppress(OSError, RuntimeError):
                if folder.stat().st_mtime < oldest:
                    _remove(folder, oldest)


def _remove(folder: Path, oldest: float) -> None:
    lock = folder / "lock"
    with FileLock(lock, timeout=0):
        if folder.stat().st_mtime >= oldest:
            return
        for file in folder.glob("*.*"):
            file.unlink()
    if list(folder.iterdir()) == [lock]:
        lock.unlink()
    folder.rmdir()


class CacheLock:
    """A lock among processes on a cache folder. Numba's own lock, which is held too, orders the threads of one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: FileLock | None = None
        self._depth, self._can_wait = 0, True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock; within itself too, since one entry is compiled while another one that calls it is.

        If the lock cannot be had (no locks on this file system, or a hung holder), the checksums alone protect the
        cache.
        """
        depth = self._depth
        try:
            self._depth = depth + 1
            if depth == 0:
                self._acquire()
            yield
        finally:
            self._depth = depth
            if depth == 0 and self._file is not None:
                self._file.release(force=True)
                self._file = None

    def borrow(self) -> None:
        """Work under the lock that the parent of this process holds."""
        self._depth += 1

    def _acquire(self) -> None:
        """Wait for the lock; if that was in vain once, do not wait again."""
        with suppress(OSError, RuntimeError):
            self._file = FileLock(self._path)  # a new one each time: a child process cannot use that of its parent
            waits = (SILENT_WAIT, LONGEST_WAIT - SILENT_WAIT) if self._can_wait else (0,)
            for seconds in waits:
                with suppress(TimeoutError):
                    self._file.acquire(timeout=seconds, poll_interval=0.01)
                    return
                if seconds == SILENT_WAIT:
                    _log.info(WAITING_NOTICE)
            self._can_wait = False


@cache
def cache_lock(folder: Path) -> CacheLock:
    """The lock of a cache folder."""
    return CacheLock(folder)


@cache
def announce_compilation() -> None:
    """Log, once in a process, that kernels are compiled."""
    _log.info(NOTICE if cache_folder() else NO_CACHE_NOTICE)


class _Locator:
    """Tells numba to keep a kernel's files in the cache folder."""

    def __init__(self, py_file: str) -> None:
        self._py_file = py_file

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls(py_file)

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def ensure_cache_path(self) -> None:
        Path(self.get_cache_path()).mkdir(parents=True, exist_ok=True, mode=0o700)

    def get_source_stamp(self) -> str:
        return ""  # the folder's name is the stamp

    def get_disambiguator(self) -> str:
        return "kernel"


class _Impl(CompileResultCacheImpl):
    _locator_classes: ClassVar[list[type]] = [_Locator]


class KernelCache(FunctionCache):
    """The cached machine code of one entry, with a checksum."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled entry, or None if it is missing or damaged."""
        found = None
        with self._lock.held():
            try:
                if self._checksum() != self._checksum_file().read_text():
                    raise ValueError("the checksum does not match")
                rtsys.initialize(target_context)  # all that machine code needs; numba would also load what compiling
                found = self._load_overload(sig, target_context)  # needs, which takes longer than the rest of a start
            except MemoryError:  # the files are right, and to compile would take more
                raise
            except Exception:  # whatever is wrong with a cache file, compiling repairs it
                self._discard()
        if found is None:
            announce_compilation()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled entry and the checksum of its files. If that fails, the next start compiles."""
        with self._lock.held():
            if not self.exists():
                self._discard()
            try:
                super().save_overload(sig, data)
                temporary = self._checksum_file().with_suffix(f".{os.getpid()}")
                temporary.write_text(self._checksum())
                replace_file(temporary, self._checksum_file())
            except Exception:  # the disk is full, or a file was damaged since `load_overload`
                self._discard()

    def exists(self) -> bool:
        """Whether the compiled entry is there, if perhaps damaged."""
        return self._checksum_file().is_file()

    @property
    def _lock(self) -> CacheLock:
        return cache_lock(Path(self.cache_path))

    def _files(self) -> list[Path]:
        return sorted(Path(self.cache_path).glob(f"{self._impl.filename_base}.*nb[ic]"))

    def _checksum_file(self) -> Path:
        return Path(self.cache_path) / f"{self._impl.filename_base}.sha256"

    def _checksum(self) -> str:
        digest = hashlib.sha256()
        for file in self._files():
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _discard(self) -> None:
        """Remove the files of the entry, or the folders in their places, as far as that is possible."""
        for file in (*self._files(), self._checksum_file()):
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file, ignore_errors=True)
            else:
                with suppress(OSError):
                    file.unlink(missing_ok=True)
