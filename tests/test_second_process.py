"""The second process that compiles half of the entries: it helps, or this process compiles all itself."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
from test_cache import LOG

from streamlstm.jit import second_process

NOT_THERE = 600
"""Seconds after which a test that waits for a process has failed."""

# Small entries take the place of those of a stream, to compile which takes long.
SMALL = """
import numpy as np, os, sys, time
from streamlstm.jit import cache, compiler, decorators, second_process
from streamlstm.kernels import distribution as ranks; from streamlstm.kernels import distribution as surprise
compiler.LARGE, compiler.SMALL = ("apply_temperature", "surprisals", "rank_and_top"), ()
second_process.n_cores = lambda: 2
alone = second_process._compile_from
def result():
    p = np.array([0.1, 0.7, 0.2])
    decorators.native(ranks.apply_temperature)(p, 0.5)
    print(p.tobytes().hex(), len(list(cache.cache_folder().glob("*.nbc"))))
def compiled_here():
    entries = (ranks.apply_temperature, ranks.surprisals, ranks.rank_and_top)
    return [entry.py_func.__name__ for entry in entries if entry.stats.cache_misses]
"""

# The parent leaves all entries to the helper.
LET_IT_COMPILE = "second_process._compile_from = lambda work, entries: {}\n"


def start(folder, script, before=SMALL, **environment):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "STREAMLSTM_JIT": "1", **environment}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LOG + before + script]
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process):
    output, errors = process.communicate(timeout=NOT_THERE)
    assert process.returncode == 0, errors
    return output.splitlines()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """What the processes print that compile three entries, whoever compiles them."""
    folder = tmp_path_factory.mktemp("alone")
    lines = finish(start(folder, "second_process._start = lambda *others: None\nresult()\nprint(compiled_here())"))
    assert lines[1] == "['apply_temperature', 'surprisals', 'rank_and_top']"
    assert lines[0].endswith(" 3")
    return lines[0]


@pytest.mark.slow
def test_the_helper_compiles_what_is_left_to_it_and_its_parent_loads_it(tmp_path, expected):
    seconds = "print(sorted(compiler.compile_missing(compiler.LARGE)))\n"
    lines = finish(start(tmp_path, LET_IT_COMPILE + seconds + "result()\nprint(compiled_here())"))
    assert lines == ["['apply_temperature', 'rank_and_top', 'surprisals']", expected, "[]"]


@pytest.mark.slow
def test_each_entry_is_compiled_once_by_one_of_the_two(tmp_path, expected):
    wait = """
def in_turns(work, entries):  # take one entry, then wait until the helper has taken the others
    seconds = {}
    number = work.take()
    entries[number].compile(entries[number].arguments)
    return {entries[number].py_func.__name__: 1.0}
second_process._compile_from = in_turns
seconds = compiler.compile_missing(compiler.LARGE)
result()
print(len(seconds), len(compiled_here()))
"""
    assert finish(start(tmp_path, wait)) == [expected, "3 1"]


def interpreter(folder, *lines):
    """A program in the place of Python that is a shell script."""
    path = folder / "python3"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"sys.executable = {str(path)!r}\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell script is not a program here")
@pytest.mark.parametrize(
    "lines",
    [
        ["exit 1"],
        ["head -c 1 > /dev/null", "kill -9 $$"],  # after it took an entry
        ["echo no seconds at all"],
    ],
)
def test_the_parent_compiles_what_a_helper_leaves_undone(tmp_path, expected, lines):
    assert finish(start(tmp_path, interpreter(tmp_path, *lines) + "result()")) in ([expected], [expected[:-1] + "2"])


@pytest.mark.slow
def test_a_helper_that_hangs_is_given_up(tmp_path, expected):
    script = interpreter(tmp_path, "exec sleep 1000") + "second_process.LONGEST_WAIT = 0.5\nresult()"
    assert finish(start(tmp_path, script)) == [expected]


@pytest.mark.slow
def test_a_script_that_guards_nothing_is_not_run_again(tmp_path, expected):
    (tmp_path / "script.py").write_text(SMALL + LET_IT_COMPILE + "print('once')\nresult()\nprint(compiled_here())\n")
    script = "import runpy; runpy.run_path('script.py', run_name='__main__')"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "STREAMLSTM_JIT": "1"}
    for command in (["script.py"], ["-c", script]):
        output = subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, stdout=subprocess.PIPE)
        assert output.stdout.decode().splitlines() == ["once", expected, "[]"]


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (second_process, "n_cores", lambda: 1),
        (sys, "executable", "/usr/bin/uwsgi"),
        (sys, "executable", ""),
        (sys, "executable", None),
        (sys, "frozen", True),
    ],
)
def test_no_helper_is_started_without_a_core_and_an_interpreter_for_it(monkeypatch, module, name, value):
    monkeypatch.setattr(second_process, "n_cores", lambda: 2)
    assert second_process.can_help()
    monkeypatch.setattr(module, name, value, raising=False)
    assert not second_process.can_help()


@pytest.mark.slow
@pytest.mark.parametrize("before", ["second_process.n_cores = lambda: 1\n", "sys.executable = '/no/such/python3'\n"])
def test_without_a_helper_all_that_is_needed_is_compiled_here(tmp_path, expected, before):
    lines = finish(start(tmp_path, before + "result()\nprint(compiled_here())"))
    assert lines == [expected if "python3" in before else f"{expected[:-1]}1", lines[1]]
    assert lines[1].startswith("['apply_temperature'")


# The helper compiles a small entry, and then one that takes long; its parent prints its number when it has begun.
LONG = """
from streamlstm.memory import mixture
compiler.LARGE, compiler.SMALL = ("apply_temperature", "remember"), ()
start, helpers = second_process._start, []
def wait_until_it_compiles(work, entries):
    while work._left:
        time.sleep(0.05)
    time.sleep(0.2)
    print(helpers[0].pid, flush=True)
    return {}
second_process._compile_from = wait_until_it_compiles
second_process._start = lambda *arguments: helpers.append(start(*arguments)) or helpers[0]
try:
    compiler.compile_missing(compiler.LARGE)
except KeyboardInterrupt:
    print(helpers[0].returncode, len(list(cache.cache_folder().glob("*.nbc"))), flush=True)
"""


def is_running(pid):
    """Whether a process runs, on Linux: one that has ended but that nobody asked for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def has_ended(pid):
    """Whether a process ends soon."""
    started = time.monotonic()
    while is_running(pid) and time.monotonic() < started + NOT_THERE:
        time.sleep(0.05)
    return not is_running(pid)


needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc shows the processes")


@needs_linux
def test_the_helper_ends_when_its_parent_is_killed(tmp_path):
    process = start(tmp_path, LONG)
    pid = int(process.stdout.readline())
    assert is_running(pid)
    process.kill()
    process.communicate()
    assert has_ended(pid)
    assert not list((tmp_path / "cache").rglob("*remember*.nbc"))


@needs_linux
def test_an_interrupt_ends_the_helper_too(tmp_path):
    process = start(tmp_path, LONG)
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert finish(process) == ["-9 1"]
    assert not is_running(pid)
