"""How warm a surprisal is, and its colours: the same in a terminal and in a page."""

from typing import Any

import numpy as np
import numpy.typing as npt

EDGES = (1, 2, 3, 4, 6, 8, 11, 15)
"""Bits from which on the next level begins: level 0 is below 1 bit, level 8 from 15 bits on."""

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
"""Background and text of levels 1 to 8, away from the paper in even steps of lightness: no hue has to be told apart."""


def levels(bits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int_]:
    """The level, 0 to 8, of each surprisal in bits.

    >>> levels(np.array([0.5, 1.0, 7.9, 99.0])).tolist()
    [0, 1, 5, 8]
    """
    return np.searchsorted(EDGES, bits, side="right")


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of "#rrggbb", 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
