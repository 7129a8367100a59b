"""The two files of a watcher with keys: the model, and beside it a store of the streams by key.

The model never changes, so its file is written once. It names the store, in the same folder. The store also has the
state of the watcher, so that streams and state change in one transaction. A file that replaces another one gets a store
of its own, and the old store is deleted last: whenever a process ends, there is the old pair or the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Any

from ..checkpoint import read_checkpoint, write_checkpoint
from ..predictor import StreamPredictor
from ..streams.store import StreamStore

STORE = "store"
"""The name of the value that names the store."""

_STORE_NAME = re.compile(r"[^/\0]+\.keys-[0-9a-f]{8}")
"""A store has such a name: a model from elsewhere must not make us delete any other file."""


def new_store(path: str | os.PathLike[str], model: bytes) -> tuple[StreamStore, Path]:
    """An empty store for the file `path`, and its own path."""
    target = Path(path).resolve()
    beside = target.with_name(f"{target.name}.keys-{secrets.token_hex(4)}")
    return StreamStore(beside, model), beside


def write_model(path: str | os.PathLike[str], predictor: StreamPredictor, store: Path, watch: dict[str, Any]) -> None:
    """Write a model that names its store to the file `path`, and delete the store that an older file there names.

    Raises OSError, with nothing changed, if the file cannot be written or if another process uses the older store.
    """
    older = older_store(path)
    if older == store:  # a save that failed last, when the file had already been replaced
        older = None
    if older is not None:
        _check_unused(older)
    arrays, values = predictor.to_checkpoint()
    write_checkpoint(path, arrays, {**values, "watch": {**watch, "keyed": True, STORE: store.name}})
    if older is not None:
        delete_store(older)


def store_of(path: str | os.PathLike[str], watch: dict[str, Any]) -> Path:
    """The store that a file names. Raises FileNotFoundError if there is none, ValueError for an invalid name."""
    name = watch[STORE]
    if not isinstance(name, str) or not _STORE_NAME.fullmatch(name):
        what = "its store must be a file beside it with a name like NAME.keys-0a1b2c3d"
        raise ValueError(f"{path} is not a usable model: {what}, not {name!r}")
    store = Path(path).resolve().with_name(name)
    if not store.exists():
        raise FileNotFoundError(f"{store} is missing: it has the keys of {path}; keep both files in one folder")
    return store


def older_store(path: str | os.PathLike[str]) -> Path | None:
    """The store of the file that is at `path` now; None if it has none."""
    with contextlib.suppress(OSError, ValueError):
        watch = _watch_in(path)
        return store_of(path, watch) if STORE in watch else None
    return None


def may_name(path: str | os.PathLike[str], store: Path) -> bool:
    """Whether the file at `path` names the store, or cannot be read now."""
    try:
        return bool(_watch_in(path).get(STORE) == store.name)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        return True


def _watch_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file says of a watcher; empty for the file of something else."""
    watch = read_checkpoint(path)[1].get("watch")
    return watch if isinstance(watch, dict) else {}


def delete_store(path: Path) -> None:
    """Delete a store, with the files that SQLite keeps beside it."""
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


def _check_unused(path: Path) -> None:
    """Raise BlockingIOError if another process, or another watcher, uses a store."""
    with contextlib.suppress(ValueError):  # of another model
        StreamStore(path, b"").close()
