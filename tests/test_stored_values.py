"""JSON values from files: whatever single values are, a file is refused in one line, or what was loaded reads on."""

import copy
import faulthandler
import json
import os
import random
import signal
import sqlite3
import warnings
from contextlib import closing

import numpy as np
import pytest
import stored_words
from stored_words import Refused, loaded
from typer.testing import CliRunner

from streamlstm import Config, SessionWatcher, StreamPool, StreamPredictor, Watcher
from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint
from streamlstm.cli.app import app
from streamlstm.modelfile import describe_file

VALUES = [
    *(float("nan"), float("inf"), float("-inf"), -1, 0, 0.5, 1e308, -1e308, 2**31, 2**53, 2**63, 2**70, -(2**70)),
    *("", "x", "\ud800", None, [], {}, True, [[]], 10**400),
]
"""What each value is replaced by."""
FEW = int(os.environ.get("STORED_VALUES", "60"))
"""How many cases of each kind of file are tried; 0 for all. There are thousands."""
SLOWEST = 20
"""After this many seconds a case counts as one that does not end."""
SHAPE = Config(hidden=4, layers=1, window=8, memory_bits=10)
SHAPE_OPTIONS = ["--hidden", "4", "--layers", "1", "--window", "8", "--memory-bits", "10"]
STAMP = "2026-11-26 10:{:02}:{:02} "


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


def cases(values):
    """All cases, or some of them: each path at least once."""
    paths = [path for path in leaves(values) if path]
    found = [(path, value) for path in paths for value in VALUES]
    if FEW and len(found) > FEW:
        draw = random.Random(len(found))
        some = [(path, draw.choice(VALUES)) for path in paths]
        found = some + draw.sample(found, max(FEW - len(some), 0))
    return found


class Limits:
    """A case that takes long ends the process with a traceback; warnings of large numbers are none of a user's."""

    def __enter__(self):
        faulthandler.dump_traceback_later(SLOWEST, exit=True)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore", RuntimeWarning)

    def __exit__(self, *error):
        self._warnings.__exit__(*error)
        faulthandler.cancel_dump_traceback_later()


def attack(values, use):
    """Use a file with each case; `use` raises Refused where it is refused. Returns what fails."""
    failures, outcomes = [], set()
    use(json.loads(json.dumps(values)))
    for path, value in cases(values):
        with Limits():
            try:
                use(replaced(values, path, value))
                outcomes.add("read")
            except Refused:
                outcomes.add("refused")
            except FloatingPointError:  # learning may diverge
                outcomes.add("read")
            except Exception as error:
                failures.append((path, value, repr(error)[:300]))
    assert not failures, f"{len(failures)} failures\n" + "\n".join(map(str, failures[:400]))
    assert outcomes == {"read", "refused"}


# Models


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_a_model_with_another_value(seed, tmp_path):
    arrays, values = stored_words.model_seeds()[seed]
    path = tmp_path / "m"

    def use(changed):
        if is_large(changed):
            return
        path.write_bytes(dump_checkpoint(arrays, changed))
        predictor = loaded(lambda: StreamPredictor.load(path), str(path))
        assert np.isfinite(predictor.observe_many(b"12 symbols.\n")).all()
        predictor.describe()
        predictor.save(path)
        if changed["n_symbols"] < 2**61:
            StreamPredictor.load(path)

    attack(values, use)


