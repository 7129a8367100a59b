"""The heat map of a text, whose colours show the surprisal of each character.

For a terminal it is text on coloured backgrounds. For a browser it is a self-contained page that also shows what was
expected at each position; a notebook shows that page in a frame.
"""

import html
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..predictor import StreamPredictor, Trace
from ..text.characters import character, trace_characters
from ..vocabulary import Symbols
from .escape import escaped, printable_json, terminal_text

EDGES = (1, 2, 3, 4, 6, 8, 11, 15)
"""The bits at which levels 1 to 8 start; level 0 is below 1 bit."""

PALETTES = {
    "light": (
        *((background, "#1c1b19") for background in ("#fdf1d3", "#fbe0a3", "#f6c670", "#eda64f", "#df8443")),
        *((background, "#ffffff") for background in ("#b64f3c", "#86304a", "#4d1a4f")),
    ),
    "dark": (
        *((background, "#ffffff") for background in ("#2a1e3c", "#43234f", "#64295b", "#8c3259", "#b3434c")),
        *((background, "#1c1b19") for background in ("#e07a3f", "#f2a340", "#fbd863")),
    ),
}
"""Colours of background and text for levels 1 to 8, in even steps of lightness, so that the hue does not matter."""


def levels(bits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int_]:
    """The level of each surprisal in bits, int [n], from 0 to 8.

    >>> levels(np.array([0.5, 1.0, 7.9, 99.0])).tolist()
    [0, 1, 5, 8]
    """
    return np.searchsorted(EDGES, bits, side="right")


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of "#rrggbb", each 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


_RESET = "\x1b[0m"
_OF_256 = {"light": (230, 222, 215, 209, 173, 131, 89, 53), "dark": (17, 53, 89, 125, 161, 173, 215, 221)}
"""The backgrounds of the palettes for terminals of 256 colours, in steps of lightness as even as those allow."""
_ATTRIBUTES = ("", "", "", ";4", ";4", ";1;4", ";1;4", ";7", ";1;7")
"""The attributes of each level for terminals without colour: underlined, bold, reversed."""


def _styles() -> list[str]:
    """The escape sequence of each level, chosen for the terminal by NO_COLOR, COLORTERM and COLORFGBG."""
    if os.environ.get("NO_COLOR"):
        return [f"\x1b[0{attributes}m" for attributes in _ATTRIBUTES]
    theme = "light" if os.environ.get("COLORFGBG", "").endswith((";7", ";15")) else "dark"
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        codes = [f"48;2;{_channels(back)};38;2;{_channels(ink)}" for back, ink in PALETTES[theme]]
    else:
        inks = [231 if ink == "#ffffff" else 16 for _, ink in PALETTES[theme]]
        codes = [f"48;5;{back};38;5;{ink}" for back, ink in zip(_OF_256[theme], inks, strict=True)]
    return [_RESET, *(f"\x1b[{code}m" for code in codes)]


def _channels(colour: str) -> str:
    return ";".join(map(str, rgb(colour)))


def ansi_legend() -> str:
    """One line that shows the colour of each level and the bits at which it starts."""
    names = ["0", *map(str, EDGES)]
    return "bits " + "".join(f"{style} {name} " for style, name in zip(_styles(), names, strict=True)) + _RESET + "\n"


@cache
def _cell(symbol: str | bytes) -> str:
    """A symbol for the heat map: control characters, which a terminal would obey, are escaped."""
    return symbol if isinstance(symbol, str) and symbol in "\t\\" else escaped(symbol)


def ansi_text(trace: Trace, symbol: Callable[[int], str | bytes]) -> str:
    """The text of a trace, coloured; `symbol` names its tokens. A newline of 2 bits or more is shown as ↵."""
    styles, current, chunks = _styles(), 0, []
    for token, level in zip(trace.tokens.tolist(), levels(trace.bits).tolist(), strict=True):
        character = symbol(token)
        is_break = character == "\n"
        if level != current and not (is_break and level < 2):
            chunks.append(styles[level])
            current = level
        if not is_break:
            chunks.append(_cell(character))
            continue
        if level >= 2:
            chunks.append("↵")
        chunks.append(f"{_RESET}\n" if current else "\n")
        current = 0
    return "".join(chunks) + (_RESET if current else "")


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


@dataclass(frozen=True, eq=False)
class Picture:
    """The heat map of a text. A notebook displays it.

    trace  a trace of `trace_characters`
    title  the heading of the page
    """

    trace: Trace
    title: str = "text"

    def ansi(self) -> str:
        """A legend and the coloured text, for a terminal."""
        return ansi_legend() + ansi_text(self.trace, character)

    def html(self) -> str:
        """A self-contained web page; point at a character to see what was expected there."""
        return page_start(self.title, "character") + page_data(self.trace, character) + page_end()

    def _repr_html_(self) -> str:
        page = html.escape(self.html())
        return f'<iframe srcdoc="{page}" sandbox="allow-scripts" width="100%" height="480" frameborder="0"></iframe>'


def picture(predictor: StreamPredictor, text: Symbols, top: int = 5, title: str = "text") -> Picture:
    """Observe a text, and return the heat map of its surprisal.

    text   str, or bytes of UTF-8
    top    how many of the most probable characters to show at each position
    title  the heading of the page

    Raises ValueError, with nothing changed, if the vocabulary lacks one of the characters.

    >>> from streamlstm import StreamPredictor
    >>> print(picture(StreamPredictor(), "naïve").ansi().count("ï"))
    1
    """
    return Picture(trace_characters(predictor, text, top), title)
