"""The formats of log lines: which part of a line is the message, and what else it tells.

A line has a `Message`. An `Event` is a message with its place in a log; it may have several lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .timestamps import iso_time, seconds_of


@dataclass(frozen=True)
class Event:
    r"""One event of a log.

    line      what is shown: the message, without a newline at its end. Bytes that are not valid UTF-8 appear as
              Python's `surrogateescape` decodes them.
    cut       the part (start, end) of `line` that is a time stamp, which is not scored; (0, 0) if there is none
    number    the number of its first line in its file, from 1
    path      the file; - for stdin
    rotation  how often the file was replaced or truncated since watching began
    offset    the number of bytes of the file up to the end of the event. Path, rotation and offset identify the event.
    key       the value of the key field; None without such a field
    time      the time stamp as it was found, or in ISO 8601; "" if there is none
    raw       the line as it came; of several lines the first one

    >>> event = Event("12:30:01 started", cut=(0, 9), number=1, path="-", rotation=0, offset=17, time="12:30:01")
    >>> event.text, event.shown_spans([(0, 7)]), event.seconds
    ('started', [(9, 16)], 45001.0)
    """

    line: str
    cut: tuple[int, int] = (0, 0)
    number: int = 0
    path: str = "-"
    rotation: int = 0
    offset: int = 0
    key: str | None = None
    time: str = ""
    raw: bytes = b""

    @property
    def text(self) -> str:
        """What is scored: the message without its time stamp."""
        start, end = self.cut
        return self.line[:start] + self.line[end:] if end else self.line

    @property
    def seconds(self) -> float | None:
        """The time in seconds, since 1970 if the time stamp has a date; None if there is none."""
        return seconds_of(self.time)

    def shown_spans(self, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Parts of `text` as parts of `line`."""
        start, end = self.cut
        shift = end - start
        return [(a + shift * (a >= start), b + shift * (b > start)) for a, b in spans]


MESSAGE_FIELDS = ("message", "msg", "log", "event", "text", "body", "MESSAGE")
"""Where the message is sought if no field is named."""

TIME_FIELDS = ("time", "timestamp", "ts", "@timestamp", "t", "asctime", "datetime", "date", "eventTime")

MAX_DEPTH = 100
"""JSON that is nested more deeply is not parsed: whether Python can depends on its version and on the stack in use."""

_CRI = re.compile(r"(\d{4}-\d\d-\d\dT\S+) (stdout|stderr) ([FP])(?::\S*)? ?", re.ASCII)
_PAIR = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?:\s+|$)')
_ESCAPE = re.compile(r'\\([\\"nt])')
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_HEX = "[0-9a-fA-F]"
_JSON_ESCAPE = re.compile(rf"\\(?:u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}|(u[dD][89a-fA-F]{_HEX}{{2}})|.)")
"""An escape in JSON, or the two of a surrogate pair; the group has a lone surrogate."""


class Fields(NamedTuple):
    """Which fields of a structured line are read.

    message  the fields that are scored, joined by spaces; () for the first of MESSAGE_FIELDS or, if there is none, all
             but the time
    key      the field that has the key of a line; "" for none

    A name with dots is a path into nested objects, if there is no field of that name.
    """

    message: tuple[str, ...] = ()
    key: str = ""


class Message(NamedTuple):
    """What a line says.

    text        the message
    time        its time stamp, if it is not a part of the message; "" if there is none
    key         the value of the key field; None without such a field
    stream      stdout or stderr, in container logs
    is_partial  whether the rest of the message follows in the next line of the same stream
    """

    text: str
    time: str = ""
    key: str | None = None
    stream: str = ""
    is_partial: bool = False


def plain(line: str, fields: Fields) -> Message:
    """The whole line is the message."""
    return Message(line)


