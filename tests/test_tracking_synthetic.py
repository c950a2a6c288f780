"""Identities through occlusion, absence and look-alikes, with the embedded weights."""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

import vos
from vos.records import Frame
from vos.synthetic.shapes import Look, make_look

FRAME_HW = (160, 240)
WALL_XYXY = (100, 30, 140, 110)
GOOD_IOU = 0.8
MAX_FRAMES_TO_RETURN = 5
RNG = np.random.default_rng(0)
RED, BLUE = (make_look(RNG, number, has_texture=True) for number in range(2))
RED_RECTANGLE = replace(BLUE, colours=RED.colours)


@dataclass(frozen=True)
class Shape:
    """A textured shape in one frame; one with label 0 is a look-alike."""

    label: int
    look: Look
    centre_xy: tuple[float, float]
    radius_px: float
    angle: float


def texture(rng, rgb, levels):
    """A plain colour with grey and a little coloured unevenness at three scales."""
    picture = np.full((*FRAME_HW, 3), rgb, dtype=np.float32)
    for cell_px, level in zip((60, 16, 4), levels, strict=True):
        cells_hw = FRAME_HW[0] // cell_px + 2, FRAME_HW[1] // cell_px + 2
        grey = rng.normal(0, level, (*cells_hw, 1)) + rng.normal(0, level / 3, (*cells_hw, 3))
        picture += cv2.resize(grey.astype(np.float32), FRAME_HW[::-1])
    return picture


def paint(shape, picture, labels):
    rows, columns = np.indices(FRAME_HW, dtype=np.float32)
    right = (columns - shape.centre_xy[0]) / shape.radius_px
    down = (rows - shape.centre_xy[1]) / shape.radius_px
    cos, sin = math.cos(shape.angle), math.sin(shape.angle)
    x, y = cos * right + sin * down, cos * down - sin * right
    away = shape.look.distance(x, y)
    waves = np.sin(np.stack([x, y], axis=-1) @ shape.look.waves.T).sum(axis=-1)
    share = (0.5 + waves).clip(0, 1)[..., None]
    colour = shape.look.colours[0] * (1 - share) + shape.look.colours[1] * share
    light = (1 - 0.14 * (right + down))[..., None]
    coverage = (0.5 - away * shape.radius_px).clip(0, 1)[..., None]
    picture += coverage * (colour * light - picture)
    labels[away < 0] = shape.label


def draw(scene, *, has_wall=False):
    """Give (frame, exact label map) pairs of a list of shapes per frame, the last on top."""
    rng = np.random.default_rng(0)
    background = texture(rng, (118, 124, 112), (12, 7, 5))
    wall = texture(rng, (70, 62, 58), (8, 12, 8))
    x0, y0, x1, y1 = WALL_XYXY
    clip = []
    for index, shapes in enumerate(scene):
        picture, labels = background.copy(), np.zeros(FRAME_HW, np.uint8)
        for shape in shapes:
            paint(shape, picture, labels)
        if has_wall:
            picture[y0:y1, x0:x1] = wall[y0:y1, x0:x1]
            labels[y0:y1, x0:x1] = 0
        noise = np.random.default_rng(index).normal(0, 2, picture.shape)
        rgb = (picture + noise).round().clip(0, 255).astype(np.uint8)
        clip.append((Frame(index, index / 24, f"{index:05d}", rgb), labels))
    return clip


def track(clip, config=None):
    """Follow a clip, with the defaults if None, and check what holds of any."""
    sam = vos.load_sam("nano", device="cpu", dtype="float32")
    frames, reference = [frame for frame, _ in clip], clip[0][1]
    results = [masks for _, masks in vos.segment_video(frames, reference, sam, config)]
    object_ids = tuple(np.unique(reference)[1:].tolist())
    assert len(results) == len(clip)
    for masks in results:
        assert masks.object_ids == object_ids
        assert len(masks.present) == len(masks.scores) == len(masks.boxes_xyxy) == len(object_ids)
    return results


def ious_of(clip, results, object_id):
    """IoU per frame; of two empty masks 1."""
    ious = []
    for (_, labels), masks in zip(clip, results, strict=True):
        own, found = labels == object_id, masks.labels == object_id
        union = (own | found).sum()
        ious.append((own & found).sum() / union if union else 1.0)
    return np.array(ious)


def check_always_followed(clip, results, object_id):
    ious = ious_of(clip, results, object_id)
    assert ious.min() > GOOD_IOU, f"object {object_id}: {ious.round(2)}"


def check_no_strangers(clip, results):
    """No mask takes more than a few pixels of another object."""
    for index, ((_, labels), masks) in enumerate(zip(clip, results, strict=True)):
        for object_id in masks.object_ids:
            is_strange = (masks.labels == object_id) & (labels > 0) & (labels != object_id)
            assert is_strange.sum() <= 20, f"frame {index}, object {object_id}"


