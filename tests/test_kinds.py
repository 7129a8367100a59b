"""The inventory of kinds: exact, bounded, saved; its table; and what differs between two logs."""

import json
import math
import random
import tracemalloc
from collections import Counter

import pytest
from commands import run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import objects

from streamlstm import Config, StreamPredictor, Watcher
from streamlstm.watch.kinds import MAX_KINDS, Kinds, changes, two_sided_p
from streamlstm.watch.templates import kind_of

FRESH = ["--hidden", "4", "--layers", "1", "--window", "8", "--memory-bits", "10"]
WORDS = ["disk", "panic", "reads 7", "0x7f", "ends", "k-9", "caf\u00e9", "\udcff"]
LINES = st.lists(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join), max_size=60)


def predictor():
    return StreamPredictor(config=Config(hidden=4, layers=1, window=8, memory_bits=10))


# The inventory


@given(LINES, st.lists(st.sampled_from(["a", "b", ""]), min_size=60, max_size=60), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_it_has_each_kind_with_its_numbers_and_goes_on_after_it_was_saved(lines, keys, saved_at):
    kinds = Kinds()
    for index, (line, key) in enumerate(zip(lines, keys, strict=False)):
        is_known = kind_of(line) in kinds
        assert kinds.add(kind_of(line), line, 1.0 + index, key=key, time=f"t{index}") != is_known
        if index == saved_at:
            described = json.loads(json.dumps(kinds.describe()))
            kinds = Kinds()
            kinds.restore(described)
            assert json.loads(json.dumps(kinds.describe())) == described
    numbered = [(kind_of(line), index, keys[index]) for index, line in enumerate(lines)]
    expected = Counter(kind for kind, _, _ in numbered)
    assert {each.kind: each.n_lines for each in kinds} == expected
    for each in kinds:
        at = [index for kind, index, _ in numbered if kind == each.kind]
        assert (each.first, each.last) == (at[0] + 1, at[-1] + 1)
        assert (each.first_time, each.last_time) == (f"t{at[0]}", f"t{at[-1]}")
        assert each.largest_bits == 1.0 + at[-1]
        assert each.mean_bits == pytest.approx(1 + sum(at) / len(at))
        assert each.example == lines[at[0]]
        assert each.n_keys == max(len({key for kind, _, key in numbered if kind == each.kind} - {""}), 1)


@given(st.lists(st.integers(0, 40), max_size=400))
@settings(max_examples=60, deadline=None)
def test_of_too_many_kinds_the_rarest_of_the_oldest_give_way_and_are_counted(numbers):
    kinds, came = Kinds(capacity=12), []
    for number in numbers:
        before = {each.kind: each for each in kinds}
        if kinds.add(f"kind {number}", "", 1.0):
            came.append(number)
        assert len(kinds) <= 12
        gone = before.keys() - {each.kind for each in kinds}
        if gone:
            oldest = sorted(before.values(), key=lambda each: each.last)[:6]
            assert gone <= {each.kind for each in oldest}
            assert max(before[kind].n_lines for kind in gone) <= min(
                each.n_lines for each in oldest if each.kind not in gone
            )
    assert len(came) == len(kinds) + kinds.n_forgotten
    assert kinds.n_lines == len(numbers)


def test_the_number_of_keys_is_about_right():
    for n in (1, 2, 5, 20, 100, 1000):
        kinds = Kinds()
        for index in range(3 * n):
            kinds.add("kind", "", 1.0, key=f"host-{index % n}")
        assert abs(kinds.all()[0].n_keys - n) <= max(1, 0.1 * n)


@pytest.mark.parametrize("n", [15_000, pytest.param(MAX_KINDS, marks=pytest.mark.slow)])
def test_100_000_kinds_take_at_most_60_megabytes(n):
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefgh", k=6)) for _ in range(500)]
    tracemalloc.start()
    try:
        kinds, before = Kinds(), tracemalloc.get_traced_memory()[0]
        for index in range(n):
            kind = " ".join(draw.choices(words, k=13))
            kinds.add(kind, f"{kind} {index}", 1.5, key=f"h{index}", time="2026-11-26T10:00:00.000")
        assert len(kinds) == n
        assert tracemalloc.get_traced_memory()[0] - before <= 60e6 * n / MAX_KINDS
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [{"n": [0, 0]}, {"keys": ["-1"]}, {"keys": ["f" * 999]}, {"kinds": ["a", "a"]}, {"counts": [[0, 1, 1]]},
     {"texts": []},
     {"bits": [[math.nan, 1]]}, {"bits": [[1e308, 1e308]]}],
)  # fmt: skip
def test_a_damaged_inventory_is_refused_and_nothing_changes(change):
    kinds = Kinds()
    kinds.add("kind", "text", 1.0)
    described = kinds.describe()
    with pytest.raises((ValueError, TypeError)):
        kinds.restore(described | change)
    assert kinds.describe() == described


