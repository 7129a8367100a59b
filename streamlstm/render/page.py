"""The heat map for a browser: a self-contained page that also shows what was expected at each position."""

import html
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ..predictor import Trace
from .escape import printable_json, terminal_text
from .heat import EDGES, PALETTES


@cache
def _template() -> tuple[str, str]:
    """The parts of `page.html` before and after the data."""
    start, _, end = (Path(__file__).parent / "page.html").read_text("utf-8").partition("<!-- data -->\n")
    return start, end


def _palette(theme: str) -> str:
    return " ".join(f"--back-{n}: {b}; --ink-{n}: {ink};" for n, (b, ink) in enumerate(PALETTES[theme], 1))


def page_start(title: str, unit: str) -> str:
    """The page up to its data; `unit` is what each cell of the map shows, "character" or "symbol"."""
    values = {
        "/* light palette */": _palette("light"),
        "/* dark palette */": _palette("dark"),
        "{title}": html.escape(terminal_text(title)),
        "{unit}": unit,
        "{edges}": json.dumps(EDGES),
    }
    start, _ = _template()
    placeholders = "|".join(map(re.escape, values))
    return re.sub(placeholders, lambda found: values[found[0]], start)  # one pass: a title may contain a placeholder


def page_data(trace: Trace, symbol: Callable[[int], str | bytes]) -> str:
    """The data of a trace as compact JSON, which the page reads when it opens.

    text     the characters
    bits     their surprisals in hundredths of a bit
    k        the number of guesses for each character
    guesses  the k most probable characters after each of `text`, and `chances` their probabilities in thousandths
    """
    values = {
        "text": "".join(_code_unit(symbol(token)) for token in trace.tokens.tolist()),
        "bits": (trace.bits * 100 + 0.5).astype(int).tolist(),
        "k": trace.next_tokens.shape[1],
        "guesses": "".join(_code_unit(symbol(token)) for token in trace.next_tokens.ravel().tolist()),
        "chances": (trace.next_probabilities * 1000 + 0.5).astype(int).ravel().tolist(),
    }
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json">{printable_json(text)}</script>\n'


def _code_unit(symbol: str | bytes) -> str:
    """A symbol as one character: an escaped byte if it is a byte, U+FFFD if it is several."""
    if isinstance(symbol, str):
        return symbol
    return chr(0xDC00 + symbol[0]) if len(symbol) == 1 else "\ufffd"


def page_end() -> str:
    """The rest of the page, after its data."""
    return _template()[1]