def check_lost_and_found(clip, results, object_id, num_hidden):
    """Followed, absent while hidden, and back in time and to the end."""
    areas_px = np.array([(labels == object_id).sum() for _, labels in clip])
    is_hidden = areas_px == 0
    (hidden,) = np.nonzero(is_hidden)
    assert len(hidden) == num_hidden == hidden[-1] - hidden[0] + 1
    row = results[0].object_ids.index(object_id)
    for index in hidden:
        assert not results[index].present[row], f"present while hidden, in frame {index}"
        assert not (results[index].labels == object_id).any()
        assert results[index].scores[row] == 0
    ious = ious_of(clip, results, object_id)
    before = np.flatnonzero(areas_px[: hidden[0]] >= areas_px[0] / 2)
    assert ious[before].min() > GOOD_IOU, ious.round(2)
    visible = hidden[-1] + 1 + int((areas_px[hidden[-1] + 1 :] >= areas_px[0] / 2).argmax())
    after = ious[visible + MAX_FRAMES_TO_RETURN :]
    assert len(after)
    assert after.min() > GOOD_IOU, ious.round(2)


def behind_a_wall(num_hidden, *, has_bystander):
    places = np.linspace(117, 123, num_hidden + 2)[1:-1]
    path = [84, 92, 100, 108, *places, 132, 140, 148, 156, 164, 172, 180]
    scene = []
    for index, x in enumerate(path):
        shapes = [Shape(1, RED, (x, 70), 16, 0.3 + 0.02 * index)]
        if has_bystander:
            shapes.append(Shape(2, BLUE, (60 + 0.5 * index, 130), 14, 0.1 + 0.03 * index))
        scene.append(shapes)
    return draw(scene, has_wall=True)


@pytest.mark.parametrize("num_hidden", [1, 10, 30])
def test_an_object_is_absent_behind_a_wall_and_found_behind_it(num_hidden):
    clip = behind_a_wall(num_hidden, has_bystander=False)
    check_lost_and_found(clip, track(clip), 1, num_hidden)


def test_an_object_behind_a_wall_does_not_take_over_another_one():
    clip = behind_a_wall(6, has_bystander=True)
    results = track(clip)
    check_lost_and_found(clip, results, 1, 6)
    check_always_followed(clip, results, 2)
    check_no_strangers(clip, results)


def gone_and_back(scale, num_hidden, *, has_bystander):
    """Out through the left side, and in again through the right one, lower."""
    out = [(30 - 10 * index, 60) for index in range(5)]
    back = [(246 - 10 * index, 110 - 2 * index) for index in range(11)]
    scene = []
    for index, centre_xy in enumerate([*out, *[(-90, -90)] * num_hidden, *back]):
        radius_px = 18 if index < len(out) else 18 * scale
        shapes = [Shape(1, RED, centre_xy, radius_px, 0.3 + 0.02 * index)]
        if has_bystander:
            shapes.append(Shape(2, BLUE, (120, 40 + index), 14, 0.1 + 0.03 * index))
        scene.append(shapes)
    return draw(scene)


@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_an_object_comes_back_elsewhere_at_another_scale(scale):
    clip = gone_and_back(scale, 6, has_bystander=False)
    check_lost_and_found(clip, track(clip), 1, 6)


def test_an_object_that_left_does_not_take_over_one_that_stays():
    clip = gone_and_back(1.5, 6, has_bystander=True)
    results = track(clip)
    check_lost_and_found(clip, results, 1, 6)
    check_always_followed(clip, results, 2)
    check_no_strangers(clip, results)


def crossing(other):
    """Two objects that pass each other closely, and overlap in frames 7 to 10."""
    scene = []
    for index in range(20):
        there, back = 80 + 5.5 * index, 170 - 5.5 * index
        scene.append(
            [
                Shape(1, RED, (there, 70), 18, 0.3 + 0.02 * index),
                Shape(2, other, (back, 86), 18, 1.2 - 0.02 * index),
            ]
        )
    return draw(scene)


@pytest.mark.parametrize("other", [RED, RED_RECTANGLE], ids=["twins", "same colours"])
def test_objects_of_one_colour_cross_and_keep_their_ids(other):
    clip = crossing(other)
    results = track(clip)
    for object_id in (1, 2):
        ious = ious_of(clip, results, object_id)
        assert ious[-3:].min() > GOOD_IOU, f"object {object_id}: {ious.round(2)}"
    check_no_strangers(clip[-3:], results[-3:])


def test_without_contests_crossing_twins_lose_more_of_themselves():
    clip = crossing(RED)[:12]
    with_contests = track(clip)
    without = track(clip, vos.RunConfig(memory=vos.MemoryConfig(contests=False)))
    for one, other in zip(with_contests[:7], without[:7], strict=True):
        assert (one.labels == other.labels).all()
    for object_id in (1, 2):
        gain = ious_of(clip, with_contests, object_id) - ious_of(clip, without, object_id)
        assert gain[8:11].mean() > 0.1, gain.round(2)


def test_look_alikes_that_pass_close_by_do_not_take_over():
    """Each of two objects is passed by a shape of its own look that has no mask."""
    scene = []
    for index in range(9):
        scene.append(
            [
                Shape(0, RED, (160 - 11 * index, 122), 16, 1.0),
                Shape(0, BLUE, (70 + 11 * index, 14), 14, 1.0),
                Shape(1, RED, (70 + 11 * index, 90), 16, 0.3 + 0.02 * index),
                Shape(2, BLUE, (170 - 11 * index, 42), 14, 0.3 + 0.02 * index),
            ]
        )
    clip = draw(scene)
    results = track(clip)
    check_always_followed(clip, results, 1)
    check_always_followed(clip, results, 2)
