"""The regions of reading experiments: sums against `score_by`, entropies against NumPy, lags, and files."""

import csv
import io
import json
import math
import re

import numpy as np
import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import random_predictor

from streamlstm import Config, StreamPredictor, Vocabulary, score, score_by, top_characters
from streamlstm.integrations.regions import (
    MEASURES,
    Region,
    entropy,
    read_regions,
    read_sentences,
    region_table,
    renyi_entropy,
    sentence_table,
    write_regions,
)
from streamlstm.memory.memory import EXPERTS
from streamlstm.text.characters import character_chances

WORDS = ["The", "naïve", "cat", "sat", "on", "it."]


def frozen(vocabulary=None):
    predictor = random_predictor(Config(12, 2), vocabulary or Vocabulary.bytes())
    predictor.learning = False
    return predictor


def numbered(words, passage=""):
    return [Region(str(n), word, passage) for n, word in enumerate(words)]


@pytest.mark.parametrize("rule", ["trailing", "leading"])
def test_words_as_regions_have_the_bits_that_score_by_gives_them(rule):
    predictor = frozen()
    table = region_table(predictor.fork(), numbered(WORDS))
    expected = [s.bits for s in score_by(predictor, " ".join(WORDS), "word", word_boundary=rule)]
    assert np.allclose(table[f"bits_{rule}"], np.concatenate(expected), rtol=1e-12)


@pytest.mark.parametrize("rule", ["trailing", "leading"])
def test_words_as_regions_have_the_experts_that_score_by_gives_them(rule):
    predictor = StreamPredictor(None, Config(hidden=16, layers=1, memory_bits=10))
    predictor.observe_many("The cat sat. " * 9)
    predictor.learn = "nothing"
    table = region_table(predictor.fork(), numbered(WORDS), explain=True)
    predictor.reset()
    tables = list(score_by(predictor, " ".join(WORDS), "word", word_boundary=rule, explain=True))
    expected = np.concatenate([each.alone for each in tables])
    for k, name in enumerate(EXPERTS):
        column = f"bits_{name.replace(' ', '_')}_{rule}"
        assert np.allclose(table[column], expected[:, k], rtol=1e-12)
        assert np.array_equal(table[f"{column}_lag1"][1:], table[column][:-1])
    plain = region_table(StreamPredictor(None, Config(hidden=16, layers=1)), numbered(WORDS))
    assert set(table) - set(plain) == {name for name in table if re.fullmatch("bits_(?!trailing|leading).*", name)}
    with pytest.raises(ValueError, match="memory"):
        region_table(StreamPredictor(None, Config(hidden=16, layers=1, memory=False)), [], explain=True)


def test_the_command_adds_the_experts_to_words_of_sentences(tmp_path):
    (tmp_path / "items.csv").write_text("item,sentence\n1,the cat\n")
    options = ["--text", "sentence", "--split", "words", "--hidden", "8", "--layers", "1", "--explain"]
    rows = list(
        csv.DictReader(io.StringIO(run("regions", tmp_path / "items.csv", *options).stdout.decode()), delimiter="\t")
    )
    assert [row["text"] for row in rows] == ["the", "cat"]
    assert all(float(row["bits_order_6_trailing"]) > 0 for row in rows)
    assert rows[0]["bits_network_leading_lag1"] == "NA"
    refused = run("regions", tmp_path / "items.csv", *options, "--no-memory")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"--explain" in refused.stderr


def test_white_space_of_the_regions_counts_and_totals_agree():
    predictor = frozen()
    table = region_table(predictor.fork(), [("a", " One"), ("b", "two,\n"), ("c", "  three four ")])
    words = score_by(predictor.fork(), " One two,\n  three four ", "word")
    expected = np.concatenate([scores.bits for scores in words])
    assert np.allclose(table["bits_trailing"], [expected[0], expected[1], expected[2:].sum()], rtol=1e-12)
    assert np.sum(table["bits_trailing"]) == pytest.approx(np.sum(table["bits_leading"]))
    assert table["text"][1] == "two,\n"
    assert table["characters"].tolist() == [3, 4, 10]


