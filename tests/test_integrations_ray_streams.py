"""Keyed streams: each record once, whatever dies and however many shards there are."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from commands import run
from extras import library

from streamlstm import Config, StreamPool, StreamPredictor, Watcher

library("ray")
import psutil  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from streamlstm.integrations.ray import KeyedStreams, ScoreStreams, Surprisal, WatchStreams, connected  # noqa: E402
from streamlstm.integrations.ray.keyed_streams import Shard  # noqa: E402
from streamlstm.integrations.ray.readers import QueuedRecord  # noqa: E402
from streamlstm.integrations.ray.storage import (  # noqa: E402
    Storage,
    StreamStore,
)
from streamlstm.logs.formats import Event  # noqa: E402

SHAPE = ["--hidden", "16", "--layers", "1"]


def predictor(seed=0):
    return StreamPredictor(config=Config(hidden=16, layers=1, memory_bits=12), seed=seed)


def records(n_keys=3, n=12):
    """Records by key, with offsets that are not consecutive."""
    return {
        f"host-{k}": [QueuedRecord(3 * i + k, f"job {i} of {k} done\n".encode()) for i in range(n)]
        for k in range(n_keys)
    }


def expected(batch):
    """The results of one process, from a pool in which each record is read by itself."""
    with StreamPool(predictor()) as pool:
        sums = {
            (key, record.offset): float(pool.observe(key, record.item).astype(np.float64).sum())
            for key, waiting in batch.items()
            for record in waiting
        }
    return sorted(
        Surprisal(key, record.offset, sums[key, record.offset], len(record.item))
        for key, waiting in batch.items()
        for record in waiting
    )


@pytest.fixture
def store(tmp_path):
    store = StreamStore(str(tmp_path / "store"))
    store.open(predictor(), ScoreStreams())
    return store


def part(batch, first, end):
    return {key: waiting[first:end] for key, waiting in batch.items()}


@pytest.mark.parametrize("location", ["{}", "memory://{}"])
def test_a_folder_has_whole_files(location, tmp_path):
    folder = Storage(location.format(tmp_path / "folder"))
    assert (folder.names(), folder.read("a"), "a" in folder) == ([], None, False)
    folder.write("b/a", b"1")
    folder.write("b/a", b"2")
    with pytest.raises(TypeError), folder.opened("b/c") as file:
        file.write(b"half" + file)
    with folder.opened("b/d") as file:
        file.write(b"whole")
    assert (folder.names(), folder.names("b"), folder.read("b/a"), folder.read("b/d")) == (
        ["b"],
        ["a", "d"],
        b"2",
        b"whole",
    )
    folder.delete("b/a")
    folder.delete("b/none")
    assert folder.names("b") == ["d"]
    assert Storage(folder.location).read("b/d") == b"whole"
    with pytest.raises(ValueError, match="nosuch://x cannot be opened"):
        Storage("nosuch://x")


def test_the_results_are_those_of_one_process(store):
    batch = records()
    shard = Shard(store.location)
    first, second = shard.process(part(batch, 0, 5)), shard.process(part(batch, 5, 12))
    assert sorted(first + second) == store.all_results() == expected(batch)
    assert [store.offset(key) for key in batch] == [33, 34, 35]
    assert store.offset("other") is None


def test_records_that_are_done_are_not_read_again(store):
    batch = records()
    Shard(store.location).process(part(batch, 0, 5))
    again = Shard(store.location).process(batch)  # from the beginning, in another process
    assert sorted(again) == store.all_results() == expected(batch)
    assert (
        sorted(Shard(store.location).process(part(batch, 2, 4)))
        == expected(batch)[2:4] + expected(batch)[14:16] + expected(batch)[26:28]
    )


class Killed(BaseException):
    """Stands for kill -9: what comes after it in the process does not happen."""


@pytest.mark.parametrize("seed", range(8))
def test_a_shard_may_die_before_any_write_or_deletion(seed, store, tmp_path, monkeypatch):
    chance, batch = random.Random(seed), records(2, 10)
    countdown = [0]

    def dying(method):
        def write(*arguments):
            countdown[0] -= 1
            if countdown[0] == 0:
                raise Killed
            return method(*arguments)

        return write

    for name in ("write", "delete"):
        monkeypatch.setattr(Storage, name, dying(getattr(Storage, name)))
    shard, done, n_deaths = Shard(store.location), 0, 0
    while done < 10:
        countdown[0] = chance.randrange(1, 8)
        end = min(done + chance.randrange(1, 4), 10)
        try:
            shard.process(part(batch, max(done - chance.randrange(3), 0), end))
            done = end
        except Killed:
            n_deaths += 1
            shard = Shard(store.location)
    assert n_deaths > 0
    assert store.all_results() == expected(batch)
    assert pq.read_table(tmp_path / "store" / "results").num_rows == 20  # for a reader that knows nothing of stores


def test_a_file_of_results_without_its_snapshot_is_deleted(store, tmp_path, monkeypatch):
    batch = records(1, 6)
    with monkeypatch.context() as patched:
        write = Storage.write
        patched.setattr(
            Storage, "write", lambda self, name, content: None if "snapshots" in name else write(self, name, content)
        )
        Shard(store.location).process(part(batch, 0, 4))
    Shard(store.location).process(part(batch, 0, 2))
    Shard(store.location).process(part(batch, 2, 6))
    assert pq.read_table(tmp_path / "store" / "results").num_rows == 6
    assert store.all_results() == expected(batch)


def test_nothing_is_lost_if_a_writer_that_was_believed_dead_writes_its_snapshot_late(store, monkeypatch):
    batch = records(1, 6)
    late = []
    with monkeypatch.context() as patched:
        write = Storage.write
        patched.setattr(Storage, "write", lambda *a: late.append(a) if "snapshots" in a[1] else write(*a))
        Shard(store.location).process(part(batch, 0, 4))
    heir = Shard(store.location)
    heir._load("host-0")
    for arguments in late:
        Storage.write(*arguments)
    del heir  # it dies before it has read anything
    Shard(store.location).process(batch)
    assert store.all_results() == expected(batch)


def test_a_writer_that_was_believed_dead_does_no_harm(store):
    batch = records(1, 12)
    zombie, heir = Shard(store.location), Shard(store.location)
    zombie.process(part(batch, 0, 3))
    heir.process(part(batch, 0, 5))
    zombie.process(part(batch, 3, 9))
    heir.process(part(batch, 5, 7))
    zombie.process(part(batch, 9, 10))
    heir.process(part(batch, 7, 12))
    assert store.all_results() == expected(batch)


def test_an_error_of_the_storage_is_raised_and_the_batch_may_be_sent_again(store, monkeypatch):
    batch, shard = records(1, 4), Shard(store.location)
    shard.process(part(batch, 0, 2))
    with monkeypatch.context() as patched:
        patched.setattr(Storage, "write", lambda *arguments: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            shard.process(part(batch, 2, 4))
    shard.process(part(batch, 2, 4))
    assert store.all_results() == expected(batch)


def test_streams_that_the_pool_forgot_are_loaded_again(store, monkeypatch):
    monkeypatch.setattr("streamlstm.integrations.ray.readers.MAX_KEYS", 1)
    batch, shard = records(3, 6), Shard(store.location)
    for first in range(6):
        shard.process(part(batch, first, first + 1))
    assert store.all_results() == expected(batch)


def test_a_store_belongs_to_its_model(store):
    for model, reading in (
        (predictor(1), ScoreStreams()),
        (predictor(), ScoreStreams("all")),
        (predictor(), WatchStreams({})),
    ):
        with pytest.raises(ValueError, match="has streams of another model, or with other options"):
            store.open(model, reading)


# Watching

WATCH = {"threshold": 3.0, "warmup": 20, "thorough": True}
ODD = "KERNEL PANIC at 0xc0ffee"


def log_lines(host, n=120):
    return [ODD if index == 7 * n // 8 else f"job {index % 7} of {host} done" for index in range(n)]


def watched_lines(records):
    """The records of two hosts, from the store and from two watchers: what is to be equal of them."""
    found = [json.loads(result.record) for result in records]
    expected = []
    for host in ("a", "b"):
        watcher = Watcher(predictor(), **WATCH)
        expected += [
            (host, text, line.z, line.raised) for text in log_lines(host) if (line := watcher.observe(f"{text}\n"))
        ]
    assert [text for _, text, _, raised in expected if raised] == [ODD, ODD]
    return [(r["path"], r["text"], r["score"], r["raised"]) for r in found], expected


def test_a_key_is_watched_as_by_a_watcher_of_its_own(tmp_path):
    store = StreamStore(str(tmp_path / "store"))
    store.open(predictor(), WatchStreams(WATCH, all=True))
    lines = {host: log_lines(host) for host in ("a", "b")}
    for first in range(0, 120, 30):
        batch = {
            host: [
                QueuedRecord(n + 1, Event(texts[n], number=n + 1, path=host, offset=n + 1))
                for n in range(first, first + 30)
            ]
            for host, texts in lines.items()
        }
        Shard(store.location).process(batch)  # each time in another process
    found, expected = watched_lines(store.all_results())
    assert found == expected


def test_a_shard_with_memory_for_one_watcher_watches_texts_of_two_keys_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr("streamlstm.integrations.ray.readers.memory_of_shard", lambda: 0)
    store = StreamStore(str(tmp_path / "store"))
    store.open(predictor(), WatchStreams(WATCH, all=True))
    shard = Shard(store.location)
    for first in range(0, 120, 30):
        for host in ("a", "b"):
            texts = log_lines(host)[first : first + 30]
            shard.process({host: [QueuedRecord(first + n, f"{text}\n".encode()) for n, text in enumerate(texts)]})
            assert [each in shard._reader for each in ("a", "b")] == [host == "a", host == "b"]
    found, expected = watched_lines(store.all_results())
    assert found == expected


def test_only_alarms_are_kept_by_default_and_a_budget_per_time_needs_time_stamps(tmp_path):
    store = StreamStore(str(tmp_path / "store"))
    store.open(predictor(), WatchStreams({**WATCH, "alarms": "5/hour"}))
    with pytest.raises(ValueError, match=r"a\.log begins without a time stamp; give a budget per number of lines"):
        Shard(store.location).process({"a": [QueuedRecord(1, Event("no time", path="a.log"))]})
    events = [Event(text, time=f"2026-11-26 12:00:{n % 60:02}", path="a.log") for n, text in enumerate(log_lines("a"))]
    Shard(store.location).process({"a": [QueuedRecord(n, event) for n, event in enumerate(events)]})
    assert ODD in [json.loads(result.record)["text"] for result in store.all_results()]
    assert len(store.all_results()) < 10


def test_options_that_no_watcher_has_are_refused_before_anything_is_written(tmp_path):
    store = StreamStore(str(tmp_path / "store"))
    with pytest.raises(ValueError, match="warmup must be at least 0, not -1"):
        store.open(predictor(), WatchStreams({"warmup": -1}))
    with pytest.raises(ValueError, match="key_regex is not an option of WatchStreams"):
        store.open(predictor(), WatchStreams({"key_regex": "a"}))
    assert os.listdir(tmp_path) == []


def test_wrong_options_of_watch_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    wrong = {
        ("--workers", "2"): "--workers is for an engine; add --engine ray",
        ("--engine", "ray", "--format", "jsonl"): "--engine ray keeps its results in a folder; name it with --out DIR",
        ("--engine", "ray", "--out", "x"): "--engine ray writes JSON; give --format jsonl",
        ("--engine", "ray", "--out", "x", "--key-regex", "a"): "--key-regex cannot be used with --engine ray",
        ("--engine", "ray", "--out", "x", "--session-regex", "a"): "--session-regex cannot be used with --engine ray",
        ("--engine", "ray", "--out", "x", "--context", "2"): "--context cannot be used with --engine ray",
        ("--engine", "ray", "--out", "x", "--format", "jsonl"): "empty has no files",
        ("--engine", "ray", "--out", "x", "--format", "jsonl", "-"): "--engine ray watches files and folders; stdin",
    }
    for arguments, message in wrong.items():
        result = run("watch", *arguments, *([] if "-" in arguments else ["empty"]), *SHAPE, cwd=tmp_path)
        assert (result.returncode, os.listdir(tmp_path)) == (1, ["empty"])
        assert result.stderr.decode().startswith(f"streamlstm: {message}")


def start_watch(folder, *more):
    arguments = [
        "--engine",
        "ray",
        "--workers",
        "2",
        "--out",
        folder / "out",
        "--format",
        "jsonl",
        "--all",
        *SHAPE,
        *more,
    ]
    command = [sys.executable, "-m", "streamlstm", "watch", *map(str, arguments), str(folder / "logs")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


@pytest.mark.slow
def test_the_command_watches_each_file_as_one_process_does_even_after_kill_9(tmp_path):
    (tmp_path / "logs").mkdir()
    for host in ("a", "b", "c"):
        (tmp_path / "logs" / host).write_text("\n".join(log_lines(host, 1500)))
    options = ["--format", "jsonl", "--all", *SHAPE]
    expected = {host: run("watch", tmp_path / "logs" / host, *options).stdout.decode() for host in ("a", "b", "c")}
    with start_watch(tmp_path, "--save-every", "0.1") as first:
        first.stdout.readline()
        first.kill()
    with start_watch(tmp_path) as refused:
        assert (
            "is not empty; name another folder, or continue there with --resume" in refused.communicate(timeout=600)[1]
        )
    with start_watch(tmp_path, "--resume") as second:
        printed, errors = second.communicate(timeout=900)
        assert second.returncode == 0, errors
    found = {host: "" for host in expected}
    for result in StreamStore(str(tmp_path / "out")).all_results():
        found[os.path.basename(result.key)] += result.record
    assert found == expected
    assert set(printed.splitlines()) <= set("".join(expected.values()).splitlines())


# On Ray

SHARDS = (2, 3, 1)
"""How many shards there are for the first, the second and the last third of the records."""

DRIVER = """
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_integrations_ray_streams import SHARDS, chaos_records, predictor
from streamlstm.integrations.ray import KeyedStreams, connected

