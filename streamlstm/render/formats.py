"""How a trace is written down: one line per symbol or character, for people or for machines, or a heat map."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from unicodedata import combining, east_asian_width

from ..memory.memory import EXPERTS
from ..predictor import Trace
from ..tasks.characters import character
from ..tasks.characters import written as written
from .ansi import ansi_legend, ansi_text
from .page import page_data, page_end, page_start

SymbolOf = Callable[[int], str | bytes]
"""What names the tokens of a trace: `Vocabulary.symbol`, or `character` for those of `trace_characters`."""


class _Names(dict[int, str]):
    """How each token is written, found when it is first asked for."""

    def __init__(self, symbol: SymbolOf, name: Callable[[str | bytes], str]) -> None:
        self._symbol, self._name = symbol, name

    def __missing__(self, token: int) -> str:
        name = self[token] = self._name(self._symbol(token))
        return name


@cache
def _names(symbol: SymbolOf, name: Callable[[str | bytes], str]) -> _Names:
    return _Names(symbol, name)


def _plain(symbol: str | bytes) -> str:
    """A symbol as it stands in JSON: itself, or \\xff for a byte that is no text."""
    return json.dumps(written(symbol) if isinstance(symbol, bytes) else symbol, ensure_ascii=False)


def _wide(symbol: str | bytes) -> str:
    """A symbol as it stands in a column of 6."""
    return _filled(written(symbol), 6)


def _narrow(symbol: str | bytes) -> str:
    """A symbol as it stands in a column of 2."""
    return _filled(written(symbol), 2)


def _filled(name: str, width: int) -> str:
    """A name filled up with spaces to so many columns of a terminal; an ideograph takes two."""
    taken = sum(0 if combining(sign) else 2 if east_asian_width(sign) in "WF" else 1 for sign in name)
    return name + " " * (width - taken)


def _part(symbol: str | bytes) -> str:
    """A symbol as it stands in a list with spaces between and an equals sign after it."""
    return {" ": "\\x20", "=": "\\x3d"}.get(name := written(symbol), name)


@cache
def _decimals() -> list[str]:
    """0.0000, 0.0001, … 1.0000: a look-up is five times as fast as formatting."""
    return [f"{n / 10000:.4f}" for n in range(10001)]


def _rows(trace: Trace) -> Iterable[tuple[int, float, int, list[int], list[int]]]:
    """Plain values of each symbol: token, bits, rank, next tokens, next probabilities in ten-thousandths."""
    probabilities = (trace.next_probabilities * 10000 + 0.5).astype(int).tolist()
    return zip(
        trace.tokens.tolist(),
        trace.bits.tolist(),
        trace.ranks.tolist(),
        trace.next_tokens.tolist(),
        probabilities,
        strict=True,
    )


def _explained(trace: Trace, before: str, part: str, between: str, after: str) -> list[str]:
    """For each symbol what the experts that spoke would have paid for it, and their weights; "" if nobody asked.

    part  how one is written, with {name}, {bits} and {weight}
    """
    if trace.experts is None:
        return [""] * len(trace.tokens)
    return [
        before
        + between.join(
            part.format(name=name, bits=bits, weight=weight)
            for name, (bits, weight) in zip(EXPERTS, said, strict=True)
            if bits or weight
        )
        + after
        for said in trace.experts.tolist()
    ]


def text_lines(trace: Trace, symbol: SymbolOf, first: int) -> str:
    """Aligned columns for people; under a record what the experts said, if asked for: bits × weight."""
    names, guesses, decimals = _names(symbol, _wide), _names(symbol, _narrow), _decimals()
    said = _explained(trace, " " * 11, "{name} {bits:.1f} × {weight:.2f}", ", ", "\n")
    return "".join(
        f"{index:>9}  {names[token]} {bits:>8.4f} {rank:>5}  "
        + "  ".join([f"{guesses[t]} {decimals[p]}" for t, p in zip(after, chances, strict=True)])
        + "\n"
        + said[index - first]
        for index, (token, bits, rank, after, chances) in enumerate(_rows(trace), first)
    )


def tsv_lines(trace: Trace, symbol: SymbolOf, first: int) -> str:
    """Tab-separated: index, symbol, bits, rank, and next as symbol=probability with spaces between.

    A space and an equals sign are written \\x20 and \\x3d in `next`, so that it can be split.
    """
    names, parts, decimals = _names(symbol, written), _names(symbol, _part), _decimals()
    said = _explained(trace, "\t", "{name}={bits:.4f}*{weight:.4f}", ";", "")
    return "".join(
        f"{index}\t{names[token]}\t{bits:.4f}\t{rank}\t"
        + " ".join([f"{parts[t]}={decimals[p]}" for t, p in zip(after, chances, strict=True)])
        + said[index - first]
        + "\n"
        for index, (token, bits, rank, after, chances) in enumerate(_rows(trace), first)
    )


def jsonl_lines(trace: Trace, symbol: SymbolOf, first: int) -> str:
    """One JSON object per line, with the token where it is the vocabulary's and no character's."""
    names, decimals = _names(symbol, _plain), _decimals()
    said = _explained(trace, ',"experts":{', '"{name}":[{bits:.4f},{weight:.4f}]', ",", "}")
    tokens = [""] * len(trace.tokens) if symbol is character else [f'"token":{t},' for t in trace.tokens.tolist()]
    return "".join(
        f'{{"index":{index},{tokens[index - first]}"symbol":{names[token]},"bits":{bits:.4f},"rank":{rank},"next":['
        + ",".join([f"[{names[t]},{decimals[p]}]" for t, p in zip(after, chances, strict=True)])
        + f"]{said[index - first]}}}\n"
        for index, (token, bits, rank, after, chances) in enumerate(_rows(trace), first)
    )


@dataclass(frozen=True)
class Format:
    """How a stream of traces is written: before the first, each of them, after the last.

    by     what it tells of by default, "character" or "symbol"
    start  the first lines, given the stream's name and what it tells of
    lines  those of a trace; `symbol` names its tokens, the index of its first symbol is given
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
