"""Lines, formats, time stamps and events; the lag; the file of records, the command per alarm, and the metrics."""

import errno
import json
import os
import re
import socket
import time
import urllib.request

import pytest
from allocation import allocated_by
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.logs import output as alerts_module
from streamlstm.logs.assembler import IDLE_SECONDS, MAX_EVENT_LINES, Assembler, LineSplitter, Parsing, RawLine
from streamlstm.logs.formats import CONTAINERS, FORMATS, MAX_DEPTH, Event, Fields, detect
from streamlstm.logs.metrics import METRICS, metrics_text, serve_metrics, write_metrics
from streamlstm.logs.output import AlertCommand, OutputFile
from streamlstm.logs.source import MAX_MARKS, LagMeter
from streamlstm.logs.timestamps import find_time, iso_time, seconds_of
from streamlstm.system.process import Interruptible


def raw(*lines: bytes) -> list[RawLine]:
    return [RawLine(line, len(line)) for line in lines]


def fed(assembler: Assembler, lines) -> list[Event]:
    return [event for event in map(assembler.feed, lines) if event is not None]


# Lines


@given(st.lists(st.binary(max_size=30) | st.just(b"\n")))
@settings(max_examples=60)
def test_lines_end_at_newlines_wherever_the_blocks_end(blocks):
    splitter, whole = LineSplitter(), LineSplitter()
    lines = [line for block in blocks for line in splitter.feed(block)] + [splitter.rest()]
    data = b"".join(blocks)
    assert lines == [*whole.feed(data), whole.rest()]
    assert [line.data.rstrip(b"\n") for line in lines] == [line.lstrip(b"\0") for line in data.split(b"\n")]
    assert sum(line.n_bytes for line in lines) == len(data)


def test_a_line_without_an_end_takes_bounded_memory():
    def split():
        splitter = LineSplitter(limit=1000)
        for _ in range(100):
            assert not list(splitter.feed(b"x" * 8192))
        return splitter.rest()

    line = split()
    assert (len(line.data), line.n_bytes) == (1000, 819200)
    assert allocated_by(split).peak < 50_000


def test_a_hole_of_nul_bytes_at_the_beginning_of_a_line_is_skipped_and_counted():
    splitter = LineSplitter(limit=1000)
    lines = [line for block in (b"\0" * 5000, b"\0" * 5000 + b"a\0b\n\0c\n") for line in splitter.feed(block)]
    assert lines == [RawLine(b"a\0b\n", 10004), RawLine(b"c\n", 3)]
    assert splitter.n_nuls == 10001


# Time stamps


@pytest.mark.parametrize(
    ("line", "rest", "when"),
    [
        ("2015-10-18 18:01:47,978 INFO [main] x", "INFO [main] x", "2015-10-18T18:01:47.978000Z"),
        ("2026-11-26T18:00:00.123456789+01:00 x", "x", "2026-11-26T17:00:00.123457Z"),
        ("[Sun Dec 04 04:47:44 2005] [error] x", "[error] x", "2005-12-04T04:47:44Z"),
        ("- 1117838570 2005.06.03 R02-M1 x", "- R02-M1 x", "2005-06-03T22:42:50Z"),
        ("081109 203615 148 INFO dfs", "148 INFO dfs", "2008-11-09T20:36:15Z"),
        ("20171223-22:15:29:606|Step|3", "Step|3", "2017-12-23T22:15:29.606000Z"),
        ("Jun 14 15:16:01 combo sshd", "combo sshd", "1972-06-14T15:16:01Z"),
        ("<34>1 2003-10-11T22:14:15.003Z host", "<34>1 host", "2003-10-11T22:14:15.003000Z"),
        ("17/06/09 20:10:40 INFO x", "INFO x", "2017-06-09T20:10:40Z"),
        ("I0614 15:16:01.123456 12 a.cc:3] x", "I12 a.cc:3] x", "1972-06-14T15:16:01.123456Z"),
        ("03-17 16:13:38.811  1702 D x", "1702 D x", "1972-03-17T16:13:38.811000Z"),
        ('1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET"', '1.2.3.4 - - "GET"', "2000-10-10T20:55:36Z"),
        ("[  12.345678] Linux", "Linux", "1970-01-01T00:00:12.345678Z"),
        ("16:13:38.811 x", "x", "1970-01-01T16:13:38.811000Z"),
        ("1117838570123 x", "x", "2005-06-03T22:42:50.123000Z"),
        ("Thu, 26 Nov 2026 18:00:00 GMT x", "x", "2026-11-26T18:00:00Z"),
    ],
)
def test_a_time_stamp_is_found_and_understood(line, rest, when):
    start, end, stamp = find_time(line)
    assert line[:start] + line[end:] == rest
    assert iso_time(seconds_of(stamp)) == when


