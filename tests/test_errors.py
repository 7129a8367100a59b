"""Errors of the command line: one line that ends in a sentence, and names options as the user types them."""

import os
import re
import subprocess
import sys

import pytest
import typer
from commands import run

from streamlstm.cli.app import app

TINY = ["--hidden", "4", "--layers", "1", "--memory-bits", "10"]
VALUES = {
    "predict": "hidden=0 layers=0 window=0 memory-bits=99 connections=ring optimizer=x lr=nan seed=-1 vocab=x learn=x "
    "top=-1 format=x by=x model=none.st",
    "score": "by=x unit=x format=x word-boundary=x context-reset=x engine=x workers=3 out=x column=x detail=x",
    "regions missing": "first=0 order=-1 vocab=text",
    "regions table": "first=0 order=-1",
    "watch": "alarms=x alarms=1/0 threshold=nan max-keys=3 memory-budget=x session-idle=5 warmup=-1 context=-1 "
    "format=x save-every=0 metrics-port=99999 input-format=x multiline=( key-regex=( session-regex=( "
    "engine=x workers=2",
    "surprising text": "top=-1 format=x input-format=x multiline=( vocab=text",
    "generate": "length=-1 temperature=-1 top-k=-1 top-p=0 seed=-1 model=none model=missing.st",
    "complete": "k=-1 length=-1 stop= width=0 model=none",
    "fill a?": "k=-1 unknown=ab characters= width=0",
    "train text -o made": "epochs=-1 epochs=nan stop-at=0 batch=0 window=0 lr=-1 warmup=-1 clip=0 pieces=x crlf=2 "
    "seed=-1 threads=-1 hidden=0 layers=0 connections=x vocab=x mixture-symbols=-1 checkpoint-every=-1 about=x "
    "val=none model=none.st",
    "live": "top=0",
    "info none.st": "",
    "verify missing": "",
    "decompress text": "hidden=4",
    "compress missing": "",
    "watch text": "resume from-end",
    "surprising missing": "",
}


def invocations():
    """The arguments of each wrong call."""
    for command, values in VALUES.items():
        for each in values.split() or [""]:
            name, sign, value = each.partition("=")
            option = [f"{'-' if len(name) == 1 else '--'}{name}"] if name else []
            yield [*command.split(), *option, *([value] if sign else [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    (folder / "text").write_text("some lines\nof text\n")
    (folder / "table").write_text("id\ttext\n1\tThe\n")
    return folder


def test_every_error_is_one_sentence_and_names_the_option_as_it_is_typed(folder):
    commands = typer.main.get_command(app).commands
    wrong = []
    for arguments in invocations():
        tiny = TINY if arguments[0] in ("regions", "watch", "surprising") else []
        result = run(*arguments, *tiny, stdin=b"text\n", cwd=folder)
        message = result.stderr.decode()
        is_line = re.fullmatch(r"streamlstm: [^\n]*[^\n:\s]\n", message) or (
            result.returncode == 2 and "Error: " in message
        )
        parameters = [each.name for each in commands[arguments[0]].params if each.opts[0].startswith("-")]
        untyped = [each for each in parameters if re.match(rf"streamlstm: {each} must ", message)]
        if not is_line or untyped or result.returncode not in (1, 2) or result.stdout.count(b"\n") > 1:
            wrong.append((arguments, result.returncode, message))
    assert not wrong
    assert len(list(invocations())) > 90


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["--version"]])
def test_help_whose_reader_has_gone_ends_with_141_and_without_a_word(arguments):
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb") as closed:
        result = run(*arguments, stdout=closed)
    assert (result.returncode, result.stderr) == (141, b"")


READERS = [
    "predict -",
    "compress",
    *(f"{name} {files}-" for name in ("score", "watch", "surprising") for files in ("", "text ")),
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a shell closes stdin")
@pytest.mark.parametrize("arguments", READERS)
def test_a_closed_stdin_is_an_error_and_not_an_empty_input(folder, arguments):
    command = [sys.executable, "-m", "streamlstm", *arguments.split(), *TINY]
    shell = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command]
    result = subprocess.run(shell, cwd=folder, capture_output=True, timeout=100)
    assert result.stderr == b"streamlstm: stdin is closed; name a file\n"
    assert (result.returncode, result.stdout) == (1, b"")


@pytest.mark.parametrize(("stdin", "noun"), [(b"", "0 lines"), (b"x\n", "1 line,"), (b"x\ny\n", "2 lines")])
def test_one_thing_is_not_several(stdin, noun):
    for command in (["watch"], ["surprising", "-"]):
        assert noun.encode() in run(*command, *TINY, stdin=stdin).stderr
    summary = run("predict", *TINY, "--quiet", stdin=stdin[:1]).stderr
    assert summary.startswith(b"1 symbol," if stdin else b"0 symbols,")