def is_large(values):
    """Whether a network is valid but not tiny."""
    try:
        config = values["config"]
        return max(config["hidden"], config["layers"], config["window"] // 8, config["memory_bits"] // 2) > 64
    except (KeyError, TypeError):
        return False


# Watchers


def of_lines(**options):
    return Watcher(StreamPredictor(config=SHAPE), warmup=4, threshold=1.0, **options)


WATCHERS = [
    {},
    {"alarms": "2/hour"},
    {"alarms": "1/10"},
    {"thorough": True},
    {"key_regex": r"req-\d", "alarms": "2/hour", "max_keys": 4},
]


def watch(watcher, first):
    for n, line in enumerate(lines_of(first, 12)):
        watcher.observe(line, seconds=10.0 * (first + n), source=f"s{n % 2}")


@pytest.mark.parametrize("options", WATCHERS)
def test_the_file_of_a_watcher_with_another_value(options, tmp_path):
    path = tmp_path / "w"
    with of_lines(**options) as watcher:
        watch(watcher, 0)
        watch(watcher, 12)
        watcher.save(path)
    arrays, values = parse_checkpoint(path.read_bytes(), "")

    def use(changed):
        path.write_bytes(dump_checkpoint(arrays, {**values, "watch": changed}))
        with loaded(lambda: Watcher.load(path, warmup=4, threshold=1.0, **options), str(path)) as watcher:
            watch(watcher, 24)
            watcher.repeated()
            watcher.save(tmp_path / "again")
        Watcher.load(tmp_path / "again", warmup=4, threshold=1.0, **options).close()

    attack(values["watch"], use)


@pytest.mark.parametrize("part", ["state", "stream", "dropped"])
def test_the_store_of_a_keyed_watcher_with_another_value(part, tmp_path):
    path, options = tmp_path / "w", {**WATCHERS[-1], "warmup": 4, "threshold": 1.0}
    with of_lines(**WATCHERS[-1]) as watcher:
        watch(watcher, 0)
        watch(watcher, 12)
        watch(watcher, 24)
        watcher.save(path)
    (store,) = tmp_path.glob("w.keys-*")
    content = store.read_bytes()
    select, update = {
        "state": ("SELECT value, 0 FROM about WHERE name = 'state'", "UPDATE about SET value = ? WHERE name = 'state'"),
        "stream": ("SELECT content, id FROM streams", "UPDATE streams SET content = ?"),
        "dropped": ("SELECT content, key FROM dropped", "UPDATE dropped SET content = ?"),
    }[part]
    with closing(sqlite3.connect(store)) as base:
        arrays, values = parse_checkpoint(base.execute(select).fetchall()[0][0], "", "crc32")

    def use(changed):
        store.write_bytes(content)
        with closing(sqlite3.connect(store)) as base:
            base.execute(update, (dump_checkpoint(arrays, changed, "crc32"),))
            base.commit()
        with loaded(lambda: Watcher.load(path, exclusive=True, **options), "") as watcher:
            for n, line in enumerate(lines_of(36, 12)):
                loaded(lambda line=line, n=n: watcher.observe(line, seconds=360.0 + n), "")
            watcher.save(path)
        Watcher.load(path, **options).close()

    attack(values, use)


@pytest.mark.parametrize("options", [{}, {"alarms": "2/hour"}])
def test_the_file_of_a_session_watcher_with_another_value(options, tmp_path):
    path, options = tmp_path / "s", {"session_regex": r"req-\d", "warmup": 2, "threshold": 1.0, **options}

    def watch(watcher, first):
        for n, line in enumerate(lines_of(first, 12)):
            watcher.observe(line, seconds=10.0 * (first + n), source=f"s{n % 2}")

    watcher = SessionWatcher(StreamPredictor(config=SHAPE), idle_seconds=30.0, **options)
    watch(watcher, 0)
    watch(watcher, 12)
    watcher.save(path)
    arrays, values = parse_checkpoint(path.read_bytes(), "")

    def use(changed):
        path.write_bytes(dump_checkpoint(arrays, {**values, "sessions": changed}))
        watcher = loaded(lambda: SessionWatcher.load(path, idle_seconds=30.0, **options), str(path))
        watch(watcher, 24)
        watcher.pass_time(1e5, source="s0")
        watcher.save(path)
        again = SessionWatcher.load(path, idle_seconds=30.0, **options)
        for each in (watcher, again):
            each.finish()
            each.repeated()

    attack(values["sessions"], use)


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
            raise Refused(result.stderr)
        assert result.exit_code == 0, (result.exit_code, result.stderr)
        again = invoke(command)
        assert again.exit_code == 0, ("again", again.exit_code, again.stderr)

    attack(position, use)


def invoke(command):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        result = CliRunner().invoke(app, command)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return result


# Runs of training, snapshots, stores of pools


def test_a_training_run_with_another_value(tmp_path):
    ((arrays, values),) = stored_words.resume_seeds()
    path = tmp_path / "r"

    def use(changed):
        run = stored_words.trainer()
        path.write_bytes(dump_checkpoint(arrays, changed))
        loaded(lambda: run.restore(path), str(path))
        for _ in zip(range(3), run.run(), strict=False):
            pass
        run.save(path)
        run.restore(path)

    attack(values, use)


@pytest.mark.parametrize("index", [0, 2])
def test_a_snapshot_with_another_value(index):
    arrays, values = stored_words.snapshot_seeds()[index]
    pool = stored_words.pools()[values.pop("pool")]

    def use(changed):
        loaded(lambda: pool.restore("stream", dump_checkpoint(arrays, changed, "crc32")), "")
        try:
            assert np.isfinite(pool.observe("stream", b"12 symbols.\n")).all()
            pool.stats()
            if changed["n_symbols"] < 2**61:
                pool.restore("stream", pool.snapshot("stream"))
        finally:
            pool.forget("stream")

    attack(values, use)


SQL_VALUES = [
    None,
    "",
    "x",
    b"",
    b"x",
    -1,
    0,
    0.5,
    2**53,
    2**63 - 1,
    -(2**63),
    1e308,
    -1e308,
    float("inf"),
    "nan",
    1e999,
]


def test_a_store_with_another_value_in_any_column(tmp_path):
    path, model = tmp_path / "pool.store", stored_words.model_of("memory")
    with StreamPool(model, store=path, max_pages=64, threads=1, ttl=1e12) as pool:
        pool.observe("a", b"something\n")
        pool.observe("b", b"something else\n")
        pool.save()
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as base:
        tables = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [(name, row[1]) for name in tables for row in base.execute(f"PRAGMA table_info({name})")]
    for table, column in columns:
        for value in SQL_VALUES:
            path.write_bytes(content)
            with closing(sqlite3.connect(path, timeout=0)) as base:  # a store that was refused is not locked any more
                try:
                    base.execute(f"UPDATE {table} SET {column} = ?", (value,))
                    base.commit()
                except (sqlite3.IntegrityError, OverflowError):
                    continue
            with Limits():
                message = refusal_of(lambda: read_store(path, model))
                assert message is None or (message and "\n" not in message), (table, column, value)


def refusal_of(function):
    """The message with which a function refuses; None if it does not. Any other error is raised."""
    try:
        function()
    except (OSError, ValueError) as error:
        return str(error)
    return None


def read_store(path, model):
    with StreamPool(model, store=path, max_pages=64, threads=1, ttl=1e12) as pool:
        for key in [*list(pool)[:3], "new"]:
            pool.observe(key, b"12 symbols.\n")
        pool.stats()
        pool.save()


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
        with Limits():
            for use in (StreamPredictor.load, describe_file):
                message = refusal_of(lambda use=use: use(path))
                assert message is None or (str(path) in message and "\n" not in message), (place, value, message)