@pytest.mark.parametrize("line", ["", "12:05 job 3", "error 2015 of 17", "12345 x", "99999999999 x", "10.0.0.1 up"])
def test_other_numbers_are_no_time_stamps(line):
    assert find_time(line) == (0, 0, "")


@given(st.text(max_size=60))
@settings(max_examples=200)
def test_any_text_has_a_time_stamp_or_none(text):
    start, end, _ = find_time(text)
    assert 0 <= start <= end <= len(text)
    assert seconds_of(text) is None or isinstance(seconds_of(text), float)


def test_a_time_that_no_calendar_has_is_none():
    assert seconds_of("2026-99-99 00:00:00") is None
    assert iso_time(1e300) == ""


# Formats

JOURNAL = '{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1700000000000000","MESSAGE":"up","_SYSTEMD_UNIT":"a.service"}'
DOCKER = '{"log":"up\\n","stream":"stdout","time":"2026-11-26T18:00:00.5Z"}'


@pytest.mark.parametrize(
    ("line", "format"),
    [
        (JOURNAL, "journald"),
        (DOCKER, "docker"),
        ('{"message": "x"}', "json"),
        ("2026-11-26T18:00:00.1Z stderr F x", "cri"),
        ('time=2026-11-26T18:00:00Z level=info msg="x y"', "logfmt"),
        ("level=info and more", "plain"),
        ("{broken", "plain"),
        ("[1, 2]", "plain"),
        ("Jun 14 15:16:01 combo sshd: x=1", "plain"),
    ],
)
def test_the_format_of_a_line_is_detected(line, format):
    assert detect(line) == format


@given(st.text(max_size=80) | st.sampled_from([JOURNAL, DOCKER]).flatmap(lambda t: st.just(t[:-3])))
def test_a_line_is_parsed_or_refused_with_a_value_error(text):
    for parse in FORMATS.values():
        try:
            message = parse(text, Fields(key="a.b"))
        except ValueError:
            continue
        assert isinstance(message.text, str)


@given(
    st.dictionaries(
        st.sampled_from(["message", "log", "MESSAGE", "time", "stream", "__REALTIME_TIMESTAMP", "a", "x"]),
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda s: st.lists(s, max_size=3)),
    )
)
def test_any_json_object_is_parsed_or_refused_with_a_value_error(values):
    for name in ("json", "journald", "docker"):
        for fields in (Fields(), Fields(("message", "x.y"), "a.b")):
            try:
                message = FORMATS[name](json.dumps(values), fields)
            except ValueError:
                continue
            assert all(isinstance(part, str) for part in (message.text, message.time, message.stream))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\ud83d\ude00 \uD83D\uDE00", "😀 😀"),
        (r"cut \ud83d", "cut \ufffd"),
        (r"\ude00\ud83d\ude00\ud83d", "\ufffd😀\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\\ud83d \\\ud83d", "\\ud83d \\\ufffd"),
        ("\udcff \\udcff", "\udcff \ufffd"),
    ],
)
def test_a_lone_surrogate_in_json_is_not_a_character(text, expected):
    assert FORMATS["json"](f'{{"message": "{text}"}}', Fields()).text == expected


