"""The command line as a shell sees it: real processes, real pipes, real files."""

import base64
import errno
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
from commands import CLI, run, start
from safetensors.numpy import save_file
from typer.testing import CliRunner

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.checkpoint import read_checkpoint, write_checkpoint
from streamlstm.cli import guesses
from streamlstm.cli.app import app
from streamlstm.cli.command import saving
from streamlstm.cli.help import COMMANDS as COMMAND_GROUPS
from streamlstm.cli.help import FRESH
from streamlstm.cli.help import OPTIONS as OPTION_GROUPS
from streamlstm.system.process import Interrupted

TINY = ["--hidden", "16", "--layers", "1"]
TRAIN_TINY = [*TINY, "--batch", "2", "--window", "8"]
TWO_GROUPS = [*TINY, "--batch", "16", "--window", "8", "--epochs", "6"]
COMMANDS = [
    "predict",
    "score",
    "regions",
    "watch",
    "surprising",
    "kinds",
    "mcp",
    "live",
    "complete",
    "fill",
    "generate",
    "train",
    "info",
    "compress",
    "decompress",
    "verify",
    "warmup",
]
STOP = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
TEXT = b"".join(b"%d green bottles hanging on the wall\n" % (n % 97) for n in range(120))


def next_line(process: subprocess.Popen) -> bytes:
    ready, _, _ = select.select([process.stdout], [], [], 60)
    assert ready, "nothing was written within a minute"
    return process.stdout.readline()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def assert_refused(result: subprocess.CompletedProcess, *words: str) -> None:
    message = result.stderr.decode()
    assert result.returncode == 1, message
    assert re.fullmatch(r"streamlstm: [^\n]+\n", message), message
    for word in words:
        assert word in message


def run_broken(error: str, *arguments: object) -> subprocess.CompletedProcess:
    """A process of `predict` in which opening the input has a bug: it evaluates `error`."""
    code = f"""
import streamlstm.system.input
def open_input(path):
    {error}
streamlstm.system.input.open_input = open_input
"""
    return run(*arguments, stdin=b"abc", before=code)


def tiny(text: str | None = None) -> StreamPredictor:
    vocabulary = Vocabulary.bytes() if text is None else Vocabulary.from_text(text)
    return StreamPredictor(vocabulary, Config(hidden=16, layers=1))


def objects(lines: bytes) -> list[dict]:
    """The objects in lines of JSON, whose texts are UTF-8: many parsers refuse lone surrogates."""
    found = [json.loads(line) for line in lines.splitlines()]
    json.dumps(found, ensure_ascii=False).encode()
    return found


