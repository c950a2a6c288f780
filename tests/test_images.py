"""Sets of images end to end, with a stand-in model that segments by colour."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from colour_sam import ColourSam
from golden_model import TINY, small_sam
from image_sets import draw, image_set
from PIL import Image

import vos
from vos.config import AbsenceConfig, FitConfig, Persam, PersamF, RunConfig
from vos.errors import InputError, MaskError, OutputError
from vos.records import Frame
from vos.sam.model import SamModel
from vos.sink.pictures import write_overlay_pictures, write_training_set
from vos.track.masks import measure
from vos.track.published.encode import encode
from vos.track.published.instances import instance_ids
from vos.track.published.personalize import personalize
from vos.track.published.presence import compare, describe, describe_references, presence

FEW_STEPS = FitConfig(num_steps=40, learning_rate=1e-3, box_prompt=False)


@pytest.fixture(scope="module")
def sam() -> vos.SamModel:
    return vos.SamModel(ColourSam(256))


def config(method: str = "persam_f", **settings) -> RunConfig:
    """The settings of images, with a short fit."""
    method = RunConfig.for_images(method).method
    few_steps = {"fit": FEW_STEPS} if isinstance(method, PersamF) else {}
    return RunConfig(method=replace(method, **few_steps, **settings))


def frame(rgb: np.ndarray, index: int = 0) -> Frame:
    return Frame(index, 0.0, f"{index:02d}", rgb)


def run(pictures, references, sam, settings=None, **more):
    frames = (frame(rgb, index) for index, (rgb, _) in enumerate(pictures))
    pairs = [(frame(rgb), labels) for rgb, labels in references]
    found = vos.segment_images(frames, pairs, sam, settings or config(), **more)
    return [masks for _, masks in found]


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    union = (ours | theirs).sum()
    return (ours & theirs).sum() / union if union else 1.0


@pytest.mark.parametrize("method", ["persam_f", "persam"])
def test_one_reference_finds_the_object_at_any_place_scale_and_size(sam, method):
    pictures = image_set()
    results = run(pictures, pictures[:1], sam, config(method=method))
    assert len({masks.labels.shape for masks in results}) > 2
    for masks, (rgb, truth) in zip(results, pictures, strict=True):
        assert masks.labels.shape == rgb.shape[:2]
        assert masks.present.tolist() == [True]
        assert iou(masks.labels == 1, truth == 1) > 0.8


@pytest.mark.parametrize("batch_size", [2, 5])
def test_pictures_of_different_sizes_share_a_batch(batch_size):
    pictures = image_set(7)
    sam = vos.SamModel(ColourSam())
    one_by_one = run(pictures, pictures[:1], sam, config(batch_size=1))
    together = run(pictures, pictures[:1], sam, config(batch_size=batch_size))
    for ours, theirs in zip(together, one_by_one, strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_features_do_not_depend_on_the_others_of_a_batch():
    sam = SamModel(small_sam(TINY))
    pictures = [rgb for rgb, _ in image_set(4)]
    together = sam.encode(pictures)
    for rgb, features in zip(pictures, together, strict=True):
        np.testing.assert_allclose(sam.encode([rgb])[0], features, atol=1e-5)


def test_no_more_than_a_batch_and_the_read_ahead_is_read(sam):
    pictures = image_set(1)
    num_read = 0

    def frames():
        nonlocal num_read
        for index in itertools.count():
            num_read += 1
            yield frame(pictures[0][0], index)

    settings = replace(config(batch_size=2), num_read_ahead=1)
    found = vos.segment_images(frames(), [(frame(pictures[0][0]), pictures[0][1])], sam, settings)
    next(found)
    found.close()
    assert num_read <= 5


def test_several_objects_keep_their_ids(sam):
    reference = draw((120, 160), [(1, 0.4, 0.5, 0.25), (3, 1.0, 0.5, 0.2)])
    other = draw((160, 120), [(3, 0.5, 0.3, 0.2), (1, 0.4, 0.9, 0.3)], seed=1)
    (masks,) = run([other], [reference], sam)
    assert masks.object_ids == (1, 3)
    for object_id in masks.object_ids:
        assert iou(masks.labels == object_id, other[1] == object_id) > 0.8


def test_references_may_hold_different_objects(sam):
    references = [
        draw((120, 160), [(1, 0.4, 0.5, 0.25)]),
        draw((100, 90), [(2, 0.5, 0.5, 0.3)], seed=1),
    ]
    other = draw((120, 160), [(2, 0.4, 0.5, 0.25), (1, 1.0, 0.5, 0.2)], seed=2)
    (masks,) = run([other], references, sam)
    assert masks.object_ids == (1, 2)
    for object_id in masks.object_ids:
        assert iou(masks.labels == object_id, other[1] == object_id) > 0.8


def learn(references, sam, settings):
    pictures = encode((frame(rgb) for rgb, _ in references), sam, 1)
    pairs = list(zip(pictures, [labels for _, labels in references], strict=True))
    ids = sorted({number for _, labels in pairs for number in np.unique(labels).tolist()} - {0})
    return personalize(pairs, tuple(ids), sam, settings.method)


@pytest.fixture(scope="module")
def random_sam() -> SamModel:
    torch.manual_seed(0)
    return SamModel(small_sam(TINY))


def test_the_same_reference_twice_teaches_nothing_new(random_sam):
    """Dice has constants beside its sums over pixels, so the fit agrees nearly, not exactly."""
    reference = image_set(1)[0]
    once, twice = (learn([reference] * n, random_sam, config()) for n in (1, 2))
    np.testing.assert_allclose(once.embeddings, twice.embeddings, atol=1e-6)
    np.testing.assert_allclose(once.scale_weights, twice.scale_weights, atol=1e-3)
    np.testing.assert_allclose(once.peak_similarities, twice.peak_similarities, atol=1e-6)
    np.testing.assert_allclose(once.predicted_ious, twice.predicted_ious, atol=1e-3)


@pytest.mark.parametrize("method", ["persam_f", "persam"])
def test_embeddings_are_averaged_over_the_references_that_hold_the_object(random_sam, method):
    first = draw((120, 160), [(1, 0.4, 0.5, 0.25), (2, 1.0, 0.5, 0.2)])
    second = draw((90, 70), [(1, 0.5, 0.6, 0.3)], seed=3)
    settings = config(method=method)
    both = learn([first, second], random_sam, settings)
    alone = [learn([each], random_sam, settings) for each in (first, second)]
    raw = [t.embeddings if method == "persam_f" else t.prompt_embeddings for t in alone]
    mean = (raw[0][0] + raw[1][0]) / 2
    np.testing.assert_allclose(both.embeddings[0], mean / mean.norm(), atol=1e-6)
    np.testing.assert_allclose(both.embeddings[1], alone[0].embeddings[1], atol=1e-6)
    assert both.object_ids == (1, 2)


def test_the_fit_sees_the_pixels_of_every_reference(random_sam):
    """Object 1 is in both references and fitted to both, object 2 is in one."""
    first = draw((120, 160), [(1, 0.4, 0.5, 0.25), (2, 1.0, 0.5, 0.2)])
    second = draw((90, 70), [(1, 0.5, 0.6, 0.3)], seed=3)
    long = config()
    long = replace(long, method=replace(long.method, fit=FitConfig(learning_rate=1e-2)))
    both, turned, of_first, of_second = (
        learn(references, random_sam, long).scale_weights
        for references in ([first, second], [second, first], [first], [second])
    )
    np.testing.assert_allclose(both, turned, atol=1e-5)
    np.testing.assert_allclose(both[1], of_first[1], atol=1e-6)
    assert not np.allclose(both[0], of_first[0], atol=1e-4)
    assert not np.allclose(both[0], of_second[0], atol=1e-4)


def herd(num_discs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Discs of one colour side by side, each with another label."""
    rgb, labels = draw((80, 320), [(1, 0.5 + n, 0.5, 0.3) for n in range(num_discs)], seed)
    labels[labels > 0] = 1 + np.nonzero(labels)[1] // 80
    return rgb, labels


