"""The output formats of a trace: one line per symbol or character for people or for programs, or a heat map."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from ..memory.memory import EXPERTS
from ..predictor import Trace
from ..text.characters import character
from .escape import display_width, escaped, json_string
from .picture import ansi_legend, ansi_text, page_data, page_end, page_start

SymbolOf = Callable[[int], str | bytes]
"""Returns the symbol of a token: `Vocabulary.symbol`, or `character` for a trace of `trace_characters`."""


class _NameCache(dict[int, str]):
    """The formatted symbol of each token, made when it is first needed."""

    def __init__(self, symbol: SymbolOf, name: Callable[[str | bytes], str]) -> None:
        self._symbol, self._name = symbol, name

    def __missing__(self, token: int) -> str:
        name = self[token] = self._name(self._symbol(token))
        return name


@cache
def _names(symbol: SymbolOf, name: Callable[[str | bytes], str]) -> _NameCache:
    return _NameCache(symbol, name)


def _json(symbol: str | bytes) -> str:
    """A symbol as a JSON string; bytes that are not valid UTF-8 are written as the text of their escape."""
    return json_string(escaped(symbol) if isinstance(symbol, bytes) else symbol)


def _wide(symbol: str | bytes) -> str:
    """A symbol for a column of width 6."""
    return _padded(escaped(symbol), 6)


def _narrow(symbol: str | bytes) -> str:
    """A symbol for a column of width 2."""
    return _padded(escaped(symbol), 2)


def _padded(name: str, width: int) -> str:
    """A name padded with spaces to a width in terminal columns, of which a wide character takes two."""
    return name + " " * (width - display_width(name))


def _item(symbol: str | bytes) -> str:
    """A symbol for a list of symbol=probability, without a space or an equals sign."""
    return {" ": "\\x20", "=": "\\x3d"}.get(name := escaped(symbol), name)


@cache
def _decimals() -> list[str]:
    """0.0000, 0.0001, … 1.0000: this table is five times as fast as formatting."""
    return [f"{n / 10000:.4f}" for n in range(10001)]


class Experts(NamedTuple):
    """How the experts of a record are written: `start`, one `item` for each, separated, and `end`."""

    start: str
    item: str
    separator: str
    end: str

    def of(self, values_of_symbols: list[list[list[float]]]) -> list[str]:
        """For each symbol the surprisal and the weight of each active expert."""
        return [
            self.start
            + self.separator.join(
                self.item % (name, bits, weight)
                for name, (bits, weight) in zip(EXPERTS, values, strict=True)
                if bits or weight
            )
            + self.end
            for values in values_of_symbols
        ]


class Records(NamedTuple):
    """How a trace is written, one record for each symbol.

    record     a template for index, token, symbol, bits, rank, next and experts
    token      a template for the token, in a trace by symbol
    symbol     how a symbol is written
    guess      a template for one of the most probable next symbols, and its probability
    next       how a symbol is written there
    separator  between two of these
    experts    how the experts are written
    """

    record: str
    token: str
    symbol: Callable[[str | bytes], str]
    guess: str
    next: Callable[[str | bytes], str]
    separator: str
    experts: Experts

    def of(self, trace: Trace, symbol_of: SymbolOf, first: int) -> str:
        """The records of a trace, whose first symbol has the index `first`."""
        record, guess, join, decimals = self.record, self.guess, self.separator.join, _decimals()
        names, guesses = _names(symbol_of, self.symbol), _names(symbol_of, self.next)
        tokens = trace.tokens.tolist()
        columns = (
            range(first, first + len(tokens)),
            tokens if self.token and symbol_of is not character else [None] * len(tokens),
            tokens,
            trace.bits.tolist(),
            trace.ranks.tolist(),
            trace.next_tokens.tolist(),
            (trace.next_probabilities * 10000 + 0.5).astype(int).tolist(),
            [""] * len(tokens) if trace.experts is None else self.experts.of(trace.experts.tolist()),
        )
        written = []
        for index, token, id, bits, rank, next_tokens, chances, experts in zip(*columns, strict=True):
            named = "" if token is None else self.token % token
            best = [guess % (guesses[t], decimals[p]) for t, p in zip(next_tokens, chances, strict=True)]
            written.append(record % (index, named, names[id], bits, rank, join(best), experts))
        return "".join(written)


TEXT = Records(
    "%9d  %s%s %8.4f %5d  %s\n%s",
    "",
    _wide,
    "%s %s",
    _narrow,
    "  ",
    Experts(" " * 11, "%s %.1f × %.2f", ", ", "\n"),
)
"""Aligned columns for people. If the trace has experts, a line of bits × weight follows each record."""

TSV = Records(
    "%d\t%s%s\t%.4f\t%d\t%s%s\n",
    "",
    escaped,
    "%s=%s",
    _item,
    " ",
    Experts("\t", "%s=%.4f*%.4f", ";", ""),
)
"""Tab-separated values: index, symbol, bits, rank, and next, a list of symbol=probability separated by spaces.

In `next` a space is written as \\x20 and an equals sign as \\x3d.
"""

JSONL = Records(
    '{"index":%d,%s"symbol":%s,"bits":%.4f,"rank":%d,"next":[%s]%s}\n',
    '"token":%d,',
    _json,
    "[%s,%s]",
    _json,
    ",",
    Experts(',"experts":{', '"%s":[%.4f,%.4f]', ",", "}"),
)
"""One JSON object per line. In a trace by symbol it has the token as well."""


@dataclass(frozen=True)
class Format:
    """An output format for a stream of traces.

    by     its default unit, "character" or "symbol"
    start  the first lines, from the name of the stream and the unit
    lines  the lines of a trace, from the trace, the function that names its tokens, and the index of its first symbol
    end    the last lines
    """

    by: str
    start: Callable[[str, str], str]
    lines: Callable[[Trace, SymbolOf, int], str]
    end: Callable[[], str]


FORMATS = {
    "text": Format("character", lambda name, by: "    index  symbol     bits  rank  next\n", TEXT.of, str),
    "tsv": Format("symbol", lambda name, by: "index\tsymbol\tbits\trank\tnext\n", TSV.of, str),
    "jsonl": Format("symbol", lambda name, by: "", JSONL.of, str),
    "ansi": Format(
        "character", lambda name, by: ansi_legend(), lambda trace, symbol, first: ansi_text(trace, symbol), lambda: "\n"
    ),
    "html": Format("character", page_start, lambda trace, symbol, first: page_data(trace, symbol), page_end),
}
