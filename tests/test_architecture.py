"""The shape of the package: imports go down, no circle between files, and the library knows nothing of its runners."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "inspatio"

LEVELS = [
    {"types", "errors"},
    {"storage", "locations", "settings"},
    {"clip_options"},
    {"config", "jit"},
    {"cameras", "media", "models"},
    {"scene"},
    {"captioning", "geometry", "render"},
    {"generation"},
    {"factory"},
    {"api"},
    {"evaluation"},
    {"pipeline", "live", "export", "training"},
]
"""Every module and folder of the package from the bottom up. A level imports only from those below it, and its folders
do not know each other; of the last one, the runner may use the rest."""
RUNNER = "pipeline"

LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
ENTRIES = {"inspatio", "inspatio.__main__"}
"""The front doors: they may import anything."""


def imports(name: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it: at its top, in a function, for types only."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "inspatio":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "inspatio"}
    return found - {name}


def unit(name: str) -> str:
    return name.split(".")[1]


def test_every_module_has_a_level():
    assert {unit(name) for name in MODULES if name not in ENTRIES} == set(LEVEL)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ENTRIES])
def test_imports_go_down(name: str):
    own = unit(name)
    for module in imports(name) - {"inspatio"}:
        other = unit(module)
        allowed = LEVEL[other] < LEVEL[own] or other == own or own == RUNNER
        assert allowed, f"{name} imports {module}: {own} must not know {other}"


def test_no_import_circle():
    try:
        list(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())
    except CycleError as error:
        pytest.fail("import circle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("path", MODULES.values(), ids=list(MODULES))
def test_modules_say_what_they_are_for_and_stay_small(path: Path):
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= 400, f"{path} is {text.count(chr(10))} lines: one concept to a module"


CLI = "from inspatio.pipeline.cli import main; main"


@pytest.mark.parametrize("program", ["import inspatio", f"{CLI}(['--help'])", f"{CLI}(['run', '--help'])"])
def test_the_front_door_is_light(program: str):
    """What everybody waits for first loads no network library, no compiler and no codec."""
    script = f"""import sys
try:
    {program}
except SystemExit:
    pass
print(sorted({{"torch", "numba", "cv2", "av", "transformers", "scipy"}} & set(sys.modules)), file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


def _tests() -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        checkers = {function.name for function in functions if _asserts(function, set())}
        found += [
            (f"{path.relative_to(ROOT)}::{function.name}", function, checkers)
            for function in functions
            if function.name.startswith("test")
        ]
    return [(name, function) for name, function, checkers in found if not _asserts(function, checkers)]


def _asserts(function: ast.FunctionDef, checkers: set[str]) -> bool:
    """Whether a function asserts, expects an exception, or calls a function that does."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"raises", "fail", *checkers} or called.startswith("assert_"):
                return True
    return False


def test_every_test_asserts():
    assert [name for name, _ in _tests()] == []
