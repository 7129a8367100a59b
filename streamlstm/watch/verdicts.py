"""What a reader of alarms has said of kinds of lines: that a kind is normal, is to be watched, or is muted for a time.

An alarm has an id, which depends on the template and the key of its line and on nothing else. A verdict names an id:
one with the part of the key is for this key, and one without it for all keys. The former comes first.

A file of verdicts has one in each line, as people write it:

    normal 9b3e1c0d2f4a5b67                              # the nightly backup
    watch  9b3e1c0d2f4a5b67.77aa01fe22c8d3b4
    mute   51c20d7be9f0a3c8 until 2026-12-24T06:00       # until the disk is replaced

Of several lines with one id, the last counts. Everything after a `#` that white space precedes is a comment.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from ..ranges import check_values
from ..system.files import naming, write_atomically

DECISIONS = ("normal", "watch", "mute")

MAX_VERDICTS = 100_000
MAX_FILE_BYTES = 1 << 26

_ID = re.compile(r"[0-9a-f]{16}(?:\.[0-9a-f]{16})?")
_LINE = re.compile(r"(?P<decision>\w+)[ \t]+(?P<id>\S+)(?:[ \t]+until[ \t]+(?P<until>\S+))?[ \t]*")
_COMMENT = re.compile(r"(?:^|[ \t])#[ \t]*(.*)")
_CACHED = 10_000

DESCRIBED = [(str, str, str, str)]
"""What `Verdicts.describe` returns; see `ranges`."""


def alarm_id(kind: str, key: str = "") -> str:
    """The id of the alarms of a kind of line and, if it has one, of a key.

    >>> alarm_id("disk # is full"), alarm_id("disk # is full", "web-1")
    ('d63e9e7e4cb41ecf', 'd63e9e7e4cb41ecf.011b87832f454e67')
    """
    return f"{_digest(kind)}.{_digest(key)}" if key else _digest(kind)


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """What is said of a kind of line.

    decision  normal: lines of the kind are never raised; watch: they are always raised; mute: they are not raised until
              a time
    id        as that of an alarm: of one key; or without the part of the key, for all keys
    until     for mute, the end: a date or a date and a time in ISO 8601, local time unless it has a time zone; else ""
    comment   for people

    Raises ValueError for what is not one.

    >>> Verdict("mute", "51c20d7be9f0a3c8", "2026-12-24T06:00").until
    '2026-12-24T06:00'
    """

    decision: str
    id: str
    until: str = ""
    comment: str = ""

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise ValueError(f"a verdict is normal, watch or mute, not {self.decision!r}")
        if _ID.fullmatch(self.id) is None:
            raise ValueError(f"the id of an alarm is 16 hexadecimal digits, for one key twice, not {self.id!r}")
        if (self.decision == "mute") != bool(self.until):
            raise ValueError(f"{self.decision} {'has no' if self.until else 'needs a'} time until which it holds")
        if self.until:
            _seconds(self.until)
        if "\n" in self.comment or "\r" in self.comment:
            raise ValueError("the comment of a verdict is one line")

    @classmethod
    def parse(cls, line: str) -> Verdict | None:
        """The verdict in a line of a file; None for an empty line or a comment. Raises ValueError."""
        found = _COMMENT.search(line)
        content, comment = (line[: found.start()], found[1]) if found else (line, "")
        if not content.strip():
            return None
        match = _LINE.fullmatch(content.strip())
        if match is None:
            raise ValueError("a verdict is `normal ID`, `watch ID` or `mute ID until TIME`, and a comment after ` # `")
        return cls(match["decision"], match["id"], match["until"] or "", comment.strip())

    def line(self) -> str:
        """The verdict as a line of a file, without its newline."""
        until = f" until {self.until}" if self.until else ""
        return f"{self.decision} {self.id}{until}" + (f"  # {self.comment}" if self.comment else "")


def _seconds(until: str) -> float:
    """A time in seconds since 1970. Raises ValueError."""
    try:
        return datetime.fromisoformat(until.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"a time is written as 2026-12-24 or 2026-12-24T06:00, not {until!r}") from None


class Verdicts:
    """The verdicts of a watcher, by the id of the alarms that they are about.

    clock  the time in seconds since 1970, by which a kind is muted

    >>> verdicts = Verdicts()
    >>> verdicts.put(Verdict("normal", alarm_id("disk # is full"), comment="it always is"))
    >>> verdicts.decision("disk # is full", "web-1"), verdicts.decision("disk # is gone", "web-1")
    ('normal', '')
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._by_id: dict[str, Verdict] = {}
        self._ids: dict[tuple[str, str], tuple[str, str]] = {}  # of kinds and keys: hashing takes a microsecond
        self._clock = clock

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> list[Verdict]:
        """All verdicts, in the order in which they were given."""
        return list(self._by_id.values())

    def put(self, verdict: Verdict) -> None:
        """Add a verdict, in place of one with the same id. Raises ValueError if there are too many."""
        if verdict.id not in self._by_id and len(self) >= MAX_VERDICTS:
            raise ValueError(f"there are {MAX_VERDICTS:,} verdicts, which is the most; remove some")
        self._by_id.pop(verdict.id, None)
        self._by_id[verdict.id] = verdict

    def remove(self, id: str) -> None:
        """Remove the verdict with this id, if there is one."""
        self._by_id.pop(id, None)

    def replace(self, verdicts: Iterable[Verdict]) -> None:
        """Let these be all verdicts; of several with one id, the last. Raises ValueError, with nothing changed."""
        new = Verdicts()
        for each in verdicts:
            new.put(each)
        self._by_id = new._by_id

    def decision(self, kind: str, key: str) -> str:
        """What is said of a line of this kind and key now; "" if nothing is."""
        if not self._by_id:
            return ""
        ids = self._ids.get((kind, key))
        if ids is None:
            if len(self._ids) >= _CACHED:
                self._ids.clear()
            ids = self._ids[kind, key] = alarm_id(kind, key), alarm_id(kind)
        for each in ids:
            verdict = self._by_id.get(each)
            if verdict is not None and not (verdict.until and self._clock() >= _seconds(verdict.until)):
                return verdict.decision
        return ""

    def describe(self) -> list[list[str]]:
        """The verdicts as JSON values, for `restore`."""
        return [[each.decision, each.id, each.until, each.comment] for each in self._by_id.values()]

    def restore(self, described: list[list[str]]) -> None:
        """Continue from what `describe` returned. Raises ValueError, with nothing changed, if it is not that."""
        check_values(described, DESCRIBED, "the verdicts")
        self.replace(Verdict(*each) for each in described)


