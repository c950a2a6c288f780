"""The tree's shape: imports point down only, in no circle, and importing vos is cheap."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vos

PACKAGE = Path(vos.__file__).parent
# The house from the top down. A part may import from lower rows only, never from its own.
LAYERS = (
    {"__main__"},
    {"cli"},
    {"app", "batch"},
    {"score"},
    {"export", "review"},
    {"sets"},
    {"run"},
    {"segment"},
    {"track"},
    {"source", "sink", "sam", "synthetic"},
    {"masks"},
    {"hint"},
    {"config"},
    {"records"},
    {"files"},
    {"errors", "moments"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part(module: str) -> str:
    return module.split(".")[1]


def imported(path: Path) -> set[str]:
    """All dotted names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {"." * node.level + (node.module or "")}
            names |= {f"{node.module}.{alias.name}" for alias in node.names if not node.level}
    return names


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
IMPORTS = {
    module: (imported(path) & FILES.keys()) - {"vos", module}
    for module, path in FILES.items()
    if module != "vos"
}


def test_imports_point_down():
    wrong = [f"{module} has no layer" for module in IMPORTS if part(module) not in RANK]
    wrong += [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if part(other) != part(module) and RANK.get(part(other), -1) <= RANK.get(part(module), 99)
    ]
    wrong += [
        f"{module} imports relatively: {name}"
        for module, path in FILES.items()
        for name in imported(path)
        if name.startswith(".")
    ]
    assert not wrong, "\n".join(wrong)


def test_no_part_imports_in_a_circle():
    graph = {
        # A package's __init__ runs before its modules and may gather their names.
        module: {other for other in others if not module.startswith(f"{other}.")}
        for module, others in IMPORTS.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_are_light():
    """What ``--help`` needs is there at once; torch and the like come when they are used."""
    heavy = {"torch", "av", "cv2", "scipy", "PIL", "segment_anything", "tqdm", "jinja2"}
    heavy |= {"fsspec", "ray"}
    modules = ", ".join(["vos", *(module for module in FILES if module.startswith("vos.cli"))])
    code = f"import sys; import {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_load():
    missing = [name for name in vos.__all__ if getattr(vos, name, None) is None]
    assert not missing
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vos.nothing  # noqa: B018
