"""Clips: moments of one object through windows, as the tracker looks at them.

A window is 1.8 times as large as the object, but the object is known from the frame before: place
and size are off. It is cut where the frame ends, scaled so that its longer side is the model's
input, and padded right and below.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nano_training.augment import Mask, Rng
from nano_training.damage import damage
from nano_training.moments import Moment, box_of, draw_moments
from nano_training.pairs import PairSet

CONTEXT = 1.8
"""Side of a window over the longer side of the object's box, as at run time."""
MIN_WINDOW_SHARE = 0.15
"""Least side of a window over the frame's longer side, as at run time."""
WHOLE_FRAME_SHARE = 0.12
"""How often the window is the whole frame, as it is when a lost object is looked for."""
DAMAGED_SHARE = 0.4
"""How often a damaged mask is the prompt instead of the correspondence."""
STRIDE_PX = 8
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
PADDING = 127
"""What becomes zero when it is normalised."""
NUM_NOISE = 8
LENGTHS, LENGTH_CHANCES = (3, 4, 5), (0.6, 0.25, 0.15)

_OFF_BY, _OFF_CHANCES = (0.03, 0.1, 0.2), (0.5, 0.35, 0.15)
_MIN_VISIBLE_SHARE = 0.35
"""Least part of the object that a window shows."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """N clips of T frames each; the first frame is the reference.

    Attributes:
        images: (N, T, S, S, 3) uint8, RGB; ``PADDING`` outside the content.
        masks: (N, T, S, S) bool.
        windows_xyxy: (N, T, 4) float32 frame pixels.
        contents_hw: (N, T, 2) float32 model pixels, what is not padding.
        believed: (N, T, h, w) float32, damaged shares of the cells.
        is_damaged: (N, T) bool, which frames are prompted by these.
        noise: (N, T, NUM_NOISE) float32 in [0, 1), for what is drawn in the step.
        fits_head: Whether a pixel classifier is fitted to the reference.
    """

    images: Tensor
    masks: Tensor
    windows_xyxy: Tensor
    contents_hw: Tensor
    believed: Tensor
    is_damaged: Tensor
    noise: Tensor
    fits_head: bool

    @property
    def num_views(self) -> int:
        return self.images.shape[0] * self.images.shape[1]

    def split(self, num: int) -> list[ClipBatch]:
        """Give up to ``num`` batches of about as many clips each."""
        return [
            ClipBatch(
                self.images[rows],
                self.masks[rows],
                self.windows_xyxy[rows],
                self.contents_hw[rows],
                self.believed[rows],
                self.is_damaged[rows],
                self.noise[rows],
                self.fits_head,
            )
            for rows in torch.arange(len(self.masks)).chunk(num)
        ]

    def to(self, device: torch.device) -> ClipBatch:
        """Copy to a device, without waiting where the memory is pinned."""
        return ClipBatch(
            self.images.to(device, non_blocking=True),
            self.masks.to(device, non_blocking=True),
            self.windows_xyxy.to(device, non_blocking=True),
            self.contents_hw.to(device, non_blocking=True),
            self.believed.to(device, non_blocking=True),
            self.is_damaged.to(device, non_blocking=True),
            self.noise.to(device, non_blocking=True),
            self.fits_head,
        )

    def pin_memory(self) -> ClipBatch:
        """Copy to memory that a GPU reads by itself."""
        return ClipBatch(
            self.images.pin_memory(),
            self.masks.pin_memory(),
            self.windows_xyxy.pin_memory(),
            self.contents_hw.pin_memory(),
            self.believed.pin_memory(),
            self.is_damaged.pin_memory(),
            self.noise.pin_memory(),
            self.fits_head,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A moment through its window.

    Attributes:
        image: (h, w, 3) uint8 of the content.
        mask: (h, w) bool.
        window_xyxy: (4,) frame pixels.
        believed: (S / 8, S / 8) float32.
    """

    image: NDArray[np.uint8]
    mask: Mask
    window_xyxy: NDArray[np.float64]
    believed: NDArray[np.float32]


