"""A watcher's file and its store: whatever is done to files, the keys of a pair change by its own saves only."""

import os
import re
import shutil
import sqlite3
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import Config, StreamPredictor, Watcher
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.streams.store import StreamStore
from streamlstm.watch import key_file, keyed_streams

MODEL = StreamPredictor(config=Config(hidden=4, layers=1, memory_bits=10))
NAMES = [f"{folder}/{name}" for folder in "xy" for name in ("a", "b", "c.keys-00000000", "d")]


def keyed(path=None, **options):
    if path is None:
        return Watcher(MODEL.fork(), keyed=True, warmup=5, **options)
    return Watcher.load(path, keyed=True, warmup=5, **options)


def saved(path, *keys):
    with keyed() as watcher:
        for key in keys:
            watcher.observe("one line\n", key=key)
        watcher.save(path)
    return Path(path).with_name(read_checkpoint(path)[1]["watch"]["store"])


def keys_of(path):
    with keyed(path) as watcher:
        return set(watcher._streams._streams)


def keys_in(store):
    with closing(sqlite3.connect(store)) as base:
        return {key for (key,) in base.execute("SELECT key FROM streams")}


def claim_of(path):
    """The store that a file names, and its owner; None if it is not the file of a watcher."""
    with suppress(OSError, ValueError, RuntimeError):  # RuntimeError: a link to itself
        watch = read_checkpoint(path)[1]["watch"]
        return path.resolve().with_name(watch["store"]), watch.get("owner", "")
    return None


def pairs_in(folder):
    """For each file that can be used with its store: what it says, and all that is in the store."""
    found = {}
    for name in NAMES:
        claim = claim_of(folder / name)
        if claim is not None and claim[0].exists():
            with closing(sqlite3.connect(claim[0])) as base:
                about = dict(base.execute("SELECT name, value FROM about"))
                if about.get("owner", b"").decode() == claim[1]:
                    found[name] = claim, content_of(base, about)
    return found


def content_of(base, about):
    """The state of the watcher, the streams and what is kept of dropped keys."""
    streams = base.execute("SELECT key, n_symbols, content FROM streams ORDER BY key").fetchall()
    return about.get("state"), streams, base.execute("SELECT key, content FROM dropped ORDER BY key").fetchall()


class Files:
    """Two folders with files, some watchers, and everything that a user may do to them."""

    def __init__(self, folder):
        self.folder, self.watchers, self.n = folder, [], 0
        for name in "xy":
            (folder / name).mkdir()

    def path(self, data):
        return self.folder / data.draw(st.sampled_from(NAMES))

    def observe(self, watcher):
        for _ in range(3):
            self.n += 1
            watcher.observe(f"line {self.n % 3}\n", key=f"key {self.n % 7}")

    def begin(self, data):
        self.watchers.append(keyed())

    def load(self, data):
        path = self.path(data)
        self.watchers.append(keyed(path, exclusive=data.draw(st.booleans())))
        return path

    def save(self, data):
        watcher = data.draw(st.sampled_from(self.watchers))
        self.observe(watcher)
        path = self.path(data)
        watcher.save(path)
        return path

    def save_badly(self, data):
        """Let a step of saving fail."""
        watcher, path = data.draw(st.sampled_from(self.watchers)), self.path(data)
        self.observe(watcher)
        where, name = data.draw(
            st.sampled_from([(StreamStore, "put"), (StreamStore, "commit"), (keyed_streams, "write_model")])
        )

        def fails(*_):
            raise OSError("no space")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(where, name, fails)
            with suppress(OSError):
                watcher.save(path)
                return path  # that step was not needed
        return None

    def close(self, data):
        watcher = data.draw(st.sampled_from(self.watchers))
        self.watchers.remove(watcher)
        watcher.close()

    def copy(self, data):
        path = self.path(data)
        shutil.copy(self.path(data), path)
        return path

    def move(self, data):
        old, new = self.path(data), self.path(data)
        os.replace(old, new)
        return (old, new)

    def link(self, data):
        path = self.path(data)
        os.link(self.path(data), path)

    def link_by_name(self, data):
        path = self.path(data)
        path.symlink_to(self.path(data))

    def delete(self, data):
        path = self.path(data)
        path.unlink()
        return path

    def copy_folder(self, data):
        while self.watchers:  # a store that is in use cannot be copied as one file
            self.watchers.pop().close()
        there = set(os.listdir(self.folder / "y"))
        for path in (self.folder / "x").iterdir():  # with the journals, which a store has that was moved while open
            if path.name.removesuffix("-wal").removesuffix("-shm") not in there:
                shutil.copy(path, self.folder / "y" / path.name)

    def link_folder(self, data):
        """As `cp -al` does, whoever uses the files."""
        for path in (self.folder / "x").iterdir():
            if not (self.folder / "y" / path.name).exists():
                os.link(path, self.folder / "y" / path.name)

    def touch(self, data):
        os.utime(self.path(data))

    def move_pair(self, data):
        """Move a file with its store to the other folder, whoever uses it, and the journals of SQLite too."""
        path = self.path(data)
        store, other = claim_of(path)[0], self.folder / ("y" if path.parent.name == "x" else "x")
        moved = [path, *path.parent.glob(f"{store.name}*")]
        left = [self.folder / name for name in NAMES if (claim_of(self.folder / name) or (None,))[0] in moved]
        for each in moved:
            os.replace(each, other / each.name)
        return (*left, path, other / path.name)  # what named the store too has lost it

    def craft(self, data):
        """A model from elsewhere that names a store which is here."""
        names = sorted(os.listdir(self.folder / "x"))
        stores = [name for name in names if re.fullmatch(r".*\.keys-[1-9a-f][0-9a-f]{7}", name)] or ["a.keys-12345678"]
        path = self.folder / "x" / data.draw(st.sampled_from(["a", "b", "d"]))
        arrays, values = MODEL.to_checkpoint()
        watch = {"keyed": True, "learn": "memory", "store": stores[data.draw(st.integers(0, 9)) % len(stores)]}
        watch |= data.draw(st.sampled_from([{}, {"owner": "0" * 32}, {"owner": 7}]))
        write_checkpoint(path, arrays, values | {"watch": watch})
        return path


