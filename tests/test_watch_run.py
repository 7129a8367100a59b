"""`watch` in production: real files and pipes, rotation, kill -9, budgets, commands, metrics and exit codes."""

import bz2
import gzip
import json
import lzma
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import kills, run, start
from test_cli import next_line, objects

from streamlstm import StreamPredictor, Watcher
from streamlstm.checkpoint import read_checkpoint

FRESH = ["--hidden", "16", "--layers", "1", "--window", "8", "--memory-bits", "10"]
JSONL = ["--format", "jsonl"]
QUICK = "import streamlstm.logs.follow as f; f.ROTATE_SECONDS = 0.2"


def usual(n):
    return f"2026-11-26 10:{n // 60 % 60:02}:{n % 60:02} job {n % 7} done in {100 + n % 13} ms\n"


def lines_of(n, every=100):
    """Usual lines, and every so often a strange one, each of another kind."""
    words = ["kernel panic", "disk on fire", "lost quorum", "stack smashed", "bad magic", "split brain"]
    strange = [f"{first} !{second}!\n" for first in words for second in words]
    draw = random.Random(5)
    return [draw.choice(strange) if n > 200 and draw.random() < 1 / every else usual(n) for n in range(n)]


def records(path):
    return objects(path.read_bytes())


def without_lag(found):
    return [{name: value for name, value in record.items() if not name.startswith("lag")} for record in found]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def stop(process, code=143):
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == code, errors
    return errors


# Records


