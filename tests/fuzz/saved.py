"""Files that a stranger may have written: models, runs of training, snapshots, watchers, and stores of streams.

A file is refused with a ValueError that names it, or what was loaded reads N_SYMBOLS symbols of mixed text: every
distribution is finite and sums to 1, and what is then saved can be loaded. Only learning may diverge.
"""

import sqlite3
from contextlib import closing
from functools import cache

import models
import numpy as np
from engine import Target, refused
from models import SHAPE, TEXT, folder, mixed_text, of_bytes, of_text
from mutations import NUMBERS, mutated_bytes, mutated_file, mutator, parts_of

from streamlstm import Config, StreamPool, StreamPredictor, Vocabulary
from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint
from streamlstm.logs.assembler import Assembler, Parsing, RawLine
from streamlstm.training.trainer import Trainer, TrainingPlan
from streamlstm.watch.sessions import SessionWatcher
from streamlstm.watch.watcher import Watcher

LONGEST_SIDE = 64
"""Shapes of networks beyond this are not tried: they are valid, and a case would take long."""


def file():
    """The file that a case is written to."""
    return folder() / "case.safetensors"


def is_large(case):
    """Whether a case describes a network that is valid but not tiny."""
    try:
        config = parts_of(case, "sha256")[1]["config"]
        return max(config["hidden"], config["layers"], config["window"] // 8, 5 * config["memory_bits"]) > LONGEST_SIDE
    except (KeyError, TypeError):
        return False


def can_go_on(case, checksum="sha256"):
    """Whether its counts leave room for what is read: more than 2**62 symbols or 2**53 lines are refused."""
    arrays, values = parts_of(case, checksum) or ({}, {})
    return max(arrays.get("memory.state", [0])[:2]) < 2**61 and most_in(values) < 2**52


def most_in(value):
    """The largest integer in a JSON value."""
    if isinstance(value, list | dict):
        return max(map(most_in, value.values() if isinstance(value, dict) else value), default=0)
    return value if isinstance(value, int) else 0


def check_distribution(p):
    assert np.isfinite(p).all()
    assert (p > 0).all()
    assert abs(float(p.sum(dtype=np.float64)) - 1) < 1e-5


def read(reader, case, learns=("",)):
    """Let a predictor read the mixed text, and a fork some of it in each other way; says that it was accepted."""
    text = mixed_text(case)
    try:
        for at in range(0, len(text), 500):
            check_distribution(reader.predict())
            assert np.isfinite(reader.observe_many(_known(text[at : at + 500], reader.vocabulary))).all()
        check_distribution(reader.predict())
        for learn in learns:
            fork = reader.fork()
            fork.learn = learn or fork.learn
            fork.observe_many(_known(text[:600], reader.vocabulary))
    except FloatingPointError:  # its weights are large
        return [False]
    return [True]


def _known(text, vocabulary):
    """The text as symbols of a vocabulary, whichever it is."""
    if vocabulary.characters is None:
        return text
    tokens = np.frombuffer(text, np.uint8).astype(np.int32) % len(vocabulary)
    return tokens if vocabulary.unknown is None else text.decode("latin1")


# Models


def model_seeds():
    for layers, memory, adam in ((1, True, False), (2, False, True), (2, True, True)):
        for n in (0, 9, len(TEXT)):
            predictor = of_text(layers, memory, adam).fork()
            predictor.observe_many(TEXT.decode()[:n])
            yield dump_checkpoint(*predictor.to_checkpoint())
    for characters in ('\n ab1(<>/"', "".join(map(chr, range(300)))):
        predictor = of_text(characters=characters).fork()
        predictor.observe_many(_known(mixed_text(b"")[:700], predictor.vocabulary))
        yield dump_checkpoint(*predictor.to_checkpoint())
    for learn in ("memory", "nothing", "all"):
        predictor = of_bytes().fork()
        predictor.learn = learn
        predictor.observe_many(mixed_text(learn.encode())[:2000])
        yield dump_checkpoint(*predictor.to_checkpoint(half=learn == "memory"))
    yield dump_checkpoint(*StreamPredictor(config=Config(hidden=2, layers=1, window=2, memory_bits=10)).to_checkpoint())


def check_model(case):
    if is_large(case):
        return [False]
    file().write_bytes(case)
    try:
        predictor = StreamPredictor.load(file())
    except MemoryError as error:
        return refused(error)
    except ValueError as error:
        return refused(error, file())
    result = read(predictor, case, ("all", "memory") if predictor.config.memory else ("all",))
    if any(result) and can_go_on(case):
        content = dump_checkpoint(*predictor.to_checkpoint())
        again = StreamPredictor.from_checkpoint(*parse_checkpoint(content, ""))
        assert dump_checkpoint(*again.to_checkpoint()) == content
        assert predictor.describe() == again.describe()
    return result


# Runs of training

TRAINED = (TEXT * 40, mixed_text(b""))


def trainer(epochs=9):
    documents = [np.frombuffer(text, np.uint8) for text in TRAINED]
    plan = TrainingPlan(epochs, batch=10, window=16, warmup=3, pieces=(16, 512), crlf=0.5)
    return Trainer(documents, Vocabulary.bytes(), SHAPE, plan)


trainer_of_cases = cache(lambda: trainer(10_000))


def resume_seeds():
    for n in (0, 1, 3, 60):
        run = trainer()
        for _ in zip(range(n), run.run(), strict=False):
            pass
        run.save(file())
        yield file().read_bytes()


def check_resume(case):
    """A run that refuses a file is as before."""
    run = trainer_of_cases()
    before = state_of(run)
    file().write_bytes(case)
    try:
        run.restore(file())
    except ValueError as error:
        assert state_of(run) == before
        return refused(error, file())
    try:
        for _, progress in zip(range(-(-models.N_SYMBOLS // run.symbols_per_step)), run.run(), strict=False):
            assert np.isfinite(progress.bits)
        check_distribution(run.predictor().predict())
        run.save(file())
        run.restore(file())
    except FloatingPointError:
        return [False]
    return [run.step < run.n_steps]


def state_of(run):
    arrays, values = run._feed.save()
    return run.step, run.theta.tobytes(), {name: array.tobytes() for name, array in arrays.items()}, values


# Snapshots


@cache
def pools():
    """Pools over a model that has read something; what their streams learn differs."""
    models = {"memory": of_bytes().fork(), "all": of_text().fork(), "nothing": of_text().fork()}
    for predictor in models.values():
        predictor.observe_many(TEXT.decode()[:30])
    return {learn: StreamPool(model, learn, max_pages=64, threads=1) for learn, model in models.items()}


def snapshot_seeds():
    for pool in pools().values():
        for n in (0, 1, 7, len(TEXT), 40 * len(TEXT)):
            pool.observe("seed", (TEXT.decode() * 40)[:n])
            yield pool.snapshot("seed")
            pool.forget("seed")


def check_snapshot(case):
    result = [False]
    for learn, pool in pools().items():
        try:
            pool.restore("stream", case)
        except ValueError as error:
            refused(error, "the snapshot")
            continue
        content, text = pool.snapshot("stream"), mixed_text(case)
        pool.restore("again", content)
        assert pool.snapshot("again") == content
        try:
            for at in range(0, len(text), 500):
                part = text[at : at + 500]
                assert np.isfinite(pool.observe("stream", part if learn == "memory" else part.decode("latin1"))).all()
                check_distribution(pool.predict("stream"))
            content = pool.snapshot("stream")
            if can_go_on(case, "crc32"):
                pool.restore("again", content)
            result = [True]
        except FloatingPointError:
            pass
    return result


# Watchers

LINES = [f"job {n % 3} done in {n} ms\n" for n in range(24)] + ["error: (no) 0x7f\n", "é\n", "(x\n"]
KEYS = r"(?:job )?(\d|^.)"
STORE = "case.safetensors.keys-00000000"


def watcher_seeds(**more):
    clear()
    for options in ({}, {"alarms": "2/hour", "kinds": True}, {"thorough": True}, {"alarms": "1/10"}):
        with Watcher(of_bytes().fork(), warmup=4, **options, **more) as watcher:
            watcher.verdict("0123456789abcdef", "mute", until="2026-12-24", comment="a verdict")
            assembler = Assembler(Parsing("cri", multiline=r"^\S"), "-")
            for n, line in enumerate(LINES):
                watcher.observe(line, seconds=n)
                assembler.feed(RawLine(b"2026-11-26T18:00:00.1Z stdout %c part" % b"FP"[n % 2], 9))
            watcher.position = {"at": assembler.describe()}
            watcher.save(file())
        yield packed()


def session_seeds():
    for alarms in ("1/10", None, "2/hour"):
        watcher = SessionWatcher(of_bytes().fork(), warmup=2, alarms=alarms)
        for n, line in enumerate(LINES):
            watcher.observe(line, session=f"s{n % 5}", seconds=n * 60)
        watcher.save(file())
        yield file().read_bytes()


def check_watcher(case, **more):
    """Its length chooses the options that it is read with."""
    if is_large(case):
        return [False]
    file().write_bytes(case)
    options = {
        "warmup": 2,
        **more,
        **({}, {"alarms": "2/hour"}, {"alarms": "1/10", "thorough": True})[len(case) // 8 % 3],
    }
    try:
        watcher = Watcher.load(file(), **options)
    except (OSError, MemoryError) as error:
        return refused(error)
    except ValueError as error:
        return refused(error, file())
    with watcher:
        try:
            _restore_assembler(watcher.position)
            for n, line in enumerate(_lines(case)):
                watcher.observe(line, seconds=1e3 + n)
            watcher.repeated()
        except FloatingPointError:
            return [False]
        except ValueError as error:
            if "key_regex" in options:  # a stream in a store is read, and checked, when its key comes
                return refused(error)
            raise
        if can_go_on(case):
            watcher.save(file())
            watcher.close()
            Watcher.load(file(), **options).close()
    return [True]


def _restore_assembler(position):
    assembler = Assembler(Parsing("cri", multiline=r"^\S"), "-")
    try:
        assembler.restore(position["at"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return
    for line in (b"2026-11-26T18:00:00.1Z stdout F end", b"plain"):
        event = assembler.feed(RawLine(line, len(line)))
        assert event is None or event.text is not None
    list(assembler.flush())


def _lines(case):
    """The mixed text in eleven lines, with newlines inside, as events of several lines have them; and usual ones."""
    text = mixed_text(case)
    return [text[at : at + 500] + b"\n" for at in range(0, len(text), 500)] + [line.encode() for line in LINES[-6:]]


def check_sessions(case):
    if is_large(case):
        return [False]
    file().write_bytes(case)
    options = {"warmup": 2, "alarms": (None, "2/hour", "1/10")[len(case) // 8 % 3]}
    try:
        watcher = SessionWatcher.load(file(), **options)
    except MemoryError as error:
        return refused(error)
    except ValueError as error:
        return refused(error, file())
    try:
        for n, line in enumerate(_lines(case)):
            watcher.observe(line, session=f"s{n % 7}", seconds=2e3 + 30 * n)
            watcher.observe(LINES[n % 5], session=f"s{n % 7}", seconds=2e3 + 30 * n)
        watcher.finish()
        watcher.repeated()
    except FloatingPointError:
        return [False]
    if can_go_on(case):
        watcher.save(file())
        SessionWatcher.load(file(), **options).finish()
    return read(watcher._predictor, case)


# Stores: SQLite files that another program may have changed, and the models of keyed watchers beside them

VALUES_OF_SQL = [None, "", "x", "s", b"", b"s", b"b\xff", b"s\xff", 0.5, float("inf"), float("-inf"), 2**62, -(2**63)]
PLACES = [("streams", column) for column in ("id", "key", "seconds", "n_symbols", "content")]
PLACES += [("about", "name"), ("about", "value"), ("size", "n_streams"), ("dropped", "key"), ("dropped", "content")]
CONTENTS = [("streams", "content", "rowid"), ("dropped", "content", "key"), ("about", "value", "name")]
STATEMENTS = """DROP TABLE size|DROP TABLE streams|DROP TRIGGER inserted|DROP INDEX by_time|DELETE FROM about
DELETE FROM size|DELETE FROM streams|INSERT INTO size VALUES (7)|INSERT INTO about VALUES ('state', 'x')
PRAGMA user_version = 7|ALTER TABLE streams RENAME COLUMN content TO other
ALTER TABLE streams ADD COLUMN other|PRAGMA encoding = 'UTF-16'
CREATE TRIGGER more AFTER UPDATE ON streams BEGIN DELETE FROM streams; END|PRAGMA auto_vacuum = FULL
INSERT INTO streams (key, seconds, n_symbols, content) SELECT X'7378', seconds, n_symbols, content FROM streams"""
STATEMENTS = STATEMENTS.replace("\n", "|").split("|")


def clear():
    """Delete the files of the last case."""
    for path in folder().glob("case.safetensors*"):
        path.unlink(missing_ok=True)


def pool():
    return StreamPool(pool_model(), store=folder() / STORE, max_pages=64, threads=1, ttl=1e12)


@cache
def pool_model():
    predictor = of_bytes().fork()
    predictor.observe_many(TEXT[:30])
    return predictor


def store_seeds():
    for n in (0, 1, 3):
        clear()
        with pool() as streams:
            for i in range(n):
                streams.observe(f"k{i}" if i % 2 else b"k", TEXT[: 20 * i + 5])
            streams.save()
        yield (folder() / STORE).read_bytes()


def check_store(case):
    """Opens the store, lets its streams read, saves them, and opens it again."""
    clear()
    (folder() / STORE).write_bytes(case)
    results, text = [], mixed_text(case)
    try:
        with pool() as streams:
            for key in [*list(streams)[:2], "new"]:
                try:
                    streams.observe(key, text if not any(results) else text[:100])
                    results.append(key != "new")
                except (ValueError, FloatingPointError) as error:
                    results += refused(error)
            streams.stats()
            streams.save()
        with pool() as streams:
            list(streams)
    except (OSError, ValueError) as error:
        return refused(error)
    return [any(results)]


def mutate_store(rng, case, other):
    if not rng.randrange(20):
        return mutated_bytes(rng, case, other)
    path = folder() / "mutated"
    path.write_bytes(case)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as base:
            base.execute("PRAGMA synchronous = OFF")
            for _ in range(rng.randrange(1, 4)):
                _change(rng, base)
        return path.read_bytes()
    except (sqlite3.Error, UnicodeError):
        return mutated_bytes(rng, case, other)


def _change(rng, base):
    kind = rng.randrange(20)
    if kind == 0:
        base.execute(rng.choice(STATEMENTS))
    elif kind <= 3:
        value = rng.choice(VALUES_OF_SQL if rng.randrange(3) else NUMBERS)
        value = max(min(value, 2**63 - 1), -(2**63)) if isinstance(value, int) else value
        table, column = rng.choice(PLACES)
        base.execute(f"UPDATE {table} SET {column} = ?", (value,))
    else:
        table, column, key = rng.choice(CONTENTS)
        rows = base.execute(f"SELECT {key}, {column} FROM {table}").fetchall()
        sealed = [
            (name, content) for name, content in rows if isinstance(content, bytes) and parts_of(content, "crc32")
        ]
        if sealed:
            (name, content), (_, other) = rng.choice(sealed), rng.choice(sealed)
            content = mutated_file(rng, content, other, "crc32")
            base.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (content, name))


def packed():
    """The file of a watcher as a case; with keys, its length, the file, and the store beside it."""
    content, stores = file().read_bytes(), sorted(folder().glob("case.safetensors.keys-????????"))
    if stores:
        content = packed_of(content, stores[0].read_bytes())
        clear()
    return content


def packed_of(content, store):
    return len(content).to_bytes(8, "little") + content + store


def unpacked(case):
    n = int.from_bytes(case[:8], "little")
    return case[8 : 8 + n], case[8 + n :]


def keyed_seeds():
    return watcher_seeds(key_regex=KEYS, max_keys=4)


def check_keyed(case):
    """The store gets the name that the file says, if a store may have it."""
    clear()
    content, store = unpacked(case)
    watch = (parts_of(content, "sha256") or ({}, {}))[1].get("watch")
    name = str(watch.get("store")) if isinstance(watch, dict) else STORE
    may_be_one = len(name) == len(STORE) and name.startswith(STORE[:22]) and "/" not in name and "\0" not in name
    (folder() / (name if may_be_one else STORE)).write_bytes(store)
    return check_watcher(content, key_regex=KEYS, max_keys=4)


def mutate_keyed(rng, case, other):
    (content, store), (other_content, other_store) = unpacked(case), unpacked(other)
    kind = rng.randrange(3)
    content = mutated_file(rng, content, other_content) if kind == 0 else content
    store = mutate_store(rng, store, other_store) if kind else store
    return packed_of(content, store)


MODEL = Target(model_seeds, mutator("sha256"), check_model)
RESUME = Target(resume_seeds, mutator("sha256"), check_resume)
SNAPSHOT = Target(snapshot_seeds, mutator("crc32"), check_snapshot)
WATCHER = Target(watcher_seeds, mutator("sha256"), check_watcher)
SESSIONS = Target(session_seeds, mutator("sha256"), check_sessions)
KEYED = Target(keyed_seeds, mutate_keyed, check_keyed)
STORES = Target(store_seeds, mutate_store, check_store)
