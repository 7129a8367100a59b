"""Records: whatever the locale says, the same bytes of UTF-8."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import start

from streamlstm import Config, StreamPredictor, Vocabulary
from streamlstm.logs.metrics import METRICS

TINY = ["--hidden", "4", "--layers", "1", "--memory-bits", "10"]
LATIN = "naïve café — 日本 😀\n"
NAME = "café–日.txt"

ENVIRONMENTS = {
    "utf-8": {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"},
    "ascii locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "utf-16": {"PYTHONIOENCODING": "utf-16"},
    "strict": {"PYTHONIOENCODING": "utf-8:strict"},
}

RUN_ALL = r"""
import importlib, json, os, pkgutil, sys
import streamlstm
from streamlstm.cli import main
from streamlstm.cli.app import app
for package in ("tasks", "render", "watch", "logs", "predictor", "integrations"):
    for each in pkgutil.iter_modules(importlib.import_module(f"streamlstm.{package}").__path__):
        if package != "integrations" or each.name in ("regions", "surprising"):
            if each.name != "live":
                importlib.import_module(f"streamlstm.{package}.{each.name}")
streamlstm.warmup()
commands, folder = json.load(open(sys.argv[1], encoding="utf-8")), sys.argv[2]
for number, (arguments, stdin) in enumerate(commands):
    pid = os.fork()
    if pid == 0:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(stdin or os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(f"{folder}/{number}.out", flags), 1)
        os.dup2(os.open(f"{folder}/{number}.err", flags), 2)
        sys.argv = ["streamlstm", *(os.fsdecode(each.encode("utf-8", "surrogateescape")) for each in arguments)]
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        sys.stdout.flush()
        os._exit(code)
    _, status = os.waitpid(pid, 0)
    open(f"{folder}/{number}.code", "w").write(str(os.waitstatus_to_exitcode(status)))