def json_lines(line: str, fields: Fields) -> Message:
    """A JSON object.

    >>> fields = Fields(("level", "msg"), key="host.name")
    >>> json_lines('{"ts": 17, "level": "warn", "msg": "full", "host": {"name": "a"}}', fields)
    Message(text='warn full', time='17', key='a', stream='', is_partial=False)
    """
    return _of_values(_json_object(line), line, fields)


def journald(line: str, fields: Fields) -> Message:
    """A JSON object of `journalctl -o json`: the message after its identifier, as `journalctl` prints it.

    A field may be text, a list of bytes, null if it was too long, or a list of several values.

    >>> entry = '{"MESSAGE": [104, 105, 255], "SYSLOG_IDENTIFIER": "app", "__REALTIME_TIMESTAMP": "1500000"}'
    >>> journald(entry, Fields())
    Message(text='app: hi\\udcff', time='1970-01-01T00:00:01.500000Z', key=None, stream='', is_partial=False)
    """
    values = _json_object(line)
    if "MESSAGE" not in values and "__REALTIME_TIMESTAMP" not in values:
        raise ValueError("not an entry of journald")
    entry = {name: _journal_text(value) for name, value in values.items()}
    text = " ".join(entry.get(name, "") for name in fields.message) if fields.message else entry.get("MESSAGE", "")
    if not fields.message and entry.get("SYSLOG_IDENTIFIER"):
        text = f"{entry['SYSLOG_IDENTIFIER']}: {text}"
    microseconds = entry.get("__REALTIME_TIMESTAMP", "")
    time = iso_time(int(microseconds) / 1e6) if microseconds.isdecimal() and len(microseconds) < 20 else ""
    return Message(text, time, entry.get(fields.key, "") if fields.key else None)


def docker(line: str, fields: Fields) -> Message:
    r"""A JSON object of Docker's json-file driver. A message without a newline at its end is continued.

    >>> docker('{"log":"up\\n","stream":"stderr","time":"2026-11-26T18:00:00Z"}', Fields())
    Message(text='up', time='2026-11-26T18:00:00Z', key=None, stream='stderr', is_partial=False)
    """
    values = _json_object(line)
    log = values.get("log")
    if not isinstance(log, str):
        raise ValueError("not a record of Docker")
    key = _text(_value(values, fields.key)) if fields.key else None
    text, time, named = log.removesuffix("\n"), _text(values.get("time")), values.get("stream")
    stream = str(named) if named in ("stdout", "stderr") else ""  # for each of them, parts of a message are kept
    return Message(text, time, key, stream, is_partial=text == log)


def cri(line: str, fields: Fields) -> Message:
    """A line of a Kubernetes container: time, stream, P or F, message. P says that the message is continued.

    >>> cri("2026-11-26T18:00:00.1Z stdout P half a ", Fields())
    Message(text='half a ', time='2026-11-26T18:00:00.1Z', key=None, stream='stdout', is_partial=True)
    """
    match = _CRI.match(line)
    if match is None:
        raise ValueError("not a line of a container")
    time, stream, flag = match.groups()
    return Message(line[match.end() :], time, stream if fields.key == "stream" else None, stream, flag == "P")


def logfmt(line: str, fields: Fields) -> Message:
    """Pairs like `level=warn msg="disk full"`.

    >>> logfmt('ts=12:30:01 level=warn msg="disk \\\\"a\\\\" full" free=0', Fields(key="level"))
    Message(text='disk "a" full', time='12:30:01', key='warn', stream='', is_partial=False)
    """
    values = _pairs(line)
    if not values:
        raise ValueError("not in logfmt")
    return _of_values(values, line, fields)


FORMATS: dict[str, Callable[[str, Fields], Message]] = {
    "plain": plain,
    "json": json_lines,
    "journald": journald,
    "docker": docker,
    "cri": cri,
    "logfmt": logfmt,
}
"""How a line of each format is parsed. Each raises ValueError for a line that is not in the format; see `parsed`."""

