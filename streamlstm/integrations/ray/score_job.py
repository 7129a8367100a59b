"""A job that scores files piece by piece, and writes a Parquet file for each piece.

What a piece gives depends on the files, the options and the model only. So a piece may be scored again, by any worker,
and the file that it writes is the same; and a job that was killed continues with the pieces that have no file yet. The
file of a piece has a digest of what was read, so that a job does not continue with files that have changed.

A job is a folder of these files. Those whose names begin with `_` are not read as part of a table:

    part-00000.parquet …  the scores, in the order of the pieces
    _job.json             the options, the pieces, and what identifies the model
    _model.safetensors    the model, for the workers
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from ...checkpoint import dump_checkpoint, parse_checkpoint
from ...predictor import StreamPredictor
from ...tasks.identity import identity
from ...tasks.score import check_choice, score_by
from ..batches import DETAILS, model_of_bytes, score_text
from ..extras import missing_extra
from .pieces import Columns, Piece, Record, records_of
from .storage import Storage

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None

LEVELS = ("line", "file")
"""What a row of the result is: a line, or a file or record."""

ROWS = 10_000
"""How many rows are written at once."""

_JOB, _MODEL = "_job.json", "_model.safetensors"

_DIGEST = b"streamlstm.sha256"
"""The key of the digest in the metadata of the file of a piece."""


@dataclass(frozen=True)
class ScoreOptions:
    """How files are scored.

    by             what a row is: "line", or "file", which is a record where a file has several
    detail         with "file": also lists of the words ("word") or lines ("line") of each, and of their surprisals
    context_reset  where the context is reset: line, blank-line or file
    columns        of records

    Raises ValueError for values that are not valid or do not go together.
    """

    by: str = "line"
    detail: str | None = None
    context_reset: str = "file"
    columns: Columns = field(default_factory=Columns)

    def __post_init__(self) -> None:
        check_choice("by", self.by, LEVELS)
        check_choice("context_reset", self.context_reset, ("line", "blank-line", "file"))
        if self.detail is not None:
            check_choice("detail", self.detail, DETAILS)
            if self.by == "line":
                raise ValueError("detail gives lists for each file or record; use it with by='file'")

    @property
    def schema(self) -> Any:
        """The names and types of the columns of the result."""
        fields: list[tuple[str, Any]] = [("id", pa.string())]
        if self.by == "line":
            fields += [("line", pa.int64()), ("offset", pa.int64())]
        fields += [("bits", pa.float64()), ("bytes", pa.int64()), ("bits_per_byte", pa.float64())]
        if self.detail is not None:
            fields += [(f"{self.detail}s", pa.list_(pa.string())), (f"{self.detail}_bits", pa.list_(pa.float64()))]
        return pa.schema(fields)


@dataclass(frozen=True)
class ScoreJob:
    """A job in a folder.

    storage  the folder
    options  how files are scored
    pieces   of the files, in their order
    """

    storage: Storage
    options: ScoreOptions
    pieces: list[Piece]

    @classmethod
    def begin(
        cls, storage: Storage, options: ScoreOptions, pieces: list[Piece], predictor: StreamPredictor, resume: bool
    ) -> ScoreJob:
        """Begin a job in an empty folder, or with `resume` continue the one that is there.

        Raises FileExistsError for a folder with files unless `resume`, and ValueError if the job there has other
        options, files or another model, or if a file whose scores it has does not hold any more what was scored.
        """
        model = model_of_bytes(predictor)
        described = {"model": identity(model).hex(), **asdict(options), "pieces": [list(piece) for piece in pieces]}
        content = storage.read(_JOB)
        if content is None or not resume:
            unfinished_start = {_MODEL} if resume else set()  # the program was killed before the job had begun
            if set(storage.names()) - unfinished_start:
                raise FileExistsError(
                    f"{storage.location} is not empty; name another folder, or continue the job there with --resume"
                )
            storage.write(_MODEL, dump_checkpoint(*model.to_checkpoint()))
            storage.write(_JOB, json.dumps(described).encode())
        else:
            _check_equal(json.loads(content), described, storage.location)
            job = cls(storage, options, pieces)
            for index in set(range(len(pieces))).difference(job.unfinished()):
                job._check_unchanged(index)
        return cls(storage, options, pieces)

    @classmethod
    def load(cls, location: str) -> ScoreJob:
        """The job in a folder, for a worker."""
        storage = Storage(location)
        values = json.loads(storage.read(_JOB) or b"{}")
        columns = Columns(**values["columns"])
        options = ScoreOptions(values["by"], values["detail"], values["context_reset"], columns)
        return cls(storage, options, [Piece(*piece) for piece in values["pieces"]])

    def predictor(self) -> StreamPredictor:
        """The model of the job."""
        content = self.storage.read(_MODEL) or b""
        return StreamPredictor.from_checkpoint(*parse_checkpoint(content, _MODEL))

    @property
    def n_bytes(self) -> int:
        """The size of all pieces, about."""
        return sum(piece.n_bytes for piece in self.pieces)

    def unfinished(self) -> list[int]:
        """The indices of the pieces that have no file yet."""
        names = set(self.storage.names())
        return [index for index in range(len(self.pieces)) if part_name(index) not in names]

    def is_done(self, index: int) -> bool:
        """Whether a piece has its file."""
        return part_name(index) in self.storage

    def score(self, index: int, predictor: StreamPredictor) -> None:
        """Score a piece with forks of the model, and write its file.

        Raises ValueError for a record without a text, and OSError for a file that cannot be read or written.
        """
        schema, digest = self.options.schema, hashlib.sha256()
        records = _digested(records_of(self.pieces[index], self.options.columns), digest)
        with self.storage.opened(part_name(index)) as file, pq.ParquetWriter(file, schema) as writer:
            for columns in self._rows(records, predictor):
                writer.write_table(pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema))
            writer.add_key_value_metadata({_DIGEST: digest.hexdigest()})

    def _check_unchanged(self, index: int) -> None:
        """Raise ValueError if a piece does not hold any more what its file was written from.

        A file of 1.0 does not say what that was.
        """
        name, piece = part_name(index), self.pieces[index]
        with self.storage.reading(name) as file:
            try:
                expected = (pq.read_metadata(file).metadata or {}).get(_DIGEST)
            except Exception:  # pyarrow's own kinds of ValueError and OSError
                message = f"{self.storage.location}/{name} is damaged; remove it, and --resume scores it again"
                raise ValueError(message) from None
        if expected is None:
            return
        digest = hashlib.sha256()
        try:
            for record in _digested(records_of(piece, self.options.columns), digest):
                for _ in record.parts:
                    pass
            is_unchanged = digest.hexdigest().encode() == expected
        except ValueError:  # a record without a text, which it had
            is_unchanged = False
        if not is_unchanged:
            where = f"the job in {self.storage.location} cannot be continued"
            raise ValueError(f"{where}: {piece.name} has changed since it was scored; begin another job for it")

    def _rows(self, records: Iterable[Record], predictor: StreamPredictor) -> Iterator[list[list[Any]]]:
        """The rows of records, some at a time, as columns."""
        rows = _lines if self.options.by == "line" else _records
        waiting: list[tuple[Any, ...]] = []
        for row in chain.from_iterable(rows(record, predictor.fork(), self.options) for record in records):
            waiting.append(row)
            if len(waiting) == ROWS:
                yield [list(column) for column in zip(*waiting, strict=True)]
                waiting.clear()
        if waiting:
            yield [list(column) for column in zip(*waiting, strict=True)]


def part_name(index: int) -> str:
    """The file of a piece."""
    return f"part-{index:05}.parquet"


def _digested(records: Iterable[Record], digest: Any) -> Iterator[Record]:
    """The records. Their ids and texts, however they are divided into parts, are added to the digest when read."""

    def add(parts: Iterable[str | bytes]) -> Iterator[str | bytes]:
        n_bytes = 0
        for part in parts:
            content = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
            n_bytes += len(content)
            digest.update(content)
            yield part
        digest.update(n_bytes.to_bytes(8, "big"))

    for id, parts in records:
        list(add([id]))
        yield Record(id, add(parts))


def _lines(record: Record, predictor: StreamPredictor, options: ScoreOptions) -> Iterator[tuple[Any, ...]]:
    """A row for each line of a record."""
    for scores in score_by(predictor, record.parts, "line", context_reset=options.context_reset):
        columns = scores.lines, scores.offsets, scores.bits, scores.n_symbols, scores.bits / scores.n_symbols
        yield from ((record.id, *row) for row in zip(*(column.tolist() for column in columns), strict=True))


def _records(record: Record, predictor: StreamPredictor, options: ScoreOptions) -> Iterator[tuple[Any, ...]]:
    """The row of a record."""
    score = score_text(predictor, record.parts, options.detail, options.context_reset)
    row = record.id, score.bits, score.n_bytes, score.bits_per_byte
    yield row if options.detail is None else (*row, score.texts, score.parts)


def _check_equal(found: dict[str, Any], wanted: dict[str, Any], location: str) -> None:
    """Raise ValueError, which says what differs, if a job is not the one that is to be continued."""
    for name, value in wanted.items():
        if found.get(name) != value:
            what = {"pieces": "the files or their sizes have changed", "model": "its model is another one"}
            difference = what.get(name, f"its {name} is {found.get(name)!r}, not {value!r}")
            raise ValueError(f"the job in {location} cannot be continued: {difference}")
