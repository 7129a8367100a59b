"""The compile cache: shared by processes, mended when it is damaged, kept where there is room for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import streamlstm
from streamlstm.kernels import jit

# A process that uses every kernel that streaming needs, and says what it got.
STREAM = """
from streamlstm import Config, StreamPredictor
predictor = StreamPredictor(config=Config(hidden=8, layers=2, window=4))
bits = predictor.observe_many(b"the same bits again and again")
predictor.trace(b"x", 2)
print(bits.tobytes().hex())
from streamlstm.kernels import jit
print(jit.FOLDER)
"""


@jit.kernel
def increased(n, step):
    return n + step


@numba.njit
def increased_twice(n):
    return increased(increased(n, 1), 2)


def test_a_kernel_is_compiled_once_whatever_literals_it_is_given():
    assert increased_twice(3) == 6
    assert increased.signatures == [(numba.int64, numba.int64)]


# The like, which then compiles a function of its own.
AND_COMPILE = """
import sys
import numpy as np, numba
print("numba.np.linalg" in sys.modules)
print(numba.njit(lambda x: np.sort(x)[1] + x.sum())(np.array([4.0, 3.0])))
"""


def start(cache, cwd=None, script=STREAM, **environment):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), **environment}
    if not cache:
        del environment["NUMBA_CACHE_DIR"]
    environment = {name: value for name, value in environment.items() if value is not None}
    return subprocess.Popen(
        [sys.executable, "-c", script],
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


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A filled cache and the right bits."""
    cache = tmp_path_factory.mktemp("cache")
    bits, folder, errors = finish(start(cache))
    assert jit.NOTICE in errors
    return cache, folder, bits


def test_a_filled_cache_is_used_without_a_word(filled):
    cache, _, bits = filled
    assert finish(start(cache))[::2] == (bits, "")


def test_a_start_from_the_cache_loads_nothing_for_compiling_until_something_is_compiled(filled):
    output, errors = start(filled[0], script=STREAM + AND_COMPILE).communicate(timeout=300)
    assert output.split()[2:] == ["False", "11.0"], errors


def test_many_processes_that_start_on_an_empty_cache_agree(tmp_path, filled):
    processes = [start(tmp_path) for _ in range(8)]
    results = [finish(process) for process in processes]
    assert {bits for bits, _, _ in results} == {filled[2]}
    assert sum(jit.NOTICE in errors for _, _, errors in results) >= 1
    assert finish(start(tmp_path))[2] == ""


def damage_cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_cut, damage_flip, Path.unlink], ids=["cut", "flipped", "missing"])
@pytest.mark.parametrize("kind", ["nbi", "nbc", "sha256"])
def test_a_damaged_cache_is_noticed_and_rebuilt(tmp_path, filled, damage, kind):
    cache, folder, bits = filled
    copy = tmp_path / "cache"
    shutil.copytree(cache, copy)
    (file,) = (copy / folder.relative_to(cache)).glob(f"ranks.*.{kind}")
    damage(file)
    again, _, errors = finish(start(copy))
    assert again == bits
    assert jit.NOTICE in errors
    assert finish(start(copy))[::2] == (bits, "")


def test_an_edited_source_is_noticed(tmp_path, filled):
    package = tmp_path / "streamlstm"
    shutil.copytree(Path(streamlstm.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    kernels = package / "kernels.py"
    kernels.write_text(kernels.read_text().replace("f32(0.0), f32(1.0)", "f32(0.0), f32(1.5)"))
    bits, folder, _ = finish(start(filled[0], cwd=tmp_path))
    assert bits != filled[2]
    assert folder != filled[1]


def test_without_a_home_the_cache_lies_in_the_temporary_folder(tmp_path, filled):
    bits, folder, _ = finish(start("", HOME=os.devnull, XDG_CACHE_HOME=None, TMPDIR=str(tmp_path)))
    assert bits == filled[2]
    assert folder.is_relative_to(tmp_path)


def test_where_nothing_can_be_written_the_kernels_are_compiled_anew(tmp_path, filled):
    (tmp_path / "file").write_text("not a folder")
    process = start(tmp_path / "file" / "cache")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.split() == [filled[2], "None"]
