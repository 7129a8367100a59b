"""Lines of logs: whatever they hold, in every format, they become events, and `watch` goes on."""

import contextlib
import io
import json
import os
from functools import cache

from engine import Target
from models import folder, mixed_text, of_bytes
from mutations import mutated_bytes

from streamlstm.cli.watch_run import Outputs, WatchRun
from streamlstm.logs.assembler import Assembler, LineSplitter, Parsing
from streamlstm.logs.formats import FORMATS, Fields
from streamlstm.logs.source import Source
from streamlstm.render.lines import LinePrinter, SessionPrinter, StatusLine, format_json, format_line
from streamlstm.system.process import Interruptible
from streamlstm.watch.keyed_streams import KeyPattern
from streamlstm.watch.sessions import SessionWatcher
from streamlstm.watch.surprising import SurprisingKinds
from streamlstm.watch.templates import event_type_of, kind_of
from streamlstm.watch.watcher import WatchedLine, Watcher

KINDS = ["auto", *FORMATS, "cri+json", "docker+logfmt", "docker+json", "cri+journald"]
STARTS = [None, r"^\S", "", r"(a|b)?\d+"]
FIELDS = [Fields(), Fields(("msg", "a.b"), "host.name"), Fields((), "stream"), Fields(("MESSAGE",), "level")]
KEYS = [KeyPattern(r"\d+"), KeyPattern(r"(a|b)?[^ ]{1,40}:")]

STAMPS = """2026-11-26T18:00:00.1Z|Jun 14 15:16:01|[10/Oct/2000:13:55:36 -0700]|[12:30:01]|1700000000000
0000-00-00 99:99:99|9999-12-31T23:59:59.9999999-05:00
0001-01-01T00:00:00Z|0001-01-01T00:00:00+23:59|2026-02-30 24:60:61|[  1234567.000000]
31/Dec/9999:23:59:60 -9999|Feb 29 00:00:00|99999999999999999999|1e999|081109 203530|E0102 03:04:05.678|19990101-24:0:0:7
2026-11-26 18:00:00,1 +99:99|9999-99-99|1000000000|Mon, 01 Jan 9999 00:00:00 GMT|00/00/00 00:00:00|02-30 12:00:00"""
STAMPS = STAMPS.replace("\n", "|").split("|")
NAMES = "message msg log event text body MESSAGE time timestamp ts @timestamp stream level host.name host name a.b a b"
NAMES += " __REALTIME_TIMESTAMP __CURSOR SYSLOG_IDENTIFIER attrs MESSAGE_ID asctime eventTime date"
NAMES = NAMES.split()
SCALARS = [
    "null",
    "true",
    '"x"',
    '"up\\n"',
    "[104, 105, 255]",
    "[256]",
    "[[1], [104]]",
    "1e999",
    "-0.0",
    "NaN",
    '"1500000"',
]
SCALARS += [
    '"\\ud800"',
    '"\\udcff\\ud83d\\ude00"',
    '"\\u0000"',
    '"stderr"',
    '{"name": "a", "b": {"": 1}}',
    "17",
    "{}",
    "[]",
]
SCALARS += ['"' + "9" * 18 + '"', '"٣٣"', "253402300800000", "-1", '"{\\"msg\\": \\"in\\", \\"time\\": \\"9999\\"}"']
WORDS = [
    "0x7f",
    "²",
    "\ufeff",
    "\u2028",
    "\x1b[2J",
    "<34>1 ",
    "#",
    "blk_-35",
    "10.0.0.1 - - ",
    "INFO",
    "=",
    '"',
    "\\",
    "}",
]
WORDS += [
    "[",
    "]]",
    ":",
    ",",
    "{",
    "\t",
    " ",
    "\r",
    "a" * 300,
    "9" * 400,
    "stdout P ",
    "2026-11-26T18:00:00.1Z stderr F ",
]
BYTES = [
    b"\xff",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\0",
    b"\xc3",
    b"\x9b",
    b"\n",
    b"\r\n",
    b"\n\n  at f\n",
    b"\0" * 5000,
]
BYTES += [word.encode() for word in [*STAMPS, *SCALARS, *WORDS]] + [f'"{name}": '.encode() for name in NAMES]
LINES = [
    b"Jun 14 15:16:01 combo sshd: failed\n",
    b"[2015-07-29 17:41:44,747] INFO x=1\n  at f\n",
    b'{"ts": 17, "level": "warn", "msg": "full", "host": {"name": "a"}}\n',
    b'{"MESSAGE": [104, 105, 255], "SYSLOG_IDENTIFIER": "app", "__REALTIME_TIMESTAMP": "1500000"}\n',
    b'{"log":"up\\n","stream":"stderr","time":"2026-11-26T18:00:00Z"}\n',
    b"2026-11-26T18:00:00.1Z stdout P half a \n2026-11-26T18:00:00.2Z stdout F line\n",
    b'ts=12:30:01 level=warn msg="disk \\"a\\" full" free=0\n',
    b'10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326\n',
    b"081109 203530 147 INFO blk_-35 src: /10.250.19.102:54106\n",
    b"[    0.000000] Linux version\n1700000000.5 up\nE0102 03:04:05.678 1 main.go\n",
]