def test_a_json_object_without_a_message_is_scored_without_its_time():
    message = FORMATS["json"]('{"ts": 17, "level": "warn", "free": 0, "path": [1]}', Fields())
    assert (message.text, message.time) == ("level=warn free=0 path=[1]", "17")


def test_a_journal_entry_has_its_unit_as_key_and_may_be_binary_null_or_repeated():
    def parse(value):
        entry = {"__REALTIME_TIMESTAMP": "1700000000000000", "MESSAGE": value, "_SYSTEMD_UNIT": "a.service"}
        return FORMATS["journald"](json.dumps(entry), Fields(key="_SYSTEMD_UNIT"))

    assert [parse(value).text for value in ("x", [104, 255], None, ["a", [98], None])] == ["x", "h\udcff", "", "a b "]
    assert parse("x").key == "a.service"
    assert parse("x").time == "2023-11-14T22:13:20Z"


# Events


def events_of(data, path="-", **parsing):
    assembler, splitter = Assembler(Parsing(**parsing), path), LineSplitter()
    found = fed(assembler, splitter.feed(data))
    rest = splitter.rest()
    found += fed(assembler, [rest] if rest.n_bytes else [])
    return found + list(assembler.flush())


def test_an_event_of_a_plain_line_has_its_place_and_its_time_and_scores_the_rest():
    events = events_of(b"Jun 14 15:16:01 combo up\r\nno stamp\n", "app.log")
    assert [(event.text, event.line) for event in events] == [
        ("combo up", "Jun 14 15:16:01 combo up"),
        ("no stamp", "no stamp"),
    ]
    assert [(event.number, event.offset, event.path) for event in events] == [(1, 26, "app.log"), (2, 35, "app.log")]
    assert events[0].time == "Jun 14 15:16:01"
    assert events[0].shown_spans([(0, 5), (6, 8)]) == [(16, 21), (22, 24)]


def test_time_stamps_are_scored_if_wanted():
    (event,) = events_of(b"Jun 14 15:16:01 combo up\n", score_times=True)
    assert event.text == event.line


def test_the_parts_of_a_container_line_are_joined_by_stream():
    data = b"".join(
        b"2026-11-26T18:00:0%d.1Z %b\n" % (index, rest)
        for index, rest in enumerate([b"stdout P one ", b"stderr F err", b"stdout P two ", b"stdout F three"])
    )
    events = events_of(data)
    assert [event.text for event in events] == ["err", "one two three"]
    assert events[1].time == "2026-11-26T18:00:00.1Z"


def test_a_docker_record_without_a_newline_is_continued():
    records = [("a", "stdout"), ("x\n", "stderr"), ("b\n", "stdout")]
    lines = [json.dumps({"log": log, "stream": stream, "time": "2026-11-26T18:00:00Z"}) for log, stream in records]
    assert [event.text for event in events_of("\n".join(lines).encode())] == ["x", "ab"]


def test_the_message_of_a_container_may_have_a_format_of_its_own():
    data = b'2026-11-26T18:00:00.1Z stdout F {"msg":"full","host":"a"}\n'
    for format in ("auto", "cri", "cri+json"):
        (event,) = events_of(data, format=format, fields=Fields(key="host"))
        assert (event.text, event.key) == ("full", "a")
    (event,) = events_of(data, format="cri+plain")
    assert event.text.startswith("{")


def test_a_line_that_is_not_in_the_format_is_taken_as_plain_text_and_counted():
    assembler = Assembler(Parsing("json"), "-")
    lines = [b'{"msg": "a"}\n', b"Traceback:\n", b"\n", b'{"msg": "b"}\n']
    assert [event.text for event in fed(assembler, raw(*lines))] == [
        "a", "Traceback:", "", "b",
    ]  # fmt: skip
    assert assembler.n_invalid == 1


