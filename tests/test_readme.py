"""The README's blocks run as they are written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SHELL = [block for kind, block in BLOCKS if kind == "sh"]
LINES = [line.split("  #")[0].strip() for line in SHELL[2].splitlines()]
DEMOS = sorted(path.name for path in (ROOT / "demos").glob("*.py"))


def run(command, folder, shell=True):
    """Run a command with this environment's scripts first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=shell,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
    )


def test_the_first_screen_has_the_two_commands():
    assert len(SHELL) == 3
    assert "pip install" in SHELL[0]
    assert "cat README.md" in SHELL[0]
    assert "pytest" in SHELL[1]
    assert all(block.count("\n") == 1 for block in SHELL[:2]), "one line each"


def test_the_first_command_predicts_the_readme_as_the_picture_shows():
    pipe = SHELL[0].split("&&")[-1].replace(".venv/bin/", "")
    result = run(pipe, ROOT)
    assert result.returncode == 0, result.stderr
    printed = result.stdout.splitlines()
    assert len(printed) == len(README) + 1
    (picture,) = [block for kind, block in BLOCKS if kind == "text" and block.startswith("    index")]
    header, *rows = picture.splitlines()
    assert header == printed[0]
    first = printed.index(rows[0])
    assert rows == printed[first : first + 12], "the picture is not what the command prints"


def test_the_ten_minutes_run_one_after_the_other(tmp_path):
    (tmp_path / "book.txt").write_text(README)
    (tmp_path / "more.txt").write_text(README[:500])
    for line in LINES:
        result = run(line, tmp_path)
        assert result.returncode == 0, f"{line}\n{result.stderr}"
        assert result.stdout or "--quiet" in line or " train " in line, line


def test_the_python_block_runs(tmp_path):
    (block,) = [block for kind, block in BLOCKS if kind == "python"]
    result = run([sys.executable, "-c", block], tmp_path, shell=False)
    assert result.returncode == 0, result.stderr
    assert "(256,)" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("2.32")


@pytest.mark.parametrize("demo", [demo for demo in DEMOS if demo != "speed.py"])
def test_every_demo_runs_and_prints_something(demo, tmp_path):
    result = run([sys.executable, str(ROOT / "demos" / demo)], tmp_path, shell=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 1
    assert not os.listdir(tmp_path), "a demo writes nothing"


def test_the_readme_names_every_demo_and_every_module():
    for demo in DEMOS:
        assert f"demos/{demo}" in README
    for module in (ROOT / "streamlstm").rglob("*.py"):
        if not module.stem.startswith("__"):
            assert module.stem in README, module
