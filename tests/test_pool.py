"""Many streams over one model: each predicts as in a pool of its own, wherever it lies in between."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from commands import kills
from golden import text
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm import Config, StreamPool, StreamPredictor, Vocabulary
from streamlstm.memory.parked import FIRST_SLOTS, MIN_SLOTS
from streamlstm.streams.store import StreamStore, error_name

SHAPE = Config(hidden=16, layers=1, window=8, memory_bits=12)
MODES = pytest.mark.parametrize("learn", ["memory", "all", "nothing"])


def model(n=300):
    predictor = StreamPredictor(config=SHAPE)
    predictor.observe_many(text(n))
    return predictor


MODEL = model()


def text_of(key, n=400):
    """A text for each key, the same every time."""
    draw = random.Random(key)
    words = [f"{draw.choice('abcdef')}{draw.randrange(50)}" for _ in range(12)]
    return "".join(f"{draw.choice(words)} {draw.choice(words)}\n" for _ in range(n))[:n].encode()


def alone(learn, key, n=400, **options):
    """The surprisals of a stream in a pool of its own, which it reads at once."""
    return StreamPool(MODEL, learn, **options).observe(key, text_of(key, n))


# Isolation


@MODES
def test_a_stream_predicts_as_a_fork_of_the_model(learn):
    fork = MODEL.fork()
    fork.learn = learn
    assert np.array_equal(alone(learn, "a", 30), fork.observe_many(text_of("a", 30)))


def pieces_of(n):
    """Texts of many kinds."""
    draw = random.Random(n)
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))[:9]]
    for kind in range(n):
        if kind % 4:
            some = draw.choice(texts)
            at = draw.randrange(len(some) - 600)
            yield some[at : at + 600]
        else:
            yield bytes(draw.choices(draw.choice([b"a", b"ab\n", bytes(range(256))]), k=600))


def exact_symbols(predictor, learn, piece):
    """How many symbols a stream predicts to the bit as a fork of the model."""
    fork = predictor.fork()
    fork.learn = learn
    differs = StreamPool(predictor, learn).observe("a", piece) != fork.observe_many(piece)
    return int(differs.argmax()) if differs.any() else len(piece)


@pytest.mark.parametrize("learn", ["memory", "all"])
def test_the_first_ten_symbols_are_predicted_as_by_a_fork_and_later_ones_are_not(learn):
    found = [
        exact_symbols(each, learn, piece) for each in (MODEL, StreamPredictor(config=SHAPE)) for piece in pieces_of(40)
    ]
    assert min(found) >= 10
    assert max(found[1:40:4]) < 100  # so pages that say more would be wrong


def test_a_stream_without_counts_predicts_as_a_fork():
    without = StreamPredictor(config=Config(hidden=8, layers=1, window=8, memory=False))
    for piece in pieces_of(12):
        assert exact_symbols(MODEL, "nothing", piece) == exact_symbols(without, "all", piece) == 600


@MODES
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_stream_does_not_depend_on_others_threads_or_evictions(learn, data):
    keys = ["a", "b", b"a", "c", ""]
    expected = {key: alone(learn, key) for key in keys}
    budget = data.draw(st.sampled_from([1, 150_000, 2**30]))
    pool = StreamPool(MODEL, learn, memory_budget=budget, threads=data.draw(st.sampled_from([1, 3])))
    done = dict.fromkeys(keys, 0)
    for _ in range(data.draw(st.integers(1, 25))):
        chosen = data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=4, unique=True))
        parts = {key: text_of(key)[done[key] : done[key] + data.draw(st.integers(0, 40))] for key in chosen}
        found = pool.observe_many(parts) if len(parts) > 1 else {chosen[0]: pool.observe(chosen[0], parts[chosen[0]])}
        assert list(found) == chosen
        for key, bits in found.items():
            assert np.array_equal(bits, expected[key][done[key] : done[key] + len(parts[key])])
            done[key] += len(parts[key])
            assert pool.n_symbols(key) == MODEL.n_symbols + done[key]
    assert pool.stats().hot_bytes <= budget + 400_000 or pool.stats().n_hot <= 4


def test_streams_that_threads_load_from_a_store_while_others_learn_give_the_same_bits(tmp_path):
    texts = {key: text_of(key, 200) for key in map(str, range(12))}
    expected = {key: alone("all", key, 200) for key in texts}
    with StreamPool(MODEL, "all", tmp_path / "s.db", memory_budget=1, threads=3) as pool:
        for n in range(0, 200, 10):
            found = pool.observe_many({key: text[n : n + 10] for key, text in texts.items()})
            assert all(np.array_equal(bits, expected[key][n : n + 10]) for key, bits in found.items())
            pool.save()  # so that the next round loads from the store


def test_thousands_of_interleavings_of_twenty_streams_give_the_same_bits():
    draw, keys = random.Random(1), [f"key {n}" for n in range(20)]
    expected = {key: alone("memory", key, 600) for key in keys}
    texts = {key: text_of(key, 600) for key in keys}
    pool, done = StreamPool(MODEL, memory_budget=700_000, threads=3), dict.fromkeys(keys, 0)
    for _ in range(2000):
        chosen = draw.sample(keys, draw.choice([1, 1, 2, 4]))
        parts = {key: texts[key][done[key] : done[key] + draw.randrange(1, 9)] for key in chosen}
        found = pool.observe_many(parts) if len(parts) > 1 else {key: pool.observe(key, parts[key]) for key in parts}
        for key, bits in found.items():
            assert np.array_equal(bits, expected[key][done[key] : done[key] + len(parts[key])])
            done[key] += len(parts[key])
    assert pool.stats().n_loaded > 500


@MODES
def test_long_texts_that_are_read_at_once_give_the_bits_of_short_parts(learn):
    texts = {key: text_of(key, 1500) for key in "ab"}
    pool = StreamPool(MODEL, learn, threads=2)
    parts = [pool.observe_many({key: part[n : n + 37] for key, part in texts.items()}) for n in range(0, 1500, 37)]
    found = StreamPool(MODEL, learn, threads=2).observe_many(texts)
    for key in "ab":
        assert np.array_equal(found[key], np.concatenate([part[key] for part in parts]))
        assert np.array_equal(found[key], alone(learn, key, 1500))


def test_the_model_may_go_on_meanwhile():
    predictor = model()
    pool, expected = StreamPool(predictor), alone("memory", "a")
    pool.observe("a", text_of("a")[:100])
    predictor.observe_many(text(500))
    assert np.array_equal(pool.observe("a", text_of("a")[100:]), expected[100:])


def test_a_stream_costs_what_it_has_learned_up_to_a_limit():
    predictor = StreamPredictor(config=SHAPE)
    sizes = []
    for n in (0, 10, 2000, 30000):
        pool = StreamPool(predictor, max_pages=2048)
        pool.observe("a", text(n))
        overlay = pool._readers[0]._stream.memory._arrays.overlay
        sizes.append(int(overlay[0]))
    assert sizes == [FIRST_SLOTS, sizes[1], MIN_SLOTS, 2048]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_most_pages_may_be_odd():
    pages = StreamPool(MODEL, max_pages=65), StreamPool(MODEL, max_pages=64)
    bits = [pool.observe("a", text_of("a")[:400]) for pool in pages]
    assert np.array_equal(*bits)


# Asking


def test_asking_changes_nothing():
    pool = StreamPool(MODEL)
    pool.observe("a", text_of("a")[:30])
    fork = MODEL.fork()
    fork.learn = "memory"
    fork.observe_many(text_of("a")[:30])
    assert np.array_equal(pool.predict("a"), fork.predict())
    assert pool.top("a", 3) == fork.top(3)
    assert "b" not in pool
    assert len(pool) == 1
    assert list(pool) == ["a"]
    assert np.array_equal(pool.observe("a", text_of("a")[30:]), alone("memory", "a")[30:])


@MODES
def test_a_fork_and_a_snapshot_continue_as_the_stream(learn):
    pool, expected = StreamPool(MODEL, learn), alone(learn, "a")
    pool.observe("a", text_of("a")[:203])
    pool.fork("a", "b")
    content = pool.snapshot("a")
    assert pool.snapshot("b") == content
    other = StreamPool(MODEL, learn)
    other.restore("c", content)
    for each, key in ((pool, "b"), (pool, "a"), (other, "c")):
        assert np.array_equal(each.observe(key, text_of("a")[203:]), expected[203:])
    pool.restore("b", content)  # in place of a stream
    assert np.array_equal(pool.observe("b", text_of("a")[203:]), expected[203:])


def test_a_snapshot_is_small():
    predictor = StreamPredictor.pretrained()
    pool = StreamPool(predictor)
    pool.observe("a", text(100_000))
    assert len(pool.snapshot("a")) <= 2**20


def test_streams_are_forgotten_by_request_by_number_and_by_time():
    seconds = [0.0]
    pool = StreamPool(MODEL, max_keys=3, ttl=100, clock=lambda: seconds[0], memory_budget=1)
    for key in "abcd":
        seconds[0] += 1
        pool.observe(key, text_of(key)[:30])
    assert set(pool) == {"b", "c", "d"}
    assert len(pool) == 3
    pool.forget("c")
    assert set(pool) == {"b", "d"}
    seconds[0] += 98.5
    pool.observe("d", "still here")
    seconds[0] += 1
    assert np.array_equal(pool.observe("b", text_of("b")[:30]), alone("memory", "b")[:30])  # begun anew
    assert pool.stats().n_forgotten == 2


def test_one_stream_at_a_time():
    seconds = [0.0]
    pool = StreamPool(MODEL, max_keys=1, ttl=10, clock=lambda: seconds[0])
    for key in "abab":
        assert np.array_equal(pool.observe(key, text_of(key)[:50]), alone("memory", key)[:50])
        assert list(pool) == [key]
    seconds[0] = 11
    assert np.array_equal(pool.observe("b", text_of("b")[:50]), alone("memory", "b")[:50])
    assert pool.observe_many({key: text_of(key)[:9] for key in "cde"}).keys() == {"c", "d", "e"}
    assert list(pool) == ["e"]
    assert 0 < pool.stats().hot_bytes < 200_000


# The store


@MODES
def test_a_pool_continues_from_its_store(tmp_path, learn):
    expected = {key: alone(learn, key) for key in "abc"}
    with StreamPool(MODEL, learn, tmp_path / "s.db") as pool:
        pool.observe_many({key: text_of(key)[:150] for key in "abc"})
        pool.save()
        pool.observe("a", "this is not saved")
        pool.forget("b")
        pool.fork("c", "d")
    with StreamPool(MODEL, learn, tmp_path / "s.db", memory_budget=1) as pool:
        assert set(pool) == {"a", "b", "c"}
        assert len(pool) == 3
        for key in "abc":
            assert pool.n_symbols(key) == MODEL.n_symbols + 150
            assert np.array_equal(pool.observe(key, text_of(key)[150:]), expected[key][150:])
        pool.forget("b")
        pool.save()
    with StreamPool(MODEL, learn, tmp_path / "s.db") as pool:
        assert set(pool) == {"a", "c"}
        assert pool.n_symbols("c") == MODEL.n_symbols + 400


WRITE = """
import sys
sys.path[:0] = sys.argv[3:]
from test_pool import MODEL, text_of
from streamlstm import StreamPool
pool = StreamPool(MODEL, sys.argv[2], sys.argv[1], memory_budget=3_000_000)
done = {key: pool.n_symbols(key) - MODEL.n_symbols for key in pool}
print("ready", flush=True)
for part in range(100):
    for n in range(100):
        key = f"stream {n}"
        done[key] = done.get(key, 0) + len(pool.observe(key, text_of(key)[done.get(key, 0) : 4 * part + 4]))
        if n % 37 == 0:
            pool.save()
            print(sum(done.values()), flush=True)
