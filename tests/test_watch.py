"""Watching lines: the baseline, what is flagged, what is learned, and the command on real pipes."""

import json
import os
import pty
import random
import re
import signal
import statistics
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import CLI, TINY, assert_refused, next_line, objects, run, start

from streamlstm import Config, StreamPredictor, Vocabulary, Watcher
from streamlstm.tasks.baseline import FEWEST, RECENT, Baseline
from streamlstm.tasks.watch import GIVE_IN, LONGEST, LineSplitter, surprising_spans

SMALL = Config(hidden=32, layers=1, window=8, memory_bits=10)
FRESH = ["--hidden", "32", "--layers", "1", "--window", "8", "--memory-bits", "10"]
CALM = [b"12:%02d job %d done in %d ms\n" % (n // 5 % 60, n % 7, 100 + n % 13) for n in range(1000)]
STRANGE = b"KERNEL PANIC at 0xc0ffee: not syncing\n"


def fresh(config=SMALL):
    return StreamPredictor(config=config)


def watched(lines, **options):
    watcher = Watcher(fresh(), **options)
    return watcher, [watcher.observe(line) for line in lines]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("watch") / "log"
    path.write_bytes(b"".join(CALM[:300]) + STRANGE + b"".join(CALM[300:400]))
    return path


# The baseline


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60))
@settings(max_examples=80)
def test_median_and_mad_are_those_of_the_recent_scores(scores):
    baseline = Baseline()
    for score in scores:
        baseline.add(score, 80)
    places = [min(int(512 * score), 2**14 - 1) for score in scores][-FEWEST:]
    median = statistics.median_low(places)
    mad = statistics.median_low(abs(place - median) for place in places)
    assert baseline.median_and_mad() == (median / 512, mad / 512)


def test_the_baseline_is_bounded_and_forgets_the_oldest():
    baseline = Baseline()
    for score in [9.0] * 2 * RECENT + [1.0] * RECENT:
        baseline.add(score, 80)
    assert len(baseline.recent) == RECENT
    assert baseline.median_and_mad() == (1, 0)


# What is flagged


def test_a_strange_line_is_flagged_and_calm_ones_are_not():
    _, lines = watched([*CALM[:300], STRANGE, *CALM[300:400]])
    assert [index for index, line in enumerate(lines) if line.flagged] == [300]


def test_a_score_is_the_mean_of_the_characters_and_z_its_robust_distance():
    _, lines = watched(CALM[:200])
    reader = fresh()
    bits = [reader.observe_many(line) for line in CALM[:200]]
    np.testing.assert_allclose([line.bits_per_char for line in lines], [b.mean(dtype=np.float64) for b in bits])
    scores = [line.bits_per_char for line in lines[99:-1]]
    median = statistics.median(scores)
    mad = statistics.median(abs(score - median) for score in scores)
    z = (lines[-1].bits_per_char - median) / max(1.4826 * mad, 0.3)
    assert lines[-1].z == pytest.approx(z, abs=0.05)
    assert lines[0].z == 0


def test_a_character_is_a_code_point_and_a_broken_byte():
    watcher = Watcher(StreamPredictor(config=Config(hidden=16, layers=1, memory=False)))
    watcher._root.learning = False
    line = watcher.observe("日本é".encode() + b"\xff\n")
    assert line.bits_per_char == 8 * 10 / 5
    assert line.text == "日本é\udcff"


def test_nothing_is_flagged_in_the_warm_up():
    _, lines = watched([*CALM[:50], STRANGE, *CALM[50:150], b"!?<<<~~ZZXX>>>%%\n"], warmup=100)
    assert [index for index, line in enumerate(lines) if line.flagged] == [151]


def test_an_empty_line_is_weak_evidence():
    _, lines = watched([*CALM[:300], b"\n"])
    assert not lines[-1].flagged


