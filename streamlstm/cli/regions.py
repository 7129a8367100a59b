"""The command `regions`."""

import sys
from typing import Annotated, Any, Optional

import typer

from .command import command
from .options import ModelOptions, check_experts, option


@command
def regions(
    model: ModelOptions,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="A table with the columns id, text and perhaps passage; - is stdin."),
    ],
    first: Annotated[int, option("K", "Also score the first K characters of each region.")] = 3,
    order: Annotated[float, option("A", "Order of the Rényi entropy.")] = 0.5,
    separator: Annotated[str, option("TEXT", "The text between two regions.")] = " ",
    text: Annotated[str, option("NAME", "The column of the text.")] = "text",
    split: Annotated[
        Optional[str], option("words", "Each row is a sentence: measure its words, and keep all columns.")
    ] = None,
    format: Annotated[str, option("FORMAT", "tsv, csv or jsonl.")] = "tsv",
    explain: Annotated[bool, typer.Option("--explain", help="Add the surprisal under each expert alone.")] = False,
) -> None:
    """Measure the regions of a reading experiment, or its words.

    FILE is a table separated by tabs, or in CSV, with the names of the columns in its first row. Prints the table with
    the surprisal and entropy of each region in bits, by both rules for white space, and those of the two regions before
    it. The context is reset where the passage changes. With --split words, each row is a sentence, the context is reset
    before each, and there is a row for each word, with its number in the column word.

    \b
      streamlstm regions stories.tsv --freeze > measures.tsv
      streamlstm regions items.csv --text sentence --split words --freeze --format csv > words.csv
      streamlstm regions words.tsv --model book.safetensors --first 4
    """
    from ..integrations.regions import (
        FORMATS,
        read_regions,
        read_sentences,
        region_table,
        sentence_table,
        write_regions,
    )
    from ..text.score import check_choice

    check_choice("--format", format, FORMATS)
    if split is not None:
        check_choice("--split", split, ("words",))
    if split and separator != " ":
        raise ValueError("--separator is for regions; it cannot be used with --split")
    if model.vocab == "text":
        raise ValueError("--vocab text takes its characters from the input; use a model of bytes, or a saved model")
    predictor = model.predictor()
    if explain:
        check_experts(predictor)
    how: dict[str, Any] = {"first": first, "order": order, "explain": explain}
    if split:
        table = sentence_table(predictor, read_sentences(file), text, **how)
    else:
        table = region_table(predictor, read_regions(file, text), separator=separator, **how)
    write_regions(table, sys.stdout, format)
