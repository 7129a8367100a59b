"""Stores of streams: whatever name they have, whether they are deleted or replaced, and however full the disk is."""

import inspect
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import commands
import pytest

from streamlstm import Config, StreamPool, StreamPredictor, Watcher
from streamlstm.streams import store as stores
from streamlstm.streams.store import StreamStore

MODEL = StreamPredictor(config=Config(hidden=4, layers=1, memory_bits=10))


def pool_of(path=None, **options):
    return StreamPool(MODEL, "memory", path, threads=1, **options)


# Time limits


def actions(pool, key):
    """Each public method, used with a key: its name, and what it does."""
    return {
        "observe": lambda: pool.observe(key, "x"),
        "observe_many": lambda: pool.observe_many({key: "x"}),
        "predict": lambda: pool.predict(key),
        "top": lambda: pool.top(key),
        "fork": lambda: pool.fork(key, "new"),
        "forget": lambda: pool.forget(key),
        "n_symbols": lambda: pool.n_symbols(key),
        "snapshot": lambda: pool.snapshot(key),
        "restore": lambda: pool.restore(key, SNAPSHOT),
        "__contains__": lambda: key in pool,
        "__len__": lambda: len(pool),
        "__iter__": lambda: list(pool),
        "stats": lambda: pool.stats().n_streams,
        "save": lambda: pool.save(),
        "reader": lambda: pool.reader(key).predict().tolist(),
        "__repr__": lambda: repr(pool),
    }


with pool_of() as other:
    other.observe("other", "ab")
    SNAPSHOT = other.snapshot("other")
OTHERS = {"close", "__init__", "__enter__", "__exit__"}
NAMES = [
    "observe", "observe_many", "predict", "top", "fork", "forget", "n_symbols", "snapshot", "restore", "__contains__",
    "__len__", "__iter__", "stats", "save", "reader", "__repr__",
]  # fmt: skip


def test_every_public_method_is_tried_with_a_stream_that_has_expired():
    own = {name for name, _ in inspect.getmembers(StreamPool, inspect.isfunction) if name in vars(StreamPool)}
    assert {name for name in own if not name.startswith("_") or name.startswith("__")} - OTHERS == set(NAMES)


@pytest.mark.parametrize("where", ["current", "in memory", "evicted", "in the store"])
@pytest.mark.parametrize("name", NAMES)
def test_an_expired_stream_is_gone_for_every_method(tmp_path, name, where):
    seconds = [0.0]
    options = {"ttl": 10, "clock": lambda: seconds[0], "memory_budget": 1 if where == "evicted" else 10**9}
    pool = pool_of(tmp_path / "s", **options)
    pool.observe("old", "abc")
    if where == "in the store":
        pool.save()
        pool.close()
        pool = pool_of(tmp_path / "s", **options)
    seconds[0] = 5
    if where != "current":
        for key in ("one", "two"):
            pool.observe(key, "abc")
    n_before = 1 if where == "current" else 3
    assert len(pool) == n_before
    if where == "current":
        pool.observe("old", "d")
    seconds[0] = 10.5 if where != "current" else 15.5
    n = n_before - 1
    with pool:
        act = actions(pool, "old")[name]
        if name in ("predict", "top", "fork", "forget", "n_symbols", "snapshot"):
            with pytest.raises(KeyError, match="there is no stream 'old'"):
                act()
        else:
            found = act()
            n += name in ("observe", "observe_many", "restore")
            expected = {"__contains__": False, "__len__": n, "stats": n}.get(name)
            assert expected is None or found == expected
            if name == "__iter__":
                assert "old" not in found
        assert (len(pool), len(list(pool))) == (n, n)
        assert ("old" in pool) == (name in ("observe", "observe_many", "restore"))
        if "old" in pool:
            assert pool.n_symbols("old") == (2 if name == "restore" else 1)


def test_time_that_goes_back_forgets_nothing_and_ends_no_limit():
    seconds = [1000.0]
    with pool_of(ttl=10, clock=lambda: seconds[0]) as pool:
        pool.observe("a", "abc")
        seconds[0] = 0.0
        pool.observe("b", "abc")
        assert set(pool) == {"a", "b"}
        seconds[0] = 1009.0
        assert set(pool) == {"a", "b"}
        seconds[0] = 1011.0
        assert set(pool) == set()


# Names of files


