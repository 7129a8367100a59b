"""A picture of how surprising a text is, for a terminal, a browser or a notebook."""

import html
from dataclasses import dataclass

from ..predictor import StreamPredictor, Trace
from ..tasks.characters import character, trace_characters
from ..vocabulary import Symbols
from .ansi import ansi_legend, ansi_text
from .page import page_data, page_end, page_start


@dataclass(frozen=True)
class Picture:
    """The characters of a text with their surprisals and what was expected after each; shows itself in a notebook.

    trace  of `trace_characters`
    title  what the page is headed
    """

    trace: Trace
    title: str = "text"

    def ansi(self) -> str:
        """The text in colours for a terminal, after a legend."""
        return ansi_legend() + ansi_text(self.trace, character)

    def html(self) -> str:
        """One page that needs nothing else: point at a character, and it tells what was expected there."""
        return page_start(self.title, "character") + page_data(self.trace, character) + page_end()

    def _repr_html_(self) -> str:
        page = html.escape(self.html())
        return f'<iframe srcdoc="{page}" sandbox="allow-scripts" width="100%" height="480" frameborder="0"></iframe>'


def picture(predictor: StreamPredictor, text: Symbols, k: int = 5, title: str = "text") -> Picture:
    """Observe a text and picture its surprisals, with the k best guesses at each character.

    >>> from streamlstm import StreamPredictor
    >>> print(picture(StreamPredictor(), "naïve").ansi().count("ï"))
    1
    """
    return Picture(trace_characters(predictor, text, k), title)
