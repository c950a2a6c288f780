"""Moments: what a camera sees of one object at three to five times.

They come from videos, or are made from stills: the camera and the object move, turn, come nearer
and bend, the object gets another background, other things pass in front of it or beside it, and the
light changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from nano_training.augment import Image, Mask, Rng, recolour
from nano_training.pairs import Pair, PairSet
from nano_training.shapes import draw_scene

MAX_FRAME_DISTANCE = 25
MAX_APPROACH = 3.0
MIN_AREA_SHARE = 0.002
"""Least share of the frame's area that the object must have in each moment."""
MIN_VISIBLE_SHARE = 0.3
"""Of the object in the first moment; pasted things leave at least so much of it."""
MIN_SHARE_OF_LARGEST = 0.04
"""Least visible area, over the largest of all moments: no object that has all but left."""

_GRID = 4  # points along each side of the net that bends a picture


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A frame with its object.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) bool.
        others: (H, W) bool, other things that have an outline of their own.
    """

    image: Image
    mask: Mask
    others: Mask


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """How something moves in its frame, from moment to moment.

    Attributes:
        placings: For each moment the (3, 3) map from its picture to the frame.
        bends_xy: For each moment a (4, 4, 2) net of displacements, frame pixels.
    """

    placings: tuple[NDArray[np.float64], ...]
    bends_xy: tuple[NDArray[np.float32], ...]


def draw_moments(pairs: PairSet | None, rng: Rng, pair: Pair | None, num: int) -> list[Moment]:
    """Draw moments of one object; the list is empty where they show too little of it.

    Args:
        pairs: What pasted things and backgrounds are drawn from.
        rng: Source of everything random.
        pair: The picture to begin with; None draws shapes.
        num: How many; the first one is the reference.
    """
    if pairs is None or pair is None:
        moments = _of_scene(rng, num)
    else:
        near = pairs.frames_near(pair, MAX_FRAME_DISTANCE)
        is_video = bool(near) and rng.random() < 0.85
        moments = _of_video(pairs, pair, rng, num) if is_video else _of_still(pairs, pair, rng, num)
    if not moments or not _show_enough(moments):
        return []
    if pairs is not None and rng.random() < 0.45:
        moments = _with_passers_by(pairs, moments, rng)
    return _relit(moments, rng)


def box_of(mask: Mask) -> NDArray[np.float64]:
    """Give the (4,) inclusive box of a mask that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float64)


def _show_enough(moments: Sequence[Moment]) -> bool:
    areas = np.array([np.count_nonzero(moment.mask) for moment in moments], np.float64)
    least = max(MIN_AREA_SHARE * moments[0].mask.size, MIN_SHARE_OF_LARGEST * areas.max())
    return bool(areas.min() >= max(least, 12))


def _of_scene(rng: Rng, num: int) -> list[Moment]:
    times = _draw_times(rng, num)
    frames = draw_scene(rng, (216, 320), tuple(times.tolist()))
    object_id = int(rng.choice(np.unique(frames[0][1][frames[0][1] > 0])))
    return [
        Moment(image, labels == object_id, (labels > 0) & (labels != object_id))
        for image, labels in frames
    ]


def _of_video(pairs: PairSet, pair: Pair, rng: Rng, num: int) -> list[Moment]:
    """Take a frame and later or earlier ones that are near one another but not near it."""
    near = pairs.frames_near(pair, MAX_FRAME_DISTANCE)
    number = pairs.number_of(pair)
    goes_on = rng.random() < 0.5
    one_side = [other for other in near if (pairs.number_of(other) > number) == goes_on] or near
    last = int(rng.integers(len(one_side)))
    step = int(rng.integers(1, 4))
    # Nearest first, so that those before it in the list lie between it and the reference.
    picks = sorted({max(0, last - step * i) for i in range(num - 1)})
    picks = [picks[0]] * (num - 1 - len(picks)) + picks
    moments = []
    for frame in (pair, *(one_side[pick] for pick in picks)):
        image, labels = frame.decode()
        mask = labels > 0
        moments.append(Moment(image, mask, np.zeros_like(mask)))
    if rng.random() < 0.5:
        moments = [_flipped(moment) for moment in moments]
    if not moments[0].mask.any() or rng.random() < 0.6:
        return moments
    # A camera that moves otherwise than it did.
    height, width = moments[0].mask.shape
    path = _draw_path(rng, box_of(moments[0].mask), (height, width), num, strength=0.5)
    return [_warped(moment, path, t) for t, moment in enumerate(moments)]