def seeds():
    for n, line in enumerate(LINES):
        yield bytes([0, n % 16, n]) + line * 2 + b"plain\n"


def mutate(rng, case, other):
    """New lines in a format, or other bytes in those of a case."""
    head = bytes([0, rng.randrange(32), rng.randrange(256)])
    if rng.randrange(2):
        return head + mutated_bytes(rng, case[3:], other[3:], BYTES)[:4096]
    return head + b"".join(_line(rng).encode("utf-8", "surrogateescape") + b"\n" for _ in range(rng.randrange(1, 4)))


def _line(rng):
    kind, stamp, text = rng.randrange(6), rng.choice(STAMPS), rng.choice(WORDS) + rng.choice(WORDS)
    if kind == 0:
        return f"{rng.choice(('', '', '<34>1 ', '- ', 'I', '['))}{stamp}{rng.choice((' ', '] ', ''))}{text}"
    if kind == 1:
        stream = rng.choice(("stdout", "stderr", "other"))
        return f"{stamp} {stream} {rng.choice('PFX')} {rng.choice(('', _json(rng)))}{text}"
    if kind == 2:
        return " ".join(
            f"{rng.choice(NAMES)}={rng.choice((text, stamp, _json(rng)))}" for _ in range(rng.randrange(1, 5))
        )
    return _json(rng)


def _json(rng):
    """A JSON object, mostly; one of its values may be nested so deeply that Python's limit of recursion is near."""
    names = [
        *(rng.choice(NAMES) for _ in range(rng.randrange(1, 5))),
        *rng.choice(((), ("__REALTIME_TIMESTAMP",), ("log", "stream"))),
    ]
    pairs = []
    for name in names:
        value = json.dumps(rng.choice(STAMPS)) if rng.randrange(3) == 0 else rng.choice(SCALARS)
        if rng.randrange(40) == 0:
            depth, (before, after) = rng.randrange(1, 1200), rng.choice((("[", "]"), ('{"a":', "}"), ("[0,", "]")))
            value = before * depth + value + after * depth
        elif rng.randrange(40) == 0:
            value = rng.choice(("1", "-1.", '"', "[")) + "9" * rng.choice((25, 309, 4300, 4301, 20_000))
        pairs.append(f'"{name}": {value}')
    return "{" + rng.choice((", ", ",")).join(pairs) + "}"


def check(case):
    """Two bytes say how lines are parsed and where blocks end; the rest is the input, which every format gets."""
    (_, options, size), data = case[:3].ljust(3, b"\0"), case[3:]
    whole, lines = LineSplitter(limit=1 << 15), []
    splitter, step = LineSplitter(limit=1 << 15), max(size, 1) if len(data) < 4096 else 64 + 16 * size
    for at in range(0, len(data), step):
        lines += splitter.feed(data[at : at + step])
    assert lines == list(whole.feed(data))
    rest = splitter.rest()
    assert rest == whole.rest()
    lines += [rest] if rest.n_bytes else []
    assert sum(line.n_bytes for line in lines) == len(data)
    results = []
    for kind in KINDS:
        parsing = _parsing(kind, options)
        assembler = Assembler(parsing, "-")
        events = _events(assembler, lines)
        assert assembler.number == len(lines)
        assert assembler.offset == len(data)
        assert assembler.n_invalid <= len(lines)
        results += [number >= assembler.n_invalid for number in range(len(lines))]
        if size % 8 == 0:
            _check_restored(parsing, lines, events)
    return results


