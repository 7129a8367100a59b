"""The MCP tools: which files may be read, which lines are surprising, and the protocol itself."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from threading import Event, Thread

import pytest
from extras import library
from hypothesis import given, settings
from hypothesis import strategies as st
from no_network import CAN_FORBID, FORBIDDEN

from streamlstm import Config, StreamPredictor
from streamlstm.integrations.roots import AllowedFolders
from streamlstm.integrations.surprising import Tail, _first_since, read_tail, surprising_lines

ODD = "KERNEL PANIC at 0xc0ffee"


def predictor():
    return StreamPredictor(config=Config(hidden=16, layers=1, memory_bits=12))


def log(n=300, odd=200):
    """Lines of a job log, one an hour, of which one is unusual."""
    lines = [f"2026-11-{1 + k // 24:02} {k % 24:02}:00:00 job {k % 7} done" for k in range(n)]
    lines[odd] = f"2026-11-{1 + odd // 24:02} {odd % 24:02}:00:00 {ODD}"
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.fixture
def folders(tmp_path):
    """A folder that may be read, and beside it one that may not."""
    for name in ("logs", "secret"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "below" / "a.log").write_text(name)
        (tmp_path / name / "b.log").write_text(f"{name} b")
    return tmp_path


def read(allowed, path):
    with allowed.open(str(path)) as file:
        return file.read().decode()


def test_files_below_an_allowed_folder_are_read(folders):
    allowed = AllowedFolders([folders / "logs"])
    assert read(allowed, "b.log") == "logs b"
    assert read(allowed, folders / "logs" / "below" / "a.log") == "logs"
    assert read(allowed, "below/../b.log") == "logs b"
    (folders / "logs" / "link.log").symlink_to("below/a.log")
    assert read(allowed, "link.log") == "logs"
    both = AllowedFolders([folders / "secret", folders / "logs"])
    (folders / "logs" / "only.log").write_text("only")
    assert read(both, "only.log") == "only"


def test_nothing_else_is_read(folders):
    logs, secret = folders / "logs", folders / "secret"
    (logs / "file-link.log").symlink_to(secret / "b.log")
    (logs / "folder-link").symlink_to(secret)
    (folders / "logs-too").mkdir()
    (folders / "logs-too" / "c.log").write_text("c")
    allowed = AllowedFolders([logs])
    outside = ["../secret/b.log", secret / "b.log", "file-link.log", "folder-link/b.log", logs, ".", "", "\0"]
    outside += ["/etc/passwd", folders / "logs-too" / "c.log", "../missing.log", "folder-link/missing.log"]
    outside += [f"/proc/self/root{secret}/b.log", f"/proc/self/cwd/../../../../../..{secret}/b.log", "/dev/stdin"]
    outside += [
        f"{logs}/../secret/b.log",
        f"{logs}//../secret/b.log",
        "below/../../secret/b.log",
        "\ud800",
    ]
    for path in outside:
        with pytest.raises(PermissionError, match="is not below a folder that may be read"):
            allowed.open(str(path))


def test_only_regular_files_are_read(folders):
    os.mkfifo(folders / "logs" / "fifo")
    allowed = AllowedFolders([folders / "logs"])
    for path in ("fifo", "below"):
        with pytest.raises(OSError, match="is not a regular file"):
            allowed.open(path)
    with pytest.raises(FileNotFoundError, match=r"none.log cannot be read: No such file"):
        allowed.open("none.log")


def test_a_link_that_appears_after_the_check_is_refused(folders, monkeypatch):
    allowed = AllowedFolders([folders / "logs"])
    (folders / "logs" / "below" / "a.log").unlink()
    (folders / "logs" / "below" / "a.log").symlink_to(folders / "secret" / "b.log")
    monkeypatch.setattr("os.readlink", lambda path: (_ for _ in ()).throw(OSError()))  # as if it had not been there
    with pytest.raises(OSError, match="symbolic links"):
        allowed.open("below/a.log")


def swap(path, target, is_ended):
    """Let a path be a folder and a link to another one by turns."""
    aside = path.with_name(path.name + "-aside")
    steps = [lambda: path.rename(aside), lambda: path.symlink_to(target), path.unlink, lambda: aside.rename(path)]
    while not is_ended.is_set():
        for step in steps:
            step()
            time.sleep(0)  # let the other thread run


@pytest.mark.parametrize(("swapped", "refusal"), [("logs/below", PermissionError), ("logs", NotADirectoryError)])
def test_a_folder_that_is_swapped_for_a_link_while_files_are_opened_leads_nowhere(folders, swapped, refusal):
    allowed, is_ended = AllowedFolders([folders / "logs"]), Event()
    target = folders / swapped.replace("logs", "secret")
    swapping = Thread(target=swap, args=(folders / swapped, target, is_ended))
    swapping.start()
    found, wanted = Counter(), ("logs", refusal)  # a link was met before the file was opened
    deadline = time.monotonic() + 60
    try:
        while found.total() < 3000 or (not all(map(found.get, wanted)) and time.monotonic() < deadline):
            try:
                found[read(allowed, "below/a.log")] += 1
            except OSError as error:
                found[type(error)] += 1
    finally:
        is_ended.set()
        swapping.join()
    assert all(map(found.get, wanted)), found
    assert not found["secret"]


def test_what_is_not_a_folder_is_refused(folders):
    for wrong, message in (([], "at least one"), ([folders / "none"], "is not a folder")):
        with pytest.raises(ValueError, match=message):
            AllowedFolders(wrong)


def test_the_tail_of_a_file_begins_with_a_line():
    data = b"one\ntwo\r\nthree\nfour"
    assert read_tail(io.BytesIO(data), 100) == Tail([b"one\n", b"two\r\n", b"three\n", b"four"], 1, 0)
    assert read_tail(io.BytesIO(data), 12) == Tail([b"three\n", b"four"], 3, 9)
    assert read_tail(io.BytesIO(data), 10) == Tail([b"three\n", b"four"], 3, 9)
    assert read_tail(io.BytesIO(data), 2) == Tail([b"ur"], 4, 17)
    assert read_tail(io.BytesIO(b""), 10) == Tail([], 1, 0)


def test_the_unusual_line_is_the_most_surprising():
    first, second = surprising_lines(predictor(), read_tail(io.BytesIO(log()), 10**6), 2)
    assert ODD in first.line.text
    assert (first.place.number, first.line.z > 7 > second.line.z) == (201, True)
    assert (first.n_lines, second.n_lines) == (1, 299)
    assert log()[first.place.offset :].startswith(first.line.text.encode())


SINCE = {"150": 150, "202": 202, "2026-11-09 08:00": 201, "2026-11-09T09": 202, "2026-11-10": 217, "2026": 2026}
SINCE |= {
    "2026-11-09T08:00:00Z": 201,
    "2026-11-09T08:00:00.25": 202,
    "2026-11-09 08:00:00,5+02:00": 202,
    "2026-12": 999,
}


@pytest.mark.parametrize(("since", "first"), SINCE.items())
def test_only_lines_since_then_are_reported(since, first):
    lines = surprising_lines(predictor(), read_tail(io.BytesIO(log()), 10**6), 1000, since)
    assert all(each.place.number >= first for each in lines)
    assert any(ODD in each.line.text for each in lines) is (first <= 201)


def test_times_with_offsets_are_compared_as_moments():
    lines = [
        b"2026-11-26T14:00:00.5+02:00 a\n",
        b"2026-11-26T12:30:00Z b\n",
        b"2026-99-99 c\n",
        b"2026-11-26 13:00 d\n",
    ]
    tail = Tail(lines, 1, 0)
    wanted = {"2026-11-26T12:00:00.4Z": 0, "2026-11-26T12:00:00.6Z": 1, "2026-11-26T14:30+02:00": 1}
    wanted |= {"2026-11-26T12:30:01Z": 3, "2026-11-26T13:01": 0, "9999-12-31T23:59:59-12:00": 4}
    assert {since: _first_since(tail, since) for since in wanted} == wanted


@settings(max_examples=300)
@given(st.text("0123456789-T: .,Z+", max_size=30), st.binary(max_size=40))
def test_any_since_is_understood_or_refused_with_a_sentence(since, line):
    tail = Tail([line], 1, 0)
    with contextlib.suppress(ValueError):
        assert _first_since(tail, since) >= 0
        return
    with pytest.raises(ValueError, match="since must be"):
        _first_since(tail, since)


class Counting(io.BytesIO):
    n_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.n_read += len(data)
        return data


def test_of_a_long_file_only_the_end_is_read():
    data = b"".join(b"line %d\n" % n for n in range(100_000))
    file = Counting(data)
    tail = read_tail(file, 1000, max_counted=10_000)
    assert file.n_read <= 1001
    assert (tail.number, data[tail.offset :]) == (0, b"".join(tail.lines))
    assert tail == read_tail(io.BytesIO(data), 1000)._replace(number=0)
    assert read_tail(io.BytesIO(data), 1000, max_counted=len(data)) == read_tail(io.BytesIO(data), 1000)
    with pytest.raises(ValueError, match="give since as a date and time"):
        _first_since(tail, "100")


PARTS = st.sampled_from(
    [".", "..", "allowed", "outside", "s", "back", "none", "a.log", "below", "b.log", "out", "loop"]
)


@settings(max_examples=300)
@given(st.lists(PARTS, max_size=8), st.booleans())
def test_an_answer_does_not_depend_on_what_is_outside(tmp_path_factory, parts, is_absolute):
    answers = []
    for kind in ("nothing", "folder", "link", "file"):
        top = _a_tree(tmp_path_factory, kind)
        path = os.path.join(top, *parts) if is_absolute else os.path.join(".", *parts)
        try:
            answers.append(read(AllowedFolders([top / "allowed"]), path))
        except OSError as error:
            answers.append((type(error), str(error).replace(str(top), "")))
        assert "secret" not in answers[-1]
    assert len(set(answers)) == 1, (parts, answers)


TREES = {}


def _a_tree(factory, kind):
    """A folder `allowed` that may be read, beside `outside`, in which something is or is not."""
    if kind in TREES:
        return TREES[kind]
    top = TREES[kind] = factory.mktemp("tree")
    (top / "allowed" / "below").mkdir(parents=True)
    (top / "allowed" / "a.log").write_text("a")
    (top / "allowed" / "below" / "b.log").write_text("b")
    (top / "allowed" / "out").symlink_to("../outside")
    (top / "allowed" / "s").symlink_to("../outside/s/../../allowed/below")
    (top / "allowed" / "loop").symlink_to("loop")
    (top / "outside").mkdir()
    (top / "outside" / "b.log").write_text("secret")
    if kind == "folder":
        (top / "outside" / "s").mkdir()
        (top / "outside" / "back").mkdir()
    elif kind == "link":
        (top / "outside" / "s").symlink_to(top / "allowed" / "below")
        (top / "outside" / "back").symlink_to(top / "allowed")
    elif kind == "file":
        (top / "outside" / "s").write_text("secret")
        (top / "outside" / "back").write_text("secret")
    return top


def test_a_wrong_since_or_top_is_refused():
    tail = read_tail(io.BytesIO(log(20, 3)), 10**6)
    wrong = [
        "yesterday",
        "12:00",
        "2026-11-09 8:00",
        "2026-13-45",
        "2026-02-30",
        "2026-11-09 24:00",
        "2026-11-09 10:61",
    ]
    for since in (*wrong, "0000-01-01", "2026-11-09T10:00:61", "2026-11-09T10:00:00+1", "2026-11-09 10:00 and more"):
        with pytest.raises(ValueError, match="since must be"):
            surprising_lines(predictor(), tail, 5, since)
    with pytest.raises(ValueError, match="top must be"):
        surprising_lines(predictor(), tail, -1)


def call(server, tool, **arguments):
    """The result of a tool, called over the protocol in memory: its JSON, or the error's text."""
    from mcp import Client

    async def run():
        async with Client(server) as client:
            result = await client.call_tool(tool, arguments)
            text = result.content[0].text
            return text if result.is_error else json.loads(text)

    return asyncio.run(run())


