"""The shape of the house: imports point downward only."""

import ast
import subprocess
import sys
from pathlib import Path

import streamlstm

PACKAGE = Path(streamlstm.__file__).parent
LEVELS = [
    {"lanes", "atomics", "jit", "arithmetic"},
    {"shares"},
    {"kernels", "counts", "reference"},
    {"gradient", "ranks", "contexts", "vocabulary", "progress", "baseline", "heat"},
    {"model", "descent", "experts", "streams", "units"},
    {"checkpoint", "mixture", "assistant", "optim"},
    {"memory", "reference_memory", "coder"},
    {"predictor"},
    {"characters", "backup"},
    {"ansi", "page"},
    {"score", "generate", "compress", "formats", "picture", "live", "training"},
    {"warmup", "verify", "watch"},
    {"cli"},
    {"__main__"},
]
LEVEL_OF = {module: level for level, modules in enumerate(LEVELS) for module in modules}


def imports(path, depth):
    """The modules of the package that a module imports, which lies `depth` folders below it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from [node.module] if node.module else [alias.name for alias in node.names]


def modules():
    """Modules by name; the commands under `cli` count as one."""
    single = {path.stem: [path] for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    return single | {"cli": sorted((PACKAGE / "cli").glob("*.py"))}


def test_every_module_has_a_level():
    assert set(modules()) == set(LEVEL_OF)


def test_imports_point_downward_only():
    for name, paths in modules().items():
        for imported in (module for path in paths for module in imports(path, depth=2 if name == "cli" else 1)):
            if imported in LEVEL_OF:
                assert LEVEL_OF[imported] < LEVEL_OF[name], f"{name} imports {imported}"


def test_the_public_surface_is_small_and_every_name_is_there():
    assert len(streamlstm.__all__) <= 20
    for name in streamlstm.__all__:
        assert getattr(streamlstm, name).__doc__ or name == "__version__"


def test_importing_the_package_imports_neither_numba_nor_numpy():
    code = "import sys, streamlstm, streamlstm.cli; sys.exit(any(m in sys.modules for m in ('numba', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_nothing_forbidden_is_used():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert "pickle" not in names, path
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in ("exec", "eval"), path
            if isinstance(node, ast.keyword):
                assert node.arg not in ("fastmath", "parallel"), path
