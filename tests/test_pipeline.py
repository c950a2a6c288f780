"""Clips end to end, with a stand-in model that segments by colour."""

import itertools
import threading

import numpy as np
import pytest
import torch
from colour_sam import PALETTE, ColourSam
from PIL import Image

import vos
from vos.errors import DamagedSourceError, DeviceError, InputError, MaskError, SourceError
from vos.masks import mask_box_xyxy
from vos.segment.forward import segment_steps

HEIGHT, WIDTH = 120, 200
SIDE = 36


@pytest.fixture(scope="module")
def sam() -> vos.SamModel:
    return vos.SamModel(ColourSam(256))


def draw(places: dict[int, tuple[int, int] | None]) -> tuple[np.ndarray, np.ndarray]:
    """Squares of the palette's colours at (x, y), and their label map."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for object_id, place in places.items():
        if place is not None:
            x, y = place
            rgb[y : y + SIDE, x : x + SIDE] = PALETTE[object_id]
            labels[y : y + SIDE, x : x + SIDE] = object_id
    return rgb, labels


def clip(num_frames: int = 12, gone: range = range(0)) -> list[tuple[np.ndarray, np.ndarray]]:
    """Three squares; the second leaves during ``gone`` and returns elsewhere."""
    return [
        draw(
            {
                1: (5 + 2 * t, 10),
                2: None if t in gone else ((150, 20) if t < gone.start else (20, 75)),
                3: (110 - 3 * t, 72),
            }
        )
        for t in range(num_frames)
    ]


def run(pictures, sam, config=None):
    frames = vos.frames_from_arrays(rgb for rgb, _ in pictures)
    return [masks for _, masks in vos.segment_video(frames, pictures[0][1], sam, config)]


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    union = (ours | theirs).sum()
    return (ours & theirs).sum() / union if union else 1.0


def every_method(*methods):
    return pytest.mark.parametrize("config", [vos.RunConfig(method=each) for each in methods])


@every_method(vos.PersamF(prior="none"), vos.PersamF(), vos.Persam(), vos.Memory())
def test_every_object_is_followed(sam, config):
    pictures = clip()
    for masks, (_, truth) in zip(run(pictures, sam, config), pictures, strict=True):
        assert masks.object_ids == (1, 2, 3)
        for object_id in masks.object_ids:
            assert iou(masks.labels == object_id, truth == object_id) > 0.85


@every_method(vos.Memory(), vos.PersamF(prior="none"))
def test_an_object_that_leaves_and_returns_keeps_all_identities(sam, config):
    gone = range(4, 8)
    pictures = clip(gone=gone)
    for t, (masks, (_, truth)) in enumerate(zip(run(pictures, sam, config), pictures, strict=True)):
        assert masks.present.tolist() == [True, t not in gone, True]
        for row, object_id in enumerate(masks.object_ids):
            assert iou(masks.labels == object_id, truth == object_id) > 0.85
            if masks.present[row]:
                assert masks.scores[row] > 0.5
            else:
                assert masks.scores[row] == 0


def test_the_first_result_is_the_reference_itself(sam):
    pictures = clip(2)
    first = run(pictures, sam)[0]
    np.testing.assert_array_equal(first.labels, pictures[0][1])
    assert first.scores.tolist() == [1, 1, 1]


def test_results_measure_their_label_map(sam):
    for masks in run(clip(4, gone=range(2, 3)), sam):
        for row, object_id in enumerate(masks.object_ids):
            own = masks.labels == object_id
            assert masks.areas_px[row] == own.sum()
            box = mask_box_xyxy(own)
            assert masks.boxes_xyxy[row].tolist() == ([0, 0, 0, 0] if box is None else box.tolist())


def test_object_ids_are_kept_as_given(sam):
    pictures = [(rgb, np.where(labels > 0, labels * 70, 0)) for rgb, labels in clip(3)]
    results = run(pictures, sam)
    assert results[-1].object_ids == (70, 140, 210)
    assert set(np.unique(results[-1].labels)) == {0, 70, 140, 210}


def test_published_settings_never_test_for_absence(sam):
    """The stand-in finds something wherever it is asked, so what left becomes the background."""
    gone = range(4, 8)
    results = run(clip(gone=gone), sam, vos.RunConfig.published())
    assert all(masks.present.all() for masks in results)
    for t in gone:
        assert results[t].areas_px[1] > HEIGHT * WIDTH / 2


def test_a_tiny_object_gives_finite_results(sam):
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    rgb[50:53, 60:63] = PALETTE[1]
    reference = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    reference[51, 61] = 1
    for masks in run([(rgb, reference)] * 3, sam):
        assert np.isfinite(masks.scores).all()


@pytest.mark.parametrize("batch_size", [2, 5])
@pytest.mark.parametrize("num_read_ahead", [0, 3])
def test_batches_and_reading_ahead_do_not_change_the_masks(sam, batch_size, num_read_ahead):
    pictures = clip(7, gone=range(3, 5))
    one_by_one = run(pictures, sam, vos.RunConfig(method=vos.PersamF(batch_size=1)))
    method = vos.PersamF(batch_size=batch_size)
    config = vos.RunConfig(method=method, num_read_ahead=num_read_ahead)
    for ours, theirs in zip(run(pictures, sam, config), one_by_one, strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_reading_ahead_changes_neither_masks_nor_scores(sam):
    here, ahead = (run(clip(5), sam, vos.RunConfig(num_read_ahead=count)) for count in (0, 8))
    for one, other in zip(here, ahead, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.scores, other.scores)


@every_method(vos.PersamF(batch_size=4), vos.Memory())
def test_a_damaged_source_yields_its_good_frames_first(sam, config):
    pictures = clip(6)

    def frames():
        yield from vos.frames_from_arrays(rgb for rgb, _ in pictures)
        raise DamagedSourceError("broke off")

    results = vos.segment_video(frames(), pictures[0][1], sam, config)
    assert len(list(itertools.islice(results, 6))) == 6
    with pytest.raises(DamagedSourceError, match="broke off"):
        next(results)


def test_stopping_early_leaves_no_thread(sam):
    before = threading.active_count()
    pictures = clip(6)
    results = vos.segment_video(
        vos.frames_from_arrays(rgb for rgb, _ in itertools.cycle(pictures)), pictures[0][1], sam
    )
    next(results)
    results.close()
    assert threading.active_count() == before


def test_bad_references(sam):
    pictures = clip(2)
    frames = vos.frames_from_arrays
    with pytest.raises(MaskError, match=r"200 x 120.*|.*199 x 120"):
        list(vos.segment_video(frames([pictures[0][0]]), pictures[0][1][:, 1:], sam))
    with pytest.raises(MaskError, match="no object"):
        list(vos.segment_video(frames([pictures[0][0]]), np.zeros((120, 200), np.uint8), sam))
    with pytest.raises(SourceError, match="no frame"):
        list(vos.segment_video(frames([]), pictures[0][1], sam))


def test_frames_of_another_size(sam):
    pictures = clip(2)
    mixed = [
        vos.Frame(0, 0.0, "00000", pictures[0][0]),
        vos.Frame(1, 0.04, "00001", pictures[1][0][:, 10:]),
    ]
    with pytest.raises(InputError, match="190 x 120"):
        list(vos.segment_video(mixed, pictures[0][1], sam))


def test_a_path_is_opened(sam, tmp_path):
    pictures = clip(3)
    for t, (rgb, _) in enumerate(pictures):
        Image.fromarray(rgb).save(tmp_path / f"{t}.png")
    for path in (tmp_path, str(tmp_path)):
        pairs = list(vos.segment_video(path, pictures[0][1], sam))
        assert [frame.name for frame, _ in pairs] == ["0", "1", "2"]
        for (_, masks), expected in zip(pairs, run(pictures, sam), strict=True):
            np.testing.assert_array_equal(masks.labels, expected.labels)
    with pytest.raises(SourceError, match="missing"):
        list(vos.segment_video(tmp_path / "missing", pictures[0][1], sam))


def test_what_is_no_frame_is_refused(sam):
    rgb, labels = clip(1)[0]
    with pytest.raises(InputError, match=r"vos\.Frame.*got ndarray"):
        list(vos.segment_video([rgb], labels, sam))
    frame = vos.Frame(0, 0.0, "0", rgb)
    with pytest.raises(InputError, match=r"vos\.Frame.*got str"):
        list(vos.segment_images("folder", [(frame, labels)], sam))


def test_progress_of_another_method_is_refused(sam):
    pictures = clip(2)
    frames = list(vos.frames_from_arrays(rgb for rgb, _ in pictures))
    first = next(segment_steps(frames, pictures[0][1], sam))
    published = vos.RunConfig.published()
    with pytest.raises(InputError, match="not of the method persam-f"):
        list(segment_steps(frames[1:], first.progress, sam, published))


class FullDevice(vos.SamModel):
    """Has no memory for even one picture."""

    def encode(self, pictures):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_what_can_be_done_about_full_memory_depends_on_the_method():
    rgb, labels = clip(1)[0]
    frame, full = vos.Frame(0, 0.0, "0", rgb), FullDevice(ColourSam())
    with pytest.raises(DeviceError, match="on cpu; take a smaller model or another device"):
        list(vos.segment_video([frame], labels, full))
    with pytest.raises(DeviceError, match="--batch-size 1"):
        list(vos.segment_video([frame], labels, full, vos.RunConfig.published()))
    with pytest.raises(DeviceError, match="--batch-size 1"):
        list(vos.segment_images([frame], [(frame, labels)], full))
