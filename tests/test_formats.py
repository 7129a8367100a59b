"""The output formats of a trace, and of scores."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor, Trace, Vocabulary, score_by
from streamlstm.render.formats import FORMATS
from streamlstm.render.records import ScoreTable, format_scores
from streamlstm.text.characters import BYTES_ID, character
from streamlstm.text.score import LEVELS, compare

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
def test_a_record_by_symbol_in_each_format(format, lines):
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
def test_a_record_by_character_in_each_format_has_no_token(format, lines):
    guesses = [[ord("日"), BYTES_ID + 0xFF], [BYTES_ID + 0xE282, ord("e")]]
    trace = traced([ord("é"), ord("日")], guesses, [[0.75, 0.25], [1.0, 0.0]])
    assert FORMATS[format].lines(trace, character, 7) == lines


def test_formats_for_people_show_characters_and_the_others_symbols():
    assert {name: form.by for name, form in FORMATS.items()} == {
        "text": "character", "ansi": "character", "html": "character", "tsv": "symbol", "jsonl": "symbol",
    }  # fmt: skip


@pytest.mark.parametrize("format", ["text", "tsv", "jsonl", "ansi"])
def test_an_empty_trace_has_no_lines(format):
    assert FORMATS[format].lines(traced([], [], []), Vocabulary.bytes().symbol, 0) == ""


@given(st.sets(CHARACTERS, min_size=1, max_size=20))
def test_every_character_is_one_line_of_tsv_that_can_be_split(characters):
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
def test_every_character_is_recovered_from_jsonl(characters):
    vocabulary = Vocabulary.from_text("".join(characters))
    tokens = list(range(len(vocabulary)))
    trace = traced(tokens, [[token] for token in tokens], [[1.0]] * len(tokens))
    output = FORMATS["jsonl"].lines(trace, vocabulary.symbol, 0)
    records = [json.loads(line) for line in output.split("\n")[:-1]]
    assert [record["symbol"] for record in records] == list(vocabulary.characters)
    assert [record["next"][0][0] for record in records] == list(vocabulary.characters)


def test_jsonl_sends_no_control_character_to_a_terminal():
    vocabulary = Vocabulary.from_text("a\x7f\x9b\u202e")
    trace = traced([0, 1, 2, 3], [[1], [2], [3], [0]], [[1.0]] * 4)
    output = FORMATS["jsonl"].lines(trace, vocabulary.symbol, 0)
    assert output.replace("\n", "").isprintable()
    assert [json.loads(line)["symbol"] for line in output.splitlines()] == ["a", "\x7f", "\x9b", "\u202e"]


# Scores


def fresh() -> StreamPredictor:
    predictor = StreamPredictor(config=Config(hidden=16, layers=1))
    predictor.learning = False
    return predictor


@pytest.mark.parametrize(
    ("format", "lines"),
    [
        (
            "text",
            "     line   column   offset         bits  text\n"
            "        1        1        0      32.0000  a\\x9b\n"
            "        1        4        4       8.0000  b\n",
        ),
        (
            "tsv",
            "line\tcolumn\toffset\tbits\ttext\tfile\n1\t1\t0\t32.0\ta\\x9b\tf\\t1\n1\t4\t4\t8.0\tb\tf\\t1\n",
        ),
        (
            "jsonl",
            '{"line":1,"column":1,"offset":0,"bits":32.0,"text":"a\\u009b","file":"f\\t1"}\n'
            '{"line":1,"column":4,"offset":4,"bits":8.0,"text":"b","file":"f\\t1"}\n',
        ),
    ],
)
def test_a_table_of_scores_in_each_format(format, lines):
    assert format_scores(score_by(fresh(), "a\x9b b"), format=format, file="f\t1") == lines


def test_a_record_of_a_whole_file_has_its_symbols_and_its_mean():
    table = format_scores(score_by(fresh(), ["ab", b"c"], "file"), "file", "text", "nats", "f\nx")
    assert table == "symbols\tnats\tnats_per_symbol\tfile\n3\t16.64\t5.5452\tf\\nx\n"
    assert format_scores([], "file") == "symbols\tbits\tbits_per_symbol\tfile\n0\t0.0\t0.0\t-\n"


def test_a_comparison_has_the_ratio_and_the_bits_of_both():
    header, row = format_scores(compare(fresh(), fresh(), "a"), "line").splitlines()
    assert header == "line\tcolumn\toffset\tratio_bits\tbits_a\tbits_b\ttext\tfile"
    assert row == "1\t1\t0\t0.0\t8.0\t8.0\ta\t-"


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\x1b[2Jb"])
@pytest.mark.parametrize("by", LEVELS)
@pytest.mark.parametrize("format", ["text", "tsv", "jsonl"])
def test_no_name_of_a_file_breaks_a_record_or_reaches_the_terminal(name, by, format):
    table = ScoreTable(by, format, "bits", titled=True)
    rows = "".join(table.rows(name, scores) for scores in score_by(fresh(), "x y", by))
    lines = (table.title(name) + rows + table.total(name)).removesuffix("\n").split("\n")
    assert all(line.replace("\t", "").isprintable() for line in lines)
    if format == "tsv":
        assert {line.count("\t") for line in lines} == {table.header.count("\t")}
    if format == "jsonl":
        assert all(json.loads(line)["file"] == name for line in lines)


@pytest.mark.parametrize(("option", "value"), [("by", "page"), ("format", "xml"), ("unit", "bans")])
def test_an_unknown_choice_for_a_table_is_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be one of .*, not '{value}'"):
        format_scores([], **{option: value})
