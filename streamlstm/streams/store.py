"""A store of streams on disk: a table of keys and bytes in one SQLite file.

All changes since the last `commit` are one transaction: after a crash, the store is as the last commit left it. One
process at a time writes to a store: it holds a write transaction for as long as it has the store open. Other processes
may copy the last commit at any time.
"""

from __future__ import annotations

import errno
import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

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

_PUT = """
INSERT INTO streams (key, seconds, n_symbols, content) VALUES (?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET seconds = excluded.seconds, n_symbols = excluded.n_symbols, content = excluded.content
"""

_OLDEST = "SELECT key, seconds, id FROM streams WHERE (seconds, id) > (?, ?) ORDER BY seconds, id LIMIT ?"

CANNOT_WRITE = "the store cannot be written"

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

    path   of the file, which is created if it does not exist; None for a temporary file, deleted with this object
    model  identifies the model of the streams

    Raises OSError if the file cannot be opened or written, or if another process uses it; ValueError if it is not a
    store, or one of another version or another model.
    """

    def __init__(self, path: str | os.PathLike[str] | None, model: bytes) -> None:
        self._path = None if path is None else os.fspath(path)
        if self._path is not None and os.path.exists(self._path) and not _may_write(self._path):
            raise PermissionError(errno.EACCES, CANNOT_WRITE, self._path)
        with _clear_errors(self._path):
            was_open = self._path is not None and os.path.exists(f"{self._path}-wal")
            self._base = _connected(self._path or "", OPENING_SECONDS)
            try:
                if was_open:
                    self._check_unused()
                self._open(model)
                self._base.execute(f"PRAGMA busy_timeout = {LONGEST_WAIT * 1000:.0f}")
            except BaseException:
                self._base.close()
                raise

    def _open(self, model: bytes) -> None:
        execute = self._base.execute
        if self._path is None:
            execute("PRAGMA journal_mode = MEMORY")
        else:
            execute("BEGIN IMMEDIATE")
            if _statements(self._base):
                _check(self._base, self._path, model)  # before the next line, which changes the file
            execute("COMMIT")
            execute("PRAGMA journal_mode = WAL")
            execute("PRAGMA synchronous = FULL")
        execute("BEGIN IMMEDIATE")
        if not _statements(self._base):
            for statement in _TABLES:
                execute(statement)
            execute("INSERT INTO size VALUES (0)")
            execute("INSERT INTO about VALUES ('version', ?), ('model', ?)", (VERSION, model))
        execute("COMMIT")
        _check(self._base, self._path or "", model)
        self._begin()

    def _check_unused(self) -> None:
        """Raise SQLite's error if another process uses the store, even if it is between two transactions just now."""
        for seconds in (OPENING_SECONDS / 2, 0.0):
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("ROLLBACK")
            time.sleep(seconds)

    @classmethod
    def copy_of(cls, path: str | os.PathLike[str], model: bytes) -> StreamStore:
        """A temporary copy of the last commit of a store, which another process may be using.

        Raises as the constructor does, but the file need not be writable.
        """
        name, copied = os.fspath(path), cls(None, model)
        try:
            with _clear_errors(name), closing(_connected_for_reading(name)) as source:
                _check(source, name, model)
                source.backup(copied._base)
        except BaseException:
            copied.close()
            raise
        return copied

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

    @property
    def state(self) -> bytes:
        """Bytes that the caller stores with the streams; changes to it are committed with those to the streams."""
        with self._clear_errors():
            row = self._base.execute("SELECT value FROM about WHERE name = 'state'").fetchone()
        return b"" if row is None else bytes(self._checked(row, bytes)[0])

    def put_state(self, state: bytes) -> None:
        """Replace `state`."""
        with self._clear_errors():
            self._begin()
            self._base.execute("INSERT OR REPLACE INTO about VALUES ('state', ?)", (state,))

    def dropped(self, key: Key) -> bytes | None:
        """The bytes that the caller kept in place of a dropped stream; None if there are none."""
        with self._clear_errors():
            row = self._base.execute("SELECT content FROM dropped WHERE key = ?", (_encoded(key),)).fetchone()
        return None if row is None else bytes(self._checked(row, bytes)[0])

    def put_dropped(self, key: Key, content: bytes) -> None:
        """Keep bytes in place of a dropped stream; they replace earlier ones."""
        with self._clear_errors():
            self._begin()
            self._base.execute("INSERT OR REPLACE INTO dropped VALUES (?, ?)", (_encoded(key), content))

    def all_dropped(self) -> Iterator[tuple[Key, bytes]]:
        """The bytes that were kept in place of each dropped stream."""
        with self._clear_errors():
            for row in self._base.execute("SELECT key, content FROM dropped"):
                key, content = self._checked(row, bytes, bytes)
                yield _decoded(key), content

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
        with self._clear_errors():
            self._end("ROLLBACK")

    def clear(self) -> None:
        """Delete all streams, and what was kept in place of dropped ones."""
        with self._clear_errors():
            self._base.execute("DELETE FROM streams")
            self._base.execute("DELETE FROM dropped")

    def close(self) -> None:
        """Drop what was not committed, and let other processes use the file."""
        self._base.close()

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
            raise ValueError(f"{self._path or 'the temporary store'} is damaged: a value has the wrong type")
        return row

    def _clear_errors(self) -> AbstractContextManager[None]:
        return _clear_errors(self._path)


