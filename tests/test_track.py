"""The parts of tracking on their own: similarity, boxes, absence, competition, hints."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos.config import AbsenceConfig
from vos.errors import InputError
from vos.masks.boxes import box_centres_xy, grow_box_xyxy, tight_boxes_xyxy
from vos.sam.geometry import Letterbox
from vos.track.masks import correct, measure, merge, nothing_found
from vos.track.published.locate import (
    frame_similarities,
    peaks_of,
    similarity_maps,
    target_embeddings,
)
from vos.track.published.prior import hand_on
from vos.track.published.segment import accept
from vos.track.published.targets import Targets

SIDES = st.integers(1, 40)


@given(st.integers(0, 2**32 - 1), SIDES, SIDES, st.floats(0, 0.2))
def test_tight_boxes_agree_with_the_plain_one(seed, height, width, share):
    masks = np.random.default_rng(seed).random((3, height, width)) < share
    for box, mask in zip(tight_boxes_xyxy(masks), masks, strict=True):
        rows, columns = mask.nonzero()
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else None
        assert box.tolist() == (expected or [0, 0, -1, -1])


def test_of_equal_peaks_the_first_counts_whatever_rounding_says():
    """Features that are the same in two corners, whose plateaus rounding must not tell apart."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(8, 16, 16, generator=generator)
    embeddings = torch.nn.functional.normalize(torch.randn(2, 8, generator=generator), dim=1)
    features[:, 0, 0] = features[:, -1, -1] = 5 * embeddings[1]
    maps = frame_similarities(embeddings, features, Letterbox((64, 64), 64))
    for noise in (-4e-7, 0.0, 4e-7):
        peaks = peaks_of(maps + noise * torch.randn(maps.shape, generator=generator).sign())
        assert peaks.points_xy[1].tolist() == [0, 0]
        assert peaks.similarities[1] == pytest.approx(1, abs=1e-5)


@given(st.tuples(SIDES, SIDES), st.integers(0, 50), st.data())
def test_grown_boxes_hold_the_box_and_stay_in_the_frame(frame_hw, margin_px, data):
    height, width = frame_hw
    x0, x1 = sorted(data.draw(st.tuples(*[st.integers(0, width - 1)] * 2)))
    y0, y1 = sorted(data.draw(st.tuples(*[st.integers(0, height - 1)] * 2)))
    box_xyxy = np.array([[x0, y0, x1, y1]])
    ((gx0, gy0, gx1, gy1),) = grow_box_xyxy(box_xyxy, margin_px, frame_hw, beyond_px=1)
    assert (gx0, gy0) == (max(0, x0 - margin_px), max(0, y0 - margin_px))
    assert (gx1, gy1) == (min(width, x1 + margin_px), min(height, y1 + margin_px))
    ((cx, cy),) = box_centres_xy(np.array([[gx0, gy0, gx1, gy1]]))
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
    labels = np.zeros((4, 4), np.uint8)
    labels[1:4, 0:3] = 1
    masks = measure(labels, (1, 2), np.ones(2, np.float32))
    with_box = hand_on(masks, "box")
    assert with_box.has_box.tolist() == [True, False]
    assert with_box.is_lost.tolist() == [False, True]
    assert with_box.boxes_xyxy[0].tolist() == [0, 1, 2, 3]
    without = hand_on(masks, "none")
    assert without.has_box.tolist() == [False, False]
    assert without.is_lost.tolist() == [False, True]


def test_a_reference_replaces_its_objects_and_leaves_the_others():
    """Object 1 moves, object 2 loses a pixel to it, object 3 stays absent."""
    found = measure(np.array([[1, 1, 0, 2, 2]], np.uint8), (1, 2, 3), np.float32([0.5, 0.6, 0.7]))
    masks = correct(found, np.array([[0, 1, 1, 1, 0]], np.uint8))
    assert masks.labels.tolist() == [[0, 1, 1, 1, 2]]
    np.testing.assert_allclose(masks.scores, [1, 0.6, 0], atol=1e-6)
    assert masks.areas_px.tolist() == [3, 1, 0]
    first = correct(nothing_found((1, 5), (1, 2, 3)), found.labels)
    assert first.labels.tolist() == found.labels.tolist()
    assert first.scores.tolist() == [1, 1, 0]


def test_targets_check_their_object_axis():
    with pytest.raises(InputError, match="ascend"):
        Targets((2, 1), torch.ones(2, 1), torch.ones(2, 3), np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="scale_weights has 1 rows for 2 objects"):
        Targets((1, 2), torch.ones(2, 1), torch.ones(1, 3), np.ones(2), np.ones(2))
