"""Everything in the package that writes files: how it writes, and how to tell whether a file is old or new.

`WRITERS` are the cases; `SITES` names all functions of the package that write files, with the cases that call each. A
test compares it with the code of the package: a new function that writes needs a case.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from golden import text

from streamlstm import Config, SessionWatcher, StreamPool, StreamPredictor, Watcher
from streamlstm.jit import cache as kernel_cache
from streamlstm.logs.metrics import write_metrics
from streamlstm.logs.output import OutputFile
from streamlstm.system.process import Interruptible

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
    may_give_up  whether it does without the file, and says nothing, if this cannot be written or the power fails
    is_synced    whether what it wrote is to survive a power failure
    """

    prepare: Callable[[Path], Any]
    begin: Callable[[Path], AbstractContextManager[Callable[[], Any]]]
    look: Callable[[Path], Any]
    left: str = PART
    open: str = ""
    may_give_up: bool = False
    is_synced: bool = True


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
    """Whether the new records are there, after those up to the position that was saved last."""
    content = (folder / "alarms").read_bytes()
    assert content.startswith(b'{"n": 1}\n')
    return "new" if content.endswith(b'{"n": 3}\n') else "old"


def alarms_once_in(folder: Path) -> Any:
    """The same; each record is there once, and nothing else."""
    found = alarms_in(folder)
    assert found == "old" or (folder / "alarms").read_bytes() == b'{"n": 1}\n{"n": 2}\n{"n": 3}\n'
    return found


# The cache of compiled kernels


def _double(values: Any) -> None:
    for index in range(len(values)):
        values[index] *= 2


@cache
def doubling() -> Any:
    """A compiled function, for the cache."""
    function = numba.njit(_double)
    function.compile((numba.float64[::1],))
    return function


def cache_of(folder: Path) -> kernel_cache.KernelCache:
    kernel_cache.cache_folder = lambda: folder
    try:
        return kernel_cache.KernelCache(_double)
    finally:
        kernel_cache.cache_folder = CACHE_FOLDER


CACHE_FOLDER = kernel_cache.cache_folder


@contextmanager
def machine_code(folder: Path) -> Iterator[Callable[[], Any]]:
    """Write a function to the cache as the first process does, which holds the lock."""
    ((signature, compiled),) = doubling().overloads.items()
    found = cache_of(folder)
    kernel_cache.cache_lock(Path(found.cache_path)).borrow()
    yield lambda: found.save_overload(signature, compiled)


def code_in(folder: Path) -> Any:
    """What the function in the cache computes."""
    ((signature, _),) = doubling().overloads.items()
    found = cache_of(folder).load_overload(signature, doubling().targetctx)
    if found is None:
        return "none"
    values = np.array([1.0, 2.0])
    found.entry_point(values)
    return values.tolist()


