"""Watched lines, ended sessions and kinds of lines, each as text for people or as JSON; and a status line."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TextIO

from ..logs.formats import Event
from ..logs.source import Lag
from ..ranges import Text, Whole, check_values
from ..watch.sessions import EndedSession
from ..watch.surprising import SurprisingLine
from ..watch.watcher import WatchedLine
from .escape import display_width, json_object, terminal_text

FORMATS = ("text", "jsonl")
SCHEMA = 1
"""The version of the JSON records."""

DESCRIBED = {"before": [(Text(), Whole(), Text())], "after": Whole(), "last": (Text(), Whole()), "n_lines": Whole()}
"""What `LinePrinter.describe` returns; see `ranges`."""

SESSION_HEADER = "    lines      bits        z    session\n"
HEADER = "     line  bits_per_char        z    text\n"

_HIGHLIGHT, _RESET = "\x1b[1;31m", "\x1b[0m"
_CLEAR = "\r\x1b[K"


def format_json(line: WatchedLine, event: Event, lag: Lag | None = None) -> str:
    r"""A JSON object on one line, with its newline; see `json_object`.

    The field `version` is SCHEMA. Fields may be added to a version; a field that changes its meaning or is removed
    makes a new one.

    lag  how far reading is behind; None if it is not known

    >>> print(format_json(WatchedLine("door é\x9b", 2.5, 0.1, False, [], "", []), Event("door", number=7, offset=9)), end="")
    {"version": 1, "line": 7, "text": "door é\u009b", "time": "", "score": 0.1, "bits_per_char": 2.5, "probability": null, "flagged": false, "raised": false, "seen_before": 0, "spans": [], "kind": "door é\u009b", "read": "full", "key": "", "session": null, "path": "-", "rotation": 0, "offset": 9, "lag_lines": null, "lag_seconds": null, "id": "469b768df61d813c", "verdict": null, "reason": null}
    """  # noqa: E501
    record = {
        "version": SCHEMA,
        "line": event.number,
        "text": line.text,
        "time": event.time,
        "score": line.z,
        "bits_per_char": line.bits_per_char,
        **_judged(line),
        "spans": line.spans,
        "kind": line.kind,
        "read": "familiar" if line.is_familiar else "full",
        "key": line.key,
        "session": None,
        "path": event.path,
        "rotation": event.rotation,
        "offset": event.offset,
        **_lag(lag),
        **_answered(line),
        "reason": line.reason or None,
    }
    return json_object(record) + "\n"


def _answered(found: WatchedLine | EndedSession) -> dict[str, Any]:
    return {"id": found.id, "verdict": found.verdict or None}


def _judged(found: WatchedLine | EndedSession) -> dict[str, Any]:
    return {
        "probability": found.probability,
        "flagged": found.flagged,
        "raised": found.raised,
        "seen_before": found.n_before,
    }


def _lag(lag: Lag | None) -> dict[str, Any]:
    return {"lag_lines": lag and lag.n_lines, "lag_seconds": lag and round(lag.seconds, 3)}


def _id_of(found: WatchedLine | EndedSession, has_id: bool) -> str:
    return f"  [{found.id}]" if has_id and found.raised else ""


def _seen_before(n: int) -> str:
    return f"  (seen {n:,} more {'time' if n == 1 else 'times'} before)" if n else ""


def format_line(
    line: WatchedLine, event: Event, *, terminal: bool = False, colour: bool = False, has_id: bool = False
) -> str:
    r"""Aligned columns, with a newline: number, bits per character, z, `!` if it is raised, and the line as it came.

    terminal  whether to escape what is not printable, because it could control the terminal
    colour    whether to colour the spans; otherwise a second row marks them with `^`. Needs `terminal`.
    has_id    whether to write the id of an alarm behind it

    A newline inside an event is shown as `\n`. A byte that is not valid UTF-8 appears as Python's `surrogateescape`
    decodes it: encode the result in the same way.

    >>> line = WatchedLine("open the door", 6.5, 9.3, True, [(9, 13)], "", [], raised=True, n_before=3)
    >>> print(format_line(line, Event("open the door", number=7)), end="")
            7         6.5000      9.3  ! open the door  (seen 3 more times before)
                                                  ^^^^
    """
    margin = f"{event.number:>9}  {line.bits_per_char:>13.4f} {line.z:>8.1f}  {'!' if line.raised else ' '} "
    before, after = (_HIGHLIGHT, _RESET) if terminal and colour else ("", "")
    text, spans = _full_text(line, event), event.shown_spans(line.spans)
    parts, end = [margin], 0
    for first, last in spans:
        parts += [shown(text[end:first], terminal), before, shown(text[first:last], terminal), after]
        end = last
    parts += [shown(text[end:], terminal), _seen_before(line.n_before), _id_of(line, has_id), "\n"]
    if spans and not before:
        parts.append(_marks(text, spans, " " * len(margin), terminal))
    return "".join(parts)


def _full_text(line: WatchedLine, event: Event) -> str:
    """The text of a line with its time stamp, truncated where the watcher truncated it."""
    start, end = event.cut
    return line.text[:start] + event.line[start:end] + line.text[start:]


def shown(text: str, terminal: bool) -> str:
    """A text on one line: for a terminal what is not printable is escaped, else only newlines."""
    return terminal_text(text) if terminal else text.replace("\n", "\\n")


def _marks(text: str, spans: list[tuple[int, int]], margin: str, terminal: bool) -> str:
    """The row that marks the spans of the line above it."""
    marks, end = margin, 0
    for first, last in spans:
        marks += "".join(_blank(c, terminal) for c in text[end:first])
        marks += "".join("^" * max(len(_blank(c, terminal)), 1) for c in text[first:last])
        end = last
    return marks + "\n"


def _blank(character: str, terminal: bool) -> str:
    """White space as wide as a character is shown; a tab stays a tab."""
    if character == "\t":
        return character
    return " " * display_width(shown(character, terminal))


class StatusLine:
    """The last line of a terminal, rewritten in place a few times a second; does nothing if `out` is not a terminal.

    As a context manager it is cleared at the end.
    """

    def __init__(self, out: TextIO, interval: float = 0.2) -> None:
        self._out, self._interval = out, interval
        self._is_terminal = out.isatty()
        self._is_shown = False
        self._next = 0.0

    def __enter__(self) -> StatusLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    @property
    def is_due(self) -> bool:
        """Whether it is a terminal and the interval since the last `show` is over."""
        return self._is_terminal and time.monotonic() >= self._next

    def show(self, text: str) -> None:
        """Replace the status line."""
        if not self._is_terminal:
            return
        self._out.write(_CLEAR + terminal_text(text))
        self._out.flush()
        self._is_shown, self._next = True, time.monotonic() + self._interval

    def clear(self) -> None:
        """Remove the status line, so that something else can be written."""
        if self._is_shown:
            self._out.write(_CLEAR)
            self._out.flush()
            self._is_shown = False


class BinaryOutput(Protocol):
    """What a printer needs of a binary file."""

    def write(self, data: bytes, /) -> Any:
        """Write bytes."""

    def flush(self) -> Any:
        """Flush."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""