@given(
    st.sampled_from(["auto", *FORMATS, *(f"{outer}+{inner}" for outer in CONTAINERS for inner in FORMATS)]),
    st.lists(
        st.sampled_from(
            [
                b"",
                b"no format",
                b'{"msg": "a"}',
                b'{"log": "half", "stream": "stdout"}',
                b'{"log": "whole\n", "stream": "stdout"}',
                b"2026-11-26T18:00:00Z stdout P half",
                b"2026-11-26T18:00:00Z stdout F whole",
                b'2026-11-26T18:00:00Z stdout F {"msg": "a"}',
            ]
        ),
        max_size=12,
    ),
)
def test_each_line_counts_at_most_once_as_not_in_the_format(format, lines):
    assembler = Assembler(Parsing(format), "-")
    for line in lines:
        before = assembler.n_invalid
        assembler.feed(RawLine(line + b"\n", len(line) + 1))
        assert assembler.n_invalid - before in (0, 1)
    list(assembler.flush())
    assert assembler.n_invalid <= len(lines)


def test_lines_that_are_neither_in_the_outer_nor_in_the_inner_format_are_counted_once():
    assembler = Assembler(Parsing("cri+json"), "-")
    for line in (b"one\n", b"two\n"):
        assembler.feed(RawLine(line, len(line)))
    assert assembler.n_invalid == 2


HOSTILE = {
    "numbers": b'{"msg": 1%b, "time": 1e%b, "__REALTIME_TIMESTAMP": "%b"}' % ((b"9" * 5000,) * 3),
    "dates": b'{"msg": "x", "time": "99999999999-99-99T99:99:99.9999999999-99:99"}',
    "surrogates": rb'{"msg": "\ud800", "\udcff": "\ude00\ud83d", "time": "\ud800"}',
    "bytes": b'\0\xff\xed\xa0\x80\xf4\x90{"msg": "\xc3"}\0',
    "values": b'{"MESSAGE": [NaN, -Infinity, 1e999, [256, -1, true]], "stream": {}, "log": [], "time": {}}',
    "quotes": b'level="' + b'\\"' * 5000,
    "partial": b'{"log": "no end", "stream": ["a"], "time": 7}',
}


@pytest.mark.parametrize("format", ["auto", *FORMATS, "cri+json", "docker+journald", "docker+json"])
@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_line_holds_it_is_an_event_and_the_next_one_is_too(line, format):
    inside = {"docker": json.dumps({"log": line.decode("latin1") + "\n"}).encode()}
    inside["cri"] = b"2026-11-26T18:00:00Z stdout F " + line
    for data in (line, inside.get(format.split("+")[0], line)):
        events = events_of(data + b"\nusual\n", format=format, fields=Fields(key="stream"))
        assert 1 <= len(events) <= 2
        assert any(event.text.endswith("usual") for event in events)


def test_json_of_any_depth_is_an_event_wherever_pythons_limit_of_recursion_is():
    shapes = [(b"[", b"]"), (b'{"a":', b"}"), (b"[1, [", b"]]")]
    contents = (
        b'{"msg": "up", "deep": %b}',
        b'{"__REALTIME_TIMESTAMP": "1", "MESSAGE": %b}',
        b'{"log": "up\\n", "x": %b}',
    )
    for before, after in shapes:
        for depth in [*range(90, 110), *range(300, 1100, 3), 100_000]:
            for content, format in zip(contents, ("json", "journald", "docker"), strict=True):
                line = content % (before * depth + b"1" + after * depth)
                assembler = Assembler(Parsing(format), "-")
                event = assembler.feed(RawLine(line, len(line)))
                is_deep = depth * before.count(b"[") + depth * before.count(b"{") >= MAX_DEPTH
                assert assembler.n_invalid == is_deep
                assert (event.line == line.decode()) == is_deep


