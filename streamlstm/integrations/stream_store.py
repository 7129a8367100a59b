"""Where keyed streams are kept: a folder with the snapshots of each key, and the results of its records.

    snapshots/<digest of the key>/<offset>                  the stream after the record with this offset
    results/<digest of the key>/<first>-<last>.parquet      the results of the records from one offset to another
    _streams.json, _model.safetensors                       the options and the model

What a stream is after a record depends on the model and on the records of its key only. So two writers that write a
file of the same name write the same content, and one that was believed dead does no harm. The results up to a record
are written before the snapshot after it. What was written after the last snapshot is deleted when a stream is loaded
again, because the records are then read again, perhaps in other groups.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..checkpoint import dump_checkpoint, parse_checkpoint
from ..predictor import Learn, StreamPredictor
from ..streams.pool import MAX_PAGES
from ..tasks.compress import identity
from .batches import model_of_bytes
from .extras import missing_extra
from .storage import Storage

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None

_MODEL, _OPTIONS = "_model.safetensors", "_streams.json"
_DIGITS = 19
"""Of an offset in the name of a file: names are then in the order of the offsets."""


class Result(NamedTuple):
    """What is known of a record.

    key, offset  of the record
    bits         its surprisal in total
    n_bytes      its length
    """

    key: str
    offset: int
    bits: float
    n_bytes: int


SCHEMA = pa.schema([("key", pa.string()), ("offset", pa.int64()), ("bits", pa.float64()), ("n_bytes", pa.int64())])


class StreamStore:
    """The snapshots and results of keyed streams in a folder.

    location  a path, or a URL that fsspec can open
    """

    def __init__(self, location: str) -> None:
        self._storage = Storage(location)
        self.location = self._storage.location

    def open(self, predictor: StreamPredictor | None, learn: Learn, max_pages: int = MAX_PAGES) -> None:
        """Begin the store, or check that it was begun with the same model and options.

        Raises ValueError if it was not, and for a model of characters.
        """
        model = model_of_bytes(predictor).fork()
        model.learn = learn
        options = {"model": identity(model).hex(), "learn": learn, "max_pages": max_pages}
        content = self._storage.read(_OPTIONS)
        if content is None:
            self._storage.write(_MODEL, dump_checkpoint(*model.to_checkpoint()))
            self._storage.write(_OPTIONS, json.dumps(options).encode())
        elif json.loads(content) != options:
            raise ValueError(f"{self.location} has streams of another model, or with other options: {content.decode()}")

    def model(self) -> tuple[StreamPredictor, dict[str, Any]]:
        """The model, and the options `learn` and `max_pages` of a pool of streams."""
        options = json.loads(self._storage.read(_OPTIONS) or b"{}")
        del options["model"]
        content = self._storage.read(_MODEL) or b""
        return StreamPredictor.from_checkpoint(*parse_checkpoint(content, _MODEL)), options

    def offset(self, key: str) -> int | None:
        """The offset of the last record of a key that is done; None if none is."""
        names = self._storage.names(_snapshots(key))
        return int(names[-1]) if names else None

    def load(self, key: str) -> tuple[int, bytes | None]:
        """The offset and the snapshot of a key, -1 and None if there is none; deletes what was written after it."""
        while (offset := self.offset(key)) is not None:
            snapshot = self._storage.read(f"{_snapshots(key)}/{offset:0{_DIGITS}}")
            if snapshot is not None:  # else a later one has been written since
                break
        else:
            offset, snapshot = -1, None
        for name in self._storage.names(_results(key)):
            if _range(name)[0] > offset:
                self._storage.delete(f"{_results(key)}/{name}")
        return offset, snapshot

    def commit(self, key: str, results: Sequence[Result], snapshot: bytes) -> None:
        """Write the results of the next records of a key, and then the snapshot after the last of them."""
        first, last = results[0].offset, results[-1].offset
        content = io.BytesIO()
        columns = [list(column) for column in zip(*results, strict=True)]
        pq.write_table(pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA), content)
        self._storage.write(f"{_results(key)}/{first:0{_DIGITS}}-{last:0{_DIGITS}}.parquet", content.getvalue())
        self._storage.write(f"{_snapshots(key)}/{last:0{_DIGITS}}", snapshot)
        for name in self._storage.names(_snapshots(key)):
            if int(name) < last:
                self._storage.delete(f"{_snapshots(key)}/{name}")

    def results(self, key: str, first: int, last: int) -> list[Result]:
        """The results of a key from one offset to another, each once, in the order of the offsets."""
        return [result for result in self._results(_results(key)) if first <= result.offset <= last]

    def all_results(self) -> list[Result]:
        """The results of all keys, each once, by key and offset."""
        digests = self._storage.names("results")
        return sorted(result for digest in digests for result in self._results(f"results/{digest}"))

    def _results(self, folder: str) -> list[Result]:
        found: dict[int, Result] = {}
        for name in self._storage.names(folder):
            content = self._storage.read(f"{folder}/{name}")
            if content is not None:
                rows = pq.read_table(io.BytesIO(content)).to_pylist()
                found |= {row["offset"]: Result(**row) for row in rows}
        return [found[offset] for offset in sorted(found)]


def _digest(key: str) -> str:
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _snapshots(key: str) -> str:
    return f"snapshots/{_digest(key)}"


def _results(key: str) -> str:
    return f"results/{_digest(key)}"


def _range(name: str) -> tuple[int, int]:
    """The offsets in the name of a file of results."""
    first, _, last = name.removesuffix(".parquet").partition("-")
    return int(first), int(last)
