"""Padding that is left out of the image encoder."""

import numpy as np
import pytest
import torch
from colour_sam import ColourSam

import vos
from vos.sam.model import SamModel
from vos.synthetic import ClipConfig, make_clip


@pytest.mark.parametrize("hw", [(48, 90), (90, 48), (64, 64), (20, 200)])
def test_left_out_padding_looks_like_padding(hw):
    """The stand-in's cells know nothing of each other, so that nothing may change."""
    picture = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    skipping, whole = SamModel(ColourSam(), skip_padding=True), SamModel(ColourSam())
    for _ in range(2):
        assert torch.equal(skipping.encode([picture]), whole.encode([picture]))


def test_pictures_of_several_shapes_share_a_batch():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*hw, 3), dtype=np.uint8) for hw in ((48, 90), (30, 90))]
    skipping, whole = SamModel(ColourSam(), skip_padding=True), SamModel(ColourSam())
    assert torch.equal(skipping.encode(pictures), whole.encode(pictures))


def test_masks_hardly_change():
    clip = ClipConfig(num_frames=2, frame_hw=(120, 214), num_objects=2)
    frames, labels = zip(*make_clip(clip), strict=True)
    config = vos.RunConfig(method=vos.PersamF(absence=None, fit=vos.FitConfig(num_steps=50)))
    masks, features = [], []
    for skip_padding in (False, True):
        sam = vos.load_sam("nano", device="cpu", skip_padding=skip_padding)
        features.append(sam.encode([frames[1].rgb]))
        segmented = vos.segment_video(iter(frames), labels[0], sam, config)
        masks.append(list(segmented)[1][1].labels)
    assert not torch.equal(*features), "nothing was left out"
    for object_id in (1, 2):
        exact, near = (labels == object_id for labels in masks)
        assert (exact & near).sum() / (exact | near).sum() > 0.95
