"""The README's commands, Python block, sample output and names are correct.

python tests/test_readme.py refresh      writes the samples of `predict` and `generate` anew
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import pytest
from extras import library, ray_cluster

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SHELL = [block for kind, block in BLOCKS if kind == "sh"]
COMMANDS = [line.split("  #")[0].strip() for line in SHELL[2].splitlines()]
GENERATED = re.compile(r"`(streamlstm generate [^`]+)`[^`]+```text\n(.*?)\n```", re.DOTALL)
"""A command in the text, and the block after it with what the command prints, its long lines wrapped."""
SAMPLE = ROOT / "tests" / "samples" / "lighthouse.txt"
DEMOS = sorted(path.name for path in (ROOT / "demos").glob("*.py"))
SLOW_DEMOS = {"ray_speed.py", "speed.py"}
DEMOS_WITH_A_FILE = {"archive_sizes.py", "fork.py", "messages.py", "online.py", "quality.py"}


def run(command, folder):
    """Run a shell command or a list of arguments with this environment's scripts first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=isinstance(command, str),
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
    assert re.match(r"python3 -m venv .*pytest", SHELL[1])
    assert all(block.count("\n") == 1 for block in SHELL[:2]), "one line each"
    assert README.index(SHELL[1]) < README.index("\n## ")


def test_the_first_command_prints_a_row_for_each_character():
    pipe = SHELL[0].split("&&")[-1].replace(".venv/bin/", "")
    result = run(pipe, ROOT)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(README) + 1


def sample_rows(sample):
    """The header and rows of a sample of `predict`, as they are printed today: the rows with the same indices."""
    result = run(["streamlstm", "predict", str(SAMPLE)], ROOT)
    assert result.returncode == 0, result.stderr
    header, *printed = result.stdout.splitlines()
    rows = sample.splitlines()[1:]
    first = int(rows[0].split()[0])
    return [header, *printed[first : first + len(rows)]]


def test_the_sample_output_is_what_predict_prints_for_the_sample_text():
    (sample,) = [block for kind, block in BLOCKS if kind == "text" and block.startswith("    index")]
    assert sample.splitlines() == sample_rows(sample)


def generated(command):
    """What a command prints, as the README shows it."""
    result = run(shlex.split(command), ROOT)
    assert result.returncode == 0, result.stderr
    return "\n".join(textwrap.fill(line, 112) for line in result.stdout.splitlines())


def test_the_sample_of_generated_text_is_what_its_command_prints():
    ((command, sample),) = GENERATED.findall(README)
    assert sample == generated(command)


def test_the_commands_run_one_after_the_other(tmp_path):
    (tmp_path / "book.txt").write_text(README[:1500])
    (tmp_path / "more.txt").write_text(README[:300])
    for command in COMMANDS:
        result = run(command, tmp_path)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        assert result.stdout or "--quiet" in command or " train " in command, command


def test_the_python_block_runs(tmp_path):
    (block,) = [block for kind, block in BLOCKS if kind == "python"]
    result = run([sys.executable, "-c", block], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "(256,)" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("2.32")


def assert_prints_a_result_and_writes_no_file(folder, demo, *arguments):
    result = run([sys.executable, str(ROOT / "demos" / demo), *arguments], folder)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 1
    assert not os.listdir(folder)


@pytest.mark.parametrize("demo", sorted(set(DEMOS) - SLOW_DEMOS))
def test_every_demo_prints_a_result_and_writes_no_file(demo, tmp_path):
    if "torch" in demo:
        library("torch")
    folder, short = tmp_path / "empty", []
    folder.mkdir()
    if demo in DEMOS_WITH_A_FILE:
        short = [str(SAMPLE)]
    elif demo == "records.py":
        short = ["--size", "200"]
    elif demo == "text_entry.py":
        short = ["-n", "2"]
    elif demo == "log_anomalies.py":
        short = [str(tmp_path)]
        for name in ("up", "down"):
            (tmp_path / f"{name}.log").write_text("".join(f"{name} {n % 7}\n" for n in range(620)))
    assert_prints_a_result_and_writes_no_file(folder, demo, *short)


@pytest.mark.slow
@pytest.mark.parametrize("demo", ["log_anomalies.py", "ray_speed.py", *sorted(DEMOS_WITH_A_FILE)])
def test_every_demo_needs_no_file(demo, tmp_path):
    if "ray" in demo:
        library("ray")
    with ray_cluster() if "ray" in demo else nullcontext():
        assert_prints_a_result_and_writes_no_file(tmp_path, demo, *(["--pieces", "2"] if demo == "messages.py" else []))


@pytest.mark.slow
def test_the_soak_reads_with_watch_too(tmp_path):
    assert_prints_a_result_and_writes_no_file(tmp_path, "soak.py", "--watch")


def test_the_readme_names_every_demo():
    for demo in DEMOS:
        assert f"demos/{demo}" in README


def test_every_link_to_a_file_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("memory/mixture.py", "remember"),
        ("kernels/network.py", "score"),
        ("kernels/network.py", "forward"),
        ("kernels/gradient.py", "backward"),
        ("kernels/descent.py", "descend"),
        ("memory/text.py", "set_contexts"),
    ],
)
def test_a_function_that_the_readme_points_to_is_there(module, name):
    assert f"{name}`" in README
    assert re.search(rf"^def {name}\(", (ROOT / "streamlstm" / module).read_text(), re.MULTILINE)


def refreshed(readme):
    """The README with samples that fit today's models."""
    (sample,) = [block for kind, block in BLOCKS if kind == "text" and block.startswith("    index")]
    readme = readme.replace(sample, "\n".join(sample_rows(sample)) + "\n")
    match = GENERATED.search(readme)
    return readme[: match.start(2)] + generated(match[1]) + readme[match.end(2) :]


if __name__ == "__main__":
    (ROOT / "README.md").write_text(refreshed(README))
