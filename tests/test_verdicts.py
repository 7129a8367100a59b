"""Verdicts: ids that never change, files that people edit, what is raised, and that no verdict is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from commands import kills, run, start
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import objects

from streamlstm import Config, SessionWatcher, StreamPredictor, Watcher
from streamlstm.watch.budget import Budget, BudgetKeeper
from streamlstm.watch.verdicts import Verdict, VerdictFile, Verdicts, alarm_id, write_verdicts

SHAPE = Config(hidden=4, layers=1, window=8, memory_bits=10)
FRESH = ["--hidden", "4", "--layers", "1", "--window", "8", "--memory-bits", "10"]


def predictor():
    return StreamPredictor(config=SHAPE)


def usual(n):
    return f"job {n % 7} done in {n % 5} ms\n"


STRANGE = ["KERNEL PANIC at {}", "!! disk {} on fire !!", "<<lost quorum, {} of 9>>", "*** stack smashed {} ***"]


def lines_of(n, every=40, kinds=STRANGE):
    """Usual lines, and after the first 200 every so often a strange one, of the kinds in turn."""
    return [kinds[i // every % len(kinds)].format(i) + "\n" if i % every == 0 and i > 200 else usual(i)
            for i in range(n)]  # fmt: skip


# Ids


def test_ids_are_those_of_every_version():
    assert alarm_id("") == "e4a6a0577479b2b4"
    assert alarm_id("# is full") == "bd39a67b03101590"
    assert alarm_id("# is full", "web-1") == "bd39a67b03101590.011b87832f454e67"
    assert alarm_id("caf\udce9") == "ef456fee55e80480"


def test_an_alarm_has_the_id_of_its_template_and_key():
    watcher = Watcher(predictor(), key_regex=r"^(\w+):")
    a, b = (watcher.observe(f"{host}: disk 7 is full\n") for host in ("web", "db"))
    assert a.id == alarm_id(a.kind, "web") != b.id
    assert watcher.observe("web: disk 19 is full\n").id == a.id
    assert a.id.partition(".")[0] == alarm_id(a.kind)


# Lines of a file

IDS = st.from_regex(r"[0-9a-f]{16}(\.[0-9a-f]{16})?", fullmatch=True)
COMMENTS = st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=["Cs"]), max_size=30)
TIMES = st.sampled_from(["2026-12-24", "2026-12-24T06:00", "2026-12-24T06:00:30+02:00", "1970-01-02T00:00Z"])
VERDICTS = st.builds(Verdict, st.sampled_from(["normal", "watch"]), IDS, comment=COMMENTS.map(str.strip)) | st.builds(
    Verdict, st.just("mute"), IDS, TIMES, COMMENTS.map(str.strip)
)


@given(VERDICTS)
def test_a_verdict_is_read_as_it_was_written(verdict):
    assert Verdict.parse(verdict.line()) == verdict


@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")))
@settings(max_examples=300)
def test_any_line_is_a_verdict_or_nothing_or_refused(line):
    try:
        verdict = Verdict.parse(line)
    except ValueError:
        return
    assert verdict is None or verdict.decision in ("normal", "watch", "mute")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fine 0123456789abcdef", "normal, watch or mute"),
        ("normal 0123456789ABCDEF", "16 hexadecimal digits"),
        ("normal 0123456789abcdef.77", "16 hexadecimal digits"),
        ("normal", "normal ID"),
        ("normal 0123456789abcdef because", "comment after"),
        ("normal 0123456789abcdef until 2026-12-24", "has no time"),
        ("mute 0123456789abcdef", "needs a time"),
        ("mute 0123456789abcdef until tomorrow", "not 'tomorrow'"),
        ("mute 0123456789abcdef until 2026-13-24", "not '2026-13-24'"),
    ],
)
def test_a_line_that_is_no_verdict_is_refused(line, words):
    with pytest.raises(ValueError, match=words):
        Verdict.parse(line)


# The file


def test_invalid_lines_are_said_once_with_their_number_and_the_others_count(tmp_path):
    path = tmp_path / "verdicts"
    path.write_bytes(
        b"# what we know\r\n\r\nnormal 0123456789abcdef\r\nnormal xyz\n\xff\xfe\nwatch 0123456789abcdef # no"
    )
    file = VerdictFile(path)
    assert file.read() == [Verdict("watch", "0123456789abcdef", comment="no")]
    assert [note.split(":")[0] for note in file.notes] == [f"{path}, line 4", f"{path}, line 5"]
    file.notes.clear()
    file.read()
    assert file.notes == []


def test_a_file_is_read_again_when_it_has_changed_and_is_the_same_for_a_while(tmp_path):
    path = tmp_path / "verdicts"
    file = VerdictFile(path)
    assert file.read() is None
    assert file.changed() is file.changed() is None
    path.write_text("normal 0123456789abcdef\n")
    assert file.changed() is None
    assert len(file.changed()) == 1
    assert file.changed() is None
    path.write_text("")  # as an editor does that then writes the content
    assert file.changed() is None
    path.write_text("normal 0123456789abcdef\nwatch 0000456789abcdef\n")
    assert file.changed() is None
    assert len(file.changed()) == 2
    path.unlink()
    assert file.changed() is file.changed() is None
    write_verdicts(path, [])
    assert (file.changed(), file.changed()) == (None, [])


def test_a_folder_and_a_file_that_is_written_are_refused(tmp_path):
    (tmp_path / "log").write_text("x\n")
    for wrong in (tmp_path, tmp_path / "log", tmp_path / "out"):
        result = run("watch", tmp_path / "log", *FRESH, "--verdicts", wrong, "--output", tmp_path / "out")
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.startswith(b"streamlstm: ")
        assert result.stderr.count(b"\n") == 1


# What is raised


def watched(lines, verdicts=(), **options):
    watcher = Watcher(predictor(), **options)
    watcher.replace_verdicts(verdicts)
    return watcher, [watcher.observe(line) for line in lines]


def raised(found):
    return [(index, line.kind) for index, line in enumerate(found) if line.raised]


@pytest.mark.parametrize("options", [{}, {"alarms": "10/500"}, {"alarms": "10/500", "threshold": 3.0}])
def test_a_normal_kind_is_silent_and_the_others_are_raised_as_before(options):
    lines = lines_of(1500)
    before = raised(watched(lines, **options)[1])
    kind = before[0][1]
    watcher, found = watched(lines, [Verdict("normal", alarm_id(kind))], **options)
    assert kind not in {each for _, each in raised(found)}
    others = {each for _, each in before} - {kind, "job # done in # ms"}
    assert others <= {each for _, each in raised(found)}
    assert not any(line.flagged for line in found if line.kind == kind)
    assert watcher.counts.silenced >= 1
    assert {line.verdict for line in found if line.kind == kind} == {"normal"}


def test_a_normal_kind_is_learned_at_once_and_what_was_said_can_be_undone():
    lines = lines_of(600, kinds=STRANGE[:1])
    watcher, found = watched(lines[:400])
    id = next(line.id for line in found if line.raised)
    watcher.verdict(id, "normal")
    bits = [line.bits_per_char for line in map(watcher.observe, [STRANGE[0].format(i) + "\n" for i in range(400, 430)])]
    assert bits[-1] < bits[0] / 2
    watcher.verdict(id, None)
    assert watcher.verdicts == []
    assert watcher.observe("!!! never seen !!!\n").raised


def test_a_watched_kind_is_always_raised_whatever_its_z_and_what_is_learned_does_not_change():
    lines, watched_kind = lines_of(800), alarm_id("job # done in # ms")
    _, before = watched(lines)
    watcher, found = watched(lines, [Verdict("watch", watched_kind)])
    assert all(line.raised and line.flagged for line in found if line.kind == "job # done in # ms")
    assert [line.bits_per_char for line in found] == [line.bits_per_char for line in before]
    assert watcher.counts.raised == sum(line.raised for line in found)


def test_a_muted_kind_is_raised_again_when_the_time_is_over(monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr("streamlstm.watch.watcher.Verdicts", lambda: Verdicts(clock=lambda: now[0]))
    watcher, _ = watched(lines_of(400))
    line = "KERNEL PANIC at {}\n"
    id = alarm_id("KERNEL PANIC at #")
    watcher.verdict(id, "mute", until="1970-01-12T13:46:41Z")
    silent = watcher.observe(line.format(9))
    assert (silent.flagged, silent.raised, silent.verdict) == (True, False, "mute")
    now[0] += 2
    assert watcher.observe(line.format(9)).raised


def test_a_verdict_about_one_key_comes_before_one_about_all():
    kind = "KERNEL PANIC at #"
    verdicts = Verdicts()
    verdicts.put(Verdict("normal", alarm_id(kind)))
    verdicts.put(Verdict("watch", alarm_id(kind, "web")))
    assert [verdicts.decision(kind, key) for key in ("web", "db", "")] == ["watch", "normal", "normal"]


def test_sessions_are_answered_by_their_first_reason():
    def sessions():
        watcher = SessionWatcher(predictor(), session_regex=r"job-\d+", warmup=20)
        for n in range(300):
            for what in ("begins", "reads", "ends"):
                watcher.observe(f"job-{n} {what}", seconds=float(n))
            if n % 50 == 49:
                watcher.observe(f"job-{n} EXPLODES !!", seconds=float(n))
        return watcher

    watcher = sessions()
    alarms = [each for each in watcher.finish() if each.raised]
    assert alarms
    again = sessions()
    again.verdict(alarms[0].id, "normal", comment="they do")
    found = again.finish()
    assert not any(each.raised for each in found if each.kind == alarms[0].kind)
    assert again.counts.silenced == sum(each.verdict == "normal" for each in found) > 0


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 5)), max_size=400), st.sets(st.integers(0, 5)))
@settings(max_examples=60, deadline=None)
def test_a_silenced_kind_adds_no_alarms_beyond_the_budget_and_the_bucket_is_never_overdrawn(lines, silenced):
    keeper = BudgetKeeper(Budget.parse("4/100"))
    n_raised = 0
    for index, (score, kind) in enumerate(lines):
        keeper.receive()
        judged = keeper.judge(score, f"kind {kind}", is_silenced=kind in silenced)
        assert not (judged.is_raised and kind in silenced)
        n_raised += judged.is_raised
        assert n_raised <= 4 + (index + 1) * 4 / 100 + 1e-9
        account = keeper.describe()
        assert 0 <= account["account"][0] + account["spared"] <= 8
        if index % 50 == 0:
            again = BudgetKeeper(keeper.budget)
            again.restore(json.loads(json.dumps(account)))
            assert again.describe() == account


# What is kept


@pytest.mark.parametrize("make", [Watcher, SessionWatcher])
def test_verdicts_are_saved_with_the_watcher(tmp_path, make):
    watcher = make(predictor())
    said = [Verdict("normal", "0123456789abcdef", comment="caf\u00e9"), Verdict("mute", "1" * 16, "2030-01-01")]
    watcher.replace_verdicts(said)
    watcher.save(tmp_path / "w.safetensors")
    again = make.load(tmp_path / "w.safetensors")
    assert again.verdicts == said
    with pytest.raises(ValueError, match="16 hexadecimal"):
        again.verdict("nonsense", "normal")
    assert again.verdicts == said


def test_a_file_changes_what_is_raised_while_watch_runs(tmp_path):
    path, verdicts, state = tmp_path / "app.log", tmp_path / "verdicts", tmp_path / "w.safetensors"
    path.write_text("".join(lines_of(300, kinds=STRANGE[:1])))
    process = start("watch", "--follow", path, *FRESH, "--format", "jsonl", "--verdicts", verdicts, "--save", state)
    try:
        first = json.loads(process.stdout.readline())
        verdicts.write_text(f"normal {first['id']}  # it is\n")
        time.sleep(3.5)
        with open(path, "a") as log:
            log.writelines([STRANGE[0].format(1) + "\n", STRANGE[1].format(2) + "\n"])
        while (record := json.loads(process.stdout.readline()))["line"] <= 300:
            pass
        assert record["line"] == 302
    finally:
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1].decode()
    assert "1 silenced by a verdict" in errors
    result = run("watch", path, "--model", state, "--all", "--format", "jsonl")
    assert "normal" in {record["verdict"] for record in objects(result.stdout)}


WRITER = """
import sys
from streamlstm.watch.verdicts import Verdict, VerdictFile, write_verdicts
path, said = sys.argv[1], sys.argv[2]
while True:
    known = VerdictFile(path).read() or []
    new = Verdict("normal", f"{len(known):016x}", comment="n")
    write_verdicts(path, [*known, new])
    with open(said, "a") as log:
        log.write(new.line() + "\\n")
"""


@pytest.mark.parametrize("n_kills", [3, pytest.param(kills(100), marks=pytest.mark.slow)])
def test_killed_while_verdicts_change_none_is_lost(tmp_path, n_kills):
    path, said, log, state = (tmp_path / name for name in ("verdicts", "said", "app.log", "w.safetensors"))
    log.write_text("".join(lines_of(300)))
    draw = random.Random(n_kills)
    for _ in range(n_kills):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path, said], stderr=subprocess.PIPE)
        reader = start("watch", "--follow", log, *FRESH, "--verdicts", path, "--save", state, "--save-every", "0.05", "--resume")  # fmt: skip  # noqa: E501
        time.sleep(draw.uniform(0.8, 2.5))
        for process in (reader, writer):
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        found = {verdict.line() for verdict in VerdictFile(path).read() or []}
        assert set(said.read_text().splitlines() if said.exists() else []) <= found
    assert found
    result = run("watch", log, "--verdicts", path, "--save", state, "--resume")
    assert result.returncode == 0, result.stderr
    assert {verdict.line() for verdict in Watcher.load(state).verdicts} == found