def test_first_bits_are_those_of_the_first_characters():
    predictor = frozen()
    table = region_table(predictor.fork(), numbered(WORDS), first=2)
    bits = np.concatenate([s.bits for s in score_by(predictor, " ".join(WORDS), "character")])
    start = len("The ")
    assert table["first_bits_trailing"][1] == pytest.approx(bits[start : start + 2].sum())
    assert table["first_bits_leading"][1] == pytest.approx(bits[start - 1 : start + 2].sum())
    long = region_table(frozen(), numbered(WORDS), first=99)
    assert np.allclose(long["first_bits_leading"][:-1], long["bits_leading"][:-1])


def exact_entropy(p):
    p = np.asarray(p, dtype=np.float64)
    return float(-(p[p > 0] * np.log2(p[p > 0])).sum())


def test_entropies_at_the_onset_and_expected_bits_are_those_of_the_distributions():
    vocabulary = Vocabulary.from_text("abcdef ")
    predictor = frozen(vocabulary)
    table = region_table(predictor.fork(), numbered(["abc", "fed", "a"]), order=2.0)
    distributions = []
    for symbol in "abc fed a":
        distributions.append(predictor.predict().astype(np.float64))
        predictor.observe(symbol)
    entropies = np.array([exact_entropy(p) for p in distributions])
    assert np.allclose(table["entropy_trailing"], entropies[[0, 4, 8]], rtol=1e-9)
    assert np.allclose(table["entropy_leading"], entropies[[0, 3, 7]], rtol=1e-9)
    assert np.allclose(table["expected_bits_trailing"], [entropies[:4].sum(), entropies[4:8].sum(), entropies[8]])
    assert np.allclose(table["expected_bits_leading"], [entropies[:3].sum(), entropies[3:7].sum(), entropies[7:].sum()])
    collisions = [-math.log2((distributions[n] ** 2).sum()) for n in (0, 3, 7)]
    assert np.allclose(table["renyi_leading"], collisions, rtol=1e-5)


@pytest.mark.parametrize("order", [0.25, 0.5, 2.0, 3.0])
def test_renyi_entropies_are_those_of_numpy(order):
    p = np.random.default_rng(0).dirichlet(np.ones(50) * 0.3)
    assert renyi_entropy(p, order) == pytest.approx(math.log2((p**order).sum()) / (1 - order), abs=1e-5)


def test_renyi_entropies_of_order_1_and_infinity_are_the_limits():
    p = np.array([0.5, 0.2, 0.2, 0.1])
    assert renyi_entropy(p, 1) == pytest.approx(exact_entropy(p))
    assert renyi_entropy(p, math.inf) == 1.0
    assert renyi_entropy(p, 0.999) == pytest.approx(exact_entropy(p), abs=1e-2)


def test_the_entropy_is_accurate_and_0_times_log_0_is_0():
    p = np.random.default_rng(1).dirichlet(np.ones(300) * 0.1, size=20)
    assert np.allclose(entropy(p), [exact_entropy(row) for row in p], rtol=1e-13, atol=1e-15)
    assert entropy(np.array([0.0, 1.0, 0.0])) == 0


def test_the_chances_of_characters_are_exact_and_sum_to_1():
    predictor = StreamPredictor(config=Config(hidden=16, layers=1, memory_bits=12))
    predictor.observe_many("é–é€ " * 60)
    for _ in range(3):
        chances = character_chances(predictor)
        assert chances.sum() == pytest.approx(1, abs=1e-6)
        assert (chances >= 0).all()
        best = [chance for _, chance in top_characters(predictor, 6) if chance >= 1e-5]
        assert best
        assert np.allclose(np.sort(chances)[::-1][: len(best)], best, rtol=1e-12)
        predictor.observe_many("é")


def test_lags_repeat_the_regions_before_within_a_passage():
    rows = [*numbered(WORDS[:4], "one"), *numbered(WORDS[4:], "two")]
    table = region_table(frozen(), rows)
    for measure in MEASURES:
        values, first, second = table[measure], table[f"{measure}_lag1"], table[f"{measure}_lag2"]
        assert np.isnan(first[[0, 4]]).all()
        assert np.isnan(second[[0, 1, 4, 5]]).all()
        assert first[1:4].tolist() == values[:3].tolist()
        assert first[5] == values[4]
        assert second[2:4].tolist() == values[:2].tolist()


def test_every_passage_begins_as_a_stream_does():
    rows = [*numbered(WORDS, "one"), *numbered(WORDS, "two")]
    table, n = region_table(frozen(), rows), len(WORDS)
    for measure in MEASURES:
        assert table[measure][:n].tolist() == table[measure][n:].tolist()


