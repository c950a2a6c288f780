"""Our decoding against segment_anything's own modules."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_model import TINY, small_sam

import vos
from vos.errors import InputError
from vos.sam.fast.decoder import OUTSIDE, is_plain, mix
from vos.sam.geometry import low_res_to_frame
from vos.sam.model import NEGATIVE, POSITIVE, Prompts, SamModel
from vos.sam.networks.nano import build_nano
from vos.synthetic import ClipConfig, make_clip

FRAME_HW = (90, 160)
MANY = 1000


def random_sam() -> torch.nn.Module:
    """A small Sam whose every weight matters, biases and norms too."""
    torch.manual_seed(3)
    module = small_sam(TINY)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    return random_sam()


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(32, 8, 8, generator=torch.Generator().manual_seed(4))


def asked(num_objects: int, *, box: bool, mask: bool) -> Prompts:
    rng = np.random.default_rng(5)
    points_xy = rng.integers(0, 90, (num_objects, 2, 2))
    boxes_xyxy = np.concatenate([points_xy[:, 0], points_xy[:, 0] + 30], axis=1)
    logits = 9 * torch.randn(num_objects, 32, 32, generator=torch.Generator().manual_seed(6))
    labels = np.tile([POSITIVE, NEGATIVE], (num_objects, 1))
    return Prompts(points_xy, labels, boxes_xyxy if box else None, logits if mask else None)


@torch.inference_mode()
def plainly(module, features, prompts: Prompts, sam: SamModel, num_masks: int):
    """The same with segment_anything's own code alone."""
    letterbox = sam.letterbox(FRAME_HW)
    points = letterbox.points_to_model(torch.from_numpy(prompts.points_xy).double()).float()
    boxes = prompts.boxes_xyxy
    if boxes is not None:
        boxes = letterbox.boxes_to_model(torch.from_numpy(boxes).double()).float()
    masks = prompts.low_res_logits
    sparse, dense = module.prompt_encoder(
        points=(points, torch.from_numpy(prompts.point_labels)),
        boxes=boxes,
        masks=None if masks is None else masks[:, None],
    )
    return module.mask_decoder(
        image_embeddings=features[None],
        image_pe=module.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=num_masks == 3,
    )


