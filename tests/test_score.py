"""Surprisal by symbol, character, word, line and file: in Python and on the command line."""

import csv
import io
import json
import math
import os
import re
import signal
from functools import partial

import numpy as np
import pytest
from allocation import allocated_by
from commands import run, start
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import TINY, assert_refused, bytes_of, next_line, objects

from streamlstm import Config, StreamPredictor, Vocabulary, score_by, score_many
from streamlstm.memory.memory import EXPERTS
from streamlstm.reference.model import read_model
from streamlstm.reference.stream import ReferenceStream
from streamlstm.render.records import format_scores
from streamlstm.text.score import BOUNDARIES, LEVELS, RESETS, UNITS, compare, expert_report, score
from streamlstm.text.units import MAX_TEXT, Scores

TEXT = "  One two,  thréé\n\n  four 日本 x\\\r\n \nend\n \n".encode() + b"\xff\xfe broken \xe3\x81"
PARTS = st.lists(
    st.one_of(st.binary(max_size=9), st.sampled_from([b"a b", b"\n", b" \n", "é日".encode()])), max_size=12
)


def reader(vocabulary=None, learning=False):
    """A predictor that has seen a little and expects some symbols more than others."""
    predictor = StreamPredictor(vocabulary, Config(hidden=16, layers=1, window=8, memory_bits=10))
    predictor.observe_many("one two, three\nfour x end\n" * 20)
    predictor.learning = learning
    return predictor


READER = reader()


def rows(parts, by, predictor=READER, **options):
    """All units as tuples: bits, symbols, line, column, offset, text."""
    found = []
    for table in score_by(predictor.fork(), parts, by, **options):
        arrays = (table.bits, table.n_symbols, table.lines, table.columns, table.offsets)
        found += zip(*(array.tolist() for array in arrays), table.texts, strict=True)
    return found


def texts(parts, by, **options):
    return [row[-1] for row in rows(parts, by, **options)]


# What a unit is


def test_words_are_separated_by_white_space_and_include_punctuation():
    assert texts([TEXT], "word")[:7] == ["One", "two,", "thréé", "four", "日本", "x\\", "end"]


def test_a_line_ends_with_a_newline_and_may_be_empty():
    assert texts([TEXT], "line") == [
        "  One two,  thréé",
        "",
        "  four 日本 x\\\r",
        " ",
        "end",
        " ",
        "\udcff\udcfe broken \udce3\udc81",
    ]


def test_a_character_is_a_code_point_for_a_byte_model_too():
    symbols = rows([TEXT], "symbol")
    characters = rows([TEXT], "character")
    assert "".join(row[-1] for row in characters) == TEXT.decode("utf-8", "surrogateescape")
    (kanji,) = (row for row in characters if row[-1] == "日")
    its_bytes = [row for row in symbols if kanji[4] <= row[4] < kanji[4] + 3]
    assert kanji[1] == 3
    assert kanji[0] == pytest.approx(sum(row[0] for row in its_bytes), abs=1e-9)


def test_the_symbols_of_a_byte_model_are_what_observe_many_returns():
    found = rows([TEXT], "symbol")
    assert np.array_equal(np.float32([row[0] for row in found]), READER.fork().observe_many(TEXT))
    assert [row[4] for row in found] == list(range(len(TEXT)))


def test_white_space_is_charged_to_the_word_before_or_after_it():
    bits = [row[0] for row in rows([b" ab  c d\n"], "character")]
    trailing, leading = ([row[0] for row in rows([b" ab  c d\n"], "word", word_boundary=side)] for side in BOUNDARIES)
    np.testing.assert_allclose(trailing, [sum(bits[:5]), sum(bits[5:7]), sum(bits[7:])], atol=1e-9)
    np.testing.assert_allclose(leading, [sum(bits[:3]), sum(bits[3:6]), sum(bits[6:])], atol=1e-9)


def test_white_space_alone_is_one_word_with_an_empty_text():
    (row,) = rows([b" ", b"\n"], "word")
    assert row[1:] == (2, 1, 1, 0, "")


def test_an_empty_text_has_no_units():
    assert all(rows(parts, by) == [] for by in LEVELS for parts in ([], [b""]))


