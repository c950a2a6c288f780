"""IoU and boundary IoU of sets of images, such as PerSeg."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from vos.errors import MaskError, ScoreError
from vos.masks.image_files import BROKEN_IMAGE, open_image
from vos.score.measures import Mask
from vos.score.pairs import FramePair, find_pairs, read_pair
from vos.score.problems import Problem, Problems, describe
from vos.score.threads import scoring_threads
from vos.sets.layout import find_annotations

_BOUNDARY_SHARE: Final = 0.02  # of the image's diagonal


@dataclass(frozen=True, slots=True)
class Overlap:
    """Pixels in which masks meet.

    Attributes:
        intersection_px: Pixels of both masks.
        union_px: Pixels of one or both.
        boundary_intersection_px: Pixels of both masks' boundary regions.
        boundary_union_px: Pixels of one or both boundary regions.
    """

    intersection_px: int
    union_px: int
    boundary_intersection_px: int
    boundary_union_px: int

    @property
    def iou(self) -> float:
        """Intersection over union, [0, 1]; 1 where both masks are empty."""
        return self.intersection_px / self.union_px if self.union_px else 1.0

    @property
    def boundary_iou(self) -> float:
        """Boundary IoU, [0, 1]; 1 where both masks are empty."""
        if not self.boundary_union_px:
            return 1.0
        return self.boundary_intersection_px / self.boundary_union_px

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.intersection_px + other.intersection_px,
            self.union_px + other.union_px,
            self.boundary_intersection_px + other.boundary_intersection_px,
            self.boundary_union_px + other.boundary_union_px,
        )


@dataclass(frozen=True, slots=True)
class ImageClassScore:
    """One class.

    Attributes:
        name: The class' name.
        image_names: Stems of its N scored images, in order.
        images: The N images' overlaps.
        total: Their sum: the class' IoU and boundary IoU are those of all its pixels.
    """

    name: str
    image_names: tuple[str, ...]
    images: tuple[Overlap, ...]
    total: Overlap


@dataclass(frozen=True, slots=True)
class ImageEvaluation:
    """The result of :func:`vos.evaluate_images`.

    Attributes:
        mean_iou: mIoU, the mean over classes of the class' IoU, [0, 1].
        mean_boundary_iou: The same of boundary IoU.
        classes: The scored classes by name.
        left_out: What could not be scored and was left out.
        seconds: Wall-clock time.
    """

    mean_iou: float
    mean_boundary_iou: float
    classes: tuple[ImageClassScore, ...]
    left_out: tuple[Problem, ...]
    seconds: float

    def remarks(self) -> list[str]:
        """List what a reader of the figures should know: one sentence each, often none."""
        return [f"left out: {line}" for line in describe(self.left_out)]


def evaluate_images(
    gt_dir: str | os.PathLike[str],
    results_dir: str | os.PathLike[str],
    *,
    reference_name: str | None = None,
    classes: Sequence[str] | None = None,
    skip_missing: bool = False,
    num_workers: int | None = None,
) -> ImageEvaluation:
    """Score the masks of a set of images with one object each.

    IoU is taken over all pixels of a class and then averaged over classes, as published results
    on PerSeg are (arXiv 2305.03048). Boundary IoU (arXiv 2103.16562) is the same of
    the masks' boundary regions: their pixels that are at most 0.02 x diagonal from a pixel
    outside; the image's edge counts as outside. Every pixel that is not black is object, in
    palette, grey and colour files alike.

    Args:
        gt_dir: Holds ``<class>/<image>.png``, itself or in a folder ``Annotations``.
        results_dir: Holds masks with the same names.
        reference_name: Stem of the images that served as reference, such as ``"00"``; they are
            not scored.
        classes: Classes to score; all that are annotated if None.
        skip_missing: Leave out what is missing or broken and score the rest. The result lists
            it; its figures compare with no others.
        num_workers: Threads to work in; one per core if None.

    Returns:
        IoU and boundary IoU overall, per class and per image.

    Raises:
        InputError: an illegal number of workers, or no name in ``classes``.
        ScoreError: a folder does not exist; images or classes are missing, broken or of another
            size; or nothing is left to score.
    """
    started = time.perf_counter()

    def select(annotated: Sequence[Path]) -> Sequence[Path]:
        images = [path for path in annotated if path.stem != reference_name]
        if not images:
            raise ScoreError("only the reference is annotated")
        return images

    problems = Problems()
    scored: list[ImageClassScore] = []
    with scoring_threads(num_workers) as threads:
        annotations = find_annotations(Path(gt_dir), None, None, classes)
        for each in find_pairs(annotations, Path(results_dir).absolute(), select, problems):
            overlaps: dict[str, Overlap] = {}
            for pair, result in zip(each.pairs, threads.map(_compare, each.pairs), strict=True):
                if isinstance(result, str):
                    problems.faults.append(Problem(each.name, pair.name, result))
                else:
                    overlaps[pair.name] = result
            if overlaps:
                images = tuple(overlaps.values())
                total = sum(images, start=Overlap(0, 0, 0, 0))
                scored.append(ImageClassScore(each.name, tuple(overlaps), images, total))
    left_out = problems.left_out(len(scored), skip_missing=skip_missing)
    return ImageEvaluation(
        float(np.mean([one.total.iou for one in scored])),
        float(np.mean([one.total.boundary_iou for one in scored])),
        tuple(scored),
        left_out,
        time.perf_counter() - started,
    )


def boundary_region(mask: Mask) -> Mask:
    """Give the part of a mask near its boundary (arXiv 2103.16562).

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool: the mask's pixels whose (2d + 1) x (2d + 1) pixels around are not all of the
        mask, d = 0.02 x diagonal, rounded, at least 1; pixels outside the image are not.
    """
    distance_px = max(1, round(_BOUNDARY_SHARE * math.hypot(*mask.shape)))
    square = np.ones((2 * distance_px + 1,) * 2, np.uint8)
    # As long as no border value is given, cv2 counts the outside as mask.
    inner = cv2.erode(mask.view(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & ~inner.view(np.bool_)


def _compare(pair: FramePair) -> Overlap | str:
    """Compare two files. A string says why it cannot be done."""
    try:
        annotated, predicted = read_pair(pair, _read_foreground)
    except MaskError as error:
        return str(error)
    annotated_edge, predicted_edge = boundary_region(annotated), boundary_region(predicted)
    return Overlap(
        int(np.count_nonzero(annotated & predicted)),
        int(np.count_nonzero(annotated | predicted)),
        int(np.count_nonzero(annotated_edge & predicted_edge)),
        int(np.count_nonzero(annotated_edge | predicted_edge)),
    )


def _read_foreground(path: Path) -> Mask:
    """Mark the pixels that are not black."""
    try:
        with open_image(path, ["PNG"]) as image:
            colours = np.asarray(image.convert("RGB"))
    except BROKEN_IMAGE as error:
        raise MaskError(f"cannot read {path}: {error}") from error
    return np.asarray(colours.any(axis=2))
