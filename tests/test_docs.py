"""The code blocks of the documentation run, and print what the documentation shows.

The `sh` and `python` blocks of a page run in order, in a folder with `lighthouse.txt`. A `text` block with the title
"Output" shows what the block before it prints. Blocks of other languages are not run.

python tests/test_docs.py refresh      writes the outputs anew
"""

import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest
from extras import library, ray_cluster

import streamlstm

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "pages"
SLOW = {"how-to/compress.md", "how-to/generate.md", "how-to/score.md", "how-to/train.md", "how-to/ray.md"}
NEEDED = {"how-to/pytorch.md": "torch", "how-to/river.md": "river", "how-to/scikit-learn.md": "sklearn"}
NEEDED |= {"how-to/tables.md": "pandas"}
NEEDED |= {"how-to/lm-eval.md": "lm_eval", "how-to/quix.md": "quixstreams", "how-to/ray.md": "ray"}
"""The library that a page needs, for which there is an extra."""
BLOCK = re.compile(r'^```(sh|python|text title="Output")\n(.*?)^```', re.DOTALL | re.MULTILINE)
NAMES = sorted(str(path.relative_to(PAGES)) for path in PAGES.rglob("*.md"))


def blocks_of(name):
    """The blocks of a page that run, as (kind, code, expected output or None)."""
    found = []
    for kind, code in BLOCK.findall((PAGES / name).read_text()):
        if kind.startswith("text"):
            found[-1][2] = code
        else:
            found.append([kind, code, None])
    return found


def run_shell(code, folder):
    """What shell commands print on stdout; a failure of any of them fails the test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-e", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert result.returncode == 0, f"{code}\n{result.stderr}"
    return result.stdout


def run_python(code, variables):
    """What Python code prints."""
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "<docs>", "exec"), variables)
    return out.getvalue()


def is_slow(name):
    return pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name


def outputs(name, folder):
    """The code of each block of a page, the output that the page shows or None, and what it prints today."""
    shutil.copy(ROOT / "tests" / "samples" / "lighthouse.txt", folder)
    os.chdir(folder)
    variables = {"__name__": "__main__"}
    for kind, code, expected in blocks_of(name):
        yield code, expected, run_python(code, variables) if kind == "python" else run_shell(code, folder)


@pytest.mark.parametrize("name", [is_slow(name) for name in NAMES if blocks_of(name)])
def test_the_blocks_of_a_page_print_what_it_shows(name, tmp_path, monkeypatch):
    if name in NEEDED:
        library(NEEDED[name])
    monkeypatch.chdir(tmp_path)
    with ray_cluster() if NEEDED.get(name) == "ray" else nullcontext():
        for code, expected, printed in outputs(name, tmp_path):
            assert expected in (None, printed), code


def test_r_reads_the_tables_as_the_page_shows(tmp_path, monkeypatch):
    """Where R is installed."""
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed")
    monkeypatch.chdir(tmp_path)
    page = (PAGES / "how-to" / "tables.md").read_text()
    code, expected = (
        re.search(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
        for kind in ("r", 'text title="Output of R"')
    )
    run_shell(blocks_of("how-to/tables.md")[0][1], tmp_path)
    (tmp_path / "recipe.R").write_text(code)
    assert run_shell("Rscript recipe.R", tmp_path) == expected


def test_every_task_page_has_blocks_that_run():
    for path in (PAGES / "how-to").glob("*.md"):
        assert path.name == "index.md" or blocks_of(f"how-to/{path.name}"), path


def test_every_public_name_is_in_the_api_reference():
    reference = "".join(path.read_text() for path in (PAGES / "api").glob("*.md"))
    documented = set(re.findall(r"^::: streamlstm\.(\w+)$", reference, re.MULTILINE))
    assert documented == set(streamlstm.__all__) - {"__version__"}


def test_what_is_to_be_cited_is_this_version():
    citation, page = (ROOT / "CITATION.cff").read_text(), (PAGES / "citing.md").read_text()
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE)[1] == streamlstm.__version__
    assert re.search(r"^  version = \{(.+)\},$", page, re.MULTILINE)[1] == streamlstm.__version__
    heading = rf"^## \[{re.escape(streamlstm.__version__)}\] - (.+)$"
    released = re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert f"date-released: {released}\n" in citation


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"([\w/-]+\.md)$", (ROOT / "docs" / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == NAMES


def test_how_it_works_includes_the_reference_implementation():
    page = (PAGES / "how-it-works.md").read_text()
    included = re.findall(r'^ *--8<-- "([^"]+)"$', page, re.MULTILINE)
    assert included == [f"streamlstm/reference/{name}.py" for name in ("network", "memory", "text", "matches")]
    assert all((ROOT / path).exists() for path in included)


def test_the_picture_of_the_heat_map_shows_what_the_command_writes_today():
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    picture = pictures["HEAT_MAP"]
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) <= 200_000
    assert pictures["label"](content) == pictures["digest"](pictures["page"]()), "run: python docs/pictures.py"
    assert f"]({picture.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
    assert f"](../{picture.relative_to(PAGES)})" in (PAGES / "how-to" / "heat-maps.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_module_that_a_page_names_is_there(name):
    page = (PAGES / name).read_text()
    for path in re.findall(r"\b((?:streamlstm|tests|demos|docs)(?:/\w+)+\.py)\b", page):
        assert (ROOT / path).exists(), path
    for dotted in re.findall(r"\bstreamlstm((?:\.[a-z_]+)+)(?=\b[^\w(])", page):
        path = ROOT / "streamlstm" / dotted[1:].replace(".", "/")
        names = (path, path.with_suffix(".py"), path.parent, path.parent.with_suffix(".py"))
        assert any(name.exists() for name in names), dotted


def refresh(name):
    """Write the outputs of a page anew."""
    page = (PAGES / name).read_text()
    with tempfile.TemporaryDirectory() as folder:
        for code, expected, printed in outputs(name, folder):
            if expected is not None:
                shown = '```\n\n```text title="Output"\n'
                page = page.replace(code + shown + expected, code + shown + printed)
    (PAGES / name).write_text(page)


if __name__ == "__main__":
    for name in filter(blocks_of, NAMES):
        if find_spec(NEEDED.get(name, "streamlstm")) is None:
            print(f"{name} needs {NEEDED[name]}: not refreshed")
        else:
            refresh(name)
