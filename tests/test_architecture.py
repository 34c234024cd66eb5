"""The shape of the package: imports go down the levels only, and folders of a level know nothing of each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "inspatio"

LEVELS = [
    {"types", "errors", "config", "parallel", "atomic", "lock", "console"},
    {
        *("manifest", "public_manifest", "scene", "cameras", "trajectory", "controls", "media", "fit"),
        *("weights", "attention", "device_memory", "checkpoints"),
    },
    {"caption", "geometry", "render", "models"},
    {"generation", "factory"},
    {"options", "job", "stages", "pipeline", "cli", "doctor", "licenses"},
]
"""Every module and folder of the package, from the bottom up."""

LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The inspatio modules a file imports, anywhere in it but under TYPE_CHECKING-free ``__main__`` blocks."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "inspatio":
            if node.module == "inspatio":
                found |= {f"inspatio.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "inspatio"}
    return found


def test_every_module_has_a_level():
    units = {unit(path) for path in MODULES} - {"__init__"}
    assert units == set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = unit(path)
    if own == "__init__":
        return
    for module in imports(path):
        other = module.split(".")[1]
        if other == own:
            continue
        if LEVEL[own] == 2:
            assert LEVEL[other] < 2, f"{path.name} imports {module}: folders of this level do not know each other"
        assert LEVEL[other] <= LEVEL[own], f"{path.name} imports {module}, which is above it"


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_a_stage_never_imports_another(path):
    stages = {"caption", "geometry", "render", "generate"}
    if path.stem in stages:
        imported = {module.split(".")[2] for module in imports(path) if module.startswith("inspatio.stages.")}
        assert not imported & stages


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_say_what_they_are_for_and_stay_small(path):
    text = path.read_text(encoding="utf-8")
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
    assert text.count("\n") <= 400, f"{path} is {text.count(chr(10))} lines: one concept to a module"


def test_heavy_libraries_load_only_when_needed():
    """`inspatio --help` waits for none of them, a preview never for transformers."""
    for name in ("cli", "options", "pipeline", "factory", "config", "manifest", "scene", "types"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        top = {alias.name.split(".")[0] for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        assert not top & {"torch", "transformers", "numba"}, name
