"""Surprisal and entropy of the regions of a reading experiment, as a table to join with reading times.

A region is a word, a phrase, or any part of a passage, with an id of its own. The columns of the table:

    bits            the surprisal of the region in bits
    first_bits      that of its first characters (3, unless you choose another number; Giulianelli et al. 2024)
    expected_bits   what its surprisal was expected to be: the sum over its symbols of the entropy of the distribution
                    before each
    entropy         the entropy in bits of the next character where the region begins (Pimentel et al. 2023)
    renyi           its Rényi entropy, of order 1/2 unless you choose another

each twice, since white space belongs to one of its two neighbours (Oh & Schuler 2024): `…_trailing` charges it to the
region before it, so that a region begins with its first letter; `…_leading` to the region after it, so that a region
begins with the white space before its first letter. The totals of the two are equal. For spillover, `…_lag1` and
`…_lag2` repeat each column for the region before and the one before that in the same passage.

If asked for, there are also the bits under each expert of the memory alone, such as `bits_network_trailing` and
`bits_order_6_trailing`, see `text.score.experts_alone`.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from ..jit.decorators import native
from ..kernels.arrays import F64
from ..kernels.distribution import apply_temperature
from ..memory.memory import EXPERTS, REPORT
from ..predictor import KnownTokens, StreamPredictor
from ..ranges import check_count, check_number
from ..render.escape import csv_quoted, json_object, terminal_text
from ..render.records import column_name
from ..system.input import open_input
from ..text.characters import character_chances
from ..text.score import check_choice, experts_alone
from ..text.units import byte_widths, code_points, readable

RULES = ("trailing", "leading")
MEASURES = tuple(
    f"{measure}_{rule}" for measure in ("bits", "first_bits", "expected_bits", "entropy", "renyi") for rule in RULES
)
LAGS = (1, 2)

Table = dict[str, "list[str] | F64"]
"""Columns by name. `pandas.DataFrame(table)` is a data frame of them."""


class Region(NamedTuple):
    """A part of a passage.

    id       names the region
    text     what stands there; white space around it counts as white space between the regions
    passage  regions in a row with the same passage are one text
    """

    id: str
    text: str
    passage: str = ""


def region_table(
    predictor: StreamPredictor,
    regions: Iterable[Region | tuple[str, ...]],
    *,
    first: int = 3,
    order: float = 0.5,
    separator: str = " ",
    explain: bool = False,
) -> Table:
    """Observe the regions in their order, and return the table of their measures: the columns are described above.

    first      how many characters of a region `first_bits` counts
    order      of the Rényi entropy, above 0; infinity: that of the most probable character alone
    separator  what stands between two regions where no white space does; "" for regions within words
    explain    whether to add the columns of the experts of the memory

    Each passage begins as a stream does, with what the predictor has learned so far: the context is reset. A value that
    is not there, such as the lag of the first region, is NaN. Raises ValueError for a region without text, for options
    out of their range, for a symbol that the vocabulary does not have, and for a predictor without a memory to explain.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> predictor.learn = "nothing"
    >>> table = region_table(predictor, [("1.1", "The"), ("1.2", "cat")], first=2)
    >>> table["bits_leading"].tolist(), table["bits_trailing"].tolist(), table["first_bits_trailing"].tolist()
    ([24.0, 32.0], [32.0, 24.0], [16.0, 16.0])
    """
    first, order = check_count("first", first, 1), check_number("order", order, 0, math.inf, above=True)
    if explain and not predictor.config.memory:
        raise ValueError("explain needs a predictor with a memory; this one was made with memory=False")
    rows = [Region(*map(str, region)) for region in regions]
    values: list[F64] = []
    for _, passage in groupby(rows, key=lambda region: region.passage):
        predictor.reset()
        own = _measured(predictor, _split(list(passage), separator), first, order, explain)
        values.append(np.concatenate([own, *(_lagged(own, lag) for lag in LAGS)], axis=1))
    experts = [f"bits_{column_name(name)}_{rule}" for name in EXPERTS for rule in RULES] if explain else []
    measures = [*MEASURES, *experts]
    names = [*measures, *(f"{measure}_lag{lag}" for lag in LAGS for measure in measures)]
    numbers = np.concatenate(values) if values else np.zeros((0, len(names)))
    table: Table = {name: [getattr(region, name) for region in rows] for name in Region._fields}
    table["characters"] = np.array([len(region.text.strip()) for region in rows], dtype=np.float64)
    return table | {name: numbers[:, column] for column, name in enumerate(names)}


def sentence_table(
    predictor: StreamPredictor,
    sentences: Iterable[Mapping[str, str]],
    text: str = "text",
    *,
    first: int = 3,
    order: float = 0.5,
    explain: bool = False,
) -> Table:
    """Measure each word of sentences, such as the items of an experiment: a row for each word.

    sentences  rows of a table: values by the names of their columns, the same for all
    text       the column that has the sentence
    first, order, explain  as in `region_table`

    The columns are those of the sentences; `word`, the number of the word in its sentence, from 1; `text`, the word;
    and those of `region_table`. Each sentence begins as a passage does. Raises ValueError for a sentence without words
    or without the column `text`, and as `region_table` does.

    >>> from streamlstm import StreamPredictor
    >>> items = [{"item": "1", "sentence": "The cat sleeps."}, {"item": "2", "sentence": "A dog barks."}]
    >>> table = sentence_table(StreamPredictor(), items, text="sentence")
    >>> list(table)[:4], table["item"], table["word"].tolist(), table["text"][3:]
    (['item', 'sentence', 'word', 'text'], ['1', '1', '1', '2', '2', '2'], [1.0, 2.0, 3.0, 1.0, 2.0, 3.0], ['A', 'dog', 'barks.'])
    """  # noqa: E501
    regions: list[Region] = []
    kept: dict[str, list[str]] = {}
    numbers: list[int] = []
    for index, row in enumerate(sentences, 1):
        if text not in row:
            raise ValueError(f"sentence {index} has no column {text!r}; it has {', '.join(row)}")
        words = _WORD.findall(str(row[text]))
        if not words:
            raise ValueError(f"sentence {index} has no words in its column {text!r}")
        regions += [Region(f"{index}.{number}", word, str(index)) for number, word in enumerate(words, 1)]
        numbers += range(1, len(words) + 1)
        for name in row:
            kept.setdefault(name, []).extend([str(row[name])] * len(words))
    measured = region_table(predictor, regions, first=first, order=order, explain=explain)
    for name in ("id", "passage"):
        del measured[name]
    measured["text"] = [region.text.strip() for region in regions]
    wrong = next((name for name in kept if name != "text" and name in ("word", *measured)), None)
    if wrong is not None:
        raise ValueError(f"the column {wrong!r} of the sentences has the name of one of the result; rename it")
    kept.pop("text", None)
    return {**kept, "word": np.array(numbers, dtype=np.float64), **measured}


_WORD = re.compile(r"\s*\S+(?:\s+\Z)?")
"""A word with the white space before it."""


def read_regions(path: str | os.PathLike[str], text: str = "text") -> list[Region]:
    """The regions in a UTF-8 table with tabs between its columns: id, text and perhaps passage, named in its first row.

    path  of the file; "-" is stdin
    text  the name of the column text

    Nothing is quoted: a quotation mark is a part of the text. But a table without a tab in its first row, and with
    commas or semicolons, is read as CSV, and so is one with tabs and with quotation marks around its names. Empty rows
    are skipped. If texts that are not read as CSV look as CSV quotes them, a warning is logged. Raises OSError if the
    file cannot be read, ValueError if it is not such a table.
    """
    table = _read_rows(path)
    for name in ("id", text):
        if name not in table.names:
            raise ValueError(
                f"{path} has no column {name!r}; its first row must have id, {text} and perhaps passage; "
                "to measure the words of sentences, use --split words"
            )
    regions = [_region(path, number, table.names, cells, text) for number, cells in table.rows]
    texts = zip(table.rows, regions, strict=True)
    looks_quoted = (number for (number, _), each in texts if _QUOTED.fullmatch(each.text) and not table.is_quoted)
    if (number := next(looks_quoted, None)) is not None:
        message = "%s: the text of row %s looks as CSV quotes it; quotation marks are read as a part of the text"
        logging.getLogger("streamlstm").warning(message, path, number)
    return regions


def read_sentences(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of a table as `sentence_table` takes them; the file is read as `read_regions` reads it.

    Raises OSError if the file cannot be read, ValueError if a row does not have as many values as there are columns.
    """
    table = _read_rows(path)
    for number, cells in table.rows:
        if len(cells) != len(table.names):
            raise ValueError(f"{path} has {len(cells)} values in row {number}, and {len(table.names)} columns")
    return [dict(zip(table.names, cells, strict=True)) for _, cells in table.rows]


