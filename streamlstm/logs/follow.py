"""A file that is read while it grows, is rotated and truncated.

**What is read.** A log is a sequence of *contents*: each begins empty, grows at its end, and is replaced by the next
one, when the file is truncated, or is renamed or deleted and created again. A content is identified by its first
HEAD_BYTES bytes and the TAIL_BYTES bytes before the position up to which it was read (a `FilePlace`), never by a name:
rotation renames files. The inode decides between files that have the same content. Any number of files may have a
content, or its beginning: the one it was written to, renamed or not, copies, copies of copies, unfinished copies.

**What there is to read.** A *look* lists the files under the name and under the names of rotated files, and compares
them with the content that is being read and with those that are known. Every file is then one of these:

- It has the content that is being read. If the open file was truncated or cannot be read, the rest is read from here.
- It has a known content, and nothing more; or only the beginning of a known one, or of another file: a copy. An
  unfinished copy is only told from another content with the same HEAD_BYTES if a file with the whole content is there.
- It has a content that was read, and more: a writer still has the file open. What was added is read.
- It has an unknown content: it is of this log, or another's, see below. What is of this log was written since, and is
  read: the oldest first, the name last.

**Whose an unknown content is.** If the content that is being read is still that of the name, nothing can have followed
it, so that the file is another's. Otherwise it may have had the name between two looks, and its name decides, if it
can: where the content that is being read was renamed or copied to, and where those are that were read before, shows how
the rotated files of this log are named (`_kind`: what stands before the number, whether it is a date, and whether the
suffix follows). A file that is named in another way is another's, and a note says that it is not read; so a log that is
rotated to names of two kinds is read whole only if the second kind does not appear first while it is not looked at. If
the content that is being read is in no rotated file, nothing is shown, and the file is read: no line is lost, and one
of another's file may be read. The same is so if another's file is named like those of this log.

**What is known.** One `FilePlace` for each content: up to where it is not to be read. Contents that were read and those
of files that were there before the first start are known as long as a file has them, however many there are, and
MAX_GONE more. A place with the offset 0 is that of a file of which no content is known: one of this log that is empty
or cannot be read yet (inode 0: a folder that cannot be listed), or another's that cannot be read, while its time is the
same. What was rotated while the first start listed the files was there before, unless it had the name then.
Only a file that is overwritten just then by a copy of another may lead to the reading of what was there before.

So what is unread is `_part`, and then `_queue`, in this order; the files are held open, since they may be deleted
meanwhile. A part of which nothing was read identifies no content, so its first bytes are used only after a look has
found no other before it. A part is left when nothing was added to it for ROTATE_SECONDS and another one follows, and
if no file that may come before it has been unreadable for less than FAILED_SECONDS. If files are renamed during a
look, it begins again. After a restart, `_part` and what is known are those of the saved `FilePlace`, and the first look
finds the rest: there are no other rules for a restart, nor for a file that could not be read for a while.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..ranges import Maybe, Whole, check_values
from ..system.portable import open_shared, read_at

BLOCK = 65_536
"""The most bytes that are read at once."""

HEAD_BYTES, TAIL_BYTES = 128, 64
"""The number of bytes at the beginning of a file, and before a position in it, that identify its content."""

ROTATE_SECONDS = 2.0
"""After a file was replaced, its writer may continue to write to the old one for a while. The old one is left once this
time has passed without anything new in it."""

LOOK_SECONDS = 1.0
"""How often files that were read are checked for what was added to them since."""

FAILED_SECONDS = 60.0
"""For how long a file that cannot be read is waited for, if others are to be read after it."""

MAX_GONE = 100
"""How many of the known contents that are in no file any more stay known, should a file that has one come back."""

MAX_LOOKS = 20
"""How often a look begins again because files were renamed meanwhile."""

SETTLED_SECONDS = 2.0
"""A file that was changed a shorter time ago may be changed again without a change of its time."""

DESCRIBED = {
    "inode": Whole(0, 2**128),
    "offset": Whole(),
    "tail": str,
    "modified": Whole(-(2**63), 2**63),
    "head?": str,
    "is_read?": bool,
    "known?": Maybe([dict]),
}
"""What `FilePlace.describe` returns; see `ranges`."""

status_of, list_folder, clock = os.stat, os.listdir, time.monotonic


@dataclass(frozen=True)
class FilePlace:
    """A position in a file, and the content before it.

    inode     of the file
    offset    in bytes
    tail      the bytes before it, at most TAIL_BYTES
    modified  when the file was last modified, in nanoseconds
    head      the first bytes of the file, at most HEAD_BYTES and not beyond the offset; empty in a place of version 1.0
    is_read   whether the content is one of this log; else the file was there before the first start, or is another's
    known     up to where the other contents are not to be read; None in a place of version 1.0
    """

    inode: int
    offset: int
    tail: bytes
    modified: int = 0
    head: bytes = b""
    is_read: bool = True
    known: tuple[FilePlace, ...] | None = None

    def describe(self) -> dict[str, Any]:
        """The place as JSON values."""
        values: dict[str, Any] = {"inode": self.inode, "offset": self.offset, "tail": self.tail.hex()}
        values |= {"modified": self.modified, "head": self.head.hex(), "is_read": self.is_read}
        return values if self.known is None else values | {"known": [place.describe() for place in self.known]}

    @classmethod
    def from_description(cls, values: dict[str, Any]) -> FilePlace:
        """The place that `describe` described. Raises ValueError if it is not one."""
        check_values(values, DESCRIBED, "a place")
        tail, offset = bytes.fromhex(values["tail"]), values["offset"]
        if len(tail) > min(offset, TAIL_BYTES):
            raise ValueError(f"offset is {offset}, with {len(tail)} bytes before it")
        known = values.get("known")
        places = None if known is None else tuple(cls.from_description({**each, "known": None}) for each in known)
        head = bytes.fromhex(values.get("head", ""))[: min(offset, HEAD_BYTES)]
        return cls(values["inode"], offset, tail, values["modified"], head, values.get("is_read", True), places)


@dataclass(eq=False)
class _Part:
    """A file, and up to where it was read.

    number  of the open file; None if it is not open
    place   up to where it was read
    origin  the place among the known ones from which reading it began, if it was read before
    seen    its end at the last look
    since   when its size was seen to change
    """

    path: str
    number: int | None
    place: FilePlace
    origin: FilePlace | None = None
    seen: FilePlace | None = None
    size: int = 0
    since: float = field(default_factory=lambda: clock())

    @classmethod
    def opened(cls, path: str) -> _Part:
        """A regular file, of which nothing was read. Raises OSError if it cannot be opened or is not one."""
        number = open_shared(path)
        part = cls(path, number, FilePlace(0, 0, b""))
        try:
            status = part.status()
            if not stat.S_ISREG(status.st_mode):
                kind = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
                raise OSError(kind, os.strerror(errno.EISDIR) if kind == errno.EISDIR else "Not a regular file", path)
            part.size, part.place = status.st_size, FilePlace(status.st_ino, 0, b"", status.st_mtime_ns)
            part.seen = part.end()
        except OSError:
            part.close()
            raise
        return part

    def status(self) -> os.stat_result:
        assert self.number is not None
        return os.fstat(self.number)

    def read(self, size: int, offset: int) -> bytes:
        assert self.number is not None
        return read_at(self.number, size, offset)

    def end(self) -> FilePlace:
        """Its end now."""
        status = self.status()
        size = status.st_size
        head, first = self.read(min(size, HEAD_BYTES), 0), max(size - TAIL_BYTES, 0)
        return FilePlace(status.st_ino, size, self.read(size - first, first), status.st_mtime_ns, head)

    def holds(self, place: FilePlace) -> bool:
        """Whether it has the content before a place."""
        first, head = place.offset - len(place.tail), place.head
        is_whole = len(place.tail) == min(place.offset, TAIL_BYTES)
        return is_whole and self.read(len(place.tail), first) == place.tail and self.read(len(head), 0) == head

    def duplicate(self) -> int:
        assert self.number is not None
        return os.dup(self.number)

    def is_intact(self) -> bool:
        """Whether it can be read and has the content that was read from it."""
        try:
            return self.number is not None and self.holds(self.place)
        except OSError:
            return False

    def close(self) -> None:
        if self.number is not None:
            os.close(self.number)
        self.number = None


class FollowedFile:
    """The bytes of a log file, through rotation and truncation.

    path         of the file; it need not exist yet if it is followed
    follow       whether to wait for more at its end
    place        where to continue; None for the beginning
    from_end     without a place, begin at the end of the file that is there
    others       files that are read by themselves, and are not looked at even if they have the name of a rotated one

    rotation     how often reading has gone on with another content; begins with `rotation`
    is_at_end    whether the last `read` found nothing
    is_complete  whether it is time to leave the current content, so that `advance` goes on with the next one
    notes        messages for the user; the caller removes those that it has shown

    Raises OSError if the file cannot be read and is not followed.
    """

    def __init__(
        self,
        path: str,
        *,
        follow: bool,
        place: FilePlace | None = None,
        rotation: int = 0,
        from_end: bool = False,
        others: tuple[str, ...] = (),
    ) -> None:
        self.path, self.rotation = path, rotation
        self.notes: list[str] = []
        self.is_at_end, self.is_complete = False, False
        self._follow, self._from_end = follow, from_end and place is None
        self._is_from_end_later = False
        self._others = {os.path.realpath(other) for other in others} - {os.path.realpath(path)}
        self._known: list[FilePlace] | None = None
        self._settled: dict[
            tuple[int, int, int], FilePlace
        ] = {}  # by inode, size and time: what a file is known to have
        self._failure: OSError | None = None  # of the last read
        self._unreadable: dict[int, float] = {}  # by inode: since when a file that may be unread cannot be read
        self._queue: list[_Part] = []
        self._look_at, self._problem, self._is_lost = 0.0, "", False
        self._part = _Part(path, None, place or FilePlace(0, 0, b""))
        self._begin_part()
        if place is not None and place.inode:
            self._known = None if place.known is None else list(place.known)
            if not follow:
                self._look()
                if self._part.number is None and not self._queue:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        else:
            self._begin(None if place is None else place.known)

    @property
    def offset(self) -> int:
        """The number of bytes read of the current content."""
        return self._part.place.offset

    def read(self) -> bytes:
        """The next bytes of the current content; b"" if there are none now."""
        if self.is_complete:
            return b""
        self._failure = None
        try:
            data = self._next()
            error = self._failure
        except OSError as raised:
            data, error = b"", raised
        if error is not None and not self._follow:
            raise error
        self._note_problem(f"{self.path}: {error.strerror or error}; trying again" if error else "")
        self.is_at_end = not data
        return data

    def advance(self) -> None:
        """Continue with the next content, once this one is complete."""
        assert self._known is not None
        part = self._part
        self._known = [place for place in self._known if place is not part.origin]
        if part.place.offset:
            part.origin = replace(part.place, is_read=True, known=None)
            self._known.append(part.origin)
        if not self._is_lost and _inode_of(self.path) == part.place.inode:
            self._queue.append(part)
        else:
            part.close()
        self._part = self._queue.pop(0)
        self._begin_part()
        self.is_complete, self.is_at_end, self._is_lost, self._look_at = False, False, False, 0.0
        self._settled.clear()
        self.rotation += 1

    def place(self, offset: int) -> FilePlace:
        """The position of an offset up to which everything was used: that of a line not before the last block."""
        part, known = self._part.place, None if self._known is None else tuple(self._known)
        first = part.offset - len(self._recent)
        tail = self._recent[max(offset - TAIL_BYTES - first, 0) : max(offset - first, 0)]
        if offset == self._line[0]:
            tail = self._line[1]
        return replace(part, offset=offset, tail=tail, head=part.head[:offset], known=known)

    def n_unread(self) -> int:
        """The number of bytes that are there and were not read yet."""
        total = 0
        for part in [self._part, *self._queue]:
            with contextlib.suppress(OSError):
                total += max(part.status().st_size - part.place.offset, 0) if part.number is not None else 0
        return total

    def close(self) -> None:
        """Close all files."""
        for part in [self._part, *self._queue]:
            part.close()

    def _begin(self, known: tuple[FilePlace, ...] | None) -> None:
        """Open the file, if it is there, and know the rotated ones that were there before, whatever they are named."""
        named = {_inode_of(self.path)}  # what had the name while this begins is to be read
        listed = self._rotated()[0]
        for _ in range(MAX_LOOKS):
            named.add(_inode_of(self.path))
            before, listed = listed, self._rotated()[0]
            if _keys(before) == _keys(listed):
                break
        self._open_first()
        self._begin_part()
        self._known = list(known or ())
        if known is not None:
            return
        inodes = {status.st_ino for _, status in listed} - (set() if self._from_end else named)
        for _ in range(MAX_LOOKS):
            self._known += self._ends([(path, status) for path, status in listed if status.st_ino in inodes])
            before, listed = listed, self._rotated()[0]
            if _keys(before) == _keys(listed):
                return

    def _open_first(self) -> None:
        try:
            self._part = _Part.opened(self.path)
            if self._from_end:
                self._part.place = self._part.end()
        except OSError as error:
            if not self._follow:
                raise
            self._part = _Part(self.path, None, FilePlace(0, 0, b""))
            self._is_from_end_later = self._from_end and not isinstance(error, FileNotFoundError | IsADirectoryError)
            self._note_problem(f"{self.path}: {error.strerror or error}; trying again")

    def _ends(self, listed: list[tuple[str, os.stat_result]]) -> list[FilePlace]:
        """The ends of files that are not to be read; of those that cannot be read, the inode and the time."""
        ends = []
        for path, status in listed:
            try:
                part = _Part.opened(path)
            except OSError:
                ends.append(FilePlace(status.st_ino, 0, b"", status.st_mtime_ns, is_read=False))
                continue
            if part.place.inode != self._part.place.inode and part.seen is not None:
                ends.append(replace(part.seen, is_read=False))
            part.close()
        return ends

    def _begin_part(self) -> None:
        """Remember the bytes before the position, for `place`."""
        place = self._part.place
        self._recent, self._line = place.tail, (place.offset, place.tail)

    def _next(self) -> bytes:
        """The next bytes, after a look if there may be others before them."""
        part, now = self._part, clock()
        data, is_intact = self._block(part)
        self._watch_sizes(now)
        if self._must_look(part, data, is_intact, now):
            self._look()
        if self._part is not part:
            return b""
        if data:
            self._take(part, data)
        elif self._queue and (is_intact or self._is_lost):
            self._leave_if_complete(part, now)
        return data

    def _block(self, part: _Part) -> tuple[bytes, bool]:
        """What follows in the file, and whether it still has the content that was read."""
        place = part.place
        if part.number is None:
            return b"", False
        try:
            block = part.read(BLOCK + len(place.tail), place.offset - len(place.tail))
            if block.startswith(place.tail) and part.read(len(place.head), 0) == place.head:  # in this order: see above
                return block[len(place.tail) :], True
        except OSError as error:
            self._failure = error
        return b"", False

    def _must_look(self, part: _Part, data: bytes, is_intact: bool, now: float) -> bool:
        if not self._follow and self._known is not None and is_intact and part.path == self.path:
            return False
        if now >= self._look_at or (data and not part.place.offset):
            return True
        if part.number is not None and not is_intact:
            return True
        try:
            inode = status_of(self.path).st_ino
        except FileNotFoundError:
            return False
        return inode not in [each.place.inode for each in (part, *self._queue)]

    def _take(self, part: _Part, data: bytes) -> None:
        """Go on behind the data."""
        place = part.place
        end, first = self._recent.rfind(b"\n") + 1, place.offset - len(self._recent)
        if end and first + end > self._line[0]:  # where the line begins that the data continue
            self._line = (first + end, self._recent[max(end - TAIL_BYTES, 0) : end])
        self._recent = place.tail + data
        head = place.head + data[: HEAD_BYTES - len(place.head)] if len(place.head) == place.offset else place.head
        offset, modified = place.offset + len(data), part.status().st_mtime_ns
        part.place = replace(place, offset=offset, tail=self._recent[-TAIL_BYTES:], head=head, modified=modified)

    def _leave_if_complete(self, part: _Part, now: float) -> None:
        """See whether it is time to leave the current content, of which everything was read, for the next one."""
        if self._is_lost:
            what = f"{self.path} was truncated; anything added to it after byte {self.offset:,} was not found"
            if part.number is None:
                what = f"{self.path}: the file that was read up to byte {self.offset:,} is gone, or was changed "
                what += "before that; reading what is there now"
            self.notes.append(what)
            self.is_complete = True
        elif not self._is_waiting() and part.is_intact() and (not self._follow or now - part.since >= ROTATE_SECONDS):
            is_named = _inode_of(self.path) == part.place.inode
            if is_named and part.place.offset and not part.place.tail.endswith(b"\n"):
                return
            what = "something was added to a file that was replaced" if is_named else "was replaced"
            self.notes.append(
                f"{self.path}{':' if is_named else ''} {what}{'' if is_named else '; all of the old file was read'}"
            )
            self.is_complete = True

    def _watch_sizes(self, now: float) -> None:
        """Note which of the files have changed."""
        for part in [self._part, *self._queue]:
            with contextlib.suppress(OSError):
                size = part.status().st_size if part.number is not None else part.size
                if size != part.size:
                    part.size, part.since = size, now

    def _look(self) -> None:
        """Find the files that hold what was not read, and the order in which to read them."""
        self._look_at = clock() + LOOK_SECONDS
        for _ in range(MAX_LOOKS):
            was_intact, listing = self._part.is_intact(), self._listed()
            files, unreadable = self._opened(listing.files)
            try:
                is_steady = self._listed().identities() == listing.identities()
                if is_steady and self._part.is_intact() == was_intact:
                    self._judge(files, listing, unreadable)
                    return
            finally:
                for part in files:
                    if part is not self._part and part not in self._queue:
                        part.close()
        raise OSError(errno.EAGAIN, "files are renamed all the time")

    def _rotated(self) -> tuple[list[tuple[str, os.stat_result]], bool]:
        """The rotated files, oldest first, and whether their folder can be listed."""
        try:
            return [each for each in rotated_files(self.path) if os.path.realpath(each[0]) not in self._others], True
        except PermissionError:
            return [], False

    def _listed(self) -> _Listing:
        rotated, is_whole = self._rotated()
        try:
            status = status_of(self.path)
        except FileNotFoundError:
            return _Listing(rotated, 0, is_whole)
        return _Listing([*rotated, (self.path, status)], status.st_ino, is_whole)

    def _opened(self, listed: list[tuple[str, os.stat_result]]) -> tuple[list[_Part], set[int]]:
        """The files that may hold anything new, each once, the name last; and the inodes of unreadable ones."""
        files: dict[int, _Part] = {}
        unreadable = set()
        for path, status in reversed(listed):
            if status.st_ino in files or (path != self.path and _key(status) in self._settled):
                continue
            try:
                part = _Part.opened(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                if path == self.path:
                    self._failure = error
                unreadable.add(status.st_ino)
                continue
            if part.place.inode in files:
                part.close()
            else:
                files[part.place.inode] = part
        return list(reversed(files.values())), unreadable

    def _judge(self, files: list[_Part], listing: _Listing, unreadable: set[int]) -> None:
        """Bring the parts up to date with the files that there are; those of `unreadable` cannot be read now."""
        part, named = self._part, listing.named
        if self._known is None:
            self._known = self._known_to_1_0(files, named)
        self._check_waiting(files)
        if part.number is None and not part.place.offset:
            part = self._part = _Part(self.path, None, FilePlace(0, 0, b""))
            self._begin_part()
        is_intact = part.is_intact()
        if part.place.offset and not is_intact:
            is_intact = self._continue_elsewhere(part, files)
        is_current = is_intact and bool(part.place.offset) and named == part.place.inode
        parts = self._waiting(with_current=is_intact)
        found = self._unread(files, listing, parts, unreadable, is_current=is_current)
        found = self._without_copies(found)
        parts = [*self._waiting(with_current=False), *found]
        if found:  # else the order stays: writers may still change the times
            parts.sort(key=_age)
        self._queue = sorted(parts, key=lambda each: each.place.inode == named)
        if not part.place.offset and self._queue:
            self._part = self._queue.pop(0)
            if self._part is not part:
                self._begin_part()
        self._is_lost = bool(part.place.offset) and not is_intact and not self._is_waiting()

    def _check_waiting(self, files: list[_Part]) -> None:
        """Close the parts that have another content than at the last look; note what is in no file any more."""
        for part in self._waiting(with_current=False):
            seen, part.seen = part.seen, part.end()
            if seen is None or (part.holds(seen) if seen.offset else not part.seen.offset):
                continue
            lost = seen.offset - part.place.offset
            if lost > 0 and not any(each.holds(seen) for each in (*files, *self._waiting(with_current=True))):
                self.notes.append(
                    f"{self.path} was truncated; {lost:,} bytes of it that had not been read were not found"
                )
            part.close()
        self._queue = [part for part in self._queue if part.number is not None]

    def _continue_elsewhere(self, part: _Part, files: list[_Part]) -> bool:
        """Continue in another file that has the content of the part. Returns whether there is one."""
        holders = [each for each in files if each.holds(part.place)]
        if not holders:
            return False
        best = max(holders, key=lambda each: (each.place.inode == part.place.inode, each.size))
        if part.number is not None and best.place.inode != part.place.inode:
            self.notes.append(f"{self.path} was truncated; its copy is read to the end")
        number = best.duplicate()
        part.close()
        part.number, part.path, part.since = number, best.path, clock()
        place = part.place if part.place.head else replace(part.place, head=best.read(min(HEAD_BYTES, self.offset), 0))
        part.place = replace(place, inode=best.place.inode)
        return True

    def _wait_for(self, inodes: set[int]) -> None:
        """Note since when the files that may hold what is to be read cannot be read."""
        now = clock()
        self._unreadable = {inode: self._unreadable.get(inode, now) for inode in inodes}

    def _is_waiting(self) -> bool:
        """Whether a file that cannot be read is waited for."""
        return any(clock() - since < FAILED_SECONDS for since in self._unreadable.values())

    def _waiting(self, *, with_current: bool) -> list[_Part]:
        """The open parts; the current one if nothing of it was read, or if asked for."""
        is_included = with_current or not self._part.place.offset
        return [part for part in ([self._part] if is_included else []) + self._queue if part.number is not None]

    def _unread(
        self, files: list[_Part], listing: _Listing, parts: list[_Part], unreadable: set[int], *, is_current: bool
    ) -> list[_Part]:
        """The files of which something is to be read, with the place from which on, beside those that are parts."""
        assert self._known is not None
        own = {part.place.inode for part in parts}
        others = [part for part in files if part.place.inode not in own]
        contents = _Contents([self._part.place, *reversed(self._known)], files, self._settled_files(listing))
        origins = [contents.origin(part, is_named=part.place.inode == listing.named) for part in others]
        is_wanted = not is_current or any(place.inode == 0 for place in self._known)
        kinds = self._kinds(listing, dict(zip((part.place.inode for part in others), origins, strict=True)), own)
        found = []
        for part, origin in zip(others, origins, strict=True):
            is_ours = is_wanted and (kinds is None or _kind(part.path, self.path) in kinds)
            is_named = part.place.inode == listing.named
            if origin is not None:
                if is_named or (origin.is_read and part.size > origin.offset):
                    part.origin, part.place = (
                        origin,
                        replace(origin, inode=part.place.inode, modified=part.place.modified),
                    )
                    if not is_named or part.size >= origin.offset:
                        found.append(part)
            elif is_named or (part.size and is_ours):
                found.append(part)
            else:
                self._know(part, is_ours=is_ours, is_noted=is_wanted)
        self._settle(zip(others, origins, strict=True))
        unreadable = unreadable - own
        for path, status in listing.files if is_wanted else []:
            if status.st_ino in unreadable and (kinds is None or _kind(path, self.path) in kinds):
                self._expect(status.st_ino, status.st_mtime_ns)
        if not listing.is_whole and is_wanted:
            self._expect(0)
        self._wait_for(self._missed(listing, unreadable))
        used = [*origins, *self._settled.values(), *(part.origin for part in (self._part, *parts, *found))]
        self._forget(listing, unreadable, used)
        if self._is_from_end_later and found and found[-1].place.inode == listing.named and found[-1].seen is not None:
            found[-1].place, self._is_from_end_later = found[-1].seen, False
        return found

    def _settled_files(self, listing: _Listing) -> dict[int, list[str]]:
        """The paths of the files that were not opened, by `id` of the content that they have."""
        paths: dict[int, list[str]] = {}
        for path, status in listing.files:
            if (place := self._settled.get(_key(status))) is not None:
                paths.setdefault(id(place), []).append(path)
        return paths

    def _kinds(self, listing: _Listing, origins: dict[int, FilePlace | None], own: set[int]) -> set[_Kind] | None:
        """The kinds of names into which this log is rotated; None unless what is being read was renamed or copied."""
        place, kinds, is_shown = self._part.place, set(), False
        for path, status in listing.files:
            inode = status.st_ino
            origin = self._settled.get(_key(status)) or origins.get(inode)
            is_read_now = bool(place.offset) and (inode == place.inode or origin is place)
            if inode != listing.named and (is_read_now or inode in own or (origin is not None and origin.is_read)):
                kinds.add(_kind(path, self.path))
                is_shown = is_shown or is_read_now
        return kinds if is_shown else None

    def _know(self, part: _Part, *, is_ours: bool, is_noted: bool) -> None:
        """Know a file of which nothing is to be read now: an empty one of this log, or another's."""
        assert self._known is not None
        if is_ours:
            self._expect(part.place.inode)
        elif part.size and part.seen is not None:
            self._known.append(replace(part.seen, is_read=False))
            if is_noted:
                self.notes.append(f"{part.path} is not named like the rotated files of {self.path}; it is not read")

    def _expect(self, inode: int, modified: int = 0) -> None:
        """Know a file as one of this log, of which nothing was read; not if it is known as another's since then."""
        assert self._known is not None
        unread = [place for place in self._known if place.inode == inode and not place.offset]
        if not any(place.is_read or place.modified == modified for place in unread):
            self._known.append(FilePlace(inode, 0, b""))

    def _settle(self, judged: Iterable[tuple[_Part, FilePlace | None]]) -> None:
        """Note which files need not be opened as long as they are unchanged. Of a young one, the time says nothing."""
        assert self._known is not None
        known = {id(place) for place in self._known}
        for part, origin in judged:
            is_old = time.time_ns() - part.place.modified > SETTLED_SECONDS * 1e9
            if origin is not None and part.origin is None and is_old and id(origin) in known:
                self._settled[part.place.inode, part.size, part.place.modified] = origin

    def _missed(self, listing: _Listing, unreadable: set[int]) -> set[int]:
        """The inodes of the files that may hold what is to be read and cannot be read; 0 for a folder."""
        assert self._known is not None
        expected = {place.inode for place in self._known if not place.offset and place.is_read}
        missed = expected & (unreadable if listing.is_whole else unreadable | {0})
        return missed | ({listing.named} if self._failure is not None else set())

    def _forget(self, listing: _Listing, unreadable: set[int], used: list[FilePlace | None]) -> None:
        """Forget the oldest contents that no file has any more, and unread files that are gone or were read since."""
        assert self._known is not None
        if not (listing.named and listing.is_whole):
            return
        there, ids = {status.st_ino for _, status in listing.files}, {id(place) for place in used}
        unused = [place for place in self._known if id(place) not in ids and place.inode not in unreadable]
        gone = [place for place in unused if place.offset]
        ended = {id(place) for place in gone[: max(len(gone) - MAX_GONE, 0)]}
        ended |= {id(place) for place in unused if not place.offset and place.inode not in there}
        self._known = [place for place in self._known if id(place) not in ended]

    def _without_copies(self, found: list[_Part]) -> list[_Part]:
        """The files but those whose whole content another one has; of several that are equal the last one is left."""
        waiting = self._waiting(with_current=False)
        kept: list[_Part] = []
        for index, part in enumerate(found):
            others = [*waiting, *found[index + 1 :], *kept]
            is_last = index == len(found) - 1 and part.path == self.path
            if is_last or part.seen is None or not any(_is_copy(part.seen, other) for other in others):
                kept.append(part)
        return kept

    def _known_to_1_0(self, files: list[_Part], named: int) -> list[FilePlace]:
        """The contents that are not to be read after a place of version 1.0: those older than the file of the place."""
        place = self._part.place
        holders = [each for each in files if each.holds(place) and (place.offset or each.place.inode == place.inode)]
        own = next((each for each in holders if each.place.inode == place.inode), None)
        since = own.place.modified if own else place.modified
        known = []
        for part in files:
            is_old = (own is not None and own.place.inode == named) or part.place.modified < since
            if part.seen is not None and part.place.inode != named and part not in holders and part.size:
                known += [replace(part.seen, is_read=False)] if is_old or not (own or place.offset) else []
        return known

    def _note_problem(self, problem: str) -> None:
        """Tell a problem once, as long as it lasts."""
        if problem and problem != self._problem:
            self.notes.append(problem)
        self._problem = problem


