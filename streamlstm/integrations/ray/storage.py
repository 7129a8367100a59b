"""A folder on a disk or in an object store, whose files are written completely or not at all; the streams kept in one.

Keyed streams are kept as the snapshots of each key and the results of its records:

    snapshots/<digest of the key>/<offset>                  the stream after the record with this offset
    results/<digest of the key>/<first>-<last>.parquet      the results of the records from one offset to another
    _streams.json, _model.safetensors                       the options and the model

What a stream is after a record depends on the model and on the records of its key only. So two writers that write a
file of the same name write the same content, and one that was believed dead does no harm. The results up to a record
are written before the snapshot after it. After a crash in between, the records are read again, perhaps in other groups:
the file that has no snapshot is deleted once others have all of its results, so that no reader finds one twice.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, BinaryIO, cast, get_type_hints

import fsspec.core
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from ...checkpoint import dump_checkpoint, parse_checkpoint
from ...codec.coder import identity
from ...predictor import StreamPredictor
from ...system.files import opened_atomically
from ..batches import model_of_bytes
from .readers import READINGS, Reading, Result


class Storage:
    """A folder, which is created when the first file is written to it.

    location  a path, or a URL that fsspec can open: s3://bucket/folder, gs://…, memory://…

    The names of files are relative to the folder, with slashes. Raises ValueError for a URL that fsspec cannot open.

    >>> folder = Storage("memory://example")
    >>> folder.write("a/1", b"one")
    >>> folder.read("a/1"), folder.read("a/2"), folder.names("a"), folder.names("b")
    (b'one', None, ['1'], [])
    """

    def __init__(self, location: str | os.PathLike[str]) -> None:
        self._files, self._root = open_files(os.fspath(location))
        self._is_local = isinstance(self._files, LocalFileSystem)
        self.location: str = self._files.unstrip_protocol(self._root)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        with suppress(FileNotFoundError):
            return cast(bytes, self._files.cat_file(self._path(name)))
        return None

    def reading(self, name: str) -> Any:
        """Open a file to read parts of it."""
        return self._files.open(self._path(name), "rb")

    def __contains__(self, name: str) -> bool:
        return bool(self._files.exists(self._path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        if self._is_local:
            with self.opened(name) as file:
                file.write(content)
        else:
            self._files.pipe_file(self._path(name), content)

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a temporary file that becomes the file of this name once it is complete. An error leaves no file."""
        path = self._path(name)
        if self._is_local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with opened_atomically(path) as file:
                yield file
            return
        with tempfile.TemporaryDirectory() as folder:
            temporary = os.path.join(folder, "file")
            with open(temporary, "wb") as file:
                yield file
            self._files.put_file(temporary, path)

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def names(self, folder: str = "") -> list[str]:
        """The names of the files and folders in a folder, sorted, without those that begin with a dot."""
        self._files.invalidate_cache()
        try:
            paths = self._files.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in paths]
        return sorted(name for name in names if not name.startswith("."))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)


def require_utf8(name: str) -> None:
    """Raise ValueError for the name of a file that is not in UTF-8: Ray and Parquet cannot take it."""
    if not name.isprintable() and any("\ud800" <= character <= "\udfff" for character in name):
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise ValueError(f"{shown}: the name is not in UTF-8, as Ray needs it; rename it, or do without --engine")


