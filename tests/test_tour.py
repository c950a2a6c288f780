"""The notebook docs/tour.ipynb runs from its first cell to its last."""

import json
import shutil
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "tour.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_tour_runs(capsys):
    names: dict = {}
    try:
        for number, source in enumerate(code_cells(), 1):
            exec(compile(source, f"code cell {number} of {NOTEBOOK.name}", "exec"), names)
    finally:
        if "folder" in names:
            shutil.rmtree(names["folder"])
    printed = capsys.readouterr().out
    assert "'clip.png'" in printed
    assert "'clip.npz'" in printed
    assert names["evaluation"].statistics.j_mean > 0.9
    assert names["results"].frames[4].scores == pytest.approx([1])
