"""Changes of a view: where its content lies, what else is in it, its colours, its box."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]

MIN_VISIBLE_SHARE = 0.3
"""Part of the object that must stay in view, else its mask comes back empty."""

BOX_MARGIN_SHARE = 10 / 854
"""What a box grows by at run time: 10 pixels of a frame 854 wide."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An image with the object's mask, and its mask in the frame before.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) bool.
        previous: (H, W) bool.
    """

    image: Image
    mask: Mask
    previous: Mask


def draw_placing(rng: Rng, mask: Mask, content_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Draw the affine map from image pixels to content pixels; it keeps some of the object."""
    height, width = mask.shape
    content_height, content_width = content_hw
    # Largest crop of the content's shape.
    widest = min(width, height * content_width / content_height)
    zoom = 1.0 if rng.random() < 0.4 else rng.uniform(1.0, 2.0)
    scale = zoom * content_width / widest
    if rng.random() < 0.25:
        # Show the whole image, and what lies beyond it.
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


def render(source: View, placing: NDArray[np.float64], content_hw: tuple[int, int]) -> View:
    """Lay a source into content of the given size; its mask is empty if too little is in view."""
    image, mask = source.image, source.mask
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

    def warp_mask(full: Mask) -> Mask:
        soft = cv2.warpAffine(full.astype(np.float32), placing, size_wh)
        return soft > 0.5

    warped_mask = warp_mask(mask)
    if warped_mask.sum() < MIN_VISIBLE_SHARE * mask.sum() * scale**2:
        warped_mask[:] = False
    return View(warped, warped_mask, warp_mask(source.previous))


def add_distractor(views: list[View], image: Image, labels: Image, rng: Rng) -> list[View]:
    """Paste an object of another image into all views, at random, never over most of the object."""
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
        results.append(View(np.where(pasted[..., None], texture, view.image), left, view.previous))
    return results


def flip(view: View) -> View:
    """Swap left and right."""
    return View(*(np.fliplr(layer).copy() for layer in (view.image, view.mask, view.previous)))


def recolour(rng: Rng, image: Image) -> Image:
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


def draw_box(rng: Rng, previous: Mask) -> NDArray[np.float32]:
    """Draw the box of an imperfect mask in the frame before, grown by the run-time margin."""
    ys, xs = np.nonzero(previous)
    box = np.array([xs.min(), ys.min(), xs.max(), ys.max()], np.float32)
    size = np.tile(box[2:] - box[:2] + 1, 2)
    spread = rng.choice([0.03, 0.08, 0.16], p=[0.55, 0.3, 0.15])
    drift = np.tile(rng.normal(0, spread, 2), 2)
    box += size * (drift + rng.normal(0, spread / 2, 4))
    height, width = previous.shape
    margin = width * BOX_MARGIN_SHARE
    box += np.array([-margin, -margin, margin, margin])
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    limit = np.array([width - 1, height - 1])
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)]).astype(np.float32)
