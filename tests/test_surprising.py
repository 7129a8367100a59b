"""The most surprising lines of a log: one of each kind, with counts, in Python and on the command line."""

import gzip
import os

import pytest
from commands import run
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


def test_a_new_kind_that_becomes_usual_is_not_surprising():
    lines = [*lines_of(300), *(f"backup of volume {k} verified" for k in range(150)), "kernel panic"]
    first, *others = surprising(predictor(), lines)
    assert first.line.text == "kernel panic"
    assert all(each.line.z < 3 for each in others)


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
        (["-", "--input-format", "xml"], b"format of a log must be auto"),
    ):
        result = run("surprising", *options, cwd=tmp_path)
        assert (result.returncode, message in result.stderr) == (1, True), result.stderr
