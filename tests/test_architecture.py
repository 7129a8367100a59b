"""The structure of the package: the README's map, the direction of imports, and private names."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

import streamlstm

PACKAGE = Path(streamlstm.__file__).parent
README = PACKAGE.parent / "README.md"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.name != "__init__.py"]
INITS = [path for path in FILES if path.name == "__init__.py" and path.parent not in (PACKAGE, PACKAGE / "tasks")]
PACKAGES = {".".join(path.parent.relative_to(PACKAGE).parts) for path in INITS}
"""The dotted names of the packages inside the package, nested ones too."""
LEAVES = {"ranges", "reference"}
"""These import no other part of the package."""
ALWAYS_PUBLIC = {"_replace", "_fields", "_asdict", "_make", "_repr_html_", "_exit"}
"""Names of NamedTuple, of notebooks and of `os`: public, though they begin with an underscore."""
NUMBAS = {"_cache", "_impl", "_load_overload", "_locator_classes", "_final_module", "_getvalue"}
"""Attributes of numba that the kernel cache and the compilation ahead of time use."""


def name_of(path):
    """A module's dotted name inside the package: `memory.counts`; an `__init__` has the name of its folder."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def part_of(name):
    """The package or top module that a module belongs to: `integrations.ray` for `integrations.ray.shard`."""
    return name if name in PACKAGES else name.rpartition(".")[0] or name


def is_integration(name):
    """Whether a module belongs to `integrations` or to a package in it."""
    return name.partition(".")[0] == "integrations"


def readme_map():
    """The README's map: from each package to the names of its modules, from each top module to nothing.

    The map is the text block under the heading "Where things are". A line names a package, as `name/` or, inside
    another package, `name/nested/`, and its modules, or a top module; after `#` follows a comment.
    """
    block = re.search(r"^#+ Where things are$.*?^```text\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    assert block, 'the README has no text block under the heading "Where things are"'
    lines = [line.partition("#")[0].split() for line in block[1].splitlines()]
    return {name.removesuffix("/").replace("/", "."): modules for name, *modules in filter(None, lines)}


def each_of(paths):
    return pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path) or "__init__") for path in paths])


@cache
def tree_of(path):
    return ast.parse(path.read_text("utf-8"))


@cache
def nodes_of(path):
    return [*ast.walk(tree_of(path))]


def imported_names(path):
    """What a module imports, as pairs: the dotted name of a module, and a name in it or ""."""
    folder = ["streamlstm", *path.relative_to(PACKAGE).parent.parts]
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield module, alias.name


def own_imports(path):
    """What a module imports from this package, as pairs: the module's dotted name inside the package, and the name."""
    known = {name_of(module) for module in FILES}
    for module, name in imported_names(path):
        if module == "streamlstm" or module.startswith("streamlstm."):
            inside = module.removeprefix("streamlstm").removeprefix(".")
            submodule = f"{inside}.{name}".removeprefix(".")
            yield submodule if submodule in known else inside, name


