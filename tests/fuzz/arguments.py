"""Arguments of the command line: any option with any value ends with a documented exit code and one line."""

import contextlib
import logging
import os
import shutil
import signal
from functools import cache

import models
import typer
from engine import Target, refused
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

WORDS = """
text model.safetensors packed.slz missing folder folder/new new text model.safetensors - packed.slz new
0 1 -1 3 0.5 -0 1e3 1e400 nan inf -inf x ٣ 0x1 1_0 é , a,b -- --debug --version 5/hour 0/hour 1/0 1/1 nan/day
3/9999999999 small large none all memory text bytes word line jsonl tsv html ansi skip stacked adam bits nats
300MB 0B 1.5GiB json auto cri+json ( (a [ (?P<x>a) (?i)a * a{9999999999} ^
"""
WORDS = [*WORDS.split(), "", r"\d+", "\udcff", "\n", " ", "9" * 25, "9" * 400]
SEEDS = """score text --by word --format tsv|watch text --all --save new --key-regex \\d+|compress text -o new"""


@cache
def commands():
    """The options of each command."""
    found = {name: each for name, each in typer.main.get_command(app).commands.items() if name not in NOT_HERE}
    options = {name: [option for each in command.params for option in each.opts] for name, command in found.items()}
    return {name: [each for each in all if each[0] == "-" and each not in NOT_THESE] for name, all in options.items()}


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


def seeds():
    for line in [*commands(), *(f"{name} text" for name in commands()), *SEEDS.split("|")]:
        yield line.replace(" ", "\0").encode()


def check(case):
    arguments = case.decode("utf-8", "surrogateescape").split("\0")
    if not is_allowed(arguments):
        return [False]
    logging.getLogger("streamlstm").handlers.clear()
    path, home = folder(), os.getcwd()
    predictor.bundled_model = lambda name: path / "model.safetensors" if name != "none" else bundled_model(name)
    os.chdir(path)
    try:
        with interrupted_after(LONGEST):
            result = CliRunner().invoke(app, arguments, input=TEXT, prog_name="streamlstm")
    except Interrupted:
        return [False]
    finally:
        predictor.bundled_model = bundled_model
        os.chdir(home)
        refill(path)
    assert result.exit_code in (0, 1, 2, 3), f"{result.exit_code}: {result.stderr}"
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    if result.exit_code == 1:
        *_, last = result.stderr.splitlines() or [""]
        assert last.startswith("streamlstm: "), result.stderr
        assert "Traceback" not in result.stderr or "--debug" in arguments
        return refused(ValueError(last))
    return [result.exit_code != 2]


class Interrupted(BaseException):
    """The command took long."""


@contextlib.contextmanager
def interrupted_after(seconds):
    """Raise Interrupted after so many seconds of CPU."""

    def interrupt(number, frame):
        raise Interrupted

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def is_allowed(arguments):
    """Whether a command writes nowhere but into the folder, and runs and waits for nothing."""
    for each in arguments:
        name, _, value = each.partition("=")
        if each in NOT_HERE or name in NOT_THESE or value[:1] == "/" or each[:1] == "/" or ".." in each:
            return False
        if each[:1] == "-" and each[:2] != "--" and ("/" in each or "h" in each):
            return False
    return True


def mutate(rng, case, other):
    arguments = case.decode("utf-8", "surrogateescape").split("\0")
    if arguments[0] not in commands() or not rng.randrange(20):
        arguments[0] = rng.choice(sorted(commands()))
    for _ in range(1 << rng.randrange(3)):
        at, kind = rng.randrange(1, len(arguments) + 1), rng.randrange(8)
        option, value = rng.choice([*commands()[arguments[0]], "--debug"]), rng.choice(WORDS)
        if kind == 0:
            del arguments[at : at + 1]
        elif kind == 1 and at < len(arguments):
            word = mutated_bytes(rng, arguments[at].encode("utf-8", "surrogateescape"))[:40]
            arguments[at] = word.decode("utf-8", "surrogateescape").replace("/", "").replace("\0", "")
        else:
            added = {2: [value], 3: [option], 4: [f"{option}={value}"]}
            arguments[at:at] = added.get(kind, [option, value])
    return "\0".join(arguments[:12]).encode("utf-8", "surrogateescape")


ARGUMENTS = Target(seeds, mutate, check)
