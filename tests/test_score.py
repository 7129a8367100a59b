"""Surprisal by symbol, character, word, line and file: in Python and on the command line."""

import json
import math
import os
import re
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import TINY, assert_refused, next_line, objects, run, start

from streamlstm import Config, StreamPredictor, Vocabulary, score_by, score_many
from streamlstm.memory.memory import EXPERTS
from streamlstm.tasks.score import BOUNDARIES, LEVELS, RESETS, contrast, score

TEXT = "  One two,  thréé\n\n  four 日本 x\\\r\n \nend\n \n".encode() + b"\xff\xfe broken \xe3\x81"
PIECES = st.lists(
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


def test_words_stand_between_white_space_with_their_punctuation():
    assert texts([TEXT], "word")[:7] == ["One", "two,", "thréé", "four", "日本", "x\\", "end"]


def test_a_line_is_what_a_newline_ends_and_an_empty_one_counts():
    assert texts([TEXT], "line") == [
        "  One two,  thréé",
        "",
        "  four 日本 x\\\r",
        " ",
        "end",
        " ",
        "\udcff\udcfe broken \udce3\udc81",
    ]


def test_a_character_is_a_code_point_over_bytes_too():
    symbols = rows([TEXT], "symbol")
    characters = rows([TEXT], "char")
    assert "".join(row[-1] for row in characters) == TEXT.decode("utf-8", "surrogateescape")
    (kanji,) = (row for row in characters if row[-1] == "日")
    its_bytes = [row for row in symbols if kanji[4] <= row[4] < kanji[4] + 3]
    assert kanji[1] == 3
    assert kanji[0] == pytest.approx(sum(row[0] for row in its_bytes), abs=1e-9)


def test_the_symbols_of_a_byte_model_are_what_observe_many_returns():
    found = rows([TEXT], "symbol")
    assert np.array_equal(np.float32([row[0] for row in found]), READER.fork().observe_many(TEXT))
    assert [row[4] for row in found] == list(range(len(TEXT)))


def test_trailing_charges_a_word_for_its_end_and_leading_for_its_beginning():
    bits = [row[0] for row in rows([b" ab  c d\n"], "char")]
    trailing, leading = ([row[0] for row in rows([b" ab  c d\n"], "word", boundary=side)] for side in BOUNDARIES)
    np.testing.assert_allclose(trailing, [sum(bits[:5]), sum(bits[5:7]), sum(bits[7:])], atol=1e-9)
    np.testing.assert_allclose(leading, [sum(bits[:3]), sum(bits[3:6]), sum(bits[6:])], atol=1e-9)


def test_white_space_alone_is_one_word_without_a_text():
    (row,) = rows([b" ", b"\n"], "word")
    assert row[1:] == (2, 1, 1, 0, "")


def test_an_empty_text_has_no_units():
    assert all(rows(parts, by) == [] for by in LEVELS for parts in ([], [b""]))


def test_places_lead_back_to_the_text():
    lines = TEXT.decode("utf-8", "surrogateescape").split("\n")
    for by in ("char", "word", "line"):
        for _, _, line, column, offset, text in rows([TEXT], by):
            assert TEXT[offset:].decode("utf-8", "surrogateescape").startswith(text)
            assert (lines[line - 1] + "\n")[column - 1 :].startswith(text)


@given(PIECES, st.sampled_from(BOUNDARIES), st.sampled_from(RESETS))
@settings(max_examples=60)
def test_the_levels_sum_to_the_same_and_no_split_into_parts_changes_a_unit(pieces, boundary, reset):
    whole = b"".join(pieces)
    totals = []
    for by in LEVELS:
        options = {"boundary": boundary, "reset": reset}
        one, many = rows([whole], by, **options), rows(pieces, by, **options)
        assert [row[1:] for row in one] == [row[1:] for row in many]
        np.testing.assert_allclose([row[0] for row in one], [row[0] for row in many], atol=1e-9)
        totals.append((sum(row[1] for row in one), sum(row[0] for row in one)))
        assert [row[4] for row in one] == sorted(row[4] for row in one)
    assert all(n == len(whole) for n, _ in totals)
    assert max(bits for _, bits in totals) - min(bits for _, bits in totals) < 1e-6


@given(st.text(st.sampled_from("ab é日\n\t")))
@settings(max_examples=60)
def test_words_are_those_of_split_and_lines_those_of_a_text_file(text):
    assert [word for word in texts([text], "word") if word] == text.split()
    assert texts([text], "line") == [line.removesuffix("\n") for line in re.findall(r"[^\n]*\n|[^\n]+", text)]


def test_learning_goes_on_while_units_are_scored_and_in_the_same_way():
    predictor, twin = reader(learning=True), reader(learning=True)
    (file,) = rows([TEXT * 9], "file", predictor)
    assert file[0] == pytest.approx(float(twin.observe_many(TEXT * 9).sum(dtype=np.float64)), abs=1e-6)


def test_a_text_model_reads_broken_bytes_as_the_replacement_character():
    predictor = StreamPredictor(Vocabulary.from_text("ab \ufffd"), Config(hidden=16, layers=1))
    predictor.learning = False
    found = rows([b"a\xff b"], "char", predictor)
    assert [(row[0], row[-1]) for row in found] == [(2.0, "a"), (2.0, "\udcff"), (2.0, " "), (2.0, "b")]
    assert [row[4] for row in found] == [0, 1, 2, 3]


# The context


def cold(text):
    predictor = READER.fork()
    predictor.reset()
    return float(predictor.observe_many(text).sum(dtype=np.float64))


def test_reset_by_line_reads_each_line_as_the_first():
    found = rows([b"one two,\nthr", b"ee\n\nfour x end"], "line", reset="line")
    np.testing.assert_allclose(
        [row[0] for row in found], [cold("one two,\n"), cold("three\n"), cold("\n"), cold("four x end")], atol=1e-9
    )


def test_reset_by_blank_line_reads_each_paragraph_as_the_first():
    text = b"one two,\nthree\n \n\nfour x\nend\n"
    for parts in ([text], [text[:17], text[17:]], [bytes([byte]) for byte in text]):
        found = rows(parts, "line", reset="blank-line")
        assert sum(row[0] for row in found[:4]) == pytest.approx(cold("one two,\nthree\n \n\n"), abs=1e-9)
        assert sum(row[0] for row in found[4:]) == pytest.approx(cold("four x\nend\n"), abs=1e-9)


def test_without_a_reset_the_context_goes_on():
    (row,) = rows([TEXT], "file")
    assert row[0] == pytest.approx(score(READER.fork(), [TEXT]).bits, abs=1e-6)


# Candidates and contrasts


def test_score_many_scores_each_text_as_what_comes_after_the_prefix_and_changes_nothing():
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


def test_a_contrast_is_two_scores_of_the_same_units():
    other = StreamPredictor(config=Config(hidden=16, layers=1))
    other.learning = False
    parts = (part for part in [TEXT[:20], TEXT[20:]])
    pairs = list(contrast(READER.fork(), other, parts, "word"))
    a = np.concatenate([one.bits for one, _ in pairs])
    b = np.concatenate([two.bits for _, two in pairs])
    assert [text for one, _ in pairs for text in one.texts] == [text for _, two in pairs for text in two.texts]
    np.testing.assert_allclose(a, [row[0] for row in rows([TEXT[:20], TEXT[20:]], "word")])
    assert b.sum() == pytest.approx(8 * len(TEXT))


def test_symbols_of_two_kinds_cannot_be_contrasted():
    text_model = StreamPredictor(Vocabulary.from_text("ab"), Config(hidden=16, layers=1))
    with pytest.raises(ValueError, match="by char"):
        contrast(READER, text_model, ["ab"], "symbol")


@pytest.mark.parametrize("option", ["by", "boundary", "reset"])
def test_a_choice_that_there_is_not_is_refused_at_once(option):
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
def test_the_unit_is_in_the_name_of_the_column_and_the_levels_sum_to_the_same(files, unit):
    factor = {"bits": 1, "nats": math.log(2), "log10": math.log10(2)}[unit]
    expected = factor * score(StreamPredictor.load(files / "a"), [TEXT]).bits
    for by in LEVELS:
        arguments = ["score", files / "text", "--model", files / "a", "--by", by, "--unit", unit]
        as_json = objects(run(*arguments, "--format", "jsonl").stdout)
        as_tsv = table(run(*arguments, "--format", "tsv").stdout)
        assert sum(record[unit] for record in as_json) == pytest.approx(expected, abs=1e-6)
        assert [float(row[unit]) for row in as_tsv] == [record[unit] for record in as_json]


def test_each_record_has_its_place_and_its_text(files):
    found = objects(run("score", files / "text", "--model", files / "a", "--by", "word", "--format", "jsonl").stdout)
    assert list(found[0]) == ["line", "column", "offset", "bits", "text", "file"]
    for record in found:
        assert TEXT[record["offset"] :].startswith(record["text"].encode("utf-8", "surrogateescape"))
    assert [(record["line"], record["column"]) for record in found[:4]] == [(1, 3), (1, 7), (1, 13), (3, 3)]


def test_text_is_aligned_and_what_does_not_print_is_escaped(files):
    header, *lines = run("score", files / "text", "--model", files / "a", "--by", "line").stdout.decode().splitlines()
    assert header.split() == ["line", "column", "offset", "bits", "text"]
    assert [line.split()[:3] for line in lines[:3]] == [["1", "1", "0"], ["2", "1", "20"], ["3", "1", "21"]]
    assert lines[2].endswith("four 日本 x\\\\\\r")
    assert lines[-1].endswith("\\xff\\xfe broken \\xe3\\x81")


def test_files_are_read_by_the_same_model_or_as_one_stream(files):
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
    found = rows([TEXT], "line", StreamPredictor.load(files / "a"), reset="line")
    np.testing.assert_allclose([record["bits"] for record in objects(output.stdout)], [row[0] for row in found])


def test_contrast_is_the_log_likelihood_ratio_per_line(files):
    output = run(
        "score", files / "text", "--contrast", files / "a", files / "b", "--freeze", "--format", "jsonl"
    ).stdout
    found = objects(output)
    assert [record["line"] for record in found] == [1, 2, 3, 4, 5, 6, 7]
    assert all(record["ratio_bits"] == record["bits_b"] - record["bits_a"] for record in found)
    assert found[4]["ratio_bits"] > 0  # "end" stands in what a has seen, b expects every byte alike
    (total,) = table(
        run("score", files / "text", "--contrast", files / "a", files / "b", "--freeze", "--by", "file").stdout
    )
    assert float(total["ratio_bits"]) == pytest.approx(sum(record["ratio_bits"] for record in found), abs=0.01)


def test_a_live_reader_gets_each_line_as_it_ends_and_each_word_as_the_next_begins():
    for by, first, then in (("line", b"one two\n", b""), ("word", b"one t", b""), ("char", b"o", b"")):
        with start("score", "-", *TINY, "--by", by) as process:
            assert b"text" in next_line(process)
            process.stdin.write(first)
            assert next_line(process).split()[0] == b"1"
            process.stdin.write(then)
            process.stdin.close()
            process.stdout.read()
            assert process.stderr.read() == b""
        assert process.returncode == 0


def test_ctrl_c_writes_whole_units_only():
    with start("score", "-", *TINY, "--by", "line", "--format", "jsonl") as process:
        process.stdin.write(b"one\ntwo\nthr")
        lines = [next_line(process), next_line(process)]
        process.send_signal(signal.SIGINT)
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")
    assert process.returncode == 130
    assert [json.loads(line)["text"] for line in lines] == ["one", "two"]


def test_a_reader_that_has_enough_ends_score_with_141(tmp_path):
    (tmp_path / "text").write_bytes(TEXT * 2000)
    with start("score", tmp_path / "text", *TINY, "--by", "char") as process:
        next_line(process)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_every_byte_passes_at_every_level():
    data = bytes(range(256)) * 2
    for by in LEVELS:
        found = objects(run("score", *TINY, "--freeze", "--by", by, "--format", "jsonl", stdin=data).stdout)
        assert sum(record["bits"] for record in found) == pytest.approx(8 * 512, abs=1e-6)


def test_a_fresh_text_model_is_made_of_the_characters_of_each_file():
    options = ["--vocab", "text", *TINY, "--freeze", "--by", "char", "--format", "jsonl"]
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
        (["--contrast", "small", "no-such-model"], ["no-such-model"]),
        (["--contrast", "small", "small", "--model", "small"], ["--contrast", "--model"]),
        (["--contrast", "small", "small", "--hidden", "16"], ["--hidden"]),
    ],
)
def test_a_senseless_option_of_score_is_refused_with_its_name_and_value(arguments, words):
    result = run("score", *arguments, stdin=b"abc")
    assert_refused(result, *words)
    assert result.stdout == b""