def functions(path):
    return [node for node in nodes_of(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_the_readmes_map_has_the_real_packages_and_modules():
    real = {}
    for path in MODULES:
        name = name_of(path)
        real.setdefault(part_of(name), set()).update({name.rpartition(".")[2]} if "." in name else ())
    del real["__main__"]
    assert {name: set(modules) for name, modules in readme_map().items()} == real


@each_of(MODULES)
def test_a_module_imports_only_from_below_its_line_in_the_readmes_map(path):
    line_of = {name: line for line, name in enumerate(readme_map())} | {"__main__": -1}
    part = part_of(name_of(path))
    for imported, _ in own_imports(path):
        target = part_of(imported)
        if target and target != part:
            assert line_of[target] > line_of[part], f"{name_of(path)} imports {imported}"
            assert part not in LEAVES, f"{name_of(path)} is a leaf and imports {imported}"
            assert target != "reference", f"{name_of(path)} imports the reference implementation"


def test_no_modules_import_each_other_in_a_circle():
    graph = {}
    for path in MODULES:
        graph[name_of(path)] = {imported for imported, _ in own_imports(path)}
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


@each_of(FILES)
def test_no_private_name_is_imported_across_packages(path):
    part = part_of(name_of(path))
    for imported, name in own_imports(path):
        names = [*imported.split("."), name]
        if part_of(imported) != part:
            assert not any(name.startswith("_") and not name.endswith("__") for name in names), f"{imported}.{name}"


@cache
def private_names_defined_in(part):
    """The private functions, classes, variables and attributes that a package or top module defines."""
    defined = set()
    for path in MODULES:
        if part_of(name_of(path)) != part:
            continue
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
                defined.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return defined


@each_of(MODULES)
def test_no_private_attribute_is_used_across_packages(path):
    used = {node.attr for node in nodes_of(path) if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr)}
    assert used - ALWAYS_PUBLIC - NUMBAS - private_names_defined_in(part_of(name_of(path))) == set()


@each_of(FILES)
def test_the_annotations_of_a_class_use_no_name_that_it_defines(path):
    """From Python 3.14 on annotations are evaluated when they are asked for, and would find the name in the class."""
    for node in nodes_of(path):
        if isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            used = {name.id for field in fields for name in ast.walk(field.annotation) if isinstance(name, ast.Name)}
            defined = {getattr(item, "name", "") for item in node.body}
            assert used & (defined | {field.target.id for field in fields if field.value}) == set(), node.name


@each_of(FILES)
def test_a_named_tuple_has_no_other_base(path):
    """Python 3.10 refuses one."""
    for node in nodes_of(path):
        if isinstance(node, ast.ClassDef) and "NamedTuple" in [getattr(base, "id", "") for base in node.bases]:
            assert len(node.bases) == 1, node.name


def test_no_demo_or_test_hides_a_module_of_the_standard_library():
    """Python puts the folder of a script before the standard library, whose gzip imports its `compression`."""
    root = PACKAGE.parent
    names = {path.stem for folder in ("demos", "tests") for path in (root / folder).glob("*.py")}
    assert names & (sys.stdlib_module_names | {"annotationlib", "compression"}) == set()


@each_of(INITS)
def test_the_init_of_a_package_only_exports_public_names(path):
    """A package for an extra may say which one is missing."""
    assert ast.get_docstring(tree_of(path))
    nodes = [part for node in tree_of(path).body[1:] for part in (node.body if isinstance(node, ast.Try) else [node])]
    assert all(isinstance(node, ast.ImportFrom) for node in nodes) or name_of(path) == "cli"
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert not [alias.name for alias in node.names if alias.name.startswith("_") and alias.name[:2] != "__"]


def test_every_public_name_is_there_and_documented():
    assert len(streamlstm.__all__) <= 42
    assert [name for name in streamlstm.__all__ if not getattr(streamlstm, name).__doc__] == []
    assert set(streamlstm.__all__) == set(dir(streamlstm)) == {"__version__", *streamlstm._MODULES}


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'streamlstm' has no attribute 'no_such_name'"):
        streamlstm.no_such_name  # noqa: B018


IMPORTS = """
import importlib, streamlstm
for name, module in streamlstm._MODULES.items():
    importlib.import_module(f"streamlstm.{module}")
    assert getattr(streamlstm, name).__name__ == name, name
"""


def test_the_public_names_are_functions_and_classes_even_after_their_modules_are_imported():
    assert subprocess.run([sys.executable, "-c", IMPORTS]).returncode == 0


def test_importing_the_package_imports_neither_numba_nor_numpy():
    code = "import sys, streamlstm, streamlstm.cli; sys.exit(any(m in sys.modules for m in ('numba', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@each_of(FILES)
def test_nothing_forbidden_is_used(path):
    for module, _ in imported_names(path):
        assert module.partition(".")[0] not in ("pickle", "dill", "cloudpickle", "marshal", "shelve"), module
    for node in nodes_of(path):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        assert called not in ("exec", "eval")
        if isinstance(node, ast.keyword):
            assert node.arg not in ("fastmath", "parallel")


@each_of(FILES)
def test_no_function_has_more_than_60_lines_after_its_docstring(path):
    for function in functions(path):
        first, *others = function.body
        body = others if others and ast.get_docstring(function) else [first, *others]
        assert body[-1].end_lineno - body[0].lineno < 60, function.name


POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}


MODULE_OF = {"scikit-learn": "sklearn"}
"""The module of a library that is named otherwise."""


def words(text):
    return set(re.findall(r"[\w-]+", text))


def declared_libraries(extras):
    """The modules of the libraries that the package requires, or that one of the extras brings."""
    requirements = [line.partition(";") for line in metadata.requires("streamlstm")]
    wanted = [line for line, _, marker in requirements if "extra" not in marker or extras & words(marker)]
    names = [re.match(r"[\w-]+", line)[0] for line in wanted]
    return {MODULE_OF.get(name, name).replace("-", "_") for name in names}


def imported_libraries(paths):
    """The modules of other packages and of the standard library that modules import."""
    names = (name for path in paths for name, _ in imported_names(path))
    return {name.partition(".")[0] for name in names} - {"streamlstm"}


def test_each_library_that_is_imported_is_declared_and_none_is_of_one_operating_system():
    integrations = [path for path in FILES if is_integration(name_of(path))]
    others = [path for path in MODULES if path not in integrations]
    for paths, extras in (others, {"live"}), (integrations, {"integrations"}):
        libraries = imported_libraries(paths) - sys.stdlib_module_names
        # numba brings llvmlite; type checkers the other
        assert libraries - {"llvmlite", "typing_extensions"} <= declared_libraries(extras)
    assert not imported_libraries(MODULES) & POSIX_ONLY


def test_only_the_commands_import_the_integrations():
    for path in FILES:
        targets = [imported for imported, _ in own_imports(path)]
        may_import = is_integration(name_of(path)) or part_of(name_of(path)) == "cli"
        assert may_import or not any(map(is_integration, targets)), path
