"""The command `regions`."""

import sys
from typing import Annotated

import typer

from .command import command
from .options import ModelOptions


@command
def regions(
    model: ModelOptions,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A table with the columns id, text and perhaps passage.")],
    first: Annotated[int, typer.Option(metavar="K", help="Also score the first K characters of each region.")] = 3,
    order: Annotated[float, typer.Option(metavar="A", help="Order of the Rényi entropy.")] = 0.5,
    separator: Annotated[str, typer.Option(metavar="TEXT", help="The text between two regions.")] = " ",
) -> None:
    """Measure the regions of a reading experiment.

    FILE is a table separated by tabs, with the names of the columns in its first row. Prints the table with the
    surprisal and entropy of each region in bits, by both rules for white space, and those of the two regions before it.
    The context is reset where the passage changes.

    \b
      streamlstm regions stories.tsv --freeze > measures.tsv
      streamlstm regions words.tsv --model book.safetensors --first 4
    """
    from ..integrations.regions import read_regions, region_table, write_regions

    if model.vocab == "text":
        raise ValueError("--vocab text takes its characters from the input; use a model of bytes, or a saved model")
    rows = read_regions(file)
    table = region_table(model.predictor(), rows, first=first, order=order, separator=separator)
    write_regions(table, sys.stdout)
