"""From pairs to batches of two views A, B of the same object, as the model meets them in videos.

A view is a square as the model gets it: some content, which is 16:9 in half of the views, in the
top left corner and zeros elsewhere. Batch ``i`` depends on the seed and ``i`` alone.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from nano_training.augment import (
    Rng,
    View,
    add_distractor,
    draw_box,
    draw_placing,
    flip,
    recolour,
    render,
)
from nano_training.clips import PADDING, ClipBatch, draw_clips
from nano_training.pairs import Pair, PairSet
from nano_training.shapes import draw_scene

MAX_FRAME_DISTANCE = 12
PREVIOUS_FRAME_DISTANCE = 2
MIN_AREA_SHARE = 0.0015
"""Least share of the view's area that the object must have there."""
BOX_SHARE = 0.85
"""Share of batches of pairs with a box; the others have a point alone."""
NUM_NOISE = 6
TERMINATION_DELAY_SECONDS = 40
"""From SIGTERM to the end of a loader process."""
VIEWS_OF_CLIPS_PER_PAIR = 3
"""Frames of clips that cost as much as a pair, whose two views are decoded twice each."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """N pairs of views; views 2i and 2i + 1 show the same object.

    Attributes:
        images: (2N, S, S, 3) uint8, RGB; ``PADDING`` outside the content.
        masks: (2N, S, S) bool, the object.
        boxes_xyxy: (2N, 4) float32 model pixels, around the object in the frame before.
        noise: (2N, NUM_NOISE) float32 in [0, 1), for what is drawn in the step.
        has_boxes: Whether boxes are prompts, or a point alone.
    """

    images: Tensor
    masks: Tensor
    boxes_xyxy: Tensor
    noise: Tensor
    has_boxes: bool

    @property
    def num_views(self) -> int:
        return len(self.images)

    def split(self, num: int) -> list[Batch]:
        """Give up to ``num`` batches of about as many pairs each."""
        return [
            Batch(
                self.images[rows.flatten()],
                self.masks[rows.flatten()],
                self.boxes_xyxy[rows.flatten()],
                self.noise[rows.flatten()],
                self.has_boxes,
            )
            for rows in torch.arange(len(self.images)).unflatten(0, (-1, 2)).chunk(num)
        ]

    def to(self, device: torch.device) -> Batch:
        """Copy to a device, without waiting where the memory is pinned."""
        return Batch(
            self.images.to(device, non_blocking=True),
            self.masks.to(device, non_blocking=True),
            self.boxes_xyxy.to(device, non_blocking=True),
            self.noise.to(device, non_blocking=True),
            self.has_boxes,
        )

    def pin_memory(self) -> Batch:
        """Copy to memory that a GPU reads by itself."""
        return Batch(
            self.images.pin_memory(),
            self.masks.pin_memory(),
            self.boxes_xyxy.pin_memory(),
            self.noise.pin_memory(),
            self.has_boxes,
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run draws its batches from.

    Attributes:
        pairs: Images on disk; None or an empty set means generated scenes only.
        seed: Seed of everything random.
        num_pairs: Pairs in a batch at ``view_sizes_px[0]``; other sizes get as many as give about
            the same number of pixels.
        view_sizes_px: Sides S, multiples of 32; each batch takes one of them.
        scene_share: Share of generated scenes where there are images too.
        clip_share: Share of batches that are clips, for the prior ``memory``; the others are pairs
            of views, for the published loop.
    """

    pairs: PairSet | None
    seed: int
    num_pairs: int
    view_sizes_px: tuple[int, ...]
    scene_share: float = 0.1
    clip_share: float = 0.0


def draw_batch(recipe: Recipe, index: int) -> Batch | ClipBatch:
    """Draw batch ``index``."""
    rng = np.random.default_rng((recipe.seed, index))
    size_px = int(rng.choice(recipe.view_sizes_px))
    num_pairs = max(1, round(recipe.num_pairs * (recipe.view_sizes_px[0] / size_px) ** 2))
    if recipe.clip_share and rng.random() < recipe.clip_share:
        return draw_clips(recipe.pairs, rng, size_px, VIEWS_OF_CLIPS_PER_PAIR * num_pairs)
    views: list[View] = []
    for _ in range(num_pairs):
        views += _draw_two_views(recipe, rng, size_px)
    images = torch.full((len(views), size_px, size_px, 3), PADDING, dtype=torch.uint8)
    masks = torch.zeros(len(views), size_px, size_px, dtype=torch.bool)
    boxes = torch.zeros(len(views), 4)
    for row, view in enumerate(views):
        height, width = view.mask.shape
        images[row, :height, :width] = torch.from_numpy(view.image)
        masks[row, :height, :width] = torch.from_numpy(view.mask)
        boxes[row] = torch.from_numpy(draw_box(rng, view.previous))
    noise = torch.from_numpy(rng.random((len(views), NUM_NOISE), np.float32))
    return Batch(images, masks, boxes, noise, has_boxes=bool(rng.random() < BOX_SHARE))


