"""Everything in the package that writes files: how it writes, and how to tell whether a file is old or new.

`WRITERS` are the cases; `SITES` names all places in the package that write, with the cases that reach each of them. A
test compares it with the package's code: who writes a file in a new place adds a case here.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from golden import text

from streamlstm import Config, SessionWatcher, StreamPool, StreamPredictor, Watcher
from streamlstm.logs.metrics import write_metrics
from streamlstm.logs.output import OutputFile
from streamlstm.tasks.signals import Interruptible

SHAPE = Config(hidden=8, layers=1, window=4, memory_bits=10)
PART = r"\.[^/]{1,50}\.[0-9a-f]{16}\.part"
"""The name of a temporary file, which may be left by a process that was killed."""
LINES = [f"job {n % 7} done in {100 + n % 13} ms\n" for n in range(60)]
KEYED = [f"host-{n % 3} {line}" for n, line in enumerate(LINES)]
SESSIONS = [f"req-{n // 3} {part}\n" for n in range(90) for part in ("begins", "reads", "ends")[n % 3 : n % 3 + 1]]


@dataclass(frozen=True)
class Writer:
    """What writes files.

    prepare  makes what is in the folder before
    begin    a context in which the function that it yields writes. After an error this may be called again, and goes on
             as if there had been none
    look     what is in the folder, in words or numbers; raises if a file is not whole
    left     the names of files that a process may leave that was killed
    open     the names of files that are there while it writes
    """

    prepare: Callable[[Path], Any]
    begin: Callable[[Path], AbstractContextManager[Callable[[], Any]]]
    look: Callable[[Path], Any]
    left: str = PART
    open: str = ""


@cache
def model(n: int) -> StreamPredictor:
    predictor = StreamPredictor(config=SHAPE)
    predictor.observe_many(text(n))
    return predictor


MODEL = model(300)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def nothing(folder: Path) -> None:
    pass


# Checkpoints


def save_model(n: int) -> Callable[[Path], Any]:
    return lambda folder: model(n).save(folder / "m")


def once(write: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A context of a function that needs no preparation."""
    return contextmanager(lambda folder: iter([lambda: write(folder)]))


def model_in(folder: Path) -> Any:
    """How the model goes on that is there."""
    if not (folder / "m").exists():
        return "none"
    return sha(StreamPredictor.load(folder / "m").observe_many(b"goes on like this").tobytes())


def metrics(lines: int) -> Callable[[Path], None]:
    return lambda folder: write_metrics(folder / "metrics", {"lines_total": lines})


# Watchers, and the stores of those with keys


@cache
def watcher(n: int, **options: str) -> Any:
    """A watcher of some lines, which nothing else changes."""
    make: Any = SessionWatcher if "session_regex" in options else Watcher
    made = make(MODEL.fork(), warmup=5, **options)
    for line in lines_for(**options)[:n]:
        made.observe(line)
    return made


def lines_for(key_regex: str = "", session_regex: str = "") -> list[str]:
    return KEYED if key_regex else SESSIONS if session_regex else LINES


def save_watcher(n: int, **options: str) -> Callable[[Path], Any]:
    def save(folder: Path) -> None:
        watcher.cache_clear()  # it would go on with the store of another folder
        made = watcher(n, **options)
        made.save(folder / "m")
        close(made)
        watcher.cache_clear()

    return save


def other_watcher(n: int, **options: str) -> Callable[[Path], Any]:
    """Save a watcher that has nothing to do with what is there."""

    @contextmanager
    def begin(folder: Path) -> Iterator[Callable[[], Any]]:
        made = watcher(n, **options)
        yield lambda: made.save(folder / "m")
        close(made)

    return begin


def same_watcher(n: int, **options: str) -> Callable[[Path], Any]:
    """Go on with what is there, and save it again."""

    @contextmanager
    def begin(folder: Path) -> Iterator[Callable[[], Any]]:
        opened: list[Any] = []

        def write() -> None:
            if not opened:
                opened.append(Watcher.load(folder / "m", warmup=5, **options))
            for line in lines_for(**options)[opened[0].counts.lines : n]:
                opened[0].observe(line)
            opened[0].save(folder / "m")

        yield write
        for each in opened:
            close(each)

    return begin


def close(made: Any) -> None:
    if isinstance(made, Watcher):
        made.close()


def watcher_in(**options: str) -> Callable[[Path], Any]:
    """How the watcher goes on that is there."""

    def look(folder: Path) -> Any:
        if not (folder / "m").exists():
            return "none"
        load: Any = SessionWatcher.load if "session_regex" in options else Watcher.load
        made = load(folder / "m", warmup=5, **options)
        try:
            if isinstance(made, SessionWatcher):
                ended = [each for line in SESSIONS[:9] for each in made.observe(line)] + list(made.finish())
                return [list(made.counts), [each.score for each in ended]]
            bits = [made.observe(line).bits_per_char for line in lines_for(**options)[:4]]
            return [list(made.counts), bits]
        finally:
            close(made)

    return look


