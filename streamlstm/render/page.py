"""The heat map of a browser: one file that needs no network, with what was expected at each place."""

import html
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ..predictor import Trace
from .heat import EDGES, PALETTES


@cache
def _template() -> tuple[str, str]:
    """What `page.html` has before and after the data."""
    start, _, end = (Path(__file__).parent / "page.html").read_text("utf-8").partition("<!-- data -->\n")
    return start, end


def _palette(theme: str) -> str:
    return " ".join(f"--back-{n}: {b}; --ink-{n}: {ink};" for n, (b, ink) in enumerate(PALETTES[theme], 1))


def page_start(title: str, unit: str) -> str:
    """The page up to its data; `unit` is what one cell of the map is, "character" or "symbol"."""
    parts = {
        "/* light palette */": _palette("light"),
        "/* dark palette */": _palette("dark"),
        "{title}": html.escape(title),
        "{unit}": unit,
        "{edges}": json.dumps(EDGES),
    }
    start, _ = _template()
    for mark, part in parts.items():
        start = start.replace(mark, part)
    return start


def page_data(trace: Trace, symbol: Callable[[int], str | bytes]) -> str:
    """A part of the text, for the page to read when it opens: compact JSON in hundredths of a bit and thousandths.

    `guesses` has k characters for each of `text`: what was expected after it.
    """
    values = {
        "text": "".join(_sign(symbol(token)) for token in trace.tokens.tolist()),
        "bits": (trace.bits * 100 + 0.5).astype(int).tolist(),
        "k": trace.next_tokens.shape[1],
        "guesses": "".join(_sign(symbol(token)) for token in trace.next_tokens.ravel().tolist()),
        "chances": (trace.next_probabilities * 1000 + 0.5).astype(int).ravel().tolist(),
    }
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    text = re.sub("[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", text)
    return f'<script type="application/json">{text}</script>\n'


def _sign(symbol: str | bytes) -> str:
    """One code unit of the data: a character, a byte that is none, or the sign for several such bytes."""
    if isinstance(symbol, str):
        return symbol
    return chr(0xDC00 + symbol[0]) if len(symbol) == 1 else "\ufffd"


def page_end() -> str:
    """The page after its data."""
    return _template()[1]