@dataclass(frozen=True)
class _Listing:
    """The files that there are.

    files     the rotated ones, oldest first, and the one that has the name, if there is one
    named     the inode of that one; 0 if there is none
    is_whole  whether the rotated ones could be listed
    """

    files: list[tuple[str, os.stat_result]]
    named: int
    is_whole: bool

    def identities(self) -> list[tuple[str, int]]:
        return [(path, status.st_ino) for path, status in self.files]


class _Contents:
    """The contents that are known, to be found by what a file has of them.

    places   up to where they are not to be read, the last one first
    files    the open files
    settled  the paths of others, by `id` of the place whose content they have
    """

    def __init__(self, places: list[FilePlace], files: list[_Part], settled: dict[int, list[str]]) -> None:
        self._files, self._settled = files, settled
        self._by_inode: dict[int, list[FilePlace]] = {}
        self._by_head: dict[bytes, list[FilePlace]] = {}
        for place in places:
            self._by_inode.setdefault(place.inode, []).append(place)
            if place.offset:
                self._by_head.setdefault(place.head, []).append(place)
        self._heads = sorted(self._by_head, key=len, reverse=True)

    def origin(self, part: _Part, *, is_named: bool) -> FilePlace | None:
        """Up to where a file is not to be read; None if its content is unknown.

        What was read from the file itself decides. Of other contents, the longest that the file begins with does,
        unless the file is the beginning of one.
        """
        own = self._by_inode.get(part.place.inode, [])
        for place in own:
            if 0 < place.offset <= part.size and part.holds(place):
                return place
        others = [] if is_named else [each for each in self._alike(part) if each.inode != part.place.inode]
        for place in others:
            if part.size < place.offset and self._is_beginning(part, place):
                return place
        held = [each for each in others if part.size >= each.offset and part.holds(each)]
        held = [each for each in held if not self._is_shorter(each, part)]
        if held:
            return max(held, key=lambda each: each.offset)
        is_same = [each.is_read or each.modified == part.place.modified for each in own]
        return next((each for each, same in zip(own, is_same, strict=True) if same and not each.offset), None)

    def _alike(self, part: _Part) -> list[FilePlace]:
        """The places whose first bytes those of a file may be."""
        head = part.seen.head if part.seen is not None else b""
        if len(head) == HEAD_BYTES:
            heads = [head[:length] for length in range(HEAD_BYTES, -1, -1)]
            return [place for each in heads for place in self._by_head.get(each, [])]
        alike = [each for each in self._heads if each[: len(head)] == head[: len(each)]]
        return [place for each in alike for place in self._by_head[each]]

    def _is_beginning(self, part: _Part, place: FilePlace) -> bool:
        """Whether a file has the beginning of a content, as an unfinished copy of it."""
        end = part.seen
        if end is None or not end.offset or not place.head.startswith(end.head[: len(place.head)]):
            return False
        if end.offset <= len(place.head):
            return True
        for other in self._files:
            if other is not part and other.size > end.offset and other.holds(place) and other.holds(end):
                return True
        return any(_holds_both(path, place, end) for path in self._settled.get(id(place), []))

    def _is_shorter(self, place: FilePlace, copy: _Part) -> bool:
        """Whether the file that the content was read from is there and shorter than what would be a copy of it."""
        original = next((part for part in self._files if part.place.inode == place.inode), None)
        return original is not None and original.holds(place) and original.status().st_size < copy.size


