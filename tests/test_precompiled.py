"""Kernels that are compiled ahead of time: the bits of numba's, without numba, and numba's when they cannot be used."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from on_this_cpu import archive
from test_determinism import ARCHIVE, EXPECTED, HERE

import streamlstm
from streamlstm.jit import precompiled

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
from streamlstm.jit import decorators
from streamlstm.kernels import network
print(json.dumps([decorators.LIBRARY and str(decorators.LIBRARY.path), type(decorators.native(network.step)).__name__]))
"""


def run(folder, *arguments, **environment):
    """Run Python with the package in a folder; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "STREAMLSTM_JIT": "0", **environment}
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
            run(folder, "-m", "streamlstm.jit.ahead", *LEVELS)
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


# A library of some of the entries: that of all of them is made twice at each release, see docs/releasing.md.
OF_SOME = """
import pathlib, sys
from streamlstm.jit import ahead
names, all_entries = ("backward", "skip", "rank_and_top"), ahead.entries()
ahead.entries = lambda: [entry for entry in all_entries if entry.py_func.__name__ in names]
ahead.write_library("x86-64-v2", pathlib.Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not LEVELS, reason="there are no libraries for this system")
def test_the_same_sources_give_the_same_library(tmp_path):
    source, ignored, made = Path(streamlstm.__file__).parent, shutil.ignore_patterns("__pycache__", "compiled"), []
    for name, seed in (("one", "1"), ("another", "2")):
        shutil.copytree(source, tmp_path / name / "streamlstm", ignore=ignored)
        numbas = {"NUMBA_CPU_NAME": "x86-64-v2", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / name)}
        run(tmp_path / name, "-c", OF_SOME, tmp_path / name, PYTHONHASHSEED=seed, STREAMLSTM_JIT="1", **numbas)
        made.append((tmp_path / name / "x86-64-v2.so").read_bytes())
    assert made[0] == made[1]
    assert len(made[0]) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["edited source", "truncated", "damaged", "another file", "STREAMLSTM_JIT"])
def test_numba_compiles_where_no_library_can_be_used(package, tmp_path, damage):
    shutil.copytree(package, tmp_path, dirs_exist_ok=True)
    library, kind = json.loads(run(tmp_path, "-c", NAMES))
    assert library.endswith(f"{LEVELS[0]}.so")
    assert kind == "builtin_function_or_method"
    libraries = list((tmp_path / "streamlstm" / "compiled").iterdir())
    if damage == "edited source":
        with (tmp_path / "streamlstm" / "kernels" / "network.py").open("a") as source:
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


ITEMS = """
import ctypes
import numpy as np
from streamlstm import Config, StreamPredictor
from streamlstm.jit import decorators, precompiled
from streamlstm.kernels import distribution as surprise
predictor = StreamPredictor(config=Config(hidden=8, window=4, memory=False))
predictor.observe_many(b"abc")
stream, library = predictor._stream._parts.tape.stream, decorators.LIBRARY._library
symbol = precompiled.symbol_of(surprise.skip)
address = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
call = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
for offset in (24, 32, 40):
    ctypes.c_int64.in_dll(library, precompiled.TUPLE_ITEMS).value = offset
    group = (ctypes.c_size_t * 30)()
    group[offset // 8 : offset // 8 + len(stream)] = [id(item) for item in stream]
    answers = []
    for below in (0.0, 100.0):
        token = 97
        arguments = (ctypes.c_size_t * 3)(ctypes.addressof(group), id(below), id(token))
        answers.append(call(None, ctypes.addressof(arguments), 3))
    print(answers)
"""


@pytest.mark.slow
def test_a_library_finds_the_items_of_a_tuple_where_this_python_has_them(package):
    assert precompiled.ITEMS == tuple.__basicsize__ in (24, 32)
    assert run(package, "-c", ITEMS).decode().splitlines() == ["[False, True]"] * 3


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nm"), reason="nm lists the symbols")
def test_a_library_needs_nothing_but_python_and_what_any_c_library_has(package):
    for level in LEVELS:
        path = package / "streamlstm" / "compiled" / f"{level}.so"
        symbols = subprocess.run(["nm", "-D", "--undefined-only", path], check=True, stdout=subprocess.PIPE).stdout
        needed = {line.split()[1] for line in symbols.decode().splitlines()}
        of_python = {name for name in needed if name.startswith(("Py", "_Py"))}
        assert needed - of_python <= {"memset", "memcpy", "memmove"}
        assert of_python


