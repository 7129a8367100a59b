"""Following files: growth, rotation, truncation and restarts lose nothing and double nothing."""

import gzip
import json
import lzma
import os
import random
import shutil
import signal

import pytest
from allocation import allocated_by

from streamlstm.logs import follow as follow_module
from streamlstm.logs import source as source_module
from streamlstm.logs.assembler import Parsing
from streamlstm.logs.follow import BLOCK, rotated_files
from streamlstm.logs.formats import Fields
from streamlstm.logs.source import Source
from streamlstm.tasks.signals import Interruptible


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(follow_module, "ROTATE_SECONDS", 0.0)
    monkeypatch.setattr(source_module, "POLL_SECONDS", 0.001)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "app.log"


class Reader:
    """A source that is read step by step, and may be stopped and continued as after a crash."""

    def __init__(self, *paths, follow=True, **parsing):
        self.paths, self.follow, self.parsing = [str(path) for path in paths], follow, Parsing(**parsing)
        self.options, self.notes, self.places = {}, [], []
        self.start(None)

    def start(self, described):
        self.source = Source(
            self.paths, self.parsing, Interruptible(), follow=self.follow, described=described, **self.options
        )
        self.events = self.source.events()

    def take(self, n=10**9):
        """The texts of up to n events, until there is nothing to read for the moment."""
        texts, idle = [], 0
        for event in self.events:
            self.notes += self.source.notes
            self.source.notes.clear()
            if event is None:
                idle += 1
                if idle == 3:
                    break
                continue
            idle = 0
            texts.append(event.line)
            self.places.append((event.path, event.rotation, event.offset))
            if len(texts) == n:
                break
        self.notes += self.source.notes
        self.source.notes.clear()
        return texts

    def restart(self):
        described = json.loads(json.dumps(self.source.describe()))
        self.events.close()
        self.start(described)


def append(path, text):
    with open(path, "a") as file:
        file.write(text)


def test_what_is_added_is_read_and_an_unfinished_line_is_waited_for(log):
    append(log, "one\ntw")
    reader = Reader(log)
    assert reader.take() == ["one"]
    append(log, "o\nthree\n")
    assert reader.take() == ["two", "three"]
    assert [offset for _, _, offset in reader.places] == [4, 8, 14]


def test_a_file_that_does_not_exist_yet_is_waited_for(log):
    reader = Reader(log)
    assert reader.take() == []
    assert reader.notes == [f"{log}: No such file or directory; trying again"]
    append(log, "one\n")
    assert reader.take() == ["one"]


def test_from_end_skips_what_is_there(log):
    append(log, "old\n")
    reader = Reader(log)
    reader.options = {"from_end": True}
    reader.start(None)
    assert reader.take() == []
    append(log, "new\n")
    assert reader.take() == ["new"]
    assert reader.places == [(str(log), 0, 8)]


def test_a_file_that_is_renamed_is_read_to_its_end_and_then_the_new_one(log):
    append(log, "one\n")
    reader = Reader(log)
    assert reader.take() == ["one"]
    append(log, "two\n")
    log.rename(f"{log}.1")
    append(f"{log}.1", "late\nlast without end")
    append(log, "new\n")
    assert reader.take() == ["two", "late", "last without end", "new"]
    assert reader.places[-2:] == [(str(log), 0, 29), (str(log), 1, 4)]
    assert reader.notes == [f"{log} was replaced; all of the old file was read"]


def test_the_old_file_is_read_until_nothing_comes_for_a_while(log, monkeypatch):
    monkeypatch.setattr(follow_module, "ROTATE_SECONDS", 1000.0)
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    log.rename(f"{log}.1")
    append(log, "new\n")
    assert reader.take() == []
    append(f"{log}.1", "late\n")
    assert reader.take() == ["late"]
    monkeypatch.setattr(follow_module, "ROTATE_SECONDS", 0.0)
    assert reader.take() == ["new"]


def test_files_that_were_rotated_while_it_was_behind_are_read_in_turn(log):
    append(log, "one\n")
    reader = Reader(log)
    assert reader.take() == ["one"]
    rotate_with_shift(log, "two\n")
    rotate_with_shift(log, "three\n")
    rotate_with_shift(log, "four\n")
    assert reader.take() == ["two", "three", "four"]
    assert [rotation for _, rotation, _ in reader.places] == [0, 1, 2, 3]


def rotate_with_shift(log, text):
    for number in range(8, 0, -1):
        if os.path.exists(f"{log}.{number}"):
            os.rename(f"{log}.{number}", f"{log}.{number + 1}")
    log.rename(f"{log}.1")
    append(log, text)
    os.utime(log)


def test_a_file_that_is_copied_and_truncated_is_read_to_its_end_in_the_copy(log):
    append(log, "one\n")
    reader = Reader(log)
    assert reader.take() == ["one"]
    append(log, "two\n")
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, "new\n")
    assert reader.take() == ["two", "new"]
    assert reader.places == [(str(log), 0, 4), (str(log), 0, 8), (str(log), 1, 4)]


