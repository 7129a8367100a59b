"""The command `generate`."""

import sys
from typing import Annotated

import typer

from .command import command
from .options import load_model


@command
def generate(
    model: Annotated[str, typer.Option("--model", metavar="NAME|FILE", help="A bundled or a saved model.")] = "small",
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The text to go on from.")] = "",
    length: Annotated[int, typer.Option("--length", "-n", metavar="N", help="How many symbols.")] = 500,
    temperature: Annotated[float, typer.Option(help="Below 1 sharper, above 1 flatter, 0 always the best.")] = 1.0,
    top_k: Annotated[int, typer.Option(metavar="K", help="Draw from the K best symbols. [0: all]")] = 0,
    top_p: Annotated[float, typer.Option(metavar="P", help="Draw from the best that together reach P. [1: all]")] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed writes the same text.")] = 0,
) -> None:
    """Let a model write: a prompt, and N symbols after it.

    \b
      streamlstm generate --model book.safetensors --prompt "Once upon" -n 300
      streamlstm generate --model book.safetensors --temperature 0.7 --seed 1
    """
    from ..tasks.generate import generate as generate_symbols

    predictor = load_model(model)
    symbols = generate_symbols(predictor, length, prompt, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    out = sys.stdout.buffer
    out.write(prompt.encode("utf-8", "surrogateescape"))
    for symbol in symbols:
        out.write(symbol if isinstance(symbol, bytes) else symbol.encode())
        out.flush()
    out.write(b"\n")
