"""Whatever goes wrong while a file is written, it is afterwards the old or the new one, and whole.

For each of `WRITERS`, each system call that changes a file fails once, writes only a part, or is the last thing that
the process does; see `system_calls`.
"""

import ast
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from power_failure import Disk
from system_calls import IS_SUPPORTED, Call, Fault, Outcome, chances, folder_in_memory, kind_of, run_child
from writers import SITES, WRITERS, Writer, once
from writing_commands import COMMANDS

import streamlstm
from streamlstm.system.files import naming, sync_folder, write_atomically

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="system calls are traced on Linux on x86-64 only")
LIKE_OTHERS = {"new pool", "crowded pool", "new keys", "other keys", "sessions", "new model"}
SMALL = {"model", "metrics", "alarms", "alarms without a position"}
"""These make so few calls that each fault happens in each kind of call."""


def each_writer(but: set[str] = frozenset(), slow: set[str] = LIKE_OTHERS) -> pytest.MarkDecorator:
    marks = {name: pytest.mark.slow if name in slow else () for name in WRITERS if name not in but}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in marks.items()])


TAG = re.compile(r"(?<=\.keys-)[0-9a-f]{8}")


class Trial:
    """A writer, and the folders in which it writes."""

    def __init__(self, writer: Writer, base: Path) -> None:
        self.writer, self.base = writer, base
        self.folder, self.failed = base / "folder", base / "failed"
        (base / "old").mkdir()
        writer.prepare(base / "old")
        self.old, self.names_before = self.look(base / "old"), self.names(base / "old")
        self.clean = self.write()
        assert not self.clean.error, self.clean.error
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
            assert outcome.code == -9, outcome.error
            self.check_whole(self.folder, f"{self.writer.left}|{self.writer.open}")
            outcome = self.write(again=True)
        elif outcome.result:
            self.check_message(outcome.result)
            self.check_whole(self.failed, self.writer.open)
        elif outcome.error:
            self.check_message(outcome.error.splitlines()[0])
            self.check_whole(self.folder, self.writer.open)
            outcome = self.write(again=True)
        assert (outcome.code, outcome.error) == (0, "")
        if self.writer.may_give_up and self.look(self.folder) == self.old:
            self.write(again=True)
        assert self.look(self.folder) == self.new
        self.check_names(self.folder, self.names_after, f"{self.writer.left if fault.kills else ''}|{self.writer.open}")

    def check_message(self, message: str) -> None:
        assert re.fullmatch(rf"({self.base}/folder/[^./][^/\n]*|the temporary store in [^:]+): [^\n]+", message)
        assert ".part" not in message

    def check_whole(self, folder: Path, others: str) -> None:
        self.check_names(folder, self.names_before | self.names_after, others)
        assert self.look(folder) in (self.old, self.new)

    def check_names(self, folder: Path, expected: set[str], others: str) -> None:
        assert not {
            name for name in os.listdir(folder) if TAG.sub("", name) not in expected and not re.fullmatch(others, name)
        }

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
    with folder_in_memory() as folder:
        monkeypatch.setenv("SQLITE_TMPDIR", str(folder / "folder"))
        yield folder


