"""The command `score`."""

import typer

from .command import command
from .options import Files, ModelOptions


@command
def score(
    files: Files,
    model: ModelOptions,
) -> None:
    """How surprising each file is: its symbols, their surprisals in bits, and the mean.

    Each file is read by the model as it was at the start, whatever the files before it taught.

    \b
      streamlstm score chapter1.txt chapter2.txt
      streamlstm score --model book.safetensors --freeze sequel.txt
    """
    from ..score import score as score_text
    from ..streams import Interruptible, open_input

    typer.echo("symbols\tbits\tbits_per_symbol\tfile")
    with Interruptible() as control:
        for file in files:
            with open_input(file) as source:
                predictor, parts = model.open(source, control)
                result = score_text(predictor, parts)
            if control.interrupted:
                raise KeyboardInterrupt
            typer.echo(f"{result.n_symbols}\t{result.bits:.2f}\t{result.bits_per_symbol:.4f}\t{file}")
