"""Time stamps at the beginning of a line: where they are, and which time they name.

PATTERNS is the list of what is found. A time stamp may follow a syslog priority, a bracket, `- ` or the letter of a
level; up to three may follow one another. Access logs have theirs in brackets after the addresses.
"""

import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTH = "(?:" + "|".join(_MONTHS) + ")"
_DAY = "(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +)?"
_CLOCK = r"\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?"

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

PATTERNS = {
    "Ymd": r"\d{4}[-/.]\d\d[-/.]\d\d[T _-]{1,2}\d\d[:.]\d\d[:.]\d\d(?:[.,:]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d(?!\d))?",
    "bd": rf"{_DAY}{_MONTH} {{1,2}}\d{{1,2}},? (?:\d{{4}} )?{_CLOCK}(?: [A-Z]{{3,4}})?(?: \d{{4}}(?![\d.-]))?",
    "db": rf"{_DAY}\d{{1,2}}[ /-]{_MONTH}[ /-]\d{{4}}[ :T]{_CLOCK}(?: ?[+-]\d{{4}}| [A-Z]{{3,4}})?",
    "ymd": rf"\d\d/\d\d/\d\d {_CLOCK}",
    "ymdHMS": r"\d{6} \d{6}(?= )",
    "YmdHMS": r"\d{8}[-T ]\d{1,2}:\d{1,2}:\d{1,2}(?::\d{1,3}|\.\d{1,9})?",
    "md": rf"\d\d[-.]\d\d {_CLOCK}",
    "Imd": rf"(?<=[IWEF])\d{{4}} {_CLOCK}",
    "HMS": rf"{_CLOCK}(?=[\s\])|])",
    "epoch": r"1\d{9}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?(?=[\s,\])|])",
    "uptime": r"(?<=\[) *\d{1,7}\.\d{6}(?=\])",
    "date": r"\d{4}[-/.]\d\d[-/.]\d\d(?=[\s|])",
}
"""The kinds of time stamps, as regular expressions. The name tells the order of the numbers, as in `strftime`."""

_BEFORE = re.compile(r"(?:<\d{1,3}>(?:1 )?|- )?[IWEF]?[\[(]?")
_STAMP = re.compile(
    f"(?:{'|'.join(f'(?P<{kind}>{pattern})' for kind, pattern in PATTERNS.items())})" + r"[\])]?[,|]?[ \t]*"
)
"""One of the time stamps, whose group tells the kind, and what separates it from the text after it."""
_ACCESS = re.compile(rf"[^\[\"]{{1,200}}\[(?P<db>{PATTERNS['db']})\] ?")
_ISO = re.compile(
    r"(\d{4})-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?(?: ?(Z|[+-]\d\d(?::?\d\d)?))?)?)?"
)
"""A month, a date, or a date and a time, as ISO 8601 writes them, with or without fractions and an offset."""

_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)$")
_NUMBERS = re.compile(r"\d+")


class ShownTime(NamedTuple):
    """A time as it is shown.

    seconds   since 1970, whole, as if it were shown in UTC
    fraction  of a second, to be added
    offset    from UTC in seconds, if it is shown; else None
    """

    seconds: float
    fraction: float
    offset: float | None = None

    def is_from(self, other: "ShownTime") -> bool:
        """Whether it is not before another: as moments if both have an offset, else as they are shown."""
        if self.offset is None or other.offset is None:
            return self[:2] >= other[:2]
        return (self.seconds - self.offset, self.fraction) >= (other.seconds - other.offset, other.fraction)


def find_time(line: str) -> tuple[int, int, str]:
    """The part (start, end) of a line that its time stamp takes, with the white space after it, and the stamp itself.

    (0, 0, "") if there is none.

    >>> find_time("Jun 14 15:16:01 combo sshd: failed"), find_time("[2015-07-29 17:41:44,747] INFO")
    ((0, 16, 'Jun 14 15:16:01'), (0, 26, '2015-07-29 17:41:44,747'))
    """
    before = _BEFORE.match(line)
    first = before.end() if before else 0
    stamp = _STAMP.match(line, first)
    if stamp is None:
        access = _ACCESS.match(line)
        return (access.start("db") - 1, access.end(), access["db"]) if access else (0, 0, "")
    start = first - (first > 0 and line[first - 1] in "[(")
    kind = stamp.lastgroup or ""
    text, end = stamp[kind].strip(), stamp.end()
    for _ in range(2):
        further = _STAMP.match(line, end) if end > stamp.end(kind) else None
        if further is None:
            break
        end = further.end()
    return start, end, text


@lru_cache(maxsize=1024)
def seconds_of(stamp: str) -> float | None:
    """The time that a stamp names, in seconds since 1970; without a date since midnight. None if it names no time.

    No text raises an exception, and any time lies in the years from 0 to 10,000. A leap second counts as the one
    before. A year of two digits is one from 2000 to 2099. A time without a zone counts as UTC, one without a year as of
    1972: only differences matter.

    >>> seconds_of("1970-01-02T00:00:01.5+01:00"), seconds_of("soon")
    (82801.5, None)
    """
    time = shown_time(stamp)
    return None if time is None else time.seconds - (time.offset or 0) + time.fraction


