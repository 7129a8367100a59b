"""Ended sessions as text for people or as JSON."""

from __future__ import annotations

from typing import Any

from ..logs.event import Event
from ..logs.lag import Lag
from ..watch.sessions import EndedSession
from .escape import json_object
from .lines import FORMATS, SCHEMA, BinaryOutput, StatusLine, shown

HEADER = "    lines      bits        z    session\n"


def format_session_json(session: EndedSession, event: Event, lag: Lag | None = None) -> str:
    r"""A JSON object on one line, with its newline; see `json_object`.

    event  after which the session had ended
    lag    how far reading is behind; None if it is not known

    >>> session = EndedSession("a", 18.5, 12.25, 6.25, 0.0, ["new: # is full"], 4, z=8.1, flagged=True)
    >>> print(format_session_json(session, Event("b", number=7, offset=9)), end="")
    {"version": 1, "session": "a", "score": 18.5, "content": 12.25, "number": 6.25, "order": 0.0, "z": 8.1, "probability": null, "flagged": true, "raised": false, "seen_before": 0, "reasons": ["new: # is full"], "n_lines": 4, "time": "", "path": "-", "line": 7, "rotation": 0, "offset": 9, "lag_lines": null, "lag_seconds": null}
    """  # noqa: E501
    record = {
        "version": SCHEMA,
        "session": session.session,
        "score": session.score,
        "content": session.content,
        "number": session.number,
        "order": session.order,
        "z": session.z,
        "probability": session.probability,
        "flagged": session.flagged,
        "raised": session.raised,
        "seen_before": session.n_before,
        "reasons": session.reasons,
        "n_lines": session.n_lines,
        "time": event.time,
        "path": event.path,
        "line": event.number,
        "rotation": event.rotation,
        "offset": event.offset,
        "lag_lines": lag and lag.n_lines,
        "lag_seconds": lag and round(lag.seconds, 3),
    }
    return json_object(record) + "\n"


def format_session(session: EndedSession, *, terminal: bool = False) -> str:
    r"""Aligned columns, with a newline: number of lines, bits, z, `!` if it is raised, the session, and the reasons.

    terminal  whether to escape what is not printable, because it could control the terminal

    >>> session = EndedSession("a", 18.5, 12.25, 6.25, 0.0, ["new: # is full", "0 × # ends"], 4, 8.1, True, True)
    >>> print(format_session(session), end="")
            4      18.5      8.1  ! a  (new: # is full; 0 × # ends)
    """
    text = session.session
    if session.reasons and (session.flagged or session.raised):
        text += f"  ({'; '.join(session.reasons)})"
    if session.n_before:
        text += f"  (seen {session.n_before:,} more {'time' if session.n_before == 1 else 'times'} before)"
    mark = "!" if session.raised else " "
    return f"{session.n_lines:>9} {session.score:>9.1f} {session.z:>8.1f}  {mark} {shown(text, terminal)}\n"


class SessionPrinter:
    """Write ended sessions to a file: the alarms, or all.

    out     a binary file; on a terminal, characters that are not printable are escaped
    format  "text" (see `format_session`) or "jsonl" (see `format_session_json`)
    all     whether to write all sessions, not only alarms
    status  a status line on the same terminal, which is cleared before anything is written

    Raises ValueError for an unknown format.
    """

    def __init__(
        self, out: BinaryOutput, format: str = "text", *, all: bool = False, status: StatusLine | None = None
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format must be {' or '.join(FORMATS)}, not {format!r}")
        self._out, self._is_text, self._all, self._status = out, format == "text", all, status

    def write_header(self) -> None:
        """Write the names of the columns, if the format has any, and flush."""
        if self._is_text:
            self._put(HEADER)
        self.flush()

    def write(self, session: EndedSession, event: Event, lag: Lag | None = None) -> None:
        """Take a session that has ended, and write it if it is to be shown."""
        if session.raised or self._all:
            is_terminal = self._out.isatty()
            is_text = self._is_text
            self._put(
                format_session(session, terminal=is_terminal) if is_text else format_session_json(session, event, lag)
            )

    def flush(self) -> None:
        """Flush the file."""
        self._out.flush()

    def describe(self) -> dict[str, Any]:
        """It has no state."""
        return {}

    def restore(self, described: dict[str, Any]) -> None:
        """It has no state."""

    def _put(self, text: str) -> None:
        if self._status is not None:
            self._status.clear()
        self._out.write(text.encode("utf-8", "surrogateescape"))