@pytest.fixture
def server(folders):
    library("mcp")
    from streamlstm.integrations.mcp import Tools, make_server

    (folders / "logs" / "jobs.log").write_bytes(log())
    allowed = AllowedFolders([folders / "logs"])
    return make_server(Tools(predictor(), allowed), allowed)


def test_the_tool_reports_the_unusual_line(server):
    result = call(server, "surprising_lines", path="jobs.log", top=1)
    (line,) = result["lines"]
    assert ODD in line["text"]
    assert (line["line"], line["count"]) == (201, 1)
    assert any("PANIC" in part for part in line["surprising"])
    assert (result["lines_read"], result["skipped_bytes"]) == (300, 0)
    assert result == call(server, "surprising_lines", path="jobs.log", top=1)  # a call changes nothing


def test_the_tool_reads_nothing_outside(server, folders):
    error = call(server, "surprising_lines", path=str(folders / "secret" / "b.log"))
    assert "is not below a folder that may be read" in error
    assert "secret b" not in error
    assert "since must be" in call(server, "surprising_lines", path="jobs.log", since="soon")


def test_a_text_is_scored(server):
    text = "job 1 done é\udc80 PANIC".encode("utf-8", "replace").decode()
    result = call(server, "score_text", text=text)
    assert result["bits"] == pytest.approx(sum(word["bits"] for word in result["words"]), abs=0.01)
    assert result["characters"] == len(text)
    assert "at most 100,000 are scored" in call(server, "score_text", text="a" * 100_001)


