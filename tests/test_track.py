"""The parts of tracking on their own: similarity, boxes, absence, competition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos.config import AbsenceConfig
from vos.errors import InputError
from vos.masks import mask_box_xyxy
from vos.records import FrameMasks, Targets
from vos.sam.geometry import Letterbox
from vos.track.published.locate import (
    find_peaks,
    frame_similarities,
    peaks_of,
    similarity_maps,
    target_embeddings,
)
from vos.track.published.prior import box_centres, box_prior, fresh_priors, grow_boxes, no_prior
from vos.track.published.refine import tight_boxes
from vos.track.published.segment import accept, merge

SIDES = st.integers(1, 40)


@given(st.integers(0, 2**32 - 1), SIDES, SIDES, st.floats(0, 0.2))
def test_tight_boxes_agree_with_the_plain_one(seed, height, width, share):
    masks = np.random.default_rng(seed).random((3, height, width)) < share
    for box, mask in zip(tight_boxes(masks), masks, strict=True):
        expected = mask_box_xyxy(mask)
        assert box.tolist() == ([0, 0, -1, -1] if expected is None else expected.tolist())


@pytest.mark.parametrize("frame_hw", [(480, 854), (100, 30), (1, 64), (64, 64), (33, 3)])
@pytest.mark.parametrize("where", ["anywhere", "corner", "twice"])
def test_peaks_are_found_without_the_maps(frame_hw, where):
    """In the corner lies a plateau: of its pixels, and of two equal peaks, the first counts."""
    letterbox = Letterbox(frame_hw, 64)
    generator = torch.Generator().manual_seed(sum(frame_hw))
    features = torch.randn(8, 16, 16, generator=generator)
    embeddings = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=1)
    if where != "anywhere":
        features[:, -1, -1] = features[:, 0, 0] = 5 * embeddings[1]
    if where == "twice":
        features[:, 5, 0] = features[:, 0, 5] = 5 * embeddings[2]
    found = find_peaks(embeddings, features, letterbox)
    expected = peaks_of(frame_similarities(embeddings, features, letterbox))
    np.testing.assert_array_equal(found.points_xy, expected.points_xy)
    np.testing.assert_allclose(found.similarities, expected.similarities, atol=1e-6)
    assert found.points_xy.dtype == expected.points_xy.dtype == np.int64


@given(st.tuples(SIDES, SIDES), st.integers(0, 50), st.data())
def test_grown_boxes_hold_the_box_and_stay_in_the_frame(frame_hw, margin_px, data):
    height, width = frame_hw
    x0, x1 = sorted(data.draw(st.tuples(*[st.integers(0, width - 1)] * 2)))
    y0, y1 = sorted(data.draw(st.tuples(*[st.integers(0, height - 1)] * 2)))
    ((gx0, gy0, gx1, gy1),) = grow_boxes(np.array([[x0, y0, x1, y1]]), margin_px, frame_hw)
    assert (gx0, gy0) == (max(0, x0 - margin_px), max(0, y0 - margin_px))
    assert (gx1, gy1) == (min(width, x1 + margin_px), min(height, y1 + margin_px))
    ((cx, cy),) = box_centres(np.array([[gx0, gy0, gx1, gy1]]))
    assert gx0 <= cx <= gx1
    assert gy0 <= cy <= gy1


def test_target_embedding_is_half_mean_half_maximum():
    features = torch.arange(2 * 2 * 3, dtype=torch.float32).view(2, 2, 3)
    cells = np.array([[[True, False, True], [False, False, False]]])
    expected = torch.tensor([(1.0 + 2) / 2, (7.0 + 8) / 2])
    torch.testing.assert_close(target_embeddings(features, cells)[0], expected / expected.norm())


def test_similarity_is_a_cosine():
    features = torch.tensor([[[3.0, 0.0]], [[0.0, -2.0]]])
    maps = similarity_maps(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), features)
    assert maps.tolist() == [[[1, 0]], [[0, -1]]]


def test_merge_takes_the_strongest_and_leaves_the_rejected_out():
    logits = torch.tensor([[[1.0, -1.0, 3.0, 2.0]], [[2.0, -2.0, 1.0, -1.0]]])
    both = merge(logits, np.array([True, True]), (5, 9))
    assert both.tolist() == [[9, 0, 5, 5]]
    assert merge(logits, np.array([False, True]), (5, 9)).tolist() == [[9, 0, 9, 0]]
    assert merge(logits, np.array([False, False]), (5, 9)).tolist() == [[0, 0, 0, 0]]


def targets(peak: float = 0.8, predicted_iou: float = 0.9) -> Targets:
    return Targets(
        (1,),
        torch.ones(1, 1),
        torch.ones(1, 3) / 3,
        np.array([peak], np.float32),
        np.array([predicted_iou], np.float32),
    )


@pytest.mark.parametrize(
    ("is_lost", "similarity", "predicted_iou", "accepted"),
    [
        (False, 0.5, 0.3, True),  # weak evidence is enough to go on
        (True, 0.5, 0.3, False),  # but not to come back
        (True, 0.7, 0.8, True),
        (True, 0.7, 0.5, False),
        (True, 0.5, 0.9, False),
        (False, 0.3, 0.9, False),
        (False, 0.8, 0.1, False),
    ],
)
def test_a_return_needs_more_than_a_continuation(is_lost, similarity, predicted_iou, accepted):
    evidence = np.array([similarity], np.float32), np.array([predicted_iou], np.float32)
    lost = np.array([is_lost])
    assert accept(lost, *evidence, targets(), AbsenceConfig()).tolist() == [accepted]
    assert accept(lost, *evidence, targets(), None).tolist() == [True]


def test_priors_hand_on_boxes_of_present_objects_only():
    masks = FrameMasks(
        labels=np.zeros((4, 4), np.uint8),
        object_ids=(1, 2),
        scores=np.zeros(2, np.float32),
        present=np.array([True, False]),
        boxes_xyxy=np.array([[0, 1, 2, 3], [0, 0, 0, 0]]),
        areas_px=np.array([4, 0]),
    )
    boxed = box_prior(fresh_priors(2), masks)
    assert boxed.has_box.tolist() == [True, False]
    assert boxed.is_lost.tolist() == [False, True]
    assert boxed.boxes_xyxy[0].tolist() == [0, 1, 2, 3]
    free = no_prior(fresh_priors(2), masks)
    assert free.has_box.tolist() == [False, False]
    assert free.is_lost.tolist() == [False, True]


def test_targets_check_their_object_axis():
    with pytest.raises(InputError, match="ascend"):
        Targets((2, 1), torch.ones(2, 1), torch.ones(2, 3), np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="scale_weights has 1 rows for 2 objects"):
        Targets((1, 2), torch.ones(2, 1), torch.ones(1, 3), np.ones(2), np.ones(2))
