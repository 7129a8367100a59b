"""Watching lines: the baseline, what is flagged, what is learned, and the command on real pipes."""

import io
import json
import os
import pty
import random
import re
import select
import signal
import statistics

import numpy as np
import pytest
from commands import run, start
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import assert_refused, bytes_of, next_line, objects

from streamlstm import Config, Snapshot, StreamPredictor, Vocabulary, Watcher
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.logs.formats import Event
from streamlstm.render.lines import LinePrinter, StatusLine, format_json, format_line
from streamlstm.watch import single_stream
from streamlstm.watch.lines import BURST_LINES, MAX_RECENT, MIN_RECENT, Baseline, Start, surprising_spans
from streamlstm.watch.single_stream import LineReader
from streamlstm.watch.watcher import MAX_LINE_BYTES, WatchedLine

SMALL = Config(hidden=32, layers=1, window=8, memory_bits=10)
FRESH = ["--hidden", "32", "--layers", "1", "--window", "8", "--memory-bits", "10"]
CALM = [b"12:%02d job %d done in %d ms\n" % (n // 5 % 60, n % 7, 100 + n % 13) for n in range(1000)]
STRANGE = b"KERNEL PANIC at 0xc0ffee: not syncing\n"


def fresh(config=SMALL, learning=True):
    predictor = StreamPredictor(config=config)
    predictor.learning = learning
    return predictor


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
    steps = [min(int(512 * score), 2**14 - 1) for score in scores][-MIN_RECENT:]
    median = statistics.median_low(steps)
    mad = statistics.median_low(abs(step - median) for step in steps)
    assert baseline.median_and_mad() == (median / 512, mad / 512)


def test_the_baseline_is_bounded_and_forgets_the_oldest():
    baseline = Baseline()
    for score in [9.0] * 2 * MAX_RECENT + [1.0] * MAX_RECENT:
        baseline.add(score, 80)
    assert len(baseline.recent) == MAX_RECENT
    assert baseline.median_and_mad() == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"recent": [2**14], "n_scores": 1}, "score"),
        ({"recent": [1, 2], "n_scores": 1}, "n_scores"),
        ({"mean_length": float("nan")}, "mean_length"),
    ],
)
def test_an_inconsistent_baseline_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Baseline(**arguments)


def test_a_baseline_without_scores_has_no_median():
    with pytest.raises(ValueError, match="without scores"):
        Baseline().median_and_mad()


# What is flagged


@pytest.mark.parametrize(
    "options", [(), ("--key-regex", "job"), ("--session-regex", "job")], ids=["lines", "keys", "sessions"]
)
def test_a_line_with_a_character_that_the_model_does_not_know_is_noted_and_counted_and_does_not_stop_watch(
    tmp_path, options
):
    predictor = StreamPredictor(Vocabulary.from_text("job # 12 done\n"), SMALL)
    predictor.observe_many("job 1 done\n" * 9)
    predictor.save(tmp_path / "model")
    data = "job 1 done\njob é€\njob\x00 1\njob 2 done\n".encode() + b"job \xff\njob 1\n"
    model = ("--model", tmp_path / "model", "--metrics", tmp_path / "metrics")
    result = run("watch", *model, "--all", "--format", "jsonl", *options, stdin=data)
    assert result.returncode == 0
    assert b"a line was not read: the vocabulary has no symbol" in result.stderr
    assert "invalid_total 3\n" in (tmp_path / "metrics").read_text()
    read = objects(result.stdout)
    assert [each["line"] for each in read] == [1, 4, 6] or read[0]["n_lines"] == 3


def test_a_strange_line_is_flagged_and_calm_ones_are_not():
    _, lines = watched([*CALM[:300], STRANGE, *CALM[300:400]])
    assert [index for index, line in enumerate(lines) if line.flagged] == [300]