def test_positions_point_to_the_text_of_the_unit():
    lines = TEXT.decode("utf-8", "surrogateescape").split("\n")
    for by in ("character", "word", "line"):
        for _, _, line, column, offset, text in rows([TEXT], by):
            assert TEXT[offset:].decode("utf-8", "surrogateescape").startswith(text)
            assert (lines[line - 1] + "\n")[column - 1 :].startswith(text)


@given(PARTS, st.sampled_from(BOUNDARIES), st.sampled_from(RESETS))
@settings(max_examples=60)
def test_the_totals_agree_at_every_level_and_splitting_the_text_into_parts_changes_no_unit(parts, boundary, reset):
    whole = b"".join(parts)
    totals = []
    for by in LEVELS:
        options = {"word_boundary": boundary, "context_reset": reset}
        one, many = rows([whole], by, **options), rows(parts, by, **options)
        assert [row[1:] for row in one] == [row[1:] for row in many]
        np.testing.assert_allclose([row[0] for row in one], [row[0] for row in many], atol=1e-9)
        totals.append((sum(row[1] for row in one), sum(row[0] for row in one)))
        assert [row[4] for row in one] == sorted(row[4] for row in one)
    assert all(n == len(whole) for n, _ in totals)
    assert max(bits for _, bits in totals) - min(bits for _, bits in totals) < 1e-6


@given(st.text(st.sampled_from("ab é日\n\t")))
@settings(max_examples=60)
def test_words_are_those_of_str_split_and_lines_those_of_a_text_file(text):
    assert [word for word in texts([text], "word") if word] == text.split()
    assert texts([text], "line") == [line.removesuffix("\n") for line in re.findall(r"[^\n]*\n|[^\n]+", text)]


def test_the_predictor_learns_while_units_are_scored():
    predictor, twin = reader(learning=True), reader(learning=True)
    (file,) = rows([TEXT * 9], "file", predictor)
    assert file[0] == pytest.approx(float(twin.observe_many(TEXT * 9).sum(dtype=np.float64)), abs=1e-6)


def test_a_text_model_reads_invalid_bytes_as_the_replacement_character():
    predictor = StreamPredictor(Vocabulary.from_text("ab \ufffd"), Config(hidden=16, layers=1))
    predictor.learning = False
    found = rows([b"a\xff b"], "character", predictor)
    assert [(row[0], row[-1]) for row in found] == [(2.0, "a"), (2.0, "\udcff"), (2.0, " "), (2.0, "b")]
    assert [row[4] for row in found] == [0, 1, 2, 3]


