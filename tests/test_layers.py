"""The tree's shape: imports point down only, modules stay small, importing vos is cheap."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vos

PACKAGE = Path(vos.__file__).parent
# From the top down. A part may import from lower rows only, never from its own.
LAYERS = (
    {"cli"},
    {"score"},
    {"sets"},
    {"run"},
    {"segment"},
    {"track"},
    {"source", "sam", "sink", "synthetic"},
    {"masks"},
    {"config"},
    {"records", "hint"},
    {"errors"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The modules of vos that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name in MODULES}


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_part_has_its_layer():
    assert {part(module) for module in MODULES} - {""} <= set(RANK)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "vos"])
def test_imports_point_down(module):
    for other in imported(MODULES[module]) - {"vos"}:
        if part(other) != part(module):
            assert RANK[part(other)] > RANK[part(module)], f"{module} imports {other}"


def test_no_import_cycles_inside_a_part():
    graph = {
        module: {
            other
            for other in imported(path)
            if part(other) == part(module)
            and other != module
            and not module.startswith(f"{other}.")
        }
        for module, path in MODULES.items()
        if module != "vos"
    }
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_small(module):
    assert len(MODULES[module].read_text().splitlines()) <= 320


@pytest.mark.parametrize(
    "statement",
    [
        "import vos",
        "import vos.cli.run",
        "import vos.cli.evaluate, vos.cli.davis, vos.cli.images, vos.cli.perseg",
    ],
)
def test_imports_are_light(statement):
    heavy = "{'torch', 'av', 'cv2', 'scipy', 'PIL', 'segment_anything', 'tqdm'}"
    code = f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_load():
    for name in vos.__all__:
        assert getattr(vos, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vos.nothing  # noqa: B018
