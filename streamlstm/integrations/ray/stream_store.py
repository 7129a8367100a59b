"""Where keyed streams are kept: a folder with the snapshots of each key, and the results of its records.

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
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_type_hints

from ...checkpoint import dump_checkpoint, parse_checkpoint
from ...predictor import StreamPredictor
from ...tasks.identity import identity
from ..batches import model_of_bytes
from ..extras import missing_extra
from .readers import READINGS, Reading, Result
from .storage import Storage

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None

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
