"""Sets of images end to end, with a stand-in model that segments by colour."""

import itertools

import numpy as np
import pytest
import torch
from colour_sam import ColourSam
from golden_model import TINY, small_sam
from image_sets import draw, image_set

import vos
from vos.config import AbsenceConfig, FitConfig, RunConfig
from vos.errors import InputError, MaskError, OutputError
from vos.records import Frame
from vos.sam.geometry import low_res_to_frame
from vos.sam.model import SamModel
from vos.sink.pictures import write_overlay_pictures, write_training_set
from vos.track.published.encode import encode
from vos.track.published.instances import instance_ids
from vos.track.published.personalize import personalize
from vos.track.published.scale_fit import fit_scale_weights
from vos.track.published.segment import frame_masks

FEW_STEPS = FitConfig(num_steps=40, learning_rate=1e-3, box_prompt=False)


@pytest.fixture(scope="module")
def sam() -> vos.SamModel:
    return vos.SamModel(ColourSam())


def config(**settings) -> RunConfig:
    return RunConfig(prior="none", fit=FEW_STEPS, absence=None, min_cell_coverage=0.485, **settings)


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

    settings = config(batch_size=2, num_read_ahead=1)
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
    pictures = encode((frame(rgb) for rgb, _ in references), sam, 1, same_size=False)
    *earlier, last = zip(pictures, [labels for _, labels in references], strict=True)
    return personalize(*last, sam, settings, earlier=earlier)[0]


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


def test_the_fit_sees_the_pixels_of_every_reference(random_sam, monkeypatch):
    """Object 1 is in both references and fitted to both, object 2 to its own one only."""
    references = [
        draw((120, 160), [(1, 0.4, 0.5, 0.25), (2, 1.0, 0.5, 0.2)]),
        draw((90, 70), [(1, 0.5, 0.6, 0.3)], seed=3),
    ]
    decoded = []

    def decode(self, features, prompts, letterbox, **given):
        if given:
            return SamModel.decode(self, features, prompts, letterbox, **given)
        answer = SamModel.decode(self, features, prompts, letterbox)
        logits = low_res_to_frame(answer.low_res_logits.flatten(0, 1), letterbox)
        decoded.append(logits.view(-1, 3, letterbox.frame_hw[0] * letterbox.frame_hw[1]))
        return answer

    monkeypatch.setattr(random_sam, "decode", decode.__get__(random_sam), raising=False)
    targets = learn(references, random_sam, config())
    (one, other), masks = decoded[:2], [torch.from_numpy(mask.ravel()) for _, mask in references]
    both = fit_scale_weights(
        torch.cat([one[:1], other], dim=2), (torch.cat(masks) == 1)[None], FEW_STEPS
    )
    single = fit_scale_weights(one[1:], (masks[0] == 2)[None], FEW_STEPS)
    expected = torch.cat([both, single])
    np.testing.assert_allclose(targets.scale_weights, expected, atol=1e-6)


def herd(num_discs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Discs of one colour side by side, each with a label of its own."""
    rgb, labels = draw((80, 320), [(1, 0.5 + n, 0.5, 0.3) for n in range(num_discs)], seed)
    labels[labels > 0] = 1 + np.nonzero(labels)[1] // 80
    return rgb, labels


class OneAtATimeSam(ColourSam):
    """Segments the disc that was asked for, not all of its colour."""

    def __init__(self) -> None:
        super().__init__()
        plain = self.mask_decoder.forward

        def forward(sparse_prompt_embeddings, **given):
            logits, ious = plain(sparse_prompt_embeddings=sparse_prompt_embeddings, **given)
            xs = (np.arange(logits.shape[-1]) + 0.5) * 256 / logits.shape[-1]
            asked = sparse_prompt_embeddings[:, 0, 0].numpy()
            logits = logits.clone()
            for row, x in enumerate(asked):
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


def test_an_absent_object_is_left_out_when_that_is_asked_for(sam):
    reference = draw((120, 160), [(1, 0.5, 0.5, 0.25)])
    without = draw((120, 160), [(2, 0.5, 0.5, 0.25)], seed=1)
    (published,) = run([without], [reference], sam)
    assert published.present.tolist() == [True]
    (tested,) = run(
        [without], [reference], sam, RunConfig(prior="none", fit=FEW_STEPS, absence=AbsenceConfig())
    )
    assert tested.present.tolist() == [False]
    assert tested.scores.tolist() == [0]
    assert not tested.labels.any()


def test_bad_references(sam):
    rgb, labels = image_set(1)[0]
    with pytest.raises(InputError, match="at least one reference"):
        list(vos.segment_images([frame(rgb)], [], sam))
    with pytest.raises(MaskError, match=r"159 x 120.*160 x 120"):
        list(vos.segment_images([frame(rgb)], [(frame(rgb), labels[:, 1:])], sam))
    with pytest.raises(MaskError, match="no object"):
        list(vos.segment_images([frame(rgb)], [(frame(rgb), labels * 0)], sam))


def test_image_settings_are_the_published_ones():
    for method in ("persam_f", "persam"):
        settings = RunConfig.for_images(method)
        assert settings.method == method
        assert settings.prior == "none"
        assert settings.fit == FitConfig(num_steps=1000, learning_rate=1e-3, box_prompt=False)
        assert settings.min_cell_coverage == pytest.approx(123.675 / 255)
        assert settings.absence is None


@pytest.mark.parametrize("settings", [{"method": "x"}, {"min_cell_coverage": 1.0}])
def test_settings_are_checked(settings):
    with pytest.raises(InputError):
        RunConfig(**settings)


def test_a_picture_without_objects_is_not_in_the_training_set(tmp_path, caplog):
    rgb, labels = image_set(1)[0]
    ids, scores = (1,), np.ones(1, np.float32)
    pairs = [
        (frame(rgb, 0), frame_masks(labels, ids, scores)),
        (frame(rgb, 1), frame_masks(labels * 0, ids, scores)),
    ]
    assert list(write_training_set(iter(pairs), tmp_path, "onetrainer")) == pairs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00-masklabel.png", "00.png"]
    assert "01: nothing was found" in caplog.text
    with pytest.raises(InputError, match="dreambooth, onetrainer"):
        list(write_training_set(iter(pairs), tmp_path, "fun"))


def test_overlays_that_cannot_be_written(tmp_path):
    rgb, labels = image_set(1)[0]
    pairs = [(frame(rgb), frame_masks(labels, (1,), np.ones(1, np.float32)))]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        list(write_overlay_pictures(iter(pairs), tmp_path / "file"))
