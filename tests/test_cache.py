"""The cache of compiled kernels: shared by processes, repaired if it is damaged, kept in a private folder."""

import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numba
import pytest
from filelock import FileLock

import streamlstm
from streamlstm.jit import cache, compiler, decorators

LOG = """
import logging
logging.basicConfig(format="%(message)s")
logging.getLogger("streamlstm").setLevel(logging.INFO)
"""

# A process that uses every kernel that streaming needs, and prints the surprisals and the cache folder.
STREAM = """
from streamlstm import Config, StreamPredictor
predictor = StreamPredictor(config=Config(hidden=8, layers=2, window=4))
bits = predictor.observe_many(b"the same bits again and again")
predictor.trace(b"x", 2)
print(bits.tobytes().hex())
from streamlstm.jit import cache
print(cache.cache_folder())
"""

# A process that uses one small kernel, and prints what it computes and the cache folder.
SMALL = """
import numpy as np
from streamlstm.jit import cache, decorators
from streamlstm.kernels import distribution as ranks
p = np.array([0.1, 0.7, 0.2])
decorators.native(ranks.apply_temperature)(p, 0.5)
print(p.tobytes().hex())
print(cache.cache_folder())
"""

# A process that then compiles a function of its own.
AND_COMPILE = """
import sys
import numpy as np, numba
print("numba.np.linalg" in sys.modules)
print(numba.njit(lambda x: np.sort(x)[1] + x.sum())(np.array([4.0, 3.0])))
"""


