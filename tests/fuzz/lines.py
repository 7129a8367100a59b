"""What `watch` reads: blocks of bytes as lines, lines as events, and what is found in them."""

import json

from engine import Target
from mutations import mutated_bytes

from streamlstm.logs.assembler import Assembler, Parsing
from streamlstm.logs.formats import FORMATS, Fields
from streamlstm.logs.lines import LineSplitter
from streamlstm.watch.kinds import event_type_of, kind_of

KINDS = ["auto", *FORMATS, "cri+json", "docker+logfmt", "cri+journald"]
STARTS = [None, r"^\S", "", r"(a|b)?\d+"]
FIELDS = [Fields(), Fields(("msg", "a.b"), "host.name"), Fields((), "stream"), Fields(("MESSAGE",), "level")]
WORDS = [b'{"', b'"}', b'"msg": ', b'"log": "', b'"stream": "stderr"', b'"time": ', b"null", b"[1, 255, 256]"]
WORDS += [b"2026-11-26T18:00:00.1Z", b" stdout P ", b" stderr F ", b"Jun 14 15:16:01 ", b"\\u0000", b'\\"', b"<34>1 "]
WORDS += [b"1.0.0.1 - - [10/Oct/2000:13:55:36]", b"a=b ", b'msg="', b"level=info ", b"[12:30:01]", b"1700000000000"]
WORDS += [b"0000-00-00 99:99:99", b'"__REALTIME_TIMESTAMP": "1"', b'"MESSAGE": [104]', b"1e999", b"0x", b"-#"]
WORDS += [b"\n", b"\r\n", b"\0", b"\xff", b"\xed\xa0\x80", "٣".encode(), "²".encode(), b"[" * 3000, b'{"a":' * 400]
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
        for kind in (0, n % len(KINDS)):
            yield bytes([kind, n % 4, n % 5]) + line * 2 + b"plain\n"


def check(case):
    """Three bytes say how lines are parsed and where the blocks end; the rest is the input."""
    kind, options, size = case[:3].ljust(3, b"\0")
    data = case[3:]
    parsing = Parsing(KINDS[kind % len(KINDS)], FIELDS[options % 4], STARTS[options // 4 % 4], bool(options & 16))
    splitter = LineSplitter(limit=1 << 12)
    step = max(size, 1) if len(case) % 8 == 0 and len(case) < 4096 else 64 + 16 * size
    lines = [line for at in range(0, len(data), step) for line in splitter.feed(data[at : at + step])]
    whole = LineSplitter(limit=1 << 12)
    assert lines == list(whole.feed(data))
    rest = splitter.rest()
    assert rest == whole.rest()
    lines += [rest] if rest.n_bytes else []
    assert sum(line.n_bytes for line in lines) == len(data)
    events = events_of(Assembler(parsing, "-"), lines)
    if len(case) % 4 == 0:
        check_restored(parsing, lines, events)
    return tuple({(bool(event.time), event.seconds is None, bool(event.key), event.cut[0] > 0) for event in events})


def check_restored(parsing, lines, events):
    """An assembler that goes on from where another one stopped gives the same events."""
    half, again = Assembler(parsing, "-"), Assembler(parsing, "-")
    first = [event for line in lines[: len(lines) // 2] for event in half.feed(line)]
    again.restore(json.loads(json.dumps(half.describe())))
    both = first + events_of(again, lines[len(lines) // 2 :])
    assert [without_raw(event) for event in both] == [without_raw(event) for event in events]


def events_of(assembler, lines):
    events = [event for line in lines for event in assembler.feed(line)]
    n_bytes = sum(line.n_bytes for line in lines)
    events += assembler.flush()
    assert assembler.offset >= n_bytes
    for event in events:
        start, end = event.cut
        assert 0 <= start <= end <= len(event.line)
        assert event.text == event.line[:start] + event.line[end:]
        text = event.text[:16384]
        assert len(kind_of(text)) <= 200
        assert len(event_type_of(text)) <= 200
        for a, b in event.shown_spans([(0, len(event.text))] if event.text else []):
            assert 0 <= a < b <= len(event.line)
    return events


def without_raw(event):
    return event.line, event.cut, event.key, event.time, event.offset, event.rotation


def mutate(rng, case, other):
    head = case[:3].ljust(3, b"\0")
    if rng.random() < 0.2:
        head = bytes([rng.randrange(len(KINDS)), rng.randrange(32), rng.randrange(256)])
    data = mutated_bytes(rng, case[3:], other[3:], WORDS)
    return head + data[: 300 if rng.random() < 0.98 else None]


LOG_LINES = Target(seeds, mutate, check)
