"""Sessions: what they cost, when they end, and that a watcher of them continues exactly."""

import itertools
import os
import random
import re
import signal
from decimal import Decimal, localcontext

import numpy as np
import pytest
from commands import run, start
from hypothesis import given
from hypothesis import strategies as st
from test_cli import bytes_of, objects
from test_watch_run import FRESH, JSONL, records, wait_for

from streamlstm import Config, SessionWatcher, StreamPredictor, Vocabulary, Watcher
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.watch.event_scores import MAX_SHAPES, EventNumbers, EventOrder, level_of
from streamlstm.watch.exact_bits import STEPS, bits_of, exp_of
from streamlstm.watch.sessions import MAX_NEW, MAX_ORDERED
from streamlstm.watch.templates import MAX_KIND_LENGTH, event_type_of, kind_of

REGEX = r"req-\d+"
PARTS = ["accepted from 10.0.0.{}", "reads /var/data/{}", "reads /var/data/{}", "replies after {} ms", "closed"]


def predictor():
    return StreamPredictor(config=Config(hidden=16, layers=1, window=8, memory_bits=10))


def usual(n):
    """A session that may have a retry, and reads one or more files."""
    draw = random.Random(n)
    parts = [PARTS[0], *[PARTS[1]] * draw.choice([1, 2, 2, 3]), *PARTS[3:]]
    if draw.random() < 0.2:
        parts.insert(1, "retries")
    return [f"req-{n} {part.format(draw.randrange(99))}" for part in parts]


def fitted(n=200, **options):
    watcher = SessionWatcher(predictor(), session_regex=REGEX, **options)
    watcher.fit(usual(k) for k in range(n))
    return watcher


def interleaved(sessions, seed=0):
    """The lines of sessions, several of which are open at a time."""
    draw, lines, waiting = random.Random(seed), [], [list(session) for session in sessions]
    while waiting:
        session = draw.choice(waiting[:5])
        lines.append(session.pop(0))
        waiting = [each for each in waiting if each]
    return lines


# What is scored


def test_content_number_and_order_each_make_a_session_unusual():
    watcher = fitted()
    usual_scores = [watcher.score(usual(n)) for n in range(1000, 1100)]
    limit = np.quantile(usual_scores, 0.99)
    first, *reads, reply, end = usual(2000)
    strange = {
        "a new line": [first, "req-2000 segmentation fault", *reads, reply, end],
        "a line is missing": [first, *reads, end],
        "a line comes twice": [first, *reads, reply, reply, end],
        "the order is another": [reply, first, *reads, end],
        "it ends early": [first],
    }
    scores = {what: watcher.score(lines) for what, lines in strange.items()}
    assert {what: score for what, score in scores.items() if score <= limit} == {}
    assert np.median(usual_scores) < 4


def test_numbers_that_vary_cost_less_than_those_that_do_not():
    numbers = EventNumbers()
    for n in range(300):
        numbers.add({1: 3, 2: n % 10})
    varied, fixed = numbers.cost({1: 3, 2: 12}), numbers.cost({1: 4, 2: 5})
    assert varied.bits + 5 < fixed.bits
    assert fixed.symbol == 1


def test_a_mode_of_few_sessions_costs_once_and_not_once_per_symbol():
    numbers = EventNumbers()
    for n in range(400):
        numbers.add(dict.fromkeys(range(1, 9), 2) if n % 20 == 0 else dict.fromkeys(range(1, 9), 1))
    assert numbers.cost(dict.fromkeys(range(1, 9), 2)).bits < 6
    assert numbers.cost({**dict.fromkeys(range(1, 9), 1), 3: 2}).bits > 8


def test_the_order_of_events_that_run_side_by_side_costs_little_however_long():
    draw, order = random.Random(3), EventOrder()
    shuffled = [draw.sample([1, 2, 3] * 8, 24) for _ in range(400)]
    for symbols in shuffled[:300]:
        order.add([9, *symbols, 8])
    assert np.mean([order.cost([9, *symbols, 8]).bits for symbols in shuffled[300:]]) < 2
    assert order.cost([*shuffled[300][:10], 9, *shuffled[300][10:], 8]).bits > 3