def bytes_of(record: dict, name: str) -> bytes:
    """The exact bytes of a text in a JSON record."""
    exact = record.get(f"{name}_base64")
    return record[name].encode() if exact is None else base64.b64decode(exact, validate=True)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[bytes]:
    """The kernels are in the cache, so that no test finds the notice about compiling on stderr; stdout is buffered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONUNBUFFERED", raising=False)
        yield run("warmup").stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text").write_bytes(TEXT)
    result = run("train", folder / "text", "-o", folder / "model", *TWO_GROUPS, "--threads", 1)
    assert result.returncode == 0, result.stderr
    return folder / "model"


# What comes in


def test_empty_input_gives_a_header_and_a_summary_of_no_symbols():
    result = run("predict", *TINY, "--format", "tsv")
    assert (result.returncode, result.stdout) == (0, b"index\tsymbol\tbits\trank\tnext\n")
    assert result.stderr.startswith(b"0 symbols, 0.0000 bits per symbol")


def test_empty_text_makes_a_text_model_without_a_complaint():
    result = run("predict", *TINY, "--vocab", "text", "--format", "jsonl")
    assert (result.returncode, result.stdout) == (0, b"")


def test_the_first_byte_of_all_costs_a_fresh_net_8_bits():
    (record,) = objects(run("predict", *TINY, "--format", "jsonl", stdin=b"h").stdout)
    assert {name: record[name] for name in ("index", "token", "symbol", "bits")} == {
        "index": 0, "token": 104, "symbol": "h", "bits": 8.0,
    }  # fmt: skip
    assert 1 <= record["rank"] <= 256
    assert len(record["next"]) == 5


def test_all_256_bytes_pass_and_those_that_are_no_ascii_are_written_as_escapes():
    result = run("predict", *TINY, "--freeze", "--format", "jsonl", "--top", 0, stdin=bytes(range(256)))
    records = objects(result.stdout)
    assert [record["token"] for record in records] == list(range(256))
    assert [record["symbol"] for record in records] == [chr(n) if n < 128 else f"\\x{n:02x}" for n in range(256)]
    assert {record["bits"] for record in records} == {8.0}  # a fresh net that may not learn knows nothing of any byte


def test_a_text_model_of_four_characters_starts_at_2_bits():
    records = objects(run("predict", *TINY, "--vocab", "text", "--format", "jsonl", stdin=b"hello").stdout)
    assert records[0]["bits"] == 2.0
    assert "".join(record["symbol"] for record in records) == "hello"


def test_invalid_utf8_becomes_the_replacement_character_of_a_text_model():
    result = run("predict", *TINY, "--vocab", "text", "--format", "jsonl", stdin=b"a\xffb\xe2\x82")
    assert "".join(record["symbol"] for record in objects(result.stdout)) == "a\ufffdb\ufffd"


def test_a_character_split_between_two_writes_is_one_symbol_of_a_text_model(tmp_path):
    tiny("aé€").save(tmp_path / "m")
    with start("predict", "--model", tmp_path / "m", "--format", "jsonl") as process:
        process.stdin.write(b"a\xe2\x82")
        first = next_line(process)
        process.stdin.write(b"\xac\xc3")
        second = next_line(process)
        process.stdin.write(b"\xa9")
        process.stdin.close()
        records = objects(first + second + process.stdout.read())
        process.stderr.read()
    assert [(record["index"], record["symbol"]) for record in records] == [(0, "a"), (1, "€"), (2, "é")]
    assert process.returncode == 0


def test_a_character_split_between_two_writes_is_two_symbols_of_a_byte_model():
    with start("predict", *TINY, "--format", "jsonl") as process:
        process.stdin.write(b"\xc3")
        first = next_line(process)
        process.stdin.write(b"\xa9")
        process.stdin.close()
        records = objects(first + process.stdout.read())
        process.stderr.read()
    assert [(record["token"], record["symbol"]) for record in records] == [(0xC3, "\\xc3"), (0xA9, "\\xa9")]


@pytest.mark.parametrize("format", ["text", "tsv", "jsonl"])
def test_a_live_reader_gets_a_record_for_each_symbol_before_the_next_is_written(format):
    with start("predict", *TINY, "--format", format) as process:
        for index, symbol in enumerate("abc"):
            process.stdin.write(symbol.encode())
            if index == 0 and format != "jsonl":
                assert b"symbol" in next_line(process)
            line = next_line(process).decode()
            record = (
                json.loads(line) if format == "jsonl" else dict(zip(["index", "symbol"], line.split()[:2], strict=True))
            )
            assert (int(record["index"]), record["symbol"]) == (index, symbol)
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.stderr.read().startswith(b"3 symbols, ")
    assert process.returncode == 0


def test_a_file_gives_the_same_records_as_a_pipe(tmp_path):
    (tmp_path / "text").write_bytes(TEXT[:300])
    assert run("predict", tmp_path / "text", *TINY).stdout == run("predict", *TINY, stdin=TEXT[:300]).stdout


# What comes out


def test_the_records_are_those_of_the_python_api():
    k = 3
    trace = tiny().trace(TEXT[:100], k)
    records = objects(run("predict", *TINY, "--top", k, "--format", "jsonl", stdin=TEXT[:100]).stdout)
    assert [record["index"] for record in records] == list(range(100))
    assert bytes(record["token"] for record in records) == TEXT[:100]
    np.testing.assert_allclose([record["bits"] for record in records], trace.bits, atol=5.1e-5)
    assert [record["rank"] for record in records] == trace.ranks.tolist()
    np.testing.assert_allclose([[p for _, p in r["next"]] for r in records], trace.next_probabilities, atol=5.1e-5)
    symbols = [[Vocabulary.bytes().symbol(token) for token in row] for row in trace.next_tokens.tolist()]
    assert [[s for s, _ in record["next"]] for record in records] == symbols


def test_the_surprisal_and_rank_of_a_symbol_are_those_of_the_distribution_written_before_it():
    text = b"abcabcabc" * 60
    output = run("predict", *TINY, "--vocab", "text", "--top", 3, "--format", "jsonl", stdin=text).stdout
    records = objects(output)
    for before, record in pairwise(records):
        chances = dict(before["next"])
        assert sum(chances.values()) == pytest.approx(1, abs=2e-4)
        assert 2 ** -record["bits"] == pytest.approx(chances[record["symbol"]], abs=1e-4)
        assert record["rank"] in (1, 1 + [symbol for symbol, _ in before["next"]].index(record["symbol"]))
    assert records[-1]["bits"] < 0.5 < records[0]["bits"]


def test_text_tsv_and_jsonl_say_the_same():
    text = b"a b=c\t\xff\\" * 20
    outputs = {f: run("predict", *TINY, "--format", f, stdin=text).stdout.decode() for f in ("text", "tsv", "jsonl")}
    header, *lines = outputs["tsv"].splitlines()
    assert header.split("\t") == ["index", "symbol", "bits", "rank", "next"]
    rows = [line.split("\t") for line in lines]
    records = objects(outputs["jsonl"].encode())
    aligned = outputs["text"].splitlines()[1:]
    assert len(rows) == len(records) == len(aligned) == len(text)
    for (index, _, bits, rank, after), record, line in zip(rows, records, aligned, strict=True):
        assert (int(index), float(bits), int(rank)) == (record["index"], record["bits"], record["rank"])
        chances = [float(part.split("=")[1]) for part in after.split(" ")]
        assert chances == [p for _, p in record["next"]]
        assert re.findall(r" (\d\.\d{4})(?= |$)", line[24:])[-5:] == [f"{p:.4f}" for p in chances]
        assert line.split()[0] == index
        assert bits in line.split()
    assert [row[1] for row in rows[:8]] == ["a", " ", "b", "=", "c", "\\t", "\\xff", "\\\\"]


def test_people_get_a_record_per_character_and_machines_one_per_byte():
    text = "naïve 10 €".encode() + b"\xff"
    aligned = run("predict", *TINY, stdin=text).stdout.decode().splitlines()[1:]
    assert [line[11:17].strip() for line in aligned] == [*"naïve", "", *"10", "", "€", "\\xff"]
    assert [int(line[:9]) for line in aligned] == list(range(11))
    assert len(objects(run("predict", *TINY, "--format", "jsonl", stdin=text).stdout)) == len(text)


def test_by_accepts_char_for_character():
    long, short = (run("predict", *TINY, "--by", by, stdin="né€".encode()).stdout for by in ("character", "char"))
    assert long == short
    assert len(long.splitlines()) == 4


def test_the_bits_of_a_character_are_the_sum_of_those_of_its_bytes():
    text = "10 €, 日本 😀".encode()
    arguments = ["predict", *TINY, "--freeze", "--format", "jsonl", "--by"]
    symbols, characters = (objects(run(*arguments, by, stdin=text).stdout) for by in ("symbol", "character"))
    assert "".join(record["symbol"] for record in characters) == text.decode()
    assert sum(record["bits"] for record in characters) == sum(record["bits"] for record in symbols) == 8 * len(text)
    assert characters[3]["bits"] == 24.0
    assert "token" not in characters[0]


def test_a_live_reader_gets_a_character_when_its_last_byte_has_come():
    with start("predict", *TINY) as process:
        process.stdin.write(b"a\xe2")
        assert b"symbol" in next_line(process)
        assert next_line(process).decode().split()[:2] == ["0", "a"]
        process.stdin.write(b"\x82")
        process.stdin.write(b"\xac\xf0")
        assert next_line(process).decode().split()[:2] == ["1", "€"]
        process.stdin.close()
        assert process.stdout.read().decode().split()[:2] == ["2", "\\xf0"]
        assert process.stderr.read().startswith(b"5 symbols, ")


def test_a_heat_map_of_the_terminal_is_the_text_between_its_legends():
    text = "the cat, 10 €\n" * 10
    output = run("predict", *TINY, "--format", "ansi", stdin=text.encode()).stdout.decode()
    legend, _, rest = re.sub(r"\x1b\[[\d;]*m", "", output).partition("\n")
    assert legend.startswith("bits ")
    assert rest.replace("↵", "") == text + "\n"
    plain = run("predict", *TINY, "--format", "ansi", stdin=b"x", env={**os.environ, "NO_COLOR": "1"}).stdout
    assert not re.search(rb"\x1b\[[\d;]*[34]8;", plain)


def test_a_heat_map_of_the_browser_is_one_page_named_after_its_file(tmp_path):
    (tmp_path / "a&b.txt").write_text("the cat, 10 €\n")
    page = run("predict", *TINY, "--format", "html", tmp_path / "a&b.txt").stdout.decode()
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "<h1>a&amp;b.txt</h1>" in page
    (data,) = re.findall(r'<script type="application/json">(.*)</script>', page)
    assert json.loads(data)["text"] == "the cat, 10 €\n"


def test_a_symbol_that_the_encoding_of_the_terminal_lacks_does_not_stop_the_stream():
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    result = run("predict", *TINY, "--vocab", "text", "--format", "tsv", stdin="h€".encode(), env=latin)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b"\n") == 3


def test_quiet_writes_only_the_summary_which_is_that_of_the_python_api():
    result = run("predict", *TINY, "--quiet", stdin=TEXT)
    assert (result.returncode, result.stdout) == (0, b"")
    mean = tiny().observe_many(TEXT).mean(dtype="float64")
    assert re.match(rf"{len(TEXT):,} symbols, {mean:.4f} bits per symbol, [\d,]+ symbols/s\n$", result.stderr.decode())


def test_save_and_then_model_gives_the_records_of_one_run(tmp_path):
    records = ["--format", "jsonl"]
    whole = objects(run("predict", *TINY, *records, stdin=TEXT[:153]).stdout)
    first = objects(run("predict", *TINY, *records, "--save", tmp_path / "m", stdin=TEXT[:53]).stdout)
    second = objects(run("predict", "--model", tmp_path / "m", *records, stdin=TEXT[53:153]).stdout)
    without_index = [{**record, "index": None} for record in whole]
    assert [{**record, "index": None} for record in first + second] == without_index


def test_freeze_keeps_the_weights_that_were_loaded(tmp_path):
    tiny().save(tmp_path / "m")
    run("predict", "--model", tmp_path / "m", "--freeze", "--quiet", "--save", tmp_path / "frozen", stdin=TEXT[:200])
    before, after = (StreamPredictor.load(tmp_path / name).weights() for name in ("m", "frozen"))
    assert all(np.array_equal(before[name], after[name]) for name in before)


# Signals


def test_a_reader_that_has_enough_ends_predict_with_141_and_without_a_word(tmp_path):
    (tmp_path / "text").write_bytes(TEXT * 10)
    with start("predict", tmp_path / "text", *TINY) as process:
        next_line(process)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_reader_that_has_enough_ends_generate_with_141_and_without_a_word(trained):
    with start("generate", "--model", trained, "-n", 10**9) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(("number", "code"), STOP)
def test_a_signal_at_a_waiting_pipe_saves_what_was_seen(tmp_path, number, code):
    with start("predict", *TINY, "--save", tmp_path / "m", "--format", "jsonl") as process:
        process.stdin.write(b"abc")
        lines = [next_line(process) for _ in range(3)]
        process.send_signal(number)
        assert process.stdout.read() == b""
        assert re.fullmatch(rb"3 symbols, [^\n]+\n", process.stderr.read())
    assert process.returncode == code
    assert [json.loads(line)["symbol"] for line in lines] == ["a", "b", "c"]
    twin = tiny()
    twin.observe_many("abc")
    saved = StreamPredictor.load(tmp_path / "m")
    assert saved.n_symbols == 3
    assert np.array_equal(saved.predict(), twin.predict())


@pytest.mark.parametrize(
    ("number", "code", "vocab", "unbuffered"),
    [(*STOP[0], "bytes", "1"), (*STOP[1], "text", "")],
)
def test_a_signal_in_the_middle_of_a_file_saves_as_many_symbols_as_have_whole_records(
    tmp_path, number, code, vocab, unbuffered
):
    """PYTHONUNBUFFERED is set in many containers; a write that a signal interrupts is then cut short."""
    (tmp_path / "text").write_bytes(TEXT * 20)
    arguments = ["predict", tmp_path / "text", *TINY, "--vocab", vocab, "--save", tmp_path / "m", "--format", "jsonl"]
    with start(*arguments, env={**os.environ, "PYTHONUNBUFFERED": unbuffered}) as process:
        first = next_line(process)
        time.sleep(0.1)  # by now the pipe is full, and a write waits
        process.send_signal(number)
        output = first + process.stdout.read()
        process.stderr.read()
    assert process.returncode == code
    assert output.endswith(b"\n")
    indices = [record["index"] for record in objects(output)]
    assert indices == list(range(len(indices)))
    assert StreamPredictor.load(tmp_path / "m").n_symbols == len(indices) < len(TEXT) * 20


def test_a_second_signal_ends_predict_though_nobody_reads_its_records(tmp_path):
    (tmp_path / "text").write_bytes(TEXT * 20)
    arguments = ["predict", tmp_path / "text", *TINY, "--save", tmp_path / "m", "--format", "jsonl"]
    with start(*arguments) as process:
        next_line(process)
        time.sleep(0.2)  # by now the pipe is full, and a write waits
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert process.stderr.read() == b""
    assert not (tmp_path / "m").exists()


def read_lines(n: int) -> Callable[[subprocess.Popen, Path], object]:
    return lambda process, out: [next_line(process) for _ in range(n)]


def wait_for_a_part(process: subprocess.Popen, out: Path) -> None:
    while not list(out.parent.glob(".out.*.part")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


AT_WORK: dict[str, tuple[list[object], bytes, Callable[[subprocess.Popen, Path], object]]] = {
    "watch": (["watch", *TINY, "--all", "--save", "out"], TEXT[:200], read_lines(4)),
    "score": (["score", "-", *TINY], b"", read_lines(1)),
    "generate": (["generate", "--model", "model", "-n", 10**9], b"", lambda process, out: process.stdout.read(100)),
    "compress": (["compress", *TINY, "-o", "out"], TEXT, wait_for_a_part),
    "decompress": (["decompress", *TINY, "-o", "out"], b"packed", wait_for_a_part),
    "verify": (["verify", "text", *TINY], b"", read_lines(1)),
    "warmup": (["warmup"], b"", lambda process, out: process.stderr.readline()),
}
"""Commands, what stdin begins with, and what shows that they are at work."""
SIGNALS = [
    (command, *stop) for index, command in enumerate(AT_WORK) for stop in (STOP[index % 3], STOP[(index + 1) % 3])
]


@pytest.mark.parametrize(("command", "number", "code"), SIGNALS)
def test_a_signal_ends_a_command_with_its_code_and_without_a_part_of_anything(trained, tmp_path, command, number, code):
    arguments, stdin, wait = AT_WORK[command]
    (tmp_path / "text").write_bytes(TEXT * 10)
    (tmp_path / "model").write_bytes(trained.read_bytes())
    stdin = run("compress", *TINY, stdin=TEXT * 8).stdout[:1000] if stdin == b"packed" else stdin
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")} if command == "warmup" else {**os.environ}
    with start(*arguments, cwd=tmp_path, env=environment) as process:
        process.stdin.write(stdin)
        wait(process, tmp_path / "out")
        time.sleep(0.2)
        process.send_signal(number)
        output, message = process.stdout.read(), process.stderr.read()
    assert process.returncode == code
    assert output == b"" or output.endswith(b"\n")
    assert re.fullmatch(rb"[\d,]+ lines, [^\n]+\n" if command == "watch" else b"", message)
    saved = [path for path in tmp_path.iterdir() if path.name not in ("text", "model", "cache")]
    assert [StreamPredictor.load(path).n_symbols > 90 for path in saved] == [True] * (command == "watch")


def test_a_hangup_that_nohup_ignores_does_not_end_predict():
    ignore = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*ignore, *CLI, "predict", *TINY], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
    ) as process:
        process.stdin.write(b"a")
        assert b"symbol" in next_line(process)
        next_line(process)
        process.send_signal(signal.SIGHUP)
        process.stdin.write(b"b")
        assert next_line(process).split()[:2] == [b"1", b"b"]
        process.stdin.close()
        process.stderr.read()
    assert process.returncode == 0


def test_save_is_repeated_while_a_stream_lasts(tmp_path, monkeypatch):
    predictor, path = tiny(), tmp_path / "m"
    with saving(predictor, path) as save_if_due:
        save_if_due()
        assert not path.exists()
        monkeypatch.setattr("streamlstm.cli.command.SAVE_SECONDS", 0)
        predictor.observe_many("abc")
        save_if_due()
        assert StreamPredictor.load(path).n_symbols == 3
        predictor.observe("d")
    assert StreamPredictor.load(path).n_symbols == 4


@pytest.mark.parametrize(
    ("error", "is_saved"),
    [
        (Interrupted(signal.SIGTERM), True),
        (BrokenPipeError(), True),
        (Interrupted(signal.SIGTERM, at_once=True), False),
        (FloatingPointError("learning diverged"), False),
        (AttributeError("a bug"), False),
    ],
)
def test_what_ends_a_stream_decides_whether_its_model_is_saved(tmp_path, error, is_saved):
    with pytest.raises(type(error)), saving(tiny(), tmp_path / "m"):
        raise error
    assert (tmp_path / "m").exists() == is_saved


def test_a_full_disk_does_not_end_a_stream_but_the_last_save_fails(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("streamlstm.cli.command.SAVE_SECONDS", 0)
    predictor = tiny()

    def stream() -> None:
        with saving(predictor, tmp_path / "m") as save_if_due:
            save_if_due()
            predictor.observe("a")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        stream()
    assert predictor.n_symbols == 1
    assert caplog.messages == [f"not saved yet: {tmp_path / 'm'}: No space left on device"]


def full_disk(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# What is refused


TRAIN = ["train", "text", "-o", "m"]
REFUSED = [
    (["predict", "missing"], "missing: No such file"),
    (["score", "missing"], "missing: No such file"),
    (["train", "missing", "-o", "m"], "missing: No such file"),
    (["info", "missing"], "'missing'", "neither a file nor a bundled model"),
    (["info", "missing.model"], "missing.model: No such file"),
    (["decompress", "--model", "missing"], "streamlstm: there is neither a file nor a bundled model named 'missing'"),
    (["predict", "folder"], "folder", "directory"),
    (["predict", "--model", "folder"], "folder", "directory"),
    (["predict", "--hidden", "0"], "hidden", "0"),
    (["predict", "--window", "0"], "window", "0"),
    (["predict", "--lr", "nan"], "lr", "nan"),
    (["predict", "--optimizer", "lbfgs"], "lbfgs", "rmsprop"),
    (["predict", "--connections", "ring"], "ring", "skip"),
    (["predict", "--vocab", "words"], "--vocab", "words"),
    (["predict", "--format", "xml"], "--format", "xml", "jsonl"),
    (["predict", "--top", "-1"], "--top", "-1"),
    (["predict", "--explain", "--quiet"], "--explain", "--quiet"),
    (["predict", "--explain", "--format", "html"], "--explain", "tsv"),
    (["predict", "--by", "word"], "--by must be one of character, symbol, not 'word'"),
    (["predict", "--seed", "-1"], "seed", "-1"),
    *[(["predict", "--model", "model", option, "1"], option) for option in ("--hidden", "--lr")],
    (["predict", "--model", "model", "--vocab", "text"], "--vocab"),
    (["score", *TINY, "-", "-"], "name it once"),
    (
        ["score", "--vocab", "text", "--context-reset", "never", "text", "latin"],
        "--vocab text",
        "one file",
        "--vocab bytes",
    ),
    (["generate", "--model", "model", "--temperature", "-1"], "temperature"),
    (["generate", "--model", "model", "--top-p", "0"], "--top-p"),
    (["generate", "--model", "model", "-n", "-1"], "-1"),
    (["generate", "--model", "model", "--seed", "-1"], "seed"),
    (["train", "/dev/null", "-o", "m", "--epochs", "nan"], "epochs", "nan"),
    (["train", "/dev/null", "-o", "m"], "at least 2 symbols"),
    (["train", *TRAIN_TINY, "-", "-", "-o", "m"], "name it once"),
    (["train", "latin", "-o", "m", *TRAIN_TINY, "--vocab", "text"], "latin"),
    ([*TRAIN, "--threads", "-1"], "--threads"),
    ([*TRAIN, "--val", "empty"], "empty"),
]
"""What cannot be used, and what the message says."""


@pytest.mark.parametrize(("arguments", "words"), [(arguments, words) for arguments, *words in REFUSED])
def test_what_cannot_be_used_is_refused_with_its_name_before_anything_is_written(tmp_path, arguments, words):
    for name, content in (("text", TEXT), ("empty", b""), ("latin", b"caf\xe9 au lait")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    tiny().save(tmp_path / "model")
    before = set(tmp_path.iterdir())
    result = run(*arguments, stdin=TEXT, cwd=tmp_path)
    assert_refused(result, *words)
    assert result.stdout == b""
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("where", ["missing/m", "."])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, where):
    result = run("predict", *TINY, "--save", tmp_path / where, stdin=b"abc")
    assert_refused(result, str(tmp_path / where))
    assert result.stdout == b""
    (tmp_path / "text").write_bytes(TEXT)
    assert_refused(run("train", tmp_path / "text", "-o", tmp_path / where, *TRAIN_TINY), str(tmp_path / where))
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_a_curve_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "text").write_bytes(TEXT)
    curve = tmp_path / "missing" / "curve.tsv"
    result = run("train", tmp_path / "text", "-o", tmp_path / "m", *TRAIN_TINY, "--epochs", 1, "--curve", curve)
    assert_refused(result, str(curve))
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_train_stops_at_an_update_and_resumes_to_the_same_model(tmp_path):
    text, whole, parts = tmp_path / "text", tmp_path / "whole", tmp_path / "parts"
    text.write_bytes(TEXT)
    assert run("train", text, "-o", whole, *TRAIN_TINY, "--epochs", 2).returncode == 0
    result = run("train", text, "-o", parts, *TRAIN_TINY, "--epochs", 2, "--stop-at", 3)
    assert result.returncode == 0
    assert "stopped at update 3 of" in result.stderr.decode()
    resumed = ["train", text, "-o", parts, *TRAIN_TINY, "--epochs", 2, "--resume"]
    assert_refused(run(*resumed, "--stop-at", 2), "--stop-at 2 is before update 3")
    assert_refused(run(*resumed, "--stop-at", 0), "--stop-at must be at least update 1")
    assert run(*resumed).returncode == 0
    assert parts.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "parts.resume").exists()


def test_saving_never_replaces_what_is_no_regular_file(tmp_path):
    """As root, `--save /dev/null` would otherwise turn the device into a file."""
    os.mkfifo(tmp_path / "pipe")
    assert_refused(run("predict", *TINY, "--save", tmp_path / "pipe", stdin=b"abc"), "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("arguments", [["predict", *TINY], ["predict", "--help"], ["--help"], ["--version"]])
def test_an_output_that_is_full_is_one_line(arguments):
    with open("/dev/full", "wb") as full:
        process = run(*arguments, stdin=b"abc", stdout=full)
    assert process.returncode == 1
    assert re.fullmatch(rb"streamlstm: No space left on device\n", process.stderr)


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_stdin_or_stdout_is_one_line(closed):
    line = f'"{sys.executable}" -m streamlstm predict {" ".join(TINY)} {closed}'
    result = subprocess.run(line, shell=True, stdin=subprocess.DEVNULL, capture_output=True)
    assert_refused(result, "stdin" if "<" in closed else "stdout")


def damaged_models(folder: Path) -> dict[str, Path]:
    tiny().save(folder / "whole")
    content = (folder / "whole").read_bytes()
    (folder / "empty").write_bytes(b"")
    (folder / "truncated").write_bytes(content[: len(content) // 2])
    (folder / "corrupt").write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    (folder / "foreign").write_bytes(TEXT)
    save_file({"weight_ih_l0": np.zeros((64, 256), dtype=np.float32)}, folder / "torch.safetensors")
    arrays, values = read_checkpoint(folder / "whole")
    write_checkpoint(folder / "newer", arrays, {**values, "format": 1000})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamlstm.checkpoint._check_finite", lambda path, arrays: None)
        write_checkpoint(folder / "not finite", {**arrays, "bias_l0": arrays["bias_l0"] * np.float32(np.nan)}, values)
    write_checkpoint(folder / "misshapen", {**arrays, "bias_l0": arrays["bias_l0"][:-1]}, values)
    return {path.name: path for path in folder.iterdir() if path.name != "whole"}


def test_a_damaged_foreign_or_newer_model_is_refused_by_name(tmp_path):
    for name, path in damaged_models(tmp_path).items():
        content = path.read_bytes()
        assert_refused(run("predict", "--model", path, "--save", path, stdin=b"abc"), name)
        assert path.read_bytes() == content


def test_the_model_that_train_writes_must_be_named(trained):
    result = run("train", trained.with_name("text"))
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"Missing option '--output' / '-o'" in result.stderr


def test_a_fresh_net_can_be_trained_but_has_nothing_to_generate(trained, tmp_path):
    assert_refused(run("generate", "--model", "none"), "none", "bundled")
    text = trained.with_name("text")
    assert run("train", text, "-o", tmp_path / "m", "--model", "none", *TWO_GROUPS).returncode == 0
    assert (tmp_path / "m").read_bytes() == trained.read_bytes()


def test_a_dash_as_output_is_stdout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packed = run("compress", *TINY, "-o", "-", stdin=TEXT).stdout
    assert packed == run("compress", *TINY, stdin=TEXT).stdout
    assert run("decompress", *TINY, "-o", "-", stdin=packed).stdout == TEXT
    assert list(tmp_path.iterdir()) == []


def test_the_usage_of_score_names_its_files_once():
    usage = run("score", "--help").stdout.splitlines()[0]
    assert re.fullmatch(rb"Usage: streamlstm score \[OPTIONS\] \[?FILE\]?(\.\.\.)?", usage)  # typer's versions differ


def test_an_option_that_is_no_number_is_a_usage_error():
    result = run("predict", "--hidden", "many")
    assert result.returncode == 2
    assert b"'--hidden'" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_symbol_that_a_text_model_does_not_know_is_refused_with_its_place_in_the_stream(tmp_path):
    tiny("hi").save(tmp_path / "m")
    with start("predict", "--model", tmp_path / "m", "--format", "jsonl") as process:
        process.stdin.write(b"hihi")
        for _ in range(4):
            next_line(process)
        process.stdin.write(b"hx")
        process.stdin.close()
        message = process.stderr.read().decode()
    assert process.returncode == 1
    assert re.fullmatch(r"streamlstm: [^\n]*'x'[^\n]*position 5\b[^\n]*\n", message), message


# What is our own fault


BUGS = {
    "{}['name']": "KeyError: 'name'",
    "[][1]": "IndexError: list index out of range",
    "1 / 0": "ZeroDivisionError: division by zero",
    "assert path is None": "AssertionError",
    "len(path, 1)": "TypeError: len() takes exactly one argument (2 given)",
    "path.missing": "AttributeError: 'str' object has no attribute 'missing'",
    "int('x')": "ValueError: invalid literal for int() with base 10: 'x'",
    "import numpy; numpy.zeros(2) + numpy.zeros(3)": "ValueError: operands could not be broadcast",
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_one_line_that_says_so_and_debug_shows_the_traceback(bug):
    result = run_broken(bug, "predict", *TINY)
    message = result.stderr.decode()
    assert result.returncode == 70
    report = r"please report it, with the output of `streamlstm --debug COMMAND …`"
    assert re.fullmatch(rf"streamlstm: internal error: [^\n]+; {report}\n", message)
    assert BUGS[bug] in message
    assert result.stdout == b""


def test_debug_shows_the_traceback_of_a_bug_and_of_an_error_in_the_input():
    for result, code, last in (
        (run_broken("1 / 0", "--debug", "predict", *TINY), 70, "internal error"),
        (run("--debug", "predict", "no-such-file"), 1, "no-such-file: No such file"),
        (run("--debug", "predict", "--top", "-1"), 1, "--top must be at least 0"),
    ):
        lines = result.stderr.decode().splitlines()
        assert result.returncode == code
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[-1].startswith(f"streamlstm: {last}")


def test_train_uses_as_many_threads_as_there_are_cores_for_the_process(trained, tmp_path, monkeypatch):
    threads = []

    class Trainer:
        def __init__(self, *arguments: object, **others: object) -> None:
            threads.append(arguments[4])
            raise OSError("enough")

    monkeypatch.setattr("streamlstm.training.trainer.Trainer", Trainer)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    result = CliRunner().invoke(app, ["train", str(trained.with_name("text")), "-o", str(tmp_path / "m")])
    assert result.exit_code == 1
    assert threads == [1]


# The other commands


def test_train_makes_a_model_that_knows_its_text(trained):
    assert not trained.with_name("model.resume").exists()
    assert StreamPredictor.load(trained).observe_many(TEXT[:500]).mean() < 6 < 8


def test_train_goes_on_from_the_weights_of_a_model(trained, tmp_path):
    text, model = trained.with_name("text"), tmp_path / "m"
    result = run("train", text, "-o", model, "--model", trained, "--epochs", 1, "--lr", 1e-9)
    assert result.returncode == 0
    for name, array in StreamPredictor.load(model).weights().items():
        assert np.allclose(array, StreamPredictor.load(trained).weights()[name], atol=1e-5)
    assert_refused(run("train", text, "-o", model, "--model", trained, "--layers", 1), "--layers")


def mixture_of(model):
    return read_checkpoint(model)[0].get("memory.weights")


def test_train_half_rounds_the_weights_at_the_end_and_learns_the_mixture_with_them(tmp_path):
    text, whole, half = tmp_path / "t", tmp_path / "whole", tmp_path / "half"
    text.write_text("to be or not to be, that is the question\n" * 40)
    shape = ["--hidden", 8, "--layers", 1, "--epochs", 1]
    assert run("train", text, "-o", whole, *shape).returncode == 0
    assert run("train", text, "-o", half, "--half", *shape).returncode == 0
    exact, rounded = StreamPredictor.load(whole).weights(), StreamPredictor.load(half).weights()
    for name, weight in exact.items():
        assert np.array_equal(rounded[name], weight.astype(np.float16).astype(np.float32))
    assert half.stat().st_size < whole.stat().st_size
    notes = ["--about", "licence=MIT", "--about", "data=a = b"]
    assert run("train", text, "-o", tmp_path / "noted", "--half", *notes, *shape).returncode == 0
    noted = StreamPredictor.load(tmp_path / "noted")
    assert (noted.about["licence"], noted.about["data"]) == ("MIT", "a = b")
    assert_refused(run("train", text, "-o", tmp_path / "m", "--about", "licence"), "--about")
    assert run("train", text, "-o", tmp_path / "again", "--model", whole, "--epochs", 0, "--half").returncode == 0
    again = StreamPredictor.load(tmp_path / "again")
    assert again.observe_many(b"to be").tolist() == StreamPredictor.load(half).observe_many(b"to be").tolist()


def test_train_learns_the_mixture_from_the_training_text_or_another_one_and_with_0_epochs_nothing_else(
    trained, tmp_path
):
    text, model, other = trained.with_name("text"), tmp_path / "m", tmp_path / "other"
    other.write_bytes(b"0123456789" * 50)
    assert run("train", text, "-o", model, "--model", trained, "--epochs", 0).returncode == 0
    assert np.array_equal(mixture_of(model), mixture_of(trained))
    for name, array in StreamPredictor.load(model).weights().items():
        assert np.array_equal(array, StreamPredictor.load(trained).weights()[name])
    result = run("train", text, "-o", model, "--model", trained, "--epochs", 0, "--mixture", other)
    assert result.returncode == 0
    assert not np.array_equal(mixture_of(model), mixture_of(trained))
    assert run("train", text, "-o", model, "--model", trained, "--mixture-symbols", 0).returncode == 0
    assert mixture_of(model) is None
    assert_refused(run("train", text, "-o", model, "--mixture", tmp_path / "missing"), "missing")
    assert_refused(run("train", text, "-o", model, "--mixture-symbols", -1), "--mixture-symbols")


def test_train_widens_a_model_but_does_not_make_it_narrower(trained, tmp_path):
    text, model = trained.with_name("text"), tmp_path / "m"
    assert run("train", text, "-o", model, "--model", trained, "--hidden", 40, "--lr", 1e-9).returncode == 0
    wide, narrow = StreamPredictor.load(model), StreamPredictor.load(trained)
    assert (wide.config.hidden, narrow.config.hidden) == (40, 16)
    for predictor in (wide, narrow):
        predictor.learning = False
    assert np.allclose(wide.observe_many(TEXT), narrow.observe_many(TEXT), atol=1e-3)
    assert_refused(run("train", text, "-o", model, "--model", trained, "--hidden", 8), "at least 16")


def test_train_gives_the_same_weights_for_one_and_for_two_threads(trained, tmp_path):
    text, model = trained.with_name("text"), tmp_path / "two"
    run("train", text, "-o", model, *TWO_GROUPS, "--threads", 2)
    assert model.read_bytes() == trained.read_bytes()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_run_that_was_stopped_and_resumed_gives_the_bytes_of_one_that_was_not(trained, tmp_path, stop):
    model, state = tmp_path / "m", tmp_path / "m.resume"
    training = ["train", trained.with_name("text"), *TWO_GROUPS, "-o", model]
    with start(*training, "--checkpoint-every", 0) as process:
        wait_for(model, process)
        process.send_signal(stop)
        message = process.stderr.read()
    if stop != signal.SIGKILL:
        assert process.returncode == 128 + stop
        assert re.search(rb"stopped at update \d+ of \d+; continue with --resume\n$", message)
    assert state.exists()
    assert not np.array_equal(StreamPredictor.load(model).predict(), StreamPredictor.load(trained).predict())
    resumed = run(*training, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert model.read_bytes() == trained.read_bytes()
    assert not state.exists()


def test_resume_refuses_what_was_never_begun_and_what_was_begun_otherwise(trained, tmp_path):
    text = trained.with_name("text")
    training = ["train", text, "-o", tmp_path / "m", *TRAIN_TINY, "--resume"]
    assert_refused(run(*training), "there is no ", "m.resume", "omit --resume")
    tiny().save(tmp_path / "m.resume")
    assert_refused(run(*training), "m.resume", "different run")


def test_a_file_for_resume_is_refused_as_a_model_with_a_word_on_what_it_is(trained, tmp_path):
    training = ["train", trained.with_name("text"), "-o", tmp_path / "m", *TRAIN_TINY, "--checkpoint-every", 0]
    with start(*training) as process:
        wait_for(tmp_path / "m.resume", process)
        process.kill()
    assert_refused(run("info", tmp_path / "m.resume"), "m.resume", "train --resume")


def test_the_curve_has_a_row_with_the_bits_of_the_validation_file(trained, tmp_path):
    text, model, curve = trained.with_name("text"), tmp_path / "m", tmp_path / "curve.tsv"
    run("train", text, "-o", model, *TRAIN_TINY, "--epochs", 1, "--val", text, "--curve", curve)
    header, row = (line.split("\t") for line in curve.read_text().splitlines())
    assert header == ["update", "symbols", "seconds", "lr", "bits", "validation_bits"]
    saved = StreamPredictor.load(model)
    alone = replace(saved.config, memory=False)
    predictor = StreamPredictor.from_weights(saved.weights(), saved.vocabulary, alone)
    predictor.learning = False
    assert float(row[5]) == pytest.approx(predictor.observe_many(TEXT).mean(), abs=1e-3)


def curve_of(folder: Path) -> list[list[str]]:
    return [row.split("\t") for row in (folder / "curve").read_text().splitlines()]


@pytest.mark.parametrize("kill_at", [2, 3, 5, *(pytest.param(at, marks=pytest.mark.slow) for at in (1, 4, 6, 7, 8))])
def test_the_curve_has_each_row_once_wherever_the_run_is_killed(trained, tmp_path, kill_at):
    """It is killed before each of its files is replaced or appended to, and resumed until it ends."""
    kill = """
