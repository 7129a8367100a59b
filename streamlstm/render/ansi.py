"""The heat map for a terminal: text on a background whose colour shows its surprisal."""

import os
from collections.abc import Callable
from functools import cache

from ..predictor import Trace
from .escape import escaped
from .heat import EDGES, PALETTES, levels, rgb

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
