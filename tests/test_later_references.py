"""Further masks along a video: corrections, objects that come later, what is learned from them."""

import itertools

import numpy as np
import pytest
from colour_sam import PALETTE, ColourSam

import vos
from vos.config import FitConfig
from vos.errors import InputError, MaskError

HEIGHT, WIDTH, SIDE = 120, 200, 36
FIT = FitConfig(num_steps=40)


@pytest.fixture(scope="module")
def sam() -> vos.SamModel:
    return vos.SamModel(ColourSam(256))


def draw(places: dict[int, tuple[int, int]], colours: dict[int, int] | None = None):
    """Squares at (x, y), in the palette's colour of their id or another one, and their labels."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for object_id, (x, y) in places.items():
        part = slice(y, y + SIDE), slice(x, x + SIDE)
        rgb[part] = PALETTE[(colours or {}).get(object_id, object_id)]
        labels[part] = object_id
    return rgb, labels


def clip(num_frames: int = 8, comes_at: int = 3):
    """Object 1 moves; object 2 stands still from ``comes_at`` on."""
    return [
        draw({1: (5 + 2 * t, 10)} | ({2: (140, 70)} if t >= comes_at else {}))
        for t in range(num_frames)
    ]


def run(pictures, sam, later=None, method=None):
    config = vos.RunConfig(method=method or vos.Memory())
    frames = vos.frames_from_arrays(rgb for rgb, _ in pictures)
    found = vos.segment_video(frames, pictures[0][1], sam, config, later_references=later)
    return [masks for _, masks in found]


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    union = (ours | theirs).sum()
    return (ours & theirs).sum() / union if union else 1.0


EVERY_METHOD = pytest.mark.parametrize(
    "method",
    [
        vos.Memory(),
        vos.PersamF(fit=FIT),
        vos.PersamF(fit=FIT, prior="none"),
        vos.Persam(),
        vos.Persam(prior="none"),
    ],
    ids=lambda method: f"{method.name}-{getattr(method, 'prior', '')}",
)


@EVERY_METHOD
def test_an_object_may_appear_first_at_a_later_reference(sam, method):
    """It is absent until then, though it is in the picture from frame 3 on."""
    pictures = clip()
    results = run(pictures, sam, {5: pictures[5][1]}, method)
    for t, (masks, (_, truth)) in enumerate(zip(results, pictures, strict=True)):
        assert masks.object_ids == (1, 2)
        assert masks.present.tolist() == [True, t >= 5]
        assert (masks.scores > 0).tolist() == [True, t >= 5]
        assert iou(masks.labels == 1, truth == 1) > 0.85
        if t >= 5:
            assert iou(masks.labels == 2, truth == 2) > 0.85
        else:
            assert not (masks.labels == 2).any()


def test_a_later_reference_is_the_result_of_its_frame_for_its_objects_only(sam):
    pictures = [draw({1: (5 + 2 * t, 10), 2: (140, 70)}) for t in range(4)]
    given = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    given[20:40, 12:30] = 1
    given[70:80, 140:150] = 1  # takes a corner from object 2
    plain = run(pictures, sam)
    corrected = run(pictures, sam, {2: given})
    for before in range(2):
        np.testing.assert_array_equal(corrected[before].labels, plain[before].labels)
    np.testing.assert_array_equal(corrected[2].labels == 1, given == 1)
    np.testing.assert_array_equal(corrected[2].labels == 2, (plain[2].labels == 2) & (given == 0))
    assert corrected[2].scores[0] == 1
    assert corrected[2].scores[1] == plain[2].scores[1] > 0
    assert corrected[2].boxes_xyxy[0].tolist() == [12, 20, 149, 79]


def test_a_later_reference_teaches_another_look(sam):
    """An object changes its colour: without the second mask it is lost, with it it is not."""
    pictures = [draw({1: (5 + 3 * t, 40)}, {1: 1 if t < 3 else 3}) for t in range(7)]
    without = run(pictures, sam)
    assert [masks.present[0] for masks in without] == [True] * 3 + [False] * 4
    found = run(pictures, sam, {3: pictures[3][1]})
    for masks, (_, truth) in zip(found, pictures, strict=True):
        assert iou(masks.labels == 1, truth == 1) > 0.85


def test_a_lost_object_is_taken_up_by_its_correction(sam):
    pictures = [draw({1: (5, 10)} | ({2: (140, 70)} if t in (0, 4, 5) else {})) for t in range(6)]
    shy = vos.AbsenceConfig(return_similarity_ratio=1, return_iou_ratio=1)
    given = np.where(pictures[4][1] == 2, 2, 0).astype(np.uint8)
    results = run(pictures, sam, {4: given}, vos.PersamF(fit=FIT, absence=shy))
    assert [masks.present[1] for masks in results] == [True, False, False, False, True, True]


def test_frames_before_a_reference_do_not_wait_for_it(sam):
    pictures = clip(4)
    num_read = 0

    def arrays():
        nonlocal num_read
        for rgb, _ in itertools.cycle(pictures):
            num_read += 1
            yield rgb

    config = vos.RunConfig(num_read_ahead=1)
    results = vos.segment_video(
        vos.frames_from_arrays(arrays()), pictures[0][1], sam, config,
        later_references={1000: pictures[0][1]},
    )  # fmt: skip
    next(results)
    next(results)
    results.close()
    assert num_read <= 5


@pytest.mark.parametrize("index", [0, -1])
def test_a_reference_that_is_not_later(sam, index):
    pictures = clip(2)
    with pytest.raises(InputError, match=f"frame {index} has a reference mask"):
        run(pictures, sam, {index: pictures[0][1]})


def test_a_reference_of_a_frame_that_was_skipped(sam):
    pictures = clip(6)
    frames = (f for f in vos.frames_from_arrays(rgb for rgb, _ in pictures) if f.index % 2 == 0)
    results = vos.segment_video(frames, pictures[0][1], sam, later_references={3: pictures[3][1]})
    assert len(list(itertools.islice(results, 2))) == 2
    with pytest.raises(InputError, match=r"frame 3 .* just reached is frame 4"):
        next(results)


def test_a_reference_beyond_the_end(sam):
    pictures = clip(2)
    results = vos.segment_video(
        vos.frames_from_arrays(rgb for rgb, _ in pictures), pictures[0][1], sam,
        later_references={7: pictures[0][1]},
    )  # fmt: skip
    assert len(list(itertools.islice(results, 2))) == 2
    with pytest.raises(InputError, match="no frame 7"):
        next(results)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((HEIGHT, WIDTH - 1), np.uint8), "199 x 120"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "no object"),
        (np.ones((HEIGHT, WIDTH)), "bool or integers"),
    ],
)
def test_bad_later_references_are_refused_at_once(sam, mask, message):
    pictures = clip(2)
    frames = vos.frames_from_arrays(rgb for rgb, _ in pictures)
    results = vos.segment_video(frames, pictures[0][1], sam, later_references={1: mask})
    with pytest.raises(MaskError, match=message):
        next(results)