@contextmanager
def _clear_errors(path: str | None) -> Iterator[None]:
    """Raise the errors of SQLite as OSError or ValueError, with the path."""
    try:
        yield
    except sqlite3.Error as error:
        name, path = error_name(error), path or "the temporary store"
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise BlockingIOError(errno.EWOULDBLOCK, "another process uses this store", path) from None
        if name.startswith("SQLITE_FULL"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path) from None
        if name.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
            raise PermissionError(errno.EACCES, CANNOT_WRITE, path) from None
        if name.startswith("SQLITE_CANTOPEN"):
            message = "the store cannot be opened: its folder is missing or not writable"
            raise OSError(errno.ENOENT, message, path) from None
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise ValueError(f"{path} is not a store of streams, or it is damaged: {error}") from None
        raise OSError(errno.EIO, f"the store cannot be used: {error}", path) from None


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
    may_write = _may_write(path) and _may_write(os.path.dirname(os.path.abspath(path)))
    how = "mode=rw" if may_write or os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    return _connected(f"{Path(path).absolute().as_uri()}?{how}", LONGEST_WAIT, uri=True)


def _statements(base: sqlite3.Connection) -> set[str]:
    """The statements that created the tables, views, triggers and indices of a file."""
    return {statement for (statement,) in base.execute("SELECT sql FROM sqlite_master") if statement is not None}


def _check(base: sqlite3.Connection, path: str, model: bytes) -> None:
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
    if about.get("model") != model:
        raise ValueError(f"{path} has streams of another model; open it with the model that it began with")
    (n_bytes,) = base.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    for (n_streams,) in base.execute("SELECT n_streams FROM size"):
        if isinstance(n_streams, int) and not 0 <= n_streams <= n_bytes:  # `list` allocates what `len` says
            raise ValueError(f"{path} is damaged: it has {n_bytes:,} bytes, and says that it has {n_streams:,} streams")


def _may_write(path: str) -> bool:
    """Whether this process may write to a file or folder. It is not opened: closing a file ends all locks on it."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _encoded(key: Key) -> bytes:
    """The bytes of a key; those of a str never equal those of a bytes key."""
    return b"b" + key if isinstance(key, bytes) else b"s" + key.encode("utf-8", "surrogatepass")


def _decoded(key: bytes) -> Key:
    return key[1:] if key[:1] == b"b" else key[1:].decode("utf-8", "surrogatepass")
