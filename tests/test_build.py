"""The wheel and the source distribution: the same bytes wherever they are built, complete, and small."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from extras import library

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text()
DISTRIBUTED = re.findall(r'"([^"]+)"', re.search(r"^only-include = \[(.*)\]$", PROJECT, re.M)[1])
"""The files and folders of the source distribution."""
LIBRARY = "streamlstm/compiled/x86-64-v2.so"
MOST_BYTES = 15 * 10**6


def test_the_lowest_versions_that_are_tested_are_those_that_the_project_allows():
    requirements = re.search(r"^dependencies = \[.*?\n(.*?)^\]", PROJECT, re.M | re.S)[1]
    allowed = re.findall(r'^ +"([a-z]+)>=([\d.]+),<', requirements, re.M)
    assert len(allowed) == len(requirements.splitlines())
    lowest = re.findall(r"^([a-z]+)==([\d.]+)$", (ROOT / ".ci" / "lowest.txt").read_text(), re.M)
    assert sorted(_padded(*each) for each in allowed) == sorted(_padded(*each) for each in lowest)


def _padded(name, version):
    """A version with three numbers."""
    return name, *[*map(int, version.split(".")), 0, 0][:3]


def test_each_library_of_an_extra_has_a_lowest_version_and_one_that_is_too_new():
    section = PROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    requirements = [each for each in re.findall(r'"([^"]+)"', section) if not each.startswith("streamlstm[")]
    assert len(requirements) > 30
    for each in requirements:
        assert re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+,<\d+(; .*)?", each)


def copy_of_sources(folder):
    """A copy of the project with a compiled library and with files that must not be distributed."""
    ignored = shutil.ignore_patterns("__pycache__", "compiled", "build", "*.so")
    for name in [*DISTRIBUTED, ".gitignore"]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        elif source.exists():  # a source distribution has a .gitignore of its own
            shutil.copy(source, folder / name)
    (folder / LIBRARY).parent.mkdir()
    (folder / LIBRARY).write_bytes(bytes(range(256)))
    for name in ("runs/notes.md", "streamlstm/__pycache__/cli.pyc", ".venv/pyvenv.cfg", "dist/old.whl", "secret.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("not for others\n")
    return folder


def built(folder, umask, **environment):
    """Build both; returns their paths."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--sdist",
        "--wheel",
        "--outdir",
        folder / "out",
        folder,
    ]
    environment = {**os.environ, **environment}
    subprocess.run(command, env=environment, umask=umask, stdout=subprocess.DEVNULL, check=True)
    return sorted((folder / "out").iterdir())


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The two distributions, each built twice: in different folders, with other modes, times and locales."""
    library("build")
    first = copy_of_sources(tmp_path_factory.mktemp("one"))
    second = copy_of_sources(tmp_path_factory.mktemp("another folder é"))
    for index, path in enumerate(sorted(second.rglob("*"))):
        os.utime(path, (10**9 + index, 10**9 + index))
        path.chmod(path.stat().st_mode & 0o700)  # git keeps whether a file can be executed
    return (
        built(first, 0o022, LC_ALL="C", TZ="UTC", PYTHONHASHSEED="1"),
        built(second, 0o077, LC_ALL="C.UTF-8", TZ="Asia/Tokyo", PYTHONHASHSEED="2"),
    )


@pytest.mark.slow
def test_a_build_gives_the_same_bytes_everywhere(distributions):
    hashes = [{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths} for paths in distributions]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2


@pytest.mark.slow
def test_the_source_distribution_has_what_the_tests_need_and_nothing_else(distributions):
    source, _ = sorted(distributions[0], key=lambda path: path.suffix)
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {"PKG-INFO", ".gitignore"}
    for name in DISTRIBUTED:
        files = (
            [path for path in (ROOT / name).rglob("*") if path.is_file()] if (ROOT / name).is_dir() else [ROOT / name]
        )
        expected |= {path.relative_to(ROOT).as_posix() for path in files}
    assert names == {name for name in expected if "__pycache__" not in name and not name.endswith(".so")}


@pytest.mark.slow
def test_the_wheel_has_the_package_and_its_libraries_and_is_small(distributions):
    _, wheel = sorted(distributions[0], key=lambda path: path.suffix)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert archive.read(LIBRARY) == bytes(range(256))
    package = (path for path in (ROOT / "streamlstm").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    sources = {path.relative_to(ROOT).as_posix() for path in package if "compiled" not in path.parts}
    assert names == sources | {LIBRARY}


@pytest.mark.slow
def test_an_index_accepts_both(distributions):
    library("twine")
    command = [sys.executable, "-m", "twine", "check", "--strict", *distributions[0]]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
