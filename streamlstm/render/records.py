"""Tables of scores: a record per unit or per file, for people (text) or for programs (tsv, csv, jsonl)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import repeat, zip_longest
from typing import Any

from ..memory.memory import EXPERTS
from ..text.score import UNITS, check_choice, check_level
from ..text.units import Scores
from .escape import base64_name, base64_of, csv_quoted, escaped_text, is_replaced, json_string

FORMATS = ("text", "tsv", "csv", "jsonl")
CACHED_LENGTH = 32
"""The formatted texts of units up to this length are cached: characters and words repeat."""


def format_scores(
    scores: Iterable[Scores | tuple[Scores, Scores]],
    by: str = "word",
    format: str = "tsv",
    unit: str = "bits",
    file: str = "-",
) -> str:
    r"""The table of what `score_by` or `compare` yields, as the command `score` writes it.

    by      the level that was scored: symbol, character, word, line or file; for scores that `score_by` explained, not
            file
    format  text, tsv, csv or jsonl
    unit    bits, nats or log10
    file    the name of the text

    Raises ValueError for any other value of these.

    >>> from streamlstm import StreamPredictor, score_by
    >>> print(format_scores(score_by(StreamPredictor(), "a")).expandtabs(8), end="")
    line    column  offset  bits    text    file
    1       1       0       8.0     a       -
    """
    tables = [each if isinstance(each, tuple) else (each,) for each in scores]
    explained = any(each[0].alone is not None for each in tables)
    table = ScoreTable(by, format, unit, compared=any(len(each) == 2 for each in tables), explained=explained)
    return table.header + "".join(table.rows(file, *each) for each in tables) + table.total(file)


class ScoreTable:
    """Formats scores as they arrive.

    by         the level that is scored
    format     text, tsv, csv or jsonl
    unit       of surprisal: bits, nats or log10
    compared   whether two models are compared
    titled     whether the name of each file is a line of its own, where the records do not contain it
    explained  whether a record of a unit tells what each expert of the memory alone gives; as text, the network and the
               order 6

    `header` is the first line. For each file follow `title`, `rows` for each table of scores, and `total`.
    """

    def __init__(
        self,
        by: str,
        format: str,
        unit: str,
        compared: bool = False,
        titled: bool = False,
        explained: bool = False,
    ) -> None:
        self._whole_files = check_level("by", by) == "file"
        check_choice("format", format, FORMATS)
        check_choice("unit", unit, UNITS)
        self._factor, self._format, self._compared = UNITS[unit], format, compared
        self._titled = titled and format == "text" and not self._whole_files
        self._sums = [0.0, 0.0, 0.0]  # symbols and bits of the file so far, where a record is a file
        floats = [f"ratio_{unit}", f"{unit}_a", f"{unit}_b"] if compared else [unit]
        if self._whole_files:
            ints = [] if compared else ["symbols"]
            floats += [] if compared else [f"{unit}_per_symbol"]
            texts = ["file"]
        else:
            ints, texts = ["line", "column", "offset"], ["text"] if format == "text" else ["text", "file"]
        shown = (_SHORT if format == "text" else EXPERTS) if explained and not self._whole_files else ()
        self._experts = [EXPERTS.index(name) for name in shown]
        floats += [name if format == "text" else f"{unit}_{column_name(name)}" for name in shown]
        self._kinds = "d" * len(ints) + "f" * len(floats) + "s" * len(texts)
        self.header, self._template = self._layout([*ints, *floats, *texts])
        self._cell, self._cached = _CELLS.get(format, (_cell, _cached_cell))

    def _layout(self, names: list[str]) -> tuple[str, str]:
        """The header, and the template of a record."""
        kinds = self._kinds
        exact = {"d": "%d", "f": "%r", "s": "%s"}
        if self._format == "jsonl":
            fields = [f'"{name}":{exact[kind]}' for name, kind in zip(names, kinds, strict=True)]
            return "", "{" + ",".join(fields) + "}\n"
        if self._format == "text" and not self._whole_files:
            widths = {"d": "%9", "f": "%13", "s": "  %"}
            header = "".join(f"{widths[kind]}s" for kind in kinds) % tuple(names)
            ends = {"d": "d", "f": ".4f", "s": "s"}
            return header + "\n", "".join(widths[kind] + ends[kind] for kind in kinds) + "\n"
        short = [f"%.{4 if name.endswith('_per_symbol') else 2}f" for name in names]
        fields = [s if self._format == "text" and k == "f" else exact[k] for s, k in zip(short, kinds, strict=True)]
        separator = "," if self._format == "csv" else "\t"
        return separator.join(names) + "\n", separator.join(fields) + "\n"

    def title(self, file: str) -> str:
        """The line before the records of a file, or nothing."""
        return f"==> {escaped_text(file)} <==\n" if self._titled else ""

    def rows(self, file: str, *scores: Scores) -> str:
        """The records of units of a file, scored by one model, or by the two that are compared."""
        units = scores[0]
        if self._whole_files:
            sums = [float(units.n_symbols.sum()), *(float(table.bits.sum()) for table in scores)]
            self._sums = [a + b for a, b in zip_longest(self._sums, sums, fillvalue=0.0)]
            return ""
        floats = [self._factor * table.bits for table in scores]
        if self._compared:
            floats = [floats[1] - floats[0], *floats]
        if units.alone is not None:
            floats += [self._factor * units.alone[:, expert] for expert in self._experts]
        positions = [units.lines, units.columns, units.offsets]
        columns: list[Iterable[Any]] = [array.tolist() for array in (*positions, *floats)]
        columns.append(self._cells(units.texts))
        if self._format != "text":
            columns.append(repeat(self._cell(file, "file")))
        return "".join([self._template % row for row in zip(*columns)])  # noqa: B905 repeat is endless

    def total(self, file: str) -> str:
        """The record of a whole file, where a record is a file, after its last table of scores."""
        if not self._whole_files:
            return ""
        n_symbols, a, b = self._sums[0], self._factor * self._sums[1], self._factor * self._sums[2]
        self._sums = [0.0, 0.0, 0.0]
        numbers = (b - a, a, b) if self._compared else (n_symbols, a, a / max(n_symbols, 1))
        return self._template % (*numbers, self._cell(file, "file"))

    def _cells(self, texts: list[str]) -> Iterable[str]:
        cell, cached = self._cell, self._cached
        return [cached(text, "text") if len(text) <= CACHED_LENGTH else cell(text, "text") for text in texts]


def column_name(expert: str) -> str:
    """The name of an expert as part of the name of a column."""
    return expert.replace(" ", "_")


_SHORT = ("network", "order 6")
"""The experts that a record as text tells of: the network, and the counts of the orders with their back-off."""


def _cell(text: str, name: str) -> str:
    """A text in a column of this name."""
    return escaped_text(text)


def _csv_cell(text: str, name: str) -> str:
    return csv_quoted(escaped_text(text))


def _json_cell(text: str, name: str) -> str:
    """The value of the field of this name and, if it is not exact, a field with the exact bytes; see `json_object`."""
    value = json_string(text)
    return f'{value},"{base64_name(name)}":"{base64_of(text)}"' if is_replaced(text) else value


_cached_cell: Callable[[str, str], str] = lru_cache(4096)(_cell)
_cached_json_cell: Callable[[str, str], str] = lru_cache(4096)(_json_cell)
_cached_csv_cell: Callable[[str, str], str] = lru_cache(4096)(_csv_cell)
_CELLS = {"jsonl": (_json_cell, _cached_json_cell), "csv": (_csv_cell, _cached_csv_cell)}
