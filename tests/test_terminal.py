"""What reaches a terminal is printable, whatever the files are called; the only sequences it must obey are our own."""

import os
import pty
import re
import select
import sys
import unicodedata

import pytest
from commands import start

from streamlstm import Config, StreamPredictor
from streamlstm.render.escape import display_width, is_safe, terminal_lines, terminal_text

TINY = ["--hidden", "4", "--layers", "1", "--memory-bits", "10"]
HOSTILE = {
    "clear": "a\x1b[2Jb",
    "title": "\x1b]0;owned\x07",
    "c1": "a\x9b2Jb",
    "newline": "x\nstreamlstm: all is well\r\x1b[Ky",
    "bytes": "caf\udce9 \udcc2\udc9b2J",
    "bidi": "a\u202etxt.b",
    "markup": "[/red] [bold",
    "page": "<b>{unit}",
}
OWN = re.compile(r"\x1b\[(?:\d[\d;]*)?m|\r\x1b\[K|\r\n|\t")
"""Colours, the status line, ends of lines as a terminal gets them, and tabs."""


def shown(*arguments, **options):
    """What a command writes to a terminal: stdout and stderr together; and its exit code."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    with start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, **options) as process:
        os.close(theirs)
        data = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                break
            if not part:
                break
            data += part
        os.close(ours)
        assert process.wait(60) is not None
    return data.decode("utf-8", "replace"), process.returncode


def commands(name, other):
    """Commands that are given a file, a folder, a model or a text with a hostile name; some succeed, others fail."""
    for format in ("text", "tsv", "jsonl", "ansi", "html"):
        yield ["predict", name, *TINY, "--format", format]
    for format in ("text", "tsv", "jsonl"):
        yield ["score", name, other, *TINY, "--by", "word", "--format", format]
        yield ["score", name, *TINY, "--format", format]
    yield ["score", name, *TINY, "--format", "html"]
    yield ["score", name, *TINY, "--explain"]
    yield ["regions", f"{name}.tsv", *TINY]
    yield ["regions", name, *TINY]
    yield ["watch", name, other, *TINY, "--all"]
    yield ["watch", name, other, *TINY, "--all", "--context", "1", "--alarms", "1/1000"]
    yield ["watch", name, other, *TINY, "--all", "--format", "jsonl"]
    yield ["watch", name, *TINY, "--session-regex", r"\w+", "--all"]
    yield ["watch", f"{name}.gz", *TINY]
    yield ["watch", name, *TINY, "--metrics", f"none/{name}"]
    yield ["watch", name, *TINY, "--output", name]
    yield ["watch", name, *TINY, "--save", f"{name}.saved"]
    yield ["watch", name, *TINY, "--exec", "exit 1", "--alarms", "5/10", "--threshold", "0", "--warmup", "0"]
    yield ["surprising", name, other, *TINY]
    yield ["surprising", f"{name}.gz", *TINY]
    yield ["info", f"{name}.safetensors"]
    yield ["train", name, "-o", f"{name}.made", *TINY[:4], "--epochs", "0", "--mixture-symbols", "0"]
    yield ["verify", "--quick", name, *TINY]
    yield ["generate", "--model", f"{name}.safetensors", "--prompt", name, "-n", "300"]
    yield ["complete", "--model", f"{name}.safetensors", "--prompt", name]
    yield ["fill", f"{name}?", "--model", f"{name}.safetensors"]
    yield ["compress", name, "-o", f"{name}.slz", *TINY]
    yield ["decompress", name, *TINY]
    yield ["live", "--save", f"none/{name}"]
    yield ["mcp", name]
    for command in ("predict", "score", "regions", "watch", "surprising", "info", "train", "verify", "decompress"):
        yield [command, f"missing {name}"]
        yield [command, name, name, f"--{name}"]
    yield [name]
    yield ["--debug", "predict", f"missing {name}"]
    for option in ("--model", "--format", "--by", "--save", "--seed", "--vocab"):
        yield ["predict", other, option, f"{name}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_name_of_a_file_reaches_a_terminal_as_it_is(tmp_path, kind):
    name = HOSTILE[kind].replace("/", "_") if kind != "markup" else HOSTILE[kind]
    folder = tmp_path / "files"
    (folder / name).parent.mkdir(parents=True)
    predictor = StreamPredictor(config=Config(hidden=4, layers=1, memory_bits=10))
    predictor.observe_many("\x1b[2J\x9b\x07" * 40)
    predictor.about["name"] = f"{name}\nlicence: none"
    predictor.save(folder / f"{name}.safetensors")
    lines = "".join(f"job {n} done\n" for n in range(8))
    (folder / name).write_text(lines)
    (folder / "other").write_text(lines)
    (folder / f"{name}.tsv").write_text(f"id\ttext\n{name.encode('unicode_escape').decode()}\tx\x1b[2Jy\n")
    (folder / f"{name}.gz").write_bytes(b"\x1f\x8b damaged")
    found = {}
    for arguments in commands(name, "other"):
        output, code = shown(*arguments, cwd=folder)
        is_forged = arguments[0] != "generate" and re.search(r"^streamlstm: all is well", output, re.MULTILINE)
        is_bug = "internal error" in output or ("Traceback" in output and "--debug" not in arguments)
        if is_bug or is_forged or not all(map(is_safe, OWN.sub("", output))):
            found[" ".join(arguments)] = code, output
    assert not found


ORDERS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""The classes of the characters that change the order in which others are shown."""

HIDDEN = {"\u061c", "\u200e", "\u200f", *map(chr, range(0xFFF9, 0xFFFC)), *map(chr, range(0xE0000, 0xE0080))}
"""Marks of a direction, annotations, and tags, which nobody sees but a program reads."""


def test_of_all_characters_a_terminal_gets_as_they_are_those_that_it_does_not_obey_and_that_do_not_deceive():
    for character in map(chr, range(sys.maxunicode + 1)):
        shown = terminal_text(character)
        category = unicodedata.category(character)
        is_control = category in ("Cc", "Cs", "Zl", "Zp") and character != "\t"
        if is_control or unicodedata.bidirectional(character) in ORDERS or character in HIDDEN:
            assert re.fullmatch(r"\\[ -~]+", shown), hex(ord(character))
        elif not 0x206A <= ord(character) <= 0x206F:  # deprecated
            assert shown == character, hex(ord(character))
        assert terminal_lines(f"a{character}b".replace("\n", "")) == f"a{shown}b".replace("\\n", "")


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("«\xa0Oui\u202f!\xa0»", 9),  # French
        ("東京\u3000大阪", 10),  # Japanese
        ("می\u200cخواهم", 7),  # Persian
        ("\U0001f469\u200d\U0001f4bb", 4),  # an emoji of two
        ("Donau\xaddampf", 11),  # a soft hyphen
        ("ไทย\u200bไทย", 6),  # Thai
    ],
)
def test_writing_of_the_world_reaches_a_terminal_as_it_is(text, width, tmp_path):
    assert (terminal_lines(text), display_width(text)) == (text, width)
    StreamPredictor(config=Config(hidden=4, layers=1, memory_bits=10)).save(tmp_path / "m.safetensors")
    output, code = shown("generate", "--model", "m.safetensors", "--prompt", text, "-n", "1", cwd=tmp_path)
    assert code == 0
    assert text in output
