"""From pairs to batches of two views A, B of the same object, as the model meets them in videos.

A view is a square as the model gets it: some content, which is 16:9 in half of the views, in the
top left corner and zeros elsewhere. Batch ``i`` depends on the seed and ``i`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nano_training.pairs import Pair, PairSet
from nano_training.shapes import draw_scene

Rng = np.random.Generator
Image = NDArray[np.uint8]

GROUP_SHARES = {
    "duts": 0.34,
    "coco": 0.22,
    "davis16": 0.24,
    "ccp": 0.05,
    "bsds": 0.03,
    "pets": 0.04,
}
"""How often a group is drawn; any other group counts as ``OTHER_SHARE``."""

OTHER_SHARE = 0.1
MAX_FRAME_DISTANCE = 12
PREVIOUS_FRAME_DISTANCE = 2
MIN_VISIBLE_SHARE = 0.3
"""Part of the object that a view must keep."""
MIN_AREA_SHARE = 0.0015
"""Least share of the view's area that the object must have there."""
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """N pairs of views; views 2i and 2i + 1 show the same object.

    Attributes:
        images: (2N, 3, S, S) float32, normalised, zeros outside the content.
        masks: (2N, S, S) bool, the object.
        boxes_xyxy: (2N, 4) float32 model pixels, around the object in the frame before.
    """

    images: Tensor
    masks: Tensor
    boxes_xyxy: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    image: Image
    mask: NDArray[np.bool_]
    previous: NDArray[np.bool_]


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
    """

    pairs: PairSet | None
    seed: int
    num_pairs: int
    view_sizes_px: tuple[int, ...]
    scene_share: float = 0.1


def draw_batch(recipe: Recipe, index: int) -> Batch:
    """Draw batch ``index``."""
    rng = np.random.default_rng((recipe.seed, index))
    size_px = int(rng.choice(recipe.view_sizes_px))
    num_pairs = max(1, round(recipe.num_pairs * (recipe.view_sizes_px[0] / size_px) ** 2))
    views: list[_View] = []
    for _ in range(num_pairs):
        views += _draw_two_views(recipe, rng, size_px)
    images = torch.zeros(len(views), 3, size_px, size_px)
    masks = torch.zeros(len(views), size_px, size_px, dtype=torch.bool)
    boxes = torch.zeros(len(views), 4)
    for row, view in enumerate(views):
        height, width = view.mask.shape
        image = torch.from_numpy(view.image).permute(2, 0, 1)
        images[row, :, :height, :width] = (image.float() - PIXEL_MEAN) / PIXEL_STD
        masks[row, :height, :width] = torch.from_numpy(view.mask)
        boxes[row] = torch.from_numpy(_draw_box(rng, view.previous))
    return Batch(images, masks, boxes)


class BatchStream(torch.utils.data.IterableDataset[Batch]):
    """Batches ``start``, ``start + 1``, ... without end, for a loader with at most one worker."""

    def __init__(self, recipe: Recipe, start: int) -> None:
        self.recipe = recipe
        self.start = start

    def __iter__(self) -> Iterator[Batch]:
        index = self.start
        while True:
            yield draw_batch(self.recipe, index)
            index += 1


def use_one_thread(_worker: int) -> None:
    """Keep a loader process off the cores that train."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _draw_two_views(recipe: Recipe, rng: Rng, size_px: int) -> list[_View]:
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


def _views_of_scene(rng: Rng, content_hw: tuple[int, int]) -> list[_View]:
    gap = rng.uniform(0.1, 1)
    step = rng.uniform(0, 0.15)
    frames = draw_scene(rng, content_hw, (0.0, gap, gap - step))
    (image_a, labels_a), (image_b, labels_b), (_, labels_before_b) = frames
    object_id = int(rng.choice(np.unique(labels_a[labels_a > 0])))
    mask_a = labels_a == object_id
    return [
        _View(image_a, mask_a, mask_a),
        _View(image_b, labels_b == object_id, labels_before_b == object_id),
    ]