def test_a_score_is_the_mean_of_the_characters_and_z_its_robust_distance():
    _, lines = watched(CALM[:200], thorough=True)
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
    watcher = Watcher(fresh(Config(hidden=16, layers=1, memory=False), learning=False))
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
    marked = {index for span in lines[-1].spans for index in range(*span)}
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


@pytest.mark.parametrize(("learning", "network_lines"), [(True, 2000), (True, 250), (False, 2000)])
def test_predictions_are_the_same_as_if_a_flagged_line_had_never_been_read(monkeypatch, learning, network_lines):
    monkeypatch.setattr(single_stream, "NETWORK_LINES", network_lines)
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


def test_only_a_line_that_was_read_as_undoable_can_be_undone():
    predictor = fresh()
    reader = LineReader(predictor.observe_many, lambda: Snapshot(predictor))
    reader.read(np.array([1, 2], np.int32), undoable=False)
    with pytest.raises(ValueError, match="no line to undo"):
        reader.undo()
    reader.read(np.array([1, 2], np.int32), undoable=True)
    reader.undo()
    with pytest.raises(ValueError, match="no line to undo"):
        reader.undo()


def test_learn_flagged_learns_from_flagged_lines_too():
    watcher, _ = watched(CALM[:300], learn_flagged=True, thorough=True)
    assert watcher.observe(STRANGE).flagged
    reader = fresh()
    reader.observe_many(b"".join([*CALM[:300], STRANGE]))
    assert scores(watcher, CALM[300:310]) == pytest.approx([reader.observe_many(l).mean() for l in CALM[300:310]])


def test_a_strange_line_now_and_then_is_always_flagged_and_a_burst_becomes_normal():
    watcher, _ = watched(CALM[:300])
    for at in range(300, 400, 10):
        assert watcher.observe(STRANGE).flagged
        scores(watcher, CALM[at : at + 10])
    burst = [watcher.observe(STRANGE).flagged for _ in range(40)]
    assert all(burst[:BURST_LINES])
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


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_line_may_be_any_kind_of_bytes(kind):
    assert watched(map(kind, CALM[:9]))[1] == watched(CALM[:9])[1]


# What comes in


def test_a_line_is_str_or_bytes():
    text = ["naïve\n", "日本\n", "no end"]
    _, of_text = watched(text)
    _, of_bytes = watched([line.encode() for line in text])
    assert of_text == of_bytes


def test_a_very_long_line_is_truncated_with_a_note():
    watcher = Watcher(fresh(Config(hidden=16, layers=1, memory_bits=10), learning=False))
    exact, longer = watcher.observe(b"x" * MAX_LINE_BYTES + b"\n"), watcher.observe(b"x" * (MAX_LINE_BYTES + 1) + b"\n")
    assert not exact.notes
    assert len(longer.text) == MAX_LINE_BYTES
    assert longer.notes == [f"line 2 has more than {MAX_LINE_BYTES:,} bytes and was truncated"]


def test_any_bytes_can_be_watched_and_recovered_from_the_text():
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
        ({"warmup": float("nan")}, "warmup.*nan"),
        ({"max_keys": float("nan")}, "max_keys.*nan"),
        ({"memory_budget": float("nan")}, "memory_budget.*nan"),
        ({"key_regex": b"host"}, "must be a str"),
        ({"alarms": 5}, "alarms must be a text such as"),
        ({"key_regex": "("}, "not a valid regular expression"),
    ],
)
def test_an_invalid_option_is_refused_with_its_name(options, words):
    with pytest.raises(ValueError, match=words):
        Watcher(fresh(), **options)


# Saving


def test_save_and_load_continues_to_the_last_bit(tmp_path):
    stream = [*CALM[:250], STRANGE, *CALM[250:300]]
    _, expected = watched([*stream, STRANGE, *CALM[300:420]], warmup=20)
    first, _ = watched(stream, warmup=20)
    first.save(tmp_path / "m")
    second = Watcher.load(tmp_path / "m", warmup=20)
    assert [second.observe(line) for line in [STRANGE, *CALM[300:420]]] == expected[len(stream) :]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def damage(path, change):
    arrays, values = read_checkpoint(path)
    change(values["watch"])
    write_checkpoint(path, arrays, values)


