"""Drawn views of a reference."""

import numpy as np
import pytest

from vos.records import Frame
from vos.track.memory.views import draw_views

FRAME_HW = (120, 200)
RED, GREY = (200, 30, 30), 100


def scene(x0, y0, x1, y1):
    """A red rectangle on grey, and its mask."""
    rgb, mask = np.full((*FRAME_HW, 3), GREY, np.uint8), np.zeros(FRAME_HW, bool)
    rgb[y0:y1, x0:x1], mask[y0:y1, x0:x1] = RED, True
    return Frame(3, 0.5, "00003", rgb), mask


def views(frame, mask, num_views=8):
    return list(draw_views(frame, mask, num_views, context=1.8, min_window_share=0.15))


@pytest.mark.parametrize("box", [(80, 40, 120, 80), (0, 0, 30, 50), (180, 60, 200, 90)])
def test_the_mask_goes_where_the_object_goes(box):
    drawn = views(*scene(*box))
    assert drawn
    for view, mask, (x0, y0, x1, y1) in drawn:
        assert view.rgb.shape == (*mask.shape, 3)
        is_red = view.rgb[..., 0].astype(int) > 1.5 * view.rgb[..., 1]
        assert (is_red ^ mask).sum() <= 0.1 * mask.sum() + 12
        in_window = mask[y0:y1, x0:x1]
        assert in_window.sum() == mask.sum()
        assert in_window.shape == (y1 - y0, x1 - x0)


def test_views_differ_in_size_and_light():
    drawn = views(*scene(80, 40, 120, 80))
    areas = [mask.sum() for _, mask, _ in drawn]
    reds = [view.rgb[mask].mean(axis=0)[0] for view, mask, _ in drawn]
    assert max(areas) > 1.3 * min(areas)
    assert np.ptp(reds) > 10


def test_views_are_the_same_each_time_and_leave_the_frame_as_it_is():
    frame, mask = scene(80, 40, 120, 80)
    before = frame.rgb.copy()
    once, again = views(frame, mask), views(frame, mask)
    assert np.array_equal(frame.rgb, before)
    for (one, _, _), (other, _, _) in zip(once, again, strict=True):
        assert np.array_equal(one.rgb, other.rgb)
    assert views(frame, mask, 0) == []