class Printer:
    """What the printers of lines and of sessions share; see `LinePrinter` for the parameters."""

    header: str
    """The names of the columns of the format text."""

    def __init__(
        self,
        out: BinaryOutput,
        format: str = "text",
        *,
        all: bool = False,
        status: StatusLine | None = None,
        has_id: bool = False,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
        self._out, self._is_text, self._all, self._status = out, format == "text", all, status
        self._has_id = has_id
        self._is_terminal = out.isatty()

    def write_header(self) -> None:
        """Write the names of the columns, if the format has any, and flush."""
        if self._is_text:
            self._put(self.header)
        self.flush()

    def flush(self) -> None:
        """Flush the file."""
        self._out.flush()

    def describe(self) -> dict[str, Any]:
        """The state as JSON values, for `restore`; empty if there is none."""
        return {}

    def restore(self, described: dict[str, Any]) -> None:
        """Continue from what `describe` returned. Raises ValueError if it is not that."""

    def _put(self, text: str) -> None:
        if self._status is not None:
            self._status.clear()
        self._out.write(text.encode("utf-8", "surrogateescape"))


class LinePrinter(Printer):
    r"""Write watched lines to a file: the alarms with some context, or all.

    out      a binary file; on a terminal, characters that are not printable are escaped
    format   "text" (see `format_line`) or "jsonl" (see `format_json`)
    all      whether to write all lines, not only alarms
    context  the number of lines to write before and after each alarm
    titles   whether to write the path before the first line of another file than that of the line before it
    colour   whether to colour the spans on a terminal
    status   a status line on the same terminal, which is cleared before anything is written
    has_id   whether to write the id of an alarm behind it, in the format "text"

    Raises ValueError for an unknown format or a negative context.

    >>> import io
    >>> out = io.BytesIO()
    >>> printer = LinePrinter(out, context=1)
    >>> for number, raised in enumerate((False, False, True, False, False), 1):
    ...     line = WatchedLine("door", 1.0, 0.0, raised, [], "", [], raised)
    ...     printer.write(line, Event("door", number=number))
    >>> print(out.getvalue().decode(), end="")
            2         1.0000      0.0    door
            3         1.0000      0.0  ! door
            4         1.0000      0.0    door
    """

    header = HEADER

    def __init__(
        self,
        out: BinaryOutput,
        format: str = "text",
        *,
        all: bool = False,
        context: int = 0,
        titles: bool = False,
        colour: bool = False,
        status: StatusLine | None = None,
        has_id: bool = False,
    ) -> None:
        super().__init__(out, format, all=all, status=status, has_id=has_id)
        if context < 0:
            raise ValueError(f"context must be at least 0, not {context}")
        self._context, self._titles, self._colour = context, titles, colour
        self._before: deque[tuple[str, int, str]] = deque(maxlen=context)  # path, n_lines then, and how it is written
        self._n_after = 0  # lines still to be written after an alarm
        self._n_lines = 0
        self._last = ("", 0)  # path and n_lines of the line written last

    def write(self, line: WatchedLine, event: Event, lag: Lag | None = None) -> None:
        """Take the next line, and write it if it is to be shown, after the context before it."""
        self._n_lines += 1
        is_shown = line.raised or self._all or self._n_after > 0
        if not is_shown and not self._context:
            return
        row = (event.path, self._n_lines, self._formatted(line, event, lag))
        if not is_shown:
            self._before.append(row)
            return
        for earlier in self._before:
            self._put_row(*earlier)
        self._before.clear()
        self._put_row(*row)
        self._n_after = self._context if line.raised else max(self._n_after - 1, 0)

    def describe(self) -> dict[str, Any]:
        """See `Printer`."""
        return {"before": list(self._before), "after": self._n_after, "last": self._last, "n_lines": self._n_lines}

    def restore(self, described: dict[str, Any]) -> None:
        """See `Printer`."""
        check_values(described, DESCRIBED, "what was printed last")
        self._before.extend((path, number, text) for path, number, text in described["before"])
        self._n_after = min(described["after"], self._context)
        path, number = described["last"]
        self._last, self._n_lines = (path, number), described["n_lines"]

    def _formatted(self, line: WatchedLine, event: Event, lag: Lag | None) -> str:
        if self._is_text:
            return format_line(line, event, terminal=self._is_terminal, colour=self._colour, has_id=self._has_id)
        return format_json(line, event, lag)

    def _put_row(self, path: str, number: int, text: str) -> None:
        last_path, last = self._last
        self._last = path, number
        if self._is_text and self._titles and path != last_path:
            self._put(f"==> {shown(path, self._is_terminal)} <==\n")
        elif self._is_text and self._context and path == last_path and last != number - 1:
            self._put("--\n")
        self._put(text)


def format_session_json(session: EndedSession, event: Event, lag: Lag | None = None) -> str:
    r"""A JSON object on one line, with its newline; see `json_object`.

    event  after which the session had ended
    lag    how far reading is behind; None if it is not known

    >>> session = EndedSession("a", 18.5, 12.25, 6.25, 0.0, ["new: # is full"], 4, z=8.1, flagged=True)
    >>> print(format_session_json(session, Event("b", number=7, offset=9)), end="")
    {"version": 1, "session": "a", "score": 18.5, "content": 12.25, "number": 6.25, "order": 0.0, "z": 8.1, "probability": null, "flagged": true, "raised": false, "seen_before": 0, "reasons": ["new: # is full"], "n_lines": 4, "time": "", "path": "-", "line": 7, "rotation": 0, "offset": 9, "lag_lines": null, "lag_seconds": null, "id": "2d029d80b59378ce", "verdict": null}
    """  # noqa: E501
    record = {
        "version": SCHEMA,
        "session": session.session,
        "score": session.score,
        "content": session.content,
        "number": session.number,
        "order": session.order,
        "z": session.z,
        **_judged(session),
        "reasons": session.reasons,
        "n_lines": session.n_lines,
        "time": event.time,
        "path": event.path,
        "line": event.number,
        "rotation": event.rotation,
        "offset": event.offset,
        **_lag(lag),
        **_answered(session),
    }
    return json_object(record) + "\n"


def format_session(session: EndedSession, *, terminal: bool = False, has_id: bool = False) -> str:
    r"""Aligned columns, with a newline: number of lines, bits, z, `!` if it is raised, the session, and the reasons.

    terminal  whether to escape what is not printable, because it could control the terminal
    has_id    whether to write the id of an alarm behind it

    >>> session = EndedSession("a", 18.5, 12.25, 6.25, 0.0, ["new: # is full", "0 × # ends"], 4, 8.1, True, True)
    >>> print(format_session(session), end="")
            4      18.5      8.1  ! a  (new: # is full; 0 × # ends)
    """
    text = session.session
    if session.reasons and (session.flagged or session.raised):
        text += f"  ({'; '.join(session.reasons)})"
    text += _seen_before(session.n_before) + _id_of(session, has_id)
    mark = "!" if session.raised else " "
    return f"{session.n_lines:>9} {session.score:>9.1f} {session.z:>8.1f}  {mark} {shown(text, terminal)}\n"


class SessionPrinter(Printer):
    """Write ended sessions to a file: the alarms, or all.

    out     a binary file; on a terminal, characters that are not printable are escaped
    format  "text" (see `format_session`) or "jsonl" (see `format_session_json`)
    all     whether to write all sessions, not only alarms
    status  a status line on the same terminal, which is cleared before anything is written
    has_id  whether to write the id of an alarm behind it, in the format "text"

    Raises ValueError for an unknown format.
    """

    header = SESSION_HEADER

    def write(self, session: EndedSession, event: Event, lag: Lag | None = None) -> None:
        """Take a session that has ended, and write it if it is to be shown."""
        if not (session.raised or self._all):
            return
        if self._is_text:
            self._put(format_session(session, terminal=self._is_terminal, has_id=self._has_id))
        else:
            self._put(format_session_json(session, event, lag))


KINDS_HEADER = "    count" + HEADER


class Occurrence(NamedTuple):
    """Where a line is, with the lines around it that are shown.

    event    the line
    seconds  its time, or that of the last line before it that has one; None if there is none
    before   the events before it
    after    the events after it, which are added when they are read
    """

    event: Event
    seconds: float | None = None
    before: tuple[Event, ...] = ()
    after: list[Event] | None = None


def format_kind_json(found: SurprisingLine) -> str:
    """A JSON object on one line, with its newline; see `json_object`. The places are `Occurrence`s."""
    line, (event, _, before, after), n_lines = found
    record = {
        "version": SCHEMA,
        "count": n_lines,
        "kind": line.kind,
        "text": line.text,
        "time": event.time,
        "score": line.z,
        "bits_per_char": line.bits_per_char,
        "spans": line.spans,
        "path": event.path,
        "line": event.number,
        "offset": event.offset,
    }
    for name, place in (("first", found.first.event), ("last", found.last.event)):
        record |= {f"{name}_time": place.time, f"{name}_path": place.path, f"{name}_line": place.number}
    if after is not None:
        record |= {"before": [each.line for each in before], "after": [each.line for each in after]}
    return json_object(record) + "\n"


def format_kind(found: SurprisingLine, *, terminal: bool = False, colour: bool = False, has_path: bool = False) -> str:
    """Aligned columns, with a newline: the number of lines of the kind, and then those of `format_line`.

    A further row has the times of the first and the last line of the kind, or without times their numbers.

    terminal  whether to escape what is not printable, because it could control the terminal
    colour    whether to colour the spans; otherwise a second row marks them. Needs `terminal`.
    has_path  whether to write the path behind the line
    """
    line, (event, _, before, after), n_lines = found
    row, *marks = format_line(line, event, terminal=terminal, colour=colour).splitlines(keepends=True)
    path = f"  ({shown(event.path, terminal)})" if has_path else ""
    rows = [f"{n_lines:>9}{row.removesuffix(chr(10))}{path}\n", *(f"{'':>9}{each}" for each in marks)]
    if n_lines > 1:
        first, last = (_when(place.event, terminal) for place in (found.first, found.last))
        rows.append(f"{'':>46}first {first}, last {last}\n")
    rows[:0] = [_context_row(each, terminal) for each in before]
    return "".join([*rows, *(_context_row(each, terminal) for each in after or ())])


def _context_row(event: Event, terminal: bool) -> str:
    return f"{'':>9}{event.number:>9}{'':>28}{shown(event.line, terminal)}\n"


def _when(event: Event, terminal: bool) -> str:
    return shown(event.time, terminal) if event.time else f"in line {event.number}"