@pytest.mark.parametrize(
    "change",
    [
        lambda watch: watch.pop("keyed"),
        lambda watch: watch.pop("streams"),
        lambda watch: watch.update(streams=7),
        lambda watch: watch.update(streams=[7]),
        lambda watch: watch["streams"][0].pop("baseline"),
        lambda watch: watch["streams"][0].update(alarms=-1),
        lambda watch: watch["streams"][0].update(alarms=[]),
        lambda watch: watch.pop("scores"),
        lambda watch: watch.pop("position"),
        lambda watch: watch["streams"][0].pop("early"),
        lambda watch: watch["streams"][0].update(early=[7]),
        lambda watch: watch["streams"][0]["baseline"].update(recent=[-1]),
        lambda watch: watch["streams"][0]["baseline"].update(recent=[1.5]),
        lambda watch: watch["streams"][0]["baseline"].update(recent="abc"),
        lambda watch: watch["streams"][0]["baseline"].update(n_scores=None),
        lambda watch: watch["streams"][0]["baseline"].update(other=1),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_and_changes_nothing(tmp_path, change):
    watched(CALM[:10])[0].save(tmp_path / "m")
    damage(tmp_path / "m", change)
    watcher = Watcher(StreamPredictor.load(tmp_path / "m"))
    before = repr(watcher)
    with pytest.raises(ValueError, match=r"^[^\n]*m is not a usable model: [^\n]*$"):
        watcher.restore(tmp_path / "m")
    assert repr(watcher) == before


def test_any_model_can_be_watched_with(tmp_path):
    fresh().save(tmp_path / "m")
    assert Watcher.load(tmp_path / "m").observe(CALM[0]) == watched(CALM[:1])[1][0]


def test_what_a_watcher_saves_is_a_model(tmp_path):
    watcher, _ = watched(CALM[:200], thorough=True)
    watcher.save(tmp_path / "m")
    reader = fresh()
    reader.observe_many(b"".join(CALM[:200]))
    assert np.array_equal(StreamPredictor.load(tmp_path / "m").predict(), reader.predict())


def test_models_by_key_are_refused_without_the_regular_expression(tmp_path):
    watcher, _ = watched(CALM[:10], key_regex=r"job (\d)")
    watcher.save(tmp_path / "m")
    with pytest.raises(ValueError, match="regular expression"):
        Watcher.load(tmp_path / "m")


# Printing


def line_of(text, spans=(), flagged=True):
    return WatchedLine(text, 2.5, 9.0, flagged, list(spans), "a\x9bkey", [], raised=flagged)


def event_of(text, number=1):
    return Event(text, number=number)


CONTROLS = "\x00\x1b[2J\x7f\x9b\xad\u2028\u2029\u202e\ufeff\udc9b\U000e0001"


def test_jsonl_has_printable_characters_only_and_parses_to_the_same_text():
    line = line_of(CONTROLS + 'né"\\日本😀')
    written = format_json(line, event_of(line.text))
    assert written.endswith("\n")
    assert written[:-1].isprintable()
    assert "né" in written
    assert "日本😀" in written
    (record,) = objects(written.encode())
    assert record["text"] == line.text.replace("\udc9b", "\ufffd")
    assert bytes_of(record, "text") == line.text.encode("utf-8", "surrogateescape")
    assert (record["key"], "key_base64" in record) == (line.key, False)


def test_on_a_terminal_what_is_not_printable_is_escaped_and_elsewhere_unaltered():
    line = line_of(CONTROLS)
    assert CONTROLS in format_line(line, event_of(CONTROLS))
    shown = format_line(line, event_of(CONTROLS), terminal=True)[:-1]
    assert shown.replace("\xad", "").replace("\ufeff", "").isprintable()  # which no terminal obeys


def test_marks_stand_below_the_span_whatever_the_width_of_its_characters():
    line = line_of("日本\té\x1b end", [(3, 5)])
    text, marks = format_line(line, event_of(line.text), terminal=True).splitlines()
    assert text.endswith("日本\té\\x1b end")
    assert marks == " " * text.index("日") + "    \t^^^^^"


def test_spans_are_coloured_on_a_terminal_only():
    line = line_of("open the door", [(9, 13)])
    event = event_of(line.text)
    assert format_line(line, event, terminal=True, colour=True).endswith("open the \x1b[1;31mdoor\x1b[0m\n")
    assert format_line(line, event, colour=True) == format_line(line, event)


@pytest.mark.parametrize(
    ("options", "words"), [({"format": "tsv"}, "text or jsonl.*tsv"), ({"context": -1}, "context")]
)
def test_an_invalid_option_of_a_printer_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        LinePrinter(io.BytesIO(), **options)


def test_a_status_line_is_written_to_a_terminal_only():
    out = io.StringIO()
    with StatusLine(out) as status:
        assert not status.is_due
        status.show("half way")
    assert out.getvalue() == ""


# The command


def test_the_flagged_line_is_printed_with_its_number_as_it_came(log):
    result = run("watch", log, *FRESH)
    header, line, marks = result.stdout.decode().splitlines()
    assert header.split() == ["line", "bits_per_char", "z", "text"]
    assert line.split()[0] == "301"
    assert line.endswith(STRANGE.decode().strip())
    assert set(marks) == {" ", "^"}
    assert len(marks) <= len(line)
    assert re.fullmatch(rb"401 lines, 1 flagged, [\d,]+ familiar, [\d,]+ lines/s\n", result.stderr)


def test_jsonl_has_the_fields_and_all_prints_every_line(log):
    found = objects(run("watch", log, *FRESH, "--all", "--format", "jsonl").stdout)
    assert list(found[0]) == [
        "version", "line", "text", "time", "score", "bits_per_char", "probability", "flagged", "raised", "seen_before",
        "spans", "kind", "read", "key", "session", "path", "rotation", "offset", "lag_lines", "lag_seconds",
        "id", "verdict", "reason",
    ]  # fmt: skip
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


def test_context_separates_groups_with_a_rule(log):
    result = run("watch", "-", *FRESH, "--context", 1, stdin=log.read_bytes() * 2)
    lines = [line.split()[0] for line in result.stdout.decode().splitlines()[1:] if "^" not in line]
    assert lines == ["300", "301", "302", "--", "701", "702", "703"]


def test_jsonl_has_the_key_as_a_field():
    lines = b"".join(b"host-%d up\n" % (n % 3) for n in range(9))
    found = objects(run("watch", *FRESH, "--all", "--format", "jsonl", "--key-regex", r"host-(\d)", stdin=lines).stdout)
    assert [record["key"] for record in found] == ["0", "1", "2"] * 3


def test_binary_junk_and_mixed_encodings_are_printed_unaltered(log):
    junk = random.Random(5).randbytes(9000).replace(b"\n", b"\x00")
    latin = "naïve café déjà vu, señor: ÄÖÜäöüß\n".encode("latin-1")
    stdin = log.read_bytes() + junk + b"\n" + latin * 2 + "日本語のログ\n".encode() + "ログ".encode("utf-16")
    result = run("watch", *FRESH, "--all", stdin=stdin)
    assert result.returncode == 0, result.stderr
    for line in stdin.splitlines(keepends=True)[401:]:
        assert line.removesuffix(b"\n") in result.stdout
    found = objects(run("watch", *FRESH, "--all", "--format", "jsonl", stdin=stdin).stdout)
    assert b"\n".join(bytes_of(record, "text") for record in found) == stdin


def test_live_input_is_printed_line_by_line():
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


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_whole_lines_and_the_next_run_continues(tmp_path, number, exit_code):
    records = ["--all", "--format", "jsonl"]
    with start("watch", *FRESH, *records, "--save", tmp_path / "m") as process:
        process.stdin.write(b"".join(CALM[:150]) + b"half a li")
        first = [next_line(process) for _ in range(150)]
        process.send_signal(number)
        assert process.stdout.read() == b""
        assert process.stderr.read().startswith(b"150 lines, 0 flagged")
    assert process.returncode == exit_code
    second = run("watch", "--model", tmp_path / "m", *records, stdin=b"".join(CALM[150:200])).stdout
    found = [(record["text"], record["bits_per_char"], record["score"]) for record in objects(b"".join(first) + second)]
    assert found == [(line.text, line.bits_per_char, line.z) for line in watched(CALM[:200])[1]]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_work_finishes_the_record_and_saves(tmp_path, number, exit_code):
    records = ["--all", "--format", "jsonl"]
    (tmp_path / "log").write_bytes(b"".join(CALM) * 20)
    with start("watch", tmp_path / "log", *FRESH, *records, "--thorough", "--save", tmp_path / "m") as process:
        output = next_line(process)
        process.send_signal(number)
        output += process.stdout.read()
        summary = process.stderr.read().decode()
    assert process.returncode == exit_code
    found = objects(output)
    assert [record["line"] for record in found] == list(range(1, len(found) + 1))
    assert summary.startswith(f"{len(found):,} lines")
    n_bytes = sum(len(record["text"]) + 1 for record in found)
    assert StreamPredictor.load(tmp_path / "m").n_symbols == n_bytes


def test_a_closed_stdout_ends_watch_with_141(log):
    with start("watch", log, *FRESH, "--all") as process:
        next_line(process)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


class Terminal:
    """A process on a terminal that it has for both stdout and stderr, and what it has written there."""

    def __init__(self, *arguments, **environment):
        self.parent, child = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", **environment}
        self.process = start(*arguments, stdout=child, stderr=child, env=environment)
        os.close(child)
        self.output = b""

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read_until(self, part):
        while part not in self.output:
            ready, _, _ = select.select([self.parent], [], [], 60)
            assert ready, self.output
            self.output += os.read(self.parent, 65536)

    def end(self):
        self.process.stdin.close()
        try:
            while data := os.read(self.parent, 65536):
                self.output += data
        except OSError:
            pass  # the terminal is gone with its last process
        os.close(self.parent)
        assert self.process.wait() == 0
        return self.output

    def screen(self):
        """The rows that a user sees."""
        rows = re.sub(rb"\x1b\[[\d;]*m", b"", self.output).decode().split("\n")
        return ["".join(row.rstrip("\r").split("\r\x1b[K")[-1:]) if row.startswith("\r\x1b[K") else row for row in rows]


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_the_spans_are_coloured_and_control_characters_escaped(log, no_color):
    terminal = Terminal("watch", *FRESH, NO_COLOR=no_color)
    terminal.write(log.read_bytes() + b"\x1b]0;owned\x07 \x9b2J KERNEL PANIC 0xdeadbeef\n")
    output = terminal.end()
    assert b"\\x1b]0;owned\\x07" in re.sub(rb"\x1b\[[\d;]*m", b"", output)
    assert b"\x1b]0;" not in output
    assert (b"\x1b[1;31m" in output) == (not no_color)
    assert b"402 lines, 2 flagged" in output


@pytest.mark.parametrize("format", ["text", "jsonl"])
def test_on_a_terminal_no_line_is_printed_behind_the_status(format):
    terminal = Terminal("watch", *FRESH, "--format", format)
    terminal.write(b"".join(CALM[:300]))
    terminal.read_until(b"300 lines")
    for n in range(5):
        terminal.write(STRANGE)
        terminal.read_until(b"%d lines" % (301 + 2 * n))
        terminal.write(CALM[300 + n])
        terminal.read_until(b"%d lines" % (302 + 2 * n))
    terminal.end()
    rows = [row for row in terminal.screen() if "KERNEL PANIC" in row]
    assert len(rows) == 5
    for row in rows:
        assert re.match(r" +3\d\d  |\{\"version\": 1, \"line\": 3\d\d, ", row), row


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "nan"], ["threshold", "nan"]),
        (["--context", "-1"], ["--context", "-1"]),
        (["--format", "tsv"], ["--format", "tsv", "jsonl"]),
        (["--key-regex", "("], ["'('", "regular expression"]),
        (["--key-regex", "^.", "--max-keys", "0"], ["--max-keys", "0"]),
        (["--warmup", "-1"], ["warmup", "-1"]),
        (["--alarms", "5/year"], ["5/year", "10/10000"]),
        (["--alarms", "9/10"], ["9/10", "one alarm in two lines"]),
        (["--input-format", "xml"], ["xml", "journald"]),
        (["--multiline", "("], ["'('", "regular expression"]),
        (["--resume"], ["--resume", "--save"]),
        (["--save-every", "0"], ["--save-every", "0"]),
        (["--follow"], ["stdin", "cannot be followed"]),
        (["--from-end"], ["--from-end", "--follow"]),
        (["--metrics-port", "65536"], ["--metrics-port", "65536"]),
        (["--output", "missing/out"], ["missing/out"]),
        (["--metrics", "missing/out"], ["missing/out"]),
        (["--vocab", "text"], ["--vocab"]),
        (["--save", "missing/m"], ["missing/m"]),
        (["--model", "no-such-model"], ["no-such-model"]),
        (["no-such-file"], ["no-such-file"]),
    ],
)
def test_an_invalid_option_of_watch_is_refused(tmp_path, arguments, words):
    result = run("watch", *arguments, stdin=b"abc\n", cwd=tmp_path)
    assert_refused(result, *words)