CONTAINERS = ("docker", "cri")
"""The formats whose messages may be in a format of their own."""


def parsed(format: str, line: str, fields: Fields) -> Message | None:
    """What a line of a format of FORMATS says; None if it is not in the format. Raises nothing, whatever it holds.

    >>> parsed("json", '{"msg": "x"}', Fields()), parsed("json", '{"msg": ', Fields())
    (Message(text='x', time='', key=None, stream='', is_partial=False), None)
    """
    try:
        return FORMATS[format](line, fields)
    except Exception:  # not only ValueError: what nobody has foreseen must not stop the reading of a log either
        return None


def detect(line: str) -> str:
    """The format of a line.

    >>> detect("2026-11-26T18:00:00.1Z stdout F x"), detect('{"msg": "x"}'), detect("level=info msg=x"), detect("a=b c")
    ('cri', 'json', 'logfmt', 'plain')
    """
    if line.startswith("{"):
        try:
            values = _json_object(line)
        except ValueError:
            return "plain"
        if "__REALTIME_TIMESTAMP" in values or "__CURSOR" in values:
            return "journald"
        is_docker = isinstance(values.get("log"), str) and values.keys() <= {"log", "stream", "time", "attrs"}
        return "docker" if is_docker and "stream" in values else "json"
    if _CRI.match(line):
        return "cri"
    names = _pairs(line).keys() if "=" in line else set()
    return "logfmt" if len(names) > 1 and names & {"msg", "message", "level", "lvl"} else "plain"


def _pairs(line: str) -> dict[str, str]:
    """The pairs of a line in logfmt; none if it is not."""
    values, end = {}, 0
    while end < len(line):
        match = _PAIR.match(line, end)
        if match is None:
            return {}
        quoted, end = match[2], match.end()
        values[match[1]] = match[3] if quoted is None else _ESCAPE.sub(_unescaped, quoted)
    return values


def _json_object(line: str) -> dict[str, Any]:
    """The values of a JSON object. An escape of a lone surrogate, which is not a character, becomes U+FFFD."""
    if _SURROGATE.search(line):
        line = _JSON_ESCAPE.sub(lambda match: "\\ufffd" if match[1] else match[0], line)
    try:
        values = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    if line.count("[") + line.count("{") > MAX_DEPTH and _is_deep(values):
        raise ValueError("nested too deeply")
    return values


def _is_deep(values: dict[str, Any]) -> bool:
    """Whether values are nested more deeply than MAX_DEPTH."""
    level: list[Any] = [values]
    for _ in range(MAX_DEPTH):
        parts = (part for each in level for part in (each.values() if isinstance(each, dict) else each))
        level = [part for part in parts if isinstance(part, dict | list)]
    return bool(level)


def _of_values(values: dict[str, Any], line: str, fields: Fields) -> Message:
    """The message of a structured line that has these values."""
    time_field = next((name for name in TIME_FIELDS if name in values), None)
    time = "" if time_field is None else _text(values[time_field])
    key = _text(_value(values, fields.key)) if fields.key else None
    if fields.message:
        found = [_value(values, name) for name in fields.message]
        if any(value is not None for value in found):
            return Message(" ".join(_text(value) for value in found if value is not None), time, key)
    else:
        for name in MESSAGE_FIELDS:
            if isinstance(values.get(name), str):
                return Message(values[name], time, key)
    return Message(" ".join(f"{name}={_text(v)}" for name, v in values.items() if name != time_field), time, key)


def _value(values: dict[str, Any], name: str) -> Any:
    """The value of a field, or of a path with dots; None if there is none."""
    if name in values:
        return values[name]
    value: Any = values
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _journal_text(value: Any) -> str:
    if isinstance(value, list):
        if all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
            return bytes(value).decode("utf-8", "surrogateescape")
        return " ".join(map(_journal_text, value))
    return _text(value)


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t"}.get(match[1], match[1])