"""


def killed_while_writing(tmp_path, learn, n_kills):
    """Kill a process that writes 100 streams, n times, at random instants.

    After each, the store has at least what was saved, and its streams continue to the bits of an uninterrupted run.
    """
    store, draw = tmp_path / "s.db", random.Random(n_kills)
    command = [sys.executable, "-c", WRITE, str(store), learn, os.path.dirname(__file__)]
    for _ in range(n_kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            with pytest.raises(BlockingIOError, match="another process uses this store"):
                StreamPool(MODEL, learn, store)
            time.sleep(draw.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            saved = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
        with StreamPool(MODEL, learn, store) as pool:
            assert sum(pool.n_symbols(key) - MODEL.n_symbols for key in pool) >= max(saved, default=0)
            for key in draw.sample(sorted(pool), min(5, len(pool))):
                done = pool.n_symbols(key) - MODEL.n_symbols
                assert np.array_equal(pool.observe(key, text_of(key)[done:]), alone(learn, key)[done:])


@pytest.mark.parametrize("learn", ["memory", "all"])
def test_a_killed_process_leaves_the_streams_of_its_last_save(tmp_path, learn):
    killed_while_writing(tmp_path, learn, 2)


@pytest.mark.slow
@pytest.mark.parametrize("learn", ["memory", "all"])
def test_a_process_killed_at_any_time_leaves_the_streams_of_its_last_save(tmp_path, learn):
    killed_while_writing(tmp_path, learn, kills(12))


# Bad input


def test_bad_keys_and_unknown_keys_are_refused():
    pool = StreamPool(MODEL)
    for act in (pool.predict, pool.top, pool.forget, pool.n_symbols, pool.snapshot, lambda key: pool.fork(key, "x")):
        with pytest.raises(KeyError, match="there is no stream 'missing'; `observe` begins one"):
            act("missing")
        with pytest.raises(TypeError, match="a key must be str or bytes, not int"):
            act(7)
    for act in (lambda: pool.observe(None, "text"), lambda: pool.observe_many({None: "text"}), lambda: None in pool):
        with pytest.raises(TypeError, match="not NoneType"):
            act()
    pool.observe("a", "text")
    with pytest.raises(ValueError, match="there is a stream 'a' already"):
        pool.fork("a", "a")
    with pytest.raises(ValueError, match="has no store"):
        pool.save()
    assert list(pool) == ["a"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"memory_budget": 0}, "memory_budget must be at least 1, not 0"),
        ({"max_pages": 63}, "max_pages must be at least 64"),
        ({"max_keys": 0}, "max_keys"),
        ({"threads": -1}, "threads"),
        ({"ttl": 0}, "ttl must be above 0"),
        ({"learn": "some"}, "learn must be"),
    ],
)
def test_bad_options_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        StreamPool(MODEL, **options)


def test_a_symbol_that_the_vocabulary_lacks_changes_nothing():
    predictor = StreamPredictor(Vocabulary.from_text("abc\n"), SHAPE)
    pool = StreamPool(predictor)
    pool.observe("k", "abc")
    for act in (lambda: pool.observe("k", "abx"), lambda: pool.observe_many({"k": "a", "new": "x"})):
        with pytest.raises(ValueError, match="'x'"):
            act()
    assert pool.n_symbols("k") == 3
    assert "new" not in pool


@pytest.mark.parametrize("state", ["locked", "full", "not a database", "read only"])
def test_the_name_of_an_error_is_known_by_its_text_alone(tmp_path, state):
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as first, closing(sqlite3.connect(path)) as second:
        first.execute("CREATE TABLE t (x)")
        if state == "locked":
            first.execute("BEGIN EXCLUSIVE")
            second.execute("PRAGMA busy_timeout = 0")
        elif state == "full":
            second.execute("PRAGMA max_page_count = 1")
        elif state == "read only":
            second.execute("PRAGMA query_only = 1")
        else:
            path.write_bytes(b"no store" * 1000)
        with pytest.raises(sqlite3.Error) as caught:
            second.executescript("INSERT INTO t VALUES (zeroblob(1000000))")
    expected = {"locked": "BUSY", "full": "FULL", "not a database": "NOTADB", "read only": "READONLY"}[state]
    assert error_name(sqlite3.Error(str(caught.value))) == f"SQLITE_{expected}"


def test_stores_that_cannot_be_used_are_refused(tmp_path):
    path = tmp_path / "s.db"
    with StreamPool(MODEL, store=path) as pool:
        pool.observe("a", "abc")
        pool.save()
    with pytest.raises(ValueError, match="streams of another model"):
        StreamPool(model(301), store=path)
    with pytest.raises(ValueError, match="streams of another model"):
        StreamPool(MODEL, "all", path)
    base = sqlite3.connect(path)
    base.execute("UPDATE about SET value = 2 WHERE name = 'version'")
    base.commit()
    base.close()
    with pytest.raises(ValueError, match="a store of version 2; this one reads 1"):
        StreamPool(MODEL, store=path)
    (tmp_path / "text").write_text("not a store, but a text that is long enough to be read as one " * 20)
    with pytest.raises(ValueError, match="is not a store of streams"):
        StreamPool(MODEL, store=tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(ValueError, match="an SQLite file, but not a store"):
        StreamPool(MODEL, store=tmp_path / "other")
    with pytest.raises(OSError, match="cannot be opened"):
        StreamPool(MODEL, store=tmp_path / "missing" / "s.db")


@pytest.mark.parametrize("position", [0, 9, 400, -3])
def test_a_damaged_snapshot_is_refused(position):
    pool = StreamPool(MODEL)
    pool.observe("a", text_of("a"))
    content = bytearray(pool.snapshot("a"))
    content[position] ^= 1
    with pytest.raises(ValueError, match="the snapshot"):
        pool.restore("b", bytes(content))
    with pytest.raises(ValueError, match="the snapshot"):
        pool.restore("b", bytes(content[:-1]))
    with pytest.raises(ValueError, match="of another model"):
        StreamPool(model(301)).restore("b", pool.snapshot("a"))
    assert "b" not in pool


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("memory.state", lambda a: a.__setitem__(18, 2**40)),
        ("memory.pages", lambda a: a.__setitem__(0, -1)),
        ("memory.pages", lambda a: a.__setitem__(0, a[1])),
        ("memory.words", lambda a: a.__setitem__((slice(None), 2), 15)),
        ("memory.uses", lambda a: a.__setitem__(0, 256)),
        ("memory.places", lambda a: a.__setitem__((0, 1), 2**30)),
        ("memory.places", lambda a: a.__setitem__((0, 0), 1)),
        ("memory.marks", lambda a: a.__setitem__(-1, -1)),  # beyond the array
        ("memory.marks", lambda a: a.__setitem__(0, a[0] ^ 1)),
        ("memory.weights", lambda a: a.__setitem__(-1, -1)),  # numbers of uses
        ("memory.slots", lambda a: a.__setitem__(0, 0)),
        ("memory.slots", lambda a: a.__setitem__(0, 33)),
        ("tokens", lambda a: a.__setitem__(0, 300)),
        ("bits", lambda a: a.__setitem__(0, -1)),
    ],
)
def test_a_snapshot_with_a_number_out_of_range_is_refused(name, change):
    from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint

    pool = StreamPool(MODEL, "all")
    pool.observe("a", text_of("a")[:203])
    arrays, values = parse_checkpoint(pool.snapshot("a"), "it", "crc32")
    arrays = {key: array.copy() for key, array in arrays.items()}
    change(arrays[name])
    with pytest.raises(ValueError, match="the snapshot cannot be used"):
        pool.restore("b", dump_checkpoint(arrays, values, "crc32"))


FILL = """
import resource, signal, sys
sys.path[:0] = sys.argv[2:]
from test_pool import MODEL, text_of
from streamlstm import StreamPool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
pool = StreamPool(MODEL, store=sys.argv[1], memory_budget=500_000)
pool.observe("a", text_of("a")[:100])
pool.save()
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, resource.RLIM_INFINITY))
n = 0
try:
    for n in range(200):
        pool.observe(f"new {n}", text_of("b")[:100])