def draw_clips(pairs: PairSet | None, rng: Rng, size_px: int, num_views: int) -> ClipBatch:
    """Draw a batch of about ``num_views`` frames in all.

    Args:
        pairs: What clips are made from; None draws shapes.
        rng: Source of everything random.
        size_px: Side S of the views.
        num_views: Frames, of all clips together.
    """
    length = int(rng.choice(LENGTHS, p=LENGTH_CHANCES))
    num_clips = max(1, round(num_views / length))
    clips = [_draw_clip(pairs, rng, size_px, length) for _ in range(num_clips)]
    grid_px = size_px // STRIDE_PX
    images = torch.full((num_clips, length, size_px, size_px, 3), PADDING, dtype=torch.uint8)
    masks = torch.zeros(num_clips, length, size_px, size_px, dtype=torch.bool)
    windows_xyxy = torch.zeros(num_clips, length, 4)
    contents_hw = torch.zeros(num_clips, length, 2)
    believed = torch.zeros(num_clips, length, grid_px, grid_px)
    for n, clip in enumerate(clips):
        for t, seen in enumerate(clip):
            height, width = seen.mask.shape
            images[n, t, :height, :width] = torch.from_numpy(seen.image)
            masks[n, t, :height, :width] = torch.from_numpy(seen.mask)
            windows_xyxy[n, t] = torch.from_numpy(seen.window_xyxy)
            contents_hw[n, t] = torch.tensor([height, width])
            believed[n, t] = torch.from_numpy(seen.believed)
    return ClipBatch(
        images,
        masks,
        windows_xyxy,
        contents_hw,
        believed,
        torch.from_numpy(rng.random((num_clips, length)) < DAMAGED_SHARE),
        torch.from_numpy(rng.random((num_clips, length, NUM_NOISE), np.float32)),
        fits_head=bool(rng.random() < 0.6),
    )


def normalise(images: Tensor) -> Tensor:
    """Turn (B, S, S, 3) uint8 into what the encoder takes, (B, 3, S, S) float32, channels last."""
    return (images.permute(0, 3, 1, 2).float() - PIXEL_MEAN) / PIXEL_STD


def place_window(
    box_xyxy: NDArray[np.float64], frame_hw: tuple[int, ...], context: float
) -> NDArray[np.float64]:
    """Give the (4,) square window around a box, moved and cut to lie within the frame."""
    low_xy, high_xy = box_xyxy[:2], box_xyxy[2:]
    longest = max(frame_hw)
    side = max((high_xy - low_xy).max() * context + context, longest * MIN_WINDOW_SHARE, 8)
    own_wh = np.minimum(side, frame_hw[::-1])
    start = (low_xy + high_xy + 1) / 2 - own_wh / 2
    start = np.clip(start, 0, np.array(frame_hw[::-1]) - own_wh)
    first, last = np.round(start), np.round(start + own_wh)
    return np.concatenate([first, np.minimum(last, frame_hw[::-1])])


def _draw_clip(pairs: PairSet | None, rng: Rng, size_px: int, length: int) -> list[_Seen]:
    while True:
        pair = pairs.draw(rng) if pairs is not None and rng.random() > 0.04 else None
        moments = draw_moments(pairs, rng, pair, length)
        if not moments:
            continue
        clip = [_look(rng, moments[0], size_px, off_by=0.02)]
        for moment in moments[1:]:
            off_by = float(rng.choice(_OFF_BY, p=_OFF_CHANCES))
            clip.append(_look(rng, moment, size_px, off_by))
        if all(np.count_nonzero(seen.mask) >= 12 for seen in clip):
            return clip


def _look(rng: Rng, moment: Moment, size_px: int, off_by: float) -> _Seen:
    """Look at a moment through a window whose place and size are off by a share of the object."""
    own = box_of(moment.mask)
    frame_hw = moment.mask.shape
    size_xy = np.tile(own[2:] - own[:2] + 1, 2)
    window = np.array([0, 0, frame_hw[1], frame_hw[0]], np.float64)
    is_reference = off_by < min(_OFF_BY)
    if is_reference or rng.random() > WHOLE_FRAME_SHARE:
        moved = own + size_xy * (
            np.tile(rng.normal(0, off_by, 2), 2) + rng.normal(0, off_by / 2, 4)
        )
        # What eroded is looked at too closely, what is in doubt from too far away.
        context = CONTEXT * np.exp(rng.normal(0, 1.5 * off_by))
        expected = np.concatenate(
            [np.minimum(moved[:2], moved[2:]), np.maximum(moved[:2], moved[2:])]
        )
        closer = place_window(expected, frame_hw, context)
        x0, y0, x1, y1 = closer.astype(int)
        if np.count_nonzero(moment.mask[y0:y1, x0:x1]) >= _MIN_VISIBLE_SHARE * np.count_nonzero(
            moment.mask
        ):
            window = closer
    x0, y0, x1, y1 = window.astype(int)
    inside = np.s_[y0:y1, x0:x1]
    scale = size_px / max(x1 - x0, y1 - y0)
    content_wh = tuple(max(1, round(scale * side)) for side in (x1 - x0, y1 - y0))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(moment.image[inside]), content_wh, interpolation=how)
    mask, others = (
        cv2.resize(layer[inside].astype(np.uint8) * 255, content_wh, interpolation=how) > 127
        for layer in (moment.mask, moment.others)
    )
    shares, other_shares = (_shares(layer, size_px) for layer in (mask, others))
    return _Seen(image, mask, window, damage(rng, shares, other_shares))


def _shares(mask: Mask, size_px: int) -> NDArray[np.float32]:
    whole = np.zeros((size_px, size_px), np.float32)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    grid_px = size_px // STRIDE_PX
    return whole.reshape(grid_px, STRIDE_PX, grid_px, STRIDE_PX).mean(axis=(1, 3))