def _of_still(pairs: PairSet, pair: Pair, rng: Rng, num: int) -> list[Moment]:
    image, labels = pair.decode()
    object_ids, areas = np.unique(labels[labels > 0], return_counts=True)
    object_ids = object_ids[areas >= MIN_AREA_SHARE * labels.size]
    if not len(object_ids):
        return []
    mask = labels == int(rng.choice(object_ids))
    still = Moment(image, mask, (labels > 0) & ~mask)
    if rng.random() < 0.5:
        still = _flipped(still)
    mask = still.mask
    box_xyxy = box_of(mask)
    turns = _draw_turns(rng, num) if rng.random() < 0.25 else np.zeros(num)
    stills = [_turned(still, box_xyxy, turn) for turn in turns]
    if rng.random() < 0.4:
        return _on_another_background(pairs, stills, box_xyxy, rng)
    path = _draw_path(rng, box_xyxy, mask.shape, num, strength=1.0)
    return [_warped(moment, path, t) for t, moment in enumerate(stills)]


def _on_another_background(
    pairs: PairSet, stills: Sequence[Moment], box_xyxy: NDArray[np.float64], rng: Rng
) -> list[Moment]:
    """Let object and background move independently of each other."""
    num = len(stills)
    image, labels = pairs.draw(rng).decode()
    frame_hw = labels.shape
    things = labels > 0
    scene = Moment(image, things, np.zeros_like(things))
    around = np.array([0, 0, frame_hw[1] - 1, frame_hw[0] - 1], np.float64)
    scene_path = _draw_path(rng, around, frame_hw, num, strength=0.3)
    path = _draw_path(rng, box_xyxy, frame_hw, num, strength=1.0)
    size_px = (box_xyxy[2:] - box_xyxy[:2]).max() + 1
    scale = rng.uniform(0.15, 0.6) * max(frame_hw) / size_px
    centre_xy = (box_xyxy[:2] + box_xyxy[2:]) / 2
    start_xy = np.array(frame_hw[::-1]) * rng.uniform(0.2, 0.8, 2)
    # Shrink about the object's centre, then put that where it starts.
    shrink = np.array(
        [
            [scale, 0, start_xy[0] - scale * centre_xy[0]],
            [0, scale, start_xy[1] - scale * centre_xy[1]],
            [0, 0, 1],
        ]
    )
    back = np.array(
        [[1, 0, centre_xy[0] - start_xy[0]], [0, 1, centre_xy[1] - start_xy[1]], [0, 0, 1]]
    )
    placings = tuple(np.linalg.inv(back) @ placing @ back @ shrink for placing in path.placings)
    own_path = _Path(placings, path.bends_xy)
    moments = []
    for t, still in enumerate(stills):
        behind = _warped(scene, scene_path, t)
        maps = _sampling_maps(own_path, t, frame_hw)
        front = _sample(still.image, maps, cv2.BORDER_REPLICATE)
        alpha = _sample(still.mask.astype(np.uint8) * 255, maps, cv2.BORDER_CONSTANT)
        mask = alpha > 127
        blend = cv2.GaussianBlur(alpha, (0, 0), 0.7)[..., None].astype(np.float32) / 255
        mixed = behind.image + blend * (front.astype(np.float32) - behind.image)
        moments.append(Moment(mixed.astype(np.uint8), mask, behind.mask & ~mask))
    return moments


