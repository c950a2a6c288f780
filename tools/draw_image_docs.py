"""Draw the pictures of docs/images.md: a synthetic set of images, and what vos finds in it.

``python tools/draw_image_docs.py docs/`` runs the embedded model and takes less than a minute.
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import vos
from vos.config import PersamF, RunConfig
from vos.records import Frame
from vos.sink import draw_overlay

TILE_HW = (180, 240)
SIZES_HW = ((360, 480), (480, 360), (400, 400), (300, 520))
BALL = ((214, 62, 46), (240, 206, 92))  # colours of its stripes


def draw(
    hw: tuple[int, int], balls: list[tuple[float, float, float]], seed: int
) -> tuple[Frame, np.ndarray]:
    """Striped balls, (x, y, radius) in pixels, on a soft background; and their label map."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(120, 8, (5, 6, 3)) + rng.normal(0, 22, (5, 6, 1))
    rgb = cv2.resize(coarse, hw[::-1], interpolation=cv2.INTER_CUBIC)
    rgb += cv2.resize(rng.normal(0, 4, (hw[0] // 6, hw[1] // 6, 1)), hw[::-1])[..., None]
    labels = np.zeros(hw, dtype=np.uint8)
    ys, xs = np.indices(hw, dtype=float)
    for number, (x, y, radius) in enumerate(balls, start=1):
        angle = rng.uniform(0, math.pi)
        right, down = (xs - x) / radius, (ys - y) / radius
        along = right * math.cos(angle) + down * math.sin(angle)
        inside = np.hypot(right, down)
        stripes = np.where((np.floor(along * 2.5) % 2 == 0)[..., None], *map(np.array, BALL))
        light = 1.05 - 0.25 * (right + down) - 0.25 * inside**4
        cover = ((1 - inside) * radius + 0.5).clip(0, 1)[..., None]
        rgb += cover * (stripes * light[..., None] - rgb)
        labels[inside < 1] = number
    return Frame(seed, 0.0, f"{seed:02d}", rgb.clip(0, 255).astype(np.uint8)), labels


def tile(rgb: np.ndarray, title_rgb: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    """Fit a picture into a tile with a margin of one colour."""
    scale = min(TILE_HW[0] / rgb.shape[0], TILE_HW[1] / rgb.shape[1])
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    sheet = np.full((TILE_HW[0] + 8, TILE_HW[1] + 8, 3), title_rgb, dtype=np.uint8)
    top, left = (sheet.shape[0] - small.shape[0]) // 2, (sheet.shape[1] - small.shape[1]) // 2
    sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    return sheet


def save(path: Path, rows: list[list[np.ndarray]]) -> None:
    """Write rows of tiles as one PNG with few colours."""
    sheet = Image.fromarray(np.vstack([np.hstack(row) for row in rows]))
    sheet.quantize(192).save(path, optimize=True)


def main() -> None:
    """Draw, find, write."""
    folder = Path(sys.argv[1])
    sam = vos.load_sam()
    config = RunConfig(method=replace(PersamF.for_images(), connected=True))  # as vos images does
    reference, mask = draw((360, 480), [(200, 190, 80)], seed=100)
    rng = np.random.default_rng(3)
    frames, truths = [], []
    for number in range(7):
        height, width = SIZES_HW[number % len(SIZES_HW)]
        radius = rng.uniform(0.13, 0.3) * min(height, width)
        x, y = (rng.uniform(radius + 5, side - radius - 5) for side in (width, height))
        frame, labels = draw((height, width), [(x, y, radius)], seed=number)
        frames.append(frame)
        truths.append(labels)
    found = [m for _, m in vos.segment_images(frames, [(reference, mask)], sam, config)]
    for number, (masks, truth) in enumerate(zip(found, truths, strict=True)):
        union = ((masks.labels > 0) | (truth > 0)).sum()
        print(number, "IoU", round(((masks.labels > 0) & (truth > 0)).sum() / union, 3))
    tiles = [tile(draw_overlay(reference.rgb, mask, 0.5), (200, 40, 40))]
    tiles += [
        tile(draw_overlay(frame.rgb, masks.labels, 0.5))
        for frame, masks in zip(frames, found, strict=True)
    ]
    save(folder / "images_one_to_many.png", [tiles[:4], tiles[4:]])

    balls = [(90, 120, 60), (250, 260, 75), (400, 110, 55)]
    several, _ = draw((360, 480), balls, seed=30)
    ((_, masks),) = vos.segment_images([several], [(reference, mask)], sam, num_instances=5)
    print("instances", masks.present.sum(), "of", len(balls), masks.scores.round(2))
    save(
        folder / "images_instances.png",
        [[tile(several.rgb), tile(draw_overlay(several.rgb, masks.labels, 0.5))]],
    )

    checks = (np.indices(frames[0].frame_hw) // 16).sum(axis=0) % 2
    ground = np.where(checks[..., None] == 1, np.uint8(235), np.uint8(205)).repeat(3, axis=2)
    is_object = found[0].labels[..., None] > 0
    white = np.where(is_object, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    cutout = np.where(is_object, frames[0].rgb, ground)
    save(
        folder / "images_training.png",
        [[tile(frames[0].rgb), tile(white, (128, 128, 128)), tile(cutout)]],
    )


if __name__ == "__main__":
    main()