def _views_of_pair(pairs: PairSet, rng: Rng, content_hw: tuple[int, int]) -> list[_View]:
    pair = _draw_pair(pairs, rng)
    image, labels = pair.decode()
    object_ids, areas = np.unique(labels[labels > 0], return_counts=True)
    object_ids = object_ids[areas >= MIN_AREA_SHARE * labels.size]
    if not len(object_ids):
        return _views_of_scene(rng, content_hw)
    object_id = int(rng.choice(object_ids))
    near = pairs.frames_near(pair, MAX_FRAME_DISTANCE)
    if not near:
        mask = labels == object_id
        layers_a = layers_b = (image, mask, mask)
    else:
        layers_a = (image, labels == object_id, _mask_before(pairs, pair, object_id))
        other = near[int(rng.integers(len(near)))]
        other_image, other_labels = other.decode()
        layers_b = (other_image, other_labels == object_id, _mask_before(pairs, other, object_id))
    placing_a = _draw_placing(rng, layers_a[1], content_hw)
    is_same_camera = bool(near) and rng.random() < 0.7
    placing_b = placing_a if is_same_camera else _draw_placing(rng, layers_b[1], content_hw)
    views = [
        _render(layers, placing, content_hw)
        for layers, placing in ((layers_a, placing_a), (layers_b, placing_b))
    ]
    if rng.random() < 0.35:
        views = _add_distractor(views, _draw_pair(pairs, rng), rng)
    if not is_same_camera and rng.random() < 0.25:
        views[1] = _flip(views[1])
    if rng.random() < 0.5:
        views = [_flip(view) for view in views]
    return [_View(_recolour(rng, view.image), view.mask, view.previous) for view in views]


def _draw_pair(pairs: PairSet, rng: Rng) -> Pair:
    groups = pairs.by_group
    names = sorted(groups)
    shares = np.array([GROUP_SHARES.get(name, OTHER_SHARE) for name in names])
    group = groups[names[int(rng.choice(len(names), p=shares / shares.sum()))]]
    return group[int(rng.integers(len(group)))]


def _mask_before(pairs: PairSet, pair: Pair, object_id: int) -> NDArray[np.bool_]:
    """Give the object's mask in a neighbouring frame, or in its own where there is none."""
    near = pairs.frames_near(pair, PREVIOUS_FRAME_DISTANCE)
    for frame in near[:1]:
        mask = frame.decode()[1] == object_id
        if mask.any():
            return mask
    return pair.decode()[1] == object_id


def _draw_placing(
    rng: Rng, mask: NDArray[np.bool_], content_hw: tuple[int, int]
) -> NDArray[np.float64]:
    """Draw the affine map from image pixels to content pixels; it keeps some of the object."""
    height, width = mask.shape
    content_height, content_width = content_hw
    # Largest crop of the content's shape.
    widest = min(width, height * content_width / content_height)
    zoom = 1.0 if rng.random() < 0.4 else rng.uniform(1.0, 2.0)
    scale = zoom * content_width / widest
    if rng.random() < 0.25:
        # Show the whole image and more: the border is mirrored, without a second object there.
        scale = min(content_width / width, content_height / height) * rng.uniform(0.6, 1.0)
    ys, xs = np.nonzero(mask)
    pick = int(rng.integers(len(ys)))
    crop_wh = np.array([content_width, content_height]) / scale
    free_wh = np.array([width, height]) - crop_wh
    corner = np.array([xs[pick], ys[pick]]) - crop_wh * rng.uniform(0.2, 0.8, 2)
    corner = np.clip(corner, np.minimum(free_wh, 0), np.maximum(free_wh, 0))
    angle = rng.uniform(-12, 12) if rng.random() < 0.3 else 0.0
    turn = cv2.getRotationMatrix2D((content_width / 2, content_height / 2), angle, 1.0)
    move = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]], [0, 0, 1]])
    return turn @ move