# The beginning


def beginning(n, n_kinds):
    """n lines, of which n_kinds kinds begin in the first half, and then only known ones come."""
    words = ["".join(chr(97 + i // 26**k % 26) for k in range(3)) for i in range(n_kinds)]
    return [f"{words[min(i * 2 * n_kinds // n, n_kinds - 1)] if i % 3 else words[0]} is done\n" for i in range(n)]


def test_with_an_adaptive_warm_up_nothing_is_raised_until_new_kinds_are_rare(tmp_path):
    lines = beginning(1600, 40)
    watcher = Watcher(predictor_for_starts(), warmup="auto", alarms="10/1000")
    found = []
    for index, line in enumerate(lines):
        found.append(watcher.observe(line))
        if index == 500:  # a restart changes nothing
            watcher.save(tmp_path / "m")
            watcher = Watcher.load(tmp_path / "m", warmup="auto", alarms="10/1000")
    plain = Watcher(predictor_for_starts(), alarms="10/1000")
    assert sum(line.raised for line in map(plain.observe, lines)) >= 5
    assert not any(line.flagged for line in found)
    assert watcher.observe("!!! PANIC <<0xdead>> !!!\n").raised


def test_an_adaptive_warm_up_is_short_where_nothing_is_new_and_ends_where_everything_is():
    calm = Watcher(predictor_for_starts(), warmup="auto")
    assert not any(calm.observe(f"job {n % 7} done\n").flagged for n in range(100))
    assert calm.observe("!!! PANIC <<0xdead>> !!!\n").flagged
    beginning_of = Start()
    for _ in range(6_400):
        assert not beginning_of.is_over
        beginning_of.count(is_new=True)
    assert beginning_of.is_over


def predictor_for_starts():
    return StreamPredictor(config=Config(hidden=4, layers=1, window=8, memory_bits=10))


def test_a_warm_up_that_is_none_is_a_usage_error():
    for value, code, words in (("1h", 2, b"whole number or auto"), ("auto", 1, b"--warmup auto is for lines")):
        result = run("watch", "--warmup", value, *(["--session-regex", "a"] if code == 1 else []), stdin=b"")
        assert (result.returncode, result.stdout) == (code, b"")
        assert words in result.stderr