@pytest.mark.parametrize(("by", "filler"), [("line", "x "), ("word", "xy")])
@pytest.mark.parametrize("in_parts", [True, False])
def test_the_text_of_a_long_unit_is_truncated_and_its_bits_are_not(by, filler, in_parts):
    text = filler * (MAX_TEXT // 2 + 500)
    frozen = StreamPredictor(config=Config(hidden=16, layers=1))
    frozen.learning = False
    parts = [text[start : start + 999] for start in range(0, len(text), 999)] if in_parts else text
    end = "\nend" if by == "line" else " end"
    first, last = rows([*parts, end] if in_parts else parts + end, by, frozen)
    assert first[-1] == text[:MAX_TEXT] + "…"
    assert first[:2] == (8.0 * (len(text) + 1), len(text) + 1)
    assert last[2:] == (2 if by == "line" else 1, 1 if by == "line" else len(text) + 2, len(text) + 1, "end")


@pytest.mark.parametrize(("by", "symbol"), [("line", "x"), ("word", "x"), ("word", " ")])
def test_memory_does_not_grow_with_a_text_without_separators(by, symbol):
    frozen = StreamPredictor(config=Config(hidden=16, layers=1, memory=False))
    frozen.learning = False

    def score(n_blocks):
        blocks = (symbol * 8000 for _ in range(n_blocks))  # each is a new str
        for _ in score_by(frozen.fork(), blocks, by):
            pass

    short, long = (allocated_by(partial(score, n_blocks)).peak for n_blocks in (15, 45))
    assert long < short + 100_000


def test_a_unit_at_the_limit_is_not_truncated():
    assert texts(["x" * MAX_TEXT], "line") == ["x" * MAX_TEXT]


def test_a_text_may_be_one_str_or_bytes_or_many_parts():
    for by in LEVELS:
        expected = rows([TEXT], by)
        assert rows(TEXT, by) == expected
        assert rows(TEXT.decode("utf-8", "surrogateescape"), by) == expected
    other = reader().fork()
    one, many = (
        [list(map(list, (a.bits, b.bits))) for a, b in compare(READER.fork(), other.fork(), text)]
        for text in (TEXT, [TEXT])
    )
    assert one == many
    assert score(READER.fork(), TEXT) == score(READER.fork(), [TEXT])
    report = expert_report(READER.fork(), TEXT)
    assert report == expert_report(READER.fork(), [TEXT])
    assert [each.name for each in report] == [*EXPERTS, "all together"]


def test_char_is_accepted_for_character():
    assert rows(TEXT, "char") == rows(TEXT, "character")


def test_scores_are_compared_by_identity():
    (one, *_), (other, *_) = (list(score_by(READER.fork(), "a b")) for _ in range(2))
    assert one == one
    assert one != other


# The context


def cold(text):
    predictor = READER.fork()
    predictor.reset()
    return float(predictor.observe_many(text).sum(dtype=np.float64))


def test_context_reset_line_scores_each_line_as_the_first():
    found = rows([b"one two,\nthr", b"ee\n\nfour x end"], "line", context_reset="line")
    np.testing.assert_allclose(
        [row[0] for row in found], [cold("one two,\n"), cold("three\n"), cold("\n"), cold("four x end")], atol=1e-9
    )


def test_context_reset_blank_line_scores_each_paragraph_as_the_first():
    text = b"one two,\nthree\n \n\nfour x\nend\n"
    for parts in ([text], [text[:17], text[17:]], [bytes([byte]) for byte in text]):
        found = rows(parts, "line", context_reset="blank-line")
        assert sum(row[0] for row in found[:4]) == pytest.approx(cold("one two,\nthree\n \n\n"), abs=1e-9)
        assert sum(row[0] for row in found[4:]) == pytest.approx(cold("four x\nend\n"), abs=1e-9)


def test_without_a_reset_the_context_continues():
    (row,) = rows([TEXT], "file")
    assert row[0] == pytest.approx(score(READER.fork(), [TEXT]).bits, abs=1e-6)


# Candidates and comparisons


def test_score_many_scores_each_text_after_the_prefix_and_changes_nothing():
    predictor = reader(learning=True)
    before = predictor.predict()
    bits = score_many(predictor, ["two", "four", ""], prefix="one ")
    frozen = predictor.fork()
    frozen.learning = False
    frozen.observe_many("one ")
    assert bits[0] == frozen.fork().observe_many("two").sum(dtype=np.float64)
    assert bits[0] < bits[1]
    assert bits[2] == 0
    assert np.array_equal(predictor.predict(), before)
    assert len(score_many(predictor, [])) == 0


@pytest.mark.parametrize("texts", ["cat", b"cat"])
def test_score_many_refuses_a_single_text(texts):
    with pytest.raises(TypeError, match=r"texts must be a list of texts, not one (str|bytes); use \[text\]"):
        score_many(READER, texts)


def test_compare_yields_pairs_of_scores_of_the_same_units():
    other = StreamPredictor(config=Config(hidden=16, layers=1))
    other.learning = False
    parts = (part for part in [TEXT[:20], TEXT[20:]])
    pairs = list(compare(READER.fork(), other, parts, "word"))
    a = np.concatenate([one.bits for one, _ in pairs])
    b = np.concatenate([two.bits for _, two in pairs])
    assert [text for one, _ in pairs for text in one.texts] == [text for _, two in pairs for text in two.texts]
    np.testing.assert_allclose(a, [row[0] for row in rows([TEXT[:20], TEXT[20:]], "word")])
    assert b.sum() == pytest.approx(8 * len(TEXT))


def test_compare_refuses_symbols_of_different_kinds():
    text_model = StreamPredictor(Vocabulary.from_text("ab"), Config(hidden=16, layers=1))
    with pytest.raises(ValueError, match="by character"):
        compare(READER, text_model, ["ab"], "symbol")


@pytest.mark.parametrize("option", ["by", "word_boundary", "context_reset"])
def test_an_unknown_choice_is_refused_at_once(option):
    with pytest.raises(ValueError, match=f"{option} must be one of .*, not 'x'"):
        score_by(READER, [], **{option: "x"})


# The command line


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    (folder / "text").write_bytes(TEXT)
    reader(learning=True).save(folder / "a")
    StreamPredictor(config=Config(hidden=16, layers=1)).save(folder / "b")
    return folder


def table(output):
    header, *lines = (line.split("\t") for line in output.decode().splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


@pytest.mark.parametrize("unit", ["bits", "nats", "log10"])
def test_the_column_is_named_after_the_unit_and_the_totals_agree(files, unit):
    factor = {"bits": 1, "nats": math.log(2), "log10": math.log10(2)}[unit]
    expected = factor * score(StreamPredictor.load(files / "a"), [TEXT]).bits
    for by in LEVELS:
        arguments = ["score", files / "text", "--model", files / "a", "--by", by, "--unit", unit]
        as_json = objects(run(*arguments, "--format", "jsonl").stdout)
        as_tsv = table(run(*arguments, "--format", "tsv").stdout)
        assert sum(record[unit] for record in as_json) == pytest.approx(expected, abs=1e-6)
        assert [float(row[unit]) for row in as_tsv] == [record[unit] for record in as_json]


def test_each_record_has_its_position_and_its_text(files):
    found = objects(run("score", files / "text", "--model", files / "a", "--by", "word", "--format", "jsonl").stdout)
    assert list(found[0]) == ["line", "column", "offset", "bits", "text", "file"]
    assert sum("text_base64" in record for record in found) == 2
    for record in found:
        assert TEXT[record["offset"] :].startswith(bytes_of(record, "text"))
    assert [(record["line"], record["column"]) for record in found[:4]] == [(1, 3), (1, 7), (1, 13), (3, 3)]


def test_text_is_aligned_and_unprintable_characters_are_escaped(files):
    header, *lines = run("score", files / "text", "--model", files / "a", "--by", "line").stdout.decode().splitlines()
    assert header.split() == ["line", "column", "offset", "bits", "text"]
    assert [line.split()[:3] for line in lines[:3]] == [["1", "1", "0"], ["2", "1", "20"], ["3", "1", "21"]]
    assert lines[2].endswith("four 日本 x\\\\\\r")
    assert lines[-1].endswith("\\xff\\xfe broken \\xe3\\x81")


def test_each_file_is_read_by_the_model_as_it_was_or_all_as_one_stream(files):
    arguments = ["score", files / "text", files / "text", "--model", files / "a", "--format", "jsonl"]
    first, second = objects(run(*arguments).stdout)
    assert first == second
    first_of_stream, second_of_stream = objects(run(*arguments, "--context-reset", "never").stdout)
    assert first_of_stream == first
    both = score(StreamPredictor.load(files / "a"), [TEXT, TEXT]).bits
    assert first_of_stream["bits"] + second_of_stream["bits"] == pytest.approx(both, abs=1e-6)


def test_context_reset_line_is_that_of_the_python_api(files):
    output = run(
        "score", "-", "--model", files / "a", "--by", "line", "--context-reset", "line", "--format", "jsonl", stdin=TEXT
    )
    found = rows([TEXT], "line", StreamPredictor.load(files / "a"), context_reset="line")
    np.testing.assert_allclose([record["bits"] for record in objects(output.stdout)], [row[0] for row in found])


def test_compare_writes_the_log_likelihood_ratio_of_each_line(files):
    output = run("score", files / "text", "--compare", files / "a", files / "b", "--freeze", "--format", "jsonl").stdout
    found = objects(output)
    assert [record["line"] for record in found] == [1, 2, 3, 4, 5, 6, 7]
    assert all(record["ratio_bits"] == record["bits_b"] - record["bits_a"] for record in found)
    assert found[4]["ratio_bits"] > 0  # "end" stands in what a has seen, b expects every byte alike
    (total,) = table(
        run("score", files / "text", "--compare", files / "a", files / "b", "--freeze", "--by", "file").stdout
    )
    assert float(total["ratio_bits"]) == pytest.approx(sum(record["ratio_bits"] for record in found), abs=0.01)


def test_from_a_pipe_each_unit_is_written_as_soon_as_it_is_complete():
    for by, first, then in (("line", b"one two\n", b""), ("word", b"one t", b""), ("character", b"o", b"")):
        with start("score", "-", *TINY, "--by", by) as process:
            assert b"text" in next_line(process)
            process.stdin.write(first)
            assert next_line(process).split()[0] == b"1"
            process.stdin.write(then)
            process.stdin.close()
            process.stdout.read()
            assert process.stderr.read() == b""
        assert process.returncode == 0


def test_ctrl_c_writes_complete_units_only():
    with start("score", "-", *TINY, "--by", "line", "--format", "jsonl") as process:
        process.stdin.write(b"one\ntwo\nthr")
        lines = [next_line(process), next_line(process)]
        process.send_signal(signal.SIGINT)
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    assert process.returncode == 130
    assert [json.loads(line)["text"] for line in lines] == ["one", "two"]


def test_a_closed_pipe_ends_score_with_141(tmp_path):
    (tmp_path / "text").write_bytes(TEXT * 2000)
    with start("score", tmp_path / "text", *TINY, "--by", "character") as process:
        next_line(process)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_every_byte_is_accepted_at_every_level():
    data = bytes(range(256)) * 2
    for by in LEVELS:
        found = objects(run("score", *TINY, "--freeze", "--by", by, "--format", "jsonl", stdin=data).stdout)
        assert sum(record["bits"] for record in found) == pytest.approx(8 * 512, abs=1e-6)


def test_a_fresh_text_model_has_the_characters_of_the_file():
    options = ["--vocab", "text", *TINY, "--freeze", "--by", "character", "--format", "jsonl"]
    found = objects(run("score", *options, stdin="aé日b".encode()).stdout)
    assert [(record["text"], record["bits"], record["offset"]) for record in found] == [
        ("a", 2.0, 0), ("é", 2.0, 1), ("日", 2.0, 3), ("b", 2.0, 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--by", "page"], ["--by", "page", "word"]),
        (["--unit", "bans"], ["--unit", "bans", "nats"]),
        (["--format", "xml"], ["--format", "xml", "jsonl"]),
        (["--word-boundary", "middle"], ["--word-boundary", "middle", "trailing"]),
        (["--context-reset", "page"], ["--context-reset", "page", "blank-line"]),
        (["--compare", "small", "no-such-model"], ["no-such-model"]),
        (["--compare", "small", "small", "--model", "small"], ["--compare", "--model"]),
        (["--compare", "small", "small", "--hidden", "16"], ["--hidden"]),
    ],
)
def test_an_invalid_option_is_refused_with_its_name_and_value(arguments, words):
    result = run("score", *arguments, stdin=b"abc")
    assert_refused(result, *words)
    assert result.stdout == b""


def test_compare_with_one_model_is_a_usage_error():
    assert run("score", "--compare", "small").returncode == 2


def test_output_that_is_not_utf8_has_every_record():
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = run("score", *TINY, "--by", "word", "--format", "jsonl", stdin="日本 x".encode(), env=latin)
    assert [record["text"] for record in objects(result.stdout)] == ["日本", "x"]


@pytest.mark.parametrize("format", ["ansi", "html"])
def test_a_heat_map_of_a_file_contains_its_words(tmp_path, format):
    (tmp_path / "text").write_text("naïve words\n" * 3)
    result = run("score", tmp_path / "text", *TINY, "--format", format)
    assert result.returncode == 0, result.stderr
    shown = re.sub(r"\x1b\[[\d;]*m", "", result.stdout.decode())
    assert ("naïve words" in shown) if format == "ansi" else shown.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "html", "--by", "word"],
        ["--explain", "--format", "html"],
        ["--explain", "--format", "jsonl"],
        ["--explain", "--by", "word", "--compare", "small", "none"],
    ],
)
def test_a_heat_map_by_word_and_an_explanation_of_two_models_or_in_colours_are_refused(tmp_path, options):
    (tmp_path / "text").write_text("words\n")
    result = run("score", tmp_path / "text", *TINY, *options)
    assert result.returncode == 1
    assert re.fullmatch(rb"streamlstm: [^\n]+\n", result.stderr)