# Pools


def save_pool(folder: Path) -> None:
    with StreamPool(MODEL, store=folder / "s.db") as pool:
        for number in range(3):
            pool.observe(f"stream {number}", text(40 + number))
        pool.save()


@contextmanager
def pool_of(folder: Path, **options: Any) -> Iterator[Callable[[], Any]]:
    """Let streams observe a text up to its end, forget one, and save the others."""
    opened: list[StreamPool] = []

    def write() -> None:
        if not opened:
            opened.append(StreamPool(MODEL, "memory", folder / "s.db", **options))
        (pool,) = opened
        for number in range(4):
            key = f"stream {number}"
            done = pool.n_symbols(key) - MODEL.n_symbols if key in pool else 0
            pool.observe(key, text(60 + number)[done:])
        if "stream 1" in pool:
            pool.forget("stream 1")
        pool.save()

    yield write
    for pool in opened:
        pool.close()


@contextmanager
def crowded_pool(folder: Path) -> Iterator[Callable[[], Any]]:
    """The same while one stream fits into memory: the others give way to a temporary file, and come back."""
    with pool_of(folder, memory_budget=1) as write:
        yield write


def pool_in(folder: Path) -> Any:
    """The streams of the pool that is there."""
    if not (folder / "s.db").exists():
        return {}
    with StreamPool(MODEL, store=folder / "s.db") as pool:
        return {str(key): sha(pool.snapshot(key)) for key in sorted(pool)}


# Alarms


def old_alarms(folder: Path) -> None:
    (folder / "alarms").write_bytes(b'{"n": 1}\n{"n"')


def alarms(described: bool) -> Callable[[Path], Any]:
    """Append alarms to those at the saved position, if there is one, else to what is there."""

    @contextmanager
    def begin(folder: Path) -> Iterator[Callable[[], Any]]:
        path, opened = str(folder / "alarms"), []

        def write() -> None:
            if not opened:
                position = {"path": path, "size": 9} if described else None
                opened.append(OutputFile(path, Interruptible(), position))
                for number in (2, 3):
                    opened[0].write(b'{"n": %d}\n' % number)
            opened[0].describe()

        yield write
        for each in opened:
            each.close()

    return begin


def alarms_in(folder: Path) -> Any:
    """The records up to the position that was saved last."""
    content = (folder / "alarms").read_bytes()
    assert content.startswith(b'{"n": 1}\n')
    return "new" if content.endswith(b'{"n": 3}\n') else "old"


_STORE = "(-wal|-shm|-journal)"
WRITERS: dict[str, Writer] = {
    "model": Writer(save_model(300), once(save_model(320)), model_in),
    "new model": Writer(nothing, once(save_model(320)), model_in),
    "metrics": Writer(metrics(1), once(metrics(2)), lambda folder: (folder / "metrics").read_text()),
    "watcher": Writer(save_watcher(20), other_watcher(50), watcher_in()),
    "sessions": Writer(
        save_watcher(30, session_regex=r"req-\d+"),
        other_watcher(60, session_regex=r"req-\d+"),
        watcher_in(session_regex=r"req-\d+"),
    ),
    "pool": Writer(save_pool, pool_of, pool_in, open=rf"s\.db{_STORE}"),
    "new pool": Writer(nothing, pool_of, pool_in, open=rf"s\.db{_STORE}"),
    "crowded pool": Writer(save_pool, crowded_pool, pool_in, open=rf"s\.db{_STORE}|etilqs_.*"),
    "keys": Writer(
        save_watcher(20, key_regex=r"host-\d"),
        same_watcher(30, key_regex=r"host-\d"),
        watcher_in(key_regex=r"host-\d"),
        open=rf"m\.keys-[0-9a-f]{{8}}{_STORE}",
    ),
    "new keys": Writer(
        nothing,
        other_watcher(20, key_regex=r"host-\d"),
        watcher_in(key_regex=r"host-\d"),
        left=rf"m\.keys-[0-9a-f]{{8}}|{PART}",
        open=rf"m\.keys-[0-9a-f]{{8}}{_STORE}",
    ),
    "other keys": Writer(
        save_watcher(20, key_regex=r"host-\d"),
        other_watcher(50, key_regex=r"host-\d"),
        watcher_in(key_regex=r"host-\d"),
        left=rf"m\.keys-[0-9a-f]{{8}}|{PART}",
        open=rf"m\.keys-[0-9a-f]{{8}}{_STORE}",
    ),
    "alarms": Writer(old_alarms, alarms(True), alarms_in),
    "alarms without a position": Writer(old_alarms, alarms(False), alarms_in),
}
