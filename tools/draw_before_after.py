"""Draw what two results of the same sequences are worth, frame by frame: docs/tracking_hard.png.

    vos davis DAVIS/ --year 2016 --split hard --out before     # with the earlier version
    vos davis DAVIS/ --year 2016 --split hard --out after
    python tools/draw_before_after.py DAVIS/ before after docs/tracking_hard.png

A row for each sequence: the IoU of every frame, grey before and blue after, and the masks of the
frame in which they differ most. Frames and annotations of data sets with licences of their own are
not in the picture.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
from captions import write
from numpy.typing import NDArray
from PIL import Image

import vos
from vos.masks import mask_box_xyxy, read_mask
from vos.sets.davis import find_davis_sequences

ROW_PX = 170
CURVE_PX = 620
MASK_PX = 260
MARGIN_PX = 34
GREY, BLUE = (150, 150, 150), (0, 90, 181)

Rgb = NDArray[np.uint8]


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--split", default="hard", show_default=True)
def main(root: Path, before: Path, after: Path, out: Path, split: str) -> None:
    """Compare the results of folder BEFORE with those of AFTER."""
    rows = []
    for sequence in find_davis_sequences(root, year=2016, split=split):
        folders = before / sequence.name, after / sequence.name
        scores = [
            vos.evaluate(root, folder.parent, year=2016, sequences=[sequence.name]).sequences[0]
            for folder in folders
        ]
        ious = [score.objects[0].j for score in scores]
        index = int(np.abs(ious[1] - ious[0]).argmax())
        name = scores[0].frame_names[index]
        masks = [read_mask(folder / f"{name}.png") > 0 for folder in folders]
        parts = [draw_curves(sequence.name, ious[0], ious[1], index)]
        window = window_of(masks[0] | masks[1])
        for title, mask, iou, colour in zip(
            ("before", "after"), masks, ious, (GREY, BLUE), strict=True
        ):
            caption = f"{title}, frame {int(name)}: IoU {iou[index]:.2f}"
            parts.append(draw_mask(mask[window], caption, colour))
        rows.append(np.concatenate(parts, axis=1))
        print(f"{sequence.name}: J {ious[0].mean():.3f} before, {ious[1].mean():.3f} after")
    Image.fromarray(np.concatenate(rows)).quantize(64).save(out, optimize=True)


def draw_curves(
    title: str, before: NDArray[np.float64], after: NDArray[np.float64], at: int
) -> Rgb:
    """Draw two curves of IoU over the frames, and a mark at one frame."""
    panel = np.full((ROW_PX, CURVE_PX, 3), 255, np.uint8)
    low, high = ROW_PX - MARGIN_PX, MARGIN_PX
    for iou in (0.0, 0.5, 1.0):
        y = round(low + iou * (high - low))
        cv2.line(panel, (MARGIN_PX, y), (CURVE_PX - MARGIN_PX, y), (225, 225, 225), 1)
        write(panel, f"{iou:.1f}", (6, y + 4))
    xs = np.linspace(MARGIN_PX, CURVE_PX - MARGIN_PX, len(before))
    cv2.line(panel, (round(xs[at]), high), (round(xs[at]), low), (225, 225, 225), 1)
    for ious, colour in ((before, GREY), (after, BLUE)):
        points = np.stack([xs, low + ious * (high - low)], axis=1).round().astype(np.int32)
        cv2.polylines(panel, [points], False, colour, 2, cv2.LINE_AA)
    write(panel, f"{title}: IoU of {len(before)} frames", (MARGIN_PX, 20))
    write(panel, f"mean before {before.mean():.2f}", (CURVE_PX - 290, 20), (110, 110, 110))
    write(panel, f"after {after.mean():.2f}", (CURVE_PX - 120, 20), BLUE)
    return panel


def draw_mask(mask: NDArray[np.bool_], caption: str, colour: tuple[int, int, int]) -> Rgb:
    """Draw a mask as a shape of one colour, as large as there is room."""
    tile = np.full((ROW_PX, MASK_PX, 3), 255, np.uint8)
    scale = min((MASK_PX - 10) / mask.shape[1], (ROW_PX - MARGIN_PX - 6) / mask.shape[0])
    size_wh = tuple(max(1, round(scale * side)) for side in mask.shape[::-1])
    shares = cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)[..., None]
    left = (MASK_PX - size_wh[0]) // 2
    inside = np.s_[MARGIN_PX : MARGIN_PX + size_wh[1], left : left + size_wh[0]]
    tile[inside] = (255 - shares * (255 - np.array(colour))).round().astype(np.uint8)
    write(tile, caption, (8, 20))
    return tile


def window_of(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Give the rows and columns around an (H, W) mask."""
    box_xyxy = mask_box_xyxy(mask)
    if box_xyxy is None:
        return slice(None), slice(None)
    x0, y0, x1, y1 = box_xyxy.tolist()
    return slice(max(0, y0 - 4), y1 + 5), slice(max(0, x0 - 4), x1 + 5)


if __name__ == "__main__":
    main()