def test_bits_are_those_of_the_logarithm():
    for p in (1.0, 0.9999, 0.7, 0.5, 0.3, 1e-3, 1e-12):
        assert abs(bits_of(p) / STEPS + np.log2(p)) <= 1 / STEPS
    for x in np.linspace(-101, 1, 5000).tolist():
        assert abs(exp_of(x) / np.exp(x) - 1) < 3e-16
    with localcontext() as context:
        context.prec = 40
        points = np.linspace(-101, 1, 4001).tolist()
        n_other = sum(exp_of(x) != float(Decimal(x).exp()) for x in points)
    assert n_other < len(points) / 200  # than the nearest number, which version 1.0 got from the C library
    levels = [level_of(n) for n in range(5000)]
    assert levels == sorted(levels)
    assert set(np.diff(levels)) <= {0, 1}


def test_the_words_that_vary_are_not_part_of_an_event_type():
    assert event_type_of("req-7 reads /a/b at 10:31 in 5 ms") == event_type_of("req-8 reads /c at 9:07 in 17 ms")
    assert event_type_of("reads a") != event_type_of("reads b")


@given(st.text("ab0x1f-+/.:,_ \t", max_size=40), st.integers())
def test_lines_of_one_kind_have_one_event_type(line, seed):
    draw = random.Random(seed)
    other = re.sub("[0-9]+", lambda _: str(draw.choice([5, 77, "1/2", "3.4", "9:1"])), line)
    if kind_of(line) == kind_of(other):
        assert event_type_of(line) == event_type_of(other)


def test_the_event_type_of_a_long_word_takes_linear_time():
    assert event_type_of("a" * 2**18) == "a" * MAX_KIND_LENGTH  # quadratic time would be half an hour


def test_scoring_changes_nothing(tmp_path):
    watcher = fitted()
    watcher.save(tmp_path / "a")
    scores = [watcher.score(["req-1 never seen", *usual(n)]) for n in range(3)]
    watcher.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [watcher.score(["req-1 never seen", *usual(n)]) for n in range(3)] == scores


def test_a_stream_gives_the_scores_of_whole_sessions():
    one, other = fitted(learn_flagged=True), fitted(learn_flagged=True)
    sessions = [usual(n) for n in range(500, 520)]
    lines = interleaved(sessions)
    assert not [ended for line in lines for ended in one.observe(line)]
    expected = []
    for session in sorted(sessions, key=lambda each: lines.index(each[0])):
        expected.append(other.score(session))
        other.fit([session])
    assert [ended.score for ended in one.finish()] == expected


def test_flagged_sessions_are_not_learned_from_but_a_burst_is():
    watcher = fitted()
    strange = [[f"req-{n} accepted from 10.0.0.1", f"req-{n} disk is on fire"] for n in range(9)]
    flagged = []
    for session in strange:
        for line in session:
            watcher.observe(line)
        flagged += [ended.flagged for ended in watcher.finish()]
    assert flagged[:3] == [True] * 3
    assert not flagged[-1]


def test_lines_may_be_bytes():
    watcher = fitted(20)
    assert watcher.score([line.encode() + b"\n" for line in usual(50)]) == watcher.score(usual(50))
    watcher.observe(b"req-1 \xff\n")
    assert watcher.n_open == 1


def test_reasons_say_what_is_unusual():
    watcher = fitted()
    first, *reads, _, end = usual(2000)
    for line in (first, "req-2000 segmentation fault", *reads, end):
        watcher.observe(line)
    (ended,) = watcher.finish()
    assert ended.flagged
    assert ended.session == "req-2000"
    assert "new: # segmentation fault" in ended.reasons
    assert "0 × # replies after # ms" in ended.reasons
    assert ended.score == pytest.approx(ended.content + ended.number + ended.order)


# When sessions end, and what is bounded