def open_files(location: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path in it.

    Raises ValueError for a URL that fsspec cannot open, and for a name that is not in UTF-8.
    """
    require_utf8(location)
    try:
        files, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{location} cannot be opened: {' '.join(str(error).split())}") from None
    return files, path


_MODEL, _OPTIONS, _POSITION = "_model.safetensors", "_streams.json", "_position.json"
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_DIGITS = 19
"""Of an offset in the name of a file: names are then in the order of the offsets."""


class StreamStore:
    """The snapshots and results of keyed streams in a folder.

    location  a path, or a URL that fsspec can open
    """

    def __init__(self, location: str) -> None:
        self._storage = Storage(location)
        self.location = self._storage.location
        self._unfinished: dict[str, list[str]] = {}  # files of results that go beyond the snapshot that was loaded

    def open(self, predictor: StreamPredictor | None, reading: Reading) -> None:
        """Begin the store, or check that it was begun with the same model and options.

        Raises ValueError if it was not, for a model of characters and, with nothing written, for options that are not
        valid.
        """
        model = model_of_bytes(predictor)
        reading.reader(model)
        name = next(name for name, kind in READINGS.items() if isinstance(reading, kind))
        options = {"model": identity(model).hex(), "reading": name, "options": asdict(reading)}
        content = self._storage.read(_OPTIONS)
        if content is None:
            self._storage.write(_MODEL, dump_checkpoint(*model.to_checkpoint()))
            self._storage.write(_OPTIONS, json.dumps(options).encode())
        elif json.loads(content) != options:
            raise ValueError(f"{self.location} has streams of another model, or with other options: {content.decode()}")

    def reading(self) -> Reading:
        """How records are read. Raises ValueError for a folder that is not a store."""
        content = self._storage.read(_OPTIONS)
        if content is None:
            raise ValueError(f"{self.location} is not a store of streams")
        values = json.loads(content)
        reading: Reading = READINGS[values["reading"]](**values["options"])
        return reading

    def model(self) -> StreamPredictor:
        """The model with which each stream begins."""
        content = self._storage.read(_MODEL) or b""
        return StreamPredictor.from_checkpoint(*parse_checkpoint(content, _MODEL))

    def save_position(self, position: Any) -> None:
        """Keep the position in the source, as JSON values; all records before it are done."""
        self._storage.write(_POSITION, json.dumps(position).encode())

    def position(self) -> Any:
        """What `save_position` kept; None if there is none."""
        content = self._storage.read(_POSITION)
        return None if content is None else json.loads(content)

    def offset(self, key: str) -> int | None:
        """The offset of the last record of a key that is done; None if none is."""
        names = self._storage.names(_snapshots(key))
        return int(names[-1]) if names else None

    def load(self, key: str) -> tuple[int, bytes | None]:
        """The offset and the snapshot of a key; -1 and None if there is none."""
        while (offset := self.offset(key)) is not None:
            snapshot = self._storage.read(f"{_snapshots(key)}/{offset:0{_DIGITS}}")
            if snapshot is not None:  # else a later one has been written since
                break
        else:
            offset, snapshot = -1, None
        self._unfinished[key] = [name for name in self._storage.names(_results(key)) if _last(name) > offset]
        return offset, snapshot

    def commit(self, key: str, offsets: tuple[int, int], results: Sequence[Result], snapshot: bytes) -> None:
        """Write the results of the next records of a key, if there are any, and the snapshot after these records.

        offsets  those of the first and of the last record
        """
        first, last = offsets
        own = f"{first:0{_DIGITS}}-{last:0{_DIGITS}}.parquet"
        if results:
            self._storage.write(f"{_results(key)}/{own}", _table(results))
        unfinished = self._unfinished.pop(key, [])
        for name in unfinished:
            if _last(name) <= last and name != own:
                self._storage.delete(f"{_results(key)}/{name}")
        if later := [name for name in unfinished if _last(name) > last]:
            self._unfinished[key] = later
        self._storage.write(f"{_snapshots(key)}/{last:0{_DIGITS}}", snapshot)
        for name in self._storage.names(_snapshots(key)):
            if int(name) < last:
                self._storage.delete(f"{_snapshots(key)}/{name}")

    def results(self, key: str, first: int, last: int) -> list[Result]:
        """The results of a key from one offset to another, each once, in the order of the offsets."""
        results = self._results(_results(key), self.reading().result)
        return [result for result in results if first <= result.offset <= last]

    def all_results(self) -> list[Result]:
        """The results of all keys, each once, by key and offset."""
        folders, kind = self._storage.names("results"), self.reading().result
        return sorted(result for name in folders for result in self._results(f"results/{name}", kind))

    def _results(self, folder: str, kind: type[Result]) -> list[Result]:
        found: dict[int, Result] = {}
        for name in self._storage.names(folder):
            content = self._storage.read(f"{folder}/{name}")
            rows = [] if content is None else pq.read_table(io.BytesIO(content)).to_pylist()
            found |= {row["offset"]: kind(**row) for row in rows}
        return [found[offset] for offset in sorted(found)]


def _table(results: Sequence[Result]) -> bytes:
    """A Parquet file with a row for each result."""
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in get_type_hints(type(results[0])).items()])
    columns = [list(column) for column in zip(*results, strict=True)]
    content = io.BytesIO()
    pq.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema), content)
    return content.getvalue()


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _snapshots(key: str) -> str:
    return f"snapshots/{_digest(key)}"


def _results(key: str) -> str:
    return f"results/{_digest(key)}"


def _last(name: str) -> int:
    """The last offset in the name of a file of results."""
    return int(name.removesuffix(".parquet").partition("-")[2])
