"""J and F of single masks, against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial.distance import cdist
from score_masks import square

from vos.score.measures import (
    boundary_f,
    boundary_map,
    boundary_tolerance_px,
    region_j,
    score_labels,
)

SIDES = st.integers(1, 24)
SHAPES = st.tuples(SIDES, SIDES)


@st.composite
def label_maps(draw, values, count=2):
    """Label maps of one size: a few rectangles each, or noise."""
    shape = draw(SHAPES)
    maps = []
    for _ in range(count):
        if draw(st.booleans()):
            maps.append(draw(arrays(np.uint8, shape, elements=st.sampled_from(values))))
            continue
        labels = np.zeros(shape, np.uint8)
        for _ in range(draw(st.integers(0, 4))):
            y, x = (draw(st.integers(0, side - 1)) for side in shape)
            height, width = draw(SHAPES)
            labels[y : y + height, x : x + width] = draw(st.sampled_from(values))
        maps.append(labels)
    return maps


def defined_boundary(mask):
    """Points whose right, lower and lower right neighbours within the frame are not all alike."""
    height, width = mask.shape
    return [
        (y, x)
        for y in range(height)
        for x in range(width)
        if len(set(mask[y : y + 2, x : x + 2].ravel().tolist())) == 2
    ]


def defined_f(annotated, predicted, radius):
    gt, fg = defined_boundary(annotated), defined_boundary(predicted)
    if not gt or not fg:
        return float(len(gt) == len(fg))
    near = cdist(gt, fg, "sqeuclidean") <= radius**2
    precision, recall = near.any(axis=0).sum() / len(fg), near.any(axis=1).sum() / len(gt)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(label_maps([0, 1]))
def test_boundary_is_where_neighbours_differ(maps):
    mask = maps[0].astype(bool)
    assert list(zip(*np.nonzero(boundary_map(mask)), strict=True)) == defined_boundary(mask)


@given(label_maps([0, 1]), st.integers(1, 6))
def test_f_is_that_of_the_definition(maps, radius):
    annotated, predicted = (labels.astype(bool) for labels in maps)
    assert boundary_f(annotated, predicted, radius) == defined_f(annotated, predicted, radius)


@given(label_maps([0, 1, 2, 3, 255]))
def test_cropping_changes_nothing_and_void_is_cleared_from_both(maps):
    annotation, prediction = maps
    j, f = score_labels(annotation, prediction, 2)
    counts = annotation != 255
    for row in range(2):
        annotated, predicted = annotation == row + 1, (prediction == row + 1) & counts
        union = (annotated | predicted).sum()
        assert j[row] == ((annotated & predicted).sum() / union if union else 1)
        assert f[row] == defined_f(annotated, predicted, boundary_tolerance_px(annotation.shape))


def test_void_by_hand():
    annotation = square(1)
    annotation[6:16, 18:20] = 255  # two columns beside the 10 x 10 square
    prediction = square(1)
    prediction[6:16, 18:22] = 1  # covers the void and two columns beyond
    j, f = score_labels(annotation, prediction, 1)
    assert j[0] == 100 / 120
    assert f[0] < 1
    prediction[6:16, 20:22] = 0
    assert [*j, *f] != [1, 1]
    np.testing.assert_array_equal(score_labels(annotation, prediction, 1), [[1], [1]])


def test_an_object_in_neither_mask_is_right():
    np.testing.assert_array_equal(score_labels(square(1), square(1, x=9), 3)[0][1:], [1, 1])
    np.testing.assert_array_equal(score_labels(square(1), square(1, x=9), 3)[1][1:], [1, 1])


@pytest.mark.parametrize(("predicted", "expected"), [("nothing", (0, 0)), ("everything", (0, 1))])
def test_masks_without_boundary(predicted, expected):
    # As in the official code, a mask that fills the frame has no boundary, as an empty one.
    full, empty = np.ones((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    annotation, prediction = (square(1), np.zeros_like(square(1)))
    if predicted == "everything":
        annotation, prediction = empty, full
    j, f = score_labels(annotation, prediction, 1)
    assert (j[0], f[0]) == expected


@pytest.mark.parametrize(
    ("frame_hw", "tolerance_px"),
    [((480, 854), 8), ((300, 400), 4), ((1080, 1920), 18), ((5, 5), 1)],
)
def test_tolerance(frame_hw, tolerance_px):
    assert boundary_tolerance_px(frame_hw) == tolerance_px


@pytest.mark.parametrize("radius", [8, 18, 36])
def test_f_at_the_radii_of_large_frames(radius):
    noise = np.random.default_rng(radius).random((2, 300, 400))
    annotated, predicted = (ndimage.gaussian_filter(part, 20) > 0.5 for part in noise)
    gt, fg = boundary_map(annotated), boundary_map(predicted)
    precision = (ndimage.distance_transform_edt(~gt)[fg] < radius + 1e-9).mean()
    recall = (ndimage.distance_transform_edt(~fg)[gt] < radius + 1e-9).mean()
    assert 0 < precision < 1
    expected = 2 * precision * recall / (precision + recall)
    assert boundary_f(annotated, predicted, radius) == pytest.approx(expected, abs=1e-12)


def test_tolerance_includes_its_radius():
    annotated = np.zeros((40, 40), bool)
    annotated[:, :10] = True
    predicted = np.zeros((40, 40), bool)
    predicted[:, :13] = True
    assert boundary_f(annotated, predicted, 3) == 1
    assert boundary_f(annotated, predicted, 2) == 0
    assert region_j(annotated, predicted) == 10 / 13