def test_the_spans_show_where_the_surprise_is():
    odd = CALM[300].replace(b"done", b"QX#K~ZW\xc3\xa9@PV")
    _, lines = watched([*CALM[:300], odd], threshold=3)
    start, end = lines[-1].text.index("QX#K~ZWé@PV"), lines[-1].text.index(" in ")
    marked = {place for span in lines[-1].spans for place in range(*span)}
    assert len(marked.intersection(range(start, end))) >= 9
    assert len(marked) <= 25 < len(lines[-1].text)
    assert all(not line.spans for line in lines[:-1] if not line.flagged)


@given(st.lists(st.floats(-9, 9), max_size=80))
@settings(max_examples=80)
def test_spans_are_apart_and_each_sums_to_8_bits_or_more(excess):
    values = np.array(excess, dtype=np.float64)
    spans = surprising_spans(values)
    assert all(values[first:last].sum() >= 8 - 1e-9 for first, last in spans)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    best = max((values[i:j].sum() for i in range(len(values)) for j in range(i, len(values) + 1)), default=0)
    assert bool(spans) == (best >= 8) or abs(best - 8) < 1e-6


# What is learned


def scores(watcher, lines):
    return [watcher.observe(line).bits_per_char for line in lines]


@pytest.mark.parametrize("learning", [True, False])
def test_it_is_as_if_a_flagged_line_had_never_been_read(learning):
    predictor = fresh()
    predictor.observe_many(b"".join(CALM[:100]))
    predictor.learning = learning
    with_strange, without = Watcher(predictor.fork()), Watcher(predictor.fork())
    scores(with_strange, CALM[:230])
    scores(without, CALM[:230])
    for at in range(230, 400, 13):
        strange = STRANGE.replace(b"c0ffee", b"%06x" % (at * 99991))
        assert with_strange.observe(strange).flagged
        part = CALM[at : at + 13]
        assert scores(with_strange, part) == scores(without, part)


def test_learn_flagged_learns_from_flagged_lines_too():
    watcher, _ = watched(CALM[:300], learn_flagged=True)
    assert watcher.observe(STRANGE).flagged
    reader = fresh()
    reader.observe_many(b"".join([*CALM[:300], STRANGE]))
    assert scores(watcher, CALM[300:310]) == pytest.approx([reader.observe_many(l).mean() for l in CALM[300:310]])


def test_a_strange_line_stays_strange_when_it_comes_now_and_then_and_a_burst_becomes_normal():
    watcher, _ = watched(CALM[:300])
    for at in range(300, 400, 10):
        assert watcher.observe(STRANGE).flagged
        scores(watcher, CALM[at : at + 10])
    burst = [watcher.observe(STRANGE).flagged for _ in range(40)]
    assert all(burst[:GIVE_IN])
    assert not any(burst[-10:])


def test_a_frozen_model_learns_nothing():
    predictor = fresh()
    predictor.observe_many(b"".join(CALM[:100]))
    predictor.learning = False
    before = predictor.weights()
    watcher = Watcher(predictor)
    scores(watcher, [*CALM[:200], STRANGE])
    after = predictor.weights()
    assert all(np.array_equal(before[name], after[name]) for name in before)


# Streams by key


def test_each_key_has_a_stream_of_its_own():
    other = [b"host-b disk %d at 71 %% of /var\n" % (n % 3) for n in range(300)]
    mixed = [line for n in range(300) for line in (b"host-a " + CALM[n], other[n])]
    _, together = watched(mixed, key=r"^(host-\w)")
    for alone, found in ((mixed[::2], together[::2]), (mixed[1::2], together[1::2])):
        _, lines = watched(alone)
        assert [line.bits_per_char for line in lines] == [line.bits_per_char for line in found]
    assert {line.key for line in together} == {"host-a", "host-b"}


def test_the_least_recently_used_key_is_dropped_with_a_note_and_begins_anew():
    _, lines = watched([b"a 1\n", b"b 1\n", b"a 1\n", b"c 1\n", b"b 1\n"], key="^.", max_keys=2)
    assert [note for line in lines for note in line.notes] == [
        "key 'c' takes the place of 'b', the least recently used of 2 (1 dropped so far)",
        "key 'b' takes the place of 'a', the least recently used of 2 (2 dropped so far)",
    ]
    assert lines[4].bits_per_char == lines[1].bits_per_char