class _Rows(NamedTuple):
    """A table as it was read: the names of its columns, its rows with their numbers, and whether texts were quoted."""

    names: list[str]
    rows: list[tuple[int, list[str]]]
    is_quoted: bool


def _read_rows(path: str | os.PathLike[str]) -> _Rows:
    try:
        with open_input(os.fspath(path)) as file:
            content = file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a table in UTF-8 with tabs between its columns: {error}") from None
    content = content.replace("\r\n", "\n").replace("\r", "\n")
    header, *lines = content.split("\n")
    names = header.split("\t")
    separator = next((each for each in "\t,;" if each in header), "\t")
    if separator == "\t" and ('"' not in header or {"id", "text"} <= set(names)):  # 1.0 reads the latter as it stands
        cells = [(number, line.split("\t")) for number, line in enumerate(lines, 2) if line]
        return _Rows(names, cells, is_quoted=False)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise ValueError(f"{path} is not a table in CSV: {error} in line {reader.line_num}") from None
    names = rows[0][1]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path} has two columns {twice!r}")
    return _Rows(names, rows[1:], is_quoted=True)


_QUOTED = re.compile('"(?:[^"]*"")+[^"]*"')
"""A text that is quoted as in CSV, with quotation marks in it."""


def _region(path: str | os.PathLike[str], number: int, names: list[str], cells: list[str], text: str) -> Region:
    """The region of a row."""
    row = dict(zip(names, cells, strict=False))
    if "id" not in row or text not in row:
        raise ValueError(f"{path} has no id or no text in row {number}; put tabs between its columns")
    if any(cells[len(names) :]):
        raise ValueError(f"{path} has more values than columns in row {number}; a text cannot contain a tab")
    return Region(row["id"], row[text], row.get("passage", ""))


