"""Pieces of files: what one worker reads at a time. How files are divided depends on nothing but the files.

A text file is one piece, because each of its lines is predicted from those before. JSON lines and tables of records are
divided, since each record is read by itself.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from ...tasks.input import blocks
from ...tasks.signals import Interruptible
from ..extras import missing_extra
from .storage import open_files

try:
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise missing_extra(error, "ray") from None

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
