"""The two files of a watcher with keys: the model, and beside it a store of the streams by key.

The model never changes, so its file is written once. It names the store, in the same folder. The store also has the
state of the watcher, so that streams and state change in one transaction. A file that replaces another one gets a store
of its own, and the old store is deleted last: whenever a process ends, there is the old pair or the new one.

Both have the same random owner; a file with another owner may not use the store. Version 1.0 wrote no owner.

A store changes in place only as long as nothing else has it: no other file in the folder names it, and it has no other
name itself (a hard or symbolic link). Else whoever saves, or loads to save, gets a new pair with what it has read. So a
copy, however it is made, has the keys of its original until either is saved, and then its own.

A store is deleted when a save replaces the file that names it, unless another file in the folder names it, or may do so
because it cannot be read.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint import LONGEST_HEADER, read_header, write_checkpoint
from ..predictor import StreamPredictor
from ..streams.store import StreamStore
from ..system.portable import is_in_use

STORE, OWNER = "store", "owner"
"""The names of values: in the file, its store and its owner; in the store, its owner."""

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

    def values(self) -> dict[str, bytes]:
        """What the store says of its owner."""
        return {OWNER: self.owner.encode()} if self.owner else {}

    def is_true(self) -> bool:
        """Whether the store has the same owner. Raises OSError or ValueError for a store that cannot be read."""
        return StreamStore.values_of(self.store).get(OWNER, b"") == self.owner.encode()

    def is_shared(self, file: Path) -> bool:
        """Whether anything but the file, which names the store, has it: see above. A symbolic link is not resolved.

        All files that name a store have the same size, since they are copies: what names it is written once.
        """
        try:
            status, size = os.lstat(self.store), os.stat(file).st_size
        except FileNotFoundError:
            return False
        return not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or self._is_named(file, size, in_doubt=False)

    def delete_unless_named(self) -> None:
        """Delete the store if no file in its folder names it, or may do so, and no process uses it."""
        is_there = self.store.is_file() and not self.store.is_symlink()
        if is_there and not self._is_named(None, None, in_doubt=True):
            with contextlib.suppress(BlockingIOError, ValueError):
                try:
                    StreamStore(self.store, None).delete_file()
                except PermissionError as error:
                    if not is_in_use(error):  # on Windows, who reads it as a copy keeps it
                        raise

    def _is_named(self, but: Path | None, size: int | None, *, in_doubt: bool) -> bool:
        """Whether a file in the folder names the store.

        but       a file that does not count; symbolic links never do
        size      of the files that may name it; None if that is not known
        in_doubt  what holds for files that cannot be read
        """
        own = None if but is None else os.stat(but)
        try:
            with os.scandir(self.store.parent) as entries:
                for entry in entries:
                    if (but is not None and entry.name == but.name) or not entry.is_file(follow_symlinks=False):
                        continue
                    try:
                        if (size is None or entry.stat().st_size == size) and self._is_in(entry.path, own):
                            return True
                    except FileNotFoundError:  # deleted meanwhile
                        continue
                    except OSError:
                        if in_doubt:
                            return True
        except OSError:  # a folder that cannot be listed
            return in_doubt
        return False

    def _is_in(self, path: str, own: os.stat_result | None) -> bool:
        """Whether a file names the store. It is not parsed: a newer version may have written it."""
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if own is not None and os.path.samestat(status, own) and status.st_nlink == 1:  # another way to spell it
                return False
            n = int.from_bytes(file.read(8), "little")
            header = file.read(n) if n <= min(status.st_size, LONGEST_HEADER) else b""
        return self.store.name[-_TAG:].encode() in header and self.owner.encode() in header


def new_store(path: str | os.PathLike[str], model: bytes) -> tuple[StreamStore, Claim]:
    """An empty store for the file `path`, and what this will say of it."""
    target = Path(path).resolve()
    beside = target.with_name(f"{target.name}.keys-{secrets.token_hex(4)}")
    return StreamStore(beside, model), Claim(beside, secrets.token_hex(16))


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str], own: Claim | None) -> Iterator[None]:
    """While the file at `path` is replaced by one with another store: then the store that it named is deleted.

    No other process can use that store meanwhile. Raises BlockingIOError if one does, or another watcher.

    own  what the watcher that replaces it says of its store, which it has open
    """
    older, found = None, claim_of(path)
    if found is not None and found != own:
        with contextlib.suppress(ValueError):  # no store any more
            older = StreamStore(found.store, None)
    try:
        yield
    finally:
        if older is not None:
            older.close()
    if found is not None:
        found.delete_unless_named()


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


def _watch_in(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file says of a watcher; empty for the file of something else."""
    watch = read_header(path)[1].get("watch")
    return watch if isinstance(watch, dict) else {}
