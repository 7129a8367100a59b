"""Tables of kinds of lines, and of how they differ between two logs: for people (text) or for programs (tsv, jsonl)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..watch.kinds import Change, Kind
from ..watch.verdicts import alarm_id
from .escape import escaped_text, json_object, terminal_text

FORMATS = ("text", "tsv", "jsonl")

SCHEMA = 1
"""The version of the JSON records; fields may be added to it."""

ORDERS: dict[str, Callable[[Kind], tuple[float, ...]]] = {
    "newest": lambda kind: (-kind.first,),
    "rarest": lambda kind: (kind.n_lines, -kind.first),
    "surprising": lambda kind: (-kind.largest_bits, -kind.first),
}
"""What kinds may be sorted by."""


def kinds_table(kinds: Iterable[Kind], format: str, verdict_of: Callable[[str], str], terminal: bool = False) -> str:
    """A table of kinds, one in each row, with a header for text and tsv.

    verdict_of  what a reader has said of a kind; "" for nothing
    terminal    whether to escape what is not printable, for text
    """
    records = [_of_kind(each, verdict_of(each.kind)) for each in kinds]
    widths = {"lines": 9, "keys": 5, "first": 9, "last": 9, "first_time": 23, "last_time": 23}
    widths |= {"mean_bits": 9, "largest_bits": 12, "verdict": 7, "id": 16}
    return _table(list(_of_kind(_NONE, "")), records, format, widths, terminal)


def changes_table(changes: Iterable[Change], format: str, terminal: bool = False) -> str:
    """A table of what differs between two logs, as `kinds_table`."""
    records = [_of_change(each) for each in changes]
    widths = {"change": 6, "lines_before": 12, "lines": 9, "ratio": 8, "p": 8, "first_time": 23, "id": 16}
    return _table(list(_of_change(Change("", _NONE, 0, 0, 0.0, 0.0))), records, format, widths, terminal)


_NONE = Kind("", 0, 0, 0, 0, "", "", 0.0, 0.0, "")


def _of_kind(kind: Kind, verdict: str) -> dict[str, Any]:
    return {
        "lines": kind.n_lines,
        "keys": kind.n_keys,
        "first": kind.first,
        "last": kind.last,
        "first_time": kind.first_time,
        "last_time": kind.last_time,
        "mean_bits": round(kind.mean_bits, 4),
        "largest_bits": round(kind.largest_bits, 4),
        "verdict": verdict or None,
        "id": alarm_id(kind.kind),
        "kind": kind.kind,
        "example": kind.example,
    }


def _of_change(change: Change) -> dict[str, Any]:
    return {
        "change": change.what,
        "lines_before": change.n_before,
        "lines": change.n_now,
        "ratio": round(change.ratio, 4) if change.n_before else None,
        "p": float(f"{change.p:.3g}"),
        "first": change.kind.first,
        "first_time": change.kind.first_time,
        "id": alarm_id(change.kind.kind),
        "kind": change.kind.kind,
        "example": change.kind.example,
    }


def _table(names: list[str], records: list[dict[str, Any]], format: str, widths: dict[str, int], terminal: bool) -> str:
    if format == "jsonl":
        return "".join(json_object({"version": SCHEMA, **record}) + "\n" for record in records)
    if format == "tsv":
        rows = ["\t".join(_cell(record[name]) for name in names) for record in records]
        return "".join(f"{row}\n" for row in ["\t".join(names), *rows])
    shown = [name for name in widths if name not in ("first_time", "last_time") or any(r[name] for r in records)]
    lines = [" ".join(f"{name:>{widths[name]}}" for name in shown) + "  example"]
    for record in records:
        example = terminal_text(record["example"]) if terminal else record["example"].replace("\n", "\\n")
        lines.append(" ".join(f"{_cell(record[name]):>{widths[name]}}" for name in shown) + f"  {example}")
    return "".join(f"{line}\n" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else escaped_text(value) if isinstance(value, str) else str(value)
