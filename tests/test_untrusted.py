"""Files from strangers: whatever a small file claims, to open it takes no more memory than a file of its kind."""

import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import traceback
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import run
from golden import text
from nets import random_predictor

from streamlstm import (
    SGD,
    Config,
    MessageCoder,
    Snapshot,
    StreamPool,
    StreamPredictor,
    Vocabulary,
    Watcher,
    decompress,
    warmup,
)
from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint, read_checkpoint, write_checkpoint
from streamlstm.codec import archive as container
from streamlstm.memory import saved as sparse
from streamlstm.modelfile import describe_file
from streamlstm.streams.store import _TABLES as TABLES

MOST = 64 * 10**6
"""How many bytes a small file may make us allocate."""
LARGEST_SIZE = 1500
"""The bytes of a small file, where its kind can be so small."""
TINY = Config(hidden=1, layers=1, window=1, memory_bits=10)
SHAPE = Config(hidden=8, layers=1, window=8, memory_bits=10)

linux = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="memory is measured by Linux's /proc")


def n_allocated(function):
    """How many bytes of memory the function took at most at one time, in a process of its own; and its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            Path("/proc/self/clear_refs").write_text("5")  # begin the peak anew
            before, error = _peak(), ""
            try:
                function()
            except (ValueError, OSError) as caught:
                error = str(caught)
            os.write(writing, json.dumps([_peak() - before, error]).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content)


def _peak():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def checkpoint_of(config=TINY, **changes):
    """The arrays and values of a small model of two characters, trained as far as its file can say."""
    predictor = random_predictor(replace(config, memory=False), Vocabulary.from_text("ab"), SGD())
    predictor = StreamPredictor.from_weights(predictor.weights(), predictor.vocabulary, config, predictor.optimizer)
    arrays, values = predictor.to_checkpoint()
    values["config"] |= changes
    return arrays, values


def use(path):
    """All that is done with a model that was opened, short of letting it read a text."""
    predictor = StreamPredictor.load(path)
    predictor.describe()
    predictor.predict()
    twin = predictor.fork()
    predictor.save(f"{path}.again")
    assert len(twin.fork().to_checkpoint(whole=True)[0]["memory.pages"]) == 0


CLAIMS = {
    "memory_bits": (26, ""),
    "window": (4096, ""),
    "hidden": (4096, "has the shape"),
    "layers": (16, "is missing"),
}


@linux
@pytest.mark.parametrize("name", CLAIMS)
def test_a_model_that_claims_to_be_huge_takes_no_memory(tmp_path, name):
    claimed, expected = CLAIMS[name]
    arrays, values = checkpoint_of(**{name: claimed})
    write_checkpoint(tmp_path / "model", arrays, values)
    assert os.path.getsize(tmp_path / "model") < LARGEST_SIZE
    warmup()
    n, error = n_allocated(lambda: use(tmp_path / "model"))
    assert n < MOST
    assert re.search(expected, error) if expected else not error


@linux
def test_what_is_measured_is_memory_that_is_used():
    assert n_allocated(lambda: np.ones(2**25, np.int32))[0] > 2**27
    assert n_allocated(lambda: np.zeros(2**30, np.int32))[0] < 2**22


def test_info_says_how_much_memory_a_model_may_take(tmp_path):
    write_checkpoint(tmp_path / "model", *checkpoint_of(memory_bits=26))
    assert b"memory       2**26 pages of 64 bytes, up to 4,832 MB\n" in run("info", tmp_path / "model").stdout


@linux
def test_a_memory_that_is_shared_and_hardly_used_is_saved_without_copying_it_all(tmp_path):
    write_checkpoint(tmp_path / "model", *checkpoint_of(memory_bits=26))
    warmup()

    def save():
        predictor = StreamPredictor.load(tmp_path / "model")
        twin = predictor.fork()
        predictor.observe("a")
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        predictor.save(tmp_path / "saved")
        assert _peak() - before < MOST
        raise ValueError(f"{twin.n_symbols} {StreamPredictor.load(tmp_path / 'saved').n_symbols}")

    assert n_allocated(save)[1] == "0 1"


@pytest.mark.parametrize("n_words", [1, 16, sparse.BLOCK - 16, sparse.BLOCK, 3 * sparse.BLOCK + 32])
def test_a_sparse_copy_is_a_copy(n_words):
    draw = random.Random(n_words)
    array = np.zeros(n_words, dtype=np.int32)
    for copy_of in (array, array + 1):
        assert np.array_equal(sparse.sparse_copy(copy_of), copy_of)
    for _ in range(20):
        array[draw.randrange(n_words)] = draw.randrange(-9, 9)
        assert np.array_equal(sparse.sparse_copy(array), array)
        assert np.array_equal(sparse.nonzero_places(array), np.flatnonzero(array))
        assert np.array_equal(sparse.nonzero_places(array, 16), np.flatnonzero(array[::16]))
        assert sparse.nonzero_places(array).dtype == np.int32


def pool_of(store=None, **options):
    predictor = StreamPredictor(config=SHAPE)
    predictor.observe_many(text(50))
    return StreamPool(predictor, "memory", store, **options)


SNAPSHOTS = {
    "memory.slots": (np.array([2**31 - 1, -1], dtype=np.int32), "another vocabulary"),
    "memory.pages": (np.zeros(0, dtype=np.int32), ""),
    "tokens": (np.zeros(300, dtype=np.int32), "bits must be 300 surprisals"),
    "theta": (np.zeros(4, dtype=np.float32), "theta does not fit"),
}


@linux
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_snapshot_that_claims_to_be_huge_takes_no_memory(name):
    replacement, expected = SNAPSHOTS[name]
    pool = pool_of()
    pool.observe("a", "")
    arrays, values = parse_checkpoint(pool.snapshot("a"), "it", "crc32")
    values["optimizer"] = {"n_steps": 10**18, "powers": [0.5, 0.5], "surprisals": [1.0, 1.0]}
    snapshot = dump_checkpoint(arrays | {name: replacement}, values, "crc32")
    n, error = n_allocated(lambda: pool.restore("a", snapshot))
    assert n < MOST
    assert re.search(expected, error) if expected else not error


@linux
@pytest.mark.parametrize("kind", [container.CODED, container.RAW])
def test_an_archive_of_huge_frames_takes_no_memory(kind):
    predictor = StreamPredictor(config=SHAPE)
    head = container.compress(b"", predictor)[:25]
    frames = b"".join(_frame(kind, container.FRAME_SYMBOLS, bytes(n)) for n in (1, 40, 900))
    n, error = n_allocated(lambda: decompress(head + frames, predictor))
    assert n < MOST
    assert error == "it is corrupt: frame 1, which starts at byte 25"


def _frame(kind, n_symbols, code):
    head = bytes([kind]) + n_symbols.to_bytes(3, "little") + len(code).to_bytes(3, "little")
    return head + zlib.crc32(head + code).to_bytes(4, "little") + code


@linux
def test_a_message_of_any_bytes_takes_no_memory():
    coder = MessageCoder()
    coder.decompress(coder.compress("to begin with"))
    for size in (1, 30, 300):
        message = random.Random(size).randbytes(size)
        n, error = n_allocated(lambda message=message: coder.decompress(message))
        assert n < MOST
        assert error


with pool_of() as _pool:
    _pool.observe("a", "")
    MODEL_OF_STORES = parse_checkpoint(_pool.snapshot("a"), "it", "crc32")[1]["model"]


def store_at(path, *statements):
    """A store for the pools of `pool_of` whose tables were made by these statements."""
    with sqlite3.connect(path, isolation_level=None) as base:
        for statement in ("PRAGMA page_size = 512", *statements):
            base.execute(statement)
        base.execute("INSERT INTO about VALUES ('version', 1), ('model', ?)", (bytes.fromhex(MODEL_OF_STORES),))
        base.execute("INSERT INTO size VALUES (1)")
    base.close()
    return path


def instead_of_streams(content):
    """The statements of a store whose table of streams is computed when it is read."""
    columns = f"1 AS id, x'7361' AS key, 1.0 AS seconds, 1 AS n_symbols, {content} AS content"
    return *(
        table for table in TABLES if "TABLE about" in table or "TABLE size" in table
    ), f"CREATE VIEW streams AS SELECT {columns}"


ENDLESS = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n)"
STORES = {
    "a large view": instead_of_streams("zeroblob(500000000)"),
    "an endless view": instead_of_streams(ENDLESS),
    "a trigger": (*TABLES, "CREATE TRIGGER other AFTER UPDATE ON streams BEGIN DELETE FROM about; END"),
    "a computed column": [table.replace("content BLOB NOT NULL", "content AS (zeroblob(9))") for table in TABLES],
    "an index": (*TABLES, "CREATE INDEX other ON streams (upper(key))"),
}


@linux
@pytest.mark.parametrize("name", STORES)
def test_a_store_whose_tables_compute_something_is_refused_and_stays_as_it_is(tmp_path, name):
    path = store_at(tmp_path / "s.db", *STORES[name])
    before = path.read_bytes()
    n, error = n_allocated(lambda: pool_of(path).observe("a", "x"))
    assert n < MOST
    assert error == f"{path} is not a store of streams: it has other tables, views or triggers"
    assert path.read_bytes() == before


def test_a_foreign_database_is_refused_and_stays_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE about (name TEXT)")
    base.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="an SQLite file, but not a store of streams"):
        StreamPool(StreamPredictor(config=SHAPE), store=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("n_streams", [-1, -(2**63), 2**20, 2**40, 2**62, 2**63 - 1])
@pytest.mark.parametrize("use", [len, list, lambda pool: pool.observe("new", "x")], ids=["len", "list", "observe"])
def test_a_store_that_says_that_it_has_more_streams_than_bytes_is_called_damaged(tmp_path, n_streams, use):
    _with_size(tmp_path / "s.db", n_streams)
    with (
        pytest.raises(ValueError, match=r"s\.db is damaged: it has [\d,]+ bytes, and says"),
        pool_of(tmp_path / "s.db", max_keys=1) as pool,
    ):
        use(pool)


def test_a_store_that_has_fewer_streams_than_it_says_is_called_damaged_when_one_is_to_be_forgotten(tmp_path):
    _with_size(tmp_path / "s.db", 9)
    with pytest.raises(ValueError, match="fewer streams than it says"), pool_of(tmp_path / "s.db", ttl=1.0) as pool:
        pool.save()


def _with_size(path, n_streams):
    """A store without streams that says that it has some."""
    with pool_of(path) as pool:
        pool.save()
    with sqlite3.connect(path) as base:
        base.execute("UPDATE size SET n_streams = ?", (n_streams,))
    base.close()


ROWS = {
    "seconds": ("UPDATE streams SET seconds = 'soon'", lambda pool: pool.observe("b", "x")),
    "n_symbols": ("UPDATE streams SET n_symbols = 'many'", lambda pool: pool.n_symbols("a")),
    "content": ("UPDATE streams SET content = 7", lambda pool: pool.observe("a", "x")),
    "key": ("UPDATE streams SET key = 'sa'", list),
    "size": ("UPDATE size SET n_streams = 'few'", len),
    "no size": ("DELETE FROM size", len),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_store_with_values_of_other_types_is_called_damaged(tmp_path, name):
    statement, use = ROWS[name]
    with pool_of(tmp_path / "s.db") as pool:
        pool.observe("a", text(20))
        pool.save()
    with sqlite3.connect(tmp_path / "s.db") as base:
        base.execute(statement)
    base.close()
    with (
        pytest.raises(ValueError, match=r"s\.db is damaged: a value has the wrong type"),
        pool_of(tmp_path / "s.db", max_keys=1) as pool,
    ):
        use(pool)


def test_a_model_cannot_make_us_delete_another_file_as_its_store(tmp_path):
    path, other = tmp_path / "model", tmp_path / "thesis.txt"
    arrays, values = StreamPredictor(config=SHAPE).to_checkpoint()
    other.write_text("years of work")
    write_checkpoint(path, arrays, values | {"watch": {"keyed": True, "learn": "memory", "store": other.name}})
    options = "--hidden", 8, "--layers", 1, "--memory-bits", 10, "--key-regex", "^(.)"
    result = run("watch", "--save", path, *options, stdin=b"a 1\nb 2\n" * 30)
    assert result.returncode == 0, result.stderr
    assert other.read_text() == "years of work"
    write_checkpoint(path, arrays, values | {"watch": {"keyed": True, "learn": "memory", "store": other.name}})
    result = run("watch", "--model", path, "--save", path, "--resume", "--key-regex", "^(.)", stdin=b"a 1\n")
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    assert b"must be a file beside it with a name like NAME.keys-0a1b2c3d, not 'thesis.txt'" in result.stderr


@linux
@pytest.mark.parametrize(("sizes", "expected"), [([32768, 32768], ""), ([2**40, 8], "the tables of lines must have")])
def test_a_watched_log_that_claims_large_tables_takes_no_memory(tmp_path, sizes, expected):
    watcher = Watcher(StreamPredictor(config=SHAPE))
    watcher.observe("one line\n")
    watcher.save(tmp_path / "watched")
    arrays, values = read_checkpoint(tmp_path / "watched")
    values["watch"]["streams"][0]["familiar"]["sizes"] = [sizes, sizes]
    arrays |= {name: array[:0] for name, array in arrays.items() if ".familiar." in name}
    write_checkpoint(tmp_path / "watched", arrays, values)
    n, error = n_allocated(lambda: Watcher.load(tmp_path / "watched"))
    assert n < MOST
    assert re.search(expected, error) if expected else not error


COUNT_TEXT = random.Random(1).randbytes(5000)


def model_with_counts(path, bits, n_pages, spread, n_heads=2000):
    """A model whose few counts are where `spread` says in a table of 2**bits pages; below 1 MB."""
    predictor = StreamPredictor(config=replace(TINY, window=4))
    predictor.learn = "memory"
    predictor.observe("a")
    arrays, values = predictor.to_checkpoint()
    values["config"]["memory_bits"] = bits
    size = 1 << bits
    numbers, heads = (PATTERNS[spread](min(n, size // 2), size) for n in (n_pages, n_heads))
    arrays |= {
        "memory.pages": numbers,
        "memory.words": np.tile(np.array([77, 3, 0], dtype=np.int32), len(numbers)),
        "memory.lengths": np.zeros(len(numbers), dtype=np.uint8),
        "memory.heads": np.stack([heads, np.ones_like(heads)]),
    }
    write_checkpoint(path, arrays, values)
    assert path.stat().st_size < 1.1e6


def random_places(n, size):
    return np.unique(np.random.default_rng(n).integers(0, size, n).astype(np.int32))


PATTERNS = {
    "evenly": lambda n, size: (np.arange(n) * (size / n)).astype(np.int32),
    "at random": random_places,
    "at the end": lambda n, size: np.arange(size - n, size, dtype=np.int32),
}


def load_counts(path):
    return StreamPredictor.load(path)


def read_counts(path):
    load_counts(path).observe_many(COUNT_TEXT)


def fork_counts(path):
    predictor = load_counts(path)
    predictor.fork().observe_many(COUNT_TEXT)


def save_counts(path):
    load_counts(path).save(f"{path}.again")


def restore_counts(path):
    predictor = load_counts(path)
    snapshot = Snapshot(predictor)
    for _ in range(3):
        predictor.observe_many(COUNT_TEXT)
        snapshot.restore()


def watch_counts(path):
    watcher = Watcher(load_counts(path))
    for n in range(100):
        watcher.observe(f"line {n * n}\n")


USES = {
    each.__name__: each for each in (load_counts, read_counts, fork_counts, save_counts, restore_counts, watch_counts)
}
QUICK_USES = {
    ("load_counts", 20),
    ("read_counts", 26),
    ("restore_counts", 26),
    ("watch_counts", 23),
    ("save_counts", 24),
}


@linux
@pytest.mark.parametrize(
    ("use", "bits", "n_pages", "spread"),
    [
        pytest.param(use, bits, n, spread, marks=[] if is_quick else pytest.mark.slow)
        for use in USES
        for bits in (10, 19, 20, 21, 23, 24, 26)
        for n, spread in ((256, "evenly"), (50_000, "evenly"), (50_000, "at random"), (50_000, "at the end"))
        for is_quick in [(use, bits) in QUICK_USES and spread == "evenly"]
    ],
)
def test_counts_that_are_spread_over_a_large_table_take_little_memory(tmp_path, use, bits, n_pages, spread):
    model_with_counts(tmp_path / "model", bits, n_pages, spread)
    warmup()
    n, error = n_allocated(lambda: USES[use](tmp_path / "model"))
    # a fresh predictor fills the table of the default size as it reads, and a fork or an undo log what it copies of it
    usual = 160e6 if bits <= 20 and use in ("read_counts", "fork_counts", "restore_counts", "watch_counts") else 0
    assert not error
    assert n < MOST + usual


@pytest.mark.parametrize("bits", [18, 19, 20, 21, 22])
def test_a_memory_in_an_overlay_predicts_and_is_saved_as_one_in_a_table(tmp_path, bits):
    predictor = StreamPredictor(config=replace(SHAPE, hidden=2, memory_bits=bits))
    predictor.learn = "memory"
    predictor.observe_many(text(2000))
    draw = np.random.default_rng(bits)
    for n in (10, 3000):
        predictor.save(tmp_path / "model")
        loaded = StreamPredictor.load(tmp_path / "model")
        lines = [draw.integers(0, 256, n).astype(np.uint8).tobytes(), text(n)]
        snapshot = Snapshot(loaded)
        loaded.observe_many(lines[0])
        snapshot.restore()
        twin = loaded.fork()
        for each in lines:
            expected = predictor.observe_many(each)
            assert np.array_equal(loaded.observe_many(each), expected)
            assert np.array_equal(twin.observe_many(each), expected)
        contents = [dump_checkpoint(*each.to_checkpoint()) for each in (predictor, loaded, twin)]
        assert contents[0] == contents[1] == contents[2]
        snapshot.restore()
        assert np.array_equal(
            loaded.observe_many(lines[0]), StreamPredictor.load(tmp_path / "model").observe_many(lines[0])
        )


def test_a_pool_over_a_fork_has_what_the_fork_has_counted():
    predictor = StreamPredictor(config=replace(SHAPE, memory_bits=16))
    predictor.learn = "memory"
    predictor.observe_many(text(100))
    fork = predictor.fork()
    fork.observe_many(b"something else " * 30)
    alone = fork.fork()
    with StreamPool(fork) as pool:
        assert np.array_equal(pool.observe("a", b"something"), alone.observe_many(b"something"))


def test_a_model_that_claims_a_longer_text_than_it_has_is_refused(tmp_path):
    model_with_counts(tmp_path / "model", 26, 10, "evenly")
    arrays, values = read_checkpoint(tmp_path / "model")
    arrays["memory.state"] = arrays["memory.state"].copy()
    arrays["memory.state"][[0, 1]] = 2**40
    write_checkpoint(tmp_path / "model", arrays, values)
    with pytest.raises(ValueError, match="its arrays differ in length"):
        StreamPredictor.load(tmp_path / "model")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="the system has no endless device")
@pytest.mark.parametrize("command", [("info",), ("score", os.devnull, "--model")])
def test_a_device_that_never_ends_is_not_read_for_ever(command):
    result = run(*command, "/dev/zero", timeout=60)
    assert result.returncode == 1
    assert b"/dev/zero is not a model, or it is damaged" in result.stderr


def test_info_reads_the_header_only_and_imports_no_numba(tmp_path):
    model_with_counts(tmp_path / "model", 26, 1000, "evenly")
    script = (
        "import sys; from streamlstm.modelfile import describe_file; print(describe_file(sys.argv[1]));"
        "assert not {'numba', 'streamlstm.jit.decorators', 'streamlstm.memory.memory'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(StreamPredictor.load(tmp_path / "model").describe())
    content = bytearray((tmp_path / "model").read_bytes())
    content[-1] ^= 1  # the checksum is of the arrays, which are not read
    (tmp_path / "model").write_bytes(content)
    assert str(describe_file(tmp_path / "model")) == done.stdout.strip()


HEADERS = {
    "empty": lambda content: b"",
    "short": lambda content: content[:5],
    "cut in the header": lambda content: content[:100],
    "cut in the arrays": lambda content: content[:-1],
    "with more after it": lambda content: content + b"x",
    "not a model": lambda content: b"text of another kind, " * 9,
    "another value": lambda content: content.replace(b"n_symbols", b"n_sIIbols"),
    "another weight": lambda content: content.replace(b"weight_out", b"weight_oux"),
    "another shape": lambda content: content.replace(b'\\"hidden\\": 1', b'\\"hidden\\": 2'),
    "too large": lambda content: content.replace(b'\\"layers\\": 1', b'\\"layers\\": 9'),
    "another format": lambda content: content.replace(b'\\"format\\": 2', b'\\"format\\": 7'),
}


@pytest.mark.parametrize("name", HEADERS)
def test_info_refuses_what_the_header_tells_as_load_does(tmp_path, name):
    write_checkpoint(tmp_path / "model", *checkpoint_of())
    before = (tmp_path / "model").read_bytes()
    changed = HEADERS[name](before)
    assert changed != before
    (tmp_path / "model").write_bytes(changed)
    with pytest.raises(ValueError, match="model") as loading:
        StreamPredictor.load(tmp_path / "model")
    with pytest.raises(ValueError, match="model") as describing:
        describe_file(tmp_path / "model")
    if "checksum" not in str(loading.value):  # which only the arrays tell
        assert str(describing.value) == str(loading.value)