SEED = os.environ.get("KEY_FILE_SEED")
"""For other cases than those of CI: `KEY_FILE_SEED=7 pytest --hypothesis-seed=7 -m slow tests/test_key_file.py`."""

STEPS = ["begin", "load", "save", "save", "save", "save_badly", "close", "copy", "copy", "move", "link", "link_by_name"]
STEPS += ["delete", "copy_folder", "craft", "link_folder", "touch", "move_pair"]


def touched_by(result):
    return {result} if isinstance(result, Path) else set(result or ())


def inode(path):
    with suppress(OSError):
        return path.stat().st_dev, path.stat().st_ino
    return None


@pytest.mark.parametrize("n", [25, pytest.param(600, marks=pytest.mark.slow)])
def test_whatever_is_done_to_files_the_keys_of_a_pair_change_by_its_own_saves_only(tmp_path_factory, n):
    @settings(max_examples=n, deadline=None, database=None, derandomize=SEED is None)
    @given(st.data())
    def attack(data):
        folder, refused = tmp_path_factory.mktemp("files"), []
        files = Files(folder)
        with ExitStack() as stack:
            stack.callback(lambda: [watcher.close() for watcher in files.watchers])
            files.begin(data)
            files.save(data)
            for _ in range(data.draw(st.integers(1, 25))):
                before, step, touched = pairs_in(folder), data.draw(st.sampled_from(STEPS)), set()
                inodes = {name: inode(folder / name) for name in NAMES}
                if step in ("save", "save_badly", "close") and not files.watchers:
                    continue
                try:
                    touched = touched_by(getattr(files, step)(data))
                except (OSError, ValueError, RuntimeError, TypeError) as error:  # refused: then nothing may be lost
                    refused.append(str(error))
                real = {Path(os.path.realpath(path)) for path in touched}
                after = pairs_in(folder)
                written = {inode(path) for path in touched if inode(path) == inodes[str(path.relative_to(folder))]}
                written = written if step == "copy" else set()  # all others replace a file, or leave it
                real |= {folder / name for name in NAMES if inodes[name] in written}  # other hard links
                for name, (claim, content) in before.items():
                    path = folder / name
                    is_own = bool({path, Path(os.path.realpath(path))} & (touched | real))
                    if not os.path.exists(path) or (is_own and step != "load"):
                        continue
                    assert name in after, f"{step}: {name} lost its store"
                    assert after[name][0] == claim or is_own
                    assert after[name][1] == content, f"{step}: the keys of {name} have changed"
                for name in touched:
                    if step == "save":
                        assert str(name.relative_to(folder)) in after, "what was saved can be used"
        assert not any("\n" in message for message in refused)

    attack()


# One by one