def test_a_session_ends_when_it_is_idle_or_there_are_too_many():
    watcher = SessionWatcher(predictor(), session_regex=REGEX, idle_seconds=60, max_open=2)
    assert watcher.observe("req-1 begins", seconds=0) == []
    assert watcher.observe("req-2 begins", seconds=50) == []
    assert [ended.session for ended in watcher.observe("no session", seconds=70)] == ["req-1"]
    assert watcher.observe("req-3 begins", seconds=75) == []
    assert [ended.session for ended in watcher.observe("req-4 begins", seconds=80)] == ["req-2"]
    assert [ended.session for ended in watcher.pass_time(200)] == ["req-3", "req-4"]
    assert (watcher.n_open, watcher.n_outside, watcher.counts.lines) == (0, 1, 5)


def test_a_clock_that_jumps_back_ends_nothing():
    watcher = SessionWatcher(predictor(), session_regex=REGEX, idle_seconds=60)
    for seconds in (1e9, 10.0, 20.0, 30.0):
        assert watcher.observe("req-1 works", seconds=seconds) == []


def test_memory_is_bounded(monkeypatch):
    import streamlstm.watch.templates as types

    monkeypatch.setattr(types, "MAX_TYPES", 50)
    monkeypatch.setattr(types, "MAX_UNKNOWN", 40)
    watcher = SessionWatcher(predictor(), session_regex=REGEX, max_open=3, learn_flagged=True)
    letters = itertools.product("abcdefgh", repeat=3)
    for n in range(60):
        for _ in range(3):
            watcher.observe(f"req-{n} {''.join(next(letters))} happens")
    for _ in range(3 * MAX_ORDERED):
        watcher.observe("req-99 aaa happens")
    watcher.observe("req-98 begins")
    described = watcher._describe()
    assert len(described["types"]["known"]) <= 50
    assert len(described["types"]["unknown"]) <= 40
    assert watcher.n_open == 3
    assert max(len(symbols) for _, symbols, *_ in described["open"]["sessions"]) == MAX_ORDERED
    numbers = EventNumbers()
    for n in range(MAX_SHAPES + 50):
        numbers.add({1: n % 40 + 1, 2: n // 40 + 1})
    assert len(numbers.describe()["shapes"]) <= MAX_SHAPES
    watcher = SessionWatcher(predictor())
    for n in range(MAX_NEW + 20):
        watcher.observe(f"{'x' * n} happens", session="s")
    (ended,) = watcher.finish()
    assert ended.n_lines == MAX_NEW + 20


def test_halving_keeps_what_is_usual(monkeypatch):
    import streamlstm.watch.event_scores as event_numbers
    import streamlstm.watch.event_scores as event_order

    monkeypatch.setattr(event_numbers, "SESSIONS", 64)
    monkeypatch.setattr(event_order, "SESSIONS", 64)
    watcher = fitted(300)
    assert watcher.score(usual(1000)) + 5 < watcher.score(usual(1000)[:-1])
    assert watcher._numbers.describe()["weight"] < 64


# The name of a session, and what fits


def test_the_name_of_a_session_is_replaced_where_the_expression_matched_and_not_inside_words():
    watcher = SessionWatcher(predictor(), session_regex=r"user=(\w+)")
    names = [*(f"user-{letter}".replace("-", "") for letter in "abcdefghij"), "o", "in", "e", "logged", "user", "r"]
    lines = ["user={0} logged in from office, for user={0}", "user={0} opened report", "user={0} logged out"]
    watcher.fit([[line.format(name) for line in lines] for name in names])
    assert sorted(watcher._types.symbols) == sorted(
        ["user=# logged in from office, for user=#", "user=# opened report", "user=# logged out"]
    )
    assert watcher.score([line.format("a") for line in lines]) < 1


@pytest.mark.parametrize("name", ["o", "e", "ab", "a.b", "ß", "_", "é-1", "(", "o o"])
def test_a_name_that_is_given_is_replaced_as_a_whole_word_only(name):
    watcher = SessionWatcher(predictor())
    watcher.observe(f"closed {name} of other:{name}, x{name}x ×{name}y", session=name)
    ended = watcher.finish()
    assert [each.session for each in ended] == [name]
    assert "closed # of other:#," in ended[0].reasons[0]


def test_fitting_with_a_symbol_that_the_vocabulary_lacks_changes_nothing():
    watcher = SessionWatcher(
        StreamPredictor(Vocabulary.from_text("abc #\n"), Config(hidden=4, layers=1, memory_bits=10))
    )
    watcher.fit([["a a", "b"]])
    before, distribution = watcher._describe(), watcher._predictor.predict().tolist()
    with pytest.raises(ValueError, match="no symbol"):
        watcher.fit([["c", "b c"], ["a", "c c", "xyz"]])
    assert (watcher._describe(), watcher._predictor.predict().tolist()) == (before, distribution)


def test_a_file_of_sessions_by_an_expression_asks_for_it(tmp_path):
    fitted(5).save(tmp_path / "s")
    with pytest.raises(ValueError, match=r"give it again .session_regex"):
        SessionWatcher.load(tmp_path / "s")
    arrays, values = read_checkpoint(tmp_path / "s")
    del values["sessions"]["has_regex"]  # as version 1.0 saved it
    write_checkpoint(tmp_path / "s", arrays, values)
    assert SessionWatcher.load(tmp_path / "s").n_open == 0


def test_one_kind_of_watcher_does_not_erase_what_the_other_has_saved(tmp_path):
    fitted(5).save(tmp_path / "s")
    lines = Watcher(predictor())
    lines.observe("a line\n")
    lines.save(tmp_path / "l")
    before = (tmp_path / "s").read_bytes(), (tmp_path / "l").read_bytes()
    for name, kind, what in (("s", Watcher, "the sessions"), ("l", SessionWatcher, "the lines")):
        other = kind.load(tmp_path / name)
        with pytest.raises(ValueError, match=f"has {what} .*; save to another file"):
            other.save(tmp_path / "." / name)
        other.save(tmp_path / "new")
        other.save(tmp_path / "new")
    assert before == ((tmp_path / "s").read_bytes(), (tmp_path / "l").read_bytes())


# Saving


def test_it_continues_exactly(tmp_path):
    lines = interleaved([usual(n) if n % 9 else [f"req-{n} new {'x' * n}", *usual(n)] for n in range(120)])
    whole = SessionWatcher(predictor(), session_regex=REGEX, idle_seconds=40, warmup=20, alarms="2/50")
    first = SessionWatcher(predictor(), session_regex=REGEX, idle_seconds=40, warmup=20, alarms="2/50")
    expected = [ended for n, line in enumerate(lines) for ended in whole.observe(line, seconds=float(n))]
    expected += whole.finish()
    found = [ended for n, line in enumerate(lines[:300]) for ended in first.observe(line, seconds=float(n))]
    first.position = {"here": 300}
    first.save(tmp_path / "s")
    options = {"session_regex": REGEX, "idle_seconds": 40, "warmup": 20, "alarms": "2/50"}
    again = SessionWatcher.load(tmp_path / "s", **options)
    assert (again.position, again.counts, again.n_open) == ({"here": 300}, first.counts, first.n_open)
    found += [ended for n, line in enumerate(lines[300:], 300) for ended in again.observe(line, seconds=float(n))]
    assert found + again.finish() == expected
    assert any(ended.raised for ended in expected)
    whole.save(tmp_path / "a")
    again.position = None
    again.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_file_is_refused(tmp_path):
    fitted(20).save(tmp_path / "s")
    arrays, values = read_checkpoint(tmp_path / "s")
    for name in ("types", "numbers", "order", "open", "scores", "n"):
        write_checkpoint(tmp_path / "t", arrays, {**values, "sessions": {**values["sessions"], name: {"x": 1}}})
        with pytest.raises(ValueError, match="its sessions are inconsistent"):
            SessionWatcher.load(tmp_path / "t")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("types known", ["a #", "a #"]),
        ("numbers weight", -1),
        ("numbers levels 1", [[0, 5]]),
        ("numbers levels 1", [[48, 5]]),
        ("numbers levels 1", [[1, -5]]),
        ("numbers levels", [[]]),
        ("numbers changes 0", 1.5),
        ("numbers shapes 0 0", 0),
        ("numbers shapes 0 1 0", [-1, 1]),
        ("numbers shapes 0 1 0", [1, 255]),
        ("numbers shapes", [[1, []]] * 1025),
        ("order n", [1, 2]),
        ("order means", [1.0, -1.0]),
        ("order contexts 0 1 0", [1, 0]),
        ("open sessions 0 1", [99]),
        ("open sessions 0 2", [[-2, 1]]),
        ("open sessions 0 2 0", [1, -1]),
        ("open sessions 0 5", 1000),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, path, value):
    watcher = fitted(20)
    for line in usual(1)[:2]:
        watcher.observe(line)
    watcher.save(tmp_path / "s")
    arrays, values = read_checkpoint(tmp_path / "s")
    *parts, last = [int(part) if part.isdecimal() else part for part in path.split()]
    inner = values["sessions"]
    for part in parts:
        inner = inner[part]
    assert inner[last] != value
    inner[last] = value
    write_checkpoint(tmp_path / "s", arrays, values)
    with pytest.raises(ValueError, match="its sessions are inconsistent"):
        SessionWatcher.load(tmp_path / "s")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"session_regex": "("}, "is not a valid regular expression"),
        ({"idle_seconds": 0}, "idle_seconds must be above 0"),
        ({"max_open": 0}, "max_open must be at least 1"),
        ({"warmup": -1}, "warmup must be at least 0"),
        ({"max_open": float("nan")}, "max_open must be at least 1, not nan"),
        ({"warmup": float("nan")}, "warmup must be at least 0, not nan"),
        ({"idle_seconds": float("nan")}, "idle_seconds must be above 0"),
        ({"session_regex": b"req"}, "must be a str, not b'req'"),
        ({"threshold": float("nan")}, "threshold must be a finite number"),
        ({"alarms": "many"}, "a budget is"),
        ({"alarms": 5}, "alarms must be a text such as"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SessionWatcher(predictor(), **options)


# The command


def log_of(n, strange=()):
    """A log with time stamps, three lines a second."""
    lines = interleaved([usual(k) if k not in strange else [*usual(k)[:2], f"req-{k} is lost"] for k in range(n)])
    stamps = [f"2026-11-26 10:{n // 180 % 60:02}:{n // 3 % 60:02}" for n in range(len(lines))]
    return "".join(f"{stamp} {line}\n" for stamp, line in zip(stamps, lines, strict=True))


def test_the_command_reports_sessions_when_they_end(tmp_path):
    path = tmp_path / "app.log"
    path.write_text(log_of(200, strange=[180]) + "2026-11-26 11:30:00 end of the log\n")
    result = run(
        "watch",
        path,
        "--session-regex",
        REGEX,
        "--session-idle",
        "60",
        *FRESH,
        *JSONL,
        "--metrics",
        tmp_path / "m.prom",
    )
    (record,) = objects(result.stdout)
    assert (record["version"], record["session"], record["n_lines"]) == (1, "req-180", 3)
    assert record["score"] == record["content"] + record["number"] + record["order"] > 20
    assert (record["flagged"], record["raised"], record["path"]) == (True, True, str(path))
    assert record["reasons"][0] == "new: # is lost"
    metrics = (tmp_path / "m.prom").read_text()
    assert "streamlstm_watch_sessions_total 200\n" in metrics
    assert "streamlstm_watch_alarms_total 1\n" in metrics
    assert b"200 sessions, 1 line without a session, 1 flagged" in result.stderr
    shown = run("watch", path, "--session-regex", REGEX, *FRESH).stdout.decode().splitlines()
    assert shown[0].split() == ["lines", "bits", "z", "session"]
    assert "! req-180  (new: # is lost" in shown[1]
    everything = objects(run("watch", path, "--session-regex", REGEX, "--all", *FRESH, *JSONL).stdout)
    assert len({record["session"] for record in everything}) == len(everything) == 200


def test_options_of_lines_are_refused_with_sessions(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("x\n")
    for options in (["--key-regex", "a"], ["--context", "1"], ["--max-keys", "2"], ["--key-field", "a"]):
        result = run("watch", path, "--session-regex", REGEX, *options)
        assert (result.returncode, b"cannot be used with --session-regex" in result.stderr) == (1, True)
    result = run("watch", path, "--session-idle", "5")
    assert (result.returncode, b"--session-regex" in result.stderr) == (1, True)
    result = run("watch", path, "--session-regex", "(")
    assert (result.returncode, b"not a valid regular expression" in result.stderr) == (1, True)


def test_after_kill_9_each_session_is_reported_once(tmp_path):
    log, whole, out = tmp_path / "app.log", tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    log.write_text(log_of(400, strange=range(150, 400, 25)))
    options = ["--session-regex", REGEX, "--session-idle", "60", "--all", *FRESH, *JSONL]
    run("watch", log, *options, "--output", whole)
    options += ["--save", tmp_path / "m", "--resume", "--save-every", "0.01", "--output", out]
    for n in range(3):
        with start("watch", log, *options) as process:
            wait_for(lambda n=n: out.exists() and out.stat().st_size > n * 20_000 + 5_000)
            os.kill(process.pid, signal.SIGKILL)
    assert run("watch", log, *options).returncode == 0
    expected = records(whole)
    assert len(expected) == 400
    assert records(out) == expected


def test_sessions_stay_open_when_it_is_stopped_and_saved(tmp_path):
    saved = tmp_path / "m"
    options = ["--session-regex", REGEX, "--all", *FRESH, *JSONL, "--save", saved, "--resume"]

    def n_lines():
        sessions = read_checkpoint(saved)[1]["sessions"]["open"]["sessions"] if saved.exists() else []
        return sum(n for *_, n, _ in sessions)

    with start("watch", *options, "--save-every", "0.01") as process:
        process.stdin.write(b"req-1 begins\nreq-1 works\nreq-2 begins\n")
        wait_for(lambda: n_lines() >= 2)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (143, b"")
    ended = objects(run("watch", *options, stdin=b"req-1 ends\n").stdout)
    assert [record["n_lines"] for record in ended if record["session"] == "req-1"] == [3]


def test_lines_and_sessions_do_not_continue_each_other(tmp_path):
    path, saved = tmp_path / "app.log", tmp_path / "m"
    path.write_text("req-1 works\n")
    sessions = ["--session-regex", REGEX]
    for first, second, how in (([], sessions, b"without"), (sessions, [], b"with")):
        saved.unlink(missing_ok=True)
        assert run("watch", path, *first, *FRESH, "--save", saved, "--resume").returncode == 0
        result = run("watch", path, *second, *FRESH, "--save", saved, "--resume")
        assert (result.returncode, b"was saved " + how + b" --session-regex" in result.stderr) == (1, True)
        assert run("watch", path, *second, "--model", saved).returncode == 0


def test_a_record_is_json_whatever_the_session_is_called(tmp_path):
    line = b"id=\xff\x1b[2J works\n"
    result = run("watch", "--session-regex", r"id=(\S+)", "--all", *FRESH, *JSONL, stdin=line)
    (record,) = objects(result.stdout)
    assert (record["session"], bytes_of(record, "session")) == ("\ufffd\x1b[2J", b"\xff\x1b[2J")


def test_with_a_budget_the_summary_tells_of_sessions_without_a_reason():
    sessions = [[f"req-{n} begins", *[f"req-{n} reads"] * (n % 3 > 0), f"req-{n} ends"] for n in range(200)]
    lines = [line for session in sessions for line in session]
    result = run("watch", "--session-regex", r"req-\d+", "--alarms", "5/100", *FRESH, stdin="\n".join(lines).encode())
    summary, *kinds = result.stderr.decode().splitlines()
    assert "200 sessions" in summary
    assert any(kind.endswith(" more sessions like: (no single reason)") for kind in kinds)
