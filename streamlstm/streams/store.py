"""A store of streams on disk: a table of keys and bytes in one SQLite file.

All changes since the last `commit` are one transaction: after a crash, the store is as the last commit left it. One
process at a time writes to a store: it holds a write transaction, and a lock in the file, for as long as it has the
store open. Other processes may copy the last commit at any time.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ..system.files import naming
from ..system.portable import fcntl, open_binary, remove_file

Key = str | bytes

VERSION = 1
"""The version of the tables."""

_TABLES = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE streams (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, seconds REAL NOT NULL,"
    " n_symbols INTEGER NOT NULL, content BLOB NOT NULL)",
    "CREATE INDEX by_time ON streams (seconds)",
    "CREATE TABLE dropped (key BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE size (n_streams INTEGER NOT NULL)",
    "CREATE TRIGGER inserted AFTER INSERT ON streams BEGIN UPDATE size SET n_streams = n_streams + 1; END",
    "CREATE TRIGGER deleted AFTER DELETE ON streams BEGIN UPDATE size SET n_streams = n_streams - 1; END",
)
"""The triggers count the streams: counting a million of them whenever a store is opened would take seconds."""

_ERRORS = {
    "is locked": "SQLITE_BUSY",
    "disk is full": "SQLITE_FULL",
    "readonly database": "SQLITE_READONLY",
    "permission denied": "SQLITE_PERM",
    "unable to open": "SQLITE_CANTOPEN",
    "not a database": "SQLITE_NOTADB",
    "malformed": "SQLITE_CORRUPT",
}
"""What the texts of errors contain."""

_COPIED = (
    ("about", "name, value", "?, ?"),
    ("streams", "key, seconds, n_symbols, content", "?, ?, ?, ?"),
    ("dropped", "key, content", "?, ?"),
)
"""The tables that make a copy, with their columns."""

_PUT = """
INSERT INTO streams (key, seconds, n_symbols, content) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET seconds = excluded.seconds, n_symbols = excluded.n_symbols, content = excluded.content
"""

_OLDEST = "SELECT key, seconds, id FROM streams WHERE (seconds, id) > (?, ?) ORDER BY seconds, id LIMIT ?"

MAX_DROPPED = 100_000
"""What is kept of so many keys that were dropped last stays: see `StreamStore.put_dropped`."""

_OLDER = b"z"
"""Precedes the keys of the older generation of dropped streams; other keys begin with "b" or "s"."""

CANNOT_WRITE = "the store cannot be written"
CANNOT_OPEN = "the store cannot be opened: its folder is missing or not writable"
NO_DESCRIPTOR = "the store cannot be opened: probably there are too many open files (ulimit -n)"
USED = "another process uses this store"
INHERITED = "the process that opened this store uses it, and this one was forked from it; open a store in this process"

ENOUGH_ROOM = 64 << 20
"""The free bytes of a folder for temporary files. With less in all folders, the one with the most is used."""

OPENING_SECONDS, LONGEST_WAIT = 0.1, 10.0
"""How long to wait for locks that other processes hold briefly: when a store is opened, and later. A process holds such
locks while it closes a store, or copies one that was not closed."""


class Stored(NamedTuple):
    """A stream in a store.

    seconds    when it was last used
    n_symbols  how many symbols it has seen
    content    the stream itself
    """

    seconds: float
    n_symbols: int
    content: bytes


class StreamStore:
    """Streams by key, in an SQLite file.

    path     of the file, which is created if it does not exist; None for a temporary file, deleted with this object
    model    identifies the model of the streams; None for a store of any model
    on_disk  whether there is a temporary file for the path None; without one the streams are in memory
    beside   a file: the temporary file may be in its folder, if there is no room elsewhere
    is_new   whether there must be no file, so that journals of SQLite at its place are those of an older one

    Raises OSError if the file cannot be opened or written, or if another process uses it; ValueError if it is not a
    store, or one of another version or another model.

    A forked process cannot use the stores on disk that its parent had open: it has other locks. There, `close` does
    nothing, and any other method raises BlockingIOError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        model: bytes | None,
        *,
        on_disk: bool = True,
        beside: str | None = None,
        is_new: bool = False,
    ) -> None:
        self._path, self._process = None if path is None else os.fspath(path), os.getpid()
        self._model, self.on_disk = model, on_disk
        self._n_dropped: int | None = None  # how many keys the newer generation of dropped streams has, once counted
        self._lock: _Lock | None = None
        if self._path is None:
            self._file = _new_temporary_file(beside) if on_disk else ":memory:"
            with self._clear_errors():
                self._open_temporary()
            _OPEN.add(self)
            return
        if os.path.exists(self._path) and not _may_write(self._path):
            raise PermissionError(errno.EACCES, CANNOT_WRITE, self._path)
        self._file = os.path.realpath(self._path)  # SQLite's own files are beside it
        self._lock = _Lock(self._path, is_new)
        try:
            with _clear_errors(self._path):
                if is_new:
                    self._unlink_journals()  # none is in use: the file is locked
                self._open()
        except BaseException:
            if is_new:
                self._unlink_file()
            self._lock.release()
            raise
        _OPEN.add(self)

    def _open_temporary(self) -> None:
        """Open a file that has no name any more: it ends with this process.

        SQLite's own temporary files would not do: what is in them must be written before other parts can be read, so
        that a full disk ends reading too.
        """
        self._base = _connected(self._file, OPENING_SECONDS)
        try:
            for pragma in ("journal_mode = MEMORY", "locking_mode = EXCLUSIVE", "synchronous = OFF"):
                self._base.execute(f"PRAGMA {pragma}")
            self._create_tables()
        except BaseException:
            self.close()
            raise
        self._unlink_file()  # Windows deletes no file that is open

    def _open(self) -> None:
        was_open = os.path.exists(f"{self._file}-wal")
        self._base = _connected(self._file, OPENING_SECONDS)
        try:
            if was_open:
                self._check_unused()
            execute = self._base.execute
            execute("PRAGMA temp_store = MEMORY")  # a full temporary folder must not end a save to another disk
            execute("BEGIN IMMEDIATE")
            if _statements(self._base):
                _check(self._base, self._name, self._model)  # before the next line, which changes the file
            execute("COMMIT")
            execute("PRAGMA journal_mode = WAL")
            for pragma in (
                "synchronous = FULL",
                "fullfsync = ON",
                "checkpoint_fullfsync = ON",
            ):  # the last two: for macOS
                execute(f"PRAGMA {pragma}")
            self._create_tables()
            _check(self._base, self._name, self._model)
            self._begin()
            execute(f"PRAGMA busy_timeout = {LONGEST_WAIT * 1000:.0f}")
        except BaseException:
            self._base.close()
            raise

    def _create_tables(self) -> None:
        execute = self._base.execute
        execute("BEGIN IMMEDIATE")
        if not _statements(self._base):
            for statement in _TABLES:
                execute(statement)
            execute("INSERT INTO size VALUES (0)")
            execute("INSERT INTO about VALUES ('version', ?), ('model', ?)", (VERSION, self._model or b""))
        execute("COMMIT")

    def _check_unused(self) -> None:
        """Raise SQLite's error if another process uses the store, even if it is between two transactions just now."""
        for seconds in (OPENING_SECONDS / 2, 0.0):
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("ROLLBACK")
            time.sleep(seconds)

    @property
    def _name(self) -> str:
        """What errors call the store."""
        if self._path is not None:
            return self._path
        return f"the temporary store in {os.path.dirname(self._file)}" if self.on_disk else "the temporary store"

    @classmethod
    def copy_of(cls, path: str | os.PathLike[str], model: bytes) -> StreamStore:
        """A temporary copy of the last commit of a store, which another process may be using.

        Raises as the constructor does, but the file need not be writable.
        """
        copied = cls(None, model)
        try:
            with _reading(path, model) as source, copied._clear_errors():
                copied._base.execute("BEGIN")
                for table, columns, places in _COPIED:
                    rows = _rows(source, os.fspath(path), f"SELECT {columns} FROM {table}")
                    copied._base.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", rows)
                copied._base.execute("COMMIT")
        except BaseException:
            copied.close()
            raise
        return copied

    @classmethod
    def values_of(cls, path: str | os.PathLike[str]) -> dict[str, bytes]:
        """The values of a store of any model, see `value`, which another process may be using.

        Raises as the constructor does, but the file need not be writable.
        """
        with _reading(path, None) as source:
            rows = source.execute("SELECT name, value FROM about").fetchall()
        return {name: value for name, value in rows if isinstance(value, bytes)}

    @property
    def path(self) -> str | None:
        """The path of the file; None for a temporary one."""
        return self._path

    @property
    def is_there(self) -> bool:
        """Whether the file still has its name: it may have been deleted or replaced since it was opened."""
        return self._lock is None or self._lock.file == _identified(self._file)

    def successor(self) -> StreamStore:
        """An empty store in place of this one, which was deleted or moved away; this one can then only be read.

        Raises FileExistsError if there is another file.
        """
        with self._clear_errors():
            if not os.path.lexists(self._file):
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a file that was moved takes everything with it
            with suppress(FileExistsError):
                return StreamStore(self._path, self._model, is_new=True)
        message = "the store was replaced by another file while it was open; move that away, and save again"
        raise FileExistsError(errno.EEXIST, message, self._path)

    def get(self, key: Key) -> Stored | None:
        """A stream; None if there is none."""
        with self._clear_errors():
            query = "SELECT seconds, n_symbols, content FROM streams WHERE key = ?"
            row = self._base.execute(query, (_encoded(key),)).fetchone()
        return None if row is None else Stored(*self._checked(row, float, int, bytes))

    def n_symbols(self, key: Key) -> int | None:
        """How many symbols a stream has seen; None if there is none."""
        with self._clear_errors():
            row = self._base.execute("SELECT n_symbols FROM streams WHERE key = ?", (_encoded(key),)).fetchone()
        return None if row is None else int(self._checked(row, int)[0])

    def put(self, key: Key, stream: Stored) -> None:
        """Write a stream."""
        with self._clear_errors():
            self._begin()
            self._base.execute(_PUT, (_encoded(key), *stream))

    def delete(self, key: Key) -> bool:
        """Delete a stream; returns whether there was one."""
        with self._clear_errors():
            self._begin()
            return self._base.execute("DELETE FROM streams WHERE key = ?", (_encoded(key),)).rowcount > 0

    def value(self, name: str) -> bytes:
        """Bytes that the caller stores with the streams; changes to them are committed with those to the streams."""
        with self._clear_errors():
            row = self._base.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return b"" if row is None else bytes(self._checked(row, bytes)[0])

    def put_value(self, name: str, value: bytes) -> None:
        """Replace a value."""
        with self._clear_errors():
            self._begin()
            self._base.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def dropped(self, key: Key) -> bytes | None:
        """The bytes that the caller kept in place of a dropped stream; None if there are none."""
        query = "SELECT content FROM dropped WHERE key IN (?, ?) ORDER BY key LIMIT 1"
        with self._clear_errors():
            row = self._base.execute(query, (_encoded(key), _OLDER + _encoded(key))).fetchone()
        return None if row is None else bytes(self._checked(row, bytes)[0])

    def put_dropped(self, key: Key, content: bytes) -> None:
        """Keep bytes in place of a dropped stream; they replace earlier ones.

        There are two generations. Once the newer one has MAX_DROPPED keys, it becomes the older one, and what was the
        older one is deleted. So what is kept of the last MAX_DROPPED keys stays, and of at most twice as many.
        """
        with self._clear_errors():
            self._begin()
            if self._n_dropped is None:
                query = "SELECT count(*) FROM dropped WHERE key < ?"
                self._n_dropped = int(self._base.execute(query, (_OLDER,)).fetchone()[0])
            update = "UPDATE dropped SET content = ? WHERE key = ?"
            if self._base.execute(update, (content, _encoded(key))).rowcount:
                return
            if self._n_dropped >= MAX_DROPPED:
                self._base.execute("DELETE FROM dropped WHERE key >= ?", (_OLDER,))
                self._base.execute("UPDATE dropped SET key = CAST(? || key AS BLOB)", (_OLDER,))
                self._n_dropped = 0
            self._base.execute("INSERT INTO dropped VALUES (?, ?)", (_encoded(key), content))
            self._n_dropped += 1

    def all_dropped(self) -> Iterator[tuple[Key, bytes]]:
        """The bytes that were kept in place of each dropped stream, the older generation first."""
        with self._clear_errors():
            for row in self._base.execute("SELECT key, content FROM dropped ORDER BY key < ?", (_OLDER,)):
                key, content = self._checked(row, bytes, bytes)
                yield _decoded(key.removeprefix(_OLDER)), content

    def __iter__(self) -> Iterator[Key]:
        with self._clear_errors():
            for row in self._base.execute("SELECT key FROM streams"):
                yield _decoded(*self._checked(row, bytes))

    def oldest(self) -> Iterator[tuple[Key, float]]:
        """The keys with the times when they were last used, the oldest first. No query stays open between two items."""
        seconds, number, n = -math.inf, 0, 1
        while True:
            with self._clear_errors():
                rows = self._base.execute(_OLDEST, (seconds, number, n)).fetchall()
            for row in rows:
                key, seconds, number = self._checked(row, bytes, float, int)
                yield _decoded(key), seconds
            if len(rows) < n:
                return
            n = min(2 * n, 4096)

    def __len__(self) -> int:
        with self._clear_errors():
            row = self._base.execute("SELECT n_streams FROM size").fetchone()
        return int(self._checked(row or (None,), int)[0])

    def commit(self) -> None:
        """Make all changes since the last commit durable, all or none."""
        with self._clear_errors():
            self._end("COMMIT")

    def roll_back(self) -> None:
        """Drop all changes since the last commit."""
        self._n_dropped = None
        with self._clear_errors():
            self._end("ROLLBACK")

    def close(self) -> None:
        """Drop what was not committed, and let other processes use the file."""
        if self._is_inherited:
            return
        self._base.close()
        if self._lock is not None:
            self._lock.release()
        elif self.on_disk:
            self._unlink_file()

    def delete_file(self) -> None:
        """Close the store, and delete its file with those that SQLite keeps beside it."""
        if not self._is_inherited:
            self.close()
            if self.is_there:
                self._unlink_journals()
                self._unlink_file()

    @property
    def _is_inherited(self) -> bool:
        """Whether the parent of this process opened the file."""
        return self.on_disk and self._process != os.getpid()

    def forget(self) -> None:
        """In a forked process: let the parent keep the store for itself."""
        if self._lock is not None:
            self._lock.forget()
        if self.on_disk:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._base))

    def _unlink_journals(self) -> None:
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                remove_file(f"{self._file}{suffix}")

    def _unlink_file(self) -> None:
        with suppress(OSError if self._path is None else FileNotFoundError):
            remove_file(self._file)

    def _begin(self) -> None:
        """Begin a transaction unless there is one, so that no other process can begin one.

        In a temporary store, each change is a transaction of its own.
        """
        if self._path is not None and not self._base.in_transaction:
            self._base.execute("BEGIN IMMEDIATE")

    def _end(self, how: str) -> None:
        """End the transaction, and begin the next one."""
        if self._base.in_transaction:
            self._base.execute(how)
        self._begin()

    def _checked(self, row: tuple[Any, ...], *types: type) -> tuple[Any, ...]:
        """A row of a table. Raises ValueError if its values have other types: SQLite stores any type in any column."""
        if not all(isinstance(value, kind) for value, kind in zip(row, types, strict=True)):
            raise ValueError(f"{self._name} is damaged: a value has the wrong type")
        return row

    def _clear_errors(self) -> AbstractContextManager[None]:
        if self._is_inherited:
            raise BlockingIOError(errno.EWOULDBLOCK, INHERITED, self._name)
        return _clear_errors(self._name)