def test_lines_without_a_key_are_a_stream_too():
    _, lines = watched([b"[x] 1\n", b"none\n", b"[y] 1\n"], key=r"\[(\w)\]|\[\]")
    assert [line.key for line in lines] == ["x", "", "y"]


# What comes in


def test_of_a_very_long_line_the_rest_is_left_out_with_a_note():
    watcher = Watcher(fresh(Config(hidden=16, layers=1, memory_bits=10)))
    watcher._root.learning = False
    exact, longer = watcher.observe(b"x" * LONGEST + b"\n"), watcher.observe(b"x" * (LONGEST + 1) + b"\n")
    assert not exact.notes
    assert len(longer.text) == LONGEST
    assert longer.notes == [f"line 2 has more than {LONGEST:,} bytes; the rest is left out"]


@given(st.lists(st.binary(max_size=30) | st.just(b"\n")))
@settings(max_examples=60)
def test_lines_are_cut_at_newlines_however_the_blocks_fall(blocks):
    splitter = LineSplitter()
    lines = [line for block in blocks for line in splitter.feed(block)]
    assert b"".join(lines) + splitter.rest() == b"".join(blocks)
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in lines)


def test_a_line_without_an_end_takes_no_more_memory_than_is_read_of_it():
    splitter = LineSplitter()
    for _ in range(100):
        assert not list(splitter.feed(b"x" * 8192))
    assert len(splitter.rest()) == LONGEST + 1


def test_any_bytes_can_be_watched_and_the_text_gives_them_back():
    junk = random.Random(5).randbytes(4000).replace(b"\n", b"") + b"\xff\xc3\xa9\xe3\x81"
    watcher, _ = watched(CALM[:150])
    line = watcher.observe(junk + b"\n")
    assert line.text.encode("utf-8", "surrogateescape") == junk
    assert line.flagged


def test_a_text_model_watches_characters():
    text = "".join(line.decode() for line in CALM)
    predictor = StreamPredictor(Vocabulary.from_text(text + "?€", unknown="?"), SMALL)
    watcher = Watcher(predictor)
    for line in CALM[:300]:
        watcher.observe(line)
    assert watcher.observe("€€€ ££££ ~~~~ ØØØØ ####\n").flagged


def test_a_line_with_an_unknown_symbol_changes_nothing():
    watcher = Watcher(StreamPredictor(Vocabulary.from_text("ab\n"), Config(hidden=6, layers=1)))
    watcher.observe("ab\n")
    before = watcher.__dict__.copy()
    with pytest.raises(ValueError, match="no symbol"):
        watcher.observe("abc\n" * 10000)
    assert watcher.__dict__ == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": float("nan")}, "threshold.*nan"),
        ({"warmup": -1}, "warmup.*-1"),
        ({"max_keys": 0}, "max_keys.*0"),
        ({"key": "("}, "regular expression"),
    ],
)
def test_a_senseless_option_is_refused_with_its_name(options, words):
    with pytest.raises(ValueError, match=words):
        Watcher(fresh(), **options)


# Saving


@pytest.mark.parametrize("key", [None, r"job (\d)"])
def test_save_and_load_goes_on_to_the_last_bit(tmp_path, key):
    stream = [*CALM[:250], STRANGE, *CALM[250:300]]
    _, expected = watched([*stream, STRANGE, *CALM[300:420]], key=key, warmup=20)
    first, _ = watched(stream, key=key, warmup=20)
    first.save(tmp_path / "m")
    second = Watcher.load(tmp_path / "m", key=key, warmup=20)
    assert [second.observe(line) for line in [STRANGE, *CALM[300:420]]] == expected[len(stream) :]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_a_watcher_saves_is_a_model(tmp_path):
    watcher, _ = watched(CALM[:200])
    watcher.save(tmp_path / "m")
    reader = fresh()
    reader.observe_many(b"".join(CALM[:200]))
    assert np.array_equal(StreamPredictor.load(tmp_path / "m").predict(), reader.predict())