@pytest.mark.parametrize("num_masks", [1, 3])
@pytest.mark.parametrize("num_objects", [1, 3])
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("way", ["one by one", "together", "shared"])
def test_decoding_equals_segment_anythings(
    module, features, num_masks, num_objects, box, mask, way, monkeypatch
):
    if way == "together":  # as on a GPU
        monkeypatch.setattr(
            "vos.sam.fast.decoder.split_objects", lambda count, device: [slice(0, count)]
        )
    sam = SamModel(module)
    prompts = asked(num_objects, box=box, mask=mask)
    before = features.clone()
    letterbox = sam.letterbox(FRAME_HW)
    shared = sam.share(features, letterbox, MANY) if way == "shared" else None
    assert (shared is not None) == (way == "shared")
    decoded = sam.decode(features, prompts, letterbox, num_masks=num_masks, shared=shared)
    logits, ious = plainly(module, features, prompts, sam, num_masks)
    assert decoded.low_res_logits.shape == (num_objects, num_masks, 32, 32)
    torch.testing.assert_close(decoded.low_res_logits, logits, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(decoded.predicted_ious, ious, atol=2e-4, rtol=1e-4)
    assert torch.equal(features, before)
    if mask:
        untouched = asked(num_objects, box=box, mask=True).low_res_logits
        assert torch.equal(prompts.low_res_logits, untouched)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("is_shared", [False, True])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_nano_decodes_as_its_own_modules_do(capability, is_shared, mask, monkeypatch):
    """So large that products run as convolutions where that pays."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    torch.manual_seed(0)
    module = build_nano()
    sam = SamModel(module)
    features = torch.randn(256, 64, 64)
    prompts = asked(2, box=True, mask=False)
    if mask:
        prompts = replace(prompts, low_res_logits=9 * torch.randn(2, 256, 256))
    letterbox = sam.letterbox(FRAME_HW)
    shared = sam.share(features, letterbox, MANY) if is_shared else None
    decoded = sam.decode(features, prompts, letterbox, shared=shared)
    logits, ious = plainly(module, features, prompts, sam, 3)
    torch.testing.assert_close(decoded.low_res_logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(decoded.predicted_ious, ious, atol=1e-4, rtol=1e-4)


def test_weights_loaded_later_are_used(features):
    module, other = random_sam(), random_sam()
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.mul_(1.1)
    sam = SamModel(module)
    prompts = asked(1, box=True, mask=True)
    before = sam.decode(features, prompts, sam.letterbox(FRAME_HW)).low_res_logits
    module.load_state_dict(other.state_dict())
    after = sam.decode(features, prompts, sam.letterbox(FRAME_HW)).low_res_logits
    logits, _ = plainly(other, features, prompts, sam, 3)
    assert (after - before).abs().max() > 1e-2
    torch.testing.assert_close(after, logits, atol=2e-4, rtol=1e-4)


def test_only_segment_anythings_own_classes_are_plain(module):
    assert is_plain(module)

    class Other(type(module.mask_decoder)):
        def forward(self, **inputs):
            logits, ious = super().forward(**inputs)
            return -logits, ious

    changed = copy.deepcopy(module)
    changed.mask_decoder.__class__ = Other
    assert not is_plain(changed)


def test_a_decoder_of_another_class_runs_its_own_code(module, features):
    class Other(type(module.mask_decoder)):
        def forward(self, **inputs):
            logits, ious = super().forward(**inputs)
            return -logits, ious

    changed = copy.deepcopy(module)
    changed.mask_decoder.__class__ = Other
    prompts = asked(2, box=True, mask=True)
    ours, theirs = SamModel(module), SamModel(changed)
    letterbox = ours.letterbox(FRAME_HW)
    torch.testing.assert_close(
        theirs.decode(features, prompts, letterbox).low_res_logits,
        -ours.decode(features, prompts, letterbox).low_res_logits,
        atol=2e-4,
        rtol=1e-4,
    )


class OfAnotherClass:
    """Makes a decoder that is not segment_anything's own, and runs its own code."""

    def __new__(cls, module):
        class Other(type(module.mask_decoder)):
            pass

        changed = copy.deepcopy(module)
        changed.mask_decoder.__class__ = Other
        return changed


@pytest.mark.parametrize("make", [lambda module: module, OfAnotherClass])
@pytest.mark.parametrize("with_classifiers", [False, True])
def test_masks_are_mixed_by_weights_or_by_the_best(module, features, make, with_classifiers):
    sam = SamModel(make(module))
    prompts, letterbox = asked(3, box=True, mask=True), sam.letterbox(FRAME_HW)
    generator = torch.Generator().manual_seed(8)
    classifiers = None
    if with_classifiers:
        classifiers = torch.randn(3, 2, sam.num_pixel_channels, generator=generator)
    plain = sam.decode(features, prompts, letterbox, classifiers=classifiers)
    weights = torch.randn(3, 3, generator=generator)
    best = torch.nn.functional.one_hot(plain.predicted_ious.argmax(dim=1), 3).float()
    assert not best[:, 0].all(), "the first mask always would pass"
    for mixing, as_weights in ((weights, weights), ("best", best)):
        mixed = sam.decode(features, prompts, letterbox, classifiers=classifiers, mixing=mixing)
        expected = torch.einsum("km,kmhw->khw", as_weights, plain.low_res_logits)[:, None]
        torch.testing.assert_close(mixed.low_res_logits, expected, atol=5e-4, rtol=1e-4)
        torch.testing.assert_close(mixed.predicted_ious, plain.predicted_ious)
        if with_classifiers:
            torch.testing.assert_close(
                mixed.classifier_logits, plain.classifier_logits, atol=5e-4, rtol=1e-4
            )


def test_sharing_is_for_many_masks_of_segment_anythings_own_decoder(module, features):
    sam = SamModel(module)
    letterbox = sam.letterbox(FRAME_HW)
    assert sam.share(features, letterbox, 3) is None
    assert sam.share(features, letterbox, MANY) is not None
    assert SamModel(OfAnotherClass(module)).share(features, letterbox, MANY) is None


def test_what_is_shared_must_fit_the_features(module, features):
    sam, thinning = SamModel(module), SamModel(module, skip_padding="decoder")
    letterbox = sam.letterbox((60, 160))
    shared = thinning.share(features, letterbox, MANY)
    with pytest.raises(InputError, match="must be of 64 cells, got "):
        sam.decode(features, asked(2, box=True, mask=False), letterbox, shared=shared)


@pytest.mark.parametrize("method", [vos.PersamF(absence=None), vos.Persam(absence=None)])
def test_many_objects_of_a_frame_share_and_their_masks_stay(method, monkeypatch):
    sam = vos.load_sam("nano")
    clip = ClipConfig(num_frames=2, frame_hw=(120, 214), num_objects=9)
    frames, labels = zip(*make_clip(clip), strict=True)
    config = vos.RunConfig(method=method)
    own_share, shared = SamModel.share, []

    def share(self, *of_frame):
        shared.append(own_share(self, *of_frame))
        return shared[-1]

    def follow() -> np.ndarray:
        pairs = vos.segment_video(iter(frames), labels[0], sam, config)
        return np.stack([masks.labels for _, masks in pairs])

    monkeypatch.setattr(SamModel, "share", share)
    together = follow()
    assert shared[-1] is not None
    monkeypatch.setattr(SamModel, "share", lambda self, *of_frame: None)
    alone = follow()
    assert (alone[1] > 0).mean() > 0.1
    assert (together != alone).mean() < 1e-3


def test_cells_that_nothing_changes_are_normal_numbers(module):
    """Where a norm has a variance of 0, rounding must not make it negative."""
    sam = SamModel(module)
    letterbox = sam.letterbox(FRAME_HW)
    features = torch.full((32, 8, 8), 1e3)
    shared = sam.share(features, letterbox, MANY)
    decoded = sam.decode(features, asked(2, box=True, mask=True), letterbox, shared=shared)
    assert decoded.low_res_logits.isfinite().all()


@pytest.mark.parametrize("mask", [False, True])
def test_many_objects_are_decoded_in_groups(module, features, mask, monkeypatch):
    """As many as three groups hold, with all that goes by object; as when all are one group."""
    sam = SamModel(module)
    num_objects, letterbox = 35, sam.letterbox(FRAME_HW)
    prompts = asked(num_objects, box=True, mask=mask)
    generator = torch.Generator().manual_seed(9)
    settings = {
        "classifiers": torch.randn(num_objects, 1, sam.num_pixel_channels, generator=generator),
        "mixing": torch.randn(num_objects, 3, generator=generator),
    }
    in_groups = sam.decode(features, prompts, letterbox, **settings)
    monkeypatch.setattr("vos.sam.model._OBJECTS_PER_CALL", num_objects)
    at_once = sam.decode(features, prompts, letterbox, **settings)
    for name in ("low_res_logits", "classifier_logits", "predicted_ious"):
        torch.testing.assert_close(
            getattr(in_groups, name), getattr(at_once, name), atol=2e-4, rtol=1e-4
        )


def test_each_object_has_its_own_best_mask():
    masks = torch.randn(3, 3, 4, 5)
    best = mix(masks, torch.tensor([[0.1, 0.2, 0.9], [0.5, 0.4, 0.3], [0.1, 0.6, 0.2]]), "best")
    assert torch.equal(best[:, 0], torch.stack([masks[0, 2], masks[1, 0], masks[2, 1]]))


@pytest.mark.parametrize("frame_hw", [(90, 160), (160, 90), (96, 96), (3, 160)])
@pytest.mark.parametrize("is_shared", [False, True])
def test_the_picture_alone_is_the_same_picture(module, features, is_shared, frame_hw):
    sam = SamModel(module)
    prompts, letterbox = asked(2, box=True, mask=False), sam.letterbox(frame_hw)
    shared = sam.share(features, letterbox, MANY) if is_shared else None
    whole = sam.decode(features, prompts, letterbox, shared=shared).low_res_logits
    part = sam.decode(features, prompts, letterbox, only_picture=True, shared=shared).low_res_logits
    assert part.shape == whole.shape
    for one, other in zip(part, whole, strict=True):
        shown, expected = low_res_to_frame(one, letterbox), low_res_to_frame(other, letterbox)
        torch.testing.assert_close(shown, expected, atol=1e-4, rtol=1e-4)
    assert (part == OUTSIDE).any() == (frame_hw[0] != frame_hw[1])
