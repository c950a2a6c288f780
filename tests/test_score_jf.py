"""The evaluation of whole folders."""

import json
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image
from score_masks import FRAME_HW, square, write_masks

import vos
from vos.errors import InputError, ScoreError
from vos.score import jf

TWO_OBJECTS = np.maximum(square(1, x=2), square(2, x=18))
MOVING = [square(1, x=x) for x in range(4, 10)]


def shifted(frames, by=1):
    return [np.roll(labels, by, axis=1) for labels in frames]


@pytest.fixture
def two_sets(tmp_path):
    """Folders of annotations and of results: a has one object, b has two."""
    sequences = {"a": MOVING, "b": [TWO_OBJECTS] * 5}
    annotations = write_masks(tmp_path / "gt", sequences)
    results = {name: shifted(frames) for name, frames in sequences.items()}
    return annotations, write_masks(tmp_path / "results", results)


@pytest.mark.parametrize(
    ("kind", "annotations"),
    [("single", "davis"), ("multi", "golden/jf_annotations")],
)
def test_agrees_with_the_official_code(shared, kind, annotations):
    golden = json.loads((shared / "golden/jf.json").read_text())
    names = [key.partition("/")[2] for key in golden if key.startswith(kind)]
    assert names
    evaluation = vos.evaluate(shared / annotations, shared / "golden/jf_results", sequences=names)
    for sequence in evaluation.sequences:
        figures = [list(scored.statistics.measures().values())[1:] for scored in sequence.objects]
        expected = golden[f"{kind}/{sequence.name}"]
        np.testing.assert_allclose(figures, expected, rtol=0, atol=1e-6)
    assert [sequence.name for sequence in evaluation.sequences] == names


def test_first_and_last_frame_do_not_count(two_sets):
    annotations, results = two_sets
    for name in ("00000", "00005"):
        (results / "a" / f"{name}.png").unlink()
    evaluation = vos.evaluate(annotations, results)
    assert evaluation.sequences[0].frame_names == ("00001", "00002", "00003", "00004")
    assert not evaluation.left_out


def test_global_figures_are_means_over_objects(two_sets):
    evaluation = vos.evaluate(*two_sets)
    assert list(evaluation.objects()) == ["a_1", "b_1", "b_2"]
    means = [scored.statistics.j_mean for scored in evaluation.objects().values()]
    assert evaluation.statistics.j_mean == pytest.approx(np.mean(means))
    assert evaluation.sequences[1].statistics.j_mean == pytest.approx(np.mean(means[1:]))
    assert (evaluation.num_objects, evaluation.num_frames) == (3, 4 + 3)


def test_per_frame_scores(two_sets):
    scored = vos.evaluate(*two_sets).objects()["a_1"]
    np.testing.assert_allclose(scored.j, [90 / 110] * 4)  # a 10 x 10 square, one pixel off
    np.testing.assert_array_equal(scored.f, [1] * 4)  # the tolerance is one pixel


def test_sparse_annotation_is_scored_where_it_is(two_sets):
    annotations, results = two_sets
    for name in ("00001", "00003"):
        (annotations / "a" / f"{name}.png").unlink()
    assert vos.evaluate(annotations, results).sequences[0].frame_names == ("00002", "00004")


def test_objects_are_those_of_the_first_annotation(tmp_path):
    late = [square(1), TWO_OBJECTS, TWO_OBJECTS, square(1)]
    annotations = write_masks(tmp_path / "gt", {"a": late})
    results = write_masks(tmp_path / "results", {"a": late})
    evaluation = vos.evaluate(annotations, results)
    assert list(evaluation.objects()) == ["a_1"]
    assert evaluation.sequences[0].unknown_ids == ((2, 2),)
    assert evaluation.remarks() == [
        "a: predicted but not annotated, so counted as background: id 2 (in 2 frames)"
    ]
    assert evaluation.statistics.jf_mean == 1


def test_skipped_ids_are_scored_and_remarked(tmp_path):
    frames = {"a": [square(3)] * 3}
    annotations = write_masks(tmp_path / "gt", frames)
    evaluation = vos.evaluate(annotations, write_masks(tmp_path / "results", frames))
    assert evaluation.num_objects == 3
    assert evaluation.remarks() == [
        "a: scored as the protocol has it, though the first annotation lacks them: id 1, 2"
    ]


def test_an_object_that_is_not_predicted_scores_zero(tmp_path):
    annotations = write_masks(tmp_path / "gt", {"a": [TWO_OBJECTS] * 3})
    results = write_masks(tmp_path / "results", {"a": [square(1, x=2)] * 3})
    scored = vos.evaluate(annotations, results).objects()
    assert scored["a_1"].statistics.jf_mean == 1
    assert scored["a_2"].statistics.jf_mean == 0


def test_an_absent_object_that_is_not_predicted_scores_one(tmp_path):
    frames = {"a": [TWO_OBJECTS, square(1), square(1), square(1)]}
    annotations = write_masks(tmp_path / "gt", frames)
    evaluation = vos.evaluate(annotations, write_masks(tmp_path / "results", frames))
    assert evaluation.objects()["a_2"].statistics.jf_mean == 1


