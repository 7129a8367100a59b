"""The command `complete`."""

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from .command import command
from .options import load_model

if TYPE_CHECKING:
    from ..tasks.beam import Candidate


@command
def complete(
    model: Annotated[str, typer.Option("--model", metavar="NAME|FILE", help="A bundled or a saved model.")] = "small",
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The text to complete.")] = "",
    k: Annotated[int, typer.Option("-k", metavar="K", help="How many completions to print.")] = 5,
    length: Annotated[
        Optional[int], typer.Option("--length", "-n", metavar="N", help="Complete by N characters instead of a word.")
    ] = None,
    stop: Annotated[
        Optional[str],
        typer.Option(
            metavar="CHARS", help="End before the first of these characters. [white space and punctuation, without -n]"
        ),
    ] = None,
    width: Annotated[
        Optional[int], typer.Option(metavar="N", help="Beam width. More: slower, more exact. [32, or 2 K]")
    ] = None,
) -> None:
    """Print the most probable completions of a word or a text.

    Prints the K most probable continuations of the prompt, the most probable first, each with its surprisal in bits.
    They are whole characters. An empty one stands for a word that is complete already.

    \b
      streamlstm complete --prompt "It rains in the mount"
      streamlstm complete --prompt "The weather " -n 12 -k 3
      streamlstm complete --prompt "def " --stop "(:" --model code.safetensors
    """
    from ..tasks.complete import complete as best_completions

    write_candidates(best_completions(load_model(model), k, prompt, length=length, stop=stop, width=width))


def write_candidates(candidates: "list[Candidate]") -> None:
    """Write the texts with their surprisals to stdout, as a table."""
    from ..render.escape import escaped_text

    sys.stdout.write("bits\ttext\n")
    for text, bits in candidates:
        sys.stdout.write(f"{bits:.2f}\t{escaped_text(text)}\n")