def test_explain_reports_on_each_expert_and_on_all_together(tmp_path):
    (tmp_path / "text").write_text("the same words, the same words\n" * 9)
    header, *rows = run("score", tmp_path / "text", *TINY, "--explain").stdout.decode().splitlines()
    assert header.split("\t") == ["active", "bits_per_symbol", "weight", "expert", "file"]
    table = {row.split("\t")[3]: [float(cell) for cell in row.split("\t")[:3]] for row in rows}
    assert list(table) == [*EXPERTS, "all together"]
    assert table["network"][0] == 1
    assert table["all together"][1] < table["network"][1]


@settings(max_examples=60, deadline=None)
@given(PARTS, st.sampled_from(LEVELS), st.sampled_from(BOUNDARIES), st.sampled_from(RESETS), st.booleans())
def test_an_explanation_changes_nothing_and_its_totals_are_the_same_at_every_level(parts, by, boundary, resets, learn):
    start = reader(learning=learn) if learn else READER
    options = {"word_boundary": boundary, "context_reset": resets}
    plain = list(score_by(start.fork(), parts, by, **options))
    explained = list(score_by(start.fork(), parts, by, **options, explain=True))
    for a, b in zip(plain, explained, strict=True):
        assert a.alone is None
        assert b.alone.shape == (len(b.bits), len(EXPERTS))
        assert np.array_equal(a.bits, b.bits)
        assert a.texts == b.texts
    symbols = list(score_by(start.fork(), [b"".join(parts)], "symbol", context_reset=resets, explain=True))
    total = np.concatenate([each.alone for each in symbols]).sum(axis=0)
    assert np.allclose(np.concatenate([each.alone for each in explained]).sum(axis=0), total, rtol=1e-9, atol=1e-9)
    assert not np.isnan(total).any()


