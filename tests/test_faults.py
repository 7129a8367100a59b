"""Whatever goes wrong while a file is written, it is afterwards the old or the new one, and whole.

For each of `WRITERS`, each system call that changes a file fails once, writes only a part, or is the last thing that
the process does; see `system_calls`.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from power_failure import Disk
from system_calls import FAULTS, IS_SUPPORTED, Call, Fault, Outcome, run_child
from writers import WRITERS, Writer

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="system calls are traced on Linux on x86-64 only")
TAG = re.compile(r"(?<=\.keys-)[0-9a-f]{8}")


class Trial:
    """A writer, with folders in memory where there are such: there fsync costs nothing."""

    def __init__(self, writer: Writer, base: Path) -> None:
        self.writer, self.base = writer, base
        self.folder, self.failed = base / "folder", base / "failed"
        (base / "old").mkdir()
        writer.prepare(base / "old")
        self.old, self.names_before = self.look(base / "old"), self.names(base / "old")
        self.clean = self.write()
        assert not self.clean.error, self.clean.trace
        self.new, self.names_after = self.look(self.folder), self.names(self.folder)
        assert self.old != self.new

    def write(self, fault: Fault | None = None, at: int = 0, again: bool = False) -> Outcome:
        """Write to a copy of the old folder, or again where something went wrong before.

        What is there after an error is copied to `failed`; then the same process tries again.
        """
        if not again:
            self.copy(self.base / "old", self.folder)

        def act() -> str:
            message = ""
            with self.writer.begin(self.folder) as write:
                try:
                    write()
                except OSError as error:
                    message = f"{error.filename}: {error.strerror}"
                    self.copy(self.folder, self.failed)
                    write()
            return message

        return run_child(act, self.folder, fault, at)

    def check(self, outcome: Outcome, fault: Fault) -> None:
        """What is there after something went wrong."""
        if fault.kills:
            assert outcome.code == -9, outcome.trace
            self.check_whole(self.folder, f"{self.writer.left}|{self.writer.open}")
            outcome = self.write(again=True)
        elif outcome.result:
            self.check_message(outcome.result)
            self.check_whole(self.failed, self.writer.open)
        elif outcome.error:
            self.check_message(f"{outcome.file}: {outcome.error}")
            self.check_whole(self.folder, self.writer.open)
            outcome = self.write(again=True)
        assert (outcome.code, outcome.error) == (0, ""), outcome.trace
        assert self.look(self.folder) == self.new
        self.check_names(self.folder, self.names_after, f"{self.writer.left if fault.kills else ''}|{self.writer.open}")

    def check_message(self, message: str) -> None:
        assert re.fullmatch(rf"{self.base}/folder/[^./][^/\n]*: [^\n]+", message)
        assert ".part" not in message

    def check_whole(self, folder: Path, others: str) -> None:
        self.check_names(folder, self.names_before | self.names_after, others)
        assert self.look(folder) in (self.old, self.new)

    def check_names(self, folder: Path, expected: set[str], others: str) -> None:
        assert not {name for name in os.listdir(folder) if TAG.sub("", name) not in expected and not re.fullmatch(others, name)}

    def names(self, folder: Path) -> set[str]:
        return {TAG.sub("", name) for name in os.listdir(folder)}

    def look(self, folder: Path) -> object:
        """What is in a folder; where opening a store changes it, in a copy."""
        self.copy(folder, self.base / "look")
        return self.writer.look(self.base / "look")

    def copy(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)


@pytest.fixture
def base(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        monkeypatch.setenv("SQLITE_TMPDIR", str(Path(name) / "folder"))
        yield Path(name).resolve()


def instants(calls: list[Call], all_of_them: bool) -> list[int]:
    """The numbers of the calls at which something is to go wrong; of many like each other, some."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for index, call in enumerate(calls):
        kinds.setdefault((call.name, re.sub("[0-9a-f]{8,}", "", call.path)), []).append(index)
    some = {index for each in kinds.values() for index in (each[0], each[len(each) // 2], each[-1])}
    return [index for index in range(len(calls)) if all_of_them or index in some]


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_goes_wrong_a_file_is_old_or_new_and_whole(base, name, all_of_them=False):
    trial = Trial(WRITERS[name], base)
    for fault in FAULTS:
        for at in instants([call for call in trial.clean.calls if fault.can_happen(call)], all_of_them):
            outcome = trial.write(fault, at)
            assert outcome.hit is not None
            try:
                trial.check(outcome, fault)
            except Exception as error:
                raise AssertionError(f"{fault.name} at {at}: {outcome.hit.name} {outcome.hit.path}; {outcome}"[:2000]) from error


@pytest.mark.parametrize("name", WRITERS)
def test_a_power_failure_at_any_time_leaves_the_old_or_the_new_file(base, name):
    trial = Trial(WRITERS[name], base)
    disk, seen = Disk(base / "old"), set()
    chosen = instants(trial.clean.calls, all_of_them=False)
    for index, call in enumerate(trial.clean.calls):
        disk.take(call)
        for state in disk.states() if index in chosen else ():
            if hash(tuple(state.items())) not in seen:
                seen.add(hash(tuple(state.items())))
                materialise(state, base / "failed")
                try:
                    assert trial.look(base / "failed") in (trial.old, trial.new)
                except Exception as error:
                    raise AssertionError(f"after call {index}, {call.name} {call.path}: {sorted(state)}") from error
    for state in disk.durable():
        materialise(state, base / "failed")
        assert trial.look(base / "failed") == trial.new
    print(name, len(seen))


def materialise(state: dict[str, bytes], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in state.items():
        (folder / name).write_bytes(content)
