"""What happens without an extra: one line says which, and `import streamlstm` needs none."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from commands import run

PROJECT = Path(__file__).parent.parent / "pyproject.toml"

EXTRAS = [
    ("torch", "torch", "torch"),
    ("river", "river", "river"),
    ("quix", "quixstreams", "quix"),
    ("sklearn", "sklearn", "sklearn"),
    ("lm_eval", "lm_eval", "lm-eval"),
    ("mcp", "mcp", "mcp"),
]
"""A module of the integrations, the library that it needs, and the extra that brings it."""
LIBRARIES = [library for _, library, _ in EXTRAS]


@pytest.mark.parametrize(("module", "library", "extra"), EXTRAS)
def test_a_module_without_its_extra_names_it_in_one_line(module, library, extra, monkeypatch):
    monkeypatch.delitem(sys.modules, f"streamlstm.integrations.{module}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError) as error:
        import_module(f"streamlstm.integrations.{module}")
    assert str(error.value) == f"{library} is not installed; install it with: pip install 'streamlstm[{extra}]'"


def test_every_extra_of_a_tool_is_in_the_one_that_collects_them():
    project = PROJECT.read_text()
    collected = re.search(r'^integrations = \["streamlstm\[(.*)\]", "minicons', project, re.M)[1].split(",")
    assert collected == [*(extra for *_, extra in EXTRAS), "ray"]
    assert set(collected) <= set(re.findall(r"^([a-z-]+) = \[", project, re.M))


RAY = ("ray", "fsspec", "pyarrow")
"""The libraries that the extra `ray` brings."""


@pytest.mark.parametrize("missing", RAY)
def test_the_package_for_ray_without_its_extra_names_it_in_one_line(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import streamlstm.integrations.ray"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    message = " is not installed; install it with: pip install 'streamlstm[ray]'"
    assert result.stderr.splitlines()[-1].endswith(message)


def test_the_command_score_names_the_extra_ray(tmp_path):
    code = "import sys; sys.modules['ray'] = None; from streamlstm.cli import main; main()"
    command = [sys.executable, "-c", code, "score", "--engine", "ray", "--out", tmp_path / "out", "a.txt"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8")
    message = "streamlstm: ray is not installed; install it with: pip install 'streamlstm[ray]'\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", message)


def test_the_others_need_no_extra():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({[*LIBRARIES, *RAY]}))
from streamlstm.integrations import batches, extras, minicons, records, regions, roots, surprising
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_importing_the_package_and_its_commands_imports_no_integration():
    names = [*LIBRARIES, *RAY, "streamlstm.integrations"]
    code = f"import sys, streamlstm, streamlstm.cli; sys.exit(any(name in sys.modules for name in {names}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_command_mcp_names_its_extra(monkeypatch, tmp_path):
    code = "import sys; sys.modules['mcp'] = None; from streamlstm.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code, "mcp", tmp_path], capture_output=True, encoding="utf-8")
    message = "streamlstm: mcp is not installed; install it with: pip install 'streamlstm[mcp]'\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", message)


def test_the_command_regions_measures_a_file(tmp_path):
    file = tmp_path / "regions.tsv"
    file.write_text("id\ttext\n1\tThe\n2\tcat\n")
    result = run("regions", file, "--hidden", "16", "--layers", "1", "--freeze", "--first", "2")
    header, first, second = result.stdout.decode().splitlines()
    assert header.startswith("id\ttext\tpassage\tcharacters\tbits_trailing\tbits_leading\tfirst_bits_trailing")
    assert first.startswith("1\tThe\t\t3\t32\t24\t16\t16\t")
    assert second.startswith("2\tcat\t\t3\t24\t32\t16\t24\t")
    assert run("regions", tmp_path / "none.tsv").returncode == 1
