"""Sets of images of one object: same shape, other place, scale, size and background."""

from pathlib import Path

import numpy as np
from colour_sam import PALETTE
from PIL import Image

from vos.masks import write_label_png

SIZES_HW = ((120, 160), (200, 150), (96, 96), (90, 240))


def draw(
    hw: tuple[int, int],
    discs: list[tuple[int, float, float, float]],
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Discs on a background of its own, and their label map.

    Args:
        hw: Height and width in pixels.
        discs: Colour of the palette, which is the label too, x, y and radius as shares of the
            shorter side; x and y count from the left and the top.
        seed: Of the background: a dark gradient with a little noise.
    """
    rng = np.random.default_rng(seed)
    ys, xs = np.indices(hw, dtype=float)
    shade = rng.uniform(0, 25) + rng.uniform(0, 20) * (xs / hw[1]) + rng.normal(0, 2, hw)
    rgb = np.repeat(shade.clip(0, 60)[..., None], 3, axis=2).astype(np.uint8)
    labels = np.zeros(hw, dtype=np.uint8)
    for label, x, y, radius in discs:
        side = min(hw)
        inside = (xs - x * side) ** 2 + (ys - y * side) ** 2 < (radius * side) ** 2
        rgb[inside], labels[inside] = PALETTE[label], label
    return rgb, labels


def image_set(num_images: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """One red disc, each time somewhere else, of another size, on another ground."""
    rng = np.random.default_rng(5)
    pictures = []
    for n in range(num_images):
        disc = (1, rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.65), rng.uniform(0.18, 0.3))
        pictures.append(draw(SIZES_HW[n % len(SIZES_HW)], [disc], seed=n))
    return pictures


def write_perseg(root: Path, num_classes: int = 2, num_images: int = 3) -> None:
    """A set in PerSeg's layout; class n is a disc of the palette's colour n."""
    for label in range(1, num_classes + 1):
        for n in range(num_images):
            rgb, labels = draw(
                SIZES_HW[n % len(SIZES_HW)], [(label, 0.4 + 0.1 * n, 0.5, 0.2 + 0.04 * n)], seed=n
            )
            for folder in ("Images", "Annotations"):
                (root / folder / f"class_{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb).save(root / f"Images/class_{label}/{n:02d}.jpg", quality=95)
            write_label_png(
                root / f"Annotations/class_{label}/{n:02d}.png", (labels > 0) * np.uint8(1)
            )
