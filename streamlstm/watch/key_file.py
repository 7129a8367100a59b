"""The two files of a watcher with keys: the model, and beside it a store of the streams by key.

The model never changes, so its file is written once. It names the store, in the same folder. The store also has the
state of the watcher, so that streams and state change in one transaction. A file that replaces another one gets a store
of its own, and the old store is deleted last: whenever a process ends, there is the old pair or the new one.

A store belongs to one file. Both have the same random owner, and the store has the name of its file. A file with
another owner may not use the store. Another file with the same owner is its file after a renaming or, as long as there
is a file with the name that the store has, a copy: it reads the store, and gets one of its own when a watcher saves to
it. A store is deleted when a file that names it is replaced, unless another file names it too. Version 1.0 wrote no
owner and no name: there, the store belongs to the file with whose name its own begins.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint import read_checkpoint, write_checkpoint
from ..predictor import StreamPredictor
from ..streams.store import StreamStore

STORE, OWNER, FILE = "store", "owner", "file"
"""The names of values: in the file, its store and its owner; in the store, its owner and the name of its file."""

_TAG = len(".keys-0a1b2c3d")
"""The length of what follows the name of the file in that of its store."""

_STORE_NAME = re.compile(r"[^/\0]+\.keys-[0-9a-f]{8}")
_OWNER = re.compile("[0-9a-f]{32}|")


class Claim(NamedTuple):
    """The store that a file names.

    store  its path
    owner  the owner that both have; "" if 1.0 wrote the file
    """

    store: Path
    owner: str

    def is_true(self) -> bool:
        """Whether the store has the same owner. Raises OSError or ValueError for a store that cannot be read."""
        return StreamStore.values_of(self.store).get(OWNER, b"") == self.owner.encode()

    def is_copied(self, path: str | os.PathLike[str]) -> bool:
        """Whether the file at `path` is a copy: another file has the name that the store has, and makes this claim."""
        named = StreamStore.values_of(self.store).get(FILE)
        name = self.store.name[:-_TAG] if named is None else os.fsdecode(named)
        target = Path(path).resolve()
        return name != target.name and "/" not in name and claim_of(os.path.join(target.parent, name)) == self

    def is_made_twice(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file beside the one at `path` names the store too."""
        target = os.path.realpath(path)
        with os.scandir(os.path.dirname(target)) as entries:
            names = [entry.path for entry in entries]
        others = [name for name in names if os.path.isfile(name) and os.path.realpath(name) != target]
        return any(self.store.name[-_TAG:].encode() in _header(other) for other in others)


def new_store(path: str | os.PathLike[str], model: bytes) -> tuple[StreamStore, Claim]:
    """An empty store for the file `path`, and what this will say of it."""
    target = Path(path).resolve()
    beside = target.with_name(f"{target.name}.keys-{secrets.token_hex(4)}")
    return StreamStore(beside, model), Claim(beside, secrets.token_hex(16))


def values_for(path: str | os.PathLike[str], claim: Claim) -> dict[str, bytes]:
    """What the store says of the file that it belongs to."""
    owner = {OWNER: claim.owner.encode()} if claim.owner else {}
    return {**owner, FILE: os.fsencode(Path(path).resolve().name)}


@contextlib.contextmanager
def older_store(path: str | os.PathLike[str], claim: Claim | None) -> Iterator[StreamStore | None]:
    """The store of the file at `path`, to be deleted with it; None if it has none, or the one that is claimed.

    No other process can use it meanwhile. Raises BlockingIOError if one does, or another watcher.
    """
    older, found = None, claim_of(path)
    if found is not None and found != claim:
        with contextlib.suppress(ValueError):  # no store any more
            if not found.is_made_twice(path):
                older = StreamStore(found.store, None)
    try:
        yield older
    finally:
        if older is not None:
            older.close()


def write_model(path: str | os.PathLike[str], predictor: StreamPredictor, claim: Claim, watch: dict[str, Any]) -> None:
    """Write a model that names its store to the file `path`. Raises OSError if the file cannot be written."""
    arrays, values = predictor.to_checkpoint()
    claimed = {STORE: claim.store.name} | ({OWNER: claim.owner} if claim.owner else {})
    write_checkpoint(path, arrays, {**values, "watch": {**watch, "keyed": True, **claimed}})


def claim_in(path: str | os.PathLike[str], watch: dict[str, Any]) -> Claim:
    """What a file says of its store.

    Raises FileNotFoundError if there is no such store, and ValueError for an invalid name or owner, or if the store has
    another owner.
    """
    name, owner = watch[STORE], watch.get(OWNER, "")
    if not isinstance(name, str) or not _STORE_NAME.fullmatch(name):
        what = "its store must be a file beside it with a name like NAME.keys-0a1b2c3d"
        raise ValueError(f"{path} is not a usable model: {what}, not {name!r}")
    if not isinstance(owner, str) or not _OWNER.fullmatch(owner):
        raise ValueError(f"{path} is not a usable model: the owner of its store must be 32 digits, not {owner!r}")
    claim = Claim(Path(path).resolve().with_name(name), owner)
    if not claim.store.exists():
        what = f"it has the keys of {path}; keep both files in one folder, and copy both"
        raise FileNotFoundError(f"{claim.store} is missing: {what}")
    if not claim.is_true():
        raise ValueError(f"{claim.store} belongs to another file than {path}; restore the store of this file")
    return claim


def claim_of(path: str | os.PathLike[str]) -> Claim | None:
    """What the file at `path` says of its store; None if it has none."""
    with contextlib.suppress(OSError, ValueError):
        watch = _watch_in(path)
        return claim_in(path, watch) if STORE in watch else None
    return None


def may_claim(path: str | os.PathLike[str], claim: Claim) -> bool:
    """Whether the file at `path` names the store, or cannot be read now."""
    try:
        return bool(_watch_in(path).get(STORE) == claim.store.name)
    except (FileNotFoundError, ValueError):
        return False
    except OSError:
        return True


def _watch_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file says of a watcher; empty for the file of something else."""
    watch = read_checkpoint(path)[1].get("watch")
    return watch if isinstance(watch, dict) else {}


def _header(path: str) -> bytes:
    """The metadata of a file, if it is a checkpoint that can be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        n = int.from_bytes(file.read(8), "little")
        return file.read(n) if n <= os.fstat(file.fileno()).st_size else b""
    return b""