class BatchStream(torch.utils.data.IterableDataset[Batch | ClipBatch]):
    """Batches ``start``, ``start + 1``, ... without end, whatever the number of loader processes.

    A loader takes batches from its workers in turn, so that each draws every nth.
    """

    def __init__(self, recipe: Recipe, start: int) -> None:
        self.recipe = recipe
        self.start = start

    def __iter__(self) -> Iterator[Batch | ClipBatch]:
        worker = torch.utils.data.get_worker_info()
        index, step = self.start, 1
        if worker is not None:
            index, step = index + worker.id, worker.num_workers
        while True:
            yield draw_batch(self.recipe, index)
            index += step


def prepare_loader(_worker: int) -> None:
    """Keep a loader process off the cores that train, and let SIGTERM end it late.

    Who ends a run often tells all of its processes. Without a loader it cannot finish its step. But
    a run that failed waits for its loaders, so they must not ignore the signal.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(TERMINATION_DELAY_SECONDS))


def _draw_two_views(recipe: Recipe, rng: Rng, size_px: int) -> list[View]:
    while True:
        is_wide = rng.random() < 0.5
        content_hw = (round(size_px * 9 / 16), size_px) if is_wide else (size_px, size_px)
        if recipe.pairs is None or not recipe.pairs.pairs or rng.random() < recipe.scene_share:
            views = _views_of_scene(rng, content_hw)
        else:
            views = _views_of_pair(recipe.pairs, rng, content_hw)
        least = MIN_AREA_SHARE * content_hw[0] * content_hw[1]
        if all(view.mask.sum() >= least and view.previous.any() for view in views):
            return views


def _views_of_scene(rng: Rng, content_hw: tuple[int, int]) -> list[View]:
    gap = rng.uniform(0.1, 1)
    step = rng.uniform(0, 0.15)
    frames = draw_scene(rng, content_hw, (0.0, gap, gap - step))
    (image_a, labels_a), (image_b, labels_b), (_, labels_before_b) = frames
    object_id = int(rng.choice(np.unique(labels_a[labels_a > 0])))
    mask_a = labels_a == object_id
    return [
        View(image_a, mask_a, mask_a),
        View(image_b, labels_b == object_id, labels_before_b == object_id),
    ]


def _views_of_pair(pairs: PairSet, rng: Rng, content_hw: tuple[int, int]) -> list[View]:
    pair = pairs.draw(rng)
    labels = pair.decode()[1]
    object_ids, areas = np.unique(labels[labels > 0], return_counts=True)
    object_ids = object_ids[areas >= MIN_AREA_SHARE * labels.size]
    if not len(object_ids):
        return _views_of_scene(rng, content_hw)
    object_id = int(rng.choice(object_ids))
    source_a = source_b = _load(pairs, pair, object_id)
    near = pairs.frames_near(pair, MAX_FRAME_DISTANCE)
    if near:
        later = _load(pairs, near[int(rng.integers(len(near)))], object_id)
        source_b = later if later.mask.any() else source_a
    placing_a = draw_placing(rng, source_a.mask, content_hw)
    is_same_camera = bool(near) and rng.random() < 0.7
    placing_b = placing_a if is_same_camera else draw_placing(rng, source_b.mask, content_hw)
    views = [
        render(source, placing, content_hw)
        for source, placing in ((source_a, placing_a), (source_b, placing_b))
    ]
    if rng.random() < 0.35:
        views = add_distractor(views, *pairs.draw(rng).decode(), rng)
    if not is_same_camera and rng.random() < 0.25:
        views[1] = flip(views[1])
    if rng.random() < 0.5:
        views = [flip(view) for view in views]
    return [View(recolour(rng, view.image), view.mask, view.previous) for view in views]


def _load(pairs: PairSet, pair: Pair, object_id: int) -> View:
    """Read an image and its object; the frame before is a neighbouring one of a video, else it."""
    image, labels = pair.decode()
    mask = labels == object_id
    for neighbour in pairs.frames_near(pair, PREVIOUS_FRAME_DISTANCE)[:1]:
        previous = neighbour.decode()[1] == object_id
        if previous.any():
            return View(image, mask, previous)
    return View(image, mask, mask)