def test_a_truncation_is_seen_though_the_file_has_grown_since(log):
    append(log, "one\ntwo\n")
    reader = Reader(log)
    assert reader.take() == ["one", "two"]
    os.truncate(log, 0)
    append(log, "a longer line than before\nand more\n")
    assert reader.take() == ["a longer line than before", "and more"]
    assert "was truncated" in reader.notes[0]


def test_an_old_file_with_the_same_content_is_not_taken_for_a_copy(log):
    append(f"{log}.1", "the same\n" * 20)
    os.utime(f"{log}.1", (1, 1))
    append(log, "the same\n" * 10)
    reader = Reader(log)
    assert len(reader.take()) == 10
    os.truncate(log, 0)
    append(log, "new\n")
    assert reader.take() == ["new"]
    os.truncate(log, 0)
    reader.restart()
    append(log, "newer\n")
    assert reader.take() == ["newer"]


def test_a_file_that_was_read_and_written_to_late_is_not_read_again(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    rotate_with_shift(log, "")
    assert reader.take() == []
    append(f"{log}.1", "too late\n")
    rotate_with_shift(log, "two\n")
    os.utime(f"{log}.2")
    assert reader.take() == ["two"]


def test_a_writer_that_goes_on_at_its_old_position_after_a_truncation_leaves_a_hole_that_is_skipped(log):
    append(log, "x" * 99 + "\n")
    reader = Reader(log)
    reader.take()
    os.truncate(log, 0)
    with open(log, "r+b") as file:
        file.seek(3 * BLOCK)
        file.write(b"after the hole\n")
    assert reader.take() == ["after the hole"]
    assert any("NUL bytes" in note for note in reader.notes)


def test_a_line_of_10_megabytes_takes_bounded_memory_and_the_next_one_is_whole(log):
    append(log, "x" * 10_000_000 + "\nshort\n")
    reader = Reader(log)
    first, second = reader.take()
    assert len(first) == 2**20
    assert second == "short"
    assert reader.places[-1][2] == 10_000_007
    assert allocated_by(lambda: Reader(log).take()).peak < 4_000_000


def test_several_files_are_followed_in_turn(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    reader = Reader(*paths)
    for path in paths:
        append(path, "one\n")
    assert sorted(reader.take()) == ["one", "one"]
    append(paths[1], "two\n")
    append(paths[0], "three\n")
    assert sorted(reader.take()) == ["three", "two"]


def test_the_lag_counts_what_was_not_read(log):
    reader = Reader(log)
    append(log, "12345678\n" * 1000)
    reader.take(400)
    lag = reader.source.lag()
    assert lag.n_bytes == 600 * 9
    assert lag.n_lines == 600
    reader.take()
    assert reader.source.lag()[:2] == (0, 0)


# Restarts


def test_after_a_restart_it_goes_on_where_it_was(log):
    append(log, "one\ntwo\nthr")
    reader = Reader(log)
    assert reader.take(1) == ["one"]
    reader.restart()
    append(log, "ee\n")
    assert reader.take() == ["two", "three"]
    assert not reader.notes


def test_after_a_restart_a_renamed_file_is_read_to_its_end_first(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    append(log, "two\n")
    log.rename(f"{log}-20261126")
    append(log, "new\n")
    reader.restart()
    assert reader.take() == ["two", "new"]
    assert reader.places[1:] == [(str(log), 0, 8), (str(log), 1, 4)]


def test_after_a_restart_a_copied_and_truncated_file_is_read_to_its_end_in_the_copy(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    append(log, "two\n")
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    append(log, "new line that is longer\n")
    reader.restart()
    assert reader.take() == ["two", "new line that is longer"]


def test_after_a_restart_a_file_that_is_gone_is_told_and_the_new_one_read(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    reader.restart()
    log.unlink()
    append(log, "new\n")
    reader.restart()
    assert reader.take() == ["new"]
    assert "is gone" in reader.notes[0]
    assert reader.places[-1] == (str(log), 1, 4)


def test_a_restart_while_the_file_is_missing_loses_no_position(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    log.rename(f"{log}.moved")
    for _ in range(3):
        reader.restart()
        assert reader.take() == []
    os.rename(f"{log}.moved", log)
    append(log, "two\n")
    reader.restart()
    assert reader.take() == ["two"]


def test_finished_files_are_not_read_again_and_unfollowed_ones_are_continued(tmp_path):
    for name in "ab":
        append(tmp_path / name, f"{name} one\n{name} two\n")
    reader = Reader(tmp_path / "a", tmp_path / "b", follow=False)
    assert reader.take(3) == ["a one", "a two", "b one"]
    reader.restart()
    assert reader.take() == ["b two"]
    append(tmp_path / "b", "b three\n")
    reader.restart()
    assert reader.take() == ["b three"]


def test_an_open_event_survives_a_restart(log):
    append(log, "start\n more\n")
    reader = Reader(log, multiline=r"^\S")
    reader.take(0)
    next(reader.events)
    reader.restart()
    append(log, " end\nnext\n")
    assert reader.take()[0] == "start\n more\n end"


def test_rotations_truncations_and_restarts_at_random_lose_and_double_nothing(tmp_path):
    for seed in range(25):
        draw = random.Random(seed)
        log = tmp_path / str(seed) / "app.log"
        log.parent.mkdir()
        append(log, "")
        reader, written = Reader(log), []
        found = reader.take()
        for step in range(60):
            lines = [f"{seed} {step} {n} {draw.random()}" for n in range(draw.randrange(4))]
            append(log, "".join(line + "\n" for line in lines))
            written += lines
            action = draw.randrange(8)
            if action < 3:
                found += reader.take(draw.randrange(1, 5))
            elif action == 3:
                reader.restart()
            elif action == 4:
                found += reader.take()
                rotate_with_shift(log, "")
            elif action == 5:
                rotate_with_shift(log, "")
                found += reader.take()
            elif action == 6 and log.stat().st_size > 100:
                found += reader.take()
                more = f"{seed} {step} unread"
                append(log, more + "\n")
                written.append(more)
                shutil.copy(log, f"{log}.{1000 + step}")
                os.truncate(log, 0)
                found += reader.take()
                os.unlink(f"{log}.{1000 + step}")
        found += reader.take()
        assert found == written, seed
        assert len(set(reader.places)) == len(reader.places)


# What is not followed


@pytest.mark.parametrize("name", ["gz", "xz", "zst"])
def test_compressed_files_are_read_and_continued(tmp_path, name):
    data, path = b"".join(b"line %d\n" % n for n in range(9000)), tmp_path / f"app.log.1.{name}"
    if name == "zst":
        zstandard = pytest.importorskip("zstandard")
        path.write_bytes(zstandard.ZstdCompressor().compress(data[:5000]) + zstandard.compress(data[5000:]))
    else:
        path.write_bytes({"gz": gzip, "xz": lzma}[name].compress(data))
    append(tmp_path / "app.log", "last\n")
    reader = Reader(path, tmp_path / "app.log", follow=False)
    found = reader.take(5000)
    reader.restart()
    found += reader.take()
    assert found == [*data.decode().splitlines(), "last"]
    assert not reader.notes


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:200] + b"?" * 99])
def test_a_damaged_compressed_file_is_told_and_the_next_one_read(tmp_path, damage):
    data = b"".join(b"line %d %d\n" % (n, n * 7919 % 1000) for n in range(3000))
    (tmp_path / "a.gz").write_bytes(damage(gzip.compress(data)))
    append(tmp_path / "b", "last\n")
    reader = Reader(tmp_path / "a.gz", tmp_path / "b", follow=False)
    assert reader.take()[-1] == "last"
    assert [note for note in reader.notes if "damaged or truncated" in note]


def test_a_file_that_is_gone_before_its_turn_is_told_and_the_next_one_read(tmp_path):
    append(tmp_path / "b", "last\n")
    reader = Reader(tmp_path / "a", tmp_path / "b", follow=False)
    assert reader.take() == ["last"]
    assert reader.notes == [f"{tmp_path / 'a'}: No such file or directory; skipped"]


def test_what_cannot_be_followed_is_refused(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x"))
    for path in ("-", tmp_path / "a.gz", "/dev/null"):
        with pytest.raises(ValueError, match="cannot be followed"):
            Reader(path)
    with pytest.raises(IsADirectoryError):
        Reader(tmp_path)


def test_a_signal_ends_the_events(log):
    append(log, "one\ntwo\n")
    control = Interruptible()
    source = Source([str(log)], Parsing(fields=Fields()), control, follow=True)
    events = source.events()
    assert next(events).line == "one"
    control.interrupt(signal.SIGTERM)
    assert list(events) == []
    assert source.describe()[str(log)]["offset"] == 4


@pytest.mark.parametrize(
    "change", [{"place": 7}, {"place": {}}, {"offset": "x"}, {"formats": ["?"]}, {"partial": [[1, 2, 3, 4, 5, 6]]}]
)
def test_a_damaged_position_is_refused_in_one_line(log, change):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    described = reader.source.describe()
    described[str(log)].update(change)
    with pytest.raises(ValueError, match="the saved position"):
        reader.start(described)


def test_the_names_of_rotated_files_are_known(tmp_path):
    names = ["app.log.1", "app.log-20261126", "app-2026-11-26.log", "app.log.2026-11-26_10", "app.log.10"]
    others = ["app.log", "app.log.1.gz", "app.log.bak", "other.log.1", "app.log.old", "xapp.log.1"]
    for index, name in enumerate([*names, *others]):
        append(tmp_path / name, "x")
        os.utime(tmp_path / name, (index, index))
    assert [os.path.basename(path) for path, _ in rotated_files(str(tmp_path / "app.log"))] == names