def _parsing(kind, options):
    return Parsing(kind, FIELDS[options % 4], STARTS[options // 4 % 4], bool(options & 16))


def _events(assembler, lines):
    events = [event for event in map(assembler.feed, lines) if event is not None]
    events += assembler.flush()
    for event in events:
        start, end = event.cut
        assert 0 <= start <= end <= len(event.line)
        assert event.seconds is None or abs(event.seconds) < 1e21
        text = event.text[:16384]
        text.encode("utf-8", "surrogateescape")
        assert len(kind_of(text)) <= 200
        assert len(event_type_of(text)) <= 200
        assert all(len(pattern.key_of(text)) <= 256 for pattern in KEYS)
        line = WatchedLine(text, 1.0, 1.0, True, [(0, len(text))], event.key or "", [])
        if len(text) < 200:
            format_line(line, event, terminal=True).encode("utf-8", "surrogateescape")
        record = format_json(line, event)
        json.loads(record.encode())
        assert record.count("\n") == 1
    return events


def _check_restored(parsing, lines, events):
    """An assembler that goes on from where another one stopped gives the same events."""
    half, again = Assembler(parsing, "-"), Assembler(parsing, "-")
    first = [event for event in map(half.feed, lines[: len(lines) // 2]) if event is not None]
    again.restore(json.loads(json.dumps(half.describe())))
    both = first + _events(again, lines[len(lines) // 2 :])
    assert [_without_raw(event) for event in both] == [_without_raw(event) for event in events]


def _without_raw(event):
    return event.line, event.cut, event.key, event.time, event.offset, event.rotation


LOG_LINES = Target(seeds, mutate, check)


# Whole runs of watch


@cache
def watchers():
    """Of each kind one that is warm, and goes on from case to case."""
    model = of_bytes().fork()
    made = (
        Watcher(model.fork(), warmup=4, alarms="2/hour"),
        Watcher(model.fork(), warmup=4, threshold=0.0, thorough=True),
    )
    made += (Watcher(model.fork(), warmup=2, key_regex=r"\d+|[a-z]:", max_keys=8, alarms="3/10"),)
    made += (SessionWatcher(model.fork(), session_regex=r"\d+", warmup=4, max_open=5, alarms="2/hour"),)
    return made


def check_watched(case):
    """Every watcher, and `surprising`, read the lines; they read all that a record says of them too."""
    (_, options, size), path = case[:3].ljust(3, b"\0"), folder() / "lines.log"
    path.write_bytes(case[3:] + (mixed_text(case) if size % 16 == 0 else b""))
    results = []
    for n, watcher in enumerate(watchers()):
        parsing = Parsing(
            KINDS[(size + n) % len(KINDS)], FIELDS[options % 4], STARTS[options // 4 % 4], bool(options & 16)
        )
        with Interruptible() as control, contextlib.redirect_stderr(io.StringIO()) as notes:
            source, out, status = Source([os.fspath(path)], parsing, control), io.BytesIO(), StatusLine(notes)
            kind = SessionPrinter if isinstance(watcher, SessionWatcher) else LinePrinter
            run = WatchRun(watcher, source, Outputs(kind(out, "jsonl", all=True), status))
            kinds, before = SurprisingKinds(of_bytes().fork(), warmup=1), watcher.counts.lines
            for event in source.events():
                run.take(event)
                if event is not None and n == 0:
                    kinds.take(event.text, None)
            run.finish(is_end=size % 32 == 0)
            kinds.top(3)
        for record in out.getvalue().splitlines():
            json.loads(record)
        results += [True] * (watcher.counts.lines - before)
    return results


WATCH = Target(seeds, mutate, check_watched)
