"""IoU and boundary IoU for sets of images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from score_masks import square, write_masks

import vos
from vos.errors import InputError, ScoreError
from vos.score.iou import boundary_region

CLASSES = {"cup": [square(1), square(1), square(1)], "dog": [square(1), square(1)]}


@pytest.fixture
def two_sets(tmp_path):
    annotations = write_masks(tmp_path / "set/Annotations", CLASSES)
    results = {
        "cup": [square(0), square(255), square(255, x=13)],  # nothing, all, half of it
        "dog": [square(1), square(1)],
    }
    return annotations.parent, write_masks(tmp_path / "results", results)


def test_iou_is_that_of_all_pixels_of_a_class(two_sets):
    evaluation = vos.evaluate_images(*two_sets)
    cup, dog = evaluation.classes
    assert cup.image_names == ("00000", "00001", "00002")
    assert [image.iou for image in cup.images] == [0, 1, 50 / 150]
    assert cup.total.iou == (0 + 100 + 50) / (100 + 100 + 150)
    assert dog.total.iou == 1
    assert evaluation.mean_iou == pytest.approx((150 / 350 + 1) / 2)


def test_boundary_iou_by_hand(two_sets):
    # d = 0.02 x 40 px = 1: a frame of one pixel around the 10 x 10 square, 36 of its pixels.
    cup = vos.evaluate_images(*two_sets).classes[0]
    assert [image.boundary_union_px for image in cup.images] == [36, 36, 36 + 36 - 10]
    assert [image.boundary_intersection_px for image in cup.images] == [0, 36, 10]
    assert cup.total.boundary_iou == 46 / 134


def test_the_reference_is_left_out(two_sets):
    evaluation = vos.evaluate_images(*two_sets, reference_name="00000")
    assert [scored.image_names[0] for scored in evaluation.classes] == ["00001", "00001"]


def test_empty_masks_agree(tmp_path):
    frames = {"cup": [square(0)]}
    annotations = write_masks(tmp_path / "gt", frames)
    evaluation = vos.evaluate_images(annotations, write_masks(tmp_path / "results", frames))
    assert (evaluation.mean_iou, evaluation.mean_boundary_iou) == (1, 1)


def test_colour_masks(two_sets):
    annotations, results = two_sets
    coloured = np.zeros((*square(1).shape, 3), np.uint8)
    coloured[square(1) > 0] = (0, 0, 128)
    Image.fromarray(coloured).save(results / "cup/00000.png")
    assert vos.evaluate_images(annotations, results).classes[0].images[0].iou == 1


@given(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_boundary_region_is_that_of_the_definition(mask):
    padded = np.pad(mask, 1)
    inner = [
        [padded[y : y + 3, x : x + 3].all() for x in range(mask.shape[1])]
        for y in range(mask.shape[0])
    ]
    np.testing.assert_array_equal(boundary_region(mask), mask & ~np.array(inner))


def test_boundary_region_grows_with_the_image():
    region = boundary_region(np.ones((300, 400), bool))  # d = 10
    assert region[:10].all()
    assert not region[10:-10, 10:-10].any()


def test_all_problems_are_reported_together(two_sets):
    annotations, results = two_sets
    (results / "cup/00000.png").unlink()
    (results / "cup/00001.png").write_bytes(b"broken")
    Image.new("L", (5, 4)).save(results / "dog/00000.png")
    with pytest.raises(ScoreError, match="3 problems") as caught:
        vos.evaluate_images(annotations, results)
    for line in (
        "cup, 00000: no result",
        "cup, 00001: result: cannot read",
        "dog, 00000: result is 5 x 4 pixels, the annotation 32 x 24",
    ):
        assert f"\n  {line}" in str(caught.value)
    evaluation = vos.evaluate_images(annotations, results, skip_missing=True)
    assert len(evaluation.left_out) == 3
    assert [scored.image_names for scored in evaluation.classes] == [("00002",), ("00001",)]


def test_nothing_to_score(two_sets):
    annotations, results = two_sets
    with pytest.raises(ScoreError, match="bird: is not annotated"):
        vos.evaluate_images(annotations, results, classes=["bird"])
    with pytest.raises(ScoreError, match="nothing to score"):
        vos.evaluate_images(annotations, results, classes=["bird"], skip_missing=True)
    with pytest.raises(ScoreError, match="no folder of results"):
        vos.evaluate_images(annotations, results / "none")
    with pytest.raises(InputError, match="num_workers"):
        vos.evaluate_images(annotations, results, num_workers=0)


def test_threads_change_nothing(two_sets):
    alone = vos.evaluate_images(*two_sets, num_workers=1)
    assert vos.evaluate_images(*two_sets, num_workers=3).classes == alone.classes


def test_pictures_belong_together_by_name_and_all_others_are_said(two_sets):
    annotations, results = two_sets
    for folder, name in ((annotations / "Annotations", "00001"), (results, "00002")):
        (folder / f"cup/{name}.png").rename(folder / f"cup/{name}.PNG")
    write_masks(results, {"cup/new": [square(1)]})
    (results / "cup/new/00000.png").rename(results / "cup/extra.png")
    evaluation = vos.evaluate_images(annotations, results)
    assert evaluation.classes[0].image_names == ("00000", "00001", "00002")
    assert [problem.reason for problem in evaluation.left_out] == [
        "results that belong to no annotation (1): extra.png"
    ]