# A watcher with an inventory


def lines_of(n):
    return [
        f"job {i % 7} done in {i % 5} ms\n" if i % 40 or i < 200 else f"news {i // 200} {chr(120) * (i // 200)}\n"
        for i in range(n)
    ]


@pytest.mark.parametrize("options", [{}, {"key_regex": r"(job|news)"}, {"alarms": "5/1000"}])
def test_a_watcher_counts_kinds_judges_as_before_and_goes_on_after_a_restart(tmp_path, options):
    plain, counting = Watcher(predictor(), **options), Watcher(predictor(), kinds=True, **options)
    lines = lines_of(700)
    for index, line in enumerate(lines):
        assert counting.observe(line, time="now") == plain.observe(line)
        if index == 400:
            counting.save(tmp_path / "w")
            counting.close()
            counting = Watcher.load(tmp_path / "w", **options)
    assert plain.kinds is None
    assert {each.kind: each.n_lines for each in counting.kinds} == Counter(kind_of(line[:-1]) for line in lines)


@pytest.mark.parametrize("alarms", [None, "20/1000"])
def test_each_new_kind_is_raised_once_after_the_warm_up(alarms):
    watcher = Watcher(predictor(), new_kinds=True, alarms=alarms, threshold=1e6, warmup=100)
    found = [watcher.observe(line) for line in lines_of(900)]
    raised = [line for line in found if line.raised]
    assert {line.kind for line in raised} == {line.kind for line in found[100:]} - {line.kind for line in found[:100]}
    assert len(raised) == len({line.kind for line in raised}) > 2
    assert all(line.flagged and line.reason == "new kind" for line in raised)


def test_new_kinds_stay_within_the_budget():
    watcher = Watcher(predictor(), new_kinds=True, alarms="10/1000", warmup=50)
    draw = random.Random(1)
    n_raised = sum(watcher.observe("".join(draw.choices("abcdefgh ", k=20)) + "\n").raised for _ in range(1000))
    assert 10 <= n_raised <= 10 + 20


# The command


def test_the_table_of_a_log_is_that_of_the_watcher_that_has_read_it(tmp_path):
    (tmp_path / "app.log").write_text(
        "".join(f"2026-11-26 10:00:{n % 60:02} {line}" for n, line in enumerate(lines_of(600)))
    )
    log, state, file = tmp_path / "app.log", tmp_path / "w.safetensors", tmp_path / "kinds.jsonl"
    assert run("watch", log, *FRESH, "--kinds", file, "--save", state).returncode == 0
    shown = [run("kinds", path, *options, "--format", "jsonl").stdout for path, options in ((log, FRESH), (state, []))]
    assert objects(shown[0]) == objects(shown[1]) == objects(file.read_bytes())
    assert shown[0].count(b"\n") == len(objects(file.read_bytes()))
    for order, field, sign in (("newest", "first", -1), ("rarest", "lines", 1), ("surprising", "largest_bits", -1)):
        values = [
            sign * each[field] for each in objects(run("kinds", state, "--sort", order, "--format", "jsonl").stdout)
        ]
        assert values == sorted(values)
    header, first, *_ = run("kinds", state, "--format", "tsv", "--top", 1).stdout.decode().splitlines()
    assert dict(zip(header.split("\t"), first.split("\t"), strict=True))["kind"] == objects(shown[0])[0]["kind"]