V2 = "fpu sse2 cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
ARM = "fp asimd evtstrm aes crc32"
CPUS = {
    "Zen 4": ("x86_64", f"flags\t\t: {V4}", ["x86-64-v4", "x86-64-v3", "x86-64-v2"]),
    "Zen 3": ("x86_64", f"flags\t\t: {V3}", ["x86-64-v3", "x86-64-v2"]),
    "a virtual machine that hides AVX2": ("x86_64", f"flags : {V4.replace(' avx2 ', ' ')}", ["x86-64-v2"]),
    "Nehalem": ("x86_64", f"flags : {V2}", ["x86-64-v2"]),
    "Core 2": ("x86_64", f"flags : {V2.replace(' popcnt', '')}", []),
    "no list of features": ("x86_64", "model name : a CPU", []),
    "Graviton": ("aarch64", f"Features\t: {ARM}", ["aarch64"]),
    "an aarch64 without floats": ("aarch64", "Features\t: evtstrm", []),
    "a 32-bit ARM": ("armv7l", f"Features\t: {ARM}", []),
    "POWER": ("ppc64le", "cpu\t\t: POWER9", []),
    "an Apple": ("arm64", f"Features\t: {ARM}", []),
}


@pytest.mark.parametrize("cpu", CPUS)
def test_only_the_libraries_of_levels_that_a_cpu_has_are_tried(monkeypatch, tmp_path, cpu):
    machine, line, expected = CPUS[cpu]
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{line}\nbugs : none\n\nprocessor : 1\n")
    monkeypatch.setattr(precompiled, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(precompiled.platform, "machine", lambda: machine)
    monkeypatch.setattr(precompiled, "_answers", dict)
    assert precompiled.levels() == expected
    tried = []
    monkeypatch.setattr(precompiled, "Library", lambda path: tried.append(path.stem))
    monkeypatch.setattr(precompiled.sys, "platform", "linux")
    monkeypatch.delenv("STREAMLSTM_JIT", raising=False)
    precompiled.library()
    assert tried == expected[:1]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"AVX512F": False, "AVX2": True, "SSE42": True}, ["x86-64-v3", "x86-64-v2"]),
        ({"AVX512F": False, "AVX2": False, "SSE42": True}, ["x86-64-v2"]),
        ({"AVX512F": True, "AVX2": True, "SSE42": False}, []),
    ],
)
def test_an_emulated_cpu_has_what_numpy_finds_not_what_the_real_one_has(monkeypatch, tmp_path, answers, expected):
    (tmp_path / "cpuinfo").write_text(f"flags : {V4}\n")
    monkeypatch.setattr(precompiled, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(precompiled.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(precompiled, "_answers", lambda: answers)
    assert precompiled.levels() == expected


def test_numpy_tells_what_it_found():
    assert precompiled._answers().get(precompiled.ASKED_OF_NUMPY[LEVELS[-1]] if LEVELS else "", True)
    assert not LEVELS or precompiled._answers()


@pytest.mark.parametrize(("name", "value"), [("platform", "darwin"), ("platform", "win32"), ("implementation", None)])
def test_no_library_is_tried_on_another_system(monkeypatch, name, value):
    monkeypatch.setattr(precompiled.sys, name, value or SimpleNamespace(name="pypy"))
    monkeypatch.delenv("STREAMLSTM_JIT", raising=False)
    monkeypatch.setattr(precompiled, "levels", lambda: ["x86-64-v2"])
    monkeypatch.setattr(precompiled, "Library", lambda path: path)
    assert precompiled.library() is None


def test_without_a_list_of_features_numba_compiles(monkeypatch, tmp_path):
    monkeypatch.setattr(precompiled, "CPU_INFO", tmp_path / "nothing")
    assert precompiled.levels() == []
    assert precompiled.library() is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there are no libraries for this system")
def test_an_object_of_another_python_is_not_read(monkeypatch):
    monkeypatch.delenv("STREAMLSTM_JIT", raising=False)
    monkeypatch.setattr(precompiled, "levels", lambda: ["x86-64-v2"])
    monkeypatch.setattr(precompiled, "Library", lambda path: path)
    assert precompiled.library() is not None
    monkeypatch.setattr(precompiled, "DATA", precompiled.DATA + ctypes.sizeof(ctypes.c_size_t))
    assert precompiled.library() is None
