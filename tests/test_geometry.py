"""Frame pixels to model pixels and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from vos.errors import InputError
from vos.sam.geometry import (
    Letterbox,
    average_in_cells,
    cells_to_frame,
    low_res_to_frame,
    masks_to_cells,
    resize_for_model,
)

SIDES = st.integers(1, 3000)
LETTERBOXES = st.builds(Letterbox, st.tuples(SIDES, SIDES), st.sampled_from([256, 512, 1024]))


@given(LETTERBOXES)
def test_the_longest_side_fills_the_input(letterbox):
    assert max(letterbox.resized_hw) == letterbox.image_size
    assert min(letterbox.resized_hw) >= 1


@given(LETTERBOXES, st.floats(0, 1), st.floats(0, 1))
def test_points_there_and_back(letterbox, u, v):
    height, width = letterbox.frame_hw
    points = torch.tensor([[u * width, v * height]], dtype=torch.float64)
    there = letterbox.points_to_model(points)
    model_height, model_width = letterbox.resized_hw
    assert (there >= 0).all()
    assert there[0, 0] <= model_width + 1e-6
    assert there[0, 1] <= model_height + 1e-6
    assert (letterbox.points_to_frame(there) - points).abs().max() < 0.5


@given(LETTERBOXES, st.tuples(*[st.floats(0, 3000)] * 4))
def test_boxes_scale_like_their_corners(letterbox, box):
    boxes = torch.tensor([box], dtype=torch.float64)
    corners = letterbox.points_to_model(boxes.view(1, 2, 2)).view(1, 4)
    assert torch.equal(letterbox.boxes_to_model(boxes), corners)


@pytest.mark.parametrize("frame_hw", [(480, 854), (854, 480), (512, 512), (37, 500)])
def test_a_blob_lands_where_it_came_from(frame_hw):
    """A blob's place in the cells, enlarged to the frame, is its place in the frame."""
    letterbox = Letterbox(frame_hw, 512)
    rows, columns = np.mgrid[: frame_hw[0], : frame_hw[1]]
    centre_yx = (frame_hw[0] * 0.6, frame_hw[1] * 0.3)
    blob = np.exp(-((rows - centre_yx[0]) ** 2 + (columns - centre_yx[1]) ** 2) / 40**2)
    resized = resize_for_model((blob * 255).astype(np.uint8), letterbox)
    padded = torch.zeros(1, 1, 512, 512)
    padded[0, 0, : resized.shape[0], : resized.shape[1]] = torch.from_numpy(resized.copy())
    cells = torch.nn.functional.avg_pool2d(padded, 8)[0]
    for back in (cells_to_frame(cells, letterbox), low_res_to_frame(cells, letterbox)):
        assert back.shape == (1, *frame_hw)
        weights = back[0].double().numpy()
        found_yx = (weights * rows).sum() / weights.sum(), (weights * columns).sum() / weights.sum()
        expected_yx = (blob * rows).sum() / blob.sum(), (blob * columns).sum() / blob.sum()
        np.testing.assert_allclose(found_yx, expected_yx, atol=1.0)


def test_resizing_keeps_a_picture_of_the_right_size():
    picture = np.arange(256 * 128 * 3, dtype=np.uint8).reshape(128, 256, 3)
    assert resize_for_model(picture, Letterbox((128, 256), 256)) is picture


def test_cells_above_the_coverage_are_foreground():
    mask = np.zeros((1, 64, 64), dtype=bool)
    mask[0, :, :32] = True
    cells = masks_to_cells(mask, Letterbox((64, 64), 64), (8, 8), 0.5)
    assert cells[0].tolist() == [[True] * 4 + [False] * 4] * 8


@given(st.integers(0, 479), st.integers(0, 853))
def test_a_mask_smaller_than_a_cell_gets_the_cell_it_covers(row, column):
    mask = np.zeros((1, 480, 854), dtype=bool)
    mask[0, row, column] = True
    cells = masks_to_cells(mask, Letterbox((480, 854), 512), (64, 64), 0.575)
    assert cells.sum() == 1
    _, cell_row, cell_column = np.argwhere(cells)[0]
    # The height is rounded to 288 model pixels, so the axes scale a little differently.
    assert abs((cell_row + 0.5) * 8 - (row + 0.5) * 288 / 480) <= 4.001
    assert abs((cell_column + 0.5) * 8 - (column + 0.5) * 512 / 854) <= 4.001


@pytest.mark.parametrize(("frame_hw", "image_size"), [((0, 5), 512), ((5, 5), 0)])
def test_sizes_must_be_positive(frame_hw, image_size):
    with pytest.raises(InputError, match="positive"):
        Letterbox(frame_hw, image_size)


@pytest.mark.parametrize("frame_hw", [(480, 854), (854, 480), (33, 9), (64, 64), (90, 333)])
@pytest.mark.parametrize("num_low", [64, 32, 50])
def test_leaving_out_the_padding_changes_no_enlarged_pixel(frame_hw, num_low):
    letterbox = Letterbox(frame_hw, 128)
    logits = torch.randn(2, num_low, num_low, generator=torch.Generator().manual_seed(0))
    size = (128, 128)
    model = F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)
    height, width = letterbox.resized_hw
    expected = F.interpolate(
        model[..., :height, :width], size=frame_hw, mode="bilinear", align_corners=False
    )
    assert torch.equal(low_res_to_frame(logits, letterbox), expected[:, 0])


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.sampled_from([(64, 8), (64, 24), (256, 64), (100, 33)]),
)
def test_averages_in_cells_are_those_of_the_scaled_picture(frame_hw, sizes):
    side, num_cells = sizes
    letterbox = Letterbox(frame_hw, side)
    maps = torch.rand(2, *frame_hw, generator=torch.Generator().manual_seed(1))
    # One axis at a time and as rows: of columns PyTorch's antialiasing may leave out most.
    scaled = maps[:, None].double()
    for axis, size in enumerate(letterbox.resized_hw):
        rows = scaled.movedim(2 + axis, -1)
        scaled = F.interpolate(
            rows.reshape(1, -1, 1, rows.shape[-1]), size=(1, size), mode="bilinear", antialias=True
        )
        scaled = scaled.view(*rows.shape[:-1], size).movedim(-1, 2 + axis)
    height, width = letterbox.resized_hw
    padded = F.pad(scaled, (0, side - width, 0, side - height))
    expected = F.adaptive_avg_pool2d(padded, num_cells)[:, 0].float()
    averages = average_in_cells(maps, letterbox, (num_cells, num_cells))
    torch.testing.assert_close(averages, expected, atol=1e-5, rtol=1e-5)