@contextmanager
def _clear_errors(path: str) -> Iterator[None]:
    """Raise the errors of SQLite as OSError or ValueError, with the path."""
    try:
        yield
    except sqlite3.Error as error:
        name = error_name(error)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise BlockingIOError(errno.EWOULDBLOCK, USED, path) from None
        if name.startswith("SQLITE_FULL"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path) from None
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            raise PermissionError(errno.EACCES, CANNOT_WRITE, path) from None
        if name.startswith("SQLITE_CANTOPEN"):
            needed = [os.path.dirname(os.path.abspath(path)), *[path] * os.path.exists(path)]
            if not os.path.isdir(path) and all(map(_may_write, needed)):
                raise OSError(errno.EMFILE, NO_DESCRIPTOR, path) from None
            raise OSError(errno.ENOENT, CANNOT_OPEN, path) from None
        if name == "SQLITE_IOERR_SHMMAP":  # the index of the journal could not be mapped into memory
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), path) from None
        if name.startswith("SQLITE_IOERR") and _is_size_limited():
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path) from None
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise ValueError(f"{path} is not a store of streams, or it is damaged: {error}") from None
        raise OSError(errno.EIO, f"the store cannot be used: {error}", path) from None


def _is_size_limited() -> bool:
    """Whether this process may not write large files."""
    if find_spec("resource") is None:  # Windows
        return False
    resource: Any = import_module("resource")
    return bool(resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY)


