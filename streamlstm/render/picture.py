"""A heat map of the surprisal of a text, for a terminal, a browser or a notebook."""

import html
from dataclasses import dataclass

from ..predictor import StreamPredictor, Trace
from ..tasks.characters import character, trace_characters
from ..vocabulary import Symbols
from .ansi import ansi_legend, ansi_text
from .page import page_data, page_end, page_start


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
