"""Repair: the most probable characters at the places where a text is unreadable."""

from ..predictor import StreamPredictor
from .alphabet import Alphabet
from .beam import Beam, Candidate, Template
from .complete import check_count

WIDTH = 32
"""How many beginnings with the same number of unknown characters are extended by default."""


def fill(
    predictor: StreamPredictor,
    text: str,
    unknown: str = "?",
    *,
    k: int = 5,
    characters: str | None = None,
    width: int = WIDTH,
) -> list[Candidate]:
    """The k most probable texts that agree with `text`, in which a character stands for each unknown one.

    unknown     the character that marks an unknown one in `text`
    characters  the characters that may stand for an unknown one; default: all of the vocabulary
    width       of the beginnings with the same number of unknown characters, extend only this many

    The most probable text comes first. Each is scored as a whole, with what precedes and what follows the unknown
    characters: its `bits` are the sum of the surprisals of its symbols. The predictor does not change; what it has
    observed is the context to the left.
    Raises ValueError for a value out of its range, and for a symbol that is not in the vocabulary;
    TypeError for a text that is not str.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> bits = predictor.observe_many("the cat sat on the mat. " * 20)
    >>> fill(predictor, "th? c?t sat on", k=1)[0].text
    'the cat sat on'
    """
    check_count("k", k, 0)
    check_count("width", width, 1)
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    if len(unknown) != 1:
        raise ValueError(f"unknown must be one character, not {unknown!r}")
    if characters is not None and not characters:
        raise ValueError("characters must name at least one character")
    template = Template(text.split(unknown), Alphabet(predictor.vocabulary, characters))
    return Beam(predictor, template, width).best(k)
