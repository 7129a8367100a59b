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
        for name in ("read_at", "status_of", "open_file", "list_folder"):
            monkeypatch.setattr(follow_module, name, self.hooked(getattr(os, ORIGINALS[name])))
        for name, value in (("ROTATE_SECONDS", 2.0), ("LOOK_SECONDS", 1.0), ("SETTLED_SECONDS", 0.0)):
            monkeypatch.setattr(follow_module, name, value)
        monkeypatch.setattr(follow_module, "clock", lambda: self.now)
        monkeypatch.setattr(source_module, "POLL_SECONDS", 0.0)
        for number in range(self.draw.randrange(3)):
            append(f"{self.log}.{number + 7}", f"was there {number} before\n" * self.draw.choice([1, 50]))
        self.create()
        if self.draw.random() < 0.5:
            self.write()
        self.is_busy = False
        self.reader, self.found = Reader(self.log), []
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
        if os.path.isdir(self.log):
            return
        described, n_found, n_places = self.saved
        self.reader.events.close()
        for each in self.reader.source._inputs:
            each.file.close()
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


ORIGINALS = {"read_at": "pread", "status_of": "stat", "open_file": "open", "list_folder": "listdir"}


@pytest.mark.parametrize("first", range(0, int(os.environ.get("SCHEDULES", 100)), 100))
def test_in_a_storm_each_line_that_exists_is_read_once_and_in_order(tmp_path, monkeypatch, first):
    for seed in range(first, first + 100):
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
            for each in storm.reader.source._inputs:
                each.file.close()
            shutil.rmtree(folder)


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