except OSError as error:
    print(error)
try:
    pool.save()
except OSError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert sorted(pool) == sorted(["a", *(f"new {i}" for i in range(n))])
pool.observe("a", text_of("a")[100:200])
pool.save()
print(n)
"""


def test_a_full_disk_loses_nothing(tmp_path):
    command = [sys.executable, "-c", FILL, str(tmp_path / "s.db"), os.path.dirname(__file__)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    message = "[Errno 27] File too large: "
    assert output[0].startswith(f"{message}'the temporary store in /")
    assert output[1] == f"{message}'{tmp_path / 's.db'}'"
    with StreamPool(MODEL, store=tmp_path / "s.db") as pool:
        assert len(pool) == 1 + int(output[2])
        assert pool.n_symbols("a") == MODEL.n_symbols + 200
        assert np.array_equal(pool.observe("a", text_of("a")[200:]), alone("memory", "a")[200:])
        for n in range(int(output[2])):
            assert np.array_equal(pool.observe(f"new {n}", text_of("b")[100:150]), alone("memory", "b")[100:150])


@pytest.fixture
def mount(tmp_path):
    """A file system of 1 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs permission to mount a file system")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_file_system_loses_nothing(mount):
    with StreamPool(MODEL, store=mount / "s.db") as pool:
        pool.observe("a", text_of("a")[:100])
        pool.save()
        (mount / "filler").write_bytes(b"x" * (2**20 - 400_000))
        pool.observe_many({key: text_of(key)[100 * (key == "a") : 200] for key in "abcdefgh"})
        with pytest.raises(OSError, match="No space left"):
            pool.save()
        (mount / "filler").unlink()
        for key in "ab":
            assert np.array_equal(pool.observe(key, text_of(key)[200:300]), alone("memory", key)[200:300])
        pool.save()
    with StreamPool(MODEL, store=mount / "s.db") as pool:
        assert pool.n_symbols("a") == MODEL.n_symbols + 300