@pytest.mark.parametrize("predicted", [1, 255])
@pytest.mark.parametrize("annotated", [1, 255])
def test_binary_masks_of_either_kind(tmp_path, annotated, predicted):
    annotations = write_masks(tmp_path / "gt", {"a": [square(annotated)] * 4})
    results = write_masks(tmp_path / "results", {"a": [square(predicted)] * 4})
    evaluation = vos.evaluate(annotations, results)
    assert evaluation.statistics.jf_mean == 1
    assert not evaluation.remarks()


def test_year_2016_joins_the_objects(tmp_path):
    annotations = write_masks(tmp_path / "gt", {"a": [TWO_OBJECTS] * 3})
    results = write_masks(
        tmp_path / "results", {"a": [np.where(TWO_OBJECTS, 255, 0).astype("u1")] * 3}
    )
    evaluation = vos.evaluate(annotations, results, year=2016)
    assert list(evaluation.objects()) == ["a_1"]
    assert evaluation.statistics.jf_mean == 1
    assert vos.evaluate(annotations, results).statistics.jf_mean == 0


def test_a_davis_root_and_its_split(two_sets, tmp_path):
    annotations, results = two_sets
    root = tmp_path / "DAVIS"
    shutil.copytree(annotations, root / "Annotations/480p")
    (root / "JPEGImages/480p").mkdir(parents=True)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("b\n")
    for gt_dir in (root, root / "Annotations/480p"):
        evaluation = vos.evaluate(gt_dir, results, split="val")
        assert [sequence.name for sequence in evaluation.sequences] == ["b"]
        assert evaluation.settings.annotations_dir == root / "Annotations/480p"
        assert evaluation.settings.images_dir == root / "JPEGImages/480p"
    with pytest.raises(ScoreError, match="there are: 2017 val"):
        vos.evaluate(root, results, year=2016, split="val")
    with pytest.raises(ScoreError, match="not within a DAVIS root"):
        vos.evaluate(annotations, results, split="val")
    (root / "ImageSets/2017/val.txt").write_text("\n")
    with pytest.raises(ScoreError, match="lists no sequence"):
        vos.evaluate(root, results, split="val")


@pytest.mark.parametrize(
    "layout", ["Annotations", "Annotations/480p", "Annotations/Full-Resolution"]
)
def test_a_root_its_annotations_and_their_resolution_are_the_same(two_sets, tmp_path, layout):
    annotations, results = two_sets
    shutil.copytree(annotations, tmp_path / "root" / layout)
    for gt_dir in ("root", "root/Annotations", f"root/{layout}"):
        evaluation = vos.evaluate(tmp_path / gt_dir, results)
        assert evaluation.num_objects == 3
        assert evaluation.settings.annotations_dir == tmp_path / "root" / layout


def test_480p_is_taken_of_several_resolutions_and_other_choices_are_the_callers(two_sets, tmp_path):
    annotations, results = two_sets
    for name in ("480p", "1080p", "240p"):
        shutil.copytree(annotations, tmp_path / "Annotations" / name)
    evaluation = vos.evaluate(tmp_path, results)
    assert evaluation.settings.annotations_dir == tmp_path / "Annotations/480p"
    shutil.rmtree(tmp_path / "Annotations/480p")
    with pytest.raises(ScoreError, match="several sets: 1080p, 240p; give one"):
        vos.evaluate(tmp_path, results)


def test_results_of_a_part_of_the_set_are_scored_and_the_rest_is_named(two_sets):
    annotations, results = two_sets
    write_masks(annotations, {"c": [square(1)] * 4})
    shutil.rmtree(results / "b")
    evaluation = vos.evaluate(annotations, results)
    assert [sequence.name for sequence in evaluation.sequences] == ["a"]
    assert evaluation.remarks() == ["left out: b, c: no results"]
    with pytest.raises(ScoreError, match="b: no results"):  # who names sequences wants them all
        vos.evaluate(annotations, results, sequences=["a", "b"])
    shutil.rmtree(results / "a")
    with pytest.raises(ScoreError, match="nothing to score:\n  a, b, c: no results"):
        vos.evaluate(annotations, results)


def test_all_problems_are_reported_together(two_sets):
    annotations, results = two_sets
    write_masks(results, {"c": [square(1)]})
    (results / "a/00001.png").unlink()
    (results / "a/00002.png").unlink()
    Image.new("L", (5, 4)).save(results / "a/00003.png")
    Image.new("RGB", FRAME_HW[::-1]).save(results / "a/00004.png")
    content = (results / "b/00002.png").read_bytes()
    (results / "b/00002.png").write_bytes(content[:-20])
    (annotations / "b/00003.png").write_bytes(b"")
    with pytest.raises(ScoreError) as caught:
        vos.evaluate(annotations, results)
    message = str(caught.value)
    assert message.startswith("7 problems, so nothing was scored")
    for line in (
        "a, 00001, 00002: no result",
        "a, 00003: result is 5 x 4 pixels, the annotation 32 x 24",
        "a, 00004: result: ",
        "b, 00002: result: ",
        "b, 00003: annotation: ",
        "c: is not annotated",
    ):
        assert f"\n  {line}" in message


