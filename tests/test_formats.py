"""How a trace is written down."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Trace, Vocabulary
from streamlstm.render.formats import FORMATS
from streamlstm.tasks.characters import BROKEN, character

CHARACTERS = st.characters(exclude_categories=["Cs"])


def traced(tokens: list[int], next_tokens: list[list[int]], chances: list[list[float]]) -> Trace:
    n, k = len(tokens), len(next_tokens[0]) if next_tokens else 0
    return Trace(
        np.array(tokens, dtype=np.int32),
        np.linspace(0.5, 12.25, n).astype(np.float32),
        np.arange(1, n + 1, dtype=np.int32),
        np.array(next_tokens, dtype=np.int32).reshape(n, k),
        np.array(chances, dtype=np.float32).reshape(n, k),
    )


@pytest.mark.parametrize(
    ("format", "lines"),
    [
        (
            "text",
            "        7  a        0.5000     1  =  0.7500  \\xff 0.2500\n"
            "        8  \\n      12.2500     2     1.0000  \\\\ 0.0000\n",
        ),
        ("tsv", "7\ta\t0.5000\t1\t\\x3d=0.7500 \\xff=0.2500\n8\t\\n\t12.2500\t2\t\\x20=1.0000 \\\\=0.0000\n"),
        (
            "jsonl",
            '{"index":7,"token":97,"symbol":"a","bits":0.5000,"rank":1,"next":[["=",0.7500],["\\\\xff",0.2500]]}\n'
            '{"index":8,"token":10,"symbol":"\\n","bits":12.2500,"rank":2,"next":[[" ",1.0000],["\\\\",0.0000]]}\n',
        ),
    ],
)
def test_a_record_of_each_format_is_written_like_this(format, lines):
    trace = traced([97, 10], [[61, 255], [32, 92]], [[0.75, 0.25], [1.0, 0.0]])
    assert FORMATS[format].lines(trace, Vocabulary.bytes().symbol, 7) == lines


@pytest.mark.parametrize(
    ("format", "lines"),
    [
        (
            "text",
            "        7  é        0.5000     1  日 0.7500  \\xff 0.2500\n"
            "        8  日      12.2500     2  \\xe2\\x82 1.0000  e  0.0000\n",
        ),
        ("tsv", "7\té\t0.5000\t1\t日=0.7500 \\xff=0.2500\n8\t日\t12.2500\t2\t\\xe2\\x82=1.0000 e=0.0000\n"),
        (
            "jsonl",
            '{"index":7,"symbol":"é","bits":0.5000,"rank":1,"next":[["日",0.7500],["\\\\xff",0.2500]]}\n'
            '{"index":8,"symbol":"日","bits":12.2500,"rank":2,"next":[["\\\\xe2\\\\x82",1.0000],["e",0.0000]]}\n',
        ),
    ],
)
def test_a_record_of_a_character_is_written_like_this_without_a_token(format, lines):
    guesses = [[ord("日"), BROKEN + 0xFF], [BROKEN + 0xE282, ord("e")]]
    trace = traced([ord("é"), ord("日")], guesses, [[0.75, 0.25], [1.0, 0.0]])
    assert FORMATS[format].lines(trace, character, 7) == lines


def test_people_read_characters_and_machines_symbols():
    assert {name: form.by for name, form in FORMATS.items()} == {
        "text": "character", "ansi": "character", "html": "character", "tsv": "symbol", "jsonl": "symbol",
    }  # fmt: skip


@pytest.mark.parametrize("format", ["text", "tsv", "jsonl", "ansi"])
def test_no_symbols_make_no_lines(format):
    assert FORMATS[format].lines(traced([], [], []), Vocabulary.bytes().symbol, 0) == ""


@given(st.sets(CHARACTERS, min_size=1, max_size=20))
def test_every_character_makes_one_line_of_tsv_that_can_be_split(characters):
    vocabulary = Vocabulary.from_text("".join(characters))
    tokens = list(range(len(vocabulary)))
    trace = traced(tokens, [[token, 0] for token in tokens], [[0.5, 0.5]] * len(tokens))
    lines = FORMATS["tsv"].lines(trace, vocabulary.symbol, 0).splitlines()
    assert len(lines) == len(tokens)
    for token, line in enumerate(lines):
        index, _, bits, rank, after = line.split("\t")
        assert (int(index), float(bits), int(rank)) == (token, pytest.approx(trace.bits[token], abs=6e-5), token + 1)
        assert [float(part.split("=")[1]) for part in after.split(" ")] == [0.5, 0.5]
    assert len({line.split("\t")[1] for line in lines}) == len(tokens)


@given(st.sets(CHARACTERS, min_size=1, max_size=20))
def test_every_character_comes_back_from_jsonl(characters):
    vocabulary = Vocabulary.from_text("".join(characters))
    tokens = list(range(len(vocabulary)))
    trace = traced(tokens, [[token] for token in tokens], [[1.0]] * len(tokens))
    output = FORMATS["jsonl"].lines(trace, vocabulary.symbol, 0)
    records = [json.loads(line) for line in output.split("\n")[:-1]]
    assert [record["symbol"] for record in records] == list(vocabulary.characters)
    assert [record["next"][0][0] for record in records] == list(vocabulary.characters)
