"""The numbers in the specification are those of the compiled code.

The examples in it are run by `test_docs`, and `test_decoder` decodes archives with nothing but what it says.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from streamlstm.kernels import descent
from streamlstm.memory import counts, experts, layout, matches, mixture
from streamlstm.predictor.weights import RATIO_WITHOUT_MEMORY
from streamlstm.reference import arithmetic

PAGES = Path(__file__).parent.parent / "docs" / "pages" / "formats"


def section(page: str, heading: str) -> str:
    """A section of a page, without its heading."""
    content = (PAGES / f"{page}.md").read_text("utf-8")
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", content, re.M | re.S)[1]


def rows(content: str) -> list[list[str]]:
    """The rows of the tables in a text, without those of the headings."""
    lines = [line.strip("|").split("|") for line in content.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines if not line[0].startswith("---")]


def numbers(text: str) -> set[float]:
    """The decimal numbers with a point or an exponent."""
    return {float(number) for number in re.findall(r"-?\d+(?:\.\d+(?:e-?\d+)?|e-?\d+)", text.replace("−", "-"))}


def test_the_functions_have_the_constants_of_the_code():
    polynomials = (arithmetic.EXP, arithmetic.LN, arithmetic.TANH_NUMERATOR, arithmetic.TANH_DENOMINATOR)
    others = {
        1.44269504,
        0.693359375,
        -2.12194440e-4,
        7.9053111,
        -7.9053111,
        0.69314718,
        0.703952253,
        2.38924456,
        0.5,
        1.5,
    }
    assert numbers(section("numbers", "Functions").partition("```")[0]) == others.union(*polynomials)
    assert f"0x{counts.HASH_FACTOR:X}" in section("numbers", "Hashes")


def test_the_rows_of_adjustments_begin_where_they_do():
    first = {name: int(at) for name, at, number in rows(section("memory", "The mixture")) if at.isdecimal()}
    names = {"last symbol": "SYMBOL", "surprisals": "SURPRISAL", "classes": "CLASS"}
    assert len(first) == layout.N_ACTIVE_ROWS
    assert first == {name: getattr(layout, f"{names.get(name, name.upper())}_ROWS") for name in first}


def test_the_weights_have_the_shapes_of_the_code():
    shapes = {name: shape for name, shape, _ in rows(section("memory", "Weights")) if name != "part"}
    V = 100
    sizes = {name: math.prod(eval_shape(shape, V)) for name, shape in shapes.items()}
    ends = dict(zip(sizes, np.cumsum(list(sizes.values())).tolist(), strict=True))
    assert ends["padding"] == layout.EXPERT_WEIGHTS
    assert ends["`expert`"] == layout.MATCH_WEIGHTS
    assert ends["`match`"] == layout.LATEST_WEIGHTS
    assert ends["`latest`"] == layout.CURVATURE
    assert ends["`inverse`"] == layout.ADJUSTMENTS
    assert ends["`adjustment`"] == layout.uses_at(V)
    assert ends["`uses`"] == layout.weights_size(V)


def eval_shape(shape: str, V: int) -> list[int]:
    """The numbers of a shape such as (1658 + V) × 16."""
    return [
        sum(V if term == "V" else int(term) for term in part.strip("( )").split(" + ")) for part in shape.split("×")
    ]


def test_the_state_lies_where_it_does():
    starts = [int(at) for cell, _ in rows(section("memory", "State")) for at in cell.split(", ") if at.isdecimal()]
    scalars = list(range(layout.MATCH))
    of_matches = [layout.MATCH, layout.MATCH_LENGTH, layout.MATCH_MISSES, layout.MATCH_RECOVERIES, layout.MATCH_TOKEN]
    others = [layout.MATCH_BUCKET, layout.SURPRISALS, layout.FIELD_ABOVE, layout.OPEN, layout.RECENT]
    assert starts == scalars + of_matches + others
    assert f"has {layout.STATE_SIZE} numbers" in section("memory", "State")
    assert f"{layout.SURPRISALS - layout.MATCH_BUCKET} numbers that are computed" in section("memory", "State")


@pytest.mark.parametrize(
    ("page", "heading", "constants"),
    [
        ("memory", "Counts", [experts.ORDER_LIMIT, experts.EXTRA_LIMIT, counts.MAX_ENTRIES, counts.MAX_RUN]),
        ("memory", "Distributions", [experts.DISCOUNT, experts.MAX_BACKOFF]),
        ("memory", "Matches", [*matches.MIN_LENGTHS, matches.MAX_CHECKED, matches.MAX_MISSES]),
        ("memory", "The mixture", [1e-8, 1e-7, layout.N_COLUMNS - 1, layout.N_FIELDS - 1, layout.N_AGES - 1]),
        ("memory", "Learning", [mixture.CURVATURE_RATE, mixture.MIXING_RATE, mixture.ROW_BASE, mixture.ROW_HALF_LIFE]),
        ("memory", "Learning", [mixture.MATCH_RATE, mixture.LATEST_RATE, experts.BACKOFF_RATE, mixture.NEWTON_EVERY]),
        ("network", "When the network learns", [descent.DECAY, RATIO_WITHOUT_MEMORY]),
    ],
)
def test_the_constants_are_those_of_the_code(page, heading, constants):
    words = re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", section(page, heading))
    found = {np.float32(word) for word in words}
    assert [constant for constant in constants if np.float32(constant) not in found] == []