def test_a_learning_predictor_learns_from_one_passage_for_the_next():
    predictor = StreamPredictor(config=Config(hidden=16, layers=1, memory_bits=12))
    table = region_table(predictor, [*numbered(WORDS * 5, "one"), *numbered(WORDS, "two")])
    assert np.sum(table["bits_trailing"][-6:]) < 0.6 * np.sum(table["bits_trailing"][:6])


def test_regions_within_words_need_an_empty_separator():
    predictor = frozen()
    table = region_table(predictor.fork(), [("stem", "walk"), ("suffix", "ed"), ("next", " home")], separator="")
    assert np.sum(table["bits_trailing"]) == pytest.approx(predictor.observe_many("walked home").sum(), rel=1e-6)


def test_no_regions_give_an_empty_table_with_all_columns():
    table = region_table(frozen(), [])
    assert len(table["bits_trailing_lag2"]) == 0
    assert list(table) == list(region_table(frozen(), numbered(["a"])))


def test_a_table_is_written_and_read_with_tabs(tmp_path):
    path = tmp_path / "regions.tsv"
    path.write_text('passage\tid\ttext\n1\t1.1\tThe\n\n1\t1.2\t"Come\t\n1\t1.3\there"\n', encoding="utf-8-sig")
    regions = read_regions(path)
    assert regions == [Region("1.1", "The", "1"), Region("1.2", '"Come', "1"), Region("1.3", 'here"', "1")]
    out = io.StringIO()
    write_regions(region_table(frozen(), regions), out)
    header, first, *_ = out.getvalue().splitlines()
    row = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    assert (row["id"], row["characters"], row["bits_trailing_lag1"]) == ("1.1", "3", "NA")
    assert float(row["bits_trailing"]) == region_table(frozen(), regions)["bits_trailing"][0]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n\0")).filter(str.strip)
QUOTES = st.text(st.sampled_from("\"',; a\\'«“é\u2028\x1c\x85\ufeff"), min_size=1).filter(str.strip)


CSV_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0") | st.sampled_from('",;\t '))


@settings(max_examples=300)
@given(
    st.lists(st.tuples(TEXTS | QUOTES, TEXTS | QUOTES, QUOTES | st.just("")), min_size=1),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_text_without_a_tab_or_the_end_of_a_line_is_a_region_as_it_stands(tmp_path_factory, rows, end):
    path = tmp_path_factory.mktemp("regions") / "regions.tsv"
    lines = ["id\ttext\tpassage", *map("\t".join, rows)]
    path.write_bytes(end.join(lines).encode())
    assert read_regions(path) == [Region(*row) for row in rows]


@settings(max_examples=100)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from('"\t\r\n')),
        min_size=1,
    )
)
def test_what_is_written_is_read_by_a_reader_of_csv(texts):
    out = io.StringIO()
    write_regions({"id": [str(n) for n in range(len(texts))], "text": texts, "bits": np.zeros(len(texts))}, out)
    header, *rows = csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter="\t")
    assert header == ["id", "text", "bits"]
    assert rows == [[str(n), text, "0"] for n, text in enumerate(texts)]


def test_a_text_that_looks_quoted_is_noted(tmp_path, caplog):
    path = tmp_path / "regions.tsv"
    path.write_text('id\ttext\n1\t"yes"\n2\t"""Come"\n')
    assert [region.text for region in read_regions(path)] == ['"yes"', '"""Come"']
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: the text of row 3 looks as CSV quotes it; quotation marks are read as a part of the text"
    ]


