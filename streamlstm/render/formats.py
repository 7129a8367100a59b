"""The output formats of a trace: one line per symbol or character for people or for programs, or a heat map."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

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


def _rows(trace: Trace) -> Iterable[tuple[int, float, int, list[int], list[int]]]:
    """The values of each symbol: token, bits, rank, next tokens, next probabilities in ten-thousandths."""
    probabilities = (trace.next_probabilities * 10000 + 0.5).astype(int).tolist()
    return zip(
        trace.tokens.tolist(),
        trace.bits.tolist(),
        trace.ranks.tolist(),
        trace.next_tokens.tolist(),
        probabilities,
        strict=True,
    )


def _experts(trace: Trace, start: str, item: str, separator: str, end: str) -> list[str]:
    """For each symbol the surprisal and the weight of each active expert; "" if the trace has no experts.

    item  the template for one expert, with {name}, {bits} and {weight}
    """
    if trace.experts is None:
        return [""] * len(trace.tokens)
    return [
        start
        + separator.join(
            item.format(name=name, bits=bits, weight=weight)
            for name, (bits, weight) in zip(EXPERTS, values, strict=True)
            if bits or weight
        )
        + end
        for values in trace.experts.tolist()
    ]


def text_lines(trace: Trace, symbol: SymbolOf, first: int) -> str:
    """Aligned columns for people. If the trace has experts, a line of bits × weight follows each record."""
    names, guesses, decimals = _names(symbol, _wide), _names(symbol, _narrow), _decimals()
    experts = _experts(trace, " " * 11, "{name} {bits:.1f} × {weight:.2f}", ", ", "\n")
    return "".join(
        f"{index:>9}  {names[token]} {bits:>8.4f} {rank:>5}  "
        + "  ".join([f"{guesses[t]} {decimals[p]}" for t, p in zip(next_tokens, chances, strict=True)])
        + "\n"
        + experts[index - first]
        for index, (token, bits, rank, next_tokens, chances) in enumerate(_rows(trace), first)
    )


def tsv_lines(trace: Trace, symbol: SymbolOf, first: int) -> str:
    """Tab-separated values: index, symbol, bits, rank, and next, a list of symbol=probability separated by spaces.

    In `next` a space is written as \\x20 and an equals sign as \\x3d.
    """
    names, items, decimals = _names(symbol, escaped), _names(symbol, _item), _decimals()
    experts = _experts(trace, "\t", "{name}={bits:.4f}*{weight:.4f}", ";", "")
    return "".join(
        f"{index}\t{names[token]}\t{bits:.4f}\t{rank}\t"
        + " ".join([f"{items[t]}={decimals[p]}" for t, p in zip(next_tokens, chances, strict=True)])
        + experts[index - first]
        + "\n"
        for index, (token, bits, rank, next_tokens, chances) in enumerate(_rows(trace), first)
    )


def jsonl_lines(trace: Trace, symbol: SymbolOf, first: int) -> str:
    """One JSON object per line. In a trace by symbol it has the token as well."""
    names, decimals = _names(symbol, _json), _decimals()
    experts = _experts(trace, ',"experts":{', '"{name}":[{bits:.4f},{weight:.4f}]', ",", "}")
    tokens = [""] * len(trace.tokens) if symbol is character else [f'"token":{t},' for t in trace.tokens.tolist()]
    return "".join(
        f'{{"index":{index},{tokens[index - first]}"symbol":{names[token]},"bits":{bits:.4f},"rank":{rank},"next":['
        + ",".join([f"[{names[t]},{decimals[p]}]" for t, p in zip(next_tokens, chances, strict=True)])
        + f"]{experts[index - first]}}}\n"
        for index, (token, bits, rank, next_tokens, chances) in enumerate(_rows(trace), first)
    )


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
    "text": Format("character", lambda name, by: "    index  symbol     bits  rank  next\n", text_lines, str),
    "tsv": Format("symbol", lambda name, by: "index\tsymbol\tbits\trank\tnext\n", tsv_lines, str),
    "jsonl": Format("symbol", lambda name, by: "", jsonl_lines, str),
    "ansi": Format(
        "character", lambda name, by: ansi_legend(), lambda trace, symbol, first: ansi_text(trace, symbol), lambda: "\n"
    ),
    "html": Format("character", page_start, lambda trace, symbol, first: page_data(trace, symbol), page_end),
}
