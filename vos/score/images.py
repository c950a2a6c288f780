"""IoU and boundary IoU of masks for sets of images, such as PerSeg."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from vos.errors import MaskError, ScoreError
from vos.masks.image_files import BROKEN_IMAGE, open_image
from vos.score.check import fault_error, size_fault
from vos.score.frames import FramePair
from vos.score.measures import Mask
from vos.score.parallel import call_all, checked_workers
from vos.score.scores import Problem, describe
from vos.sets.layout import find_annotations, mask_files

_BOUNDARY_SHARE: Final = 0.02  # of the image's diagonal
_IMAGES_PER_PROCESS: Final = 50  # fewer are scored sooner than another process has started


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
        num_workers: Most processes to work in, this one included; one per core if None.

    Returns:
        IoU and boundary IoU overall, per class and per image.

    Raises:
        InputError: an illegal number of workers, or no name in ``classes``.
        ScoreError: a folder does not exist; images or classes are missing, broken or of another
            size; or nothing is left to score.
    """
    started = time.perf_counter()
    num_workers = checked_workers(num_workers)
    results_dir = Path(results_dir).absolute()
    annotations = find_annotations(Path(gt_dir).absolute(), None, None, classes)
    if not results_dir.is_dir():
        raise ScoreError(f"there is no folder of results {results_dir}")
    pairs = {
        name: _pairs(annotations.annotations_dir / name, results_dir / name, reference_name)
        for name in annotations.sequences
    }
    calls = [(pair,) for pairs_of_class in pairs.values() for pair in pairs_of_class]
    num_useful = math.ceil(len(calls) / _IMAGES_PER_PROCESS)
    results = iter(call_all(_compare, calls, min(num_workers, num_useful)))
    scored: list[ImageClassScore] = []
    problems: list[Problem] = []
    for name, pairs_of_class in pairs.items():
        images: dict[str, Overlap] = {}
        for pair, result in zip(pairs_of_class, islice(results, len(pairs_of_class)), strict=True):
            if isinstance(result, Overlap):
                images[pair.name] = result
            else:
                problems.append(Problem(name, pair.name, result))
        if not pairs_of_class:
            problems.append(Problem(name, None, "is not annotated"))
        if images:
            overlaps = tuple(images.values())
            total = sum(overlaps, start=Overlap(0, 0, 0, 0))
            scored.append(ImageClassScore(name, tuple(images), overlaps, total))
    if problems and not skip_missing:
        raise fault_error(problems)
    if not scored:
        raise ScoreError("\n  ".join(["there is nothing to score:", *describe(problems)]))
    return ImageEvaluation(
        float(np.mean([one.total.iou for one in scored])),
        float(np.mean([one.total.boundary_iou for one in scored])),
        tuple(scored),
        tuple(problems),
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


def _pairs(
    annotated_dir: Path, predicted_dir: Path, reference_name: str | None
) -> tuple[FramePair, ...]:
    files = mask_files(annotated_dir) if annotated_dir.is_dir() else []
    return tuple(
        FramePair(path.stem, path, predicted_dir / path.name)
        for path in files
        if path.stem != reference_name
    )


def _compare(pair: FramePair) -> Overlap | str:
    """Compare two files; what a worker does. A string says why it cannot be done."""
    if not pair.prediction.exists():
        return "no result"
    part = "annotation"
    try:
        annotated = _read_foreground(pair.annotation)
        part = "result"
        predicted = _read_foreground(pair.prediction)
    except MaskError as error:
        return f"{part}: {error}"
    if fault := size_fault(annotated.shape, predicted.shape):
        return fault
    annotated_edge, predicted_edge = boundary_region(annotated), boundary_region(predicted)
    return Overlap(
        int(np.count_nonzero(annotated & predicted)),
        int(np.count_nonzero(annotated | predicted)),
        int(np.count_nonzero(annotated_edge & predicted_edge)),
        int(np.count_nonzero(annotated_edge | predicted_edge)),
    )


def _read_foreground(path: Path) -> Mask:
    """Tell the pixels that are not black."""
    try:
        with open_image(path, ["PNG"]) as image:
            colours = np.asarray(image.convert("RGB"))
    except BROKEN_IMAGE as error:
        raise MaskError(f"cannot be read ({error})") from error
    return np.asarray(colours.any(axis=2))
