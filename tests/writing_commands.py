"""The commands that write files, with small inputs, and how to tell whether what they have written is whole."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden import text

from streamlstm import Config, SessionWatcher, StreamPredictor, Watcher, compress
from streamlstm.checkpoint import read_checkpoint

CONFIG = Config(hidden=8, layers=1, window=4, memory_bits=10)
SHAPE = ["--hidden", 8, "--layers", 1, "--window", 4, "--memory-bits", 10]
PART = r"\.[^/]{1,50}\.[0-9a-f]{16}\.part"
STORE = r"m\.keys-[0-9a-f]{8}(-wal|-shm|-journal)?|.*\.lock"
OFTEN = "import streamlstm.cli.command as command; command.SAVE_SECONDS = 0.0"
SOON = "import streamlstm.logs.output as output; output.RETRY_SECONDS = 0.01"


@dataclass(frozen=True)
class WritingCommand:
    """A command that writes files.

    arguments  what it is given: `inputs` is the folder of `make_inputs`, and it writes to `out`
    whole      raises if something is there, between two of its writes, that is not whole
    look       what is there at the end, in words or numbers
    left       the names of files that it may leave when it is killed
    before     Python code that the process runs first
    stdout     the file in `out` that its output goes to
    """

    arguments: Callable[[Path, Path], list[object]]
    whole: Callable[[Path], Any]
    look: Callable[[Path], Any]
    left: str = PART
    before: str = ""
    stdout: str = ""


def make_inputs(folder: Path) -> None:
    """The files that the commands read."""
    (folder / "text.slz").write_bytes(compress(text(6000), StreamPredictor(config=CONFIG)))
    (folder / "text").write_bytes(text(6000))
    (folder / "note").write_bytes(b"See you at ten.\n")
    lines = [f"host-{n % 3} job {n % 7} done in {100 + n % 13} ms\n" for n in range(240)]
    for number in range(60, 240, 9):
        lines[number] = f"host-{number % 3} !{['kernel', 'disk', 'quorum', 'stack'][number % 4]}! {number}\n"
    (folder / "log").write_text("".join(lines))
    sessions = [f"req-{n // 4} {('begins', 'reads a', 'reads b', 'ends')[n % 4]}\n" for n in range(240)]
    for number in range(100, 240, 24):
        sessions[number] = f"req-{number // 4} does something else {number}\n"
    (folder / "sessions").write_text("".join(sessions))


def model_in(out: Path) -> Any:
    """The bits of what follows the model that is there; None if there is none."""
    if not (out / "m").exists():
        return None
    return StreamPredictor.load(out / "m").observe_many(b"goes on").tolist()


def content_of(name: str) -> Callable[[Path], Any]:
    return lambda out: (out / name).read_bytes() if (out / name).exists() else None


def trained(out: Path) -> Any:
    """The model, and the file to resume from if the training has not ended."""
    rows = (out / "c").read_text().split("\n") if (out / "c").exists() and (out / "c").stat().st_size else []
    assert not rows or rows[0].startswith("update\tsymbols")
    if (out / "m.resume").exists():
        read_checkpoint(out / "m.resume")
    return [model_in(out), (out / "m.resume").exists(), any(len(row.split("\t")) == 6 for row in rows)]


def train(inputs: Path, out: Path) -> list[object]:
    plan = ["--hidden", 8, "--layers", 1, "--batch", 2, "--window", 16, "--epochs", 0.02, "--mixture-symbols", 2000]
    plan += ["--checkpoint-every", 0, "--curve", out / "c", "--threads", 1]
    return ["train", inputs / "text", "-o", out / "m", *plan, *["--resume"] * (out / "m.resume").exists()]


def watch(name: str, *options: object, seconds: float = 0.02) -> Callable[[Path, Path], list[object]]:
    def arguments(inputs: Path, out: Path) -> list[object]:
        targets = ["--save", out / "m", "--resume", "--output", out / "alarms", "--metrics", out / "metrics"]
        often = ["--save-every", seconds, "--format", "jsonl", "--warmup", 20]
        return ["watch", inputs / name, *SHAPE, *targets, *often, *options]

    return arguments


def watcher(load: Callable[..., Any], **options: Any) -> Callable[[Path], Any]:
    def whole(out: Path) -> Any:
        if not (out / "m").exists():
            return None
        made = load(out / "m", **options)
        counts = list(made.counts)
        if hasattr(made, "close"):
            made.close()
        return counts

    return whole


def watched(load: Callable[..., Any], **options: Any) -> Callable[[Path], Any]:
    """All alarms, and the counts of the watcher."""

    def look(out: Path) -> Any:
        records = [json.loads(line) for line in (out / "alarms").read_text().splitlines()]
        names = ("line", "score", "raised", "text", "session")
        alarms = [{name: record.get(name) for name in names} for record in records]
        assert (out / "metrics").read_text().endswith("\n")
        return [watcher(load, **options)(out), alarms]

    return look


COMMANDS: dict[str, WritingCommand] = {
    "predict": WritingCommand(
        lambda inputs, out: ["predict", inputs / "text", "--quiet", "--save", out / "m", *SHAPE],
        model_in,
        model_in,
        before=OFTEN,
    ),
    "compress": WritingCommand(
        lambda inputs, out: ["compress", inputs / "text", "-o", out / "a.slz", *SHAPE],
        content_of("a.slz"),
        content_of("a.slz"),
    ),
    "decompress": WritingCommand(
        lambda inputs, out: ["decompress", inputs / "text.slz", "-o", out / "text", *SHAPE],
        content_of("text"),
        content_of("text"),
    ),
    "compress --message": WritingCommand(
        lambda inputs, out: ["compress", "--message", inputs / "note", "-o", out / "note.msg"],
        content_of("note.msg"),
        content_of("note.msg"),
    ),
    "compress to stdout": WritingCommand(
        lambda inputs, out: ["compress", inputs / "text", *SHAPE], lambda out: None, content_of("slz"), stdout="slz"
    ),
    "predict to stdout": WritingCommand(
        lambda inputs, out: ["predict", inputs / "note", "--format", "html", *SHAPE],
        lambda out: None,
        content_of("html"),
        stdout="html",
    ),
    "train": WritingCommand(train, trained, trained),
    "watch": WritingCommand(watch("log"), watcher(Watcher.load), watched(Watcher.load), before=SOON),
    "watch with keys": WritingCommand(
        watch("log", "--key-regex", r"host-\d", "--memory-budget", "100kB", seconds=0.3),
        watcher(Watcher.load, key_regex=r"host-\d"),
        watched(Watcher.load, key_regex=r"host-\d"),
        left=f"{PART}|{STORE}",
        before=SOON,
    ),
    "watch sessions": WritingCommand(
        watch("sessions", "--session-regex", r"req-\d+"),
        watcher(SessionWatcher.load, session_regex=r"req-\d+"),
        watched(SessionWatcher.load, session_regex=r"req-\d+"),
        before=SOON,
    ),
}