def test_a_copy_has_a_store_of_its_own_once_it_is_saved_and_the_original_keeps_its_keys(tmp_path):
    store = saved(tmp_path / "a", "one")
    shutil.copy(tmp_path / "a", tmp_path / "b")
    saved(tmp_path / "b", "two")
    assert (keys_of(tmp_path / "a"), keys_of(tmp_path / "b")) == ({"one"}, {"two"})
    shutil.copy(tmp_path / "a", tmp_path / "b")
    with keyed(tmp_path / "b", exclusive=True) as copy, keyed(tmp_path / "a", exclusive=True) as original:
        copy.observe("one line\n", key="three")
        copy.save(tmp_path / "b")
        original.observe("one line\n", key="four")
        original.save(tmp_path / "a")
    assert (keys_of(tmp_path / "a"), keys_of(tmp_path / "b")) == ({"one", "four"}, {"one", "three"})
    assert keys_in(store) == {b"sone", b"sfour"}


def observed(path, *keys):
    """What `watch --resume --save PATH` does."""
    with keyed(path, exclusive=True) as watcher:
        for key in keys:
            watcher.observe("one line\n", key=key)
        watcher.save(path)


def test_copies_of_a_file_that_was_deleted_have_their_own_keys(tmp_path):
    saved(tmp_path / "a", "one")
    for name in "bc":
        shutil.copy(tmp_path / "a", tmp_path / name)
    (tmp_path / "a").unlink()
    observed(tmp_path / "b", "two")
    assert (keys_of(tmp_path / "b"), keys_of(tmp_path / "c")) == ({"one", "two"}, {"one"})
    observed(tmp_path / "c", "three")
    assert (keys_of(tmp_path / "b"), keys_of(tmp_path / "c")) == ({"one", "two"}, {"one", "three"})


def test_a_file_that_was_restored_from_a_renamed_one_does_not_change_that(tmp_path):
    saved(tmp_path / "a", "one")
    (tmp_path / "a").rename(tmp_path / "old")
    saved(tmp_path / "a", "two")
    shutil.copy(tmp_path / "old", tmp_path / "a")
    observed(tmp_path / "a", "three")
    assert (keys_of(tmp_path / "a"), keys_of(tmp_path / "old")) == ({"one", "three"}, {"one"})


@pytest.mark.parametrize("copied", [shutil.copy, shutil.copy2, os.link, os.rename])
def test_a_copy_that_is_made_while_a_watcher_saves_does_not_change(tmp_path, copied):
    store = saved(tmp_path / "a", "one")
    with keyed(tmp_path / "a", exclusive=True) as watcher:
        for n in range(6):
            watcher.observe("one line\n", key=f"key {n}")
            if n == 2:
                copied(tmp_path / "a", tmp_path / "b")
            watcher.save(tmp_path / "a")
            assert store.exists()
    assert keys_of(tmp_path / "a") == {"one", *(f"key {n}" for n in range(6))}
    assert keys_of(tmp_path / "b") == {"one", "key 0", "key 1"}
    assert len(os.listdir(tmp_path)) == 4  # two files, two stores


def test_two_processes_cannot_both_save_to_a_copy(tmp_path):
    saved(tmp_path / "a", "one")
    shutil.copy(tmp_path / "a", tmp_path / "b")
    with keyed(tmp_path / "b", exclusive=True), keyed(tmp_path / "a", exclusive=True):
        for name in "ab":
            with pytest.raises(BlockingIOError, match="uses this store"):
                keyed(tmp_path / name, exclusive=True)
            with keyed() as fresh, pytest.raises(BlockingIOError, match="uses this store"):
                fresh.save(tmp_path / name)


@pytest.mark.parametrize("in_use", [False, True])
def test_a_backup_of_hard_links_does_not_change(tmp_path, in_use):
    with ExitStack() as stack:
        saved(tmp_path / "a", "one")
        if in_use:
            watcher = stack.enter_context(keyed(tmp_path / "a", exclusive=True))
            watcher.observe("one line\n", key="before")
            watcher.save(tmp_path / "a")
        names = os.listdir(tmp_path)
        (tmp_path / "backup").mkdir()
        for name in names:
            os.link(tmp_path / name, tmp_path / "backup" / name)
        if in_use:
            watcher.observe("one line\n", key="two")
            watcher.save(tmp_path / "a")
            watcher.observe("one line\n", key="three")
            watcher.save(tmp_path / "a")
        else:
            observed(tmp_path / "a", "two")
            observed(tmp_path / "a", "three")
    kept = {"one", "before"} if in_use else {"one"}
    assert (keys_of(tmp_path / "a"), keys_of(tmp_path / "backup" / "a")) == (kept | {"two", "three"}, kept)
    assert len(os.listdir(tmp_path)) == 3  # the old store has no name here any more


def test_a_file_that_cannot_be_read_may_name_a_store_which_then_stays(tmp_path, monkeypatch):
    store = saved(tmp_path / "a", "one")
    shutil.copy(tmp_path / "a", tmp_path / "b")

    def cannot_read(path, *_):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(key_file, "open", cannot_read, raising=False)
        saved(tmp_path / "a", "two")
    assert store.exists()
    assert keys_of(tmp_path / "b") == {"one"}


