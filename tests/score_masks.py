"""Folders of small masks for the tests of scoring."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vos.masks import write_label_png
from vos.records import Labels

FRAME_HW = (24, 32)


def square(value: int, x: int = 8, y: int = 6, side: int = 10) -> Labels:
    """A label map with one square of a value."""
    labels = np.zeros(FRAME_HW, np.uint8)
    labels[y : y + side, x : x + side] = value
    return labels


def write_masks(folder: Path, sequences: Mapping[str, Sequence[Labels]]) -> Path:
    """Write ``<folder>/<sequence>/00000.png`` and so on; give the folder."""
    for name, frames in sequences.items():
        (folder / name).mkdir(parents=True)
        for number, labels in enumerate(frames):
            write_label_png(folder / name / f"{number:05d}.png", labels)
    return folder