def test_skip_missing_scores_the_rest_and_lists_what_it_left_out(two_sets):
    annotations, results = two_sets
    (results / "a/00002.png").unlink()
    for path in (results / "b").iterdir():
        path.unlink()
    evaluation = vos.evaluate(annotations, results, skip_missing=True)
    assert [sequence.name for sequence in evaluation.sequences] == ["a"]
    assert evaluation.sequences[0].frame_names == ("00001", "00003", "00004")
    assert evaluation.remarks() == [
        "left out: a, 00002: no result",
        "left out: b, 00001, 00002, 00003: no result",
    ]


def test_the_list_of_problems_is_bounded(tmp_path):
    names = [f"s{number:03d}" for number in range(60)]
    annotations = write_masks(tmp_path / "gt", {name: [square(1)] * 3 for name in names})
    for name in names:
        (tmp_path / "results" / name).mkdir(parents=True)
    with pytest.raises(ScoreError, match="60 problems") as caught:
        vos.evaluate(annotations, tmp_path / "results")
    assert len(str(caught.value).splitlines()) < 25
    assert "and 40 more such lines" in str(caught.value)


def test_a_broken_first_annotation(two_sets):
    annotations, results = two_sets
    (annotations / "a/00000.png").write_bytes(b"broken")
    with pytest.raises(ScoreError, match="a, 00000: annotation"):
        vos.evaluate(annotations, results)


def test_sequences_without_anything_to_score_are_left_out(tmp_path):
    sequences = {
        "one": [square(1)],
        "two": [square(1)] * 2,
        "empty": [square(0), square(1), square(1)],
        "three": [square(1)] * 3,
    }
    annotations = write_masks(tmp_path / "gt", sequences)
    results = write_masks(tmp_path / "results", sequences)
    evaluation = vos.evaluate(annotations, results)
    assert [sequence.name for sequence in evaluation.sequences] == ["three"]
    assert evaluation.statistics.j_decay == 0
    assert {problem.sequence: problem.reason for problem in evaluation.left_out} == {
        "one": "needs 3 annotated frames, as the first and last do not count; has 1",
        "two": "needs 3 annotated frames, as the first and last do not count; has 2",
        "empty": "no object in its first annotation",
    }
    with pytest.raises(ScoreError, match="nothing to score"):
        vos.evaluate(annotations, results, sequences=["one", "two"])


def test_chosen_sequences(two_sets):
    annotations, results = two_sets
    write_masks(results, {"c": [square(1)]})  # does not matter where sequences are chosen
    evaluation = vos.evaluate(annotations, results, sequences=["b", "b"])
    assert [sequence.name for sequence in evaluation.sequences] == ["b"]
    with pytest.raises(ScoreError, match="x: is not annotated"):
        vos.evaluate(annotations, results, sequences=["a", "x"])


def test_threads_change_nothing(two_sets):
    alone, together = (vos.evaluate(*two_sets, num_workers=number) for number in (1, 3))
    for name, scored in alone.objects().items():
        np.testing.assert_array_equal(scored.j, together.objects()[name].j)
        np.testing.assert_array_equal(scored.f, together.objects()[name].f)
    assert alone.statistics == together.statistics
    assert [thread for thread in threading.enumerate() if thread.name.startswith("score")] == []


def test_an_error_nobody_foresaw_is_raised_and_ends_the_work(tmp_path, monkeypatch):
    frames = {"a": [square(1)] * 200}
    folders = [write_masks(tmp_path / side, frames) for side in ("gt", "results")]
    num_calls = 0

    def fail(*arguments):
        nonlocal num_calls
        num_calls += 1
        time.sleep(0.01)
        raise ZeroDivisionError

    monkeypatch.setattr(jf, "score_labels", fail)
    with pytest.raises(ZeroDivisionError):
        vos.evaluate(*folders, num_workers=2)
    assert num_calls < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"year": 2018}, "year must be 2016 or 2017, got 2018"),
        ({"num_workers": 0}, "num_workers must be 1 or more, got 0"),
        ({"split": "val", "sequences": ["a"]}, "not both"),
        ({"sequences": []}, "one name or more"),
        ({"sequences": "bear"}, "one name or more"),
    ],
)
def test_illegal_arguments(two_sets, arguments, message):
    with pytest.raises(InputError, match=message):
        vos.evaluate(*two_sets, **arguments)


def test_folders_that_are_not_there(two_sets, tmp_path):
    annotations, results = two_sets
    with pytest.raises(ScoreError, match="no folder of annotations"):
        vos.evaluate(tmp_path / "none", results)
    with pytest.raises(ScoreError, match="no folder of results"):
        vos.evaluate(annotations, tmp_path / "none")
    with pytest.raises(ScoreError, match="give the folder above it"):
        vos.evaluate(annotations / "a", results)
    with pytest.raises(ScoreError, match="give the folder above it"):
        vos.evaluate(annotations, results / "a")
