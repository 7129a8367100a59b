"""Following files: growth, rotation, truncation and restarts lose nothing and double nothing."""

import errno
import gzip
import json
import lzma
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
from allocation import allocated_by
from commands import start

from streamlstm.logs import follow as follow_module
from streamlstm.logs import source as source_module
from streamlstm.logs.assembler import Parsing
from streamlstm.logs.follow import BLOCK, rotated_files
from streamlstm.logs.formats import Fields
from streamlstm.logs.source import Source
from streamlstm.system import portable
from streamlstm.system.process import Interruptible


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(follow_module, "ROTATE_SECONDS", 0.0)
    monkeypatch.setattr(follow_module, "LOOK_SECONDS", 0.0)
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

    def stop(self):
        self.events.close()
        for each in self.source._inputs:
            each.file.close()

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


def rotate_with_shift(log, text):
    for number in range(8, 0, -1):
        if os.path.exists(f"{log}.{number}"):
            os.rename(f"{log}.{number}", f"{log}.{number + 1}")
    log.rename(f"{log}.1")
    append(log, text)
    os.utime(log)


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


def test_what_is_written_late_to_a_file_that_was_read_is_read_and_nothing_else_of_it(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    rotate_with_shift(log, "")
    assert reader.take() == []
    append(f"{log}.1", "too late\n")
    rotate_with_shift(log, "two\n")
    os.utime(f"{log}.2")
    assert reader.take() == ["too late", "two"]
    append(f"{log}.2", "later still\n")
    append(log, "three\n")
    assert sorted(reader.take()) == ["later still", "three"]
    assert len(set(reader.places)) == len(reader.places)


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


def position_of_1_0(log, offset):
    """What version 1.0 saved of a file."""
    status, data = log.stat(), log.read_bytes()[:offset]
    place = {"inode": status.st_ino, "offset": offset, "tail": data[-64:].hex(), "modified": status.st_mtime_ns}
    described = {"line": data.count(b"\n"), "offset": offset, "rotation": 0, "formats": ["plain", "auto"]}
    return {str(log): {**described, "partial": [], "open": None, "open_lines": 0, "place": place}}


def copy_and_truncate(log, name):
    shutil.copy(log, f"{log}.{name}")
    os.truncate(log, 0)


ROTATIONS = {
    "not": (lambda log: None, ["two", "new"]),
    "renamed": (lambda log: log.rename(f"{log}.1"), ["two", "new"]),
    "renamed with a date": (lambda log: log.rename(f"{log}-20261126"), ["two", "new"]),
    "copied and truncated": (lambda log: copy_and_truncate(log, 1), ["two", "new"]),
    "renamed again and again": (
        lambda log: [rotate_with_shift(log, text) for text in ("three\n", "four\n", "")],
        ["two", "three", "four", "new"],
    ),
    "deleted": (lambda log: log.unlink(), ["new"]),
}
"""What may be done to a log whose second line was not read, and what is then read of it and of the next one."""


@pytest.mark.parametrize("restart", ["no", "restart", "from a position of version 1.0"])
@pytest.mark.parametrize("how", ROTATIONS)
def test_however_a_log_is_rotated_what_was_not_read_of_it_is_read_first(log, how, restart):
    rotate, expected = ROTATIONS[how]
    append(f"{log}.7", "before\n")
    os.utime(f"{log}.7", (1e9, 1e9))
    append(log, "one\n")
    reader = Reader(log)
    assert reader.take() == ["one"]
    append(log, "two\n")
    described = reader.source.describe() if restart == "restart" else position_of_1_0(log, 4)
    if restart != "no":
        reader.stop()
    rotate(log)
    append(log, "new\n")
    if restart != "no":
        reader.start(json.loads(json.dumps(described)))
    is_lost = how == "deleted" and restart != "no"  # an open file can be read after it was deleted
    assert reader.take() == (expected if is_lost or how != "deleted" else ["two", "new"])
    assert any("is gone" in note for note in reader.notes) == is_lost
    assert len(set(reader.places)) == len(reader.places)
    reader.restart()
    assert reader.take() == []


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


# What a breaker found in version 1.0, and what has the same shape


def test_a_file_that_was_copied_and_truncated_twice_between_two_looks_is_read_from_both_copies(log):
    append(log, "line 0\n")
    reader = Reader(log)
    assert reader.take() == ["line 0"]
    append(log, "line 1\n")
    copy_and_truncate(log, 1)
    append(log, "line 2\n")
    os.rename(f"{log}.1", f"{log}.2")
    copy_and_truncate(log, 1)
    append(log, "line 3\n")
    assert reader.take() == ["line 1", "line 2", "line 3"]
    assert len(set(reader.places)) == 4


def test_what_is_written_between_two_truncations_of_an_idle_file_is_read_from_the_copy(log):
    append(log, "one\n")
    reader = Reader(log)
    assert reader.take() == ["one"]
    os.truncate(log, 0)
    assert reader.take() == []
    append(log, "middle\n")
    copy_and_truncate(log, 1)
    append(log, "last\n")
    assert reader.take() == ["middle", "last"]
    assert reader.places == [(str(log), 0, 4), (str(log), 1, 7), (str(log), 2, 5)]


def test_a_file_that_waits_for_its_turn_is_given_two_seconds_too(log, monkeypatch):
    now = 100.0
    monkeypatch.setattr(follow_module, "ROTATE_SECONDS", 2.0)
    monkeypatch.setattr(follow_module, "clock", lambda: now)
    append(log, "line 0\n")
    reader = Reader(log)
    found = reader.take()
    log.rename(f"{log}.1")
    append(log, "line 1\n")
    late = open(log, "a", buffering=1)  # noqa: SIM115
    found += reader.take()
    now += 1
    os.rename(f"{log}.1", f"{log}.2")
    log.rename(f"{log}.1")
    append(log, "line 5\n")
    for number in range(12):
        late.write(f"late {number}\n")
        found += reader.take()
        now += 0.4
    assert found == ["line 0", "line 1", *(f"late {number}" for number in range(12))]
    now += 2
    assert reader.take() == ["line 5"]
    late.close()


@pytest.mark.parametrize("what", ["folder", "pipe", "missing"])
def test_whatever_has_the_name_for_a_while_the_file_that_comes_after_it_is_read(log, what):
    append(log, "line 0\n")
    reader = Reader(log)
    reader.take()
    log.rename(f"{log}.1")
    if what == "folder":
        log.mkdir()
    elif what == "pipe":
        os.mkfifo(log)
    assert reader.take() == []
    reader.restart()
    assert reader.take() == []
    if what == "folder":
        log.rmdir()
    elif what == "pipe":
        log.unlink()
    append(log, "line 1\n")
    assert reader.take() == ["line 1"]
    append(log, "line 2\n")
    assert reader.take() == ["line 2"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_an_open_file_that_fails_is_opened_again(log, monkeypatch, number):
    append(log, "line 0\n")
    reader = Reader(log)
    reader.take()
    broken = reader.source._inputs[0].file._part.number

    def read_at(file, size, offset):
        if file == broken:
            raise OSError(number, os.strerror(number))
        return portable.read_at(file, size, offset)

    keep = os.open(log, os.O_RDONLY)
    monkeypatch.setattr(follow_module, "read_at", read_at)
    append(log, "line 1\n")
    assert reader.take() == ["line 1"]
    assert any(os.strerror(number) in note for note in reader.notes)
    os.close(keep)


def test_a_copy_that_cannot_be_read_is_waited_for_and_no_line_is_cut(log, monkeypatch):
    now, denied = 100.0, True
    monkeypatch.setattr(follow_module, "clock", lambda: now)

    def open_shared(path):
        if denied and str(path).endswith(".1"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return os.open(path, os.O_RDONLY)

    monkeypatch.setattr(follow_module, "open_shared", open_shared)
    append(log, "one\nbegun ")
    reader = Reader(log)
    assert reader.take() == ["one"]
    append(log, "and ended\n")
    copy_and_truncate(log, 1)
    append(log, "next\n")
    assert reader.take() == []
    denied = False
    assert reader.take() == ["begun and ended", "next"]
    append(log, "more ")
    denied = True
    reader.take()
    append(log, "of it\n")
    copy_and_truncate(log, 1)
    append(log, "last\n")
    assert reader.take() == []
    now += 61
    assert reader.take() == ["more ", "last"]
    assert any("was not found" in note for note in reader.notes)
    denied = False
    assert reader.take() == ["of it"]


def test_bytes_that_had_not_been_read_and_are_gone_are_said(log, monkeypatch):
    monkeypatch.setattr(follow_module, "ROTATE_SECONDS", 1000.0)
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    log.rename(f"{log}.1")
    append(log, "twenty bytes of text\n")
    reader.take()
    os.truncate(log, 0)
    append(log, "new\n")
    reader.take()
    assert any("21 bytes of it that had not been read were not found" in note for note in reader.notes)
    monkeypatch.setattr(follow_module, "ROTATE_SECONDS", 0.0)
    assert reader.take() == ["new"]


def test_a_position_is_right_although_the_file_was_truncated_since(log):
    append(log, "one\ntwo\nthr")
    reader = Reader(log)
    assert reader.take(1) == ["one"]
    append(log, "ee\n")
    copy_and_truncate(log, 1)
    append(log, "longer than before, by far\n")
    reader.restart()
    assert reader.take() == ["two", "three", "longer than before, by far"]


def test_a_restart_before_anything_was_read_begins_at_the_end_that_there_was(log):
    append(log, "old\n")
    reader = Reader(log)
    reader.options = {"from_end": True}
    reader.start(None)
    append(log, "new\n")
    reader.restart()
    assert reader.take() == ["new"]


def test_a_file_that_comes_after_the_start_is_read_from_its_beginning_even_from_end(log):
    reader = Reader(log)
    reader.options = {"from_end": True}
    reader.start(None)
    append(log, "new\n")
    assert reader.take() == ["new"]


def test_a_link_that_leads_to_another_file_every_day_is_followed_through_all_of_them(log):
    days = [log.with_name(f"app-2026-11-2{day}.log") for day in range(4)]

    def link(day):
        append(days[day], f"day {day}\n")
        (log.parent / "new").symlink_to(days[day])
        os.replace(log.parent / "new", log)

    link(0)
    reader = Reader(log)
    assert reader.take() == ["day 0"]
    append(days[0], "end of day 0\n")
    link(1)
    link(2)
    reader.restart()
    assert reader.take() == ["end of day 0", "day 1", "day 2"]


def test_a_file_with_the_name_of_a_rotated_one_that_is_followed_itself_is_not_read_twice(tmp_path):
    first, second = tmp_path / "app.log", tmp_path / "app-2.log"
    append(first, "first 1\n")
    append(second, "second 1\n")
    reader = Reader(first, second)
    reader.take()
    for path in (second, first):
        path.unlink()
        append(path, f"{path.name} is new\n")
    assert sorted(reader.take()) == ["app-2.log is new", "app.log is new"]


def test_files_that_were_there_before_the_first_start_are_not_read_whatever_happens_to_them(log):
    for number in (1, 2):
        append(f"{log}.{number}", f"before {number}\n")
    append(log, "")
    reader = Reader(log)
    reader.take()
    append(f"{log}.1", "more of it\n")
    shutil.copy(f"{log}.1", f"{log}.3")
    append(log, "one\n")
    assert reader.take() == ["one"]
    log.rename(f"{log}.4")
    append(log, "two\n")
    reader.restart()
    assert reader.take() == ["two"]


def test_a_position_of_version_1_0_in_an_empty_file_is_continued(log):
    append(f"{log}.7", "before\n")
    append(log, "")
    reader = Reader(log)
    described = position_of_1_0(log, 0)
    described[str(log)]["place"]["modified"] = 0
    append(log, "one\n")
    log.rename(f"{log}.1")
    append(log, "two\n")
    reader.start(described)
    assert reader.take() == ["one", "two"]


def test_a_file_that_is_named_twice_is_read_twice_and_continued(tmp_path):
    append(tmp_path / "a", "one\ntwo\n")
    reader = Reader(tmp_path / "a", tmp_path / "a", follow=False)
    assert reader.take(3) == ["one", "two", "one"]
    reader.restart()
    assert reader.take() == ["two"]


def test_another_compressed_file_of_the_same_name_has_a_rotation_of_its_own(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"one\n"))
    reader = Reader(path, follow=False)
    assert reader.take() == ["one"]
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"two\n"))
    os.replace(tmp_path / "b.gz", path)
    reader.restart()
    assert reader.take() == ["two"]
    assert reader.places == [(str(path), 0, 4), (str(path), 1, 4)]


