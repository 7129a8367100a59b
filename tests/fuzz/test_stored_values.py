"""JSON values from files: whatever single values are, a file is refused in one line, or what was loaded reads on."""

import copy
import faulthandler
import json
import os
import random
import signal
import sqlite3
from contextlib import closing

import models
import pytest
import saved
from engine import refused, run
from models import SHAPE
from mutations import VALUES, parts_of
from saved import KEYED, MODEL, RESUME, SESSIONS, SNAPSHOT, STORES, WATCHER
from typer.testing import CliRunner

from streamlstm import StreamPredictor
from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint
from streamlstm.cli.app import app
from streamlstm.modelfile import describe_file

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numbers are large
VALUES = [*VALUES, -1, 0, 2**31, 2**53, 2**63, 2**70, -(2**70)]
"""What each value is replaced by."""
FEW = int(os.environ.get("STORED_VALUES", "60"))
"""How many cases of each kind of file are tried; 0 for all. There are thousands."""
SHAPE_OPTIONS = ["--hidden", "4", "--layers", "1", "--window", "8", "--memory-bits", "10"]
STAMP = "2026-11-26 10:{:02}:{:02} "


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """Few symbols are read; a case that does not end ends the process with a traceback."""
    monkeypatch.setattr(models, "N_SYMBOLS", 90)
    faulthandler.dump_traceback_later(600, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def lines_of(first, n):
    return [f"req-{i % 5} job {i % 3} done in {i} ms\n" for i in range(first, first + n)] + ["é <(strange)>\n"]


# Cases: the paths of values in JSON, and copies with another value


def leaves(value, path=()):
    """The paths of all values, containers included; of long lists, the first two values and the last one."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list | tuple):
        for index in sorted({0, 1, len(value) - 1} & set(range(len(value)))) if len(value) > 8 else range(len(value)):
            yield from leaves(value[index], (*path, index))


def replaced(values, path, value):
    """A copy in which the value at a path is another one."""
    root = [json.loads(json.dumps(values))]
    holder, key = root, 0
    for step in path:
        holder, key = holder[key], step
    holder[key] = copy.deepcopy(value)
    return root[0]


def cases(values, part=()):
    """Copies in which a value in this part is another: all of them, or some, but of each path at least one."""
    paths = [path for path in leaves(values) if path and path[: len(part)] == part]
    found = [(path, value) for path in paths for value in VALUES]
    if FEW and len(found) > FEW:
        draw = random.Random(len(found))
        some = [(path, draw.choice(VALUES)) for path in paths]
        found = some + draw.sample(found, max(FEW - len(some), 0))
    for path, value in found:
        yield path, value, replaced(values, path, value)


def attack(use, values, part=()):
    """Use a file with each case: it is refused, or not. Fails with a list of those that fail otherwise."""
    failures, results = [], [*use(json.loads(json.dumps(values)))]
    assert results == [True]
    for path, value, changed in cases(values, part):
        try:
            results += use(changed)
        except Exception as error:
            failures.append((path, value, repr(error)[:300]))
    assert not failures, f"{len(failures)} failures\n" + "\n".join(map(str, failures[:400]))
    assert {*results} == {True, False}


KINDS = {
    "model": (MODEL, "sha256", [2, 8, 11], ()),
    "run of training": (RESUME, "sha256", [3], ()),
    "snapshot": (SNAPSHOT, "crc32", [3, 8], ()),
    "watcher": (WATCHER, "sha256", [1, 2, 3], ("watch",)),
    "sessions": (SESSIONS, "sha256", [0, 1], ("sessions",)),
}
"""Of each kind of file the target, the checksum, some seeds, and in what part of them values are replaced."""


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(name, seed, marks=pytest.mark.slow if seed != each[2][-1] else ())
        for name, each in KINDS.items()
        for seed in each[2]
    ],
)
def test_a_file_with_another_value_is_refused_or_used(name, seed):
    target, checksum, _, part = KINDS[name]
    arrays, values = parts_of(list(target.seeds())[seed], checksum)
    attack(lambda changed: run(target, dump_checkpoint(arrays, changed, checksum)), values, part)


def test_the_file_of_a_keyed_watcher_with_another_value():
    content, store = saved.unpacked(list(KEYED.seeds())[1])
    arrays, values = parts_of(content, "sha256")
    attack(lambda changed: run(KEYED, saved.packed_of(dump_checkpoint(arrays, changed), store)), values, ("watch",))


PARTS = {
    "state": ("SELECT value FROM about WHERE name = 'state'", "UPDATE about SET value = ? WHERE name = 'state'"),
    "stream": ("SELECT content FROM streams", "UPDATE streams SET content = ?"),
    "dropped": ("SELECT content FROM dropped", "UPDATE dropped SET content = ?"),
}


@pytest.mark.parametrize("part", PARTS)
def test_the_store_of_a_keyed_watcher_with_another_value(part, tmp_path):
    select, update = PARTS[part]
    content, store = saved.unpacked(list(KEYED.seeds())[1])
    ((found, *_),) = changed_store(tmp_path, store, select)[1][:1]
    arrays, values = parts_of(found, "crc32")

    def use(changed):
        changed_content = dump_checkpoint(arrays, changed, "crc32")
        return run(KEYED, saved.packed_of(content, changed_store(tmp_path, store, update, changed_content)[0]))

    attack(use, values)


def changed_store(folder, content, statement, *values):
    """A store after an SQL statement, and the rows that that returns."""
    path = folder / "store"
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as base:
        rows = base.execute(statement, values).fetchall()
        base.commit()
    return path.read_bytes(), rows


SQL_VALUES = [None, "", "x", b"", b"x", -1, 0, 0.5, 2**53, 2**63 - 1, -(2**63), 1e308, -1e308, float("inf"), "nan"]


def test_a_store_with_another_value_in_any_column(tmp_path):
    content = list(STORES.seeds())[2]
    tables = changed_store(tmp_path, content, "SELECT name FROM sqlite_master WHERE type = 'table'")[1]
    for (table,) in tables:
        for _, column, *_ in changed_store(tmp_path, content, f"PRAGMA table_info({table})")[1]:
            for value in SQL_VALUES:
                try:
                    changed, _ = changed_store(tmp_path, content, f"UPDATE {table} SET {column} = ?", value)
                except (sqlite3.IntegrityError, OverflowError):
                    continue
                run(STORES, changed)


# What `watch` saves with a watcher


@pytest.mark.parametrize("options", [["--context", "2"], ["--session-regex", r"req-\d", "--idle-seconds", "30"]])
def test_watch_continues_from_a_position_with_another_value(options, tmp_path):
    log, state, out = tmp_path / "log", tmp_path / "state", tmp_path / "out"
    stamped = [STAMP.format(n // 60, n % 60) + line for n, line in enumerate(lines_of(0, 24) + lines_of(24, 12))]
    command = ["watch", str(log), "--save", str(state), "--resume", "--output", str(out), "--warmup", "2"]
    command += ["--multiline", r"^\d", "--alarms", "2/hour", "--threshold", "1", *options]
    command += ["--exec", "cat >/dev/null"]
    log.write_text("".join(stamped[:24]))
    first = invoke(command + SHAPE_OPTIONS)
    assert first.exit_code == 0, first.stderr
    log.write_text("".join(stamped))
    arrays, values = parse_checkpoint(state.read_bytes(), "")
    part = "watch" if "watch" in values else "sessions"
    position = values[part]["position"]

    def use(changed):
        state.write_bytes(dump_checkpoint(arrays, {**values, part: {**values[part], "position": changed}}))
        result = invoke(command)
        if result.exit_code == 1:
            assert len(result.stderr.splitlines()) == 1, result.stderr
            assert str(state) in result.stderr or str(log) in result.stderr
            return [False]
        assert result.exit_code == 0, (result.exit_code, result.stderr)
        again = invoke(command)
        assert again.exit_code == 0, ("again", again.exit_code, again.stderr)
        return [True]

    attack(use, position)


def invoke(command):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        result = CliRunner().invoke(app, command)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return result


# The header of safetensors


HEADER_VALUES = [
    *VALUES,
    float(2**53),
    1e999,
    [0],
    [0, 0],
    [0, float("nan")],
    [2**63, 2**64],
    [-1, 4],
    "F32",
    "F4",
    "C64",
]


def test_any_value_in_the_header_of_a_file(tmp_path):
    path = tmp_path / "m"
    StreamPredictor(config=SHAPE).save(path)
    content = path.read_bytes()
    n = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + n]), content[8 + n :]
    places = [place for place in leaves(header) if place]
    tried = [(place, value) for place in places for value in HEADER_VALUES]
    ends = [(place, value) for place, value in tried if place[-2:] == ("data_offsets", 1)]
    for place, value in [*ends, *tried] if not FEW else [*ends, *random.Random(0).sample(tried, 2 * FEW)]:
        changed = json.dumps(replaced(header, place, value)).replace("Infinity", "1e999").encode()
        path.write_bytes(len(changed).to_bytes(8, "little") + changed + rest)
        for use in (StreamPredictor.load, describe_file):
            try:
                use(path)
            except (OSError, ValueError) as error:
                refused(error, path)
