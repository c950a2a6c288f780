"""Where an annotated object is hidden, and how soon it is found again."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from occlusions import Occlusion, find_occlusions, frames_until_found


def occlusions_of(*areas_px):
    return find_occlusions(np.array(areas_px))


def test_an_object_is_hidden_while_its_mask_is_small_or_empty():
    assert occlusions_of(100, 100, 60, 0, 10, 90, 100) == (Occlusion(2, 3, 5),)


def test_an_object_that_goes_away_or_does_not_come_back_is_not_hidden():
    assert occlusions_of(*(100 * 0.97**t for t in range(60))) == ()
    assert occlusions_of(100, 100, 100, 20, 10) == ()


def test_two_occlusions_are_one_if_little_is_between_them():
    near = occlusions_of(*[100] * 3, 20, *[100] * 2, 30, *[100] * 3)
    assert near == (Occlusion(3, 3, 7),)
    far = occlusions_of(*[100] * 3, 20, *[100] * 8, 30, *[100] * 3)
    assert far == (Occlusion(3, 3, 4), Occlusion(12, 12, 13))


def test_frames_until_found_are_counted_from_the_first_visible_one():
    occlusion = Occlusion(1, 1, 3)
    assert frames_until_found(np.array([1, 0.9, 0, 0.4, 0.1, 0.5]), occlusion) == 2
    assert frames_until_found(np.array([1, 0, 0, 0.5, 0]), occlusion) == 0
    assert frames_until_found(np.array([1, 0, 0, 0.4, 0]), occlusion) is None
