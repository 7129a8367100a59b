"""The most surprising lines of a log: one of each kind, with counts, in Python and on the command line."""

import gzip
import heapq
import os

import pytest
from commands import run
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from test_cli import objects
from test_watch_run import FRESH, JSONL

from streamlstm import Config, StreamPredictor, surprising
from streamlstm.watch.surprising import MAX_KINDS, READ_LINES, SurprisingKinds


def predictor():
    return StreamPredictor(config=Config(hidden=16, layers=1, window=8, memory_bits=10))


def lines_of(n, first=0):
    return [f"2026-11-26 10:{k // 60 % 60:02}:{k % 60:02} job {k % 7} done in {k % 97} ms" for k in range(first, n)]


def log_of(n=600):
    lines = lines_of(n)
    for k in range(450, 480, 10):
        lines[k] = f"2026-11-26 11:00:00 DISK {k} IS ON FIRE"
    lines[500] = "2026-11-26 11:00:01 kernel panic"
    return lines


def test_each_kind_is_listed_once_with_its_count():
    found = surprising(predictor(), [line[20:] for line in log_of()], top=3)
    assert sorted((each.line.kind, each.n_lines) for each in found) == [
        ("DISK # IS ON FIRE", 3),
        ("job # done in # ms", 596),
        ("kernel panic", 1),
    ]
    assert found[-1].n_lines == 596
    assert sum(each.place == 501 for each in found[:2]) == 1
    assert {each.place for each in found[:2]} < {451, 461, 471, 501}
    zs = [each.line.z for each in found]
    assert zs == sorted(zs, reverse=True)
    assert zs[1] > 5 > zs[2]


def test_a_kind_that_occurs_throughout_the_log_is_not_surprising():
    lines = lines_of(1500)
    for k in range(120, 1500, 10):
        lines[k] = f"backup of volume {k} verified"
    first, *others = surprising(predictor(), [*lines, "kernel panic"])
    assert first.line.text == "kernel panic"
    assert sorted(each.n_lines for each in others) == [138, 1362]
    assert all(each.line.z < 5 for each in others)


USUAL = [f"{what} {k % 7} done in {k % 97} ms" for k, what in enumerate(["job", "mail", "job", "job"] * 100)]


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    n=st.lists(st.integers(1, 10_000) | st.sampled_from([1, 100, 101, 128, 129]), min_size=2, max_size=2),
    start=st.integers(101, 400),
    part=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