import os, sys
from streamlstm.system import files
count = int(os.environ["KILL_AT"])
def dying(function):
    def wrapped(*arguments, **options):
        global count
        count -= 1
        if count == 0:
            os._exit(9)
        return function(*arguments, **options)
    return wrapped
files.append_text = dying(files.append_text)
files.replace_file = dying(files.replace_file)
"""
    text = trained.with_name("text")
    command = ["train", text, *TWO_GROUPS, "--epochs", 1, "--threads", 1, "--checkpoint-every", 0]
    command += ["--mixture-symbols", 50]
    options = ["-o", tmp_path / "m", "--curve", tmp_path / "curve"]
    for turn in range(3):
        resume = ["--resume"] if (tmp_path / "m.resume").exists() else []
        if not resume:  # it was killed before its first checkpoint: this run begins anew
            (tmp_path / "curve").unlink(missing_ok=True)
        environment = {**os.environ, "KILL_AT": str(kill_at if turn < 2 else -1)}
        ended = run(*command, *options, *resume, before=kill, env=environment)
    assert ended.returncode == 0, ended.stderr
    _, *rows = curve_of(tmp_path)
    updates = [int(row[0]) for row in rows]
    assert updates == list(range(1, updates[-1] + 1))
    assert all(float(row[4]) > 0 for row in rows)


def test_another_runs_rows_of_a_curve_stay(tmp_path):
    from streamlstm.cli.train import cut_curve

    curve = tmp_path / "curve"
    for text, step, left in (
        ("h\n10\tx\n20\tx\n", 15, 3),
        ("h\n10\tx\n20\tx\n", 10, 2),
        ("h\n20\tx\n5\tx\n7\tx\n9", 5, 3),
        ("", 5, 0),
    ):
        curve.write_text(text)
        cut_curve(curve, step)
        assert len(curve.read_text().splitlines()) == left


def test_score_has_a_row_per_file_each_read_by_the_same_model(trained, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    text = trained.with_name("text")
    result = run("score", "--model", trained, text, tmp_path / "empty", text)
    header, *rows = (line.split("\t") for line in result.stdout.decode().splitlines())
    assert header == ["symbols", "bits", "bits_per_symbol", "file"]
    bits = float(StreamPredictor.load(trained).observe_many(TEXT).sum(dtype="float64"))
    row = [str(len(TEXT)), f"{bits:.2f}", f"{bits / len(TEXT):.4f}", str(text)]
    assert rows == [row, ["0", "0.00", "0.0000", str(tmp_path / "empty")], row]


def test_score_of_a_fresh_net_that_may_not_learn_is_8_bits_per_byte(tmp_path):
    result = run("score", "--freeze", "-", *TINY, stdin=TEXT[:100])
    assert result.stdout.splitlines()[1:] == [b"100\t800.00\t8.0000\t-"]


def test_generate_writes_the_same_text_for_the_same_seed_and_another_for_another(trained):
    one, same, other = (run("generate", "--model", trained, "-n", 80, "--seed", s).stdout for s in (1, 1, 2))
    assert len(one) == 81
    assert one == same != other


def test_generate_at_temperature_0_goes_on_from_the_prompt_with_the_best_symbols(trained):
    prompt = "7 green bottles hang"
    output = run("generate", "--model", trained, "--prompt", prompt, "-n", 10, "--temperature", 0, "--seed", 3).stdout
    predictor = StreamPredictor.load(trained)
    predictor.learning = False
    predictor.observe_many(prompt)
    best = ""
    for _ in range(10):
        best += predictor.top(1)[0][0]
        predictor.observe(best[-1])
    assert output.decode() == prompt + best + "\n"


def test_generate_refuses_a_prompt_with_a_symbol_that_the_model_does_not_know(tmp_path):
    tiny("hi").save(tmp_path / "m")
    result = run("generate", "--model", tmp_path / "m", "--prompt", "h€")
    assert_refused(result, "'€'", "position 1")
    assert result.stdout == b""


def test_info_tells_the_shape_the_vocabulary_and_how_much_was_seen(tmp_path):
    predictor = tiny("hello")
    predictor.observe_many("hello" * 300)
    predictor.save(tmp_path / "m")
    lines = dict(line.split(None, 1) for line in run("info", tmp_path / "m").stdout.decode().splitlines())
    assert lines["network"] == "1 layer of 16, skip, window 16"
    assert lines["weights"] == f"{4 * 16 * (4 + 16 + 1 + 1) + 4 * (16 + 1):,}"  # + 1 for the start
    assert lines["vocabulary"].startswith("4 symbols (text")
    assert lines["symbols"] == "1,500 seen"


def test_warmup_tells_where_the_cache_is(compiled):
    *kernels, last = compiled.decode().splitlines()
    assert any(line.startswith("forward ") for line in kernels)
    assert last.startswith("cache: ")
    assert list(Path(last.removeprefix("cache: ")).iterdir())


# Help


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_do_not_import_numba_or_numpy(option):
    result = subprocess.run([sys.executable, "-X", "importtime", *CLI[1:], option], capture_output=True)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.decode().splitlines()}
    assert result.returncode == 0
    assert "typer" in imported
    assert imported.isdisjoint({"numba", "numpy", "llvmlite"})


def test_the_console_script_tells_its_version():
    script = Path(sys.executable).with_name("streamlstm")
    if not script.exists():
        pytest.skip("no console script beside this interpreter")
    result = subprocess.run([script, "--version"], capture_output=True)
    assert (result.returncode, result.stdout.split()[0]) == (0, b"streamlstm")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_shows_an_example(command):
    result = run(command, "--help")
    assert result.returncode == 0
    assert re.search(rf"^  .*\bstreamlstm {command}\b", result.stdout.decode().partition("Options:")[0], re.MULTILINE)


def test_every_option_has_a_help_text():
    commands = typer.main.get_command(app).commands
    options = [(name, each) for name in commands for each in commands[name].params if each.param_type_name == "option"]
    assert [(name, option.name) for name, option in options if not option.help] == []


def test_help_can_be_read_where_the_terminal_is_not_utf8():
    result = run("train", "--help", env={**os.environ, "PYTHONIOENCODING": "latin-1"})
    assert (result.returncode, result.stderr) == (0, b"")


def test_the_help_lists_each_command():
    listed = run("--help").stdout.decode().partition("Commands:")[2]
    assert re.findall(r"^  (\w+)  ", listed, re.MULTILINE) == COMMANDS
    assert "..." not in listed  # each in a line of its own, to its end


def test_options_are_in_groups_and_those_of_a_fresh_network_come_last():
    for name, groups in {
        "score": ["Arguments", "Options", "Model", "With --engine ray", FRESH],
        "surprising": ["Arguments", "Options", "Input", "Model", FRESH],
        "predict": ["Arguments", "Options", "Model", FRESH],
    }.items():
        sections = re.split(r"^(\w.*):$", run(name, "--help").stdout.decode(), flags=re.MULTILINE)
        assert sections[1::2] == groups
        assert re.findall(r"^  (--[\w-]+)", sections[-1], re.MULTILINE) == [
            *["--hidden", "--layers", "--window", "--memory-bits", "--connections"],
            *["--optimizer", "--lr", "--seed", "--vocab"],
        ]
        assert "--model" in sections[2 * groups.index("Model") + 2]
    watch = re.split(r"^(\w.*):$", run("watch", "--help").stdout.decode(), flags=re.MULTILINE)
    assert watch[1::2][-1] == FRESH
    assert len(watch) > 12


def test_every_record_of_options_has_a_group():
    """And each group is that of a record."""
    sources = [path.read_text("utf-8") for path in Path(guesses.__file__).parent.glob("*.py")]
    declared = {name for source in sources for name in re.findall(r"^class (\w+Options)\b", source, re.MULTILINE)}
    assert declared == set(OPTION_GROUPS)
    listed = [name for group in COMMAND_GROUPS.values() for name in group]
    assert len(listed) == len(set(listed))
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["score", "--json", "-"], "No such option: --json; use --format jsonl"),
        (["score", "--reset", "-"], "No such option: --reset; use --independent line"),
        (["watch", "-f", "app.log"], "No such option: -f; use --follow"),
        (["surprising", "-n", "5", "-"], "No such option: -n; use --top N"),
        (["score", "-o", "x", "-"], "No such option: -o; results go to stdout: add > FILE"),
        (["score", "--lang", "de", "-"], "No such option: --lang; there is none: the bundled models know 15 European"),
        (["info", "--model", "small"], "No such option: --model; name the model itself"),
        (["surprisal", "x"], "No such command 'surprisal'. Did you mean 'score'?"),
        (["surprisin", "x"], "No such command 'surprisin'. Did you mean 'surprising'?"),
    ],
)
def test_the_usual_wrong_guesses_are_answered(arguments, answer):
    result = run(*arguments)
    assert result.returncode == 2
    assert answer in result.stderr.decode()


@pytest.mark.parametrize(("option", "suggested"), [("--hiden", ".*--hidden"), ("--normal", "")])
def test_only_options_that_are_spelt_alike_are_suggested(option, suggested):
    """In the words of the command line's library, which differ between its versions."""
    result = run("score", option, "3")
    assert result.returncode == 2
    assert re.search(rf"No such option:? '?{option}'?\.?{suggested}\W*\n", result.stderr.decode())


