"""The structure of the package: imports point downward only, modules and private names stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import streamlstm

PACKAGE = Path(streamlstm.__file__).parent
LEVELS = [
    {"kernels", "vocabulary", "checkpoint"},
    {"model", "optim"},
    {"memory"},
    {"predictor", "reference"},
    {"tasks"},
    {"render"},
    {"cli"},
    {"__main__"},
]
"""The packages and top modules from the lowest up: each may import what stands below it, and nothing else."""
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}
LEAVES = {"vocabulary", "checkpoint", "kernels"}
"""These import nothing of the package outside themselves."""
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(path):
    """A module's dotted name below the package: `memory.counts`; that of an `__init__` is its folder's."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(name):
    """The package or top module that a module belongs to."""
    return name.partition(".")[0]


def imported_modules(path):
    """The dotted names of all that a module imports, (module, name) by pair: `from .a import b` gives (…a, b)."""
    folder = ["streamlstm", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield module, alias.name


def own_imports(path):
    """The modules of the package that a module imports."""
    known = {name_of(module) for module in MODULES}
    for module, name in imported_modules(path):
        if module == "streamlstm" or module.startswith("streamlstm."):
            inside = module.removeprefix("streamlstm").removeprefix(".")
            submodule = f"{inside}.{name}".removeprefix(".")
            yield submodule if submodule in known or submodule in LEVEL_OF else inside, name


def test_every_package_and_top_module_has_a_level():
    rooms = {room_of(name_of(path)) for path in MODULES}
    assert rooms == set(LEVEL_OF)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward_only(path):
    room = room_of(name_of(path))
    for imported, _ in own_imports(path):
        target = room_of(imported)
        if not target or target == room:
            continue
        assert LEVEL_OF[target] < LEVEL_OF[room], f"{name_of(path)} imports {imported}"
        assert room not in LEAVES, f"{name_of(path)} is a leaf and imports {imported}"
        assert target != "reference", f"{name_of(path)} imports the reference implementation"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name_of(path): {imported for imported, _ in own_imports(path)} for path in MODULES}
    finished, unfinished = set(), []

    def visit(name):
        assert name not in unfinished, f"{' -> '.join([*unfinished, name])}"
        if name in finished or name not in graph:
            return
        unfinished.append(name)
        for imported in graph[name]:
            visit(imported)
        finished.add(unfinished.pop())

    for name in graph:
        visit(name)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_private_name_crosses_a_package(path):
    room = room_of(name_of(path))
    for imported, name in own_imports(path):
        if room_of(imported) != room:
            assert not name.startswith("_") or name.startswith("__"), f"{name_of(path)} imports {imported}.{name}"


def test_the_public_surface_is_small_and_every_name_is_there():
    assert len(streamlstm.__all__) <= 40
    for name in streamlstm.__all__:
        assert getattr(streamlstm, name).__doc__ or name == "__version__"


def test_importing_the_package_imports_neither_numba_nor_numpy():
    code = "import sys, streamlstm, streamlstm.cli; sys.exit(any(m in sys.modules for m in ('numba', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_nothing_forbidden_is_used(path):
    for module, _ in imported_modules(path):
        assert module.partition(".")[0] not in ("pickle", "dill", "cloudpickle", "marshal", "shelve"), module
    for node in ast.walk(ast.parse(path.read_text())):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        assert called not in ("exec", "eval")
        if isinstance(node, ast.keyword):
            assert node.arg not in ("fastmath", "parallel")
