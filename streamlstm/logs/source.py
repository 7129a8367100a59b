"""All events of one or several logs, in the order in which they arrive, and the position in the logs.

A `LagMeter` tells how far reading is behind the end of the logs.
"""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..system.process import Interruptible
from .assembler import Assembler, LineSplitter, Parsing, RawLine
from .follow import FilePlace, FollowedFile
from .formats import Event
from .unfollowed import CompressedFile, Pipe, compression_of

MARK_SECONDS = 1.0
"""The least time between two measurements that are kept."""

MAX_MARKS = 1_000
"""The most that are kept; of more, every second one is dropped."""


class Lag(NamedTuple):
    """How far a reader is behind.

    n_bytes  bytes that were written and not read
    n_lines  about as many lines, by the mean length of those read
    seconds  for how long at least the next line has been there
    """

    n_bytes: int
    n_lines: int
    seconds: float


class LagMeter:
    """Measures how long a reader has been behind, from where the end of the input was at which time.

    It needs no time stamps, and a monotonic clock, so that nothing depends on clocks being right.

    >>> meter = LagMeter()
    >>> meter.measure(n_read=0, n_unread=1000, n_lines=0, now=0.0)
    Lag(n_bytes=1000, n_lines=10, seconds=0.0)
    >>> meter.measure(n_read=500, n_unread=900, n_lines=50, now=30.0)
    Lag(n_bytes=900, n_lines=90, seconds=30.0)
    >>> meter.measure(n_read=1400, n_unread=0, n_lines=140, now=40.0).seconds
    0.0
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()  # a time, and where the end was then

    def measure(self, n_read: int, n_unread: int, n_lines: int, now: float) -> Lag:
        """The lag now.

        n_read    the number of bytes read so far
        n_unread  the number of bytes that are there and were not read
        n_lines   the number of lines read so far
        now       in seconds
        """
        end = n_read + n_unread
        marks = self._marks
        while marks and marks[0][1] <= n_read:
            marks.popleft()
        if n_unread and (not marks or (end > marks[-1][1] and now - marks[-1][0] >= MARK_SECONDS)):
            marks.append((now, end))
        if len(marks) > MAX_MARKS:
            self._marks = marks = deque(list(marks)[::2])
        mean = n_read / n_lines if n_lines else 100.0
        return Lag(n_unread, -(-n_unread // max(int(mean), 1)), now - marks[0][0] if n_unread and marks else 0.0)


POLL_SECONDS = 0.1
"""How often a followed file is checked for new bytes."""

TICK_SECONDS = 1.0
"""How often a pipe without input returns control."""


class Source:
    """The events of logs.

    paths      files, read one after the other or, if they are followed, in turn; - for stdin
    parsing    how lines become events
    control    ends the events when a signal comes
    follow     whether to wait for more at the end of the files
    from_end   begin at the end of the files, if they are followed
    described  what `describe` returned; reading continues there

    notes      messages for the user; the caller removes those that it has shown

    Raises ValueError for stdin or a compressed file that is to be followed, and for a description that is not valid.
    """

    def __init__(
        self,
        paths: list[str],
        parsing: Parsing,
        control: Interruptible,
        *,
        follow: bool = False,
        from_end: bool = False,
        described: dict[str, Any] | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._paths, self._parsing, self._control = paths, parsing, control
        self._follow, self._from_end = follow, from_end
        self._described: dict[str, Any] = dict(described or {})
        self._inputs: list[_Input] = []
        self._meter = LagMeter()
        self._n_bytes, self._n_lines, self._n_invalid = 0, 0, 0  # of finished files
        self._waited = time.monotonic()  # when a pipe had nothing to read
        if follow:
            for path in paths:
                is_new = path not in self._described  # else what has the name of a followed file now is waited out
                if path == "-" or (is_new and os.path.exists(path) and (not _is_regular(path) or _is_compressed(path))):
                    name = "stdin" if path == "-" else path
                    raise ValueError(f"{name} cannot be followed; only uncompressed files can")
            names = _names(paths)
            self._inputs = [
                self._opened(*each) for each in zip(paths, names, strict=True)
            ]  # so that a first `describe` knows the files

    def events(self) -> Iterator[Event | None]:
        """The events, until the end or a signal; None when there is nothing to read for the moment.

        After each, `describe` tells where reading would continue.
        """
        if self._follow:
            yield from self._followed()
            return
        for path, name in zip(self._paths, _names(self._paths), strict=True):
            try:
                source = self._opened(path, name)
            except OSError as error:
                self.notes.append(f"{path}: {error.strerror or error}; skipped")
                continue
            self._inputs = [source]
            yield from self._until_end(source)
            if self._control.interrupted:
                return
            self._described[name] = source.describe()
            self._n_bytes, self._n_lines, self._n_invalid = self.n_bytes, self.n_lines, self.n_invalid
            self._inputs = []
            source.file.close()

    def describe(self) -> dict[str, Any]:
        """How far each file was used."""
        for source in self._inputs:
            if not isinstance(source.file, Pipe):
                self._described[source.name] = source.describe()
        return dict(self._described)

    @property
    def n_bytes(self) -> int:
        """The number of bytes used so far."""
        return self._n_bytes + sum(source.n_bytes for source in self._inputs)

    @property
    def n_unread(self) -> int:
        """The number of bytes of the open files, compressed if they are, that were not read."""
        return sum(source.file.n_unread() for source in self._inputs)

    @property
    def read_paths(self) -> list[str]:
        """The followed files of which everything was read that is there now."""
        return [source.path for source in self._inputs if self._follow and not source.n_unread]

    @property
    def n_lines(self) -> int:
        """The number of lines used so far."""
        return self._n_lines + sum(source.n_lines for source in self._inputs)

    @property
    def n_invalid(self) -> int:
        """The number of lines that were not in the format of their file, and were read as plain text."""
        return self._n_invalid + sum(source.assembler.n_invalid for source in self._inputs)

    def lag(self) -> Lag | None:
        """How far reading is behind the end of the followed files; None if they are not followed."""
        if not self._follow:
            return None
        n_unread = sum(source.n_unread for source in self._inputs)
        return self._meter.measure(self.n_bytes, n_unread, self.n_lines, time.monotonic())

    def busy_seconds(self) -> float:
        """How long a pipe has not been empty: if long, its writer probably waits for the reader. 0 for files."""
        is_live = any(isinstance(source.file, Pipe) and source.file.is_live for source in self._inputs)
        return time.monotonic() - self._waited if is_live else 0.0

    def _opened(self, path: str, name: str) -> _Input:
        described = self._described.get(name)
        try:
            place = FilePlace.from_description(described["place"]) if described else None
            assembler = Assembler(self._parsing, path)
            if described:
                assembler.restore(described)
        except ValueError as error:
            raise ValueError(f"the saved position in {path} is not valid: {error}") from None
        if not self._follow and not (place is not None and not os.path.exists(path)):
            if path == "-" or not _is_regular(path):
                return _Input(name, Pipe(path, self._control), Assembler(self._parsing, path))
            if compression := compression_of(path):
                return _Input(name, CompressedFile(path, compression, place, assembler.rotation), assembler)
        file = FollowedFile(
            path,
            follow=self._follow,
            place=place,
            rotation=assembler.rotation,
            from_end=self._from_end,
            others=tuple(self._paths),
        )
        return _Input(name, file, assembler)

    def _until_end(self, source: _Input) -> Iterator[Event | None]:
        while not self._control.interrupted:
            if isinstance(source.file, Pipe):
                yield from self._wait(source, source.file)
            yield from source.read(self._control)
            self._take_notes(source)
            if source.file.is_at_end and not source.file.is_complete:
                if not self._control.interrupted:
                    yield from source.finish()
                return

    def _wait(self, source: _Input, pipe: Pipe) -> Iterator[Event | None]:
        """Wait until the pipe has something to read, or a signal comes."""
        if pipe.is_ready(0.0):
            return
        self._waited = time.monotonic()
        yield None
        while not pipe.is_ready(TICK_SECONDS) and not self._control.interrupted:
            if source.assembler.is_idle:
                yield from source.assembler.flush()
            yield None
        self._waited = time.monotonic()

    def _followed(self) -> Iterator[Event | None]:
        while not self._control.interrupted:
            is_idle = True
            for source in self._inputs:
                before = source.file.rotation, source.file.offset
                yield from source.read(self._control)
                self._take_notes(source)
                if self._control.interrupted:
                    return
                if before != (source.file.rotation, source.file.offset):
                    is_idle = False
                elif source.assembler.is_idle:
                    yield from source.assembler.flush()
            if is_idle:
                yield None
                self._control.wait(POLL_SECONDS)

    def _take_notes(self, source: _Input) -> None:
        self.notes += source.file.notes
        source.file.notes.clear()
        splitter = source.splitter
        if splitter.n_nuls >= 2 * source.n_nuls_told + 1 and not splitter.is_in_hole:
            source.n_nuls_told = splitter.n_nuls
            self.notes.append(f"{source.path}: skipped {splitter.n_nuls:,} NUL bytes at the beginning of lines")


class _Input:
    """One log: its bytes, its lines, and its events; `name` is that of its position."""

    def __init__(self, name: str, file: FollowedFile | Pipe | CompressedFile, assembler: Assembler) -> None:
        self.name, self.file, self.assembler, self.splitter = name, file, assembler, LineSplitter()
        self.path = file.path
        self.n_bytes, self.n_lines, self.n_nuls_told = 0, 0, 0
        self._offset = file.offset  # up to which the splitter was fed
        if (file.rotation, file.offset) != (assembler.rotation, assembler.offset):
            self._begin_file(file.offset)

    @property
    def n_unread(self) -> int:
        """The number of bytes that are there and were not used."""
        return self.file.n_unread() + max(self.file.offset - self.assembler.offset, 0)

    def read(self, control: Interruptible) -> Iterator[Event]:
        """The events that end in the next block of bytes, until a signal."""
        data = self.file.read()
        begin = self.file.offset - len(data)
        if begin != self._offset:  # before anything of a file was read, another was found that comes before it
            self._begin_file(begin)
        self._offset = self.file.offset
        for line in self.splitter.feed(data):
            if (event := self._event(line)) is not None:
                yield event
                if control.interrupted:
                    return
        if self.file.is_complete:
            yield from self.finish()
            self.file.advance()
            self._begin_file(self.file.offset)

    def finish(self) -> Iterator[Event]:
        """The last events of a file."""
        rest = self.splitter.rest()
        if rest.n_bytes and (event := self._event(rest)) is not None:
            yield event
        yield from self.assembler.flush()

    def _event(self, line: RawLine) -> Event | None:
        self.n_bytes, self.n_lines = self.n_bytes + line.n_bytes, self.n_lines + 1
        return self.assembler.feed(line)

    def _begin_file(self, offset: int) -> None:
        self.assembler.begin_file(self.file.rotation, offset)
        self._offset = offset
        self.splitter, self.n_nuls_told = LineSplitter(), 0

    def describe(self) -> dict[str, Any]:
        """How far the log was used."""
        return {**self.assembler.describe(), "place": self.file.place(self.assembler.offset).describe()}


def _names(paths: list[str]) -> list[str]:
    """What the positions in the files are saved under: the path; for a file that was named before, also how often."""
    return [f"{path}\0{n}" if (n := paths[:index].count(path)) else path for index, path in enumerate(paths)]


def _is_compressed(path: str) -> bool:
    """Whether a file is compressed; one that cannot be read now may be readable later, and is not."""
    try:
        return bool(compression_of(path))
    except OSError:
        return False


def _is_regular(path: str) -> bool:
    """Whether a path is that of a regular file; also true if there is nothing, so that opening it tells why."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a directory; name a file, or - for stdin")
    return stat.S_ISREG(mode)
