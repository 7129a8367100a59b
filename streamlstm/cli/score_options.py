"""The options of `score`: what is measured, by which model, and how it is printed."""

from dataclasses import dataclass, replace
from typing import Annotated, Optional

import typer

from .options import ModelOptions, option

FORMATS = ("text", "tsv", "jsonl", "ansi", "html")
HEAT_MAPS = ("ansi", "html")
"""These formats show characters, whatever the level."""


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and how it is printed."""

    by: Annotated[
        Optional[str], option("LEVEL", "symbol, character, word, line or file. [file; with --compare: line]")
    ] = None
    unit: Annotated[str, option("UNIT", "bits, nats or log10.")] = "bits"
    format: Annotated[str, option("FORMAT", "text, tsv, jsonl; heat maps: ansi, html.")] = "text"
    word_boundary: Annotated[
        str, option("SIDE", "Count white space with the word before (trailing) or after it (leading).")
    ] = "trailing"
    context_reset: Annotated[str, option("WHERE", "Reset the context at each line, blank-line or file, or never.")] = (
        "file"
    )
    compare: Annotated[
        Optional[tuple[str, str]],
        option("MODEL_A MODEL_B", "Log-likelihood ratio of two models; positive: A predicts better."),
    ] = None
    explain: Annotated[
        bool, typer.Option("--explain", help="Report the surprisal and the weight of each expert, for each file.")
    ] = False

    @property
    def level(self) -> str:
        """What is scored: symbols, characters, words, lines or files. Raises ValueError for anything else."""
        from ..tasks.score import check_level

        return check_level("--by", self.by or ("line" if self.compare else "file"))

    @property
    def is_heat_map(self) -> bool:
        """Whether the output is a heat map."""
        return self.format in HEAT_MAPS

    def models(self, model: ModelOptions) -> list[ModelOptions]:
        """The model, or the two that are compared."""
        return [replace(model, model=name) for name in self.compare] if self.compare else [model]

    def check(self) -> None:
        """Raise ValueError for a value that is not valid."""
        from ..tasks.score import BOUNDARIES, RESETS, UNITS, check_choice

        check_choice("--unit", self.unit, UNITS)
        check_choice("--format", self.format, FORMATS)
        check_choice("--word-boundary", self.word_boundary, BOUNDARIES)
        check_choice("--context-reset", self.context_reset, RESETS)

    def check_files(self, model: ModelOptions, files: list[str]) -> None:
        """Raise ValueError for options that exclude each other, for these files."""
        if self.compare and model.model is not None:
            raise ValueError("--compare names its models; use it without --model")
        if self.is_heat_map and (self.compare or (self.by and self.level != "character") or len(files) > 1):
            raise ValueError(f"--format {self.format} shows one file by character; use it without --by and --compare")
        if self.explain and (self.compare or self.level != "file" or self.format not in ("text", "tsv")):
            raise ValueError("--explain reports on whole files, as text or tsv; use it without --by and --compare")
        if model.vocab == "text" and len(files) > 1 and self.context_reset == "never":
            raise ValueError("--vocab text takes its characters from one file; use --vocab bytes")

    def check_for_ray(self) -> None:
        """Raise ValueError for options that --engine ray does not have."""
        given = self.format, self.unit, self.word_boundary
        if self.compare or self.explain or given != ("text", "bits", "trailing"):
            raise ValueError("--engine ray writes bits to Parquet files; use it without the options of other outputs")