def write_regions(table: Table, file: TextIO, format: str = "tsv") -> None:
    """Write a table with tabs between its columns, in CSV, or as JSON objects.

    format  tsv: what is not there is NA, as R and pandas write it. csv: what is not there is empty. jsonl: an object
            for each row, on a line of its own; what is not there is null

    In tsv and csv a text with a separator, a quotation mark or the end of a line in it is quoted as in CSV. On a
    terminal, characters that are not printable are escaped. Raises ValueError for any other format.
    """
    check_choice("format", format, FORMATS)
    rows = zip(*table.values(), strict=True)
    if format == "jsonl":
        for row in rows:
            values = (value if isinstance(value, str) else _json_number(float(value)) for value in row)
            file.write(json_object(dict(zip(table, values, strict=True))) + "\n")
        return
    is_terminal = file.isatty()
    separator, missing, quoted = (",", "", csv_quoted) if format == "csv" else ("\t", "NA", _cell)
    file.write(separator.join(map(quoted, table)) + "\n")
    for row in rows:
        cells = (quoted(value) if isinstance(value, str) else _number(float(value), missing) for value in row)
        file.write(separator.join(terminal_text(cell) if is_terminal else cell for cell in cells) + "\n")


FORMATS = ("tsv", "csv", "jsonl")


def _json_number(value: float) -> float | None:
    return None if math.isnan(value) else int(value) if value.is_integer() else value


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search('[\t"\r\n]', text) else text


def entropy(chances: npt.NDArray[Any]) -> F64:
    """The entropy in bits of each distribution, [..., n] to [...]; the same bits on every machine.

    >>> entropy(np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])).tolist()
    [1.5, 0.0]
    """
    p = chances.astype(np.float64)
    bits: F64 = -(p * _log2(p)).sum(axis=-1)
    return np.maximum(bits, 0.0)


def renyi_entropy(chances: F64, order: float) -> float:
    """The Rényi entropy in bits of a distribution [n]: log2 Σ pᵅ / (1 - α) for the order α; of order 1, the entropy.

    >>> renyi_entropy(np.array([0.25, 0.25, 0.25, 0.25]), 0.5)
    2.0
    """
    largest = float(_log2(chances.max()))
    if order == 1:
        return float(entropy(chances))
    if order == math.inf:
        return -largest
    powers = chances.copy()
    native(apply_temperature)(powers, 1 / order)  # (p / max p)ᵅ
    return (order * largest + float(_log2(powers.sum()))) / (1 - order)


class _Piece(NamedTuple):
    """A region with the white space before it; after the last region of a passage stands `rest`."""

    gap: str
    text: str
    rest: str