def test_a_format_that_fails_in_a_way_that_nobody_foresaw_does_not_stop_the_reading(monkeypatch):
    def fails(line, fields):
        raise ZeroDivisionError

    monkeypatch.setitem(FORMATS, "json", fails)
    assembler = Assembler(Parsing("json"), "-")
    event = assembler.feed(RawLine(b"{}", 2))
    assert (event.line, assembler.n_invalid) == ("{}", 1)


@pytest.mark.parametrize("format", ["auto", *FORMATS])
def test_a_line_of_100_mb_is_one_event_in_bounded_memory(format):
    def read():
        assembler, splitter = Assembler(Parsing(format), "-"), LineSplitter()
        blocks = (b'{"msg": "', *[b"x" * 2**20] * 100, b'"}\nnext\n')
        return [event for block in blocks for event in fed(assembler, splitter.feed(block))]

    events = read()
    assert [event.offset for event in events] == [100 * 2**20 + 12, 100 * 2**20 + 17]
    assert events[1].line == "next"
    assert allocated_by(read).peak < 16 * 2**20


def test_fields_of_any_size_keep_bounded_memory():
    def read(n):
        assemblers = Assembler(Parsing("docker"), "-"), Assembler(Parsing("json"), "-")
        for number in range(n):
            values = {"log": "x", "stream": f"{number:05}" * 10_000, "time": f"{number:05}" * 10_000}
            line = json.dumps(values).encode()
            times = [event.seconds for each in assemblers for event in fed(each, raw(line))]
            assert times == [None]
        return assemblers

    read(1)
    assert allocated_by(lambda: read(60)).peak < allocated_by(lambda: read(3)).peak + 500_000


TRACE = b"2026-11-26 10:00:00 error\n  at f\n  at g\n2026-11-26 10:00:01 fine\n"


def test_a_stack_trace_is_one_event():
    events = events_of(b"  lost\n" + TRACE, multiline=r"^\d{4}-")
    assert [(event.text, event.number) for event in events] == [
        ("  lost", 1), ("error\n  at f\n  at g", 2), ("fine", 5),
    ]  # fmt: skip
    assert events[1].offset == len(b"  lost\n" + TRACE) - len(b"2026-11-26 10:00:01 fine\n")


def test_an_event_of_several_lines_is_bounded():
    events = events_of(b"start\n" + b" more\n" * 3 * MAX_EVENT_LINES, multiline=r"^\S")
    assert [event.line.count("\n") + 1 for event in events] == [500, 500, 500, 1]
    events = events_of(b"start\n" + (b" " + b"x" * 30_000 + b"\n") * 10, multiline=r"^\S")
    assert max(len(event.line) for event in events) <= 65_536


def test_an_open_event_ends_when_nothing_comes():
    assembler = Assembler(Parsing(multiline=r"^\S"), "-")
    assert assembler.feed(RawLine(b"start\n", 6)) is None
    assert not assembler.is_idle
    time.sleep(IDLE_SECONDS + 0.1)
    assert assembler.is_idle
    assert [event.line for event in assembler.flush()] == ["start"]
    assert not assembler.is_idle


@given(st.lists(st.sampled_from([b"start\n", b" more\n", b"x stdout P a\n", b"x stderr F b\n"]), max_size=12))
@settings(max_examples=60)
def test_a_restored_assembler_gives_the_same_events_wherever_it_was_saved(lines):
    stamp = b"2026-11-26T18:00:00.1Z"
    lines = [stamp + line[1:] if line.startswith(b"x") else stamp + b" stdout F " + line for line in lines]
    parsing = Parsing("cri", multiline=r"^\S")
    whole = Assembler(parsing, "-")
    expected = [*fed(whole, raw(*lines)), *whole.flush()]
    assembler, found = Assembler(parsing, "-"), []
    for line in lines:
        found += fed(assembler, raw(line))
        described = json.loads(json.dumps(assembler.describe()))
        assembler = Assembler(parsing, "-")
        assembler.restore(described)
    found += assembler.flush()
    assert [(e.line, e.number, e.offset, e.time) for e in found] == [
        (e.line, e.number, e.offset, e.time) for e in expected
    ]