def error_name(error: sqlite3.Error) -> str:
    """SQLite's name of an error, such as SQLITE_BUSY. In Python 3.10 only the text of the error tells it."""
    names = (name for text, name in _ERRORS.items() if text in str(error))
    return getattr(error, "sqlite_errorname", None) or next(names, "")


def _connected(path: str, timeout: float, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False, uri=uri)


def _connected_for_reading(path: str) -> sqlite3.Connection:
    """A connection to a store that other processes may use.

    SQLite creates files beside it. If it could not create or delete them here, and there are none, no process is
    writing, and the file is read as it is.
    """
    path = os.path.realpath(path)  # where SQLite creates them
    may_write = _may_write(path) and _may_write(os.path.dirname(path))
    how = "mode=rw" if may_write or os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    return _connected(f"{Path(path).as_uri()}?{how}", LONGEST_WAIT, uri=True)


def _statements(base: sqlite3.Connection) -> set[str]:
    """The statements that created the tables, views, triggers and indices of a file."""
    return {statement for (statement,) in base.execute("SELECT sql FROM sqlite_master") if statement is not None}


@contextmanager
def _reading(path: str | os.PathLike[str], model: bytes | None) -> Iterator[sqlite3.Connection]:
    """A connection that reads the last commit of a store, which another process may be using."""
    name = os.fspath(path)
    with _DESCRIPTORS, _clear_errors(name), closing(_connected_for_reading(name)) as source:
        source.execute("BEGIN")
        _check(source, name, model)
        yield source


