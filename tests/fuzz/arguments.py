"""Arguments of the command line: any option with any value ends with a documented exit code and one line."""

import logging
import os
import shutil
import signal
from functools import cache

import typer
from engine import Target, refused
import models
from models import TEXT, of_bytes
from mutations import mutated_bytes
from typer.testing import CliRunner

from streamlstm import warmup
from streamlstm.cli.app import app
from streamlstm.modelfile import bundled_model
from streamlstm.predictor import predictor

LONGEST = 0.5
"""After so many seconds a command is interrupted: it may be asked for any number of symbols."""

NOT_HERE = {"live", "mcp", "warmup", "verify", "train", "regions"}
"""Commands that take long, or wait for a terminal or for other programs."""
NOT_THESE = {"--exec", "--follow", "--from-end", "--metrics-port", "--engine", "--workers", "--out", "--help", "-h"}
"""Options that run a command, wait for more input, or need other programs."""

NAMES = ["text", "model.safetensors", "packed.slz", "missing", "folder", "folder/new", "new", "-", ""]
WORDS = """
0 1 -1 3 0.5 -0 1e3 1e400 nan inf -inf x ٣ 0x1 1_0 é , a,b -- --debug --version 5/hour 0/hour 1/0 1/1 nan/day
3/9999999999 small large none all memory text bytes word line jsonl tsv html ansi skip stacked adam bits nats
300MB 0B 1.5GiB json auto cri+json ( (a [ (?P<x>a) (?i)a * a{9999999999} ^
"""
WORDS = [*WORDS.split(), r"\d+", "\udcff", "\n", " ", "9" * 25, "9" * 400]


@cache
def commands():
    """The options of each command."""
    found = typer.main.get_command(app).commands
    return {
        name: [option for parameter in command.params for option in parameter.opts if option.startswith("-")]
        for name, command in found.items()
        if name not in NOT_HERE
    }


@cache
def folder():
    """A folder with files to read, in which all commands run."""
    warmup()  # no command is interrupted while it compiles
    path = models.folder() / "commands"
    path.mkdir()
    refill(path)
    return path


def refill(path):
    for each in path.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    of_bytes().save(path / "model.safetensors")
    (path / "text").write_bytes(TEXT)
    (path / "folder").mkdir()
    (path / "packed.slz").write_bytes(b"\x89SLZ\x02")


def tiny_model(name):
    """What takes the place of `bundled_model`."""
    return folder() / "model.safetensors" if name in ("small", "large") else bundled_model(name)


def seeds():
    for name in commands():
        yield name.encode()
        yield f"{name}\0text".encode()
    for case in ("score\0text\0--by\0word\0--format\0tsv", "watch\0text\0--all\0--save\0new\0--key-regex\0\\d+"):
        yield case.encode()
    yield b"compress\0text\0-o\0new"


def check(case):
    arguments = case.decode("utf-8", "surrogateescape").split("\0")
    if not is_allowed(arguments):
        return [False]
    home = os.getcwd()
    os.chdir(folder())
    logging.getLogger("streamlstm").handlers.clear()
    predictor.bundled_model = tiny_model
    try:
        result = run(arguments)
    finally:
        predictor.bundled_model = bundled_model
        os.chdir(home)
        refill(folder())
    if result is None:
        return [False]
    assert result.exit_code in (0, 1, 2, 3), f"{result.exit_code}: {result.stderr}"
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    if result.exit_code == 1:
        *_, last = result.stderr.splitlines() or [""]
        assert last.startswith("streamlstm: "), result.stderr
        assert "Traceback" not in result.stderr or "--debug" in arguments
        return refused(ValueError(last))
    return [result.exit_code in (0, 3)]


class Interrupted(BaseException):
    """The command took long."""


def run(arguments):
    """The result of a command; None if it was interrupted."""

    def interrupt(number, frame):
        raise Interrupted

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        return CliRunner().invoke(app, arguments, input=TEXT, prog_name="streamlstm")
    except Interrupted:
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def is_allowed(arguments):
    """Whether a command writes nowhere but into the folder, and runs and waits for nothing."""
    if any(each in NOT_HERE for each in arguments):
        return False
    for each in arguments:
        name, _, value = each.partition("=")
        if name in NOT_THESE or value.startswith("/") or each.startswith("/") or ".." in each:
            return False
        if each.startswith("-") and not each.startswith("--") and ("/" in each or "h" in each):
            return False
    return True


def mutate(rng, case, other):
    arguments = case.decode("utf-8", "surrogateescape").split("\0")
    if arguments[0] not in commands() or not rng.randrange(20):
        arguments[0] = rng.choice(sorted(commands()))
    for _ in range(1 << rng.randrange(3)):
        at, kind = rng.randrange(1, len(arguments) + 1), rng.randrange(8)
        options = [each for each in commands()[arguments[0]] if each not in NOT_THESE]
        option = rng.choice([*options, "--debug"])
        value = rng.choice(rng.choice((NAMES, WORDS, WORDS)))
        if kind == 0 and at < len(arguments):
            del arguments[at]
        elif kind == 1 and at < len(arguments):
            word = mutated_bytes(rng, arguments[at].encode("utf-8", "surrogateescape"))[:40]
            arguments[at] = word.decode("utf-8", "surrogateescape").replace("/", "").replace("\0", "")
        elif kind == 2:
            arguments[at:at] = [value]
        elif kind == 3:
            arguments[at:at] = [option]
        elif kind == 4:
            arguments[at:at] = [f"{option}={value}"]
        else:
            arguments[at:at] = [option, value]
    return "\0".join(arguments[:12]).encode("utf-8", "surrogateescape")


ARGUMENTS = Target(seeds, mutate, check)
