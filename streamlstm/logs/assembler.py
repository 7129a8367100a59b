"""From bytes to events.

A `LineSplitter` cuts blocks of bytes into lines, in bounded memory. An `Assembler` makes events of the lines: each is
parsed, the parts of one message are joined, and so are the lines of an event of several lines.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..ranges import Maybe, Text, Whole, check_values
from .formats import CONTAINERS, FORMATS, Event, Fields, Message, detect, parsed
from .timestamps import find_time

MAX_RAW_BYTES = 2**20
"""Of a longer line only the beginning is kept. Messages are truncated further; this is for the JSON around them."""


class RawLine(NamedTuple):
    """A line as it came.

    data      the line with its newline, at most MAX_RAW_BYTES bytes of it
    n_bytes   its length in the input
    """

    data: bytes
    n_bytes: int


class LineSplitter:
    r"""Split blocks of bytes into lines.

    NUL bytes at the beginning of a line are dropped: a file that is truncated while it is written gets a hole there.

    n_nuls  the number of NUL bytes dropped

    >>> splitter = LineSplitter()
    >>> [line.data for line in splitter.feed(b"one\ntw")], [line.data for line in splitter.feed(b"o\nthr")]
    ([b'one\n'], [b'two\n'])
    >>> splitter.rest()
    RawLine(data=b'thr', n_bytes=3)
    """

    def __init__(self, limit: int = MAX_RAW_BYTES) -> None:
        self.n_nuls = 0
        self._limit = limit
        self._parts = bytearray()
        self._n_bytes = 0

    @property
    def n_waiting(self) -> int:
        """The number of bytes since the last newline."""
        return self._n_bytes

    @property
    def is_in_hole(self) -> bool:
        """Whether there were only NUL bytes since the last newline."""
        return self._n_bytes > 0 and not self._parts

    def feed(self, block: bytes) -> Iterator[RawLine]:
        """The lines that end in this block, with their newlines."""
        start = 0
        while (end := block.find(b"\n", start) + 1) > 0:
            if self._n_bytes == 0 and end - start <= self._limit and block[start]:
                yield RawLine(block[start:end], end - start)
            else:
                self._append(block[start:end])
                yield self.rest()
            start = end
        self._append(block[start:])

    def rest(self) -> RawLine:
        """What follows the last newline; the splitter then begins anew."""
        line = RawLine(bytes(self._parts), self._n_bytes)
        self._parts.clear()
        self._n_bytes = 0
        return line

    def _append(self, part: bytes) -> None:
        self._n_bytes += len(part)
        if not self._parts:
            content = part.lstrip(b"\0")
            self.n_nuls += len(part) - len(content)
            part = content
        self._parts += part[: self._limit - len(self._parts)]


MAX_EVENT_LINES, MAX_EVENT_CHARACTERS = 500, 65_536
"""An event of several lines ends before it would have more."""

MAX_RAW_KEPT = 16_384
"""Of a line as it came, at most this many bytes are kept in the event."""

MAX_TIME_CHARACTERS = 100
"""Of a longer time stamp only the beginning is kept: a field of that name may hold anything."""

_OPEN = (Text(), (Whole(), Whole()), Whole(), Whole(), Maybe(Text()), Text())
DESCRIBED = {
    "line": Whole(),
    "offset": Whole(),
    "rotation": Whole(),
    "formats": (str, str),
    "partial": [(Text(), Text(), Maybe(Text()), Text(), bool)],
    "open": Maybe(_OPEN),
    "open_lines": Whole(),
}
"""What `Assembler.describe` returns; see `ranges`."""

IDLE_SECONDS = 1.0
"""An event of several lines ends if no further line comes within this time."""


@dataclass(frozen=True)
class Parsing:
    """How lines become events.

    format       a name of FORMATS, "auto" for what the first line looks like, or two joined by + for messages that
                 have a format of their own, as in "cri+json"
    fields       which fields of a structured line are read
    multiline    an event begins with a line that this regular expression finds; None: each line is an event
    score_times  whether time stamps at the beginning of a message are scored

    Raises ValueError for an unknown format or an invalid regular expression.
    """

    format: str = "auto"
    fields: Fields = field(default_factory=Fields)
    multiline: str | None = None
    score_times: bool = False

    def __post_init__(self) -> None:
        outer, *inner = self.format.split("+")
        known = outer in ("auto", *FORMATS) and (not inner or (outer in CONTAINERS and inner[0] in FORMATS))
        if not known or len(inner) > 1:
            raise ValueError(
                f"the format of a log must be auto, {', '.join(FORMATS)}, or cri or docker with the format of the "
                f"messages, for example cri+json, not {self.format!r}"
            )
        try:
            re.compile(self.multiline or "")
        except re.error as error:
            raise ValueError(f"{self.multiline!r} is not a valid regular expression: {error}") from None


class Assembler:
    r"""Make events of the lines of one file.

    parsing  how
    path     the file; - for stdin

    number, offset  the lines and bytes consumed so far
    n_invalid       lines that were not in the format, and were taken as plain text

    A call of `feed` gives one event at most, after which `describe` tells everything about the lines consumed so far.

    >>> assembler = Assembler(Parsing(multiline=r"^\S"), "app.log")
    >>> lines = [b"error: no\n", b"  at f\n", b"fine\n"]
    >>> [event and event.line for event in [assembler.feed(RawLine(line, len(line))) for line in lines]]
    [None, None, 'error: no\n  at f']
    >>> [event.line for event in assembler.flush()]
    ['fine']
    """

    def __init__(self, parsing: Parsing, path: str) -> None:
        outer, *inner = parsing.format.split("+")
        self._format, self._inner = outer, inner[0] if inner else "auto"
        self._fields, self._score_times, self._path = parsing.fields, parsing.score_times, path
        self._start = re.compile(parsing.multiline) if parsing.multiline is not None else None
        self._partial: dict[str, Message] = {}  # by stream
        self._open: Event | None = None  # an event to which further lines may belong
        self._n_lines = 0  # of the open event
        self._fed = time.monotonic()
        self.number, self.offset, self.rotation, self.n_invalid = 0, 0, 0, 0

    def begin_file(self, rotation: int, offset: int = 0) -> None:
        """Continue with another file of the same path."""
        self.rotation, self.offset, self.number = rotation, offset, 0
        self._partial.clear()

    def feed(self, line: RawLine) -> Event | None:
        """The event that is complete with this line, if there is one."""
        self.number += 1
        self.offset += line.n_bytes
        data = line.data.removesuffix(b"\n").removesuffix(b"\r")
        n_invalid = self.n_invalid
        message = self._message(data.decode("utf-8", "surrogateescape"))
        self.n_invalid = min(self.n_invalid, n_invalid + 1)  # one line, even if its message is not in its format either
        if message is None:
            return None
        event = self._event(message, data[:MAX_RAW_KEPT])
        if self._start is None:
            return event
        self._fed = time.monotonic()
        return self._continue(event)

    def _continue(self, event: Event) -> Event | None:
        """Add to the open event, or open another; returns the one that ends before it."""
        before = self._open
        if before is not None and self._start is not None and not self._start.search(event.line):
            joined = before.line + "\n" + event.line
            if self._n_lines < MAX_EVENT_LINES and len(joined) <= MAX_EVENT_CHARACTERS:
                self._open, self._n_lines = replace(before, line=joined, offset=event.offset), self._n_lines + 1
                return None
        self._open, self._n_lines = event, 1
        return before

    @property
    def is_idle(self) -> bool:
        """Whether there is an open event that got no line for IDLE_SECONDS."""
        return self._open is not None and time.monotonic() - self._fed >= IDLE_SECONDS

    def flush(self) -> Iterator[Event]:
        """The events to which nothing further is to be added."""
        for stream in list(self._partial):
            message = self._inner_message(self._partial.pop(stream))
            event = self._event(message, message.text.encode("utf-8", "surrogateescape")[:MAX_RAW_KEPT])
            if (before := self._continue(event)) is not None:
                yield before
        last, self._open = self._open, None
        if last is not None:
            yield last

    def _message(self, line: str) -> Message | None:
        """The message that is complete with this line, if there is one."""
        if self._format == "auto" and line:
            self._format = detect(line)
        message = self._parsed(self._format, line)
        if self._format not in CONTAINERS:
            return message
        partial = self._partial.pop(message.stream, None)
        if partial is not None:
            text = (partial.text + message.text)[:MAX_EVENT_CHARACTERS]
            message = message._replace(text=text, time=partial.time, key=partial.key)
        if message.is_partial:
            self._partial[message.stream] = message
            return None
        return self._inner_message(message)

    def _inner_message(self, message: Message) -> Message:
        """The message of a container, whose text may have a format of its own."""
        if self._inner == "auto" and message.text:
            self._inner = detect(message.text)
        if self._inner in ("auto", "plain"):
            return message  # with what the container says of it
        inner = self._parsed(self._inner, message.text)
        return inner._replace(time=inner.time or message.time, key=inner.key or message.key)

    def _parsed(self, format: str, line: str) -> Message:
        if format in ("auto", "plain") or not line:
            return Message(line)
        message = parsed(format, line, self._fields)
        if message is None:
            self.n_invalid += 1
            return Message(line)
        return message

    def _event(self, message: Message, raw: bytes) -> Event:
        start, end, stamp = (0, 0, "") if self._score_times else find_time(message.text)
        return Event(
            message.text,
            cut=(start, end),
            number=self.number,
            path=self._path,
            rotation=self.rotation,
            offset=self.offset,
            key=message.key,
            time=(message.time or stamp)[:MAX_TIME_CHARACTERS],
            raw=raw,
        )

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `restore`."""
        opened = self._open
        return {
            "line": self.number,
            "offset": self.offset,
            "rotation": self.rotation,
            "formats": [self._format, self._inner],
            "partial": [list(message) for message in self._partial.values()],
            "open": opened and [opened.line, opened.cut, opened.number, opened.offset, opened.key, opened.time],
            "open_lines": self._n_lines,
        }

    def restore(self, described: dict[str, Any]) -> None:
        """Continue from what `describe` returned. Raises ValueError, with nothing changed, if it is not that."""
        check_values(described, DESCRIBED, "a position")
        partial = [Message(*values) for values in described["partial"]]
        opened = described["open"]
        if opened is not None:
            line, (start, end), number, offset, key, stamp = opened
            if not start <= end <= len(line):
                raise ValueError(f"a time stamp is not a part of its line: {start} to {end}")
            opened = Event(line, (start, end), number, self._path, described["rotation"], offset, key, stamp)
        formats = described["formats"]
        if any(name not in ("auto", *FORMATS) for name in formats):
            raise ValueError(f"{formats} are not known formats")
        self.number, self.offset, self.rotation = (described[name] for name in ("line", "offset", "rotation"))
        if self._format == "auto":
            self._format = formats[0]
        if self._inner == "auto":
            self._inner = formats[1]
        self._partial = {message.stream: message for message in partial}
        self._open, self._n_lines = opened, described["open_lines"]