def _split(regions: list[Region], separator: str) -> list[_Piece]:
    """The regions of a passage without the white space around them, and what stands between them."""
    pieces = []
    before = ""
    for index, region in enumerate(regions):
        text = region.text.strip()
        if not text:
            raise ValueError(f"the region {region.id!r} has no text")
        start = region.text.index(text)
        gap = before + region.text[:start]
        before = region.text[start + len(text) :]
        pieces.append(_Piece(gap or (separator if index else ""), text, before if region is regions[-1] else ""))
    return pieces


def _measured(predictor: StreamPredictor, pieces: list[_Piece], first: int, order: float, explain: bool) -> F64:
    """The measures of the regions of one passage, float64 [n, the number of measures]."""
    spaces, texts, heads, onsets = [], [], [], []
    for piece in pieces:
        before_space = _onset(predictor, order)
        spaces.append(_observed(predictor, piece.gap, explain).sum(axis=0))
        onsets.append((_onset(predictor, order) if piece.gap else before_space, before_space))
        values = _observed(predictor, piece.text, explain)
        texts.append(values.sum(axis=0))
        heads.append(values[:first, 0].sum())
    spaces.append(_observed(predictor, pieces[-1].rest, explain).sum(axis=0))
    text, space, head = np.array(texts), np.array(spaces), np.array(heads)
    trailing, leading = text + space[1:], text + space[:-1]
    trailing[0] += space[0]  # as in `score_by`: white space at either end of a text belongs to the region next to it
    leading[-1] += space[-1]
    onset = np.array(onsets)  # [n, rule, measure]
    columns = [trailing[:, 0], leading[:, 0], head, head + space[:-1, 0], trailing[:, 1], leading[:, 1]]
    columns += [onset[:, 0, 0], onset[:, 1, 0], onset[:, 0, 1], onset[:, 1, 1]]
    columns += [rule[:, 2 + k] for k in range(trailing.shape[1] - 2) for rule in (trailing, leading)]
    return np.column_stack(columns)


def _onset(predictor: StreamPredictor, order: float) -> tuple[float, float]:
    """The entropy and the Rényi entropy of the next character."""
    chances = character_chances(predictor)
    return float(entropy(chances)), renyi_entropy(chances, order)


def _observed(predictor: StreamPredictor, text: str, explain: bool) -> F64:
    """The surprisal of each of n characters of a text, what it was expected to be, and that under each of K experts.

    Float64 [n, 2 + K], or [n, 2].
    """
    tokens = predictor.vocabulary.encode(readable(text, predictor.vocabulary))
    values = np.zeros((len(tokens), 2))
    report = np.zeros(len(tokens) * REPORT if explain else 0, dtype=np.float32)
    for step in predictor.steps(KnownTokens(tokens, report), len(tokens)):
        values[step.start : step.start + step.count, 0] = step.bits
        values[step.start : step.start + step.count, 1] = entropy(step.distributions[:-1])
    if explain:
        alone = experts_alone(report.reshape(-1, REPORT // 2, 2), len(predictor.vocabulary))
        values = np.concatenate([values, alone], axis=1)
    if len(tokens) == len(text):
        return values
    widths = byte_widths(code_points(text))
    sums: F64 = np.add.reduceat(values, np.cumsum(widths) - widths, axis=0)
    return sums


def _lagged(values: F64, lag: int) -> F64:
    """The values of the region `lag` regions before each; NaN for the first ones."""
    missing = np.full((min(lag, len(values)), values.shape[1]), np.nan)
    return np.concatenate([missing, values[:-lag]])


def _number(value: float, missing: str) -> str:
    return missing if math.isnan(value) else repr(value).removesuffix(".0")


def _log2(x: npt.ArrayLike) -> F64:
    """log2 x in float64, with the same bits on every machine: of 2ᵉ·m it is e + 2/ln 2 · artanh((m - 1) / (m + 1)).

    0 gives a finite number.
    """
    m, e = np.frexp(x)
    is_small = m < math.sqrt(0.5)
    m = np.where(is_small, 2 * m, m)
    z = (m - 1) / (m + 1)
    series, square = np.zeros_like(z), z * z
    for k in range(21, 0, -2):  # 1 + z²/3 + z⁴/5 + …
        series = series * square + 1 / k
    result: F64 = (e - is_small) + z * series * (2 / math.log(2))
    return result
