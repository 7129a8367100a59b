"""A job that scores files piece by piece on a Ray cluster, and writes a Parquet file for each piece.

A piece is what one worker reads at a time. How files are divided depends on nothing but the files: a text file is one
piece, because each of its lines is predicted from those before; JSON lines and tables of records are divided, since
each record is read by itself. Ray Data gives the pieces to a pool of actors, and replaces actors that die.

What a piece gives depends on the files, the options and the model only. So a piece may be scored again, by any worker,
and the file that it writes is the same; and a job that was killed continues with the pieces that have no file yet. The
file of a piece has a digest of what was read, so that a job does not continue with files that have changed.

Ray Data's own checkpoints are not used: they filter rows by their ids, and a row here can give many; and loading them
can hang on a cluster with few CPUs (seen in Ray 2.60 with three). A piece is done when its file is there.

A job is a folder of these files. Those whose names begin with `_` are not read as part of a table:

    part-00000.parquet …  the scores, in the order of the pieces
    _job.json             the options, the pieces, and what identifies the model
    _model.safetensors    the model, for the workers
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from ...checkpoint import dump_checkpoint, parse_checkpoint
from ...codec.coder import identity
from ...predictor import StreamPredictor
from ...system.input import blocks
from ...system.process import Interruptible
from ...text.score import check_choice, score_by
from ..batches import DETAILS, model_of_bytes, score_text
from .storage import Storage, open_files

PIECE_BYTES = 1 << 20
"""The size of a piece of records, about: half a minute of work for the bundled model."""

_SURROGATE = re.compile("[\ud800-\udfff]")
"""What an escape of JSON can stand for although it is not a character."""

MAX_PIECES = 10_000
"""If there are more pieces of records than this, they are made larger."""

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
"""The formats of records by the ends of the names of files; all other files are text."""


class Piece(NamedTuple):
    """A text file, or some of the records of a file.

    name     of the file, as it was given: begins the ids of its records
    path     of the file, or its URL, wherever a worker runs
    format   text, jsonl or parquet
    n_bytes  its size, about
    first    of JSON lines, the byte from which on records begin in it; of Parquet, the first row in the row group
    end      the end of these bytes or rows
    group    the row group
    """

    name: str
    path: str
    format: str
    n_bytes: int
    first: int = 0
    end: int = 0
    group: int = 0


class Record(NamedTuple):
    """A text to be scored by itself, in parts, and its id."""

    id: str
    parts: Iterable[str | bytes]


@dataclass(frozen=True)
class Columns:
    """Where the text of a record is, and its id: by default, `FILE:` with the record's first byte, or its row."""

    text: str = "text"
    id: str | None = None


def matching_files(patterns: list[str]) -> list[str]:
    """The files that paths, URLs and patterns such as `logs/*.jsonl` name. Raises FileNotFoundError if one has none."""
    found = []
    for pattern in patterns:
        files, path = open_files(pattern)
        if files.exists(path):
            names = [pattern]
        elif "://" in pattern:
            names = sorted(files.unstrip_protocol(name) for name in files.glob(path))
        else:
            names = sorted(glob.glob(pattern, recursive=True))
        if not names:
            raise FileNotFoundError(f"{pattern}: there is no such file")
        found += names
    return found