def start(folder, cwd=None, script=SMALL, **environment):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment}
    if not folder:
        del environment["NUMBA_CACHE_DIR"]
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.Popen(
        [sys.executable, "-c", LOG + script],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """The bits that the process printed, its cache folder, and its stderr."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    bits, folder = output.split()
    return bits, Path(folder), errors


def lock_is_free(folder):
    """Whether another process could lock the cache folder now."""
    with suppress(TimeoutError), FileLock(folder / "lock", timeout=0):
        return True
    return False


@pytest.fixture(scope="module", params=["one kernel", pytest.param("all of streaming", marks=pytest.mark.slow)])
def filled(request, tmp_path_factory):
    """A filled cache, its folder of kernels, the right bits, and the script that prints them."""
    root, script = tmp_path_factory.mktemp("cache"), SMALL if request.param == "one kernel" else STREAM
    bits, folder, errors = finish(start(root, script=script))
    assert cache.NOTICE in errors
    return root, folder, bits, script


@pytest.fixture
def copied(tmp_path, filled):
    """A copy of the filled cache, for a test that changes it."""
    root, folder, bits, script = filled
    copy = tmp_path / "cache"
    shutil.copytree(root, copy)
    return copy, copy / folder.relative_to(root), bits, script


def test_a_filled_cache_is_used_silently(filled):
    root, _, bits, script = filled
    assert finish(start(root, script=script))[::2] == (bits, "")


def test_a_start_from_the_cache_imports_no_compiler_until_something_is_compiled():
    warm = os.environ.get("NUMBA_CACHE_DIR", "")  # see conftest.py
    output, errors = start(warm, script=STREAM + AND_COMPILE).communicate(timeout=300)
    assert output.split()[2:] == ["False", "11.0"], errors


def test_importing_the_kernels_creates_no_folder(tmp_path):
    script = "import streamlstm.codec.coder, streamlstm.kernels.descent, streamlstm.search.generate"
    output, errors = start(tmp_path / "cache", script=script).communicate(timeout=300)
    assert (output, errors) == ("", "")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("filled", ["one kernel"], indirect=True)
def test_many_processes_that_start_on_an_empty_cache_agree(tmp_path, filled):
    processes = [start(tmp_path, script=filled[3]) for _ in range(4)]
    results = [finish(process) for process in processes]
    assert {bits for bits, _, _ in results} == {filled[2]}
    assert sum(cache.NOTICE in errors for _, _, errors in results) >= 1
    assert finish(start(tmp_path, script=filled[3]))[2] == ""


def damage_cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


DAMAGES = {"cut": damage_cut, "flipped": damage_flip, "missing": Path.unlink}
QUICK = {("flipped", "nbc")}


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        pytest.param(damage, kind, marks=[] if (damage, kind) in QUICK else pytest.mark.slow)
        for damage in DAMAGES
        for kind in ("nbi", "nbc", "sha256")
    ],
)
def test_a_damaged_cache_is_noticed_and_rebuilt(copied, damage, kind):
    root, folder, bits, script = copied
    DAMAGES[damage](min(folder.glob(f"distribution.*.{kind}")))
    again, _, errors = finish(start(root, script=script))
    assert again == bits
    assert cache.NOTICE in errors
    assert finish(start(root, script=script))[::2] == (bits, "")


def replace_by_folder(file):
    file.unlink()
    (file / "in it").mkdir(parents=True)


ALL_DAMAGES = DAMAGES | {
    "empty": lambda file: file.write_bytes(b""),
    "undecodable": lambda file: file.write_bytes(b"\xff" + file.read_bytes()[1:]),
    "a folder": replace_by_folder,
}
KINDS_OF_FILES = ("nbi", "nbc", "sha256")
PAIRS = [
    {one: damage, other: second}
    for one, other in itertools.combinations_with_replacement(KINDS_OF_FILES, 2)
    for damage in ALL_DAMAGES
    for second in ([damage] if one == other else ALL_DAMAGES)
]


@pytest.mark.parametrize("n_files", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_whatever_is_damaged_in_the_cache_compiling_repairs_it(monkeypatch, tmp_path, n_files):
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(compiler, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(compiler, "ENTRIES", [])
    for damages in (pair for pair in PAIRS if len(pair) == n_files):
        for n in range(3):
            if n == 1:
                for kind, damage in damages.items():
                    (file,) = tmp_path.glob(f"*tripled*.{kind}")
                    ALL_DAMAGES[damage](file)
            entry = decorators.entry(tripled)
            compiler.compiled(entry)
            assert entry(2.0) == 6.0
            hits = sum(entry.stats.cache_hits.values())
            assert hits == (n == 2), (damages, n)
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()


def tripled(x: float):
    return 3.0 * x


def copied_package(tmp_path):
    package = tmp_path / "streamlstm"
    shutil.copytree(Path(streamlstm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.safe*"))
    return package


@pytest.mark.parametrize("filled", ["one kernel"], indirect=True)
def test_an_edited_source_is_noticed(tmp_path, filled):
    arrays = copied_package(tmp_path) / "kernels" / "arrays.py"
    text = arrays.read_text()
    assert "np.float32(0.0), np.float32(1.0)" in text
    arrays.write_text(text.replace("np.float32(0.0), np.float32(1.0)", "np.float32(0.0), np.float32(1.5)"))
    bits, folder, _ = finish(start(filled[0], cwd=tmp_path, script=filled[3], PYTHONPATH=str(tmp_path)))
    assert bits != filled[2]
    assert folder != filled[1]


@pytest.mark.parametrize("name", ["jit/lanes.py", "kernels/arrays.py", "memory/arrays.py", "codec/coder.py"])
def test_the_digest_covers_every_package_that_holds_kernels(tmp_path, name):
    package = copied_package(tmp_path)
    before = cache.digest_of(package)
    with (package / name).open("a") as source:
        source.write("# edited\n")
    assert cache.digest_of(package) != before
    assert cache.digest_of(Path(streamlstm.__file__).parent) == before


def test_the_digest_ignores_what_holds_no_kernels(tmp_path):
    package = copied_package(tmp_path)
    before = cache.digest_of(package)
    with (package / "cli" / "options.py").open("a") as source:
        source.write("# edited\n")
    assert cache.digest_of(package) == before


def test_without_a_home_the_cache_is_in_the_temporary_folder(tmp_path):
    _, folder, errors = finish(start("", script=SMALL, HOME=os.devnull, XDG_CACHE_HOME=None, TMPDIR=str(tmp_path)))
    assert cache.NOTICE in errors
    assert list(folder.glob("*.nbc"))
    assert folder.is_relative_to(tmp_path)
    while folder != tmp_path:
        assert folder.stat().st_mode & 0o077 == 0
        folder = folder.parent


def test_where_nothing_can_be_written_the_kernels_are_compiled_each_time(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    _, folder, errors = finish(start(tmp_path / "file" / "cache", script=SMALL))
    assert folder == Path("None")
    assert errors == "compiling kernels for this CPU; no cache folder is writable (see streamlstm warmup)\n"


needs_owners = pytest.mark.skipif(not hasattr(os, "getuid"), reason="the system has no owners of files")


@pytest.fixture
def fresh_choice(monkeypatch, tmp_path):
    """Choose the cache folder again, in the temporary folder."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path))
    cache.cache_folder.cache_clear()
    yield tmp_path / f"streamlstm-{os.getuid()}"
    cache.cache_folder.cache_clear()


@needs_owners
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_folder_that_others_can_write_to_is_not_used(fresh_choice, level):
    folder = cache.cache_folder()
    assert folder == fresh_choice / "streamlstm" / folder.name
    (fresh_choice, fresh_choice / "streamlstm", folder)[level].chmod(0o777)
    cache.cache_folder.cache_clear()
    assert cache.cache_folder() is None


@needs_owners
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_folder_that_another_user_owns_is_not_used(fresh_choice, level, monkeypatch):
    folder = cache.cache_folder()
    foreign = (fresh_choice, fresh_choice / "streamlstm", folder)[level]
    if os.getuid() == 0:
        os.chown(foreign, 12345, -1)
    else:  # only root can give a folder away
        status = Path.stat
        theirs = lambda path, **how: os.stat_result((*status(path, **how)[:4], 12345, *status(path, **how)[5:]))  # noqa: E731
        monkeypatch.setattr(Path, "stat", lambda path, **how: (theirs if path == foreign else status)(path, **how))
    cache.cache_folder.cache_clear()
    assert cache.cache_folder() is None


@needs_owners
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a link away")
def test_a_link_that_another_user_made_is_not_followed(fresh_choice, tmp_path):
    (tmp_path / "own").mkdir(mode=0o700)
    fresh_choice.symlink_to(tmp_path / "own")
    os.chown(fresh_choice, 12345, -1, follow_symlinks=False)
    assert cache.cache_folder() is None


WAIT_AFTER_THE_INTERRUPT = f"""
import sys, time
try:
    exec({STREAM!r})
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("delay", [0.3, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.0, 1.1))])
def test_an_interrupt_while_compiling_releases_the_lock(tmp_path, delay):
    process = start(tmp_path, script=WAIT_AFTER_THE_INTERRUPT)
    assert cache.NOTICE in process.stderr.readline()
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    try:
        while not select.select([process.stdout], [], [], 2)[0]:  # Python ignores an interrupt of a callback of LLVM
            process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        (folder,) = (tmp_path / "streamlstm").iterdir()
        assert lock_is_free(folder)
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_process_compiles_after_its_parent_did(tmp_path):
    script = """
import os
from streamlstm.jit import cache, decorators
from streamlstm.kernels import distribution as ranks
decorators.native(ranks.rank_and_top)
child = os.fork()
if child == 0:
    print(decorators.native(ranks.apply_temperature).__name__, flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(cache.cache_folder())
"""
    _, folder, _ = finish(start(tmp_path, script=script))
    assert len(list(folder.glob("*.nbc"))) == 2


def wrong(n: int):
    return n.nothing


def test_an_error_while_compiling_releases_the_lock(monkeypatch):
    monkeypatch.setattr(compiler, "ENTRIES", [])
    with pytest.raises(numba.TypingError):
        decorators.native(decorators.entry(wrong))
    assert lock_is_free(cache.cache_folder())


def test_a_process_that_keeps_the_lock_is_not_waited_for_forever(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SILENT_WAIT", 0.1)
    monkeypatch.setattr(cache, "LONGEST_WAIT", 0.2)
    lock = cache.CacheLock(tmp_path)
    with FileLock(tmp_path / "lock"):
        for longest in (30, 0.15):  # the second time it does not wait at all
            started = time.monotonic()
            with lock.held():
                assert time.monotonic() < started + longest


def test_a_process_that_waits_for_another_one_says_so_and_then_gets_the_lock(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="streamlstm")
    monkeypatch.setattr(cache, "SILENT_WAIT", 0.1, raising=False)
    other = FileLock(tmp_path / "lock", thread_local=False)
    other.acquire()
    threading.Timer(0.5, other.release).start()
    with cache.CacheLock(tmp_path).held():
        assert not lock_is_free(tmp_path)
    assert caplog.messages == ["waiting for another process that compiles the kernels…"]


def test_a_lock_that_is_free_is_taken_silently(tmp_path, caplog):
    caplog.set_level("INFO", logger="streamlstm")
    with cache.CacheLock(tmp_path).held():
        assert not lock_is_free(tmp_path)
    assert caplog.messages == []


def test_an_interrupt_at_any_instruction_before_the_lock_is_held_leaves_it_usable(tmp_path):
    lock, n_instructions, was_held = cache.CacheLock(tmp_path), 0, False
    code = cache.CacheLock.held.__wrapped__.__code__

    def trace(frame, event, argument):
        nonlocal n
        if frame.f_code is not code:
            return None
        frame.f_trace_opcodes = True
        if event == "call" and sys.version_info[:2] == (3, 12):
            sys.settrace(trace)  # or opcodes are not traced yet
        n -= event == "opcode"
        if n < 0:
            raise KeyboardInterrupt
        return trace

    while not was_held:
        n = n_instructions
        n_instructions += 1
        tracing = sys.gettrace()
        with suppress(KeyboardInterrupt):
            sys.settrace(trace)
            with lock.held():
                was_held = True
                sys.settrace(tracing)
        sys.settrace(tracing)
        with lock.held():
            assert not lock_is_free(tmp_path)
        assert lock_is_free(tmp_path)
    assert n_instructions > 10


def kernels_of_another_version(parent, name, age_in_days):
    folder = parent / name
    folder.mkdir()
    for file in ("lock", "ranks.x.1.nbc", "ranks.x.nbi", "ranks.x.sha256"):
        (folder / file).touch()
    used = time.time() - age_in_days * 86400
    os.utime(folder, (used, used))
    return folder


def test_kernels_that_were_not_used_for_a_month_are_removed_when_new_ones_are_made(fresh_choice):
    parent = fresh_choice / "streamlstm"
    parent.mkdir(parents=True, mode=0o700)
    fresh_choice.chmod(0o700)
    unused = kernels_of_another_version(parent, "0123456789abcdef", cache.DAYS_KEPT + 1)
    recent = kernels_of_another_version(parent, "00112233445566aa", cache.DAYS_KEPT - 1)
    foreign = kernels_of_another_version(parent, "not-our-own", 1000)
    folder = cache.cache_folder()
    assert sorted(parent.iterdir()) == sorted([folder, recent, foreign])
    assert not unused.exists()


def test_kernels_that_another_process_uses_are_not_removed(tmp_path):
    folder = kernels_of_another_version(tmp_path, "0123456789abcdef", 1000)
    files = sorted(folder.iterdir())
    with FileLock(folder / "lock"):
        cache.remove_unused(tmp_path, 30)
        assert sorted(folder.iterdir()) == files
    cache.remove_unused(tmp_path, 30)
    assert not folder.exists()


def test_each_use_of_a_cache_counts(fresh_choice):
    folder = cache.cache_folder()
    os.utime(folder, (0, 0))
    cache.cache_folder.cache_clear()
    assert cache.cache_folder() == folder
    assert folder.stat().st_mtime > time.time() - 60


def test_a_cache_that_is_removed_while_a_process_runs_is_filled_again(tmp_path):
    remove = "import shutil; from streamlstm.jit import cache; shutil.rmtree(cache.cache_folder())\n"
    for _ in range(2):
        assert cache.NOTICE in finish(start(tmp_path, script=remove + SMALL))[2]
    assert finish(start(tmp_path, script=SMALL))[2] == ""