def test_what_an_expert_gives_alone_is_what_the_specification_says_of_its_context(tmp_path):
    # An expert that is silent in a trace has the distribution of its context too: that it backs off to.
    predictor, text = StreamPredictor(None, Config(16, 1, memory_bits=10)), "one two, [three]\n\tfour 2.5 one\n" * 3
    predictor.save(tmp_path / "model.safetensors")
    reference = ReferenceStream(read_model((tmp_path / "model.safetensors").read_bytes()))
    alone = np.concatenate([each.alone for each in score_by(predictor, text, "symbol", explain=True)])
    n_compared = 0
    for row, token in zip(alone, text.encode(), strict=True):
        contexts = np.array([P[token] for P in reference.memory.P[1:]], dtype=np.float64)
        orders = [len(known) > 0 for known in reference.memory.known[1:7]]
        if orders[0] or not any(orders):  # else order 0, which is not reported, would be needed
            assert np.allclose(row[:-1], -np.log2(contexts), rtol=1e-4, atol=1e-4)
            n_compared += 1
        assert np.allclose(row[5:-1], -np.log2(contexts[5:]), rtol=1e-4, atol=1e-4)
        reference.observe(token)
    assert n_compared > 0.9 * len(text)


def test_an_explanation_needs_a_memory():
    with pytest.raises(ValueError, match="memory"):
        score_by(StreamPredictor(None, Config(hidden=16, layers=1, memory=False)), "a", "word", explain=True)


