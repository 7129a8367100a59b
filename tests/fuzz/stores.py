"""Stores of streams: SQLite files that another program may have changed."""

import sqlite3
from functools import cache

from engine import Target, refused
from models import TEXT, of_text
from mutations import NUMBERS, mutated_bytes
from saved import file

from streamlstm import StreamPool

VALUES_OF_SQL = [None, "", "x", "s", b"", b"s", b"b\xff", b"s\xff", 0.5, float("inf"), float("-inf"), 2**62, -(2**63)]
PLACES = [("streams", column) for column in ("id", "key", "seconds", "n_symbols", "content")]
PLACES += [("about", "name"), ("about", "value"), ("size", "n_streams")]
STATEMENTS = [
    "DROP TABLE size",
    "DROP TABLE streams",
    "DROP TRIGGER inserted",
    "DROP INDEX by_time",
    "DELETE FROM about",
    "DELETE FROM size",
    "DELETE FROM streams",
    "INSERT INTO size VALUES (7)",
    "INSERT INTO about VALUES ('state', 'x')",
    "ALTER TABLE streams RENAME COLUMN content TO other",
    "ALTER TABLE streams ADD COLUMN other",
    "CREATE TRIGGER more AFTER UPDATE ON streams BEGIN DELETE FROM streams; END",
    "INSERT INTO streams (key, seconds, n_symbols, content) SELECT X'7378', seconds, n_symbols, content FROM streams",
    "PRAGMA user_version = 7",
    "PRAGMA encoding = 'UTF-16'",
    "PRAGMA auto_vacuum = FULL",
]


@cache
def model():
    predictor = of_text().fork()
    predictor.observe_many(TEXT.decode()[:30])
    return predictor


def pool():
    return StreamPool(model(), store=file(), max_pages=64, threads=1, ttl=1e12)


def clear():
    for suffix in ("", "-wal", "-shm", "-journal", ".lock"):
        path = file().with_name(file().name + suffix)
        if path.exists():
            path.unlink()


def seeds():
    for n in (0, 1, 3):
        clear()
        with pool() as streams:
            for i in range(n):
                streams.observe(f"k{i}" if i % 2 else b"k", TEXT.decode()[: 10 * i])
            streams.save()
        yield file().read_bytes()


def check(case):
    """Opens the store, reads and writes its streams, and opens it again."""
    clear()
    file().write_bytes(case)
    try:
        with pool() as streams:
            result = use(streams)
        with pool() as streams:
            list(streams)
    except (OSError, ValueError) as error:
        return refused(error)
    return result


def use(streams):
    results = set()
    for key in [*list(streams)[:4], "k1", b"k", "new"]:
        try:
            streams.observe(key, "abcd")
        except ValueError as error:
            results.add(refused(error))
    streams.stats()
    streams.save()
    return len(streams), frozenset(results)


def mutate(rng, case, other):
    if rng.random() < 0.3:
        return mutated_bytes(rng, case, other)
    base = sqlite3.connect(":memory:", isolation_level=None)
    try:
        base.deserialize(case)
        for _ in range(1 << rng.randrange(2)):
            if rng.random() < 0.25:
                base.execute(rng.choice(STATEMENTS))
                continue
            table, column = rng.choice(PLACES)
            value = rng.choice(VALUES_OF_SQL if rng.random() < 0.7 else NUMBERS)
            if isinstance(value, int):
                value = max(min(value, 2**63 - 1), -(2**63))
            if rng.random() < 0.3:
                base.execute(f"UPDATE {table} SET {column} = CAST({column} AS TEXT)")
            else:
                base.execute(f"UPDATE {table} SET {column} = ?", (value,))
        return base.serialize()
    except (sqlite3.Error, UnicodeError):
        return mutated_bytes(rng, case, other)
    finally:
        base.close()


STORE = Target(seeds, mutate, check)
