"""The signals that ask a program to stop, at moments at which an exception that a handler raises would be lost."""

import ctypes
import gc
import os
import random
import signal
import subprocess
import sys
import time
import weakref

import pytest

from streamlstm.system.process import STOP_SIGNALS, Interrupted, Interruptible

LATE = 5.0
"""The seconds after which a signal counts as lost."""


class Anything:
    """An object to which a weak reference can point."""


class WithDestructor:
    """An object whose destructor is interrupted."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def in_a_destructor(folder):
    WithDestructor()


def in_a_cycle(folder):
    each = WithDestructor()
    each.itself = each
    del each
    gc.collect()


def in_a_weak_reference(folder):
    target = Anything()
    weakref.finalize(target, signal.raise_signal, signal.SIGTERM)
    reference = weakref.ref(target, lambda _: signal.raise_signal(signal.SIGTERM))
    del target
    assert reference() is None


def in_a_callback_of_c(folder):
    ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGTERM))()


def in_an_import(folder):
    (folder / "careless.py").write_text(
        "import signal\ntry:\n    signal.raise_signal(signal.SIGTERM)\nexcept BaseException:\n    pass\nx = 1\n"
    )
    sys.path.insert(0, str(folder))
    try:
        import careless
    finally:
        sys.path.pop(0)
        sys.modules.pop("careless", None)
    assert careless.x == 1


def in_a_callback_of_llvm(folder):
    """What loads machine code from the cache of kernels is interrupted, before it gives LLVM the code."""
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    calls = []

    def found(module):
        signal.raise_signal(signal.SIGTERM)
        calls.append(module)

    target = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly("define i32 @f() { ret i32 7 }"), target)
    engine.set_object_cache(lambda *_: None, found)
    engine.finalize_object()
    assert calls
    assert ctypes.CFUNCTYPE(ctypes.c_int)(engine.get_function_address("f"))() == 7


MOMENTS = (
    in_a_destructor,
    in_a_cycle,
    in_a_weak_reference,
    in_a_callback_of_c,
    in_an_import,
    in_a_callback_of_llvm,
)


def wait_for_it():
    end = time.monotonic() + LATE
    while time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("is_second", [False, True])
def test_a_signal_is_not_lost_whatever_the_moment(moment, is_second, tmp_path, capfd):
    def interrupted():
        if is_second:
            control.interrupt(signal.SIGTERM)
            time.sleep(0.11)  # what comes at once is the same request
        moment(tmp_path)
        wait_for_it()

    with Interruptible(raises=not is_second) as control, pytest.raises(Interrupted) as caught:
        interrupted()
    assert (caught.value.exit_code, caught.value.at_once) == (128 + signal.SIGTERM, is_second)
    assert control.interrupted
    assert "gnored" not in capfd.readouterr().err


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_of_which_the_exception_is_lost_reaches_the_block_that_begins_after_it(moment, tmp_path):
    with Interruptible(raises=True):
        try:
            moment(tmp_path)
        except Interrupted:
            return
        with Interruptible() as inner:
            end = time.monotonic() + LATE
            while not inner.interrupted and time.monotonic() < end:
                time.sleep(0.01)
        assert inner.interrupted


def test_a_program_that_begins_within_an_import_is_interrupted(tmp_path, monkeypatch):
    (tmp_path / "job.py").write_text(
        "import signal\nfrom streamlstm.system.process import Interrupted, Interruptible\nstopped = False\n"
        "try:\n    with Interruptible(raises=True):\n        signal.raise_signal(signal.SIGTERM)\n"
        "except Interrupted:\n    stopped = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import job

    assert job.stopped
    del sys.modules["job"]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["watch", "predict", "info"])
def test_a_signal_at_any_moment_of_the_start_ends_a_command_as_documented(command, tmp_path):
    (tmp_path / "app.log").write_text("job done\n" * 300)
    fresh = ["--model", "none", "--hidden", "4", "--layers", "1", "--memory-bits", "10"]
    arguments = {
        "watch": ["watch", "--follow", "app.log", *fresh, "--save", "s", "--resume"],
        "predict": ["predict", "app.log", *fresh],
        "info": ["info", "small"],
    }[command]
    chosen = random.Random(1)
    program = "import os; os.write(2, b'!'); from streamlstm.cli import main; main()"
    for number in STOP_SIGNALS * int(os.environ.get("STREAMLSTM_SIGNALS", "4")):
        started = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert started.stderr.read(1) == b"!"
        time.sleep(0.15 + chosen.random())  # at first Python itself starts, which has its own way to end
        started.send_signal(number)
        errors = started.communicate(timeout=30)[1]
        ended = () if command == "watch" else (0, -number)  # before the signal, or while Python cleans up after it
        assert started.returncode in (128 + number, *ended), errors
        assert not any(word in errors for word in (b"gnored", b"Traceback", b"internal")), errors