def test_every_answer_names_an_option_or_a_command_that_is_there():
    commands = typer.main.get_command(app).commands
    options = {spelling for command in commands.values() for each in command.params for spelling in each.opts}
    answers = [answer.split()[0].strip(",") for several in guesses.ANSWERS.values() for answer in several]
    assert [answer for answer in answers if answer not in options] == []
    assert [name for name in guesses.COMMANDS.values() if name not in commands] == []
    assert [name for name in guesses.COMMANDS if name in commands] == []


# What must not be lost


def test_a_net_that_diverged_does_not_take_the_place_of_a_good_one(trained, tmp_path):
    good = tmp_path / "good"
    good.write_bytes(trained.read_bytes())
    diverging = [*TINY, "--optimizer", "sgd", "--lr", "1e38", "--save", good]
    for arguments in (["predict", "--quiet", *diverging], ["watch", *diverging]):
        assert_refused(run(*arguments, stdin=TEXT), "diverged", "below 1e+38")
        assert good.read_bytes() == trained.read_bytes()


def test_no_file_that_is_read_and_no_other_output_is_written_over(trained, tmp_path):
    text, log = trained.with_name("text"), tmp_path / "log"
    log.write_bytes(TEXT)
    train = ["train", text, *TRAIN_TINY]
    for arguments in (
        ["watch", log, *TINY, "--save", log],
        [*train, "-o", log, "--val", log],
        [*train, "-o", tmp_path / "m", "--curve", tmp_path / "m"],
        [*train, "-o", tmp_path / "m", "--curve", tmp_path / "m.resume"],
        ["train", text, "-o", log, "--model", log],
        ["train", text, log, *TRAIN_TINY, "-o", log],
    ):
        assert_refused(run(*arguments), "is named twice", "name another file")
        assert log.read_bytes() == TEXT
        assert sorted(tmp_path.iterdir()) == [log]