class OneAtATimeSam(ColourSam):
    """Segments the disc at the prompt, not all of its colour."""

    def __init__(self) -> None:
        super().__init__(image_size=256)
        plain = self.mask_decoder.forward

        def forward(sparse_prompt_embeddings, **given):
            logits, ious = plain(sparse_prompt_embeddings=sparse_prompt_embeddings, **given)
            xs = (np.arange(logits.shape[-1]) + 0.5) * 256 / logits.shape[-1]
            prompted_xs = sparse_prompt_embeddings[:, 0, 0].numpy()
            logits = logits.clone()
            for row, x in enumerate(prompted_xs):
                logits[row, :, :, (xs // 64) != x // 64] = -10
            return logits, ious

        self.mask_decoder.forward = forward


@pytest.mark.parametrize("method", ["persam_f", "persam"])
def test_instances_of_one_kind_are_found_one_by_one(method):
    """Every disc bears one label, whatever the order of finding; then the search stops."""
    sam = vos.SamModel(OneAtATimeSam())
    reference = draw((80, 320), [(1, 0.5, 0.5, 0.3)])
    for num_discs in (1, 2, 3):
        rgb, truth = herd(num_discs, seed=num_discs)
        (masks,) = run([(rgb, truth)], [reference], sam, config(method=method), num_instances=5)
        assert masks.object_ids == (1, 2, 3, 4, 5)
        assert masks.present.sum() == num_discs
        for disc in range(1, num_discs + 1):
            best = max(iou(masks.labels == i, truth == disc) for i in masks.object_ids)
            assert best > 0.7


def test_no_more_instances_than_asked_for():
    sam = vos.SamModel(OneAtATimeSam())
    reference = draw((80, 320), [(1, 0.5, 0.5, 0.3)])
    (masks,) = run([herd(4)], [reference], sam, num_instances=2)
    assert masks.object_ids == (1, 2)
    assert masks.present.tolist() == [True, True]


def test_instance_ids_are_free_ones():
    assert instance_ids((2, 5), 2) == ((2, 2), (5, 5), (1, 2), (3, 5))
    with pytest.raises(InputError, match="300 ids"):
        instance_ids((1, 2), 150)
    with pytest.raises(InputError, match="1 or more"):
        instance_ids((1,), 0)


def test_a_mask_may_be_reduced_to_the_part_at_its_peak(sam):
    """The stand-in answers with all of a colour; the larger disc is the more similar one."""
    reference = draw((80, 320), [(1, 0.5, 0.5, 0.4)])
    picture = draw((80, 320), [(1, 0.5, 0.5, 0.4), (1, 2.5, 0.5, 0.15)])
    (whole,) = run([picture], [reference], sam)
    assert iou(whole.labels == 1, picture[1] == 1) > 0.8
    (part,) = run([picture], [reference], sam, config(connected=True))
    assert iou(part.labels == 1, reference[1] == 1) > 0.8
    assert not part.labels[:, 160:].any()


@pytest.mark.parametrize("method", ["persam_f", "persam"])
def test_scores_tell_pictures_with_the_object_from_those_without(sam, method):
    reference = draw((120, 160), [(1, 0.5, 0.5, 0.25)])
    absent = [draw((120, 160), [(2, 0.5, 0.5, 0.25)], seed=1), draw((96, 96), [], seed=2)]
    pictures = [*image_set(3), *absent]
    found = run(pictures, [reference], sam, config(method=method))
    assert [masks.scores[0] > 0.5 for masks in found] == [True] * 3 + [False] * 2
    tested = run(pictures, [reference], sam, config(method=method, absence=AbsenceConfig()))
    for ours, theirs in zip(tested[:3], found[:3], strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.scores, theirs.scores)
    for masks in tested[3:]:
        assert masks.present.tolist() == [False]
        assert masks.scores.tolist() == [0]
        assert not masks.labels.any()


@torch.inference_mode()
def test_evidence_is_relative_to_the_reference(nano):
    """A mirrored copy of the reference has nothing against it, and other things have."""
    rgb, labels = draw((120, 160), [(1, 0.6, 0.5, 0.3), (3, 1.1, 0.5, 0.15)])
    encoded, mirrored = encode([frame(rgb), frame(np.ascontiguousarray(rgb[:, ::-1]))], nano, None)
    (reference,), (other,) = describe_references([(encoded, labels)], (1, 3), nano, None)
    (same,) = describe(mirrored, (labels == 1)[None, :, ::-1], nano)
    evidence = compare(reference, same)
    assert evidence.colour_distance == pytest.approx(0, abs=1e-3)
    assert evidence.log_distance_ratio == pytest.approx(0, abs=1e-3)
    assert presence([reference], same) > 0.9
    ground, blue = describe(encoded, np.stack([labels == 0, labels == 3]), nano)
    for found in (ground, blue):
        assert compare(reference, found).colour_distance > 0.9
        assert presence([reference], found) < 0.1
    assert compare(reference, ground).log_distance_ratio > 0.5
    # Of several references the one that speaks most for a mask counts.
    assert presence([other, reference], same) == presence([reference], same)
    assert presence([other, reference], blue) == presence([other], blue) > 0.9


@torch.inference_mode()
def test_evidence_of_the_smallest_objects(nano):
    """One pixel has a cell and a colour, and a mask of the whole picture has all of them."""
    rgb, labels = draw((120, 160), [(1, 0.5, 0.5, 0.3)])
    one, everything = np.zeros_like(labels, dtype=bool), np.ones_like(labels, dtype=bool)
    one[60, 60] = True
    (encoded,) = encode([frame(rgb)], nano, None)
    ((reference,),) = describe_references([(encoded, one.astype(np.uint8))], (1,), nano, None)
    assert len(reference.appearance.cells) == 1
    for found in describe(encoded, np.stack([one, everything]), nano):
        assert 0 <= presence((reference,), found) <= 1


def test_bad_references(sam):
    rgb, labels = image_set(1)[0]
    with pytest.raises(InputError, match="at least one reference"):
        list(vos.segment_images([frame(rgb)], [], sam))
    with pytest.raises(MaskError, match=r"159 x 120.*160 x 120"):
        list(vos.segment_images([frame(rgb)], [(frame(rgb), labels[:, 1:])], sam))
    with pytest.raises(MaskError, match="no object"):
        list(vos.segment_images([frame(rgb)], [(frame(rgb), labels * 0)], sam))


def test_image_settings_are_the_published_ones():
    fit = FitConfig(num_steps=1000, learning_rate=1e-3, box_prompt=False)
    fitted, free = (RunConfig.for_images(name).method for name in ("persam_f", "persam"))
    assert fitted == PersamF(prior="none", fit=fit, min_cell_coverage=123.675 / 255, absence=None)
    assert free == Persam(prior="none", min_cell_coverage=123.675 / 255, absence=None)
    assert RunConfig.for_images().method == fitted
    with pytest.raises(InputError, match="persam_f or persam, got persam-f"):
        RunConfig.for_images("persam-f")


def test_memory_has_no_pictures(sam):
    rgb, labels = image_set(1)[0]
    with pytest.raises(InputError, match=r"for_images"):
        list(vos.segment_images([frame(rgb)], [(frame(rgb), labels)], sam, RunConfig()))


def test_what_is_doubtful_or_absent_is_not_in_the_training_set(tmp_path, caplog):
    rgb, labels = draw((120, 160), [(1, 0.4, 0.5, 0.25), (2, 1.0, 0.5, 0.2)])
    scores = [(0.9, 0.8), (0.6, 0.4), (0.3, 0.2), (0.9, 0.9)]
    pairs = [
        (frame(rgb, n), measure(labels * (n < 3), (1, 2), np.array(each, np.float32)))
        for n, each in enumerate(scores)
    ]
    assert list(write_training_set(iter(pairs), tmp_path, "onetrainer")) == pairs
    written = {}
    for path in tmp_path.glob("*-masklabel.png"):
        with Image.open(path) as mask:
            written[path.name.removesuffix("-masklabel.png")] = np.array(mask) > 0
    assert sorted(written) == ["00", "01"]
    np.testing.assert_array_equal(written["00"], labels > 0)
    np.testing.assert_array_equal(written["01"], labels == 1)
    left_out = "01 (object 2 has a score of 0.40)", "02 (object 1 has a score of 0.30)"
    assert f"{', '.join(left_out)}, 02 (object 2" in caplog.text
    assert "03 (nothing was found)" in caplog.text
    with pytest.raises(InputError, match="dreambooth, onetrainer"):
        list(write_training_set(iter(pairs), tmp_path, "fun"))


def test_overlays_that_cannot_be_written(tmp_path):
    rgb, labels = image_set(1)[0]
    pairs = [(frame(rgb), measure(labels, (1,), np.ones(1, np.float32)))]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        list(write_overlay_pictures(iter(pairs), tmp_path / "file"))
