"""A file that is read while it grows, is rotated and truncated.

A file is identified by its inode and by the TAIL_BYTES bytes before the position in it, which each read compares: so a
truncation is noticed even if the file has grown beyond the position since. If a file was renamed or copied, the rest of
it is searched for in its folder, under names that begin with its own, and so are files between it and the new one.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 65_536
"""The most bytes that are read at once."""

TAIL_BYTES = 64
"""The number of bytes before a position that identify a file."""

ROTATE_SECONDS = 2.0
"""After a file was replaced, its writer may continue to write to the old one for a while. The old one is left once this
time has passed without anything new in it."""


@dataclass(frozen=True)
class Place:
    """A position in a file.

    inode     of the file
    offset    in bytes
    tail      the bytes before it, at most TAIL_BYTES
    modified  when the file was last modified, in nanoseconds; a copy of it cannot be older
    """

    inode: int
    offset: int
    tail: bytes
    modified: int = 0

    def describe(self) -> dict[str, Any]:
        """The place as JSON values."""
        return {"inode": self.inode, "offset": self.offset, "tail": self.tail.hex(), "modified": self.modified}

    @classmethod
    def from_description(cls, values: dict[str, Any]) -> Place:
        """The place that `describe` described. Raises ValueError, TypeError or KeyError if it is not one."""
        tail, numbers = bytes.fromhex(values["tail"]), (int(values[name]) for name in ("inode", "offset", "modified"))
        inode, offset, modified = numbers
        return cls(inode, offset, tail, modified)


class FollowedFile:
    """The bytes of a log file, through rotation and truncation.

    path         of the file; it need not exist yet if it is followed
    follow       whether to wait for more at its end
    place        where to continue; None for the beginning
    from_end     without a place, begin at the end of the file that is there

    rotation     how often another file has taken the place of the one that was read; begins with `rotation`
    offset       the number of bytes read from the current file
    is_at_end    whether the last `read` found nothing
    is_complete  whether the current file will not grow any more, so that `advance` opens the next one
    notes        messages for the user; the caller removes those that it has shown

    Raises OSError if the file cannot be read and is not followed.
    """

    def __init__(
        self, path: str, *, follow: bool, place: Place | None = None, rotation: int = 0, from_end: bool = False
    ) -> None:
        self.path, self.rotation, self.offset = path, rotation, 0
        self.notes: list[str] = []
        self._follow, self._place, self._from_end = follow, place, from_end and place is None
        self._number: int | None = None  # of the open file
        self._tail, self._modified = b"", 0
        self._finished: deque[Place] = deque(maxlen=2)  # the ends of the files read last
        self._next: deque[int] = deque()  # open files that are read next
        self._replaced: float | None = None  # since when another file has the name
        self._problem = ""
        self._is_elsewhere = False  # whether the open file is a rotated one, in which reading continued
        self.is_at_end, self.is_complete = False, False
        if not follow or os.path.exists(path) or place is not None:
            self._try_to_open()

    def read(self) -> bytes:
        """The next bytes of the current file; b"" if there are none now."""
        if self._number is None and not self._try_to_open():
            return b""
        assert self._number is not None
        try:
            data = self._read_on(self._number)
            if not data and (self._follow or self._is_elsewhere):
                self._look_for_next(self._number)
            self._note_problem("")
        except OSError as error:
            self._failed(error)
            return b""
        self.is_at_end = not data
        return data

    def advance(self) -> None:
        """Continue with the next file, once this one is complete."""
        if self._number is not None:
            self._finished.append(self.place(self.offset))
            os.close(self._number)
        self._number, self.offset, self._tail = self._next.popleft(), 0, b""
        self._replaced, self._is_elsewhere, self.is_complete, self.is_at_end = None, False, False, False
        self.rotation += 1

    def place(self, offset: int) -> Place:
        """The position of an offset up to which everything was used."""
        if self._number is None:
            return self._place or Place(0, 0, b"")
        inode, first = os.fstat(self._number).st_ino, max(offset - TAIL_BYTES, 0)
        tail = self._tail if offset == self.offset else os.pread(self._number, offset - first, first)
        return Place(inode, offset, tail, self._modified)

    def n_unread(self) -> int:
        """The number of bytes that are there and were not read yet."""
        try:
            total = max(os.fstat(self._number).st_size - self.offset, 0) if self._number is not None else 0
            total += sum(os.fstat(number).st_size for number in self._next)
            if self._replaced is not None and not self._next:
                total += os.stat(self.path).st_size
        except OSError:
            return 0
        return total

    def close(self) -> None:
        """Close all files."""
        for number in [self._number, *self._next]:
            if number is not None:
                os.close(number)
        self._number = None
        self._next.clear()

    def _read_on(self, number: int) -> bytes:
        """What follows in the open file. If it was truncated or rewritten, what is left in a copy of it."""
        block = os.pread(number, BLOCK + len(self._tail), self.offset - len(self._tail))
        if block.startswith(self._tail):
            data = block[len(self._tail) :]
            self.offset += len(data)
            self._tail = block[-TAIL_BYTES:]
            if data:
                self._replaced, self._modified = None, os.fstat(number).st_mtime_ns
            return data
        copy = self._find(Place(-1, self.offset, self._tail, self._modified), os.fstat(number).st_ino)
        self._next.append(os.dup(number))
        if copy is None:
            self.notes.append(
                f"{self.path} was truncated; anything added to it after byte {self.offset:,} was not read"
            )
            self.is_complete = True
            return b""
        self.notes.append(f"{self.path} was truncated; its copy is read to the end")
        os.close(number)
        self._number = copy
        return self._read_on(copy)

    def _look_for_next(self, number: int) -> None:
        """See whether it is time to leave the open file, of which everything was read, for another one."""
        if self.is_complete or self._next:
            self.is_complete = True
            return
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return
        if status.st_ino == os.fstat(number).st_ino:
            self._replaced = None
            return
        now = time.monotonic()
        if self._replaced is None:
            self._replaced = now
        if self._follow and now - self._replaced < ROTATE_SECONDS:
            return
        self._queue_successors(number)
        self.notes.append(f"{self.path} was replaced; all of the old file was read")
        self.is_complete = True

    def _queue_successors(self, number: int) -> None:
        """Open the files that were written after this one, and the one that has the name now."""
        current = os.open(self.path, os.O_RDONLY)
        own, newest = os.fstat(number), os.fstat(current)
        for path, status in rotated_files(self.path):
            if status.st_mtime_ns >= own.st_mtime_ns and status.st_ino not in (own.st_ino, newest.st_ino):
                between = os.open(path, os.O_RDONLY)
                if any(
                    place.inode == status.st_ino and place.offset and _holds(between, place) for place in self._finished
                ):
                    os.close(between)  # something was added to it after it was left
                else:
                    self._next.append(between)
        self._next.append(current)

    def _try_to_open(self) -> bool:
        """Open the file, or what is left of the one in which to continue. False if it is not there."""
        try:
            self._open()
        except OSError as error:
            if not self._follow:
                raise
            self._failed(error)
            return False
        return True

    def _open(self) -> None:
        place = self._place
        if place is not None and place.inode:
            found = self._find(place)
            if found is not None:
                self._number, self.offset, self._tail, self._modified = found, place.offset, place.tail, place.modified
                self._is_elsewhere, self._place = not _is_named(found, self.path), None
                return
        number = os.open(self.path, os.O_RDONLY)
        if stat.S_ISDIR(os.fstat(number).st_mode):
            os.close(number)
            raise IsADirectoryError(f"{self.path} is a directory; name a file")
        if place is not None and place.inode:
            what = f"the file that was read up to byte {place.offset:,} is gone, or was changed before that"
            self.notes.append(f"{self.path}: {what}; reading from the beginning")
            self.rotation += 1
        self._number, self._place = number, None
        self.offset = os.fstat(self._number).st_size if self._from_end else 0
        self._from_end = False
        first = max(self.offset - TAIL_BYTES, 0)
        self._tail = os.pread(self._number, self.offset - first, first)

    def _find(self, place: Place, not_inode: int = -1) -> int | None:
        """The file that has this place, opened: the one with this inode or, else, one with the same bytes before it."""
        paths = [self.path, *(path for path, _ in reversed(list(rotated_files(self.path))))]
        candidates = []
        for path in paths:
            try:
                number = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            status = os.fstat(number)
            is_same = status.st_ino == place.inode
            may_be_copy = status.st_ino != not_inode and place.tail and status.st_mtime_ns >= place.modified
            if (is_same or may_be_copy) and _holds(number, place):
                candidates.append((not is_same, number))
            else:
                os.close(number)
        candidates.sort(key=lambda candidate: candidate[0])
        for _, number in candidates[1:]:
            os.close(number)
        return candidates[0][1] if candidates else None

    def _failed(self, error: OSError) -> None:
        if not self._follow:
            raise error
        self._note_problem(f"{self.path}: {error.strerror or error}; trying again")

    def _note_problem(self, problem: str) -> None:
        """Tell a problem once, as long as it lasts."""
        if problem and problem != self._problem:
            self.notes.append(problem)
        self._problem = problem


def _holds(number: int, place: Place) -> bool:
    """Whether an open file has the bytes of a place before it."""
    tail = os.pread(number, len(place.tail), place.offset - len(place.tail))
    return tail == place.tail and len(tail) == min(place.offset, TAIL_BYTES)


def _is_named(number: int, path: str) -> bool:
    """Whether an open file has this path now."""
    try:
        return os.stat(path).st_ino == os.fstat(number).st_ino
    except OSError:
        return False


COMPRESSED = (".gz", ".xz", ".zst", ".bz2")


def rotated_files(path: str, *, compressed: bool = False) -> Iterator[tuple[str, os.stat_result]]:
    """The files into which `path` was rotated, oldest first: app.log.1, app.log-20261126, app-2026-11-26.log.

    compressed  whether compressed ones are among them

    A symbolic link is resolved: that of a container leads to the folder of its pod.
    """
    target = Path(os.path.realpath(path))
    names = re.compile(
        rf"{re.escape(target.name)}[.-]\d[\w.:-]*|{re.escape(target.stem)}[.-]\d[\w.:-]*{re.escape(target.suffix)}"
    )
    found = []
    try:
        entries = sorted(os.listdir(target.parent))
    except OSError:
        return
    for name in entries:
        plain = name.removesuffix(Path(name).suffix) if name.endswith(COMPRESSED) else name
        if names.fullmatch(plain) and (compressed or plain == name):
            try:
                status = os.stat(target.parent / name)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((str(target.parent / name), status))
    yield from sorted(found, key=lambda pair: pair[1].st_mtime_ns)
