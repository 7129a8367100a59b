"""The README is short, and its commands, Python block, sample output, links and names are correct.

python tests/test_readme.py refresh      writes the sample of `predict` anew
"""

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from extras import library, ray_cluster

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
INSTALL, TEST = next(block for kind, block in BLOCKS if kind == "sh").splitlines()
TASK = re.compile(r"^\| \[[^]]+\]\(docs/pages/how-to/[^)]+\).* \| `(streamlstm .+)` \|$", re.MULTILINE)
"""A row of the table of tasks: a link to a page, and a command."""
PAGES = ROOT / "docs" / "pages"
SAMPLE = ROOT / "tests" / "samples" / "lighthouse.txt"
DEMOS = sorted(path.name for path in (ROOT / "demos").glob("*.py"))
QUICK_DEMOS = {"fork.py", "hello.py", "log_anomalies.py", "train_torch.py"}
"""Those that the default tests run; CI runs all."""
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


def test_the_readme_is_a_front_door():
    assert len(README.splitlines()) <= 160
    assert len(TASK.findall(README)) == 10


def test_the_first_screen_has_the_two_commands():
    assert re.fullmatch(r"python3 -m venv .*pip install .*cat README.md .*", INSTALL)
    assert re.fullmatch(r"python3 -m venv .*pytest.*", TEST)
    assert README.index(TEST) < README.index("\n## ")


def test_the_first_command_prints_a_row_for_each_character():
    result = run(INSTALL.split("&&")[-1].replace(".venv/bin/", ""), ROOT)
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


def test_the_commands_run_one_after_the_other(tmp_path):
    (tmp_path / "book.txt").write_text(README[:1500])
    (tmp_path / "app.log").write_text("".join(f"req-{n // 2} done in {n % 5} ms\n" for n in range(300)))
    (tmp_path / "regions.tsv").write_text("id\ttext\n1\tThe\n2\tgull\n3\tcries.\n")
    for command in TASK.findall(README):
        before = set(os.listdir(tmp_path))
        result = run(command, tmp_path)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        assert result.stdout or set(os.listdir(tmp_path)) - before, command


def test_the_python_block_runs(tmp_path):
    (block,) = [block for kind, block in BLOCKS if kind == "python"]
    result = run([sys.executable, "-c", block], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "(256,)" in result.stdout
    assert len(result.stdout.splitlines()) == 3


def assert_prints_a_result_and_writes_no_file(folder, demo, *arguments):
    result = run([sys.executable, str(ROOT / "demos" / demo), *arguments], folder)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 1
    assert not os.listdir(folder)


@pytest.mark.parametrize(
    "demo",
    [
        pytest.param(demo, marks=() if demo in QUICK_DEMOS else pytest.mark.slow)
        for demo in DEMOS
        if demo not in ("ray_speed.py", "speed.py")
    ],
)
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


def test_the_page_of_demos_names_each_of_them():
    assert sorted(re.findall(r"^\| `(\w+\.py)` \|", (PAGES / "demos.md").read_text(), re.MULTILINE)) == DEMOS


def anchors(page):
    """The anchors of a page: those of its headings, as mkdocs and GitHub make them, and those that are written out."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    made = (re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings)
    return {*made, *re.findall(r'<a id="([^"]+)"', page)}


def test_every_link_leads_somewhere():
    for target, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", README):
        assert (ROOT / target).exists(), target
        assert not anchor or anchor in anchors((ROOT / target).read_text()), f"{target}#{anchor}"


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
def test_a_function_that_the_documentation_points_to_is_there(module, name):
    assert any(f"{name}`" in path.read_text() for path in (PAGES / "developing.md", PAGES / "how-it-works.md"))
    assert re.search(rf"^def {name}\(", (ROOT / "streamlstm" / module).read_text(), re.MULTILINE)


def refreshed(readme):
    """The README with a sample that fits today's models."""
    (sample,) = [block for kind, block in BLOCKS if kind == "text" and block.startswith("    index")]
    return readme.replace(sample, "\n".join(sample_rows(sample)) + "\n")


if __name__ == "__main__":
    (ROOT / "README.md").write_text(refreshed(README))
