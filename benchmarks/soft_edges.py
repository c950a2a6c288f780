"""How far hard masks, edges by distance and edges from the logits are from true opacity.

Three shapes move over a textured background, drawn four times as large and averaged, so that the
opacity of every pixel is known: once sharp, and once out of focus. Errors are of 255, over pixels
within a few of the outline or of fractional opacity; of the frames after the reference.

    python benchmarks/soft_edges.py
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rows import append_row, environment

import vos
from vos.masks import write_label_png
from vos.masks.edges import BAND_PX, signed_distance_px, soft_alpha
from vos.run.job import JobOutputs
from vos.sink import write_video

RESULTS = Path(__file__).with_suffix(".csv")
HW = 360, 640
SCALE = 4
COLOURS = ((210, 60, 50), (60, 190, 80), (70, 80, 220))
METHODS = {each.name: each for each in (vos.Memory(), vos.PersamF(), vos.Persam())}


@click.command()
@click.option("--frames", "num_frames", default=10, show_default=True)
def main(num_frames: int) -> None:
    """Print and append one row for each method and each sharpness."""
    sam = vos.load_sam()
    for name, method in METHODS.items():
        for blur_px in (0.0, 1.5):
            with TemporaryDirectory() as folder:
                errors = measure_errors(Path(folder), method, sam, num_frames, blur_px)
            row = {
                **environment(),
                "method": name,
                "frames": num_frames,
                "blur_px": blur_px,
                **{key: round(float(np.mean(values)), 2) for key, values in errors.items()},
            }
            append_row(RESULTS, row)


def measure_errors(
    folder: Path, method: vos.config.Method, sam: vos.SamModel, num_frames: int, blur_px: float
) -> dict[str, list[float]]:
    """Segment the clip, and compare its edges with the truth."""
    drawn = [draw(t, blur_px) for t in range(num_frames)]
    frames = vos.frames_from_arrays((rgb for rgb, _ in drawn), fps=25)
    write_video(folder / "clip.mp4", frames, Fraction(25))
    first = np.zeros(HW, np.uint8)
    for object_id, alpha in enumerate(drawn[0][1], start=1):
        first[alpha >= 0.5] = object_id
    write_label_png(folder / "mask.png", first)
    job = vos.Job(
        source=str(folder / "clip.mp4"),
        references=(vos.Reference(mask=folder / "mask.png"),),
        outputs=JobOutputs(folder=folder / "out", overlay_alpha=None),
        config=vos.RunConfig(method=method, soft=True),
    )
    vos.run_job(job, sam)
    results = vos.read_results(folder / "out")
    errors: dict[str, list[float]] = defaultdict(list)
    for t in range(1, num_frames):
        labels, alphas = results.labels(t), results.alpha(t)
        for object_id, alpha, truth in zip((1, 2, 3), alphas, drawn[t][1], strict=True):
            mask = labels == object_id
            if not mask.any():
                continue
            counts = np.abs(signed_distance_px(mask)) <= BAND_PX + 1
            counts |= (truth > 0) & (truth < 1)
            for name, found in (
                ("hard", mask),
                ("distance", soft_alpha(mask)),
                ("logits", alpha / 255),
            ):
                errors[name].append(255 * float(np.abs(found - truth)[counts].mean()))
    return errors


def draw(t: int, blur_px: float) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """Give a picture, and the opacity of each shape in [0, 1]."""
    height, width = HW
    rng = np.random.default_rng(3)
    coarse = rng.integers(40, 200, (12, 20, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    picture += 2 * cv2.GaussianBlur(rng.normal(0, 30, picture.shape), (0, 0), 1.5)
    texture = 3 * cv2.GaussianBlur(rng.normal(0, 25, picture.shape), (0, 0), 2)
    large = np.zeros((height * SCALE, width * SCALE), np.uint8)
    for object_id, shape in enumerate(shapes(t), start=1):
        corners = np.round(((shape + 0.5) * SCALE - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(large, [corners], object_id, shift=4)
    alphas = []
    for object_id, colour in enumerate(COLOURS, start=1):
        mask = (large == object_id).astype(np.float32)
        alpha = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        if blur_px:
            alpha = cv2.GaussianBlur(alpha, (0, 0), blur_px)
        painted = (np.array(colour) + texture).clip(0, 255)
        picture = picture * (1 - alpha[..., None]) + painted * alpha[..., None]
        alphas.append(alpha)
    picture += np.random.default_rng(100 + t).normal(0, 2, picture.shape)
    return picture.clip(0, 255).round().astype(np.uint8), alphas


def shapes(t: int) -> Iterator[NDArray[np.float64]]:
    """Give the corners of an ellipse, a star and a bar, (N, 2) x and y in frame pixels."""
    height, width = HW
    angles = np.linspace(0, 2 * math.pi, 120, endpoint=False)
    ellipse = np.stack([70 * np.cos(angles), 45 * np.sin(angles)], 1)
    yield turned(ellipse, 0.2 + 0.03 * t, (width / 4 + 2.3 * t, 0.45 * height + 1.1 * t))
    angles = np.linspace(0, 2 * math.pi, 10, endpoint=False)
    radii = np.tile([70, 34], 5)
    star = np.stack([radii * np.cos(angles), radii * np.sin(angles)], 1)
    yield turned(star, 0.05 * t, (0.7 * width - 1.7 * t, 0.35 * height + 0.7 * t))
    bar = np.array([[-80, -14], [80, -14], [80, 14], [-80, 14]], float)
    yield turned(bar, 0.02 * t - 0.1, (width / 2 + 0.9 * t, 0.78 * height - 0.6 * t))


def turned(
    corners: NDArray[np.float64], radians: float, centre_xy: tuple[float, float]
) -> NDArray[np.float64]:
    """Turn around the origin, then move there from the origin."""
    cos, sin = math.cos(radians), math.sin(radians)
    moved: NDArray[np.float64] = corners @ np.array([[cos, sin], [-sin, cos]]) + centre_xy
    return moved


if __name__ == "__main__":
    main()