def test_a_record_tells_where_the_line_is_and_when_it_was(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("".join(usual(n) for n in range(200)) + "2026-11-26 11:00:00 kernel panic\n")
    (record,) = objects(run("watch", path, *FRESH, *JSONL).stdout)
    assert record["version"] == 1
    assert (record["line"], record["path"], record["rotation"]) == (201, str(path), 0)
    assert record["offset"] == path.stat().st_size
    assert (record["text"], record["time"]) == ("kernel panic", "2026-11-26 11:00:00")
    assert record["text"][slice(*record["spans"][0])] in record["text"]
    assert (record["kind"], record["key"], record["session"]) == ("kernel panic", "", None)
    assert 0 < record["probability"] <= 0.02
    assert record["flagged"]
    assert record["raised"]
    assert (record["lag_lines"], record["lag_seconds"]) == (None, None)
    shown = run("watch", path, *FRESH).stdout.decode().splitlines()
    assert shown[1].endswith("2026-11-26 11:00:00 kernel panic")
    assert shown[2].index("^") >= shown[1].index("kernel")


def test_time_stamps_are_not_scored(tmp_path):
    for name, stamp in (("a", "2026-11-26 10:00:00 "), ("b", "")):
        (tmp_path / name).write_text("".join(f"{stamp}job {n % 7}\n" for n in range(120)))
    a, b = (objects(run("watch", tmp_path / name, *FRESH, *JSONL, "--all").stdout) for name in "ab")
    assert [record["score"] for record in a] == [record["score"] for record in b]
    scored = objects(run("watch", tmp_path / "a", *FRESH, *JSONL, "--all", "--score-times").stdout)
    assert scored[0]["text"] == "2026-11-26 10:00:00 job 0"


def test_several_files_are_told_apart_and_compressed_ones_read(tmp_path):
    lines = lines_of(900)
    (tmp_path / "a.gz").write_bytes(gzip.compress("".join(lines[:400]).encode()))
    (tmp_path / "b").write_text("".join(lines[400:]))
    result = run("watch", tmp_path / "a.gz", tmp_path / "b", *FRESH)
    assert result.stdout.count(b"==>") == 2
    assert result.stderr.startswith(b"900 lines")
    whole = objects(run("watch", *FRESH, *JSONL, "--all", stdin="".join(lines).encode()).stdout)
    parts = objects(run("watch", tmp_path / "a.gz", tmp_path / "b", *FRESH, *JSONL, "--all").stdout)
    assert [record["score"] for record in parts] == [record["score"] for record in whole]
    assert [record["line"] for record in parts] == [*range(1, 401), *range(1, 501)]


def test_json_lines_have_a_message_and_a_key():
    lines = b"".join(
        b'{"ts": %d, "host": "h%d", "message": "job %d done", "pad": "%s"}\n' % (n, n % 2, n % 5, b"x" * (n % 3))
        for n in range(80)
    )
    found = objects(run("watch", *FRESH, *JSONL, "--all", "--key-field", "host", stdin=lines).stdout)
    assert [record["key"] for record in found[:4]] == ["h0", "h1", "h0", "h1"]
    assert found[3]["text"] == "job 3 done"
    assert found[3]["time"] == "3"
    found = objects(run("watch", *FRESH, *JSONL, "--all", "--field", "host", "--field", "pad", stdin=lines).stdout)
    assert found[2]["text"] == "h0 xx"


def test_a_stack_trace_is_one_record_on_one_line():
    trace = "2026-11-26 10:00:00 error\n  at f\n  at g\n"
    lines = "".join(usual(n) for n in range(150)) + trace + usual(1)
    result = run("watch", *FRESH, "--multiline", r"^\d{4}-", stdin=lines.encode())
    assert rb"error\n  at f\n  at g" in result.stdout
    assert result.stderr.startswith(b"152 lines")


def test_a_live_stack_trace_is_told_when_nothing_follows_it():
    with start("watch", *FRESH, *JSONL, "--all", "--multiline", r"^\S") as process:
        process.stdin.write(b"error\n  at f\n")
        assert json.loads(next_line(process))["text"] == "error\n  at f"
        process.stdin.close()
        process.stdout.read()
        process.stderr.read()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("journal.gz", '{"__REALTIME_TIMESTAMP": "1764150000000000", "SYSLOG_IDENTIFIER": "sshd", "MESSAGE": "job N"}'),
        ("docker.xz", '{"log": "job N\\n", "stream": "stdout", "time": "2026-11-26T10:00:00Z"}'),
        ("cri.bz2", "2026-11-26T10:00:00.123456789Z stdout F job N"),
        ("logfmt.zst", 'time=2026-11-26T10:00:00Z level=info msg="job N"'),
    ],
)
def test_structured_lines_in_compressed_files_are_recognised(tmp_path, name, line):
    if name.endswith("zst"):
        compress = pytest.importorskip("zstandard").compress
    else:
        compress = {"gz": gzip, "xz": lzma, "bz2": bz2}[name.partition(".")[2]].compress
    data = "".join(line.replace("N", str(n % 7)) + "\n" for n in range(40)).encode()
    (tmp_path / name).write_bytes(compress(data))
    found = objects(run("watch", tmp_path / name, *FRESH, *JSONL, "--all").stdout)
    assert len(found) == 40
    assert {record["text"].removeprefix("sshd: ") for record in found} == {f"job {n}" for n in range(7)}
    assert all(record["time"] for record in found)
    assert found[-1]["offset"] == len(data)


# Budgets