def test_the_verdict_of_a_kind_is_in_its_row(tmp_path):
    (tmp_path / "app.log").write_text("".join(lines_of(300)))
    rows = objects(run("kinds", tmp_path / "app.log", *FRESH, "--format", "jsonl").stdout)
    (tmp_path / "v").write_text(f"normal {rows[0]['id']}\n")
    again = objects(
        run("kinds", tmp_path / "app.log", *FRESH, "--format", "jsonl", "--verdicts", tmp_path / "v").stdout
    )
    assert [each["verdict"] for each in again] == ["normal", *[None] * (len(rows) - 1)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["kinds", "LOG", "--sort", "best"], 1, b"--sort must be"),
        (["kinds", "LOG", "--top", "-1"], 1, b"--top must be"),
        (["kinds", "LOG", "--against", "LOG", "--p", "2"], 1, b"--p must be"),
        (["kinds", "MODEL"], 1, b"no inventory of kinds"),
        (["kinds", "MODEL", "LOG"], 1, b"by itself"),
        (["kinds", "LOG", "--against", "NONE"], 1, b"No such file"),
        (["watch", "LOG", "--kinds", "LOG"], 1, b"named twice"),
        (["watch", "LOG", "--session-regex", "j", "--new-kinds"], 1, b"--new-kinds is for lines"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, arguments, code, words):
    (tmp_path / "LOG").write_text("job 1\n")
    predictor().save(tmp_path / "MODEL")
    result = run(*(tmp_path / each if each.isupper() else each for each in arguments))
    assert (result.returncode, result.stdout) == (code, b"")
    assert words in result.stderr
    assert result.stderr.count(b"\n") == 1


# Two logs


@given(st.integers(0, 60), st.integers(0, 60), st.integers(60, 3000), st.integers(60, 3000))
def test_p_is_symmetric_and_a_probability(n, other, total, total_other):
    p = two_sided_p(n, total, other, total_other)
    assert 0 <= p <= 1
    assert p == pytest.approx(two_sided_p(other, total_other, n, total), rel=1e-6, abs=1e-12)


def test_p_is_rarely_small_if_nothing_differs_and_small_if_much_does():
    draw = random.Random(3)
    for rate in (0.002, 0.03, 0.3):
        small = 0
        for _ in range(300):
            n, other = (sum(draw.random() < rate for _ in range(size)) for size in (400, 900))
            small += two_sided_p(n, 400, other, 900) <= 0.05
        assert small <= 300 * 0.05 + 4 * math.sqrt(300 * 0.05 * 0.95)
    assert two_sided_p(40, 1000, 10, 1000) < 1e-4
    assert two_sided_p(0, 100_000, 400, 100_000) < 1e-50


def test_what_is_new_gone_or_changed_is_found_and_nothing_else():
    draw = random.Random(5)

    def log(kinds, n):
        found = Kinds()
        for kind in draw.choices(list(kinds), kinds.values(), k=n):
            found.add(kind, kind, 0.0)
        return found

    before = log({"a": 50, "b": 30, "c": 10, "d": 10, "gone": 2}, 5000)
    now = log({"a": 50, "b": 30, "c": 30, "d": 4, "new": 2}, 8000)
    found = {each.kind.kind: each for each in changes(before, now)}
    assert {kind: each.what for kind, each in found.items() if kind not in "ab"} == {
        "new": "new", "gone": "gone", "c": "more", "d": "less"
    }  # fmt: skip
    assert [each.what for each in changes(before, now)][:2] == ["new", "gone"]
    assert changes(before, before) == []
    assert [each.what for each in changes(Kinds(), now)] == ["new"] * len(now)


def test_the_command_compares_a_log_with_a_log_and_with_a_watcher(tmp_path):
    before, now, state = tmp_path / "before.log", tmp_path / "now.log", tmp_path / "w.safetensors"
    before.write_text("".join(lines_of(400)))
    now.write_text("".join(lines_of(200)) + "cannot reach db-primary: refused\n" * 30)
    run("watch", before, *FRESH, "--kinds", tmp_path / "k", "--save", state)
    found = [objects(run("kinds", now, "--against", each, "--format", "jsonl").stdout) for each in (before, state)]
    assert found[0] == found[1]
    assert [(each["change"], each["kind"], each["lines"]) for each in found[0]][:1] == [
        ("new", "cannot reach db-primary: refused", 30)
    ]
    assert run("kinds", before, "--against", before, "--format", "tsv").stdout.count(b"\n") == 1