def test_streams_by_key_are_refused_without_the_expression(tmp_path):
    watcher, _ = watched(CALM[:10], key=r"job (\d)")
    watcher.save(tmp_path / "m")
    with pytest.raises(ValueError, match="regular expression"):
        Watcher.load(tmp_path / "m")


# The command


def test_the_flagged_line_is_printed_with_its_number_as_it_came(log):
    result = run("watch", log, *FRESH)
    header, line, marks = result.stdout.decode().splitlines()
    assert header.split() == ["line", "bits_per_char", "z", "text"]
    assert line.split()[0] == "301"
    assert line.endswith(STRANGE.decode().strip())
    assert set(marks) == {" ", "^"}
    assert len(marks) <= len(line)
    assert re.fullmatch(rb"401 lines, 1 flagged, [\d,]+ lines/s\n", result.stderr)


def test_jsonl_has_the_fields_and_all_prints_every_line(log):
    found = objects(run("watch", log, *FRESH, "--all", "--format", "jsonl").stdout)
    assert list(found[0]) == ["line", "text", "bits_per_char", "z", "flagged", "spans"]
    assert [record["line"] for record in found] == list(range(1, 402))
    assert [record["text"] + "\n" for record in found] == log.read_text().splitlines(keepends=True)
    _, lines = watched(log.read_bytes().splitlines(keepends=True))
    assert [record["bits_per_char"] for record in found] == [line.bits_per_char for line in lines]
    assert [record["line"] for record in found if record["flagged"]] == [301]


def test_context_prints_the_lines_around(log):
    found = objects(run("watch", log, *FRESH, "--context", 2, "--format", "jsonl").stdout)
    assert [(record["line"], record["flagged"]) for record in found] == [
        (299, False), (300, False), (301, True), (302, False), (303, False),
    ]  # fmt: skip


def test_context_parts_that_are_not_together_with_a_rule(log):
    result = run("watch", "-", *FRESH, "--context", 1, stdin=log.read_bytes() * 2)
    lines = [line.split()[0] for line in result.stdout.decode().splitlines()[1:] if "^" not in line]
    assert lines == ["300", "301", "302", "--", "701", "702", "703"]


def test_a_key_is_a_field_of_its_own():
    lines = b"".join(b"host-%d up\n" % (n % 3) for n in range(9))
    found = objects(run("watch", *FRESH, "--all", "--format", "jsonl", "--key-regex", r"host-(\d)", stdin=lines).stdout)
    assert [record["key"] for record in found] == ["0", "1", "2"] * 3


def test_a_dropped_key_is_said_on_stderr():
    result = run("watch", *FRESH, "--key-regex", "^.", "--max-keys", 1, stdin=b"a\nb\n")
    assert result.stderr.startswith(b"streamlstm: key 'b' takes the place of 'a'")


def test_binary_junk_and_mixed_encodings_pass_and_come_out_as_they_were(log):
    junk = random.Random(5).randbytes(9000).replace(b"\n", b"\x00")
    latin = "naïve café déjà vu, señor: ÄÖÜäöüß\n".encode("latin-1")
    stdin = log.read_bytes() + junk + b"\n" + latin * 2 + "日本語のログ\n".encode() + "ログ".encode("utf-16")
    result = run("watch", *FRESH, "--all", stdin=stdin)
    assert result.returncode == 0, result.stderr
    for line in stdin.splitlines(keepends=True)[401:]:
        assert line.removesuffix(b"\n") in result.stdout
    found = objects(run("watch", *FRESH, "--all", "--format", "jsonl", stdin=stdin).stdout)
    texts = [record["text"].encode("utf-8", "surrogateescape") for record in found]
    assert b"\n".join(texts) == stdin


def test_a_line_of_a_megabyte_is_cut_with_a_note():
    result = run("watch", *TINY, "--freeze", "--all", "--format", "jsonl", stdin=b"x" * 1_000_000 + b"\nshort\n")
    first, second = objects(result.stdout)
    assert (len(first["text"]), second["text"]) == (LONGEST, "short")
    assert b"line 1 has more than 16,384 bytes" in result.stderr