@example(n=[1, 10_000], start=101, part=0.0)
@example(n=[100, 101], start=101, part=0.0)
@example(n=[100, 101], start=500, part=0.0)
@example(n=[1, 10_000], start=500, part=1.0)
def test_a_new_kind_that_occurs_more_often_does_not_rank_lower(n, start, part):
    def rank(n):
        end = start + part * (len(USUAL) - start)
        at = sorted(start + (int(end) - start) * k // n for k in range(n))
        log = list(
            heapq.merge(enumerate(USUAL), ((k, "cannot reach db: refused") for k in at), key=lambda each: each[0])
        )
        found = surprising(predictor(), (line for _, line in log))
        own = next(each for each in found if each.line.text.startswith("cannot"))
        assert own.n_lines == n
        places = [number for number, (_, line) in enumerate(log, 1) if line.startswith("cannot")]
        assert (own.first, own.last) == (places[0], places[-1])
        return found.index(own)

    fewer, more = sorted(n)
    assert rank(more) <= rank(fewer) == 0


def test_a_burst_in_the_first_tenth_of_the_log_does_not_rank_lower_either():
    for n in (1, 100, 101, 400):
        log = [*USUAL[:110], *["cannot reach db: refused"] * n, *USUAL[110:], *USUAL * 2]
        assert surprising(predictor(), log, top=1)[0].n_lines == n


def test_the_command_shows_an_outage_and_when_it_began_and_ended(tmp_path):
    """Four hundred lines of an error that was never there before are the most surprising kind."""
    lines = lines_of(900)
    lines[700:700] = [f"2026-11-26 10:30:{k % 60:02} cannot reach db: refused" for k in range(400)]
    path = tmp_path / "app.log"
    path.write_text("\n".join(lines) + "\n")
    _, first, _, times, *_ = run("surprising", path, *FRESH).stdout.decode().splitlines()
    assert first.split()[0] == "400"
    assert times.strip() == "first 2026-11-26 10:30:00, last 2026-11-26 10:30:39"
    found = objects(run("surprising", path, "--top", "1", *FRESH, *JSONL).stdout)[0]
    assert [found[f"{name}_{what}"] for name in ("first", "last") for what in ("time", "line", "path")] == [
        "2026-11-26 10:30:00",
        701,
        str(path),
        "2026-11-26 10:30:39",
        1100,
        str(path),
    ]


def test_a_part_of_a_log_is_printed_with_context_in_the_order_of_time(tmp_path):
    lines = log_of(900)
    lines[200] = "2026-11-26 10:03:20 too early: never printed"
    lines[800] = "2026-11-26 10:13:20 out of memory"
    path = tmp_path / "app.log"
    path.write_text("\n".join(lines[:801]) + "\n  Traceback: a line without a time\n" + "\n".join(lines[801:]))
    options = "--since", "10:07", "--until", "2026-11-26T11:00:00", "--sort", "time", "--context", "2"
    found = objects(run("surprising", path, *options, *FRESH, *JSONL).stdout)
    times = [each["time"] for each in found if each["time"]]
    assert times == sorted(times)
    assert "out of memory" in [each["text"] for each in found]
    assert "  Traceback: a line without a time" in [each["text"] for each in found]
    assert not [each for each in found if "early" in each["text"] or "panic" in each["text"]]
    memory = next(each for each in found if each["text"] == "out of memory")
    assert (memory["before"], memory["after"]) == (lines[798:800], ["  Traceback: a line without a time", lines[801]])
    text = run("surprising", path, *options, *FRESH).stdout.decode().splitlines()
    at = next(k for k, row in enumerate(text) if "out of memory" in row and row.split()[0] == "1")
    assert [row.split()[:3] for row in text[at - 2 : at]] == [
        [str(number), *lines[number - 1].split()[:2]] for number in (799, 800)
    ]
    assert "--" in text
    assert "before" not in objects(run("surprising", path, *FRESH, *JSONL).stdout)[0]


def test_frequent_kinds_are_read_ever_more_rarely():
    kinds, all_kinds = SurprisingKinds(predictor()), SurprisingKinds(predictor(), thorough=True)
    for k, line in enumerate(lines_of(1100)):
        kinds.take(line, k)
        all_kinds.take(line, k)
    assert (kinds.n_lines, kinds.n_read) == (1100, READ_LINES + 3)
    assert all_kinds.n_read == 1100


def test_a_short_text_has_a_short_warmup():
    found = surprising(predictor(), ["a b c"] * 12 + ["XYZ!!"] + ["a b c"] * 3)
    assert "XYZ!!" in [each.line.text for each in found]
    assert surprising(predictor(), []) == []
    with pytest.raises(ValueError, match="top must be at least 0, not -1"):
        surprising(predictor(), ["a"], top=-1)


def test_memory_is_bounded(monkeypatch):
    import streamlstm.watch.surprising as module

    monkeypatch.setattr(module, "MAX_KINDS", 20)
    kinds = SurprisingKinds(predictor(), warmup=5)
    for k in range(100):
        kinds.take("ab" * k, k)
    assert len(kinds.top(1000)) <= 20 < MAX_KINDS


def test_the_command_reads_compressed_and_rotated_files(tmp_path):
    lines = log_of()
    path = tmp_path / "app.log"
    with gzip.open(f"{path}.2.gz", "wt") as file:
        file.write("\n".join(lines[:200]) + "\n")
    (tmp_path / "app.log.1").write_text("\n".join(lines[200:460]) + "\n")
    path.write_text("\n".join(lines[460:]) + "\n")
    for age, name in enumerate((path, f"{path}.1", f"{path}.2.gz")):
        os.utime(name, (1e9 - age, 1e9 - age))
    result = run("surprising", "--rotated", path, "--top", "2", *FRESH, *JSONL)
    found = objects(result.stdout)
    assert {(each["kind"], each["count"], os.path.basename(each["path"])) for each in found} == {
        ("DISK # IS ON FIRE", 3, "app.log"),
        ("kernel panic", 1, "app.log"),
    }
    assert all(each["version"] == 1 and each["score"] > 5 for each in found)
    assert {each["line"] for each in found} == {11, 41}
    assert b"600 lines, " in result.stderr
    named = run("surprising", f"{path}.2.gz", f"{path}.1", path, "--top", "2", *FRESH, *JSONL)
    assert objects(named.stdout) == found


def test_a_file_that_is_named_twice_is_read_twice(tmp_path):
    path = tmp_path / "p.log"
    path.write_text("\n".join(lines_of(150)) + "\n")
    assert b"300 lines, " in run("surprising", path, path, *FRESH).stderr


def test_the_command_tells_what_it_skipped_in_the_last_line_too(tmp_path):
    (tmp_path / "p.log").write_bytes("\n".join([*lines_of(20), "\0\0\0the end", ""]).encode())
    result = run("surprising", "p.log", *FRESH, cwd=tmp_path)
    assert b"p.log: skipped 3 NUL bytes at the beginning of lines" in result.stderr
    assert b"21 lines" in result.stderr


def test_the_command_marks_what_is_surprising(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("\n".join(log_of()))
    header, first, marks, *_ = run("surprising", path, *FRESH).stdout.decode().splitlines()
    assert header.split() == ["count", "line", "bits_per_char", "z", "text"]
    assert first.split()[:2] in (["1", "501"], ["3", "451"], ["3", "461"], ["3", "471"])
    assert set(marks) == {" ", "^"}
    assert header.index("text") - 2 <= marks.index("^")
    assert b"time" not in run("surprising", path, *FRESH).stdout


def test_wrong_options_are_refused(tmp_path):
    for options, message in (
        (["none.log"], b"none.log: No such file"),
        (["-", "--top", "-1"], b"--top must be at least 0, not -1"),
        (["-", "--format", "xml"], b"--format must be"),
        (["-", "--sort", "size"], b"--sort must be"),
        (["-", "--context", "-1"], b"--context must be at least 0, not -1"),
        (["-", "--since", "yesterday"], b"--since must be a date and time such as 2026-11-26 22:40, or a time of day"),
        (["-", "--until", "25:00"], b"--until must be a date and time"),
        (["-", "--input-format", "xml"], b"format of a log must be auto"),
    ):
        result = run("surprising", *options, cwd=tmp_path)
        assert (result.returncode, message in result.stderr) == (1, True), result.stderr