def shown_time(stamp: str) -> ShownTime | None:
    """The time that a stamp shows: without a year in 1972, without a date on 1 January 1970. None if it names no time.

    >>> shown_time("Jun 14 15:16:01")
    ShownTime(seconds=77382961.0, fraction=0.0, offset=None)
    """
    match = _STAMP.match(stamp + " ") or re.match(r"(?P<Imd>\d{4} \d\d:)", stamp)
    kind = match.lastgroup if match is not None else "epoch"
    if kind in ("epoch", "uptime"):
        return _epoch(stamp)
    try:
        return _parsed(kind or "", stamp)
    except (ValueError, IndexError, OverflowError):
        return None


def _epoch(stamp: str) -> ShownTime | None:
    """Seconds, milliseconds, microseconds or nanoseconds since 1970, by the number of digits."""
    match = re.fullmatch(r"\s*(\d{1,20})(\.\d{1,9})?", stamp)
    if match is None:
        return None
    scale = 10 ** (3 * max((len(match[1]) - 8) // 3, 0)) if len(match[1]) > 11 else 1
    return ShownTime((int(match[1]) + float(match[2] or 0)) / scale, 0.0, 0.0)


def iso_shown(text: str, is_prefix: bool = False) -> ShownTime | None:
    """The time that a text in ISO 8601 or the beginning of one shows; None if no calendar has it.

    is_prefix  whether other characters may follow

    >>> iso_shown("2026-11-26 14:30+01")
    ShownTime(seconds=1795703400.0, fraction=0.0, offset=3600.0)
    """
    match = _ISO.match(text) if is_prefix else _ISO.fullmatch(text)
    if match is None or not text.isascii():
        return None
    *numbers, zone = (group or "" for group in match.groups())
    if int(numbers[5] or 0) > 60:
        return None
    month, day, *clock = numbers[1:]
    try:
        return _shown([numbers[0], month, day or "1", *(number or "0" for number in clock)], zone)
    except ValueError:
        return None


def _parsed(kind: str, stamp: str) -> ShownTime:
    zone = _ZONE.search(stamp) if kind in ("Ymd", "db") else None
    numbers = _NUMBERS.findall(stamp[: zone.start()] if zone else stamp)
    if kind in ("ymdHMS", "YmdHMS", "Imd"):
        widths = {"ymdHMS": (2, 2), "YmdHMS": (4, 2), "Imd": (2,)}[kind]
        digits = "".join(numbers[:2]) if kind == "ymdHMS" else numbers[0]
        date, rest = [], digits
        for width in widths:
            date.append(rest[:width])
            rest = rest[width:]
        date.append(rest[:2])
        clock = [rest[2:4], rest[4:6], rest[6:8]] if kind == "ymdHMS" else numbers[1:]
        numbers = [*date, *clock]
    if kind in ("bd", "db"):
        month = str(next(n for n, name in enumerate(_MONTHS, 1) if name in stamp))
        years = [number for number in numbers if len(number) == 4]
        others = [number for number in numbers if len(number) != 4]
        numbers = [years[0] if years else "1972", month, *others]
    if kind in ("md", "Imd"):
        numbers = ["1972", *numbers]
    if kind == "HMS":
        numbers = ["1970", "1", "1", *numbers]
    return _shown(numbers, zone[0] if zone else "Z" if stamp.endswith(("Z", " UTC", " GMT")) else "")


def _shown(numbers: list[str], zone: str) -> ShownTime:
    """The time of year, month, day, hour, minute, second and fraction, of which the last four may be missing."""
    year, month, day, hour, minute, second = (int(number) for number in [*numbers, "0", "0", "0"][:6])
    fraction = float(f"0.{numbers[6]}") if len(numbers) > 6 else 0.0
    year += 2000 if len(numbers[0]) == 2 else 0
    time = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone.utc)
    return ShownTime((time - EPOCH).total_seconds(), fraction, _offset(zone))


def _offset(zone: str) -> float | None:
    """Seconds, as the time may be the first or the last one of a calendar; None if there is no zone."""
    if zone in ("", "Z"):
        return 0.0 if zone else None
    digits = zone[1:].replace(":", "").ljust(4, "0")
    seconds = 3600.0 * int(digits[:2]) + 60.0 * int(digits[2:])
    return seconds if zone[0] == "+" else -seconds


def iso_time(seconds: float) -> str:
    """A time in seconds since 1970 as ISO 8601, in UTC, to the microsecond; "" if it is out of range.

    >>> iso_time(1342540861.416409)
    '2012-07-17T16:01:01.416409Z'
    """
    try:
        time = EPOCH + timedelta(microseconds=round(seconds * 1e6))
    except (OverflowError, ValueError):
        return ""
    return time.isoformat().replace("+00:00", "Z")
