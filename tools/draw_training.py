"""Draw docs/nano_training.png: what runs of nano learned, on their data and on held-out videos.

    python tools/draw_training.py benchmarks/nano_training.csv docs/nano_training.png

A row of the CSV is a line of a run's log (the IoU of masks in training), or a checkpoint that
benchmarks/held_out.py judged. Curves of training are running means: a line has a few batches, and
these are of another view size each.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import cv2
import numpy as np
from captions import write
from numpy.typing import NDArray
from PIL import Image

PANEL_HW = (240, 460)
MARGIN_PX = 40
NUM_AVERAGED = 15
TRAINING = {
    "J1": ("published loop, first mask", (0, 90, 181)),
    "Jmask": ("prompts of the default", (220, 50, 32)),
    "Jcells": ("correspondence", (120, 120, 120)),
}
HELD_OUT = {
    "held_out_prompt": ("true mask as prompt", (0, 90, 181)),
    "held_out_default": ("default", (220, 50, 32)),
}
LINE = (225, 225, 225)

Rgb = NDArray[np.uint8]


@click.command()
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def main(table: Path, out: Path) -> None:
    """Draw the runs of TABLE, a row of two panels each."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for run in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == run]
        training = draw(f"{run} run, training: IoU", own, TRAINING, (0.5, 0.9), NUM_AVERAGED)
        held_out = draw(f"{run} run, held-out videos: J&F", own, HELD_OUT, (0.75, 0.9), 1)
        lines.append(np.concatenate([training, held_out], axis=1))
    Image.fromarray(np.concatenate(lines)).quantize(64).save(out, optimize=True)


def draw(
    title: str,
    rows: list[dict[str, str]],
    columns: dict[str, tuple[str, tuple[int, int, int]]],
    span: tuple[float, float],
    num_averaged: int,
) -> Rgb:
    """Draw columns over the pairs seen, one curve each."""
    height, width = PANEL_HW
    panel = np.full((height, width, 3), 255, np.uint8)
    bottom, top = height - MARGIN_PX, MARGIN_PX
    last = max(int(row["pairs"]) for row in rows)
    step = 0.1 if span[1] - span[0] > 0.2 else 0.05
    for value in np.arange(span[0], span[1] + step / 2, step):
        y = round(bottom + (value - span[0]) / (span[1] - span[0]) * (top - bottom))
        cv2.line(panel, (MARGIN_PX, y), (width - 10, y), LINE, 1)
        write(panel, f"{value:.2f}", (4, y + 4))
    write(panel, title, (MARGIN_PX, 18))
    write(panel, f"{last:,} pairs", (width - 100, height - MARGIN_PX + 16))
    for number, (column, (label, colour)) in enumerate(columns.items()):
        known = [(int(row["pairs"]), float(row[column])) for row in rows if row.get(column)]
        write(panel, label, (MARGIN_PX + 4 + 140 * number, height - 8), colour)
        if not known:
            continue
        pairs, values = np.array(known).T
        means = [values[max(0, i + 1 - num_averaged) : i + 1].mean() for i in range(len(values))]
        xs = MARGIN_PX + pairs / last * (width - 10 - MARGIN_PX)
        ys = bottom + (np.array(means) - span[0]) / (span[1] - span[0]) * (top - bottom)
        points = np.stack([xs, ys], axis=1).round().astype(np.int32)
        cv2.polylines(panel, [points], False, colour, 2, cv2.LINE_AA)
        for x, y in points if num_averaged == 1 else ():
            cv2.circle(panel, (int(x), int(y)), 3, colour, -1, cv2.LINE_AA)
    return panel


if __name__ == "__main__":
    main()
