"""How a trace is written down: one line per symbol, for people or for machines."""

import json
from collections.abc import Callable, Iterable
from functools import cache

from .predictor import Trace
from .vocabulary import Vocabulary


def written(symbol: str | bytes) -> str:
    r"""A symbol as it stands in a table: itself, or an escape if it does not print, such as \n or \xff.

    >>> written("é"), written("\n"), written(b"\xff"), written("\\")
    ('é', '\\n', '\\xff', '\\\\')
    """
    if isinstance(symbol, bytes):
        return f"\\x{symbol[0]:02x}"
    if symbol == "\\":
        return "\\\\"
    return symbol if symbol.isprintable() else symbol.encode("unicode_escape").decode()


def _plain(symbol: str | bytes) -> str:
    """A symbol as it stands in JSON: itself, or \\xff for a byte that is no text."""
    return json.dumps(written(symbol) if isinstance(symbol, bytes) else symbol, ensure_ascii=False)


@cache
def _names(vocabulary: Vocabulary, name: Callable[[str | bytes], str]) -> list[str]:
    return [name(vocabulary.symbol(token)) for token in range(len(vocabulary))]


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


def text_lines(trace: Trace, vocabulary: Vocabulary, first: int) -> str:
    """Aligned columns for people."""
    names, decimals = _names(vocabulary, written), _decimals()
    return "".join(
        f"{index:>9}  {names[token]:<6} {bits:>8.4f} {rank:>5}  "
        + "  ".join([f"{names[t]:<2} {decimals[p]}" for t, p in zip(after, chances, strict=True)])
        + "\n"
        for index, (token, bits, rank, after, chances) in enumerate(_rows(trace), first)
    )


def tsv_lines(trace: Trace, vocabulary: Vocabulary, first: int) -> str:
    """Tab-separated: index, symbol, bits, rank, and next as symbol=probability with spaces between.

    A space and an equals sign are written \\x20 and \\x3d in `next`, so that it can be split.
    """
    names, decimals = _names(vocabulary, written), _decimals()
    parts = [{" ": "\\x20", "=": "\\x3d"}.get(name, name) for name in names]
    return "".join(
        f"{index}\t{names[token]}\t{bits:.4f}\t{rank}\t"
        + " ".join([f"{parts[t]}={decimals[p]}" for t, p in zip(after, chances, strict=True)])
        + "\n"
        for index, (token, bits, rank, after, chances) in enumerate(_rows(trace), first)
    )


def jsonl_lines(trace: Trace, vocabulary: Vocabulary, first: int) -> str:
    """One JSON object per line."""
    names, decimals = _names(vocabulary, _plain), _decimals()
    return "".join(
        f'{{"index":{index},"token":{token},"symbol":{names[token]},"bits":{bits:.4f},"rank":{rank},"next":['
        + ",".join([f"[{names[t]},{decimals[p]}]" for t, p in zip(after, chances, strict=True)])
        + "]}\n"
        for index, (token, bits, rank, after, chances) in enumerate(_rows(trace), first)
    )


FORMATS: dict[str, tuple[str, Callable[[Trace, Vocabulary, int], str]]] = {
    "text": ("    index  symbol     bits  rank  next\n", text_lines),
    "tsv": ("index\tsymbol\tbits\trank\tnext\n", tsv_lines),
    "jsonl": ("", jsonl_lines),
}
"""By name: the header, and the function that writes the lines of a trace whose first symbol has a given index."""