@pytest.mark.slow
def test_the_command_speaks_the_protocol_on_stdin_and_stdout_and_uses_no_network(folders):
    library("mcp")
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    (folders / "logs" / "jobs.log").write_bytes(log())
    script = f"{FORBIDDEN if CAN_FORBID else ''}from streamlstm.cli import main\nmain()"
    arguments = ["-c", script, "mcp", "--hidden", "16", "--layers", "1", str(folders / "logs")]
    command = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))

    async def run():
        async with Client(stdio_client(command)) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool("surprising_lines", {"path": "jobs.log", "top": 1})
            return names, json.loads(result.content[0].text)

    names, result = asyncio.run(run())
    assert names == {"surprising_lines", "score_text"}
    assert ODD in result["lines"][0]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_ends_at_once_on_a_signal_and_at_the_end_of_stdin(folders, number):
    library("mcp")
    command = [sys.executable, "-m", "streamlstm", "mcp", "--hidden", "16", "--layers", "1", str(folders / "logs")]
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode() + b"\n"
    for by_signal in (True, False):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            server.stdin.write(request)
            server.stdin.flush()
            assert json.loads(server.stdout.readline())["result"]["serverInfo"]["name"] == "streamlstm"
            if by_signal:
                server.send_signal(number)
            else:
                server.stdin.close()
            assert server.wait(60) == (-number if by_signal else 0)