def _with_passers_by(pairs: PairSet, moments: list[Moment], rng: Rng) -> list[Moment]:
    """Paste a thing that passes beside the object, or in front of it."""
    image, labels = pairs.draw(rng).decode()
    ids = np.unique(labels[labels > 0])
    if not len(ids):
        return moments
    mask = labels == int(rng.choice(ids))
    box_xyxy = box_of(mask)
    centre_xy = (box_xyxy[:2] + box_xyxy[2:]) / 2
    extent_px = (box_xyxy[2:] - box_xyxy[:2]).max() + 1
    start_xy, way_xy = rng.uniform(-1.2, 1.2, 2), rng.uniform(-1, 1, 2)
    relative = rng.uniform(0.3, 1.3)
    passed = []
    for t, moment in enumerate(moments):
        own = box_of(moment.mask)
        size_px = (own[2:] - own[:2]).max() + 1
        scale = relative * size_px / extent_px
        target_xy = (own[:2] + own[2:]) / 2 + size_px * (
            start_xy + way_xy * t / max(1, len(moments) - 1)
        )
        placing = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
        placing[:, 2] = target_xy - scale * centre_xy
        size_wh = moment.mask.shape[::-1]
        pasted = cv2.warpAffine(mask.astype(np.uint8) * 255, placing, size_wh) > 127
        left = moment.mask & ~pasted
        if np.count_nonzero(left) < MIN_VISIBLE_SHARE * np.count_nonzero(moment.mask):
            passed.append(moment)
            continue
        texture = cv2.warpAffine(image, placing, size_wh, borderMode=cv2.BORDER_REPLICATE)
        mixed = np.where(pasted[..., None], texture, moment.image)
        passed.append(Moment(mixed, left, moment.others | pasted))
    return passed


def _relit(moments: Sequence[Moment], rng: Rng) -> list[Moment]:
    """Change colours and light: for the whole clip alike, sometimes from moment to moment."""
    seed = int(rng.integers(2**31))
    changes = rng.random() < 0.35
    relit = []
    for moment in moments:
        own = rng if changes else np.random.default_rng(seed)
        image = recolour(own, moment.image)
        if changes and rng.random() < 0.4:
            image = _shaded(image, rng)
        relit.append(Moment(image, moment.mask, moment.others))
    return relit


def _shaded(image: Image, rng: Rng) -> Image:
    """Light it from one side."""
    height, width = image.shape[:2]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
    across = np.linspace(-np.cos(angle), np.cos(angle), width, dtype=np.float32)
    down = np.linspace(-np.sin(angle), np.sin(angle), height, dtype=np.float32)
    gain = 1 + strength * (across + down[:, None]) / 2
    return np.clip(image * gain[..., None], 0, 255).astype(np.uint8)


def _draw_times(rng: Rng, num: int) -> NDArray[np.float64]:
    """Draw times in [0, 1]: the first is 0, the others are near one another at any distance."""
    step = rng.uniform(0.02, 0.15)
    first = rng.uniform(0.05, 1 - step * (num - 2))
    return np.array([0.0, *(first + step * i for i in range(num - 1))])


def _draw_turns(rng: Rng, num: int) -> NDArray[np.float64]:
    return _draw_times(rng, num) * rng.uniform(0.1, 0.5) * rng.choice([-1, 1])


def _turned(moment: Moment, box_xyxy: NDArray[np.float64], turn: float) -> Moment:
    """Move the object's texture within its outline by a share of its width, as a turn does.

    What leaves at one side is gone; what comes in at the other is a mirrored part of it.
    """
    if not turn:
        return moment
    x0, y0, x1, y1 = box_xyxy.astype(int)
    inside = np.s_[y0 : y1 + 1, x0 : x1 + 1]
    texture = moment.image[inside]
    width = texture.shape[1]
    columns = np.arange(width) + round(turn * width)
    columns = np.abs(columns)
    columns = np.minimum(columns, 2 * (width - 1) - columns).clip(0)
    image = moment.image.copy()
    image[inside] = np.where(moment.mask[inside][..., None], texture[:, columns], texture)
    return Moment(image, moment.mask, moment.others)