# However many files there are, and whosever they are


@pytest.mark.parametrize(("n", "seconds"), [(101, 0), (130, 1), pytest.param(250, 1, marks=pytest.mark.slow)])
def test_any_number_of_rotated_files_with_equal_times_is_read_once_and_opened_seldom(log, monkeypatch, n, seconds):
    """With times in whole seconds, as some file systems have them, or all equal."""
    begin = int(time.time()) - 10_000
    append(log, "line 0\n")
    reader = Reader(log)
    found = reader.take()
    for number in range(1, n + 1):
        log.rename(f"{log}-{20260000 + number}")
        os.utime(f"{log}-{20260000 + number}", (begin + seconds * (number // 40),) * 2)
        append(log, f"line {number}\n")
        os.utime(log, (begin + seconds * (number // 40),) * 2)
        if number % 50 == 0:
            found += reader.take(20)
            reader.restart()
        elif number % 7 == 0:
            found += reader.take(3)
    found += reader.take()
    assert sorted(found) == sorted(f"line {number}" for number in range(n + 1))
    opened = []
    monkeypatch.setattr(follow_module, "open_shared", lambda each: opened.append(each) or portable.open_shared(each))
    for _ in range(3):
        reader.restart()
        assert reader.take() == []
    for number in range(1, n):
        os.utime(f"{log}-{20260000 + number}")
    assert reader.take() == []
    append(log, "last\n")
    assert reader.take() == ["last"]
    reader.take()
    opened.clear()
    monkeypatch.setattr(follow_module, "SETTLED_SECONDS", -1.0)
    reader.take()
    opened.clear()
    reader.take()
    assert {str(path) for path in opened} <= {str(log)}


def test_what_is_known_is_that_of_the_files_there_are_and_of_100_that_are_gone(log):
    append(log, "")
    reader = Reader(log)
    for number in range(150):
        append(log, f"line {number}\n")
        assert reader.take() == [f"line {number}"]
        log.rename(f"{log}.1")
        append(log, "")
        os.utime(log)
        reader.take()
    known = reader.source.describe()[str(log)]["place"]["known"]
    assert len(known) <= follow_module.MAX_GONE + 2


@pytest.mark.parametrize("name", ["app-2.log", "app.2.log", "app.log-2", "app-20261126.log"])
@pytest.mark.parametrize("how", ["rename", "copy"])
@pytest.mark.parametrize("restart", [False, True])
def test_another_file_that_comes_with_a_rotation_is_not_read(log, name, how, restart):
    append(log, "one\n")
    other = log.with_name(name)
    reader = Reader(log)
    assert reader.take() == ["one"]
    if how == "rename":
        log.rename(f"{log}.1")
    else:
        copy_and_truncate(log, 1)
    append(other, "of another process 1\n")
    append(log, "two\n")
    if restart:
        reader.restart()
    assert reader.take() == ["two"]
    append(other, "of another process 2\n")
    rotate_with_shift(log, "three\n")
    rotate_with_shift(log, "four\n")
    assert reader.take() == ["three", "four"]
    assert any(f"{other} is not named like the rotated files" in note for note in reader.notes)


def test_another_file_that_comes_while_it_is_stopped_and_the_log_is_not_rotated_is_not_read(log):
    append(log, "one\n")
    reader = Reader(log)
    assert reader.take() == ["one"]
    append(f"{log}.7", "of another process\n")
    append(log, "two\n")
    reader.restart()
    assert reader.take() == ["two"]
    append(f"{log}.7", "more of it\n")
    rotate_with_shift(log, "three\n")
    assert reader.take() == ["three"]


def test_a_file_that_cannot_be_told_from_a_rotated_one_is_read(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    log.unlink()
    append(log.with_name("app-2.log"), "two\n")
    append(log, "three\n")
    assert reader.take() == ["two", "three"]


def test_a_file_whose_first_lines_are_those_of_a_longer_one_is_no_copy_of_it(log):
    banner = "the same first line of every file, " * 8 + "\n"
    append(log, banner + "long\n" * 50)
    reader = Reader(log)
    reader.take()
    for restart in (False, True):
        rotate_with_shift(log, banner + f"short {restart}\n")
        rotate_with_shift(log, banner + f"last {restart}\n")
        if restart:
            reader.restart()
        found = reader.take()
        assert [text for text in found if text != banner[:-1]] == [f"short {restart}", f"last {restart}"]


def test_a_folder_that_cannot_be_listed_for_a_while_hides_no_file(log, monkeypatch):
    now, is_denied = 100.0, True
    monkeypatch.setattr(follow_module, "clock", lambda: now)

    def list_folder(path):
        if is_denied:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return os.listdir(path)

    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    monkeypatch.setattr(follow_module, "list_folder", list_folder)
    rotate_with_shift(log, "two\n")
    rotate_with_shift(log, "three\n")
    assert reader.take() == []
    is_denied = False
    assert reader.take() == ["two", "three"]
    is_denied = True
    rotate_with_shift(log, "four\n")
    rotate_with_shift(log, "five\n")
    assert reader.take() == []
    now += 61
    assert reader.take() == ["five"]
    reader.restart()
    is_denied = False
    assert reader.take() == ["four"]


def test_a_rotated_file_that_was_never_readable_delays_nothing(log, monkeypatch):
    def open_shared(path):
        if str(path).endswith("-1"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return os.open(path, os.O_RDONLY)

    monkeypatch.setattr(follow_module, "open_shared", open_shared)
    append(f"{log}-1", "before\n")
    append(log, "one\n")
    reader = Reader(log)
    assert reader.take() == ["one"]
    rotate_with_shift(log, "two\n")
    assert reader.take() == ["two"]


def test_what_is_added_to_an_old_file_before_anything_of_the_next_one_was_read_has_its_position(log):
    append(log, "one\n")
    reader = Reader(log)
    reader.take()
    rotate_with_shift(log, "")
    assert reader.take() == []
    append(f"{log}.1", "late\n")
    assert reader.take() == ["late"]
    assert reader.places == [(str(log), 0, 4), (str(log), 1, 9)]
    reader.restart()
    append(f"{log}.1", "later\n")
    append(log, "two\n")
    assert reader.take() == ["later", "two"]


# Storms: random schedules in simulated time, in which each piece of each line is accounted for


class Storm:
    """A log, its writers, its rotation and its reader, with a clock of their own.

    Every line is two pieces, <generation:number:a| and |generation:number:b>, each unique. `truth` has the pieces that
    were written to each content, in order.
    """

    def __init__(self, folder, seed, monkeypatch):
        self.draw, self.folder, self.log = random.Random(seed), folder, folder / "app.log"
        self.style = self.draw.choice(["shift", "dated", "copies of copies"])
        self.deletes, self.fails, self.races = (self.draw.random() < 0.3 for _ in range(3))
        self.truth, self.n_pieces, self.now, self.is_failing = [], 0, 1000.0, False
        self.is_busy, self.may_lose = True, self.deletes
        self.old = []  # writers that keep a file that was renamed: file, generation, until when
        for name in ("read_at", "status_of", "open_shared", "list_folder"):
            monkeypatch.setattr(follow_module, name, self.hooked(ORIGINALS[name]))
        for name, value in (("ROTATE_SECONDS", 2.0), ("LOOK_SECONDS", 1.0), ("SETTLED_SECONDS", 0.0)):
            monkeypatch.setattr(follow_module, name, value)
        monkeypatch.setattr(follow_module, "clock", lambda: self.now)
        monkeypatch.setattr(source_module, "POLL_SECONDS", 0.0)
        for number in range(self.draw.randrange(3)):
            append(f"{self.log}.{number + 7}", f"was there {number} before\n" * self.draw.choice([1, 50]))
        self.create()
        if self.draw.random() < 0.5 and not self.races:  # what is copied before the first listing was there before
            self.write()
        self.is_busy = self.style == "copies of copies"  # files overwritten during the first start may be read
        self.reader, self.found = Reader(self.log), []
        self.is_busy = False
        self.saved = self.reader.source.describe(), 0, 0

    def hooked(self, call):
        """An operation that fails now and then, or finds that files were rotated just before it."""

        def operation(first, *others):
            if self.is_failing and self.draw.random() < 0.7 and not self.is_busy:
                raise OSError(self.draw.choice([errno.EIO, errno.ESTALE, errno.EACCES]), "injected")
            if self.races and not self.is_busy and self.draw.random() < 0.01:
                self.is_busy = True
                self.draw.choice([self.write, self.rotate, self.finish_line])()
                self.is_busy = False
            return call(first, *others)

        return operation

    def create(self):
        self.writer = open(self.log, "a", buffering=1)  # noqa: SIM115
        self.half = False
        self.truth.append([])
        self.generation = len(self.truth) - 1

    def put(self, writer, generation, end):
        """Write the next piece of a line, or its end."""
        self.n_pieces += 1
        piece = f"{generation}:{self.n_pieces}:"
        writer.write(f"|{piece}b>\n" if end else f"<{piece}a" + "x" * self.draw.choice([0, 3, 90]))
        writer.flush()
        self.truth[generation].append(piece)

    def finish_line(self):
        if self.half:
            self.put(self.writer, self.generation, True)
            self.half = False

    def write(self):
        if self.writer.closed:
            return
        for _ in range(self.draw.choice([1, 2, 5, 30])):
            self.finish_line()
            self.put(self.writer, self.generation, False)
            self.half = True
        if self.draw.random() < 0.8:
            self.finish_line()

    def write_late(self):
        self.old = [each for each in self.old if each[2] > self.now]
        for writer, generation, _ in self.old:
            self.put(writer, generation, False)
            self.put(writer, generation, True)

    def shift(self):
        """The name of the next rotated file, after the others were shifted."""
        if self.style == "dated":
            return f"{self.log}-{20260000 + self.generation}"
        for number in range(60, 0, -1):
            name = f"{self.log}.{number}"
            if os.path.exists(name):
                if self.deletes and number > 4:
                    os.unlink(name)
                elif self.style == "shift":
                    os.rename(name, f"{self.log}.{number + 1}")
                else:
                    self.copy(name, f"{self.log}.{number + 1}")
        return f"{self.log}.1"

    def copy(self, source, target):
        """Copy a file in two steps."""
        with open(source, "rb") as file:
            data = file.read()
        with open(target, "wb", buffering=0) as file:
            cut = self.draw.choice([0, self.draw.randrange(len(data) + 1), len(data)])
            file.write(data[:cut])
            if not self.is_busy and self.draw.random() < 0.2:
                self.is_busy = True  # what is written to the original now would really be lost
                self.poll()
                self.is_busy = False
            file.write(data[cut:])

    def rotate(self):
        if not os.path.isfile(self.log):
            return
        if self.style == "copies of copies" or self.draw.random() < 0.5:
            self.copy(self.log, self.shift())
            os.truncate(self.log, 0)
            half = self.half
            self.writer.close()
            self.create()
            self.half = half
        else:
            self.finish_line()
            os.rename(self.log, self.shift())
            self.old.append((self.writer, self.generation, self.now + self.draw.choice([0, 1.5, 1.9, 5])))
            self.writer = open(os.devnull, "w")  # noqa: SIM115
            self.writer.close()
            if self.draw.random() < 0.8:
                self.create()

    def rotate_several_times(self):
        for _ in range(self.draw.randrange(2, 5)):
            self.rotate()
            self.come_back()
            if self.draw.random() < 0.8:
                self.write()

    def come_back(self):
        if os.path.isdir(self.log):
            os.rmdir(self.log)
        if not os.path.exists(self.log):
            self.create()

    def be_a_folder(self):
        if not os.path.exists(self.log):
            os.mkdir(self.log)

    def idle_truncate(self):
        """Truncate a file that was copied before, and in which nothing new is."""
        self.poll()
        self.rotate()
        self.poll()

    def poll(self):
        self.is_failing = self.fails and self.draw.random() < 0.3
        self.found += self.reader.take(self.draw.choice([1, 3, 10**9, 10**9]))
        self.is_failing = False

    def wait(self):
        self.now += self.draw.choice([0.1, 0.5, 1.0, 3.0])

    def save(self):
        self.saved = json.loads(json.dumps(self.reader.source.describe())), len(self.found), len(self.reader.places)

    def kill(self):
        described, n_found, n_places = self.saved
        self.reader.stop()
        del self.found[n_found:], self.reader.places[n_places:]
        self.reader.start(described)

    def run(self, n_steps):
        actions = [self.write, self.write, self.write_late, self.rotate, self.rotate_several_times, self.come_back]
        actions += [self.be_a_folder, self.idle_truncate, self.poll, self.poll, self.poll, self.wait, self.wait]
        actions += [self.save, self.save, self.kill]
        for _ in range(n_steps):
            self.draw.choice(actions)()
        self.fails = self.races = False
        self.come_back()
        self.finish_line()
        for _ in range(12):
            for seconds in (1, 3, 1, 3, 70):
                self.now += seconds
                self.found += self.reader.take()

    def check(self):
        pieces = [piece for text in self.found for piece in re.findall(r"\d+:\d+:(?=[ab])", text)]
        assert len(set(pieces)) == len(pieces), "read twice"
        assert not [text for text in self.found if "before" in text], "was there before"
        assert len(set(self.reader.places)) == len(self.reader.places), "places"
        there = "".join(path.read_text() for path in self.folder.iterdir() if path.is_file())
        missing = {piece for pieces in self.truth for piece in pieces} - set(pieces)
        assert not [piece for piece in missing if piece in there], "is there and was not read"
        assert self.deletes or not missing, "lost"
        for generation in range(len(self.truth)):
            own = [piece for piece in pieces if piece in set(self.truth[generation])]
            assert own == [piece for piece in self.truth[generation] if piece in set(own)], "order"


ORIGINALS = {
    "read_at": portable.read_at,
    "status_of": os.stat,
    "open_shared": portable.open_shared,
    "list_folder": os.listdir,
}


@pytest.mark.parametrize("first", range(0, int(os.environ.get("SCHEDULES", 20)), 20))
def test_in_a_storm_each_line_that_exists_is_read_once_and_in_order(tmp_path, monkeypatch, first):
    for seed in range(first, first + 20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        storm = Storm(folder, seed, monkeypatch)
        try:
            storm.run(40)
            storm.check()
        except BaseException as error:
            error.add_note(f"seed {seed}: {storm.style}")
            raise
        finally:
            storm.reader.stop()
            shutil.rmtree(folder)


class ProcessStorm:
    """`watch` as a process, while a log is written at 2,000 lines a second, rotated and moved away, and it is stopped
    and killed."""

    def __init__(self, folder, seed):
        self.draw, self.folder, self.log, self.out = random.Random(seed), folder, folder / "app.log", folder / "out"
        self.style, self.pace = self.draw.choice(["rename", "copy", "both"]), self.draw.choice([0.3, 1.0, 3.0])
        self.arguments = ["watch", "--follow", self.log, "--hidden", "4", "--layers", "1", "--memory-bits", "10"]
        self.arguments += ["--window", "8", "--all", "--format", "jsonl", "--output", self.out]
        self.arguments += ["--save", folder / "state", "--resume", "--save-every", "0.3"]
        self.truth, self.n_lines, self.late, self.n_kills = {}, 0, [], 0
        self.create()
        self.launch()
        end = time.monotonic() + 60
        while not (folder / "state").exists():  # what is rotated before is not read
            assert time.monotonic() < end
            time.sleep(0.05)

    def launch(self):
        none = subprocess.DEVNULL
        errors = open(self.folder / "errors", "ab")  # noqa: SIM115
        self.process = start(*self.arguments, stdin=none, stdout=none, stderr=errors)
        errors.close()
        self.stopped = None

    def create(self):
        if self.log.is_dir():
            self.log.rmdir()
        self.writer, self.content = open(self.log, "ab", buffering=0), len(self.truth)  # noqa: SIM115
        self.truth[self.content] = []

    def put(self, writer, content, n):
        lines = [f"content {content} line {self.n_lines + index}" for index in range(n)]
        writer.write("".join(line + "\n" for line in lines).encode())
        self.truth[content] += lines
        self.n_lines += n

    def rotate(self, now):
        """Rotate the log. Returns how long it is missing."""
        for number in range(99, 0, -1):
            if os.path.exists(f"{self.log}.{number}"):
                os.rename(f"{self.log}.{number}", f"{self.log}.{number + 1}")
        if self.style == "copy" or (self.style == "both" and self.draw.random() < 0.5):
            copy_and_truncate(self.log, 1)
            self.writer.close()
            self.create()
            return 0
        self.log.rename(f"{self.log}.1")
        self.late.append((self.writer, self.content, now + self.draw.choice([0, 0.5, 1.5, 4])))
        self.writer = None
        missing = self.draw.choice([0, 0, 0, 0.2, 1.0])
        if missing and self.draw.random() < 0.5:
            self.log.mkdir()
        return missing

    def disturb(self, now):
        if self.draw.random() < 0.5:
            self.process.kill()
            self.process.wait(60)
            self.n_kills += 1
            time.sleep(self.draw.choice([0, 0.3]))
            self.launch()
        elif self.stopped is None:
            self.process.send_signal(signal.SIGSTOP)
            self.stopped = now + self.draw.uniform(0, 5)

    def run(self, seconds):
        begin = time.monotonic()
        rotate_at, disturb_at, create_at = begin + 1, begin + 1, 0.0
        written = 0
        while (now := time.monotonic()) < begin + seconds:
            n = min(int((now - begin) * 2000) - written, 400)
            written += n
            if self.writer is not None:
                self.put(self.writer, self.content, n)
            elif now >= create_at:
                self.create()
            for writer, content, until in self.late:
                self.put(writer, content, 1)
                if now >= until:
                    writer.close()
            self.late = [each for each in self.late if now < each[2]]
            if now >= rotate_at and self.writer is not None:
                create_at = now + self.rotate(now)
                rotate_at = now + self.draw.uniform(0, self.pace)
            if now >= disturb_at:
                self.disturb(now)
                disturb_at = time.monotonic() + self.draw.uniform(0, 3)
            if self.stopped is not None and now >= self.stopped:
                self.process.send_signal(signal.SIGCONT)
                self.stopped = None
            time.sleep(0.005)
        if self.writer is None:
            self.create()
        self.process.send_signal(signal.SIGCONT)

    def check(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and (not self.out.exists() or self.out.read_bytes().count(b"\n") < self.n_lines):
            assert self.process.poll() is None, (self.folder / "errors").read_text()
            time.sleep(0.2)
        self.process.terminate()
        self.process.wait(60)
        found = [json.loads(line) for line in self.out.read_text().splitlines()]
        texts = [record["text"] for record in found]
        assert len(set(texts)) == len(texts)
        assert len({(record["rotation"], record["offset"]) for record in found}) == len(texts)
        missing = {line for lines in self.truth.values() for line in lines} - set(texts)
        assert not missing, (len(missing), self.n_lines, sorted(missing)[:3], (self.folder / "errors").read_text())
        for content, lines in self.truth.items():
            assert [text for text in texts if text.startswith(f"content {content} ")] == lines


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("STORMS", 2))))
def test_a_process_in_a_storm_reads_each_line_once_and_in_order(tmp_path, seed):
    storm = ProcessStorm(tmp_path, seed)
    try:
        storm.run(float(os.environ.get("STORM_SECONDS", 12)))
        storm.check(60)
    finally:
        storm.process.kill()
        storm.process.wait(60)


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
    "change",
    [{"place": 7}, {"place": {}}, {"offset": "x"}, {"offset": float("inf")}, {"formats": ["?"]}]
    + [{"partial": [[1, 2, 3, 4, 5, 6]]}]
    + [{"place": {"inode": 1, "offset": offset, "tail": "", "modified": 0}} for offset in (-1, 2**63, float("inf"))]
    + [{"place": {"inode": 1, "offset": 0, "tail": "", "modified": 0, "known": known}} for known in (3, [3], [{}])],
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