def other_names(path, folder):
    """All ways to name a file."""
    (folder / "sub").mkdir()
    os.symlink(path, folder / "link")
    os.symlink(folder, folder / "folder")
    os.link(path, folder / "hard")
    os.symlink(folder / "hard", folder / "link to hard")
    names = [path, folder / "link", folder / "folder" / path.name, folder / "hard", folder / "link to hard"]
    return [*names, folder / "sub" / ".." / path.name, Path(os.path.relpath(path))]


TRY = """
import sys
sys.path[:0] = sys.argv[1:2]
from test_store import MODEL, pool_of
for path in sys.argv[2:]:
    try:
        pool_of(path).close()
        print("opened", path)
    except BlockingIOError as error:
        assert "another process uses this store" in str(error)
        print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no locks that belong to open files")
def test_a_store_is_locked_whatever_the_name_by_which_it_is_opened(tmp_path):
    path = tmp_path / "s.db"
    with pool_of(path) as pool:
        pool.observe("a", "abc")
        pool.save()
    names = other_names(path, tmp_path)
    command = [sys.executable, "-c", TRY, os.path.dirname(__file__), *map(str, names)]
    for name in names[1:4:2]:  # a symbolic and a hard link
        with pool_of(name) as pool:
            for other in names:
                with pytest.raises(BlockingIOError, match="another process uses this store"):
                    pool_of(other)
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
            assert output == ["refused"] * len(names)
            copied = StreamStore.copy_of(name, bytes.fromhex(pool._codec._identity))
            assert list(copied) == ["a"]
            copied.close()
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
            assert output == ["refused"] * len(names)  # a reader in this process has ended no lock
            pool.observe("a", "d")
            pool.save()
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.count("opened") == len(names)


# Files that are deleted or replaced meanwhile


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("how", ["deleted", "moved", "replaced", "replaced by a copy"])
@pytest.mark.parametrize("when", ["at once", "after a save", "with streams on the disk"])
def test_a_store_that_is_deleted_or_replaced_is_noticed_and_nothing_is_lost(tmp_path, how, when, beside):
    path, moved = tmp_path / "s.db", tmp_path / "moved"
    with pool_of(path, memory_budget=1 if when == "with streams on the disk" else 10**9) as pool:
        for key in "abcd":
            pool.observe(key, "some text")
            if when != "at once":
                pool.save()
        pool.observe("a", "more")
        if how == "replaced by a copy":
            shutil.copy(path, tmp_path / "copy")
        os.rename(path, moved)
        if how == "deleted":
            moved.unlink()
        if beside:
            for suffix in ("-wal", "-shm"):
                Path(f"{path}{suffix}").unlink()
        if how.startswith("replaced"):
            (tmp_path / "copy").rename(path) if how.endswith("copy") else path.write_text("another file")
            content = path.read_bytes()
            with pytest.raises(
                FileExistsError, match=r"was replaced by another file .*; move that away, and save again"
            ):
                pool.save()
            assert path.read_bytes() == content
            path.rename(tmp_path / "away")
        pool.save()
        pool.observe("b", "more")
        pool.save()
    with pool_of(path) as pool:
        assert {key: pool.n_symbols(key) for key in pool} == {"a": 13, "b": 13, "c": 9, "d": 9}
    if how == "moved" and when != "at once" and not beside:
        with pool_of(moved) as pool:
            assert set(pool) == set("abcd")


# A full temporary folder


FULL = """
import errno, sys
sys.path[:0] = sys.argv[1:2]
from test_store import MODEL, pool_of
from streamlstm import Watcher
import streamlstm.streams.store as stores
stores.ENOUGH_ROOM = 0  # it takes the folder although it is almost full
pool = pool_of(sys.argv[2], memory_budget=200_000)
for n in range(400):
    try:
        pool.observe(n.to_bytes(2, "big"), "some text of a stream " * 9)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        break
else:
    sys.exit("the disk was not full")
keys = [i.to_bytes(2, "big") for i in range(n)]
for _ in range(2):
    assert sorted(pool) == keys and len(pool) == n
    for key in keys:
        assert key in pool and pool.n_symbols(key) == 198
        assert len(pool.predict(key)) == 256 and len(pool.top(key)) == 5
        assert pool.stats().n_hot < 12
