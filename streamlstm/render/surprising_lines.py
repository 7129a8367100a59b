"""The most surprising kinds of lines as text for people or as JSON."""

from __future__ import annotations

from ..watch.surprising import SurprisingLine
from .escape import json_object
from .lines import HEADER as LINE_HEADER
from .lines import SCHEMA, format_line, shown

HEADER = "    count" + LINE_HEADER


def format_kind_json(found: SurprisingLine) -> str:
    """A JSON object on one line, with its newline; see `json_object`. The place of the line is an `Event`."""
    line, event, n_lines = found
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
    return json_object(record) + "\n"


def format_kind(found: SurprisingLine, *, terminal: bool = False, colour: bool = False, has_path: bool = False) -> str:
    """Aligned columns, with a newline: the number of lines of the kind, and then those of `format_line`.

    terminal  whether to escape what is not printable, because it could control the terminal
    colour    whether to colour the spans; otherwise a second row marks them. Needs `terminal`.
    has_path  whether to write the path behind the line
    """
    line, event, n_lines = found
    row, *marks = format_line(line, event, terminal=terminal, colour=colour).splitlines(keepends=True)
    path = f"  ({shown(event.path, terminal)})" if has_path else ""
    return f"{n_lines:>9}{row.removesuffix(chr(10))}{path}\n" + "".join(f"{'':>9}{each}" for each in marks)
