"""What a look is prompted with."""

import cv2
import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from vos.masks.boxes import tight_boxes_xyxy
from vos.track.memory.prompts import inmost_xy

SIDES = st.integers(1, 40)


@given(st.integers(0, 2**32 - 1), SIDES, SIDES, st.integers(1, 4), st.booleans())
def test_the_inmost_pixel_is_that_of_the_whole_window(seed, height, width, num_boxes, is_inverse):
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=np.bool_)
    for _ in range(num_boxes):
        (y0, y1), (x0, x1) = (np.sort(rng.integers(0, side + 1, 2)) for side in mask.shape)
        mask[y0:y1, x0:x1] = True
    mask ^= is_inverse
    assume(mask.any())
    logits = torch.from_numpy(rng.normal(size=mask.shape).astype(np.float32))
    depth_px = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    row, column = divmod(int((depth_px * torch.sigmoid(logits).numpy()).argmax()), width)
    box_xyxy = tight_boxes_xyxy(mask[None])[0]
    assert inmost_xy(mask, logits, box_xyxy).tolist() == [column, row]
