"""No command uses the network, whatever it is given: a process that asks for a socket is killed."""

import json
import re
import signal
import socket
import urllib.request

import pytest
from commands import run, start
from no_network import CAN_FORBID, FORBIDDEN

from streamlstm import Config, StreamPredictor

pytestmark = pytest.mark.skipif(not CAN_FORBID, reason="the filter is for Linux on x86-64 and aarch64")
TINY = ["--hidden", "16", "--layers", "1", "--memory-bits", "10"]
TEXT = b"two green bottles hanging on the wall\n" * 20


@pytest.fixture
def folder(tmp_path):
    """A folder with a text, a model and an archive."""
    (tmp_path / "text").write_bytes(TEXT)
    (tmp_path / "words.tsv").write_text("id\ttext\n1\tthe cat sat\n")
    StreamPredictor(config=Config(hidden=16, layers=1, memory_bits=10)).save(tmp_path / "model")
    assert run("compress", "text", "-o", "archive", "--model", "model", cwd=tmp_path).returncode == 0
    return tmp_path


COMMANDS = {
    "predict": ["text", *TINY, "--save", "new"],
    "predict the bundled model": ["text", "--quiet"],
    "score": ["text", "text", "--by", "word", *TINY],
    "regions": ["words.tsv", *TINY],
    "watch": [
        "text",
        *TINY,
        "--save",
        "watched",
        "--metrics",
        "m",
        "--output",
        "o",
        "--exec",
        "cat",
        "--key-regex",
        "^.",
    ],
    "surprising": ["text", *TINY],
    "kinds": ["text", *TINY],
    "train": ["text", "-o", "trained", "--hidden", "8", "--layers", "1", "--epochs", "0.1", "--batch", "2"],
    "generate": ["--prompt", "two", "-n", "5", "--model", "model"],
    "complete": ["--prompt", "two", "--model", "model"],
    "fill": ["tw? green", "--model", "model"],
    "compress": ["text", "-o", "packed", "--model", "model"],
    "decompress": ["archive", "-o", "unpacked", "--model", "model"],
    "verify": ["text", *TINY],
    "info": ["model"],
    "warmup": [],
}
"""The arguments of each command, after its name; `live` and `mcp` are in `test_live` and `test_integrations_mcp`."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_uses_no_network(folder, name):
    result = run(name.split()[0], *COMMANDS[name], cwd=folder, before=FORBIDDEN)
    assert result.returncode == 0, result.stderr
    assert result.stdout or result.stderr or (folder / "unpacked").read_bytes() == TEXT


def test_these_are_all_commands():
    listed = re.findall(r"^  ([a-z]+)  ", run("--help").stdout.decode(), re.M)
    assert {name.split()[0] for name in COMMANDS} | {"live", "mcp"} == set(listed)


def test_models_and_inputs_are_never_addresses(folder):
    for address in ("http://127.0.0.1:9/x", "hf://gpt2", "s3://bucket/model"):
        for arguments in (["predict", address, *TINY], ["predict", "text", "--model", address]):
            result = run(*arguments, cwd=folder, before=FORBIDDEN)
            assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_a_process_that_asks_for_the_network_is_killed(family):
    before = f"{FORBIDDEN}import socket\nsocket.socketpair()\nsocket.socket(socket.{family})"
    assert run("info", before=before).returncode == -signal.SIGSYS


def test_metrics_are_served_to_this_machine_only(folder):
    pytest.importorskip("prometheus_client")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = "NAMES = 'socket.bind', 'socket.connect', 'socket.sendto'\n"
    bound = (
        "import sys\nsys.addaudithook(lambda name, given: name in NAMES and print(name, given[-1], file=sys.stderr))"
    )
    with start("watch", *TINY, "--metrics-port", port, "--all", "--format", "jsonl", before=names + bound) as process:
        process.stdin.write(TEXT[:38])
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["line"] == 1
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            assert b"\nstreamlstm_watch_lines_total " in answer.read()
        process.stdin.close()
        events = [line for line in process.stderr.read().decode().splitlines() if line.startswith("socket.")]
        assert process.wait(60) == 0
    assert events == [f"socket.bind ('127.0.0.1', {port})"]