def test_contrast_with_one_model_is_a_usage_error():
    assert run("score", "--contrast", "small").returncode == 2


def test_a_terminal_that_is_not_utf8_gets_every_record():
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = run("score", *TINY, "--by", "word", "--format", "jsonl", stdin="日本 x".encode(), env=latin)
    assert [record["text"] for record in objects(result.stdout)] == ["日本", "x"]


@pytest.mark.parametrize("format", ["ansi", "html"])
def test_a_picture_of_a_file_holds_its_words(tmp_path, format):
    (tmp_path / "text").write_text("naïve words\n" * 3)
    result = run("score", tmp_path / "text", *TINY, "--format", format)
    assert result.returncode == 0, result.stderr
    shown = re.sub(r"\x1b\[[\d;]*m", "", result.stdout.decode())
    assert ("naïve words" in shown) if format == "ansi" else shown.rstrip().endswith("</html>")


@pytest.mark.parametrize("options", [["--format", "html", "--by", "word"], ["--explain", "--by", "line"]])
def test_a_picture_or_an_explanation_of_what_has_none_is_refused(tmp_path, options):
    (tmp_path / "text").write_text("words\n")
    result = run("score", tmp_path / "text", *TINY, *options)
    assert result.returncode == 1
    assert re.fullmatch(rb"streamlstm: [^\n]+\n", result.stderr)


def test_an_explanation_names_each_expert_and_all_together(tmp_path):
    (tmp_path / "text").write_text("the same words, the same words\n" * 9)
    header, *rows = run("score", tmp_path / "text", *TINY, "--explain").stdout.decode().splitlines()
    assert header.split("\t") == ["share", "bits_per_symbol", "weight", "expert", "file"]
    table = {row.split("\t")[3]: [float(cell) for cell in row.split("\t")[:3]] for row in rows}
    assert list(table) == [*EXPERTS, "all together"]
    assert table["network"][0] == 1
    assert table["all together"][1] < table["network"][1]