@pytest.mark.parametrize("unit", UNITS)
def test_the_experts_of_a_word_are_columns(unit):
    explained = list(score_by(READER.fork(), "one two", "word", explain=True))
    words = table(format_scores(explained, "word", "tsv", unit).encode())
    assert list(words[0])[4:-2] == [f"{unit}_{name.replace(' ', '_')}" for name in EXPERTS]
    alone = np.concatenate([each.alone for each in explained])
    assert [float(word[f"{unit}_network"]) for word in words] == [UNITS[unit] * bits for bits in alone[:, -1].tolist()]
    result = run("score", *TINY, "--by", "word", "--explain", "--unit", unit, stdin=b"one two")
    assert result.stdout.decode().splitlines()[0].split() == [
        "line",
        "column",
        "offset",
        unit,
        "network",
        "order",
        "6",
        "text",
    ]


def test_jsonl_sends_no_control_character_to_a_terminal(tmp_path):
    (tmp_path / "na\x9bme").write_text("a\x9b2J\x7f\u202e\n")
    output = run("score", tmp_path / "na\x9bme", *TINY, "--by", "line", "--format", "jsonl").stdout.decode()
    (record,) = map(json.loads, output.splitlines())
    assert output.replace("\n", "").isprintable()
    assert (record["text"], record["file"]) == ("a\x9b2J\x7f\u202e", str(tmp_path / "na\x9bme"))


@pytest.mark.parametrize("options", [["--by", "word"], ["--by", "file"], ["--explain"]])
def test_a_tab_in_the_name_of_a_file_does_not_break_a_row(tmp_path, options):
    (tmp_path / "a\tb").write_text("words\n")
    rows = table(run("score", tmp_path / "a\tb", *TINY, "--format", "tsv", *options).stdout)
    assert {row["file"] for row in rows} == {str(tmp_path / "a\\tb")}


