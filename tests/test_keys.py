"""Watching with a model per key: each key is watched as in a watcher of its own, wherever its model lies."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from commands import kills, run, start
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import assert_refused, objects
from test_watch import CALM, FRESH, STRANGE, fresh, watched

from streamlstm import StreamPredictor, Watcher
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.cli.options import size_of
from streamlstm.streams.store import StreamStore
from streamlstm.watch import key_file, keyed_streams

KEY = r"^host-\d"
JSONL = ["--format", "jsonl"]


def in_turn(n, n_keys=3):
    return [b"host-%d " % key + CALM[number] for number in range(n) for key in range(n_keys)]


def adapted():
    predictor = fresh()
    predictor.observe_many(b"".join(CALM[:300]))
    return predictor


def of_keys(**options):
    return Watcher(adapted(), **{"key_regex": KEY, "warmup": 20, **options})


def all_of(watcher, lines):
    return [watcher.observe(line) for line in lines]


# A model per key


def test_each_key_has_a_model_of_its_own():
    other = [b"host-b disk %d at 71 %% of /var\n" % (n % 3) for n in range(300)]
    mixed = [line for n in range(300) for line in (b"host-a " + CALM[n], other[n])]
    _, together = watched(mixed, key_regex=r"^(host-\w)")
    for alone, found in ((mixed[::2], together[::2]), (mixed[1::2], together[1::2])):
        _, lines = watched(alone, key_regex=r"^(host-\w)")
        assert [line.bits_per_char for line in lines] == [line.bits_per_char for line in found]
    assert {line.key for line in together} == {"host-a", "host-b"}


def test_lines_without_a_key_have_a_model_too():
    _, lines = watched([b"[x] 1\n", b"none\n", b"[y] 1\n"], key_regex=r"\[(\w)\]|\[\]")
    assert [line.key for line in lines] == ["x", "", "y"]


def test_a_long_key_is_truncated():
    line = Watcher(fresh(), key_regex=".*").observe(b"x" * 1000 + b"\n")
    assert line.key == "x" * 256


@pytest.mark.parametrize(
    ("learns", "learn", "expected"),
    [
        ("all", None, "memory"),
        ("all", "all", "all"),
        ("memory", None, "memory"),
        ("nothing", None, "nothing"),
        ("nothing", "memory", "memory"),
    ],
)
def test_keys_learn_counts_only_unless_told_otherwise(learns, learn, expected):
    predictor = adapted()
    predictor.learn = learns
    found = all_of(Watcher(predictor, key_regex=KEY, learn=learn), in_turn(12))
    same = [mode for mode in ("all", "memory", "nothing") if all_of(of_keys(learn=mode), in_turn(12)) == found]
    assert same == [expected]


def test_a_network_without_a_memory_has_keys_too():
    watcher = Watcher(StreamPredictor(config=fresh().config.__class__(hidden=16, layers=1, memory=False)), keyed=True)
    assert watcher.observe("a\n", key="a").bits_per_char == watcher.observe("a\n", key="b").bits_per_char == 8


STREAMS = {key: [b"host-%d " % key + CALM[7 * key + n] for n in range(60)] for key in range(4)}
for key, stream in STREAMS.items():
    stream[30 + 5 * key] = b"host-%d " % key + STRANGE


@pytest.fixture(scope="module")
def alone():
    return {key: all_of(of_keys(), stream) for key, stream in STREAMS.items()}


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_what_a_line_scores_does_not_depend_on_other_keys_evictions_or_restarts(alone, tmp_path_factory, data):
    budget = data.draw(st.sampled_from([1, 250_000, 10**9]))
    watcher, done = of_keys(memory_budget=budget), dict.fromkeys(STREAMS, 0)
    path = tmp_path_factory.mktemp("keys") / "m"
    for _ in range(data.draw(st.integers(1, 30))):
        key = data.draw(st.sampled_from(list(STREAMS)))
        if data.draw(st.integers(0, 9)) == 0:
            watcher.save(path)
            watcher.close()
            watcher = Watcher.load(path, key_regex=KEY, warmup=20, memory_budget=budget)
        for _ in range(data.draw(st.integers(1, 8))):
            if done[key] < len(STREAMS[key]):
                found, expected = watcher.observe(STREAMS[key][done[key]]), alone[key][done[key]]
                assert (found.bits_per_char, found.z, found.flagged, found.spans, found.is_familiar) == (
                    expected.bits_per_char, expected.z, expected.flagged, expected.spans, expected.is_familiar
                )  # fmt: skip
                done[key] += 1
    watcher.close()


@pytest.mark.parametrize("learn", ["all", "memory", "nothing"])
def test_streams_come_back_from_the_disk_to_the_bit(learn):
    lines = [*in_turn(40), b"host-1 " + STRANGE, *in_turn(8)]
    in_memory, on_disk = of_keys(learn=learn), of_keys(learn=learn, memory_budget=1)
    assert all_of(in_memory, lines) == all_of(on_disk, lines)
    assert in_memory.counts.flagged
    assert in_memory.counts.familiar > 20
    stats = on_disk._streams._streams.stats()
    assert stats.n_streams == 3
    assert stats.n_hot <= 2  # the one that is being read, and the one before
    assert stats.n_loaded > 100


def test_memory_is_bounded_by_the_budget():
    watcher = of_keys(memory_budget=500_000, key_regex=r"^host-\d+")
    for line in in_turn(4, n_keys=40):
        watcher.observe(line)
        stats = watcher._streams._streams.stats()
        assert stats.hot_bytes < 600_000
    assert (stats.n_hot > 2, stats.n_streams, stats.n_forgotten) == (True, 40, 0)


@pytest.mark.parametrize("learn", ["all", "memory"])
def test_an_undone_line_has_never_been_there_however_many_lines_and_keys_came_before(learn):
    for seed in range(6):
        draw = random.Random(seed)
        streams, others = (of_keys(learn=learn, memory_budget=draw.choice([1, 10**9]))._streams for _ in range(2))
        for number in range(120):
            key = f"{draw.randrange(2)}" if seed % 2 else "a"
            tokens = np.frombuffer(b"%s %d\n" % (key.encode(), draw.randrange(50)), np.uint8).astype(np.int32)
            for each in (streams, others):
                each.get(key, [])
            others.read(tokens, undoable=draw.random() < 0.2)
            if draw.random() < 0.2:
                streams.read(tokens[::-1].copy(), undoable=True)
                streams.undo()
            found = streams.read(tokens, undoable=number % 9 != 5)
            assert np.array_equal(streams._reader.distribution, others._reader.distribution)
            assert len(found) == len(tokens)


# More keys than models


def test_the_least_recently_used_model_is_dropped_with_a_note_and_its_key_starts_anew():
    _, lines = watched([b"a 1\n", b"b 1\n", b"a 1\n", b"c 1\n", b"b 1\n"], key_regex="^.", max_keys=2)
    assert [note for line in lines for note in line.notes] == [
        f"dropped the model of key {old!r} to make one for {new!r}: max_keys is 2 ({n} dropped so far); "
        "a new model misses more until it has read enough lines"
        for old, new, n in (("b", "c", 1), ("a", "b", 2))
    ]
    assert lines[4].bits_per_char == lines[1].bits_per_char


@pytest.mark.parametrize("budget", [1, 10**9])
def test_a_strange_line_is_flagged_though_there_are_more_keys_than_models(budget):
    watcher = of_keys(max_keys=2, warmup=30, memory_budget=budget)
    assert not any(watcher.observe(line).flagged for line in in_turn(35))
    assert all(watcher.observe(b"host-%d " % key + STRANGE).flagged for key in (0, 1, 2))
    assert not any(watcher.observe(line).flagged for line in in_turn(10))


def test_a_key_that_comes_back_is_compared_with_what_its_earlier_models_read_at_the_same_age():
    watcher = of_keys(max_keys=1, warmup=40)
    lines = [watcher.observe(b"host-%d " % (at // 100 % 2) + CALM[at]) for at in range(600)]
    assert lines[-100].bits_per_char > lines[-1].bits_per_char + 2
    assert not any(line.flagged for line in lines)
    for line in CALM[:20]:
        watcher.observe(b"host-0 " + line)
    assert watcher.observe(b"host-0 " + STRANGE).flagged


def test_the_history_of_a_key_is_kept_however_many_other_keys_come(tmp_path):
    options = {"key_regex": r"^[\w-]+", "warmup": 20, "max_keys": 2, "thorough": True}
    usual, again = in_turn(25), [*in_turn(1), *(b"host-%d " % key + STRANGE for key in range(3)), *in_turn(2)]
    expected = all_of(of_keys(**options), [*usual, *again])[len(usual) :]
    watcher = of_keys(**options)
    all_of(watcher, usual)
    for n in range(5_500):
        watcher.observe(b"%d\n" % n)
        if n in (2_000, 4_000):
            watcher.save(tmp_path / "m")
    watcher.close()  # as after a crash: what came since the last save is lost
    watcher = Watcher.load(tmp_path / "m", exclusive=True, **options)
    for n in range(4_001, 5_500):
        watcher.observe(b"%d\n" % n)
    watcher.save(tmp_path / "other")
    watcher.close()
    found = all_of(Watcher.load(tmp_path / "other", **options), again)
    assert [(line.bits_per_char, line.z, line.flagged) for line in found] == [
        (line.bits_per_char, line.z, line.flagged) for line in expected
    ]
    assert [line.flagged for line in found] == [False] * 3 + [True] * 3 + [False] * 6


# Saving


def test_save_and_load_keeps_what_is_known_of_dropped_keys(tmp_path):
    options = {"key_regex": KEY, "max_keys": 2, "warmup": 30}
    stream = in_turn(60)
    _, expected = watched([*stream, *in_turn(10)], **options)
    first, _ = watched(stream, **options)
    first.save(tmp_path / "m")
    first.close()
    second = Watcher.load(tmp_path / "m", **options)
    found = [second.observe(line) for line in in_turn(10)]
    assert [(line.z, line.bits_per_char) for line in found] == [
        (line.z, line.bits_per_char) for line in expected[len(stream) :]
    ]
    assert all(line.z for line in found)


def test_fewer_models_are_kept_than_were_saved_if_max_keys_is_less(tmp_path):
    first = of_keys()
    all_of(first, in_turn(40))
    first.save(tmp_path / "m")
    expected = all_of(first, in_turn(1)[::-1])
    first.close()
    second = Watcher.load(tmp_path / "m", max_keys=1, key_regex=KEY, warmup=20)
    found = all_of(second, in_turn(1)[::-1])
    assert found[0] == expected[0]
    assert [len(line.notes) for line in found] == [0, 1, 1]
    assert found[1].bits_per_char > expected[1].bits_per_char


def test_the_second_save_writes_what_has_changed_and_another_file_gets_everything(tmp_path):
    watcher = of_keys(memory_budget=1)
    all_of(watcher, in_turn(30))
    watcher.save(tmp_path / "a")
    model = (tmp_path / "a").read_bytes()
    all_of(watcher, in_turn(5))
    watcher.save(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == model
    watcher.position = 7
    watcher.save(tmp_path / "b")
    expected = all_of(watcher, in_turn(9))
    watcher.close()
    assert len(os.listdir(tmp_path)) == 4
    for name in "ab":
        again = Watcher.load(tmp_path / name, key_regex=KEY, warmup=20)
        assert again.position == (7 if name == "b" else None)
        assert all_of(again, in_turn(9)) == expected
        again.close()


def test_a_file_that_is_replaced_takes_its_store_with_it(tmp_path):
    for n in (3, 5):
        watcher = of_keys()
        all_of(watcher, in_turn(n))
        watcher.save(tmp_path / "m")
        watcher.close()
    store = read_checkpoint(tmp_path / "m")[1]["watch"]["store"]
    assert sorted(os.listdir(tmp_path)) == ["m", store]
    assert Watcher.load(tmp_path / "m", key_regex=KEY).counts.lines == 15


@pytest.mark.parametrize("step", ["put_value", "write_model"])
def test_what_fails_while_a_file_is_replaced_leaves_the_old_pair(tmp_path, monkeypatch, step):
    first, second = of_keys(), of_keys()
    all_of(first, in_turn(2))
    first.save(tmp_path / "m")
    first.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(*_):
        raise OSError("no space")

    with monkeypatch.context() as patch:
        target = StreamStore if step == "put_value" else keyed_streams
        patch.setattr(target, step, fails)
        for _ in range(2):
            with pytest.raises(OSError, match="no space"):
                second.save(tmp_path / "m")
    if step == "write_model":
        second.save(tmp_path / "m")
        assert len(os.listdir(tmp_path)) == 2 + 2  # the journal of the store that is open
        second.close()
        assert len(os.listdir(tmp_path)) == 2
    else:
        second.close()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_of_something_else_is_replaced(tmp_path):
    write_checkpoint(tmp_path / "m", {}, {"watch": 5})
    with of_keys() as watcher:
        all_of(watcher, in_turn(2))
        watcher.save(tmp_path / "m")
    assert Watcher.load(tmp_path / "m", key_regex=KEY).counts == watcher.counts


def test_a_file_that_is_replaced_although_that_failed_keeps_its_store(tmp_path, monkeypatch):
    watcher = of_keys()
    all_of(watcher, in_turn(2))
    replace = os.replace

    def fails(*paths):
        replace(*paths)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="Input/output"):
        watcher.save(tmp_path / "m")
    watcher.close()
    assert Watcher.load(tmp_path / "m", key_regex=KEY).counts == watcher.counts


def test_one_watcher_at_a_time_saves_to_a_file_and_others_read_it(tmp_path):
    first = of_keys()
    all_of(first, in_turn(9))
    first.save(tmp_path / "m")
    expected = all_of(first, in_turn(5))
    with pytest.raises(BlockingIOError, match="uses this store"):
        Watcher.load(tmp_path / "m", key_regex=KEY, exclusive=True)
    with of_keys() as other, pytest.raises(BlockingIOError, match="uses this store"):
        other.save(tmp_path / "m")
    readers = [Watcher.load(tmp_path / "m", key_regex=KEY, warmup=20) for _ in range(2)]
    first.save(tmp_path / "m")
    assert all_of(readers[0], in_turn(5)) == expected
    first.close()
    with Watcher.load(tmp_path / "m", key_regex=KEY, exclusive=True) as second:
        assert second.counts.lines == 3 * (9 + 5)
    assert all_of(readers[1], in_turn(5)) == expected
    readers[1].save(tmp_path / "m")  # it replaces the file
    readers[1].close()
    assert len(os.listdir(tmp_path)) == 2
    assert all_of(Watcher.load(tmp_path / "m", key_regex=KEY, warmup=20), in_turn(3)) == all_of(first, in_turn(3))


def test_what_a_watcher_of_keys_saves_is_the_model_of_a_new_key(tmp_path):
    watcher = of_keys()
    all_of(watcher, in_turn(5))
    watcher.save(tmp_path / "m")
    assert np.array_equal(StreamPredictor.load(tmp_path / "m").predict(), adapted().predict())


def saved(path, **options):
    watcher = of_keys(**options)
    all_of(watcher, in_turn(5))
    watcher.save(path)
    watcher.close()
    return key_file.claim_of(path).store


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda watch: watch.pop("keyed"), "inconsistent"),
        (lambda watch: watch.pop("learn"), "inconsistent"),
        (lambda watch: watch.pop("store"), "inconsistent"),
        (lambda watch: watch.update(store="../m"), "must be a file beside it"),
        (lambda watch: watch.update(store=7), "must be a file beside it"),
        (lambda watch: watch.update(learn="all"), "saved with learn='all'"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_and_changes_nothing(tmp_path, change, words):
    saved(tmp_path / "m")
    arrays, values = read_checkpoint(tmp_path / "m")
    change(values["watch"])
    write_checkpoint(tmp_path / "m", arrays, values)
    watcher = Watcher(StreamPredictor.load(tmp_path / "m"), key_regex=KEY)
    before = repr(watcher)
    with pytest.raises(ValueError, match=rf"^[^\n]*m is not a usable model: [^\n]*{words}[^\n]*$"):
        watcher.restore(tmp_path / "m")
    assert repr(watcher) == before


def test_a_store_that_is_missing_damaged_or_of_another_model_is_refused_in_one_line(tmp_path):
    store = saved(tmp_path / "m")
    other = saved(tmp_path / "other", learn="all")
    shutil.copy(store, tmp_path / "copy")
    shutil.copy(other, store)
    with pytest.raises(ValueError, match=r"^[^\n]* belongs to another file than [^\n]*$"):
        Watcher.load(tmp_path / "m", key_regex=KEY)
    store.write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match=r"^[^\n]*not a store of streams[^\n]*$"):
        Watcher.load(tmp_path / "m", key_regex=KEY)
    store.unlink()
    with pytest.raises(FileNotFoundError, match=r"^[^\n]*is missing: it has the keys of [^\n]*$"):
        Watcher.load(tmp_path / "m", key_regex=KEY)
    shutil.copy(tmp_path / "copy", store)
    assert Watcher.load(tmp_path / "m", key_regex=KEY).counts.lines == 15


# The command


@pytest.mark.parametrize(
    ("text", "n"),
    [("300MB", 3 * 10**8), ("1GB", 10**9), ("1.5gib", 3 * 2**29), ("5000", 5000), ("64 kB", 64_000), ("2M", 2 * 10**6)],
)
def test_a_size_is_a_number_with_a_unit(text, n):
    assert size_of("--memory-budget", text) == n


@pytest.mark.parametrize("text", ["", "MB", "1 XB", "-1MB", "0MB", "1iB", "1e3", "9" * 400])
def test_a_size_that_is_none_is_refused(text):
    assert_refused(run("watch", *FRESH, "--key-regex", "^.", "--memory-budget", text), "--memory-budget", "300MB", text)


@pytest.mark.parametrize("option", [["--max-keys", "3"], ["--memory-budget", "1MB"]])
def test_limits_of_keys_need_keys(option):
    assert_refused(run("watch", *FRESH, *option), option[0], "--key-regex or --key-field")


def test_dropped_models_are_told_on_stderr():
    result = run("watch", *FRESH, "--key-regex", "^.", "--max-keys", 1, stdin=b"a\nb\n")
    assert result.stderr.startswith(b"streamlstm: dropped the model of key 'a' to make one for 'b'")


def lines_of(n, n_keys, every=40):
    """JSON lines of many hosts, in random order; every so often a strange one, each of another kind."""
    draw = random.Random(n)
    words = ["kernel panic", "disk on fire", "lost quorum", "stack smashed", "bad magic", "split brain"]
    for number in range(n):
        host, text = f"web-{draw.randrange(n_keys)}", f"job {number % 7} done in {100 + number % 13} ms"
        if number > 40 * n_keys and draw.random() < 1 / every:
            text = f"{draw.choice(words)} !{draw.choice(words)}!"
        yield json.dumps({"host": host, "msg": text}) + "\n"


def records(path):
    return [{name: value for name, value in each.items() if "lag" not in name} for each in objects(path.read_bytes())]


WATCH = [*FRESH, *JSONL, "--key-field", "host", "--warmup", 20, "--alarms", "20/500", "--memory-budget", "1MB"]


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_signal_saves_the_keys_and_the_next_run_continues_where_it_was(tmp_path, number):
    log, state = tmp_path / "app.log", tmp_path / "m"
    log.write_text("".join(lines_of(600, 9)))
    common = ["watch", log, *WATCH, "--all"]
    expected = objects(run(*common).stdout)
    with start(*common, "--save", state, "--resume") as process:
        first = [process.stdout.readline() for _ in range(50)]
        process.send_signal(number)
        first.append(process.stdout.read())
        assert process.wait() == 128 + number
    second = run(*common, "--save", state, "--resume").stdout
    found = objects(b"".join(first) + second)
    assert [each["score"] for each in found] == [each["score"] for each in expected]
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("n_kills", [5, pytest.param(kills(20), marks=pytest.mark.slow)])
def test_killed_at_any_time_it_writes_the_same_alarms_once(tmp_path, n_kills):
    log, state, draw, n_killed = tmp_path / "app.log", tmp_path / "m", random.Random(n_kills), 0
    log.write_text("".join(lines_of(1200, 12)))
    common = ["watch", log, *WATCH, "--max-keys", 8]
    assert run(*common, "--output", tmp_path / "expected").returncode == 0
    expected = records(tmp_path / "expected")
    assert sum(record["raised"] for record in expected) > 5
    arguments = [*common, "--output", tmp_path / "found", "--save", state, "--save-every", 0.05, "--resume"]
    with open(tmp_path / "errors", "wb") as errors:
        while n_killed < n_kills:
            process = start(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
            try:
                process.wait(draw.uniform(0.05, 0.6))
                (tmp_path / "found").unlink()  # it has read all: once more from the beginning
                for path in tmp_path.glob("m*"):
                    path.unlink()
            except subprocess.TimeoutExpired:
                process.kill()
                n_killed += 1
                process.wait()
        assert start(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors).wait(300) == 0
    assert b"Traceback" not in (tmp_path / "errors").read_bytes()
    assert records(tmp_path / "found") == expected


# Two processes and one file


def test_readers_work_beside_the_process_that_saves_and_a_second_one_that_saves_is_refused(tmp_path):
    log, state = tmp_path / "app.log", tmp_path / "m"
    lines = list(lines_of(900, 9))
    log.write_text("".join(lines[:400]))
    common = [*WATCH, "--all"]
    expected = objects(run("watch", "-", *common, stdin="".join(lines[:800]).encode()).stdout)
    assert run("watch", log, *common, "--save", state).returncode == 0
    question = "".join(lines[800:]).encode()
    reading = ["watch", "-", *common[len(FRESH) :], "--model", state]
    answer = run(*reading, stdin=question).stdout
    assert answer.count(b"\n") == 100
    saver = start("watch", log, "--follow", *common, "--save", state, "--save-every", 0.05, "--resume")
    with saver, open(log, "a") as file:
        print(*lines[400:600], sep="", end="", file=file, flush=True)
        found = [saver.stdout.readline() for _ in range(200)]
        assert_refused(run("watch", log, *common, "--save", state, "--resume"), "another process uses this store")
        readers = [start(*reading) for _ in range(2)]
        answers = [reader.communicate(question)[0] for reader in readers]
        assert [text.count(b"\n") for text in answers] == [100, 100]
        assert answer not in answers  # the keys have read 200 lines more
        print(*lines[600:800], sep="", end="", file=file, flush=True)
        found += [saver.stdout.readline() for _ in range(200)]
        saver.send_signal(signal.SIGTERM)
        assert saver.wait() == 128 + signal.SIGTERM
    assert [each["score"] for each in objects(b"".join(found))] == [each["score"] for each in expected[400:]]


def test_what_a_reader_copies_is_what_one_save_has_written(tmp_path):
    log, state, lines = tmp_path / "app.log", tmp_path / "m", list(lines_of(1000, 12))
    log.write_text("".join(lines[:50]))
    options = ["--thorough", "--threshold", 10**9, "--save", state, "--save-every", 0.01, "--resume"]
    assert run("watch", log, *FRESH, "--key-field", "host", *options).returncode == 0
    n_lines = {50}
    with start("watch", log, "--follow", *FRESH, "--key-field", "host", *options, stdout=subprocess.DEVNULL) as saver:
        for n in range(50, 1000, 50):
            with open(log, "a") as file:
                file.write("".join(lines[n : n + 50]))
            before, end = max(n_lines), time.monotonic() + 60
            while max(n_lines) == before:
                assert time.monotonic() < end
                with Watcher.load(state, keyed=True, thorough=True) as reader:
                    streams = reader._streams._streams
                    assert sum(map(streams.n_symbols, streams)) == reader.counts.characters
                    n_lines.add(reader.counts.lines)
        saver.terminate()
        saver.wait()
