"""The pictures and figures of the docs are of the weights that are embedded."""

import json
from pathlib import Path

from vos.sam.weights.registry import find_model

ROOT = Path(__file__).resolve().parents[1]
REDRAW = "run tools/draw_docs.py docs/, look at the pictures, and mend the figures in the card"


def test_pictures_and_figures_are_of_the_embedded_weights():
    pictures = json.loads((ROOT / "docs" / "pictures.json").read_text())
    assert pictures["weights_sha256"] == find_model("nano").sha256, REDRAW
    card = (ROOT / "vos" / "sam" / "weights" / "nano.md").read_text()
    figures = [f"{mean_j:.2f}".lstrip("0") for mean_j in pictures["mean_j"]]
    assert f"mean J {figures[0]}, {figures[1]} and {figures[2]};" in card, REDRAW
