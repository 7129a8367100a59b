"""Commands that write files: one call fails or the process is killed, and the next run ends as if nothing had been."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import pytest
from system_calls import IS_SUPPORTED, Fault, Outcome, chances, folder_in_memory, run_child
from writing_commands import COMMANDS, SHAPE, WritingCommand, make_inputs

from streamlstm import StreamPredictor
from streamlstm.cli.command import code_and_message
from streamlstm.cli.train import CURVE


class Runs:
    """Runs of a command in a folder."""

    def __init__(self, command: WritingCommand, base: Path) -> None:
        self.command, self.inputs, self.out, self.errors = command, base / "in", base / "out", base / "stderr"
        self.inputs.mkdir()
        make_inputs(self.inputs)
        self.begin()
        started = time.monotonic()
        self.finish()
        self.seconds = time.monotonic() - started
        self.expected, self.names = self.command.look(self.out), set(os.listdir(self.out))

    def begin(self) -> None:
        """An empty folder."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def start(self) -> subprocess.Popen:
        with open(self.errors, "wb") as errors, open(self.stdout, "wb") as stdout:
            arguments = self.command.arguments(self.inputs, self.out)
            return commands.start(
                *arguments, before=self.command.before, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors
            )

    @property
    def stdout(self) -> Path:
        return self.out / self.command.stdout if self.command.stdout else Path(os.devnull)

    def finish(self) -> None:
        assert self.start().wait(300) == 0, self.errors.read_text()

    def traced(self, fault: Fault | None = None, at: int = 0) -> Outcome:
        """A run in which something goes wrong."""
        arguments = list(map(str, self.command.arguments(self.inputs, self.out)))
        null = os.open(os.devnull, os.O_RDWR)
        errors = os.open(self.errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        stdout = os.open(self.stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            return run_child(
                lambda: commands.run_command(arguments, null, stdout, errors, None, None, self.command.before),
                self.out,
                fault,
                at,
            )
        finally:
            for number in (null, errors, stdout):
                os.close(number)

    def check_stopped(self) -> None:
        """What is there after it was killed, or ended with an error."""
        self.command.whole(self.out)
        others = [name for name in os.listdir(self.out) if name not in self.names | {"m.resume"}]
        assert all(re.fullmatch(self.command.left, name) for name in others), others

    def check_end(self) -> None:
        assert self.command.look(self.out) == self.expected


@pytest.fixture
def base():
    commands.import_all()
    with folder_in_memory() as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.skipif(not IS_SUPPORTED, reason="system calls are traced on Linux on x86-64 only")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_cannot_write_says_so_in_a_line_and_the_next_run_ends_well(base, name):
    runs, draw = Runs(COMMANDS[name], base), random.Random(name)
    runs.begin()
    clean = runs.traced()
    assert clean.code == 0, runs.errors.read_text()
    for faults in chances(clean.calls):
        for fault, numbers in faults if os.environ.get("FAULTS") == "all" else draw.sample(faults, 1):
            at = draw.choice(numbers)
            runs.begin()
            outcome, errors = runs.traced(fault, at), runs.errors.read_text()
            what = f"{fault.name} at {at}: {outcome.hit and outcome.hit[:2]}, code {outcome.code}, {errors}"
            assert "Traceback" not in errors, what
            assert "internal" not in errors, what
            try:
                if outcome.hit is None or outcome.code == 0:
                    assert outcome.code == 0
                elif fault.kills:
                    assert outcome.code == -9
                else:
                    assert outcome.code == 1
                    file = "" if runs.command.stdout else rf"{runs.out}/[^./][^/\n]*: "
                    assert re.fullmatch(rf"streamlstm: {file}[^\n]+", errors.splitlines()[-1])
                    assert ".part" not in errors
                runs.check_stopped()
                if outcome.code:
                    runs.finish()
                runs.check_end()
            except Exception as error:
                raise AssertionError(what) from error


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_was_killed_at_any_time_ends_well_the_next_time(base, name):
    runs, draw, n_killed = Runs(COMMANDS[name], base), random.Random(name), 0
    while n_killed < commands.kills(6):
        runs.begin()
        for _ in range(3):  # it is killed, and what follows may be killed too
            process = runs.start()
            try:
                assert process.wait(draw.uniform(0.01, 1.1 * runs.seconds)) == 0
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                n_killed += 1
                runs.check_stopped()
        runs.finish()
        assert "Traceback" not in runs.errors.read_text()
        runs.check_end()
    print(f"{name}: killed {n_killed} times")


PLAN = [*SHAPE[:4], "--batch", 2, "--window", 16, "--epochs", 0.1, "--mixture-symbols", 2000, "--threads", 1]
WATCH = [*SHAPE, "--warmup", 20, "--format", "jsonl", "--save", "m"]
PRIMARY = {
    "train": ["train", "in/text", "-o", "m", *PLAN],
    "train often": ["train", "in/text", "-o", "m", *PLAN, "--checkpoint-every", 0],
    "predict": ["predict", "in/text", "--save", "m", *SHAPE],
    "predict quietly": ["predict", "in/text", "--quiet", "--save", "m", *SHAPE],
    "compress": ["compress", "in/text", "-o", "m", *SHAPE],
    "watch": ["watch", "in/log", *WATCH],
    "watch with keys": ["watch", "in/log", *WATCH, "--key-regex", "host-."],
    "watch sessions": ["watch", "in/sessions", *WATCH, "--session-regex", "req-[0-9]+"],
    "watch with a command": ["watch", "in/log", *WATCH, "--exec", "exit 3"],
    "watch with metrics": ["watch", "in/log", *WATCH, "--metrics", "gone/metrics"],
}
"""Commands whose result is the file m."""

GONE = """
import shutil, streamlstm.cli.watch_run as watch_run, streamlstm.system.files as files
def without_its_folder(function):
    def write(path, *others):
        shutil.rmtree("gone", ignore_errors=True)
        function(path, *others)
    return write
files.append_text = without_its_folder(files.append_text)
watch_run.write_metrics = without_its_folder(watch_run.write_metrics)
"""


@pytest.fixture
def inputs(base, monkeypatch):
    monkeypatch.chdir(base)
    for name in ("in", "gone"):
        (base / name).mkdir()
    make_inputs(base / "in")
    return base


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("name", PRIMARY)
def test_what_goes_to_stderr_costs_neither_the_result_nor_the_exit_code(inputs, name):
    with open("/dev/full", "wb") as full:
        result = commands.run(*PRIMARY[name], stderr=full, before=GONE)
    assert result.returncode == 0
    assert (inputs / "m").stat().st_size
    assert not (inputs / "m.resume").exists()


@pytest.mark.parametrize("options", [[], ["--checkpoint-every", 0]])
def test_a_curve_that_cannot_be_written_costs_no_training(inputs, options):
    command = [*PRIMARY["train"], *options, "--curve", "gone/curve"]
    result = commands.run(*command, before=GONE)
    *_, stopped, error = result.stderr.decode().splitlines()
    assert (result.returncode, error) == (1, "streamlstm: gone/curve: No such file or directory")
    step = int(re.fullmatch(r"stopped at update (\d+) of \d+; continue with --resume", stopped)[1])
    assert step > 0
    assert StreamPredictor.load("m").about
    (inputs / "gone").mkdir()
    assert commands.run(*command, "--resume").returncode == 0
    whole = StreamPredictor.load("m").observe_many(b"goes on").tolist()
    commands.run(*PRIMARY["train"])
    assert StreamPredictor.load("m").observe_many(b"goes on").tolist() == whole


def test_metrics_that_cannot_be_written_cost_nothing(inputs):
    result = commands.run(*PRIMARY["watch with metrics"], before=GONE)
    assert result.returncode == 0
    assert b"cannot write to gone/metrics" in result.stderr
    assert (inputs / "m").stat().st_size


def test_a_row_of_a_curve_that_was_written_in_part_is_removed_by_the_next_run(inputs):
    assert commands.run(*PRIMARY["train"], "--curve", "curve", "--stop-at", 2).returncode == 0
    whole = Path("curve").read_text()
    Path("curve").write_text(whole + "4\t12")
    assert commands.run(*PRIMARY["train"], "--curve", "curve", "--resume").returncode == 0
    assert Path("curve").read_text().startswith(whole + "1")
    assert all(row.count("\t") == CURVE.count("\t") for row in Path("curve").read_text().splitlines())


LIMITED = {
    "score": ["score", "in/note", *SHAPE],
    "predict": ["predict", "in/note", "--save", "m", *SHAPE],
    "watch": ["watch", "in/log", *WATCH, "--key-regex", "host-."],
    "train": PRIMARY["train"],
}
LIMITS = {
    "AS": [60, 150, 240, 330, 390, 450],  # memory: MB
    "NOFILE": [4, 5, 6, 8, 12],  # open files
    "FSIZE": [0, 1, 100],  # the size of a file: kB
}
CAUSES = {"AS": "memory", "NOFILE": "open files", "FSIZE": "large"}
SCALES = {"AS": 10**6, "NOFILE": 1, "FSIZE": 1000}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no such limits")
@pytest.mark.parametrize("command", LIMITED)
@pytest.mark.parametrize("kind", LIMITS)
def test_a_command_that_meets_a_limit_of_the_system_names_it_in_one_line(inputs, command, kind):
    for limit in LIMITS[kind]:
        script = f"""if True:
            import resource, sys
            resource.setrlimit(resource.RLIMIT_{kind}, ({limit * SCALES[kind]},) * 2)
            from streamlstm.cli import main
            main()"""
        arguments = [sys.executable, "-c", script, *map(str, LIMITED[command])]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=400)
        if ended.returncode == -6:  # LLVM or safetensors end the process, in words of their own
            assert re.search("bad_alloc|LLVM ERROR: .*memory|memory allocation of", ended.stderr), (limit, ended)
        elif ended.returncode:
            assert ended.returncode in (1, 127), (limit, ended)  # 127: so does the C library
            assert CAUSES[kind] in ended.stderr.splitlines()[-1].lower(), (limit, ended)
            assert "Traceback" not in ended.stderr
        for name in ("m", "m.resume"):
            (inputs / name).unlink(missing_ok=True)


HUNGRY = """
import resource, sys, typer
from streamlstm.cli.command import command
app, kept = typer.Typer(), []
def eat(kept):
    while True:
        kept.append(bytearray(64))
@app.callback()
def options(debug: bool = False): pass
@app.command()
@command
def in_a_function(): eat([])
@app.command()
@command
def for_ever(): eat(kept)
@app.command()
@command
def again():
    first = []
    try: eat(first)
    except MemoryError: eat([])
resource.setrlimit(resource.RLIMIT_AS, (200_000_000,) * 2)
app()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no such limits")
@pytest.mark.parametrize("command", ["in-a-function", "for-ever", "again"])
def test_a_command_that_has_used_all_memory_in_small_pieces_says_so_in_one_line(command):
    ended = subprocess.run([sys.executable, "-c", HUNGRY, command], capture_output=True, text=True, timeout=100)
    assert ended.stderr == "streamlstm: there is not enough memory: try a smaller model or a smaller shape\n"
    assert ended.returncode == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libopenblas.so: failed to map segment from shared object"),
        OSError("Could not find/load shared object file"),
        SystemError("error return without exception set"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_library_that_cannot_be_loaded_or_started_for_lack_of_memory_says_so(error):
    if isinstance(error, OSError):
        error.__cause__ = OSError("libllvmlite.so: failed to map segment from shared object")
    code, message = code_and_message(error)
    assert (code, "memory" in message, "internal" in message) == (1, True, False)
