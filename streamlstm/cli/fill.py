"""The command `fill`."""

from typing import Annotated, Optional

import typer

from .command import command
from .complete import write_candidates
from .options import load_model


@command
def fill(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text, with a mark for each unknown character.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME|FILE", help="A bundled or a saved model.")] = "small",
    unknown: Annotated[str, typer.Option(metavar="CHAR", help="The mark of an unknown character.")] = "?",
    k: Annotated[int, typer.Option("-k", metavar="K", help="How many texts to print.")] = 5,
    characters: Annotated[
        Optional[str], typer.Option(metavar="CHARS", help="What an unknown character may be. [any character]")
    ] = None,
    width: Annotated[
        Optional[int], typer.Option(metavar="N", help="Beam width. More: slower, more exact. [128, or 2 K]")
    ] = None,
) -> None:
    """Fill in the unknown characters of a text.

    Prints the K most probable texts, the most probable first, each with its surprisal in bits. A text is scored as a
    whole, by what precedes and what follows the unknown characters.

    \b
      streamlstm fill "th? c?t sat on the mat"
      streamlstm fill "Total: 1#4.50" --unknown "#" --characters 0123456789
      streamlstm fill "ARRI?ING MOND?Y" --model telegrams.safetensors -k 1
    """
    from ..tasks.fill import fill as best_texts

    write_candidates(best_texts(load_model(model), text, unknown, k=k, characters=characters, width=width))
