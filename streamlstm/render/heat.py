"""The levels of surprisal and their colours, for terminals and for web pages."""

from typing import Any

import numpy as np
import numpy.typing as npt

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