def test_a_budget_of_alarms_is_told_and_kept(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("".join(lines_of(2000, every=10)))
    result = run("watch", path, *FRESH, *JSONL, "--alarms", "10/1000", "--warmup", 50)
    found = objects(result.stdout)
    assert 5 <= len(found) <= 40
    assert all(record["raised"] and record["flagged"] for record in found)
    last = {}
    for record in found:
        assert record["line"] - last.get(record["kind"], -1000) >= 990
        last[record["kind"]] = record["line"]
    summary, *kinds = result.stderr.decode().splitlines()
    assert f"{len(found)} raised" in summary
    assert "of a kind raised before" in summary
    assert kinds
    assert all("more lines like: " in kind for kind in kinds)


def test_fail_tells_in_the_exit_code_whether_anything_was_raised(tmp_path):
    calm = "".join(usual(n) for n in range(200)).encode()
    assert run("watch", *FRESH, "--fail", stdin=calm).returncode == 0
    assert run("watch", *FRESH, "--fail", stdin=calm + b"kernel panic\n").returncode == 3
    assert run("watch", *FRESH, stdin=calm + b"kernel panic\n").returncode == 0


# Outputs


def test_a_command_gets_each_alarm(tmp_path):
    stdin = "".join([*(usual(n) for n in range(200)), "kernel panic $(touch evil)\n"]).encode()
    result = run("watch", *FRESH, *JSONL, "--exec", "cat > got", stdin=stdin, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert objects((tmp_path / "got").read_bytes()) == objects(result.stdout)
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


def test_metrics_are_written_while_it_runs_and_at_the_end(tmp_path):
    metrics, log = tmp_path / "watch.prom", tmp_path / "app.log"
    log.write_text("".join(usual(n) for n in range(200)) + "kernel panic\n")
    with start("watch", "--follow", log, *FRESH, "--metrics", metrics, "--save", tmp_path / "m") as process:
        wait_for(lambda: metrics.exists() and "lines_total 201\n" in metrics.read_text())
        text = metrics.read_text()
        assert "alarms_total 1\n" in text
        assert "lag_lines 0\n" in text
        assert "panic" not in text
        stop(process)
    assert "saved_seconds 1" in metrics.read_text()


def test_metrics_need_their_extra_or_are_served(tmp_path):
    result = run("watch", *FRESH, "--metrics-port", 0, stdin=b"x\n")
    if result.returncode:
        assert b"streamlstm[metrics]" in result.stderr
    else:
        assert result.stderr.startswith(b"1 line,")


def test_a_full_stdout_is_told_in_one_line():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "wb") as full:
        process = start("watch", *FRESH, "--all", stdout=full)
        errors = process.communicate(b"x\n" * 3000, timeout=60)[1]
    assert process.returncode == 1
    assert errors.count(b"\n") == 1
    assert b"No space left" in errors


def test_metrics_that_cannot_be_written_are_told_and_watching_goes_on(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    stdin = b"x\n"
    with start("watch", *FRESH, "--metrics", folder / "m", *JSONL, "--all") as process:
        process.stdin.write(stdin)
        next_line(process)
        shutil.rmtree(folder)
        process.stdin.close()
        assert b"cannot write to" in process.stderr.read()
    assert process.returncode == 0


def test_a_state_that_cannot_be_saved_is_told_and_watching_goes_on(tmp_path):
    log, limited = (
        tmp_path / "app.log",
        (
            "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
            "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"
        ),
    )
    log.write_text("one\n")
    save = ["--save", tmp_path / "m", "--save-every", 0.1]
    with start("watch", "--follow", log, *FRESH, *JSONL, "--all", *save, before=limited) as process:
        assert json.loads(next_line(process))["text"] == "one"
        message = next_line_of(process.stderr)
        assert b"not saved yet: " in message, message
        with open(log, "a") as file:
            file.write("two\n")
        assert json.loads(next_line(process))["text"] == "two"
        assert "File too large" in stop(process, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["app.log"]


# Following


def test_follow_survives_rotation_by_itself(tmp_path):
    log = tmp_path / "app.log"
    log.write_text("one\n")
    with start("watch", "--follow", log, *FRESH, *JSONL, "--all", before=QUICK) as process:
        assert json.loads(next_line(process))["text"] == "one"
        log.rename(f"{log}.1")
        with open(f"{log}.1", "a") as old:
            old.write("late\n")
        log.write_text("two\n")
        assert json.loads(next_line(process))["text"] == "late"
        assert json.loads(next_line(process))["text"] == "two"
        shutil.copy(log, f"{log}.2")
        os.truncate(log, 0)
        with open(log, "a") as file:
            file.write("three\n")
        record = json.loads(next_line(process))
        assert (record["text"], record["rotation"], record["offset"]) == ("three", 2, 6)
        assert record["lag_lines"] <= 1  # it is measured once a second
        errors = stop(process)
    assert "was replaced" in errors
    assert "was truncated" in errors


def test_follow_waits_for_a_file(tmp_path):
    log = tmp_path / "app.log"
    with start("watch", "--follow", log, *FRESH, *JSONL, "--all") as process:
        assert b"No such file" in next_line_of(process.stderr)
        log.write_text("one\n")
        assert json.loads(next_line(process))["text"] == "one"
        stop(process)


def test_a_file_that_may_not_be_read_is_told_and_waited_for(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("root may read every file, unless it gives up its capabilities as Linux has them")
    log = tmp_path / "app.log"
    log.write_text("one\n")
    log.chmod(0)
    no_capabilities = (
        "import ctypes; ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)())"
    )
    with start("watch", log, *FRESH, before=no_capabilities) as process:
        errors = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "Permission denied" in errors
    with start("watch", "--follow", log, *FRESH, *JSONL, "--all", before=no_capabilities) as process:
        assert b"Permission denied" in next_line_of(process.stderr)
        log.chmod(0o644)
        assert json.loads(next_line(process))["text"] == "one"
        stop(process)


def next_line_of(stream):
    return stream.readline()


IMPATIENT = """
from streamlstm.cli import watch_run as watch_notes; from streamlstm.cli import watch_run
watch_notes.BEHIND_SECONDS, watch_run.TICK_SECONDS = 0.5, 0.1
"""


def test_it_is_told_how_far_it_is_behind(tmp_path):
    log = tmp_path / "app.log"
    log.write_text("".join(usual(n) for n in range(60_000)))
    with start("watch", "--follow", log, *FRESH, before=IMPATIENT) as process:
        message = next_line_of(process.stderr).decode()
        assert message.startswith("streamlstm: behind by about ")
        assert "lines (" in message
        process.kill()
        process.communicate()


def test_a_pipe_that_is_always_full_is_told():
    yes = subprocess.Popen(["yes", "an endless line"], stdout=subprocess.PIPE)
    with start("watch", *FRESH, stdin=yes.stdout, before=IMPATIENT) as process:
        assert b"there was always more to read" in next_line_of(process.stderr)
        process.kill()
        process.communicate()
    yes.kill()
    yes.wait()
    yes.stdout.close()


# What must be survived


def test_a_line_of_100_megabytes_is_told_and_survived(tmp_path):
    path = tmp_path / "app.log"
    with open(path, "wb") as file:
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b"\nshort\n")
    result = run("watch", path, *FRESH, "--freeze", "--all", *JSONL)
    first, second = objects(result.stdout)
    assert (len(first["text"]), second["text"], second["offset"]) == (16384, "short", 100_000_007)
    assert b"line 1 has more than 16,384 bytes and was truncated" in result.stderr


def test_nul_bytes_are_survived_and_those_at_the_beginning_of_a_line_skipped():
    result = run("watch", *FRESH, "--all", *JSONL, stdin=b"\0" * 100_000 + b"a\0b\n")
    (record,) = objects(result.stdout)
    assert (record["text"], record["offset"]) == ("a\0b", 100_004)
    assert b"skipped 100,000 NUL bytes" in result.stderr


@pytest.mark.parametrize("options", [["--alarms", "5/hour"], ["--session-regex", r"job \d"]])
def test_a_clock_that_jumps_is_told_and_survived(options):
    stamps = ["2026-11-26 10:00:00"] * 150 + ["2099-01-01 00:00:00", "2026-11-26 10:00:05"] * 50
    lines = [f"{stamp} job {n % 7} done\n" for n, stamp in enumerate(stamps)]
    result = run("watch", *FRESH, *options, stdin="".join(lines).encode())
    assert result.returncode == 0
    told = [line for line in result.stderr.decode().splitlines() if "time went back" in line]
    assert len(told) == 6
    assert told[0].endswith(" s, to 2026-11-26 10:00:05")
    assert told[5].endswith("such lines so far: 32")
    assert result.stderr.splitlines()[-1].startswith(b"250 lines")


def test_lines_that_are_not_in_the_format_are_told_and_taken_as_text(tmp_path):
    options = [*FRESH, "--all", *JSONL, "--input-format", "json"]
    result = run("watch", *options, stdin=b'{"msg": "a"}\nTraceback\n')
    assert [record["text"] for record in objects(result.stdout)] == ["a", "Traceback"]
    assert b"streamlstm: 1 line was not in the format of the input, and read as plain text\n" in result.stderr
    files = [tmp_path / name for name in "abc"]
    for path in files:
        path.write_text('oops\n{"msg": "a"}\n')
    assert b"3 lines were not in the format" in run("watch", *files, *options).stderr
    assert b"not in the format" not in run("watch", *options, stdin=b'{"msg": "a"}\n').stderr


# Restarts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_next_run_continues_where_it_was(tmp_path, number):
    log, state = tmp_path / "app.log", tmp_path / "m"
    lines = lines_of(600, every=20)
    log.write_text("".join(lines))
    arguments = ["watch", log, *FRESH, *JSONL, "--all", "--save", state, "--resume"]
    expected = objects(run("watch", log, *FRESH, *JSONL, "--all").stdout)
    with start(*arguments) as process:
        first = [next_line(process) for _ in range(50)]
        process.send_signal(number)
        first.append(process.stdout.read())
        process.stderr.read()
    assert process.returncode == 128 + number
    second = run(*arguments)
    assert objects(b"".join(first) + second.stdout) == expected
    assert run(*arguments).stdout == b""


def test_resume_begins_anew_without_a_saved_file_and_model_alone_reads_all(tmp_path):
    log, state = tmp_path / "app.log", tmp_path / "m"
    log.write_text("".join(usual(n) for n in range(150)))
    for _ in range(2):
        result = run("watch", log, *FRESH, "--save", state, "--resume")
        assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(b"0 lines")
    assert run("watch", log, "--model", state).stderr.startswith(b"150 lines")


def test_the_state_is_saved_every_so_often(tmp_path):
    log, state = tmp_path / "app.log", tmp_path / "m"
    log.write_text("one\n")
    with start("watch", "--follow", log, *FRESH, "--save", state, "--save-every", 0.1) as process:
        wait_for(lambda: state.exists() and read_checkpoint(state)[1]["watch"]["counts"][0] == 1)
        process.kill()
        process.communicate()
    position = read_checkpoint(state)[1]["watch"]["position"]["source"][str(log)]
    assert (position["offset"], position["place"]["inode"]) == (4, log.stat().st_ino)
    assert StreamPredictor.load(state).n_symbols == 4


def watch_with_kills(arguments, n_kills, draw, errors):
    """Run watch again and again, killing it with SIGKILL at random times, until it has read all. Returns the kills."""
    for n_killed in range(n_kills + 1):
        process = start(*arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            process.wait(draw.uniform(0.05, 0.6) if n_killed < n_kills else 300)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.wait() == 0:
            break
    assert process.returncode == 0
    return n_killed


@pytest.mark.parametrize("n_kills", [20, pytest.param(kills(40), marks=pytest.mark.slow)])
def test_killed_at_any_time_it_writes_the_same_alarms_once(tmp_path, n_kills):
    log, draw, n_runs = tmp_path / "app.log", random.Random(n_kills), 0
    log.write_text("".join(lines_of(10_000, every=20)))
    common = ["watch", log, *FRESH, *JSONL, "--alarms", "30/1000", "--context", 1]
    assert run(*common, "--output", tmp_path / "expected").returncode == 0
    expected = records(tmp_path / "expected")
    assert sum(record["raised"] for record in expected) > 30
    with open(tmp_path / "errors", "w+b") as errors:
        while n_kills > 0:
            n_runs += 1
            state, out = tmp_path / f"m{n_runs}", tmp_path / f"out{n_runs}"
            saved = ["--save", state, "--resume", "--save-every", 0.1, "--output", out]
            n_kills -= watch_with_kills([*common, *saved], n_kills, draw, errors)
            assert records(out) == expected
        errors.seek(0)
        messages = errors.read()
    assert b"Traceback" not in messages, messages
    assert b"internal" not in messages, messages


FAILING_WRITE = """
import errno, os
import streamlstm.logs.output as output
take, write, n_left = output.OutputFile.write, os.write, [4]
output.OutputFile.write = lambda file, data: (take(file, data), file.flush())
def write_or_fail(number, data):
    n_left[0] -= 1
    if n_left[0]:
        return write(number, data)
    if IS_LATE:
        write(number, data)
    raise OSError(errno.EIO, "Input/output error")
output.os = type("Module", (), {**vars(os), "write": staticmethod(write_or_fail)})
"""


@pytest.mark.parametrize("is_late", [False, True], ids=["not written", "written"])
@pytest.mark.parametrize("options", [[], ["--session-regex", r"job \d"]], ids=["lines", "sessions"])
def test_a_record_whose_write_fails_is_written_once_by_the_next_run(tmp_path, options, is_late):
    log, out = tmp_path / "app.log", tmp_path / "out"
    log.write_text("".join(usual(n) for n in range(40)))
    arguments = ["watch", log, *FRESH, *JSONL, *options, "--all", "--output", out]
    assert run(*arguments).returncode == 0
    expected = without_lag(records(out))
    out.unlink()
    arguments += ["--save", tmp_path / "m", "--resume"]
    with start(*arguments, before=FAILING_WRITE.replace("IS_LATE", str(is_late)), stderr=subprocess.PIPE) as process:
        assert process.wait(60) == 1
        assert process.stderr.read().decode().splitlines()[-1] == f"streamlstm: {out}: Input/output error"
    assert 3 <= len(records(out)) <= 4
    assert run(*arguments).returncode == 0
    assert without_lag(records(out)) == expected


def test_killed_before_the_first_save_it_writes_the_same_alarms_once(tmp_path):
    log, out = tmp_path / "app.log", tmp_path / "out"
    log.write_text("".join(usual(n) for n in range(120)))
    arguments = ["watch", log, *FRESH, *JSONL, "--all", "--save", tmp_path / "m", "--resume", "--output", out]
    flushed = """
import streamlstm.logs.output as output
write = output.OutputFile.write
output.OutputFile.write = lambda file, data: (write(file, data), file.flush())
"""
    with start(*arguments, before=flushed) as process:
        wait_for(lambda: out.exists() and out.stat().st_size > 1000)
        process.kill()
        process.communicate()
    assert run(*arguments).returncode == 0
    assert [record["line"] for record in records(out)] == list(range(1, 121))


def test_killed_while_the_log_grows_and_is_rotated_it_misses_and_doubles_nothing(tmp_path):
    log, state, out = tmp_path / "app.log", tmp_path / "m", tmp_path / "out"
    log.write_text("")
    arguments = ["watch", "--follow", log, *FRESH, *JSONL, "--all", "--save", state, "--resume"]
    arguments += ["--save-every", 0.1, "--output", out]
    draw, written = random.Random(9), []
    process = start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, before=QUICK)
    wait_for(lambda: state.exists())
    for step in range(40):
        lines = [f"line {step} {n} of {draw.randrange(10**6)}\n" for n in range(draw.randrange(40))]
        with open(log, "a") as file:
            file.writelines(lines)
        written += lines
        if step % 3 == 0:
            time.sleep(draw.uniform(0, 0.3))
            process.kill()
            process.wait()
        if step % 7 == 3:
            log.rename(f"{log}.{step}")
            log.write_text("")
        if step % 3 == 0:
            process = start(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, before=QUICK)
        time.sleep(draw.uniform(0, 0.1))
    wait_for(lambda: out.exists() and out.read_bytes().count(b"\n") >= len(written))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    found = records(out)
    assert [record["text"] + "\n" for record in found] == written
    places = [(record["path"], record["rotation"], record["offset"]) for record in found]
    assert len(set(places)) == len(places)


def test_killed_before_it_has_read_anything_it_finds_what_was_rotated_since(tmp_path):
    log, state = tmp_path / "app.log", tmp_path / "m"
    log.write_text("")
    arguments = ["watch", "--follow", log, *FRESH, *JSONL, "--all", "--save", state, "--resume"]
    never = "import streamlstm.logs.source as source; source.Source.events = lambda self: iter(time.sleep, 0)"
    with start(*arguments, before=f"import time; {never}") as process:
        wait_for(lambda: state.exists())
        process.kill()
        process.communicate()
    log.write_text("before the rotation\n")
    log.rename(f"{log}.1")
    log.write_text("after it\n")
    out = tmp_path / "out"
    process = start(*arguments, "--output", out, before=QUICK)
    wait_for(lambda: out.exists() and out.read_bytes().count(b"\n") >= 2)
    stop(process)
    assert [record["text"] for record in records(out)] == ["before the rotation", "after it"]


def test_without_an_output_file_records_after_a_kill_can_be_told_apart_by_their_place(tmp_path):
    log, state = tmp_path / "app.log", tmp_path / "m"
    log.write_text("".join(lines_of(3000, every=20)))
    common = ["watch", log, *FRESH, *JSONL, "--alarms", "30/1000"]
    expected = objects(run(*common).stdout)
    found, draw = [], random.Random(3)
    for attempt in range(12):
        with open(tmp_path / "stdout", "w+b") as stdout:
            process = start(
                *common, "--save", state, "--resume", "--save-every", 0.1, stdin=subprocess.DEVNULL, stdout=stdout
            )
            try:
                process.communicate(timeout=100 if attempt == 11 else draw.uniform(0.1, 0.7))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            stdout.seek(0)
            found += objects(stdout.read().rpartition(b"\n")[0])
    by_place = {(record["path"], record["rotation"], record["offset"]): record for record in found}
    assert list(by_place.values()) == expected


# Outages


@pytest.mark.parametrize("n", [1, 10, 101, 1000])
@pytest.mark.parametrize("alarms", [[], ["--alarms", "10/10000"]], ids=["threshold", "budget"])
def test_an_outage_is_found_by_default_however_many_lines_it_has(tmp_path, n, alarms):
    draw, error = random.Random(n), "2026-11-26 11:00:00 ERROR cannot reach db-primary: Connection refused\n"
    head = [f"2026-11-26 10:00:00 INFO worker {draw.randrange(9)} cannot find item {draw.randrange(99)}: retrying\n"
            for _ in range(1500)]  # fmt: skip
    lines = [*head[:1000], *(each for pair in zip([error] * n, head * 2, strict=False) for each in pair), *head]
    (tmp_path / "app.log").write_text("".join(lines))
    found = objects(run("watch", tmp_path / "app.log", *JSONL, *alarms, "--learn", "memory").stdout)
    first = next(record for record in found if "db-primary" in record["text"])
    assert first["line"] == 1001
    assert first["reason"] in ("score", "new kind")


def test_with_a_threshold_lines_are_judged_by_it_alone(tmp_path):
    (tmp_path / "app.log").write_text("".join(lines_of(3000, every=50)))
    found = objects(run("watch", tmp_path / "app.log", *FRESH, *JSONL, "--all", "--threshold", 7).stdout)
    assert all(record["flagged"] == (record["score"] > 7) for record in found[100:])
    assert {record["reason"] for record in found} == {None, "score"}
    by_default = objects(run("watch", tmp_path / "app.log", *FRESH, *JSONL, "--all").stdout)
    for record in by_default[100:]:
        assert record["flagged"] == (record["score"] > 8) or (record["reason"], record["score"] > 4) == (
            "new kind",
            True,
        )


def test_the_service_of_the_guide_is_valid_and_continues_after_it_was_stopped(tmp_path):
    guide = (Path(__file__).parent.parent / "docs" / "pages" / "how-to" / "watch.md").read_text("utf-8")
    unit = re.search(r"```ini\n(.*?)```", guide, re.S)[1]
    if shutil.which("systemd-analyze"):
        program = shutil.which("true")
        (tmp_path / "streamlstm-watch.service").write_text(unit.replace("/usr/local/bin/streamlstm", program))
        found = subprocess.run(
            ["systemd-analyze", "verify", tmp_path / "streamlstm-watch.service"], capture_output=True
        )
        assert b"streamlstm-watch.service" not in found.stderr, found.stderr.decode()
    line = re.search(r"^ExecStart=\S+ (.*?[^\\])$", unit, re.M | re.S)[1].replace("\\\n", " ")
    log, state = tmp_path / "app.log", tmp_path
    log.write_text("".join(lines_of(600)))
    command = [
        each.replace("/var/log", str(tmp_path)).replace("${STATE_DIRECTORY}", str(state)) for each in line.split()
    ]
    stops = re.search(r"SuccessExitStatus=(\d+)", unit)[1]
    for n in (600, 900):
        with open(log, "w") as file:
            file.writelines(lines_of(n))
        process = start(*command, *FRESH)
        wait_for((state / "app.safetensors").exists)
        time.sleep(2)
        stop(process, int(stops))
    assert len({record["offset"] for record in records(state / "alarms.jsonl")}) == len(records(state / "alarms.jsonl"))
    assert Watcher.load(state / "app.safetensors", alarms="5/hour", warmup="auto").counts.lines == 900