def _render(
    layers: tuple[Image, NDArray[np.bool_], NDArray[np.bool_]],
    placing: NDArray[np.float64],
    content_hw: tuple[int, int],
) -> _View:
    image, mask, previous = layers
    size_wh = content_hw[::-1]
    scale = float(np.hypot(placing[0, 0], placing[1, 0]))
    if scale < 0.7:
        sigma = 0.4 / scale
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    warped = cv2.warpAffine(
        image, placing, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    inside = cv2.warpAffine(np.ones(mask.shape, np.uint8), placing, size_wh)
    if not inside.all():
        # A mirrored border would show the object again, unlabelled: blur it beyond recognition.
        blurred = cv2.blur(warped, (2 * (min(content_hw) // 6) + 1,) * 2)
        warped = np.where(inside[..., None] > 0, warped, blurred)

    def warp_mask(source: NDArray[np.bool_]) -> NDArray[np.bool_]:
        soft = cv2.warpAffine(source.astype(np.float32), placing, size_wh)
        return soft > 0.5

    warped_mask = warp_mask(mask)
    if warped_mask.sum() < MIN_VISIBLE_SHARE * mask.sum() * scale**2:
        warped_mask[:] = False
    return _View(warped, warped_mask, warp_mask(previous))


def _add_distractor(views: list[_View], pair: Pair, rng: Rng) -> list[_View]:
    """Paste an object of another image into both views, at random places, never over all of it."""
    image, labels = pair.decode()
    ids = np.unique(labels[labels > 0])
    if not len(ids):
        return views
    mask = labels == int(rng.choice(ids))
    ys, xs = np.nonzero(mask)
    centre = np.array([xs.mean(), ys.mean()])
    extent = max(np.ptp(xs), np.ptp(ys)) + 1
    relative = rng.uniform(0.15, 0.5)
    results = []
    for view in views:
        height, width = view.mask.shape
        scale = relative * width / extent * rng.uniform(0.8, 1.25)
        shift = np.array([width, height]) * rng.uniform(0, 1, 2) - scale * centre
        placing = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        pasted = cv2.warpAffine(mask.astype(np.float32), placing, (width, height)) > 0.5
        left = view.mask & ~pasted
        if left.sum() < 0.5 * view.mask.sum():
            results.append(view)
            continue
        texture = cv2.warpAffine(image, placing, (width, height), borderMode=cv2.BORDER_REFLECT)
        results.append(_View(np.where(pasted[..., None], texture, view.image), left, view.previous))
    return results


def _flip(view: _View) -> _View:
    return _View(*(np.fliplr(layer).copy() for layer in (view.image, view.mask, view.previous)))


def _recolour(rng: Rng, image: Image) -> Image:
    """Change brightness, contrast and colour; sometimes blur or drop the colour."""
    result = image.astype(np.float32)
    result = result * rng.uniform(0.75, 1.25) + rng.uniform(-20, 20)
    result *= rng.uniform(0.9, 1.1, 3).astype(np.float32)
    grey = result.mean(axis=2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.04 else rng.uniform(0.7, 1.3)
    result = grey + (result - grey) * saturation
    chance = rng.random()
    if chance < 0.08:
        result = cv2.GaussianBlur(result, (0, 0), rng.uniform(0.5, 1.5))
    elif chance < 0.16:
        # Motion blur along a line.
        length = int(rng.integers(3, 10))
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * (length - 1) / 2
        middle = (length - 1) / 2
        start, end = np.round(middle - reach), np.round(middle + reach)
        cv2.line(kernel, start.astype(int).tolist(), end.astype(int).tolist(), 1.0)
        result = cv2.filter2D(result, -1, kernel / kernel.sum())
    return np.clip(result, 0, 255).astype(np.uint8)


def _draw_box(rng: Rng, previous: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Draw the box of an imperfect mask in the frame before, grown by the run-time margin."""
    ys, xs = np.nonzero(previous)
    box = np.array([xs.min(), ys.min(), xs.max(), ys.max()], np.float32)
    size = np.tile(box[2:] - box[:2] + 1, 2)
    spread = rng.choice([0.03, 0.08, 0.16], p=[0.55, 0.3, 0.15])
    drift = np.tile(rng.normal(0, spread, 2), 2)
    box += size * (drift + rng.normal(0, spread / 2, 4))
    height, width = previous.shape
    margin = width * 10 / 854
    box += np.array([-margin, -margin, margin, margin])
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    limit = np.array([width - 1, height - 1])
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)]).astype(np.float32)