def write_verdicts(path: str | os.PathLike[str], verdicts: Iterable[Verdict]) -> None:
    """Write a file of verdicts, whole. Raises OSError, with the file as it was."""
    text = "".join(f"{each.line()}\n" for each in verdicts)
    write_atomically(path, text.encode("utf-8", "surrogateescape"))


class VerdictFile:
    """A file of verdicts that people edit while it is used.

    path   of the file, which need not exist

    notes  messages for the user: lines that are not valid, each said once; the caller removes those that it has shown

    A file that is missing or cannot be read changes nothing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.notes: list[str] = []
        self._read: object = None  # what identified the content that was read last
        self._seen: object = None  # and when it was looked at last
        self._said: set[str] = set()

    def read(self) -> list[Verdict] | None:
        """The verdicts in the file without invalid lines; None if it cannot be read. Both are noted."""
        try:
            with naming(self.path), open(self.path, "rb") as file:
                self._read = self._seen = _identified(os.fstat(file.fileno()))
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            self._say(f"{os.fspath(self.path)}: {error.strerror}; the verdicts stay as they are until it can be read")
            return None
        if len(content) > MAX_FILE_BYTES:
            self._say(f"{os.fspath(self.path)} has more than {MAX_FILE_BYTES:,} bytes; the verdicts stay as they are")
            return None
        return self._parsed(content.decode("utf-8", "surrogateescape"))

    def changed(self) -> list[Verdict] | None:
        """The verdicts in the file, if it is another one than `read` has read; else None.

        An editor may write a file in several steps: it is read once it is the same as at the last call.
        """
        try:
            seen = _identified(os.stat(self.path))
        except OSError:
            seen = None
        before, self._seen = self._seen, seen
        return self.read() if seen not in (None, self._read) and seen == before else None

    def _parsed(self, text: str) -> list[Verdict]:
        found: dict[str, Verdict] = {}
        invalid = set()
        for number, line in enumerate(text.split("\n"), 1):
            try:
                verdict = Verdict.parse(line.rstrip("\r"))
            except ValueError as error:
                message = f"{os.fspath(self.path)}, line {number}: {error}; ignored"
                self._say(message)
                invalid.add(message)
                continue
            if verdict is not None:
                found.pop(verdict.id, None)
                found[verdict.id] = verdict
        self._said = invalid
        if len(found) > MAX_VERDICTS:
            self._say(f"{os.fspath(self.path)} has more than {MAX_VERDICTS:,} verdicts; only the last ones count")
        return list(found.values())[-MAX_VERDICTS:]

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self.notes.append(message)


def _identified(status: os.stat_result) -> tuple[int, ...]:
    """What differs if a file was replaced or written."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
