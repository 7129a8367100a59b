"""Models, snapshots of streams, and the state of watchers: safetensors files with a checksum of all that is in them."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from engine import Target, refused
from models import TEXT, of_text
from mutations import mutated_arrays, mutated_bytes, mutated_json

from streamlstm import Config, StreamPool, StreamPredictor
from streamlstm.checkpoint import dump_checkpoint, parse_checkpoint
from streamlstm.watch.sessions import SessionWatcher
from streamlstm.watch.watcher import Watcher

LONGEST_SIDE = 64
"""Shapes of networks beyond this are not tried: they are valid, and a case would take long."""


@cache
def file():
    """A file that each case is written to, in memory if the system has a file system there."""
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    kept = tempfile.NamedTemporaryFile(dir=folder, suffix=".safetensors")  # noqa: SIM115  deleted with the process
    file.kept = kept
    return Path(kept.name)


def mutator(checksum):
    """A function that mutates the arrays and the values of a file, and writes a valid checksum."""

    def mutate(rng, case, other):
        if rng.random() < 0.05:
            return mutated_bytes(rng, case, other)
        try:
            arrays, values = parse_checkpoint(case, "", checksum)
            others, other_values = parse_checkpoint(other, "", checksum)
        except ValueError:
            return mutated_bytes(rng, case, other)
        for _ in range(1 << rng.randrange(2)):
            kind = rng.randrange(8)
            if not isinstance(values, dict) or not isinstance(other_values, dict):
                return mutated_bytes(rng, case, other)
            if kind == 0 and other_values:
                name = rng.choice(sorted(other_values))
                values = {**values, name: other_values[name]}
            elif kind < 4 or not arrays:
                values = mutated_json(rng, values)
            else:
                arrays = mutated_arrays(rng, arrays, others)
        try:
            return dump_checkpoint(arrays, values, checksum)
        except (ValueError, TypeError, OverflowError, KeyError):
            return mutated_bytes(rng, case, other)

    return mutate


def is_large(case, checksum):
    """Whether a case describes a network that is valid but not tiny."""
    try:
        config = parse_checkpoint(case, "", checksum)[1]["config"]
        sides = config["hidden"], config["layers"], config["window"] // 8, 5 * config["memory_bits"]
        return max(sides) > LONGEST_SIDE
    except (ValueError, KeyError, TypeError, OverflowError):
        return False


def read(predictor):
    """Let a predictor read all symbols that it knows."""
    tokens = np.arange(len(predictor.vocabulary), dtype=np.int32)
    try:
        predictor.observe_many(np.concatenate([tokens[:24], tokens[-8:], tokens[:8]]))
    except FloatingPointError:  # its weights are large
        return False
    return True


# Models


def model_seeds():
    for layers, memory, adam in ((1, True, False), (2, False, True), (2, True, True)):
        for n in (0, 3, 9, len(TEXT)):
            predictor = of_text(layers, memory, adam).fork()
            predictor.observe_many(TEXT.decode()[:n])
            yield dump_checkpoint(*predictor.to_checkpoint())
    for learn in ("memory", "nothing"):
        predictor = of_text().fork()
        predictor.learn = learn
        predictor.observe_many(TEXT.decode())
        yield dump_checkpoint(*predictor.to_checkpoint(half=True))
    yield dump_checkpoint(*StreamPredictor(config=Config(hidden=2, layers=1, window=2, memory_bits=10)).to_checkpoint())


def check_model(case):
    if is_large(case, "sha256"):
        return "large"
    file().write_bytes(case)
    try:
        predictor = StreamPredictor.load(file())
    except (ValueError, MemoryError) as error:
        return refused(error)
    if len(case) % 32 == 0:
        content = dump_checkpoint(*predictor.to_checkpoint())
        again = StreamPredictor.from_checkpoint(*parse_checkpoint(content, ""))
        assert dump_checkpoint(*again.to_checkpoint()) == content
        assert predictor.describe() == again.describe()
    return "loaded", read(predictor), predictor.learn


MODEL = Target(model_seeds, mutator("sha256"), check_model)


# Snapshots


@cache
def pools():
    """Pools over a model that has read something; what their streams learn differs."""
    predictor = of_text().fork()
    predictor.observe_many(TEXT.decode()[:30])
    return [StreamPool(predictor, learn, max_pages=64, threads=1) for learn in ("memory", "all", "nothing")]


def snapshot_seeds():
    for pool in pools():
        for n in (0, 1, 7, len(TEXT), 40 * len(TEXT)):
            pool.observe("seed", (TEXT.decode() * 40)[:n])
            yield pool.snapshot("seed")
            pool.forget("seed")


def check_snapshot(case):
    result = None
    for pool in pools():
        try:
            pool.restore("stream", case)
        except ValueError as error:
            result = result or refused(error)
            continue
        content = pool.snapshot("stream")
        pool.restore("again", content)
        assert pool.snapshot("again") == content
        pool.forget("again")
        result = "restored", pool.n_symbols("stream") > 2**31
        try:
            pool.observe("stream", TEXT.decode()[20:60])
            pool.snapshot("stream")
        except FloatingPointError:
            result = "diverged"
        pool.forget("stream")
        break
    return result


SNAPSHOT = Target(snapshot_seeds, mutator("crc32"), check_snapshot)


# Watchers

LINES = [f"job {n % 3} done in {n} ms\n" for n in range(24)] + ["error: (no) 0x7f\n", "é\n"]


def watcher_seeds():
    for options in ({}, {"alarms": "2/hour"}, {"thorough": True}, {"alarms": "1/10"}):
        with Watcher(of_text().fork(), warmup=4, **options) as watcher:
            for n, line in enumerate(LINES):
                watcher.observe(line, seconds=n)
            watcher.position = {"at": 1}
            watcher.save(file())
            yield file().read_bytes()
    watcher = SessionWatcher(of_text().fork(), warmup=2, alarms="1/10")
    for n, line in enumerate(LINES):
        watcher.observe(line, session=f"s{n % 5}", seconds=n * 60)
    watcher.save(file())
    yield file().read_bytes()


KINDS = ((Watcher, {"alarms": "2/hour"}), (Watcher, {}), (SessionWatcher, {"alarms": "1/10"}))


def check_watcher(case):
    """Its length chooses what the file is read as."""
    if is_large(case, "sha256"):
        return "large"
    file().write_bytes(case)
    kind, options = KINDS[len(case) // 8 % 3]
    try:
        watcher = kind.load(file(), warmup=2, **options)
    except (ValueError, MemoryError) as error:
        return kind.__name__, refused(error)
    try:
        for n, line in enumerate(LINES[-4:]):
            watcher.observe(line, seconds=1e3 + n, **({} if kind is Watcher else {"session": f"s{n}"}))
        ended = [] if kind is Watcher else watcher.finish()
    except FloatingPointError:
        return kind.__name__, "diverged"
    if len(case) % 64 == 0:
        watcher.save(file())
        kind.load(file(), warmup=2, **options)
    return kind.__name__, len(ended) > 0


def mutate_watcher(rng, case, other):
    """Half of the time, only what the watcher has of its own."""
    mutate = mutator("sha256")
    if rng.random() < 0.5:
        return mutate(rng, case, other)
    arrays, values = parse_checkpoint(case, "", "sha256") if is_parsed(case) else (None, None)
    if values is None:
        return mutate(rng, case, other)
    for name in ("watch", "sessions"):
        if name in values:
            values[name] = mutated_json(rng, values[name])
    own = {name: array for name, array in arrays.items() if name.startswith("stream.")}
    if own and rng.random() < 0.5:
        arrays = {**{name: array for name, array in arrays.items() if name not in own}, **mutated_arrays(rng, own)}
    try:
        return dump_checkpoint(arrays, values)
    except (ValueError, TypeError, OverflowError, KeyError):
        return mutate(rng, case, other)


def is_parsed(case):
    try:
        parse_checkpoint(case, "", "sha256")
    except ValueError:
        return False
    return True


WATCHER = Target(watcher_seeds, mutate_watcher, check_watcher)
