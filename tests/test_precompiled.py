"""Kernels that are compiled ahead of time: the bits of numba's, without numba, and numba's when they cannot be used."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from on_this_cpu import archive
from test_determinism import ARCHIVE, EXPECTED, HERE

import streamlstm
from streamlstm.kernels import precompiled

LEVELS = precompiled.levels()
"""The levels of this CPU, best first; none on a system without libraries."""

WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None  # importing it fails
import streamlstm.cli
sys.argv = ["streamlstm", *sys.argv[1:]]
streamlstm.cli.main()
"""

NAMES = """
import json
from streamlstm.kernels import jit, network
print(json.dumps([jit.LIBRARY and str(jit.LIBRARY.path), type(jit.native(network.step)).__name__]))
"""


def run(folder, *arguments, **environment):
    """Run Python with the package in a folder; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), **environment}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with a copy of the package that has a library for each level of this CPU; one for all workers."""
    if not LEVELS:
        pytest.skip("there are no libraries for this system")
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent / "package" if is_worker else tmp_path_factory.mktemp("package")
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            source = Path(streamlstm.__file__).parent
            ignored = shutil.ignore_patterns("__pycache__", "compiled")
            shutil.copytree(source, folder / "streamlstm", ignore=ignored, dirs_exist_ok=True)
            run(folder, "-m", "streamlstm.tasks.ahead", *LEVELS)
            (folder / "done").touch()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_the_libraries_give_the_golden_bits(package, tmp_path, level):
    shutil.copytree(package, tmp_path, dirs_exist_ok=True)
    for better in LEVELS[: LEVELS.index(level)]:
        (tmp_path / "streamlstm" / "compiled" / f"{better}.so").unlink()
    result = json.loads(run(tmp_path, HERE / "on_this_cpu.py", ARCHIVE))
    assert result["library"] == f"{level}.so"
    assert result["golden"] == EXPECTED
    assert result["archive"] == archive(ARCHIVE.read_bytes())


@pytest.mark.slow
def test_a_library_needs_no_numba(package, tmp_path):
    (tmp_path / "text").write_bytes(b"what one library says, each of them says\n" * 30)
    packed = run(package, "-c", WITHOUT_NUMBA, "compress", tmp_path / "text", "-o", "-")
    assert 10 < len(packed) < 200
    (tmp_path / "packed").write_bytes(packed)
    again = run(package, "-c", WITHOUT_NUMBA, "decompress", tmp_path / "packed", "-o", "-")
    assert again == (tmp_path / "text").read_bytes()
    assert b"compiled kernels of the package" in run(package, "-c", WITHOUT_NUMBA, "warmup")


@pytest.mark.slow
def test_the_same_sources_give_the_same_library(package, tmp_path):
    shutil.copytree(package / "streamlstm", tmp_path / "streamlstm")
    library = tmp_path / "streamlstm" / "compiled" / f"{LEVELS[-1]}.so"
    before = library.read_bytes()
    library.unlink()
    run(tmp_path, "-m", "streamlstm.tasks.ahead", LEVELS[-1])
    assert library.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["edited source", "truncated", "damaged", "another file", "STREAMLSTM_JIT"])
def test_numba_compiles_where_no_library_can_be_used(package, tmp_path, damage):
    shutil.copytree(package, tmp_path, dirs_exist_ok=True)
    library, kind = json.loads(run(tmp_path, "-c", NAMES))
    assert library.endswith(f"{LEVELS[0]}.so")
    assert kind == "builtin_function_or_method"
    libraries = list((tmp_path / "streamlstm" / "compiled").iterdir())
    if damage == "edited source":
        with (tmp_path / "streamlstm" / "kernels" / "surprise.py").open("a") as source:
            source.write("\n# edited\n")
    for path in libraries:
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:1000])
        if damage == "damaged":
            path.write_bytes(path.read_bytes().replace(b"PyLong_AsLongLong", b"PyLong_AsLongLang"))
        if damage == "another file":
            path.write_text("not a library\n")
    environment = {"STREAMLSTM_JIT": "1"} if damage == "STREAMLSTM_JIT" else {}
    assert json.loads(run(tmp_path, "-c", NAMES, **environment))[0] is None


def test_an_object_of_another_python_is_not_read(monkeypatch):
    monkeypatch.setattr(precompiled, "DATA", precompiled.DATA + ctypes.sizeof(ctypes.c_size_t))
    assert precompiled.library() is None
