"""What a score says: the IoU that masks with such evidence have had."""

from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import vos
from vos.masks import read_mask
from vos.track.memory.trust import Evidence, compare_masks, expected_iou, likeness_of

SHARES = st.floats(0, 1)
EVIDENCE = st.builds(Evidence, SHARES, SHARES, SHARES, SHARES)


@given(EVIDENCE)
def test_a_score_is_a_share(evidence):
    assert 0 < expected_iou(evidence) < 1


@given(EVIDENCE, st.sampled_from(["likeness", "agreement", "correspondence", "stability"]), SHARES)
def test_more_evidence_never_lowers_a_score(evidence, name, other):
    more = replace(evidence, **{name: max(other, getattr(evidence, name))})
    assert expected_iou(more) >= expected_iou(evidence)


def test_the_best_evidence_is_trusted_and_none_is_not():
    assert expected_iou(Evidence(1, 1, 1, 1)) > 0.9
    assert expected_iou(Evidence(0, 0, 0, 0)) < 0.01


def test_what_speaks_for_a_mask_is_measured():
    logits = torch.full((4, 8), -3.0)
    logits[:, :4] = 3.0
    logits[:, 3] = 0.5  # of 16 pixels of the mask 4 are not sure, and none outside is possible
    sam_logits = torch.full((4, 8), -3.0)
    sam_logits[:, :5] = 3.0
    shares = torch.tensor([[1.0, 0.5], [0.0, 0.0]])
    probabilities = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    evidence = compare_masks(0.9, logits, sam_logits, shares, probabilities)
    assert astuple(evidence) == pytest.approx((0.9, 16 / 20, 1.0 / 2.5, 12 / 16))


@pytest.mark.parametrize(
    ("shares", "similarities", "expected"),
    [
        ((1, 1, 0), (0.8, 0.4, 0.9), 0.75),  # the mean of the mask's cells, over 0.8
        ((1, 0.5, 0), (0.8, 0.2, 0.9), 0.75),  # by share
        ((1, 0, 0), (0.9, 0, 0), 1),  # more like it than the reference is to itself
        ((1, 0, 0), (-0.5, 0, 0), 0),
        ((0, 0, 0), (0.9, 0.9, 0.9), 0),
    ],
)
def test_likeness_is_a_share_of_what_the_reference_gives(shares, similarities, expected):
    likeness = likeness_of(torch.tensor(shares).float(), torch.tensor(similarities).float(), 0.8)
    assert likeness == pytest.approx(expected)


def test_masks_of_nothing_have_no_evidence():
    nothing = torch.full((4, 4), -9.0)
    evidence = compare_masks(0.0, nothing, nothing, torch.zeros(2, 2), torch.zeros(2, 2))
    assert astuple(evidence) == (0, 0, 0, 0)


@pytest.mark.portable
def test_scores_are_near_the_ious_of_real_video(shared: Path, nano):
    ious, scores = [], []
    for name in ("blackswan", "kite-surf"):
        annotations = shared / "davis" / "Annotations" / "480p" / name
        truths = [read_mask(path) > 0 for path in sorted(annotations.glob("*.png"))[:8]]
        images = shared / "davis" / "JPEGImages" / "480p" / name
        with vos.open_source(images, end=len(truths)) as frames:
            results = vos.segment_video(frames, truths[0].astype(np.uint8), nano)
            own = [masks for _, masks in results][1:]
        found = [masks.labels > 0 for masks in own]
        ious.append(
            np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(found, truths[1:], strict=True)])
        )
        scores.append(np.mean([masks.scores[0] for masks in own]))
    # A good sequence and a hard one: the order is right, and both are about right.
    assert scores[0] > scores[1] + 0.1
    assert np.abs(np.array(scores) - ious).max() < 0.12
