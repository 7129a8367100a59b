"""How kernels are compiled: two decorators and one disk cache.

Numba's own cache has three holes, closed here. It sees an edit of a kernel's file but not of the files that it
calls: our folder's name holds a digest of all of them. It trusts what it reads: a checksum lies beside each
kernel's files, and what does not match is compiled again. Processes that fill it at once can mix their files
(numba issues 4807 and 10128): a lock file lets one process compile while the others wait for its result.
"""

import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, get_args, get_type_hints

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.runtime import rtsys
from numba.core.types.misc import unliteral

try:
    import fcntl
except ImportError:  # Windows: numba's atomic replacement of files has to do
    fcntl = None  # type: ignore[assignment]

NOTICE = "streamlstm: compiling kernels once for this CPU, about 12 s…"


def _compiled(function: Any, **options: bool | str) -> Any:
    """Numba's dispatcher, which would compile a kernel anew for each literal that a caller gives; ours does not."""
    dispatcher = numba.njit(error_model="numpy", nogil=True, **options)(function)
    templates = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: templates([unliteral(arg) for arg in args], kws)
    return dispatcher


def kernel(function: Any) -> Any:
    """Compile a function that only kernels may call: without the wrapper for Python it takes a third less time."""
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: Any) -> Any:
    """A kernel that becomes a part of each of its callers: a large one with few callers is compiled with them only."""
    return _compiled(function, inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def entry(function: Any) -> Any:
    """Compile a kernel that Python calls, for the types that its parameters are annotated with; cached on disk."""
    dispatcher = _compiled(function)
    dispatcher.arguments = tuple(_numba_type(hint) for hint in get_type_hints(function).values())
    if FOLDER is not None:
        dispatcher._cache = _KernelCache(function)
    ENTRIES.append(dispatcher)
    return dispatcher


def _numba_type(hint: Any) -> types.Type:
    """The numba type of a parameter: a number, a contiguous array, or a NamedTuple of these."""
    if hint in _NUMBERS:
        return _NUMBERS[hint]
    if isinstance(hint, type) and issubclass(hint, tuple):
        return types.NamedTuple(tuple(_numba_type(field) for field in get_type_hints(hint).values()), hint)
    (number,) = get_args(get_args(hint)[1])
    return numba.from_dtype(np.dtype(number))[::1]


_NUMBERS = {int: types.int64, float: types.float64, bool: types.boolean}


@cache
def native(dispatcher: Any) -> Any:
    """The compiled function of an entry; to call it takes half the time, as it trusts the types of its arguments."""
    dispatcher.compile(dispatcher.arguments)
    return dispatcher.overloads[dispatcher.arguments].entry_point


ENTRIES: list[Any] = []
"""Every entry, in the order of import."""


def _digest() -> str:
    """Sixteen digits that change with any source or setting that machine code is made from."""
    digest = hashlib.sha256()
    for part in (numba.__version__, llvmlite.__version__, sys.version, str(config.OPT)):
        digest.update(part.encode())
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        text = source.read_bytes()
        if b"jit" in text or b"intrinsic" in text:
            digest.update(text)
    return digest.hexdigest()[:16]


def _places() -> list[Path]:
    """Where the cache may lie, the best place first."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(chosen)]
    places = []
    if cache_home := os.environ.get("XDG_CACHE_HOME"):
        places.append(Path(cache_home))
    with suppress(RuntimeError):
        places.append(Path.home() / ".cache")
    user = os.getuid() if hasattr(os, "getuid") else "user"
    places.append(Path(tempfile.gettempdir()) / f"streamlstm-{user}")
    return places


def _cache_folder() -> Path | None:
    """The first place that can be written to, made if it is missing; None where there is none."""
    for place in _places():
        folder = place / "streamlstm" / _digest()
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
                continue  # machine code is only taken from a folder of our own
            with tempfile.TemporaryFile(dir=folder):
                return folder
    return None


FOLDER = _cache_folder()


class _Locator:
    """Tells numba to keep a kernel's files in FOLDER."""

    def __init__(self, py_file: str) -> None:
        self._py_file = py_file

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls(py_file)

    def get_cache_path(self) -> str:
        return str(FOLDER)

    def ensure_cache_path(self) -> None:
        Path(self.get_cache_path()).mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        return ""  # the folder's name is the stamp

    def get_disambiguator(self) -> str:
        return "kernel"


class _Impl(CompileResultCacheImpl):
    _locator_classes: ClassVar[list[type]] = [_Locator]


class _Lock:
    """An exclusive lock on FOLDER among processes; numba's compiler lock already orders our threads."""

    def __init__(self) -> None:
        self._file: Any = None

    def acquire(self) -> None:
        if self._file is None and fcntl is not None and FOLDER is not None:
            with suppress(OSError):  # a file system without locks: go on without
                self._file = open(FOLDER / "lock", "wb")  # noqa: SIM115
                fcntl.flock(self._file, fcntl.LOCK_EX)

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


_lock = _Lock()
_announced: list[str] = []


class _KernelCache(FunctionCache):
    """The cached machine code of one entry: locked while it is filled, checked before it is read."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled entry, or None; after None the lock is held until `save_overload`."""
        _lock.acquire()
        found = None
        with suppress(Exception):  # whatever is wrong with a cache file, compiling mends it
            if self._checksum() == self._checksum_file().read_text():
                rtsys.initialize(target_context)  # all that machine code needs; numba would also load what compiling
                found = self._load_overload(sig, target_context)  # needs, which takes longer than all else of a start
            else:
                self._discard()
        if found is not None:
            _lock.release()
        elif not _announced:
            _announced.append(NOTICE)
            print(NOTICE, file=sys.stderr, flush=True)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled entry and the checksum of its files; a full disk costs only the next start."""
        try:
            with suppress(OSError):
                if not self._checksum_file().exists():
                    self._discard()
                super().save_overload(sig, data)
                temporary = self._checksum_file().with_suffix(f".{os.getpid()}")
                temporary.write_text(self._checksum())
                os.replace(temporary, self._checksum_file())
        finally:
            _lock.release()

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
        for file in self._files():
            file.unlink()
        self._checksum_file().unlink(missing_ok=True)
