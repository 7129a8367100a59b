"""Completion: the most probable continuations of a text."""

import string

from ..predictor import StreamPredictor
from ..ranges import check_count
from ..vocabulary import Symbols
from .alphabet import Alphabet
from .beam import Beam, Candidate, Template, beam_width

WORD_ENDS = string.whitespace + "".join(sorted(set(string.punctuation) - set("'-_")))
"""The characters before which a completed word ends."""

LONGEST = 64
"""The most characters of a completion without `length`."""

WIDTH = 32
"""The default width: in 40 texts of four kinds, the five most probable words were those of an unlimited search."""


def complete(
    predictor: StreamPredictor,
    k: int = 5,
    prompt: Symbols = "",
    *,
    length: int | None = None,
    stop: str | None = None,
    width: int | None = None,
) -> list[Candidate]:
    """The k most probable continuations of `prompt`, the most probable first. The predictor does not change.

    length  each has this many characters, or ends earlier if `stop` is given too
    stop    each ends before the first of these characters, or after 64; its probability is that it ends with any of
            them. Default, without `length`: white space and punctuation but for ' - _, which completes the word
    width   of the beam: keep only this many hypotheses of each length; default: 32, or 2 k if that is more

    All characters are whole, also with a byte vocabulary, whose symbols are single bytes; a prompt of bytes must end
    with a complete one. A `Candidate` has its `text`, without the prompt, and its surprisal in `bits`. The empty text
    stands for a word that is complete already.
    Raises ValueError for a value out of its range, and for a prompt with a symbol that is not in the vocabulary.

    >>> from streamlstm import StreamPredictor
    >>> predictor = StreamPredictor()
    >>> bits = predictor.observe_many("the weather is nice today. " * 20)
    >>> complete(predictor, k=1, prompt="the wea")[0].text
    'ther'
    """
    width, k = beam_width(width, k, WIDTH)
    if length is not None:
        length = check_count("length", length, 0)
    elif stop is None:
        stop = WORD_ENDS
    vocabulary = predictor.vocabulary
    known = "".join(each for each in stop or "" if vocabulary.characters is None or each in vocabulary)
    if length is None and not known:
        raise ValueError(f"without a length, stop must name characters of the vocabulary, not {stop!r}")
    reader = predictor.fork(learning=False)
    reader.observe_many(prompt)
    n = LONGEST if length is None else length
    template = Template([""] * (n + 1), Alphabet(vocabulary, without=known), known)
    return Beam(reader, template, width).best(k)
