"""Cells of the padding that stand for their neighbours."""

import numpy as np
import pytest
import torch
from golden_model import TINY, small_sam

import vos
from vos.errors import InputError
from vos.sam.fast.decoder import Positions
from vos.sam.fast.padding import thin_padding
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.synthetic import ClipConfig, make_clip

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("needed_hw", "cells_hw"),
    [
        ((37, 64), (64, 64)),
        ((64, 37), (64, 64)),
        ((1, 64), (64, 64)),
        ((62, 64), (64, 64)),
        ((5, 8), (8, 8)),
        ((20, 11), (64, 64)),
        ((1, 1), (3, 3)),
    ],
)
def test_every_cell_has_one_stand_in_which_is_in_the_middle(needed_hw, cells_hw):
    thinned = thin_padding(needed_hw, cells_hw, CPU)
    height, width = cells_hw
    kept, stand_ins = thinned.kept.numpy(), thinned.stand_ins.numpy()
    assert len(set(kept)) == len(kept) < height * width
    counts = np.bincount(stand_ins, minlength=len(kept))
    np.testing.assert_allclose(np.exp(thinned.log_counts.numpy()), counts, rtol=1e-5)
    assert counts.sum() == height * width

    places_yx = np.stack(np.divmod(np.arange(height * width), width))
    for axis_places in places_yx:
        middles = np.bincount(stand_ins, axis_places) / counts
        np.testing.assert_array_equal(middles, axis_places[kept])

    rows, columns = thinned.exact_hw
    assert rows >= needed_hw[0]
    assert columns >= needed_hw[1]
    exact = np.arange(height * width).reshape(cells_hw)[:rows, :columns].ravel()
    np.testing.assert_array_equal(kept[: rows * columns], exact)
    np.testing.assert_array_equal(stand_ins[exact], np.arange(rows * columns))


def test_a_third_of_the_cells_of_a_wide_frame_is_left_out():
    assert len(thin_padding((37, 64), (64, 64), CPU).kept) < 0.66 * 64 * 64


@pytest.mark.parametrize("needed_hw", [(64, 64), (63, 64), (64, 63)])
def test_a_square_has_nothing_to_thin(needed_hw):
    assert thin_padding(needed_hw, (64, 64), CPU) is None


def prompts(num_objects: int, logits: torch.Tensor | None) -> Prompts:
    points_xy = np.random.default_rng(5).integers(0, 90, (num_objects, 2, 2))
    boxes_xyxy = np.concatenate([points_xy[:, 0], points_xy[:, 0] + 30], axis=1)
    return Prompts(points_xy, np.full((num_objects, 2), POSITIVE), boxes_xyxy, logits)


@pytest.mark.parametrize("frame_hw", [(60, 160), (160, 60)])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("way", ["one by one", "together", "shared"])
def test_cells_that_are_alike_are_decoded_exactly(frame_hw, mask, way, monkeypatch):
    """Where all of the padding is the same, one that counts as nine is nine."""
    if way == "together":  # as on a GPU
        monkeypatch.setattr(
            "vos.sam.fast.decoder.split_objects", lambda count, device: [slice(0, count)]
        )
    torch.manual_seed(3)
    module = small_sam(TINY)
    generator = torch.Generator().manual_seed(4)
    is_wide = frame_hw[0] < frame_hw[1]
    padding = slice(3, 8)  # 160 px are 8 cells, 60 px are three
    position = torch.randn(8, 8, 32, generator=generator)
    features = torch.randn(32, 8, 8, generator=generator)
    logits = 9 * torch.randn(3, 32, 32, generator=generator)
    for maps, times, dimension in ((position, 1, 0), (features, 1, 1), (logits, 4, 1)):
        own = slice(padding.start * times, padding.stop * times)
        maps.narrow(dimension + (not is_wide), own.start, own.stop - own.start).fill_(0.5)
    monkeypatch.setattr(Positions, "encode", lambda self: position.flatten(0, 1))

    exact, thinned = SamModel(module), SamModel(module, skip_padding="decoder")
    letterbox = exact.letterbox(frame_hw)
    asked = prompts(3, logits if mask else None)
    shared = thinned.share(features, letterbox, 1000) if way == "shared" else None
    for only_picture in (False, True):
        expected, decoded = (
            sam.decode(features, asked, letterbox, only_picture=only_picture, shared=known)
            for sam, known in ((exact, None), (thinned, shared))
        )
        torch.testing.assert_close(
            decoded.low_res_logits, expected.low_res_logits, atol=2e-4, rtol=1e-4
        )
        torch.testing.assert_close(
            decoded.predicted_ious, expected.predicted_ious, atol=2e-4, rtol=1e-4
        )


def test_cells_left_out_say_what_their_stand_in_says():
    torch.manual_seed(3)
    sam = SamModel(small_sam(TINY), skip_padding="decoder")
    features = torch.randn(32, 8, 8, generator=torch.Generator().manual_seed(4))
    letterbox = sam.letterbox((60, 160))
    logits = sam.decode(features, prompts(1, None), letterbox).low_res_logits[0, 0]
    below = logits[20:32].unflatten(0, (3, 4)).unflatten(2, (8, 4))
    below = below.transpose(1, 2)[:, :6]  # cell row, cell column, row, column
    for block in (below[:, :3], below[:, 3:6]):
        assert (block == block[1, 1]).all()
    assert not torch.equal(below[0, 0], below[0, 3])


@pytest.mark.parametrize("frame_hw", [(120, 214), (214, 120)])
def test_masks_hardly_change(frame_hw):
    config = ClipConfig(num_frames=2, frame_hw=frame_hw, num_objects=2)
    frames, labels = zip(*make_clip(config), strict=True)
    masks, scores = {}, {}
    for skip_padding in ("none", "decoder", "all"):
        sam = vos.load_sam("nano", device="cpu", skip_padding=skip_padding)
        segmented = vos.segment_video(iter(frames), labels[0], sam, vos.RunConfig.published())
        _, found = list(segmented)[1]
        masks[skip_padding], scores[skip_padding] = found.labels, found.scores
    for skip_padding, least in (("decoder", 0.98), ("all", 0.95)):
        for own_id in (1, 2):
            exact, near = masks["none"] == own_id, masks[skip_padding] == own_id
            assert (exact & near).sum() / (exact | near).sum() > least
    assert len({own.tobytes() for own in scores.values()}) == 3, "nothing was left out"


def test_another_word_is_refused():
    with pytest.raises(InputError, match="none, decoder, all, got 'both'"):
        SamModel(small_sam(TINY), skip_padding="both")