"""


def text_model(folder):
    """A model of characters that has learned a few."""
    vocabulary = Vocabulary.from_text(LATIN + "abcdefghijklmnopqrstuvwxyz .?", unknown="?")
    predictor = StreamPredictor(vocabulary, Config(hidden=4, layers=1, memory_bits=10))
    predictor.observe_many(LATIN * 20)
    predictor.about["name"] = "modèle – 日本"
    predictor.save(folder / "modèle.safetensors")
    return "modèle.safetensors"


def commands(folder):
    """Commands by a name, each with its arguments; `-` reads the text from stdin."""
    lines = [f"tâche {n % 7} finie en {n % 5} µs" for n in range(150)]
    lines[120] = "NOYAU: la mémoire — 日本 😀 est épuisée \udce9"
    text = (LATIN * 3 + "caf\udce9 \x1b[2J\n").encode("utf-8", "surrogateescape")
    (folder / NAME).write_bytes(text)
    (folder / "journal–é.log").write_bytes("".join(f"{each}\n" for each in lines).encode("utf-8", "surrogateescape"))
    (folder / "régions.tsv").write_text(f"id\ttext\npremière\t{LATIN.strip()}\ndeuxième\t“où”\n", encoding="utf-8")
    keyed = [json.dumps({"msg": each, "hôte": "é"}, ensure_ascii=False) for each in lines]
    (folder / "keyed.log").write_text("".join(f"{each}\n" for each in keyed), encoding="utf-8", errors="replace")
    model, log = text_model(folder), "journal–é.log"
    found = {f"predict {f}": ["predict", NAME, *TINY, "--format", f] for f in ("text", "tsv", "jsonl", "ansi", "html")}
    found["predict --explain"] = ["predict", NAME, *TINY, "--explain", "--format", "jsonl"]
    found["predict a model of characters"] = ["predict", NAME, "--model", model, "--format", "jsonl"]
    for by in ("symbol", "character", "word", "line", "file"):
        for format in ("text", "tsv", "jsonl"):
            found[f"score {by} {format}"] = ["score", NAME, *TINY, "--by", by, "--format", format]
    found |= {f"score {f}": ["score", NAME, *TINY, "--format", f] for f in ("ansi", "html")}
    found["score of two files"] = ["score", NAME, log, *TINY, "--by", "word"]
    found["score --explain"] = ["score", NAME, *TINY, "--explain"]
    found["score --compare"] = ["score", NAME, "--compare", model, model, "--format", "jsonl"]
    found["regions"] = ["regions", "régions.tsv", *TINY]
    found["regions --separator"] = ["regions", "régions.tsv", *TINY, "--separator", "·"]
    for format in ("text", "jsonl"):
        found[f"watch {format}"] = ["watch", log, NAME, *TINY, "--all", "--format", format]
        found[f"watch sessions {format}"] = ["watch", log, *TINY, "--session-regex", r"\d", "--all", "--format", format]
        found[f"surprising {format}"] = ["surprising", log, NAME, *TINY, "--format", format, "--context", "1"]
    found["watch a key"] = ["watch", "keyed.log", *TINY, "--key-field", "hôte", "--all", "--format", "jsonl"]
    found["watch a kind"] = ["watch", log, *TINY, "--key-regex", "tâche|é", "--all", "--format", "jsonl"]
    found["generate"] = ["generate", "--model", model, "--prompt", "naïve ", "-n", "20"]
    found["complete"] = ["complete", "--model", model, "--prompt", "naïve c", "--stop", "é"]
    found["fill"] = ["fill", "naïve caf? — 日?", "--model", model, "--characters", "éè日本"]
    found["info"] = ["info", model]
    found["help"] = ["watch", "--help"]
    return found


def outputs(folder, name):
    """The results of all commands in an environment: exit code, stdout, stderr."""
    invocations, results = commands(folder), folder / "results" / name
    results.mkdir(parents=True)
    (results / "commands.json").write_text(json.dumps([(each, None) for each in invocations.values()]))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    script = [sys.executable, "-c", RUN_ALL, "results/" + name + "/commands.json", f"results/{name}"]
    with (results / "stderr").open("wb") as errors:
        ended = subprocess.run(script, cwd=folder, env=environment | ENVIRONMENTS[name], timeout=300, stderr=errors)
    assert ended.returncode == 0, (results / "stderr").read_text("utf-8", "replace")
    found = {}
    for number, each in enumerate(invocations):
        parts = [(results / f"{number}.{kind}").read_bytes() for kind in ("code", "out", "err")]
        assert parts[0] == b"0", (each, parts)
        found[each] = parts[1]
    return found


def documented(heading):
    """The fields in the first column of the tables below a heading of formats.md, and its text."""
    page = (Path(__file__).parent.parent / "docs/pages/formats.md").read_text("utf-8")
    part = re.split(r"^#{2,3} ", page.partition(f"\n### {heading}\n")[2], flags=re.MULTILINE)[0]
    tables = re.split(r"^\| field \| content \|\n\|---\|---\|\n", part, flags=re.MULTILINE)[1:]
    cells = [re.findall(r"^\| (.*?) \|", table.partition("\n\n")[0] + "\n", re.MULTILINE) for table in tables]
    return [{name for cell in table for name in re.findall("`(.+?)`", cell)} for table in cells], part


def records(text):
    return [json.loads(line) for line in text.decode().splitlines()]


def test_the_fields_that_are_documented_are_those_that_are_written(in_utf8):
    def written(*names):
        found = {field for name in names for record in records(in_utf8[name]) for field in record}
        return {field for field in found if not field.endswith("_base64")}

    (lines, sessions), text = documented("watch")
    assert written("watch jsonl") == lines
    assert written("watch sessions jsonl") == sessions
    (predicted,), _ = documented("predict")
    assert written("predict jsonl", "predict --explain") == predicted
    assert in_utf8["predict tsv"].decode().splitlines()[0].split("\t") == ["index", "symbol", "bits", "rank", "next"]
    (scored, explained), text = documented("score")
    assert written("score word jsonl") == scored - {"nats", "log10"}
    assert set(in_utf8["score word tsv"].decode().splitlines()[0].split("\t")) == scored - {"nats", "log10"}
    assert set(in_utf8["score --explain"].decode().splitlines()[0].split("\t")) == explained
    assert written("score file jsonl") == {"symbols", "bits", "bits_per_symbol", "file"}
    assert written("score --compare") - scored == {"ratio_bits", "bits_a", "bits_b"}
    assert all(f"`{name}`" in text for name in ("symbols", "ratio_bits", "bits_a", "bits_b"))
    _, text = documented("surprising")
    names = set(re.findall("`([a-z_]+)`", text.partition("```")[0])) - {"jsonl", "watch", "score_base64"}
    assert written("surprising jsonl") == names
    _, text = documented("regions")
    assert all(f"`{name}`" in text for name in ("id", "text", "passage", "characters"))
    header = in_utf8["regions"].decode().splitlines()[0].split("\t")
    assert header[:4] == ["id", "text", "passage", "characters"]


def text_of(path):
    return path.read_text() if path.exists() else ""


def test_the_metrics_that_are_documented_are_those_that_are_written(tmp_path):
    _, text = documented("watch")
    paragraph = text[text.index("`--metrics` writes these") :].split("\n\n")[0]
    names = set(re.findall("`([a-z_]+)`", paragraph)) - {"streamlstm_watch_"}
    assert names == {metric.name for metric in METRICS}
    (tmp_path / "log").write_text("".join(f"job {n % 3} done\n" for n in range(300)))
    command = ["watch", "log", "--metrics", "m", "--exec", "true", "--save", "s", *TINY]
    for options in ([], ["--session-regex", r"\d"], ["--follow"]):
        with start(*command, *options, cwd=tmp_path) as process:
            while "--follow" in options and "lines_total 300\n" not in text_of(tmp_path / "m"):
                time.sleep(0.05)
            if "--follow" in options:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        found = set(re.findall(r"^streamlstm_watch_(\w+) ", (tmp_path / "m").read_text(), re.MULTILINE))
        names -= found
        assert re.search(
            r"^streamlstm_watch_familiar_total [1-9]", (tmp_path / "m").read_text(), re.M
        ) or "regex" in str(options)
        (tmp_path / "m").unlink()
        (tmp_path / "s").unlink(missing_ok=True)
    assert names == set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def in_utf8(folder):
    return outputs(folder, "utf-8")


def test_records_are_utf8_and_valid_json(in_utf8):
    for command, output in in_utf8.items():
        if command in ("watch text", "surprising text"):  # lines as they came
            continue
        text = output.decode()
        assert text, command
        assert "\\u00e9" not in text, command
        if "json" in command or "key" in command or "compare" in command:
            for line in text.splitlines():
                json.dumps(json.loads(line), ensure_ascii=False).encode()
    assert "café" in in_utf8["score word jsonl"].decode()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if name != "utf-8"])
def test_every_command_writes_the_same_bytes_whatever_the_locale_says(folder, in_utf8, name):
    found = outputs(folder, name)
    assert {each for each in found if found[each] != in_utf8[each]} == set()