def test_wrong_input_is_refused(tmp_path):
    for options, message in (({"first": 0}, "first must be"), ({"order": 0}, "order must be")):
        with pytest.raises(ValueError, match=message):
            region_table(frozen(), numbered(WORDS), **options)
    with pytest.raises(ValueError, match="region '7' has no text"):
        region_table(frozen(), [("7", "  ")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column 'id'; its first row must have id, text"),
        (b"word\tid\nThe\t1\n", "has no column 'text'"),
        (b"id\ttext\n1\tThe\n2\n", "has no id or no text in row 3"),
        (b"id\ttext\n1\tcaf\xe9\n", "is not a table in UTF-8 with tabs between its columns: .* byte 0xe9"),
        (b'"id","text"\n"1,"The"\n', "is not a table in CSV: .* in line 2"),
        (b"id,id,text\n1,2,The\n", "has two columns 'id'"),
        (b"item,sentence\n1,The cat\n", "has no column 'id'; .*; to measure the words of sentences, use --split words"),
        (b'id\ttext\n1\t"a\tb"\n', "has more values than columns in row 2; a text cannot contain a tab"),
    ],
)
def test_a_file_that_is_not_a_table_of_regions_is_named(tmp_path, content, message):
    path = tmp_path / "wrong.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} {message}"):
        read_regions(path)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(CSV_TEXTS, CSV_TEXTS, CSV_TEXTS), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_any_writer_of_csv_quotes_is_read_as_it_was(tmp_path_factory, rows, separator, quoting):
    path = tmp_path_factory.mktemp("regions") / "regions.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        if separator == "\t":  # without quotation marks in its first row it is read as it stands
            quoting = csv.QUOTE_ALL
        names = ["id", "text", "passage"]
        csv.writer(file, delimiter=separator, quoting=quoting).writerows([names, *rows])
    assert [list(row.values()) for row in read_sentences(path)] == [list(row) for row in rows]
    assert [region[:2] for region in read_regions(path)] == [row[:2] for row in rows]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(CSV_TEXTS, TEXTS | QUOTES), min_size=1, max_size=3))
def test_the_words_of_sentences_have_numbers_and_the_columns_of_their_sentences(rows):
    predictor = frozen()
    items = [{"item": item, "sentence": sentence, "text": "other"} for item, sentence in rows]
    table = sentence_table(predictor.fork(), items, text="sentence")
    out = io.StringIO()
    write_regions(table, out, "csv")
    written = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    expected = [(item, sentence, n, word) for item, sentence in rows for n, word in enumerate(sentence.split(), 1)]
    assert [(r["item"], r["sentence"], int(r["word"]), r["text"]) for r in written] == expected
    bits = iter(np.array([float(r["bits_trailing"]) for r in written]))
    for _, sentence in rows:
        total = sum(next(bits) for _ in sentence.split())
        assert total == pytest.approx(score(predictor.fork(), sentence).bits, rel=1e-6)


def test_sentences_are_measured_by_the_command_from_stdin_and_missing_values_are_empty():
    items = b'item,condition,sentence\n1,a,"She said ""no"", twice."\n2,b,NA is a word\n'
    options = "--text", "sentence", "--split", "words", "--format", "csv", "--freeze", "--hidden", "4", "--layers", "1"
    result = run("regions", "-", *options, stdin=items)
    rows = list(csv.DictReader(io.StringIO(result.stdout.decode(), newline="")))
    assert [row["text"] for row in rows] == ["She", "said", '"no",', "twice.", "NA", "is", "a", "word"]
    assert [(row["condition"], row["word"]) for row in rows] == [("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")] + [
        ("b", str(n)) for n in (1, 2, 3, 4)
    ]
    assert rows[0]["bits_trailing_lag1"] == rows[4]["bits_trailing_lag1"] == ""
    assert rows[1]["bits_trailing_lag1"] == rows[0]["bits_trailing"]
    as_json = run("regions", "-", *options, "--format", "jsonl", stdin=items).stdout.splitlines()
    values = [[str(value) if value is not None else "" for value in json.loads(line).values()] for line in as_json]
    assert values == [list(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            b"item,sentence\n1,a,b\n",
            (),
            "- has 3 values in row 2, and 2 columns",
        ),
        (b"item,sentence\n1,the cat\n", ("--text", "words"), "sentence 1 has no column 'words'; it has item, sentence"),
        (b"item,sentence\n1, \n", ("--text", "sentence"), "sentence 1 has no words in its column 'sentence'"),
        (b"word,text\n1,cat\n", (), "the column 'word' of the sentences has the name of one of the result; rename it"),
        (b"a,text\n1,cat\n", ("--separator", ""), "--separator is for regions"),
        (b"a,text\n1,cat\n", ("--format", "json"), "--format must be one of tsv, csv, jsonl"),
    ],
)
def test_sentences_that_cannot_be_measured_are_refused(content, options, message):
    result = run("regions", "-", "--split", "words", *options, "--hidden", "4", "--layers", "1", stdin=content)
    assert (result.returncode, result.stdout) == (1, b"")
    assert re.search(message, result.stderr.decode())
