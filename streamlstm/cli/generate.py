"""The commands that find text with a model: `generate`, `complete` and `fill`."""

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..render.escape import terminal_lines
from .command import command
from .options import load_model

if TYPE_CHECKING:
    from ..search.beam import Candidate

BundledOrSaved = Annotated[str, typer.Option("--model", metavar="NAME|FILE", help="A bundled or a saved model.")]


@command
def generate(
    model: BundledOrSaved = "small",
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The text to continue.")] = "",
    length: Annotated[int, typer.Option("--length", "-n", metavar="N", help="How many characters to generate.")] = 500,
    temperature: Annotated[
        float,
        typer.Option(metavar="T", help="Below 1: more predictable. Above 1: more varied. 0: the most probable one."),
    ] = 0.9,
    top_k: Annotated[
        int, typer.Option(metavar="K", help="Draw only from the K most probable characters. 0: from all.")
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(
            metavar="P", help="Draw only from the most probable characters whose probabilities sum to P. 1: from all."
        ),
    ] = 0.95,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Seed of the random draws: the same seed gives the same text.")
    ] = 0,
) -> None:
    """Generate text that continues a prompt.

    Prints the prompt and then N characters, each drawn from the model's prediction. The model does not learn from them.
    On a terminal, characters that are not printable are shown as escapes.

    \b
      streamlstm generate --prompt "Once upon a time" -n 300
      streamlstm generate --model book.safetensors --temperature 0.7 --seed 1
      streamlstm generate --temperature 1 --top-p 1
    """
    from ..search.generate import generate as generate_characters
    from ..system.process import Interruptible

    predictor = load_model(model)
    characters = generate_characters(
        predictor, length, prompt, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    out, is_terminal = sys.stdout.buffer, sys.stdout.isatty()

    def write(text: str) -> None:
        shown = terminal_lines(text) if is_terminal else text
        out.write(shown.encode("utf-8", "surrogateescape"))

    with Interruptible() as control:
        write(prompt)
        for character in characters:
            write(character)
            out.flush()
            if control.interrupted:
                break
        out.write(b"\n")
        out.flush()
    control.raise_if_interrupted()


@command
def complete(
    model: BundledOrSaved = "small",
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
    from ..search.beam import complete as best_completions

    write_candidates(best_completions(load_model(model), k, prompt, length=length, stop=stop, width=width))


def write_candidates(candidates: "list[Candidate]") -> None:
    """Write the texts with their surprisals to stdout, as a table."""
    from ..render.escape import escaped_text

    sys.stdout.write("bits\ttext\n")
    for text, bits in candidates:
        sys.stdout.write(f"{bits:.2f}\t{escaped_text(text)}\n")


@command
def fill(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The text, with a mark for each unknown character.")],
    model: BundledOrSaved = "small",
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
    from ..search.beam import fill as best_texts

    write_candidates(best_texts(load_model(model), text, unknown, k=k, characters=characters, width=width))