@pytest.mark.parametrize("format", ["xml", "cri+xml", "json+plain", "cri+json+plain", ""])
def test_an_unknown_format_is_refused(format):
    with pytest.raises(ValueError, match="format of a log must be"):
        Parsing(format)


# The lag


def test_the_lag_in_seconds_is_how_long_the_next_byte_has_been_there():
    meter = LagMeter()
    written = 0
    for second in range(100):
        written += 1000
        lag = meter.measure(500 * second, written - 500 * second, 5 * second, float(second))
    assert lag.seconds == pytest.approx(50, abs=2)
    assert lag.n_lines == pytest.approx(lag.n_bytes / 100, abs=1)
    for second in range(100 * MAX_MARKS):
        meter.measure(0, second, 1, float(second))
    assert len(meter._marks) <= MAX_MARKS


# The file of records


def test_what_was_written_after_the_saved_position_is_removed(tmp_path):
    with Interruptible() as control:
        out = OutputFile(str(tmp_path / "out"), control)
        out.write(b"one\n")
        described = out.describe()
        out.write(b"two\n")
        out.close()
        again = OutputFile(str(tmp_path / "out"), control, described)
        again.write(b"three\n")
        again.close()
    assert (tmp_path / "out").read_bytes() == b"one\nthree\n"


def test_a_file_of_records_that_is_shorter_than_saved_is_appended_to_with_a_warning(tmp_path, caplog):
    (tmp_path / "out").write_bytes(b"one\n")
    with Interruptible() as control:
        out = OutputFile(str(tmp_path / "out"), control, {"path": str(tmp_path / "out"), "size": 10})
        out.write(b"two\n")
        out.close()
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\n"
    assert "6 bytes fewer" in caplog.text


def test_a_record_begins_on_a_line_of_its_own_even_after_one_that_was_written_in_part(tmp_path):
    (tmp_path / "out").write_bytes(b"one\ntw")
    with Interruptible() as control:
        out = OutputFile(str(tmp_path / "out"), control)
        out.write(b"three\n")
        out.close()
    assert (tmp_path / "out").read_bytes() == b"one\ntw\nthree\n"


def test_a_full_disk_is_told_once_and_waited_for(tmp_path, caplog, monkeypatch):
    left = [7, 0, 0, 0, 100]
    real = os.write

    def write(number, data):
        space = left.pop(0)
        if space == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(number, data[:space])

    with Interruptible() as control:
        out = OutputFile(str(tmp_path / "out"), control)
        monkeypatch.setattr(os, "write", write)
        monkeypatch.setattr(control, "wait", lambda seconds: False)
        out.write(b"one record\n")
        out.flush()
    assert (tmp_path / "out").read_bytes() == b"one record\n"
    assert len(caplog.records) == 1
    assert "No space left on device; waiting" in caplog.text


# The command per alarm


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_command_gets_each_record_on_its_stdin_in_turn(tmp_path):
    command = AlertCommand(f"cat >> {tmp_path / 'got'}", ["left\n"])
    command('{"a": "$(touch evil)"}\n')
    command("\udcff\n")
    command.close()
    assert (tmp_path / "got").read_bytes() == b'left\n{"a": "$(touch evil)"}\n\xff\n'
    assert (command.n_run, command.n_failed, command.n_dropped, command.waiting()) == (3, 0, 0, [])