def _holds_both(path: str, first: FilePlace, second: FilePlace) -> bool:
    """Whether a file has the content before two places."""
    try:
        part = _Part.opened(path)
    except OSError:
        return False
    try:
        return part.holds(first) and part.holds(second)
    finally:
        part.close()


def _keys(listed: list[tuple[str, os.stat_result]]) -> list[tuple[str, tuple[int, int, int]]]:
    return [(path, _key(status)) for path, status in listed]


def _key(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


_Kind = tuple[str, bool, bool]


def _kind(path: str, log: str) -> _Kind:
    """How the name of a rotated file is formed: what stands before its number, whether that is a date, and whether it
    stands before the suffix of the log."""
    base, name = Path(log), os.path.basename(path)
    n_same = next(
        (index for index, pair in enumerate(zip(base.name, name, strict=False)) if pair[0] != pair[1]), len(base.name)
    )
    rest = name[n_same:]
    found = re.match(r"(\D*)(\d*)([-_.]\d)?", rest)
    assert found is not None  # it may match nothing
    is_date = len(found[2]) >= 6 or (len(found[2]) == 4 and found[3] is not None)
    return found[1], is_date, bool(base.suffix) and rest.endswith(base.suffix)


def _is_copy(end: FilePlace, other: _Part) -> bool:
    """Whether another file has the whole content of a file that ends there."""
    is_possible = other.seen is None or other.seen.head.startswith(end.head)
    return is_possible and other.holds(end)


def _inode_of(path: str) -> int:
    """The inode of what has this path now; 0 if nothing can be found there."""
    try:
        return status_of(path).st_ino
    except OSError:
        return 0


def _age(part: _Part) -> tuple[int, int, int]:
    """The key by which parts are sorted, oldest first; of equal times, app.log.2 before app.log.1."""
    number = re.search(r"\.(\d{1,3})$", part.path)
    modified = part.status().st_mtime_ns if part.number is not None else 0
    return modified, -int(number[1]) if number else 0, part.place.inode


COMPRESSED = (".gz", ".xz", ".zst", ".bz2")


def rotated_files(path: str, *, compressed: bool = False) -> list[tuple[str, os.stat_result]]:
    """The files into which `path` was rotated, oldest first: app.log.1, app.log-20261126, app-2026-11-26.log.

    compressed  whether compressed ones are among them

    A symbolic link may lead to the folder of a container's pod, or to another file every day: the names are those of
    the link, in its folder, and those of its target, in the target's.
    """
    found: dict[str, os.stat_result] = {}
    for target in dict.fromkeys((os.path.realpath(path), os.path.abspath(path))):
        found |= _rotated_in(Path(target), compressed)
    own = _inode_of(path)
    pairs = [(name, status) for name, status in found.items() if status.st_ino != own]
    return sorted(pairs, key=lambda pair: pair[1].st_mtime_ns)


def _rotated_in(target: Path, compressed: bool) -> dict[str, os.stat_result]:
    """The rotated files of one file, by path. Raises OSError if the folder is there but fails."""
    names = re.compile(
        rf"{re.escape(target.name)}[.-]\d[\w.:-]*|{re.escape(target.stem)}[.-]\d[\w.:-]*{re.escape(target.suffix)}"
    )
    found: dict[str, os.stat_result] = {}
    try:
        entries = sorted(list_folder(target.parent))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    for name in entries:
        plain = name.removesuffix(Path(name).suffix) if name.endswith(COMPRESSED) else name
        if names.fullmatch(plain) and (compressed or plain == name):
            with contextlib.suppress(FileNotFoundError):
                status = status_of(target.parent / name)
                if stat.S_ISREG(status.st_mode):
                    found[str(target.parent / name)] = status
    return found