def test_a_file_may_be_renamed_and_moved_with_its_store(tmp_path):
    store = saved(tmp_path / "a", "one")
    os.rename(tmp_path / "a", tmp_path / "b")
    with keyed(tmp_path / "b", exclusive=True) as watcher:
        watcher.observe("one line\n", key="two")
        watcher.save(tmp_path / "b")
    assert keys_in(store) == {b"sone", b"stwo"}
    assert sorted(os.listdir(tmp_path)) == [store.name, "b"]
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "b", store):
        os.rename(path, tmp_path / "other" / path.name)
    assert keys_of(tmp_path / "other" / "b") == {"one", "two"}
    saved(tmp_path / "other" / "b", "three")  # by another watcher: the old store goes with its file
    assert len(os.listdir(tmp_path / "other")) == 2


def test_a_copy_without_its_store_says_what_is_missing(tmp_path):
    store = saved(tmp_path / "a", "one")
    (tmp_path / "other").mkdir()
    shutil.copy(tmp_path / "a", tmp_path / "other" / "a")
    with pytest.raises(FileNotFoundError, match=rf"{store.name} is missing: it has the keys of .*copy both"):
        keyed(tmp_path / "other" / "a")
    shutil.copy(store, tmp_path / "other")
    assert keys_of(tmp_path / "other" / "a") == {"one"}


@pytest.mark.parametrize("owner", [{}, {"owner": "0" * 32}, {"owner": 5}, {"owner": "x"}])
def test_a_model_from_elsewhere_cannot_name_a_store(tmp_path, owner):
    store = saved(tmp_path / "a", "one")
    arrays, values = MODEL.to_checkpoint()
    watch = {"keyed": True, "learn": "memory", "store": store.name, **owner}
    write_checkpoint(tmp_path / "evil", arrays, values | {"watch": watch})
    with pytest.raises(ValueError, match=r"belongs to another file|the owner of its store must be 32 digits"):
        keyed(tmp_path / "evil")
    (tmp_path / "a").rename(tmp_path / "kept")
    saved(tmp_path / "evil", "two")
    assert keys_of(tmp_path / "kept") == {"one"}


def test_two_watchers_that_save_to_the_file_of_the_other_are_refused_and_lose_nothing(tmp_path):
    for name in "ab":
        saved(tmp_path / name, name)
    names = sorted(os.listdir(tmp_path))
    with keyed(tmp_path / "a", exclusive=True) as first, keyed(tmp_path / "b", exclusive=True) as second:
        for watcher, name in ((first, "b"), (second, "a")):
            watcher.observe("one line\n", key="new")
            with pytest.raises(BlockingIOError, match="uses this store"):
                watcher.save(tmp_path / name)
        for watcher, name in ((first, "a"), (second, "b")):
            watcher.save(tmp_path / name)
    assert [keys_of(tmp_path / name) for name in "ab"] == [{"a", "new"}, {"b", "new"}]
    assert sorted(os.listdir(tmp_path)) == names


def as_of_1_0(path):
    """A pair without what 1.0 did not write."""
    arrays, values = read_checkpoint(path)
    del values["watch"]["owner"]
    write_checkpoint(path, arrays, values)
    with closing(sqlite3.connect(path.with_name(values["watch"]["store"]))) as base:
        base.execute("DELETE FROM about WHERE name IN ('owner', 'file')")
        base.commit()


@pytest.mark.parametrize("rename", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_a_pair_of_1_0_goes_on(tmp_path, rename, exclusive):
    store, path = saved(tmp_path / "a", "one"), tmp_path / ("b" if rename else "a")
    as_of_1_0(tmp_path / "a")
    os.rename(tmp_path / "a", path)
    with keyed(path, exclusive=exclusive) as watcher:
        watcher.observe("one line\n", key="two")
        watcher.save(path)
    assert keys_of(path) == {"one", "two"}
    assert store.exists() == exclusive
    assert len(os.listdir(tmp_path)) == 2
    shutil.copy(path, tmp_path / "copy")
    saved(tmp_path / "copy", "three")
    assert keys_of(path) == {"one", "two"}


def test_a_watcher_whose_store_was_deleted_writes_it_anew(tmp_path):
    store = saved(tmp_path / "a", "one")
    with keyed(tmp_path / "a", exclusive=True) as watcher:
        watcher.observe("one line\n", key="two")
        store.unlink()
        watcher.save(tmp_path / "a")
    assert keys_of(tmp_path / "a") == {"one", "two"}