def _rows(base: sqlite3.Connection, path: str, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query; errors name the store that is read, not the one that is written."""
    with _clear_errors(path):
        yield from base.execute(query)


def _check(base: sqlite3.Connection, path: str, model: bytes | None) -> None:
    """Raise ValueError if a file is not a store of this version with streams of this model.

    The statements that created its tables must be ours: a view, a trigger or an index that someone else added would run
    when the store is used.
    """
    found = _statements(base)
    if _TABLES[0] not in found:
        raise ValueError(f"{path} is an SQLite file, but not a store of streams")
    about = dict(base.execute("SELECT name, value FROM about").fetchall())
    if about.get("version") != VERSION:
        raise ValueError(f"{path} is a store of version {about.get('version')}; this one reads {VERSION}")
    if found != set(_TABLES):
        raise ValueError(f"{path} is not a store of streams: it has other tables, views or triggers")
    if model is not None and about.get("model") != model:
        raise ValueError(f"{path} has streams of another model; open it with the model that it began with")
    (n_bytes,) = base.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    for (n_streams,) in base.execute("SELECT n_streams FROM size"):
        if isinstance(n_streams, int) and not 0 <= n_streams <= n_bytes:  # `list` allocates what `len` says
            raise ValueError(f"{path} is damaged: it has {n_bytes:,} bytes, and says that it has {n_streams:,} streams")


class _Lock:
    """Holds a store for this process, whatever the name by which it was opened.

    SQLite's own locks are in a file beside the store, so they belong to one of its names. This one is in the store: it
    locks a byte that SQLite does not use, and belongs to the open file and not, as SQLite's locks do, to the process.
    Where the system has no such locks, only this process respects it. Raises BlockingIOError if the store is in use.

    file  identifies the file: its device, and its number there

    is_new  whether to create the file. Raises FileExistsError if there is one
    """

    def __init__(self, path: str, is_new: bool) -> None:
        with _DESCRIPTORS:
            self.file, self._number = _identified(path), -1
            if self.file in _IN_USE:  # it must not even be opened
                raise BlockingIOError(errno.EWOULDBLOCK, USED, path)
            with _naming_folder(path):
                file, how = os.path.realpath(path), os.O_EXCL if is_new else 0
                self._number = open_binary(file, os.O_RDWR | os.O_CREAT | how, 0o644)
            status = os.fstat(self._number)
            self.file = status.st_dev, status.st_ino
            if self.file in _IN_USE or not _set_lock(self._number, "F_WRLCK"):
                os.close(self._number)
                raise BlockingIOError(errno.EWOULDBLOCK, USED, path)
            _IN_USE.add(self.file)

    def release(self) -> None:
        """Let others use the store. The connection to it must have been closed."""
        with _DESCRIPTORS:
            if self._number >= 0:
                _set_lock(self._number, "F_UNLCK")  # a forked process may have the file open too
                with suppress(OSError):  # nothing was written by this descriptor, so nothing can be lost
                    os.close(self._number)
                self._number = -1
                _IN_USE.discard(self.file)

    def forget(self) -> None:
        """In a forked process: close the file, which leaves the lock to the parent, and lets it end with that."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1


_IN_USE: set[tuple[int, int]] = set()
"""The files of the stores that this process has open."""

_DESCRIPTORS = threading.RLock()
"""Held while files of stores are opened and closed, and while one is read: when a process closes a file, it loses all
of SQLite's locks on it, those of other connections too."""

_LOCKED_BYTE = 0x40000200
"""The first byte after those that SQLite locks."""


def _set_lock(number: int, how: str) -> bool:
    """Lock the byte of an open file, or unlock it; False if another process has locked it."""
    if sys.platform == "linux":
        lock = struct.pack("hhqqi4x", getattr(fcntl, how), os.SEEK_SET, _LOCKED_BYTE, 1, 0)
        try:
            fcntl.fcntl(number, fcntl.F_OFD_SETLK, lock)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            pass
    return True


_OPEN: weakref.WeakSet[StreamStore] = weakref.WeakSet()
"""The stores of this process."""


def _forget_parent() -> None:
    """In a forked process: it has no store open, and no other threads.

    The parent's connections are never closed, not even when this process ends: SQLite would delete the journals beside
    a file that nobody has locked, which a third process may have left when it was killed.
    """
    global _DESCRIPTORS
    for store in list(_OPEN):
        store.forget()
    _OPEN.clear()
    _IN_USE.clear()
    _DESCRIPTORS = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def _identified(path: str) -> tuple[int, int]:
    """The device of a file, and its number there; zeros if there is none."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return 0, 0


@contextmanager
def _naming_folder(path: str) -> Iterator[None]:
    """Raise what `open` raises as SQLite's errors are raised."""
    try:
        yield
    except IsADirectoryError:
        raise
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise OSError(errno.ENOENT, CANNOT_OPEN, path) from None


def temporary_folder(beside: str | None = None) -> str:
    """The folder for temporary files: where SQLite would make them, or if that is almost full, another one.

    beside  a store: its folder is the last choice
    """
    chosen = (os.environ.get("SQLITE_TMPDIR"), tempfile.gettempdir(), "/var/tmp", beside and os.path.dirname(beside))
    folders = [folder for folder in chosen if folder and os.path.isdir(folder) and os.access(folder, os.W_OK)]
    room = [shutil.disk_usage(folder).free for folder in folders]
    found = next((folder for folder, free in zip(folders, room, strict=True) if free >= ENOUGH_ROOM), None)
    return found or (folders[room.index(max(room))] if folders else tempfile.gettempdir())


def _new_temporary_file(beside: str | None) -> str:
    """The path of a new temporary file."""
    number, path = tempfile.mkstemp(".tmp", "streamlstm-", temporary_folder(beside))
    with naming(path):
        os.close(number)
    return path


def _may_write(path: str) -> bool:
    """Whether this process may write to a file or folder. It is not opened: closing a file ends all locks on it."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _encoded(key: Key) -> bytes:
    """The bytes of a key; those of a str never equal those of a bytes key."""
    return b"b" + key if isinstance(key, bytes) else b"s" + key.encode("utf-8", "surrogatepass")


def _decoded(key: bytes) -> Key:
    return key[1:] if key[:1] == b"b" else key[1:].decode("utf-8", "surrogatepass")