def test_a_live_reader_gets_each_line_as_it_ends():
    with start("watch", *FRESH, "--all", "--format", "jsonl") as process:
        for number, line in enumerate(CALM[:5], 1):
            process.stdin.write(line[:7])
            process.stdin.write(line[7:])
            record = json.loads(next_line(process))
            assert (record["line"], record["text"]) == (number, line.decode().strip())
        process.stdin.write(b"no end")
        process.stdin.close()
        assert json.loads(process.stdout.read())["text"] == "no end"
        process.stderr.read()
    assert process.returncode == 0


def test_tail_follows_a_log_that_is_rotated(tmp_path):
    path = tmp_path / "app.log"
    path.write_bytes(b"first\n")
    tail = subprocess.Popen(["tail", "-F", "-n", "+1", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    watch = subprocess.Popen(
        [*CLI, "watch", *FRESH, "--all", "--format", "jsonl"], stdin=tail.stdout, stdout=subprocess.PIPE
    )
    try:
        assert json.loads(next_line(watch))["text"] == "first"
        path.rename(tmp_path / "app.log.1")
        path.write_bytes(b"second\n")
        assert json.loads(next_line(watch))["text"] == "second"
    finally:
        tail.kill()
        tail.wait()
        tail.stdout.close()
        watch.communicate(timeout=60)
    assert watch.returncode == 0


def test_ctrl_c_saves_whole_lines_and_the_next_run_goes_on(tmp_path):
    records = ["--all", "--format", "jsonl"]
    with start("watch", *FRESH, *records, "--save", tmp_path / "m") as process:
        process.stdin.write(b"".join(CALM[:150]) + b"half a li")
        first = [next_line(process) for _ in range(150)]
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b""
        assert process.stderr.read().startswith(b"150 lines, 0 flagged")
    assert process.returncode == 130
    second = run("watch", "--model", tmp_path / "m", *records, stdin=b"".join(CALM[150:200])).stdout
    whole = objects(run("watch", *FRESH, *records, stdin=b"".join(CALM[:200])).stdout)
    found = objects(b"".join(first) + second)
    assert [{**record, "line": 0} for record in found] == [{**record, "line": 0} for record in whole]


def test_a_reader_that_has_enough_ends_watch_with_141(log):
    with start("watch", log, *FRESH, "--all") as process:
        next_line(process)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_the_surprise_is_coloured_and_what_could_steer_it_is_escaped(log, no_color):
    parent, child = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    lines = log.read_bytes() + b"\x1b]0;owned\x07 \x9b2J KERNEL PANIC 0xdeadbeef\n"
    process = subprocess.Popen(
        [*CLI, "watch", *FRESH], stdin=subprocess.PIPE, stdout=child, stderr=child, env=environment
    )
    os.close(child)
    process.stdin.write(lines)
    process.stdin.close()
    output = b""
    try:
        while data := os.read(parent, 65536):
            output += data
    except OSError:
        pass  # the terminal is gone with its last process
    os.close(parent)
    assert process.wait() == 0
    assert b"\\x1b]0;owned\\x07" in re.sub(rb"\x1b\[[\d;]*m", b"", output)
    assert b"\x1b]0;" not in output
    assert (b"\x1b[1;31m" in output) == (not no_color)
    assert b"402 lines, 2 flagged" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "nan"], ["threshold", "nan"]),
        (["--context", "-1"], ["--context", "-1"]),
        (["--format", "tsv"], ["--format", "tsv", "jsonl"]),
        (["--key-regex", "("], ["'('", "regular expression"]),
        (["--max-keys", "0"], ["max_keys", "0"]),
        (["--warmup", "-1"], ["warmup", "-1"]),
        (["--vocab", "text"], ["--vocab"]),
        (["--save", "missing/m"], ["missing/m"]),
        (["--model", "no-such-model"], ["no-such-model"]),
        (["no-such-file"], ["no-such-file"]),
    ],
)
def test_a_senseless_option_of_watch_is_refused(tmp_path, arguments, words):
    result = run("watch", *arguments, stdin=b"abc\n", cwd=tmp_path)
    assert_refused(result, *words)