def test_a_command_that_fails_or_hangs_is_told_and_does_not_block(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(alerts_module, "TIMEOUT_SECONDS", 0.5)
    command = AlertCommand("read line; test $line = fail && exit 7; sleep 1000 & sleep 1000")
    for record in ("fail\n", "hang\n"):
        command(record)
    command.close()
    assert command.n_failed == 2
    assert "exit code 7" in caplog.text
    assert "killed after" in caplog.text


def test_a_command_that_does_not_end_is_killed_at_the_end(caplog, monkeypatch):
    monkeypatch.setattr(alerts_module, "END_SECONDS", 0.5)
    command = AlertCommand("sleep 1000")
    command("x\n")
    started = time.monotonic()
    command.close()
    assert time.monotonic() - started < 10
    assert "did not end in time" in caplog.text


def test_what_is_left_at_the_end_is_kept_and_not_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(alerts_module, "END_SECONDS", 1.0)
    command = AlertCommand(f"cat >> {tmp_path / 'got'}; sleep 1000")
    for index in range(5):
        command(f"{index}\n")
    wait_for((tmp_path / "got").exists)
    command.close()
    time.sleep(0.5)
    assert (tmp_path / "got").read_text() == "0\n"
    assert command.waiting() == [f"{index}\n" for index in range(5)]
    assert (command.n_run, "alarms left: 5" in caplog.text) == (1, True)


def test_at_the_end_the_command_runs_without_a_pause(tmp_path, monkeypatch):
    monkeypatch.setattr(alerts_module, "INTERVAL_SECONDS", 1000.0)
    command = AlertCommand(f"cat >> {tmp_path / 'got'}", [f"{index}\n" for index in range(alerts_module.BURST + 5)])
    command.close()
    assert len((tmp_path / "got").read_text().splitlines()) == alerts_module.BURST + 5


def test_the_command_is_run_at_a_limited_rate_and_too_many_alarms_are_dropped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(alerts_module, "INTERVAL_SECONDS", 1000.0)
    monkeypatch.setattr(alerts_module, "MAX_WAITING", 20)
    command = AlertCommand(f"cat >> {tmp_path / 'got'}")
    for index in range(60):
        command(f"{index}\n")
    wait_for(lambda: command.n_run >= alerts_module.BURST)
    time.sleep(0.2)
    assert command.n_run == alerts_module.BURST
    assert command.n_dropped >= 60 - 20 - alerts_module.BURST
    assert len(command.waiting()) + command.n_dropped + command.n_run in (60, 61)
    command.close()
    assert len((tmp_path / "got").read_text().splitlines()) == 60 - command.n_dropped


# Metrics


def test_metrics_are_well_formed_and_have_no_labels(tmp_path):
    values = {name: 1.5 for name, _, _ in METRICS} | {"threshold": float("inf")}
    write_metrics(tmp_path / "m.prom", values)
    text = (tmp_path / "m.prom").read_text()
    assert text == metrics_text(values)
    rows = [row for row in text.splitlines() if not row.startswith("#")]
    assert len(rows) == len(METRICS)
    assert all(re.fullmatch(r"streamlstm_watch_[a-z_]+ (1\.5|\+Inf)", row) for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["m.prom"]


def test_metrics_are_served_on_this_machine(monkeypatch):
    parser = pytest.importorskip("prometheus_client.parser")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    end = serve_metrics(port, lambda: {"lines_total": 12, "lag_seconds": 0.5})
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    finally:
        end()
    assert "streamlstm_watch_lines_total 12.0" in text
    families = {family.name: family.type for family in parser.text_string_to_metric_families(text)}
    assert families == {"streamlstm_watch_lines": "counter", "streamlstm_watch_lag_seconds": "gauge"}


def test_the_written_metrics_parse_as_those_that_are_served():
    parser = pytest.importorskip("prometheus_client.parser")
    values = {name: 2.0 for name, _, _ in METRICS}
    families = list(parser.text_string_to_metric_families(metrics_text(values)))
    assert [sample.value for family in families for sample in family.samples] == [2.0] * len(METRICS)


def test_an_event_without_a_time_stamp_is_shown_as_it_is():
    event = Event("plain")
    assert (event.text, event.shown_spans([(0, 2)]), event.seconds) == ("plain", [(0, 2)], None)
