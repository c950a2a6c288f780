"""Which of a mask's connected parts can be the object's."""

import numpy as np
import pytest
import torch

from vos.records import Frame
from vos.track.memory.correspond import Correspondence
from vos.track.memory.crops import encode_crops
from vos.track.memory.motion import Motion
from vos.track.memory.parts import is_one_piece, large_parts, unlikely_parts

FRAME_HW = (96, 160)
WINDOW_XYXY = (10, 20, 150, 90)
BALL, SHOE, HEAD = (30, 30, 50, 50), (80, 30, 100, 50), (110, 30, 140, 60)
SPECK = (20, 70, 22, 72)


@pytest.fixture(scope="module")
def crop(nano):
    frame = Frame(0, 0.0, "0", np.zeros((*FRAME_HW, 3), np.uint8))
    (only,) = encode_crops(frame, [WINDOW_XYXY], nano)
    return only


def at_rest(area_px, centre_xy=(40, 40), **changes):
    side = np.sqrt(area_px) / 2
    box_xyxy = np.array([*np.subtract(centre_xy, side), *np.add(centre_xy, side)])
    return Motion(box_xyxy, np.zeros(2), float(area_px), **changes)


def dropped(crop, boxes_xyxy, motion, likeness=(), memory=()):
    """Give which of some boxes (frame pixels) are dropped, each as a whole.

    Both of what is known of each box are 0.8 unless given: how like the references it is, and how
    likely the object's by all that is remembered.
    """
    x, y = WINDOW_XYXY[:2]
    logits = torch.full((WINDOW_XYXY[3] - y, WINDOW_XYXY[2] - x), -4.0)
    similarities, probabilities = torch.full((2, len(crop.cells)), 0.8)
    slices = [(slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)) for x0, y0, x1, y1 in boxes_xyxy]
    for each in slices:
        logits[each] = 4
    for cells, values in ((similarities, likeness), (probabilities, memory)):
        for (x0, y0, x1, y1), value in zip(boxes_xyxy, values, strict=False):
            margin = torch.tensor([6, 6])
            is_in = (crop.positions_xy >= torch.tensor([x0, y0]) - margin).all(dim=1)
            is_in &= (crop.positions_xy < torch.tensor([x1, y1]) + margin).all(dim=1)
            cells[is_in] = value
    found = Correspondence(probabilities, similarities)
    result = unlikely_parts(crop, logits, found, motion)
    assert result.shape == logits.shape
    assert not result[logits <= 0].any()
    shares = [result[each].float().mean().item() for each in slices]
    assert set(shares) <= {0, 1}
    return [share == 1 for share in shares]


def test_what_is_too_much_for_the_object_is_dropped(crop):
    assert dropped(crop, [BALL, SHOE], at_rest(400), (0.9, 0.7)) == [False, True]
    assert dropped(crop, [BALL, SHOE], at_rest(400), (0.7, 0.9)) == [True, False]


def test_what_memory_is_less_sure_of_is_dropped(crop):
    alike = (0.8, 0.82)
    assert dropped(crop, [BALL, SHOE], at_rest(400), alike) == [True, False]
    assert dropped(crop, [BALL, SHOE], at_rest(400), alike, (0.9, 0.7)) == [False, True]


def test_parts_that_are_not_too_much_together_stay(crop):
    assert dropped(crop, [BALL, SHOE], at_rest(800)) == [False, False]


def test_of_equal_likeness_the_part_of_the_expected_size_stays(crop):
    assert dropped(crop, [HEAD, BALL], at_rest(400)) == [True, False]
    assert dropped(crop, [HEAD, BALL], at_rest(900)) == [False, True]


def test_the_best_part_stays_even_if_too_large(crop):
    assert dropped(crop, [HEAD, (20, 70, 24, 74)], at_rest(700)) == [False, True]
    assert dropped(crop, [HEAD], at_rest(10)) == [False]


def test_specks_stay_whatever_they_are(crop):
    assert dropped(crop, [BALL, SPECK], at_rest(400), (0.9, 0.1)) == [False, False]


def test_an_empty_mask_has_no_parts(crop):
    assert dropped(crop, [], at_rest(400)) == []


def test_while_objects_cross_the_nearer_part_stays(crop):
    """Else two twins could trade ids."""
    for centre_xy, expected in (((40, 40), [False, True]), ((90, 40), [True, False])):
        motion = at_rest(400, centre_xy, num_frames_contested=2)
        assert dropped(crop, [BALL, SHOE], motion) == expected


def test_an_object_in_one_piece_is_told_from_one_in_two():
    mask = np.zeros((20, 40), dtype=bool)
    mask[2:12, 2:12] = True
    assert is_one_piece(mask)
    mask[15, 35] = True
    assert is_one_piece(mask)
    mask[2:12, 20:25] = True
    assert not is_one_piece(mask)


def test_small_parts_are_dropped_and_large_ones_stay():
    mask = np.zeros((20, 40), dtype=bool)
    mask[2:12, 2:12] = mask[2:12, 20:25] = True
    mask[15, 35] = True
    kept = large_parts(mask)
    assert kept[5, 5]
    assert kept[5, 22]
    assert not kept[15, 35]


def test_an_expected_area_that_one_part_alone_refutes_drops_nothing(crop):
    """An object that comes nearer fast is in several parts larger than it was as a whole."""
    motion = at_rest(area_px=250)
    assert dropped(crop, [BALL, SHOE], motion, likeness=(0.9,)) == [False, False]
    assert dropped(crop, [BALL, SHOE], at_rest(area_px=350), likeness=(0.9,)) == [False, True]
    lost = at_rest(area_px=250, num_frames_lost=3)
    assert dropped(crop, [BALL, SHOE], lost, likeness=(0.9,)) == [False, True]