def _draw_path(
    rng: Rng,
    box_xyxy: NDArray[np.float64],
    frame_hw: tuple[int, ...],
    num: int,
    strength: float,
) -> _Path:
    """Draw a motion about a box: shift, turn, shear, approach and bending."""
    times = _draw_times(rng, num)
    centre_xy = (box_xyxy[:2] + box_xyxy[2:]) / 2
    size_px = (box_xyxy[2:] - box_xyxy[:2]).max() + 1
    approach = np.exp(strength * rng.normal(0, 0.12))
    if rng.random() < 0.35 * strength:
        approach = MAX_APPROACH ** rng.uniform(-1, 1)
    # Never smaller than it is: beyond its edges a picture shows nothing.
    start = max(1.0, 1 / approach)
    angle = strength * rng.normal(0, 12) + (rng.uniform(-40, 40) if rng.random() < 0.15 else 0)
    shear = strength * rng.normal(0, 0.08)
    way_xy = strength * size_px * rng.normal(0, 0.25, 2)
    bend_xy = strength * size_px * rng.normal(0, 0.06, (_GRID, _GRID, 2))
    placings, bends_xy = [], []
    for time in times:
        turn = np.eye(3)
        scale = start * approach**time
        turn[:2] = cv2.getRotationMatrix2D(tuple(centre_xy), angle * time, scale)
        slant = np.eye(3)
        slant[0, 1], slant[0, 2] = shear * time, -shear * time * centre_xy[1]
        move = np.eye(3)
        move[:2, 2] = way_xy * time + strength * size_px * rng.normal(0, 0.03, 2)
        placings.append(move @ turn @ slant)
        bends_xy.append((bend_xy * time).astype(np.float32))
    return _Path(tuple(placings), tuple(bends_xy))


def _sampling_maps(path: _Path, t: int, frame_hw: tuple[int, ...]) -> tuple[Image, Image]:
    """Give for each frame pixel where in the picture it comes from, as cv2.remap takes it."""
    height, width = frame_hw
    inverse = np.linalg.inv(path.placings[t])
    bend = cv2.resize(path.bends_xy[t], (width, height), interpolation=cv2.INTER_CUBIC)
    xs = np.arange(width, dtype=np.float32) + bend[..., 0]
    ys = np.arange(height, dtype=np.float32)[:, None] + bend[..., 1]
    (a, b, c), (d, e, f) = inverse[:2].astype(np.float32)
    return cv2.convertMaps(a * xs + b * ys + c, d * xs + e * ys + f, cv2.CV_16SC2)


def _sample(layer: Image, maps: tuple[Image, Image], border: int) -> Image:
    return cv2.remap(layer, *maps, cv2.INTER_LINEAR, borderMode=border)


def _warped(moment: Moment, path: _Path, t: int) -> Moment:
    frame_hw = moment.mask.shape
    maps = _sampling_maps(path, t, frame_hw)
    image = _sample(moment.image, maps, cv2.BORDER_REFLECT_101)
    inside = _sample(np.full(frame_hw, 255, np.uint8), maps, cv2.BORDER_CONSTANT) > 127
    if not inside.all():
        # A mirrored border would show the object again, unlabelled: blur it beyond recognition.
        blurred = cv2.blur(image, (2 * (min(frame_hw) // 6) + 1,) * 2)
        image = np.where(inside[..., None], image, blurred)
    mask, others = (
        _sample(layer.astype(np.uint8) * 255, maps, cv2.BORDER_CONSTANT) > 127
        for layer in (moment.mask, moment.others)
    )
    return Moment(image, mask, others)


def _flipped(moment: Moment) -> Moment:
    return Moment(
        *(np.fliplr(layer).copy() for layer in (moment.image, moment.mask, moment.others))
    )