folder = Path(sys.argv[1])

def work():
    rows = chaos_records()
    third = len(rows) // 3 + 1
    with KeyedStreams(str(folder / "store"), predictor(), shards=2, batch_seconds=0.2) as streams:
        done = {{key: streams.offset(key) for key in {{key for key, _, _ in rows}}}}
        n_shards = 2
        for index, (key, offset, text) in enumerate(rows):
            wanted = SHARDS[index // third]
            if wanted != n_shards:
                wait_for_kills(n_shards, streams)
                streams.rescale(wanted)
                n_shards = wanted
                (folder / "rescaled").open("a").write(f"{{wanted}} ")
            if done[key] is not None and offset <= done[key] and len(key) % 2:
                continue  # half of the keys go on after what is done, the others are sent again
            streams.send(key, offset, text)
            if not (folder / f"killed-{{n_shards}}").exists():
                time.sleep(0.02)
        wait_for_kills(n_shards, streams)
        streams.flush()
    (folder / "finished").touch()

def wait_for_kills(n_shards, streams):  # until all has been killed that is to be killed with so many shards
    while not (folder / f"killed-{{n_shards}}").exists():
        streams.poll()
        time.sleep(0.02)

with connected():
    work()
"""


def chaos_records():
    """The records of the test on Ray: 40 keys, one third of the records has other shards than the next."""
    chance = random.Random(5)
    offsets = {}
    rows = []
    for n in range(6000):
        key = f"host-{chance.randrange(40)}"
        offsets[key] = offsets.get(key, -1) + chance.randrange(1, 4)
        rows.append((key, offsets[key], f"request {n * n % 977} of {key} took {n % 13} ms\n"))
    return rows


def expected_of_chaos():
    batch = {}
    for key, offset, text in chaos_records():
        batch.setdefault(key, []).append(QueuedRecord(offset, text.encode()))
    return expected(batch)


def start_driver(folder, address):
    code = DRIVER.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "RAY_ADDRESS": address}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment, stdout=log, stderr=log)


def shards_of_cluster():
    """The processes of the actors of shards, on all nodes, which this process has started."""
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ray::Shard" in " ".join(each.cmdline()):
                found.append(each)
    return found


def shards_asked_for(folder):
    """The number of shards that the driver has asked for last, or before it was killed."""
    rescaled = folder / "rescaled"
    numbers = rescaled.read_text().split() if rescaled.exists() else []
    return SHARDS[len(set(numbers))]


def test_too_few_cpus_are_an_error_and_not_a_wait_for_ever(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    with connected() as all_cpus, connected(2) as both:
        assert (all_cpus, both) == (2, 2)
    with pytest.raises(ValueError, match="has 2 CPUs, too few for 3 workers of one CPU each"), connected(3):
        pass
    with pytest.raises(ValueError, match="workers must be at least 1, not -1"), connected(-1):
        pass


@pytest.mark.slow
def test_send_waits_for_a_shard_that_is_behind_and_the_stats_show_it(tmp_path):
    batch, done = records(5, 60), []
    options = {"on_results": done.extend, "batch_seconds": 0.0, "max_waiting": 400}
    with connected(2), KeyedStreams(str(tmp_path / "store"), predictor(), shards=2, **options) as streams:
        most, lag = 0, 0.0
        for index in range(60):
            if index == 30:
                streams.rescale(1)
            for key, waiting in batch.items():
                streams.send(key, waiting[index].offset, waiting[index].item)
                stats = streams.stats()
                most = max(most, *(each.waiting_bytes for each in stats))
                lag = max(lag, *(each.lag_seconds for each in stats))
        streams.flush()
        assert [each[:2] for each in streams.stats()] == [(0, 0)]
        assert 400 <= most <= 2 * 420  # a batch that waits, and one that is being read
        assert lag > 0
        assert streams.stats()[0].n_done == 150
        with pytest.raises(ValueError, match="the offset of 'host-0' must be above 177, not 177"):
            streams.send("host-0", 177, "again")
        assert sorted(done) == streams.results() == expected(batch)
        assert [result.offset for result in done if result.key == "host-1"] == [each.offset for each in batch["host-1"]]


def added_node(cluster):
    """A new node with one CPU. On a busy machine it may not start within Ray's 30 seconds."""
    for _ in range(5):
        try:
            return cluster.add_node(num_cpus=1)
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    raise TimeoutError("no node has started")


@pytest.mark.slow
def test_each_record_is_read_once_whatever_dies(tmp_path):
    from ray.cluster_utils import Cluster

    n_actors, n_raylets, n_drivers = (int(n) for n in os.environ.get("RAY_KILLS", "5,1,1").split(","))
    chance = random.Random(3)
    StreamStore(str(tmp_path / "store")).open(predictor(), ScoreStreams())
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [added_node(cluster) for _ in range(2)]
    driver = start_driver(tmp_path, cluster.address)
    left = ["actor"] * n_actors + ["raylet"] * n_raylets + ["driver"] * n_drivers
    chance.shuffle(left)
    n_kills = len(left)
    end = time.monotonic() + 600 + 120 * n_kills
    try:
        while not (tmp_path / "finished").exists() and time.monotonic() < end:
            time.sleep(chance.uniform(0.2, 3))
            assert driver.poll() in (None, 0), (tmp_path / "log").read_text()[-3000:]
            n_shards = shards_asked_for(tmp_path)
            if len(left) <= n_kills * (2 - SHARDS.index(n_shards)) // 3:  # the others with another number of shards
                (tmp_path / f"killed-{n_shards}").touch()
                continue
            shards = shards_of_cluster()
            if not shards:
                continue  # they are being started
            kind = left.pop()
            if kind == "actor":
                chance.choice(shards).kill()
            elif kind == "raylet":
                cluster.remove_node(nodes.pop(chance.randrange(2)), allow_graceful=False)
                nodes.append(added_node(cluster))
            else:
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                driver = start_driver(tmp_path, cluster.address)
            with (tmp_path / "killed").open("a") as log:
                log.write(f"{kind} of {n_shards}\n")
        assert driver.wait(600) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        driver.kill()
        cluster.shutdown()
    assert not left
    assert shards_asked_for(tmp_path) == SHARDS[-1]
    found = StreamStore(str(tmp_path / "store")).all_results()
    assert json.dumps(found) == json.dumps(expected_of_chaos())