def pieces_of(names: list[str], column: str) -> list[Piece]:
    """The pieces of files. Raises OSError for a file that cannot be read, ValueError for a table without the column."""
    wholes = [_whole(name) for name in names]
    target = max(PIECE_BYTES, sum(whole.n_bytes for whole in wholes) // MAX_PIECES)
    return [piece for whole in wholes for piece in _pieces(whole, column, target)]


def _whole(name: str) -> Piece:
    """A file as one piece."""
    files, path = open_files(name)
    if files.isdir(path):
        raise IsADirectoryError(f"{name} is a directory; name files, or a pattern such as '{name.rstrip('/')}/*'")
    format = next((format for end, format in FORMATS.items() if path.endswith(end)), "text")
    return Piece(name, files.unstrip_protocol(path), format, int(files.size(path)))


def _pieces(whole: Piece, column: str, target: int) -> Iterator[Piece]:
    if whole.format == "text":
        yield whole
    elif whole.format == "jsonl":
        for first in range(0, whole.n_bytes, target):
            end = min(first + target, whole.n_bytes)
            yield whole._replace(n_bytes=end - first, first=first, end=end)
    else:
        with _opened(whole) as file:
            yield from _pieces_of_table(whole, file, column, target)


def _pieces_of_table(whole: Piece, file: BinaryIO, column: str, target: int) -> Iterator[Piece]:
    table = _table(whole, file)
    names = table.schema_arrow.names
    if column not in names:
        raise ValueError(f"{whole.name} has no column {column!r}; its columns are {', '.join(map(repr, names))}")
    for index in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(index)
        chunks = [group.column(k) for k in range(group.num_columns)]
        n_bytes = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)
        n_rows = max(group.num_rows * target // max(n_bytes, 1), 1)
        for first in range(0, group.num_rows, n_rows):
            end = min(first + n_rows, group.num_rows)
            size = n_bytes * (end - first) // group.num_rows
            yield whole._replace(n_bytes=size, first=first, end=end, group=index)


def records_of(piece: Piece, columns: Columns) -> Iterator[Record]:
    """The records of a piece. Raises ValueError for one that has no text; a text of null is an empty text."""
    with _opened(piece) as file:
        if piece.format == "text":
            yield Record(piece.name, blocks(file, Interruptible()))
        elif piece.format == "jsonl":
            yield from _records_of_lines(piece, file, columns)
        else:
            yield from _records_of_table(piece, file, columns)


def _records_of_lines(piece: Piece, file: BinaryIO, columns: Columns) -> Iterator[Record]:
    offset = piece.first
    if offset:  # a line that begins before belongs to the piece before
        file.seek(offset - 1)
        offset += len(file.readline()) - 1
    while offset < piece.end and (line := file.readline()):
        where = f"{piece.name}:{offset}"
        offset += len(line)
        if line.isspace():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{where}: the line that begins at this byte is not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"{where}: the line that begins at this byte is not a JSON object")
        for name in filter(None, (columns.text, columns.id)):
            if name not in values:
                raise ValueError(f"{where}: the record has no field {name!r}; its fields are {', '.join(values)}")
        yield _record(values[columns.text], where if columns.id is None else values[columns.id], where)


def _records_of_table(piece: Piece, file: BinaryIO, columns: Columns) -> Iterator[Record]:
    table = _table(piece, file)
    if columns.id is not None and columns.id not in table.schema_arrow.names:
        raise ValueError(f"{piece.name} has no column {columns.id!r} for the ids")
    names = [columns.text] if columns.id is None else [columns.text, columns.id]
    rows = table.read_row_group(piece.group, columns=names).slice(piece.first, piece.end - piece.first)
    before = sum(table.metadata.row_group(index).num_rows for index in range(piece.group))
    for index, text in enumerate(rows.column(columns.text).to_pylist()):
        where = f"{piece.name}:{before + piece.first + index}"
        yield _record(text, where if columns.id is None else rows.column(columns.id)[index].as_py(), where)


def _record(text: Any, id: Any, where: str) -> Record:
    if text is None:
        text = ""
    if not isinstance(text, str | bytes):
        raise ValueError(f"{where}: the text of the record is not a text, but {text!r}")
    if isinstance(text, str):
        text = _SURROGATE.sub("\ufffd", text)
    return Record(_SURROGATE.sub("\ufffd", str(id)), [text])


def _opened(piece: Piece) -> Any:
    files, path = open_files(piece.path)
    return files.open(path, "rb")


def _table(piece: Piece, file: BinaryIO) -> Any:
    try:
        return pq.ParquetFile(file)
    except Exception as error:  # pyarrow's own kinds of ValueError and OSError
        raise ValueError(f"{piece.name} is not a Parquet file: {' '.join(str(error).split())}") from None


MAX_BLOCKS = 1000
"""Ray Data gives the pieces to the actors in at most this many blocks."""


def run_on_ray(job: ScoreJob, workers: int) -> Iterator[int]:
    """Score the unfinished pieces of a job with actors of one CPU each, and yield the index of each piece when it is
    done. The program is connected to a cluster (`connected`).

    Raises ValueError for a record or file that cannot be scored.
    """
    indices = job.unfinished()
    if not indices:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.from_items(
        [{"index": index} for index in indices], override_num_blocks=min(len(indices), MAX_BLOCKS)
    )
    pool = ray.data.ActorPoolStrategy(size=min(workers, len(indices)))
    done = data.map_batches(
        PieceScorer, batch_size=1, compute=pool, num_cpus=1, fn_constructor_args=[job.storage.location]
    )
    for row in done.iter_rows():
        if row["error"]:
            raise ValueError(row["error"])
        yield int(row["index"])


class PieceScorer:
    """Scores pieces of the job in a folder; in an actor."""

    def __init__(self, location: str) -> None:
        self._job = ScoreJob.load(location)
        self._predictor = self._job.predictor()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Score the pieces with these indices; returns the indices, and an error or "" for each."""
        indices = [int(index) for index in batch["index"]]
        return {"index": indices, "error": [self._error_of(index) for index in indices]}

    def _error_of(self, index: int) -> str:
        if self._job.is_done(index):  # by an actor that died before it could say so
            return ""
        try:
            self._job.score(index, self._predictor)
        except (ValueError, OSError) as error:
            return str(error)
        return ""


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
