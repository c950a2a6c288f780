"""How fast vos scores masks, beside a plain transcription of the DAVIS protocol.

Draws 8 sequences at 480p with 1 to 5 moving objects and jittered predictions, scores them both
ways in turn, checks that every J and F is equal to the last bit, and appends one row to
``evaluation.csv`` beside this file:

    python benchmarks/evaluation.py [--rounds N] [--workers N] [--frames N]

The first round of each is a warm-up and not counted. Peak memory is that of a fresh process that
scores once.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import PIL
from PIL import Image
from rows import append_row, environment

import vos
from vos.masks import write_label_png

FRAME_HW = (480, 854)
OBJECTS_PER_SEQUENCE = (1, 2, 3, 4, 5, 1, 2, 3)
NUM_FRAMES = 67  # as DAVIS' sequences have on average
SEED = 7
TABLE = Path(__file__).with_suffix(".csv")


# ---------------------------------------------------------------------------------- the data


@dataclass(frozen=True)
class Blob:
    """A closed curve in polar form around a moving centre, with limbs that swing."""

    centre_xy: np.ndarray
    velocity_xy: np.ndarray
    radius_px: float
    harmonics: np.ndarray  # (n, 2): amplitude relative to the radius, phase
    num_limbs: int

    def draw(self, labels: np.ndarray, object_id: int, frame: int, noise: np.ndarray) -> None:
        """Draw the object as it is in a frame; ``noise`` moves it, grows it and roughens it."""
        shift_xy, growth, roughness = noise[:2], noise[2], noise[3:]
        angle = np.linspace(0, 2 * np.pi, roughness.size, endpoint=False)
        order = np.arange(2, 2 + len(self.harmonics))[:, None]
        amplitude, phase = self.harmonics.T[..., None]
        wave = amplitude * np.cos(order * (angle + frame / 40) + phase + frame / 15)
        radius = self.radius_px * (1 + wave.sum(axis=0)) + growth + roughness
        centre = self.centre_xy + self.velocity_xy * frame + shift_xy
        outline = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        cv2.fillPoly(labels, [np.rint(outline).astype(np.int32)], object_id)
        for limb in range(self.num_limbs):
            swing = 0.5 * np.sin(frame / 6 + 2 * limb) + np.pi * (0.25 + 0.5 * limb)
            tip = centre + 1.7 * self.radius_px * np.array([np.cos(swing), np.sin(swing)])
            thickness = max(3, round(self.radius_px / 5 + growth))
            ends = [tuple(np.rint(point).astype(int).tolist()) for point in (centre, tip)]
            cv2.line(labels, ends[0], ends[1], object_id, thickness)


def random_blob(rng: np.random.Generator) -> Blob:
    height, width = FRAME_HW
    order = np.arange(2, 12)
    return Blob(
        centre_xy=rng.uniform([0.2 * width, 0.2 * height], [0.8 * width, 0.8 * height]),
        velocity_xy=rng.uniform(-3, 3, 2),
        radius_px=rng.uniform(25, 95),
        harmonics=np.stack(
            [rng.normal(0, 0.25, order.size) / order, rng.uniform(0, 2 * np.pi, order.size)], 1
        ),
        num_limbs=int(rng.integers(0, 5)),
    )


def write_sequences(folder: Path, num_frames: int) -> tuple[Path, Path]:
    """Draw all sequences; give the folders of annotations and of results."""
    rng = np.random.default_rng(SEED)
    for number, num_objects in enumerate(OBJECTS_PER_SEQUENCE):
        blobs = [random_blob(rng) for _ in range(num_objects)]
        for part in ("annotations", "results"):
            (folder / part / f"seq{number}").mkdir(parents=True)
        lost_from = rng.integers(10, 3 * num_frames, num_objects)
        for frame in range(num_frames):
            annotation, prediction = np.zeros((2, *FRAME_HW), np.uint8)
            for row, blob in enumerate(blobs):
                # 90 points of outline, each off by a pixel or so: what hand and network give.
                blob.draw(annotation, row + 1, frame, np.r_[0, 0, 0, rng.normal(0, 0.7, 90)])
                if not 0 <= frame - lost_from[row] < 12:
                    offset = np.r_[rng.normal(0, 2, 2), rng.normal(0, 1.5), rng.normal(0, 2, 90)]
                    blob.draw(prediction, row + 1, frame, offset)
            for part, labels in (("annotations", annotation), ("results", prediction)):
                write_label_png(folder / part / f"seq{number}" / f"{frame:05d}.png", labels)
    return folder / "annotations", folder / "results"


# ------------------------------------------------------------- the protocol, word for word


def plain_scores(annotations_dir: Path, results_dir: Path) -> dict[str, np.ndarray]:
    """Score all sequences frame by frame at full size: (T, 2) J and F by object."""
    scores = {}
    for folder in sorted(annotations_dir.iterdir()):
        files = sorted(folder.glob("*.png"))
        num_objects = int(plain_read(files[0]).max())
        rows = [[] for _ in range(num_objects)]
        for path in files[1:-1]:
            annotation = plain_read(path)
            prediction = plain_read(results_dir / folder.name / path.name)
            for number in range(1, num_objects + 1):
                annotated, predicted = annotation == number, prediction == number
                rows[number - 1].append(
                    (plain_j(annotated, predicted), plain_f(annotated, predicted))
                )
        for number in range(1, num_objects + 1):
            scores[f"{folder.name}_{number}"] = np.array(rows[number - 1])
    return scores


def plain_read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def plain_j(annotated: np.ndarray, predicted: np.ndarray) -> float:
    num_union = np.sum(annotated | predicted)
    return np.sum(annotated & predicted) / num_union if num_union else 1.0


def plain_f(annotated: np.ndarray, predicted: np.ndarray) -> float:
    radius = math.ceil(0.008 * np.linalg.norm(annotated.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    annotated_edge, predicted_edge = plain_edge(annotated), plain_edge(predicted)
    near_annotated = cv2.dilate(annotated_edge.astype(np.uint8), disk)
    near_predicted = cv2.dilate(predicted_edge.astype(np.uint8), disk)
    num_annotated, num_predicted = np.sum(annotated_edge), np.sum(predicted_edge)
    if num_annotated == 0 and num_predicted == 0:
        return 1.0
    if num_annotated == 0 or num_predicted == 0:
        return 0.0
    precision = np.sum(predicted_edge * near_annotated) / num_predicted
    recall = np.sum(annotated_edge * near_predicted) / num_annotated
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def plain_edge(mask: np.ndarray) -> np.ndarray:
    right, below, diagonal = np.zeros((3, *mask.shape), bool)
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    edge = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    edge[-1] = mask[-1] ^ right[-1]
    edge[:, -1] = mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = False
    return edge


# ------------------------------------------------------------------------------ measuring


def vos_scores(
    annotations_dir: Path, results_dir: Path, num_workers: int | None
) -> dict[str, np.ndarray]:
    evaluation = vos.evaluate(annotations_dir, results_dir, num_workers=num_workers)
    return {
        name: np.stack([scored.j, scored.f], axis=1)
        for name, scored in evaluation.objects().items()
    }


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def peak_memory_mb(way: str, folder: Path, num_workers: int | None) -> float:
    """Score once in a fresh process and give its peak."""
    arguments = [sys.executable, __file__, "--once", way, "--folder", str(folder)]
    if num_workers is not None:
        arguments += ["--workers", str(num_workers)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def print_own_peak() -> None:
    status = Path("/proc/self/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
    print(peak_kb / 1024)


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--workers", "num_workers", type=click.IntRange(min=1))
@click.option("--frames", "num_frames", type=click.IntRange(min=3), default=NUM_FRAMES)
@click.option("--once", type=click.Choice(["plain", "vos"]), hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(
    rounds: int, num_workers: int | None, num_frames: int, once: str | None, folder: Path | None
) -> None:
    """Measure the evaluation and append one row to benchmarks/evaluation.csv."""
    num_cores = len(os.sched_getaffinity(0))
    if once and folder:
        folders = folder / "annotations", folder / "results"
        if once == "plain":
            plain_scores(*folders)
        else:
            vos_scores(*folders, num_workers)
        print_own_peak()
        return
    with tempfile.TemporaryDirectory() as temporary:
        folders = write_sequences(Path(temporary), num_frames)
        plain_seconds, vos_seconds = [], []
        for number in range(rounds + 1):
            plain_time, plain = timed(lambda: plain_scores(*folders))
            vos_time, ours = timed(lambda: vos_scores(*folders, num_workers))
            is_equal = plain.keys() == ours.keys() and all(
                np.array_equal(plain[name], ours[name]) for name in plain
            )
            if not is_equal:
                raise SystemExit("the results differ")
            click.echo(f"plain {plain_time:.2f} s, vos {vos_time:.2f} s", err=True)
            if number:
                plain_seconds.append(plain_time)
                vos_seconds.append(vos_time)
        peaks = [peak_memory_mb(way, Path(temporary), num_workers) for way in ("plain", "vos")]
    ratios = [slow / fast for slow, fast in zip(plain_seconds, vos_seconds, strict=True)]
    row = {
        **environment(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "cores": num_cores,
        "workers": num_workers or num_cores,
        "frames": len(OBJECTS_PER_SEQUENCE) * (num_frames - 2),
        "objects": sum(OBJECTS_PER_SEQUENCE),
        "rounds": rounds,
        "plain_median_s": f"{statistics.median(plain_seconds):.2f}",
        "plain_min_s": f"{min(plain_seconds):.2f}",
        "plain_max_s": f"{max(plain_seconds):.2f}",
        "vos_median_s": f"{statistics.median(vos_seconds):.2f}",
        "vos_min_s": f"{min(vos_seconds):.2f}",
        "vos_max_s": f"{max(vos_seconds):.2f}",
        "ratio_median": f"{statistics.median(ratios):.1f}",
        "ratio_min": f"{min(ratios):.1f}",
        "ratio_max": f"{max(ratios):.1f}",
        "equal": is_equal,
        "plain_peak_mb": f"{peaks[0]:.0f}",
        "vos_peak_mb": f"{peaks[1]:.0f}",
    }
    append_row(TABLE, row)


if __name__ == "__main__":
    main()
