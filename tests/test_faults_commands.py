"""Commands that write files: one call fails or the process is killed, and the next run ends as if nothing had been."""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import commands
import pytest
from system_calls import FAULTS, IS_SUPPORTED, Call, Fault, Outcome, run_child
from writing_commands import COMMANDS, WritingCommand, make_inputs


class Runs:
    """Runs of a command in a folder, in memory where there is such."""

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
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        yield Path(name).resolve()


def kind_of(call: Call) -> tuple[str, str]:
    return call.name, re.sub("[0-9a-f]{8,}", "", call.path)


@pytest.mark.slow
@pytest.mark.skipif(not IS_SUPPORTED, reason="system calls are traced on Linux on x86-64 only")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_cannot_write_says_so_in_a_line_and_the_next_run_ends_well(base, name):
    runs, draw = Runs(COMMANDS[name], base), random.Random(name)
    runs.begin()
    clean = runs.traced()
    assert clean.code == 0, runs.errors.read_text()
    for kind in sorted({kind_of(call) for call in clean.calls}):
        faults = [fault for fault in FAULTS if any(kind_of(c) == kind and fault.can_happen(c) for c in clean.calls)]
        for fault in faults if os.environ.get("FAULTS") == "all" else draw.sample(faults, 1):
            possible = [call for call in clean.calls if fault.can_happen(call)]
            at = draw.choice([index for index, call in enumerate(possible) if kind_of(call) == kind])
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