def test_a_heat_map_of_a_text_model_may_have_characters_at_the_border_of_a_block(tmp_path):
    (tmp_path / "text").write_text("é" * 200)
    result = run("score", tmp_path / "text", "--vocab", "text", *TINY, "--format", "ansi")
    assert result.returncode == 0, result.stderr
    assert result.stdout.decode().count("é") == 200


def test_explain_of_a_text_model_may_have_characters_at_the_border_of_a_block(tmp_path):
    (tmp_path / "text").write_text("é" * 200)
    result = run("score", tmp_path / "text", "--vocab", "text", *TINY, "--explain")
    assert result.returncode == 0, result.stderr


def test_by_accepts_char_for_character():
    one, other = (run("score", *TINY, "--by", by, stdin=b"abc").stdout for by in ("char", "character"))
    assert one == other != b""


@pytest.mark.parametrize("act", [score_by, expert_report, lambda a, parts: compare(a, a.fork(), parts)])
@pytest.mark.parametrize("tokens", [np.array([97, 98]), [np.array([97, 98])], [97, 98]])
def test_tokens_are_refused_where_a_text_is_needed(act, tokens):
    with pytest.raises(TypeError, match=r"takes str or bytes; decode tokens first"):
        list(act(READER.fork(), tokens))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_is_one_part_of_a_text(kind):
    assert rows(kind(TEXT), "word") == rows([TEXT], "word") == rows([kind(TEXT)], "word")


def test_a_predictor_is_not_compared_with_itself():
    with pytest.raises(ValueError, match=r"pass b=a\.fork\(\)"):
        compare(READER, READER, TEXT)


# Independent lines, and CSV


def test_independent_lines_have_the_same_bits_in_any_order(tmp_path):
    lines = ["one two", "three four x", "one two three", '"four", he said', "end"]
    tiny = ("--hidden", "4", "--layers", "1", "--memory-bits", "10")

    def bits(lines, *options):
        text = "".join(line + "\n" for line in lines).encode()
        result = run("score", "-", "--by", "word", "--format", "csv", *tiny, *options, stdin=text)
        assert result.returncode == 0
        found = {}
        for row in csv.DictReader(io.StringIO(result.stdout.decode(), newline="")):
            found.setdefault(lines[int(row["line"]) - 1], []).append((row["text"], row["bits"]))
        return found, result.stderr.decode()

    for unit in ("line", "blank-line"):
        spaced = lines if unit == "line" else [each for line in lines for each in (line, "")]
        forward, noted = bits(spaced, "--independent", unit)
        assert [word for words in forward.values() for word, _ in words] == " ".join(lines).split()
        assert bits(spaced[::-1], "--independent", unit)[0] == forward or unit == "blank-line"
        assert "learns" not in noted
    frozen, noted = bits(lines, "--freeze", "--context-reset", "line")
    assert (frozen, "learns" in noted) == (bits(lines, "--independent", "line")[0], False)
    learning, noted = bits(lines, "--context-reset", "line")
    assert learning != bits(lines[::-1], "--context-reset", "line")[0]
    assert noted.count("the model learns from each line for the next; use --independent line to prevent it") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--independent", "word"), "--independent must be one of line, blank-line, not 'word'"),
        (("--independent", "line", "--context-reset", "never"), "give --independent or --context-reset, not both"),
        (("--independent", "line", "--learn", "memory"), "give --learn or --freeze, not both"),
    ],
)
def test_independent_lines_exclude_what_contradicts_them(options, message):
    assert_refused(run("score", "-", *options, stdin=b"a"), message)


@settings(max_examples=100)
@given(st.lists(st.text(max_size=9) | st.text(st.sampled_from(",;\"\\\n\t '")), min_size=1))
def test_csv_is_read_by_a_reader_of_csv_and_has_the_values_of_tsv(texts):
    n = len(texts)
    scores = Scores(*(np.zeros(n) for _ in range(2)), *(np.zeros(n, dtype=np.int64) for _ in range(3)), texts)
    as_csv = format_scores([scores], format="csv", file='a "b", c')
    as_tsv = format_scores([scores], format="tsv", file='a "b", c')
    assert list(csv.reader(io.StringIO(as_csv, newline=""), strict=True)) == [
        row.split("\t") for row in as_tsv.splitlines()
    ]
    assert as_csv.count("\n") == n + 1