assert pool.snapshot(keys[0]) and pool.snapshot(keys[-1])
pool.forget(keys[3])
assert keys[3] not in pool and len(pool) == n - 1
content = pool.snapshot(keys[0])
for act in (lambda: pool.restore(keys[1], content), lambda: pool.fork(keys[1], "new"), lambda: pool.observe(b"x", "y")):
    try:
        act()
        sys.exit("the disk was not full any more")
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
assert len(pool) == n - 1 and pool.n_symbols(keys[1]) == 198
pool.save()
pool.observe(b"x", "y")
pool.save()
print(n)
"""


@pytest.fixture
def full(tmp_path):
    """A file system of 1 MB for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs permission to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_temporary_folder_stops_neither_saving_nor_asking(tmp_path, full):
    command = [sys.executable, "-c", FULL, os.path.dirname(__file__), str(tmp_path / "s.db")]
    environment = {**os.environ, "TMPDIR": str(full), "SQLITE_TMPDIR": str(full)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert os.listdir(full) == []
    with pool_of(tmp_path / "s.db") as pool:
        assert len(pool) == int(result.stdout)
        assert all(pool.n_symbols(key) == 198 for key in pool if key != b"x")


@pytest.mark.parametrize("is_saved", [False, True])
def test_a_full_temporary_folder_does_not_stop_watch(tmp_path, full, is_saved):
    (full / "others").write_bytes(bytes(2**20))
    (tmp_path / "log").write_text("".join(f"host-{n % 90} job {n % 7} done\n" for n in range(400)))
    command = [
        "watch",
        "log",
        "--key-regex",
        "host-[0-9]+",
        "--hidden",
        "4",
        "--layers",
        "1",
        "--memory-budget",
        "50kB",
    ]
    command += ["--save", "m"] if is_saved else []
    environment = {**os.environ, "SQLITE_TMPDIR": str(full)}
    result = commands.run(*command, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert os.listdir(full) == ["others"]


def test_a_temporary_file_goes_where_there_is_room_and_an_error_names_its_folder(tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("sqlite", "tmp", "store")]
    for each in folders:
        each.mkdir()
    room = dict.fromkeys(map(str, folders), 0)
    monkeypatch.setenv("SQLITE_TMPDIR", str(folders[0]))
    monkeypatch.setattr(stores.tempfile, "gettempdir", lambda: str(folders[1]))
    monkeypatch.setattr(stores.shutil, "disk_usage", lambda folder: SimpleNamespace(free=room.get(folder, 0)))
    for chosen, free in [
        (0, 0),
        (2, 1),
        (1, 2),
        (2, stores.ENOUGH_ROOM),
        (1, stores.ENOUGH_ROOM),
        (0, stores.ENOUGH_ROOM),
    ]:
        room[str(folders[chosen])] = free
        store = StreamStore(None, b"model", beside=str(folders[2] / "s.db"))
        assert os.path.dirname(store._file) == str(folders[chosen])
        with pytest.raises(OSError, match=f"temporary store in {folders[chosen]}"), store._clear_errors():
            raise sqlite3.OperationalError("database or disk is full")
        store.close()


# Dropped keys


def test_what_is_kept_of_dropped_keys_has_a_bound_and_is_that_of_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "MAX_DROPPED", 20)
    store = StreamStore(tmp_path / "s", b"model")
    for n in range(300):
        store.put_dropped(f"key {n}", b"%d" % n)
        store.put_dropped(f"key {max(n - 1, 0)}", b"%d" % max(n - 1, 0))  # again: it takes no more space
        last = [store.dropped(f"key {i}") for i in range(max(0, n - 19), n + 1)]
        assert last == [b"%d" % i for i in range(max(0, n - 19), n + 1)]
        assert len(list(store.all_dropped())) <= 40
        if n % 50 == 49:
            store.commit()
            store.close()
            store = StreamStore(tmp_path / "s", b"model")
    store.close()


def test_keys_that_never_come_back_take_a_bounded_space(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "MAX_DROPPED", 30)
    with Watcher(MODEL.fork(), keyed=True, max_keys=2, warmup=3) as watcher:
        for n in range(250):
            watcher.observe("one line\n", key=f"request {n}")
            if n % 40 == 39:
                watcher.save(tmp_path / "a")
        watcher.save(tmp_path / "b")
        found = [key for key, _ in watcher._streams._streams._store.all_dropped()]
        assert 30 <= len(found) <= 60
        assert {f"request {n}" for n in range(218, 248)} <= set(found)


# Links


def test_a_store_is_written_anew_where_its_symbolic_link_leads(tmp_path):
    (tmp_path / "disk").mkdir()
    os.symlink(tmp_path / "disk" / "s.db", tmp_path / "link")
    with pool_of(tmp_path / "link") as pool:
        pool.observe("a", "abc")
        pool.save()
        (tmp_path / "disk" / "s.db").unlink()
        pool.observe("b", "abc")
        pool.save()
        pool.observe("c", "abc")
        pool.save()
    with pool_of(tmp_path / "disk" / "s.db") as pool:
        assert set(pool) == {"a", "b", "c"}
    assert os.listdir(tmp_path / "disk") == ["s.db"]
    assert (tmp_path / "link").is_symlink()


def test_the_journals_of_a_store_that_takes_the_place_of_a_deleted_one_are_not_deleted(tmp_path, monkeypatch):
    path, lexists = tmp_path / "s.db", os.path.lexists
    with pool_of(path) as pool:
        pool.observe("a", "abc")
        pool.save()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink()

        def replaced_meanwhile(name):
            found = lexists(name)
            path.write_text("another file")
            Path(f"{path}-wal").write_text("its journal")
            return found

        with monkeypatch.context() as patch:
            patch.setattr(os.path, "lexists", replaced_meanwhile)
            with pytest.raises(FileExistsError, match="was replaced by another file"):
                pool.save()
        assert (path.read_text(), Path(f"{path}-wal").read_text()) == ("another file", "its journal")
        for suffix in ("", "-wal"):
            Path(f"{path}{suffix}").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(StreamStore, "_open", fail)
            with pytest.raises(OSError, match="no space"):
                pool.save()
        assert not path.exists()
        pool.save()
    with pool_of(path) as pool:
        assert set(pool) == {"a"}


def fail(*_):
    raise OSError("no space")


# Forked processes


def in_a_fork(act, how):
    """Whether an act in a forked process raises nothing; that ends as it does usually."""
    if how == "fork":
        number = os.fork()
        if number == 0:
            code = 1
            try:
                act()
                code = 0
            finally:
                os._exit(code)
        return os.waitpid(number, 0)[1] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
        process = multiprocessing.get_context("fork").Process(target=act)
        process.start()
    process.join(60)
    return process.exitcode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no locks that belong to open files")
@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
@pytest.mark.parametrize("budget", [1, 10**9])
def test_a_forked_process_leaves_the_store_and_the_files_to_its_parent(tmp_path, how, budget):
    path = tmp_path / "s.db"
    with pool_of(path, memory_budget=budget) as pool, Watcher(MODEL.fork(), keyed=True) as watcher:
        watcher.observe("one line\n", key="a")
        watcher.save(tmp_path / "w")
        for key in "abc":
            pool.observe(key, "some text")
        pool.save()
        pool.observe("a", "more")
        names = sorted(os.listdir(tmp_path))

        def act():
            with pytest.raises(BlockingIOError, match="forked"):
                pool.save()
            with pytest.raises(BlockingIOError, match="forked"):
                watcher.save(tmp_path / "w")
            with pytest.raises(BlockingIOError):
                pool_of(path)
            pool.close()
            pool.close()
            watcher.close()
            assert sorted(os.listdir(tmp_path)) == names

        assert in_a_fork(act, how)
        assert sorted(os.listdir(tmp_path)) == names
        command = [sys.executable, "-c", TRY, os.path.dirname(__file__), str(path)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n"
        pool.observe("b", "more")
        pool.save()
        watcher.save(tmp_path / "w")
        assert pool.n_symbols("a") == 13
    with pool_of(path) as pool:
        assert {key: pool.n_symbols(key) for key in pool} == {"a": 13, "b": 13, "c": 9}


ORPHAN = """
import os, sys, time
sys.path[:0] = sys.argv[1:2]
from test_store import pool_of
pool = pool_of(sys.argv[2])
pool.observe("a", "abc")
pool.save()
if os.fork():
    os._exit(0)
print("forked", flush=True)
sys.stdin.read()  # until this has ended, it has what it inherited
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no locks that belong to open files")
def test_a_forked_process_that_outlives_its_parent_neither_keeps_the_lock_nor_deletes_journals(tmp_path):
    path = tmp_path / "s.db"
    command = [sys.executable, "-c", ORPHAN, os.path.dirname(__file__), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"forked\n"
        process.wait()
        code = "from test_store import *; p = pool_of(sys.argv[1]); p.observe('b', 'abc'); p.save(); os._exit(0)"
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=os.path.dirname(__file__), check=True)
        assert Path(f"{path}-wal").stat().st_size > 0  # as a process that was killed left it
        process.stdin.close()
        process.stdout.read()  # until the forked process has ended
    with pool_of(path) as pool:
        assert set(pool) == {"a", "b"}
