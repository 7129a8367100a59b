"""The command `generate`."""

import sys
from typing import Annotated

import typer

from ..render.escape import terminal_lines
from .command import command
from .options import load_model


@command
def generate(
    model: Annotated[str, typer.Option("--model", metavar="NAME|FILE", help="A bundled or a saved model.")] = "small",
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
    from ..tasks.generate import generate as generate_characters
    from ..tasks.signals import Interruptible

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