@pytest.fixture
def folder():
    """A folder that users without special rights may enter, while the process has none."""
    with tempfile.TemporaryDirectory() as name:
        user = os.geteuid()
        os.chmod(name, 0o755)
        yield Path(name)
        os.seteuid(user)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_store_that_may_only_be_read_is_refused_and_stays_as_it_is(folder, what):
    with StreamPool(MODEL, store=folder / "s.db") as pool:
        pool.observe("a", text_of("a")[:100])
        pool.save()
    content = (folder / "s.db").read_bytes()
    os.chmod(folder / "s.db", 0o444 if what == "file" else 0o666)
    os.chmod(folder, 0o777 if what == "file" else 0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
    with pytest.raises(OSError, match=r"the store cannot be (written|opened: its folder is missing or not writable)"):
        StreamPool(MODEL, store=folder / "s.db")
    copied = StreamStore.copy_of(folder / "s.db", bytes.fromhex(pool._codec._identity))
    assert list(copied) == ["a"]
    copied.put("b", copied.get("a"))
    assert len(copied) == 2
    assert (folder / "s.db").read_bytes() == content
    assert os.listdir(folder) == ["s.db"]


def test_a_damaged_stream_in_a_store_is_named_and_the_others_go_on(tmp_path):
    with StreamPool(MODEL, store=tmp_path / "s.db") as pool:
        pool.observe_many({key: text_of(key)[:100] for key in "ab"})
        pool.save()
    base = sqlite3.connect(tmp_path / "s.db")
    base.execute("UPDATE streams SET content = substr(content, 1, 5000) WHERE key = CAST('sa' AS BLOB)")
    base.commit()
    base.close()
    with StreamPool(MODEL, store=tmp_path / "s.db") as pool:
        for act in (lambda: pool.predict("a"), lambda: pool.observe_many({"a": "x"})):
            with pytest.raises(ValueError, match=r"the stream 'a' in the store .* damaged"):
                act()
        assert np.array_equal(pool.observe("b", text_of("b")[100:]), alone("memory", "b")[100:])