def some_of_each_kind(calls: list[Call]) -> list[int]:
    """The numbers of the first and last call, and of one between them, of those with the same name and file."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for index, call in enumerate(calls):
        kinds.setdefault(kind_of(call), []).append(index)
    return sorted({index for each in kinds.values() for index in (each[0], each[len(each) // 2], each[-1])})


def try_out(trial: Trial, fault: Fault, at: int) -> None:
    """Let a fault happen at a call, and check what is there afterwards."""
    outcome = trial.write(fault, at)
    try:
        trial.check(outcome, fault)
    except Exception as error:
        raise AssertionError(f"{fault.name} at {at}, {outcome.hit and outcome.hit[:3]}: {outcome[1:4]}") from error


def try_out_all(trial: Trial) -> None:
    """Let each fault happen at a call of each kind; with the environment variable FAULTS=all at each single call."""
    draw = random.Random(1)
    for faults in chances(trial.clean.calls):
        for fault, numbers in faults:
            for at in numbers if os.environ.get("FAULTS") == "all" else [draw.choice(numbers)]:
                try_out(trial, fault, at)


@each_writer(but=SMALL)
def test_a_call_that_fails_or_is_the_last_one_leaves_the_old_or_the_new_file(base, name):
    trial, draw = Trial(WRITERS[name], base), random.Random(name)
    for faults in chances(trial.clean.calls):
        fault, numbers = draw.choice(faults)
        try_out(trial, fault, draw.choice(numbers))


@each_writer(but=set() if os.environ.get("FAULTS") == "all" else LIKE_OTHERS, slow=WRITERS.keys() - SMALL)
def test_each_call_that_fails_or_is_the_last_one_leaves_the_old_or_the_new_file(base, name):
    try_out_all(Trial(WRITERS[name], base))


def let_the_power_fail(trial: Trial) -> None:
    """Check what may be on the disk if the power fails after some calls of each kind, and after all of them."""
    disk, seen = Disk(trial.base / "old"), set()
    chosen = some_of_each_kind(trial.clean.calls)
    for index, call in enumerate(trial.clean.calls):
        disk.take(call)
        for state in disk.states() if index in chosen else ():
            if hash(tuple(state.items())) not in seen:
                seen.add(hash(tuple(state.items())))
                materialise(state, trial.failed)
                try:
                    assert trial.look(trial.failed) in (trial.old, trial.new)
                except Exception as error:
                    raise AssertionError(f"after call {index}, {call.name} {call.path}: {sorted(state)}") from error
    for state in disk.durable():
        materialise(state, trial.failed)
        assert trial.look(trial.failed) == trial.new or trial.writer.may_give_up


@each_writer()
def test_a_power_failure_at_any_time_leaves_the_old_or_the_new_file(base, name):
    if WRITERS[name].is_synced:
        let_the_power_fail(Trial(WRITERS[name], base))


def materialise(state: dict[str, bytes], folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in state.items():
        (folder / name).write_bytes(content)


# What is not checked here


OF_OS = {"open", "write", "replace", "rename", "link", "symlink", "unlink", "remove", "rmdir", "mkdir", "makedirs"}
OF_OS |= {"truncate", "ftruncate", "chmod", "mkfifo", "sendfile", "copy_file_range"}
FUNCTIONS = {"opened_atomically", "write_atomically", "append_text", "write_checkpoint", "FileIO", "FileLock"}
FUNCTIONS |= {"replace_file", "remove_file"}
FUNCTIONS |= {"ParquetWriter", "write_table", "save_file", "savez", "memmap"}
METHODS = {"write_text", "write_bytes", "unlink", "touch", "symlink_to", "hardlink_to", "mkdir", "rmdir", "rename"}
METHODS |= {"pipe_file", "put_file", "rm_file"}


def can_write(call: ast.Call) -> bool:
    """Whether a call may create, change or delete a file."""
    function, arguments = call.func, [*call.args, *(keyword.value for keyword in call.keywords)]
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = getattr(function.value, "id", "") if isinstance(function, ast.Attribute) else None
    if (owner == "os" and name == "open") or name == "open_binary":
        return "O_WRONLY" in ast.unparse(call) or "O_CREAT" in ast.unparse(call) or ast.unparse(call).count("flags") > 0
    if name == "open":
        modes = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
    if owner == "os":
        return name in OF_OS
    is_method = owner is not None and name in METHODS
    return is_method or owner in ("tempfile", "shutil") or (owner, name) == ("sqlite3", "connect") or name in FUNCTIONS


def functions_that_write(node: ast.AST, where: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and can_write(child):
            yield where
        is_named = isinstance(child, ast.FunctionDef | ast.ClassDef)
        yield from functions_that_write(child, f"{where}.{child.name}" if is_named else where)


def test_all_functions_that_write_files_are_known():
    package = Path(streamlstm.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package).with_suffix("").parts)
        found |= set(functions_that_write(ast.parse(path.read_text("utf-8")), name))
    assert found == set(SITES), found ^ set(SITES)
    tests = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert {case for cases in SITES.values() for case in cases} <= {*WRITERS, *COMMANDS, *tests}


# What is checked here would find what it is there to find


def in_place(folder: Path) -> None:
    (folder / "f").write_bytes(b"new" * 50)


def without_syncing_the_file(folder: Path) -> None:
    (folder / "t").write_bytes(b"new" * 50)
    os.replace(folder / "t", folder / "f")
    sync_folder(folder)


def without_syncing_the_folder(folder: Path) -> None:
    with open(folder / "t", "wb") as file:
        file.write(b"new" * 50)
        file.flush()
        os.fsync(file.fileno())
    os.replace(folder / "t", folder / "f")


def with_the_name_of_the_temporary_file(folder: Path) -> None:
    with naming(folder / ".f.part"):
        write_atomically(folder / "f", b"new" * 50)


def careless(write: Callable[[Path], None]) -> Writer:
    return Writer(
        lambda folder: (folder / "f").write_bytes(b"old" * 50), once(write), lambda folder: (folder / "f").read_bytes()
    )


@pytest.mark.parametrize("write", [in_place, without_syncing_the_folder, with_the_name_of_the_temporary_file])
def test_a_careless_writer_is_found_by_faults(base, write):
    trial = Trial(careless(write), base)
    with pytest.raises(AssertionError):
        try_out_all(trial)


@pytest.mark.parametrize("write", [in_place, without_syncing_the_file, without_syncing_the_folder])
def test_a_careless_writer_is_found_by_power_failures(base, write):
    with pytest.raises(AssertionError):
        let_the_power_fail(Trial(careless(write), base))