def test_a_folder_named_as_a_bundled_model_is_not_taken_for_it(tmp_path):
    (tmp_path / "small").mkdir()
    assert b"3 layers of 128" in run("info", cwd=tmp_path).stdout
    assert_refused(run("info", "./small", cwd=tmp_path), "directory")


@pytest.mark.parametrize(
    "command", ["watch", *(pytest.param(name, marks=pytest.mark.slow) for name in ("predict", "score", "compress"))]
)
def test_without_stderr_all_is_done_as_with_it(command):
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh", *CLI, command, *TINY]
    silent = subprocess.run(shell, input=TEXT, stdout=subprocess.PIPE, timeout=100)
    assert (silent.returncode, silent.stdout) == (0, run(command, *TINY, stdin=TEXT).stdout)


def test_a_shape_that_does_not_fit_into_memory_is_refused_in_one_line():
    limited = ["sh", "-c", 'ulimit -v 6000000; exec "$@"', "sh", *CLI]
    arguments = ["predict", "--quiet", "--hidden", "4096", "--layers", "16", "--no-memory"]
    assert_refused(subprocess.run([*limited, *arguments], input=TEXT, capture_output=True, timeout=100), "memory")


def test_watch_needs_no_right_to_write_beside_the_model(tmp_path):
    model, log = tmp_path / "m", b"a x\nb y\n" * 40
    first = run("watch", *TINY, "--save", model, stdin=log)
    assert first.returncode == 0, first.stderr
    before = set(tmp_path.iterdir())
    watcher = start("watch", "--model", model, "--all")
    watcher.stdin.write(log)
    assert next_line(watcher)
    assert set(tmp_path.iterdir()) == before
    watcher.stdin.close()
    assert watcher.wait() == 0


def test_train_has_the_shape_that_its_help_names(trained, tmp_path):
    text = trained.with_name("text")
    assert run("train", text, "-o", tmp_path / "m", "--epochs", 0.01, "--layers", 1).returncode == 0
    assert StreamPredictor.load(tmp_path / "m").config.hidden == 128


def test_a_model_that_was_trained_on_tells_where_it_came_from(trained, tmp_path):
    text, model = trained.with_name("text"), tmp_path / "m"
    assert run("train", text, "-o", model, "--model", "small", "--epochs", 0.01).returncode == 0
    about = StreamPredictor.load(model).about
    assert about["started from"] == "small"
    assert "MIT" in about["licence"]


@pytest.mark.parametrize("command", ["predict", "score"])
def test_what_cannot_be_explained_or_read_is_refused_before_the_header(trained, command):
    result = run(command, "--explain", *TINY, "--no-memory", "--format", "tsv", stdin=TEXT)
    assert_refused(result, "--explain", "no memory")
    missing = run("score", *TINY, trained.with_name("text"), "no-such-file")
    assert_refused(missing, "no-such-file")
    assert result.stdout == missing.stdout == b""