_STORE = "(-wal|-shm|-journal)"
WRITERS: dict[str, Writer] = {
    "model": Writer(save_model(300), once(save_model(320)), model_in),
    "new model": Writer(nothing, once(save_model(320)), model_in),
    "metrics": Writer(metrics(1), once(metrics(2)), lambda folder: (folder / "metrics").read_text(), is_synced=False),
    "watcher": Writer(save_watcher(20), other_watcher(50), watcher_in()),
    "sessions": Writer(
        save_watcher(30, session_regex=r"req-\d+"),
        other_watcher(60, session_regex=r"req-\d+"),
        watcher_in(session_regex=r"req-\d+"),
    ),
    "pool": Writer(save_pool, pool_of, pool_in, open=rf"s\.db{_STORE}"),
    "new pool": Writer(nothing, pool_of, pool_in, open=rf"s\.db{_STORE}"),
    "crowded pool": Writer(save_pool, crowded_pool, pool_in, open=rf"s\.db{_STORE}|streamlstm-.*\.tmp"),
    "keys": Writer(
        save_watcher(20, key_regex=r"host-\d"),
        same_watcher(30, key_regex=r"host-\d"),
        watcher_in(key_regex=r"host-\d"),
        open=rf"m\.keys-[0-9a-f]{{8}}{_STORE}|streamlstm-.*\.tmp",
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
    "alarms": Writer(old_alarms, alarms(True), alarms_once_in),
    "alarms without a position": Writer(old_alarms, alarms(False), alarms_in),
    "kernel cache": Writer(
        nothing,
        machine_code,
        code_in,
        left=r".*\.tmp\..*|.*\.\d+|.*\.nb[ic]",
        open=r".*\.\d+|.*\.nb[ic]",
        may_give_up=True,
    ),
}

SITES: dict[str, tuple[str, ...]] = {
    "system.portable.open_binary": ("alarms", "pool"),
    "system.portable.replace_file": ("model", "new model"),
    "system.portable.remove_file": ("crowded pool",),
    "system.input.open_input": ("test_input.py",),  # reads
    "watch.verdicts.write_verdicts": ("test_verdicts.py",),  # by write_atomically
    "cli.watch_run.WatchRun.write_kinds": ("test_kinds.py",),  # by write_atomically
    "system.files.opened_atomically": ("model", "new model"),
    "system.files._NamedFile.__init__": ("model", "new model"),
    "system.files.write_atomically": ("metrics",),
    "checkpoint.write_checkpoint": ("model", "new model"),
    "system.files.append_text": ("train",),
    "system.files.remove_leftovers": ("test_checkpoint.py",),
    "predictor.predictor.StreamPredictor.save": ("model", "new model", "predict"),
    "training.trainer.Trainer.save": ("train",),
    "jit.ahead.write_library": ("test_precompiled.py",),  # by opened_atomically
    "jit.ahead.main": ("test_precompiled.py",),  # a temporary folder
    "selftest._resumable": ("test_verify.py",),  # a temporary folder
    "selftest.no_loss": ("test_verify.py",),  # a temporary folder
    "selftest._file_error": ("test_verify.py",),  # in it
    "watch.single_stream.SingleStream.save": ("watcher", "watch"),
    "watch.sessions.SessionWatcher.save": ("sessions", "watch sessions"),
    "watch.key_file.write_model": ("keys", "new keys", "other keys", "watch with keys"),
    "streams.store.StreamStore._unlink_journals": ("other keys", "test_store.py"),
    "streams.store.StreamStore._unlink_file": ("crowded pool",),
    "streams.store._connected": ("pool", "new pool", "crowded pool", "keys", "new keys", "other keys"),
    "streams.store._Lock.__init__": ("pool", "new pool", "keys", "new keys", "other keys"),
    "streams.store._new_temporary_file": ("crowded pool",),
    "streams.store.temporary_folder": ("test_store.py",),  # chooses it
    "cli.train.cut_curve": ("test_cli.py",),
    "logs.metrics.write_metrics": ("metrics", "watch"),
    "logs.output.OutputFile.__init__": ("alarms", "alarms without a position", "watch"),
    "logs.output.OutputFile._cut": ("alarms", "watch"),
    "logs.output.OutputFile.flush": ("alarms", "watch"),
    "cli.__init__.main": ("compress to stdout", "predict to stdout"),
    "cli.command.say": ("test_faults_commands.py",),  # /dev/null, for what stderr does not take
    "cli.command.leave": ("compress to stdout",),  # /dev/null, for what stdout does not take
    "cli.compress._opened": ("compress", "decompress", "compress --message"),
    "cli.train.train": ("train",),
    "cli.train._run_training.checkpoint": ("train",),
    "jit.cache.KernelCache.save_overload": ("kernel cache",),
    "jit.cache.KernelCache._discard": ("kernel cache", "test_cache.py"),
    "jit.cache._Locator.ensure_cache_path": ("kernel cache",),
    "jit.cache.cache_folder": ("test_cache.py",),
    "jit.cache._candidates": ("test_cache.py",),
    "jit.cache.CacheLock._acquire": ("test_cache.py",),
    "jit.cache._remove": ("test_cache.py",),
    "integrations.ray.storage.Storage.write": ("test_integrations_ray_score.py",),
    "integrations.ray.storage.Storage.opened": ("test_integrations_ray_score.py",),
    "integrations.ray.storage.Storage.delete": ("test_integrations_ray_streams.py",),
    "integrations.ray.score_job.ScoreJob.score": ("test_integrations_ray_score.py",),
    "integrations.ray.storage._table": ("test_integrations_ray_streams.py",),  # into memory
    "integrations.ray.readers._WatchReader.snapshot": ("test_integrations_ray_streams.py",),  # a temporary folder
    "integrations.ray.readers._WatchReader.restore": ("test_integrations_ray_streams.py",),  # a temporary file
}
"""Every function of the package that writes files: the cases here, or of `writing_commands`, or the tests that do."""
