"""The fast decoder against segment_anything's own modules."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden_model import TINY, small_sam

from vos.sam.fast.decoder import (
    OUTSIDE,
    ModelPrompts,
    cell_positions,
    decode_masks,
    is_plain,
    mix,
)
from vos.sam.geometry import low_res_to_frame
from vos.sam.model import NEGATIVE, POSITIVE, Prompts, SamModel
from vos.sam.networks.nano import build_nano

FRAME_HW = (90, 160)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    """A small Sam whose every weight matters, biases and norms too."""
    torch.manual_seed(3)
    module = small_sam(TINY)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


@pytest.fixture(scope="module")
def features() -> torch.Tensor:
    return torch.randn(32, 8, 8, generator=torch.Generator().manual_seed(4))


def make_prompts(num_objects: int, *, box: bool, mask: bool) -> Prompts:
    rng = np.random.default_rng(5)
    points_xy = rng.integers(0, 90, (num_objects, 2, 2))
    boxes_xyxy = np.concatenate([points_xy[:, 0], points_xy[:, 0] + 30], axis=1)
    logits = 9 * torch.randn(num_objects, 32, 32, generator=torch.Generator().manual_seed(6))
    labels = np.tile([POSITIVE, NEGATIVE], (num_objects, 1))
    return Prompts(points_xy, labels, boxes_xyxy if box else None, logits if mask else None)


def in_model(prompts: Prompts, sam: SamModel) -> ModelPrompts:
    letterbox = sam.letterbox(FRAME_HW)
    boxes = prompts.boxes_xyxy
    if boxes is not None:
        boxes = letterbox.boxes_to_model(torch.from_numpy(boxes).double()).float()
    points = letterbox.points_to_model(torch.from_numpy(prompts.points_xy).double()).float()
    labels = torch.from_numpy(prompts.point_labels)
    return ModelPrompts(points, labels, boxes, prompts.low_res_logits)


@torch.inference_mode()
def by_segment_anything(module, features, prompts: ModelPrompts, num_masks: int):
    masks = prompts.low_res_logits
    sparse, dense = module.prompt_encoder(
        points=(prompts.points_xy, prompts.point_labels),
        boxes=prompts.boxes_xyxy,
        masks=None if masks is None else masks[:, None],
    )
    return module.mask_decoder(
        image_embeddings=features[None],
        image_pe=module.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=num_masks == 3,
    )


def assert_near(results, expected) -> None:
    for one, other in zip(results, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("num_masks", [1, 3])
@pytest.mark.parametrize("num_objects", [1, 3, 20])
@pytest.mark.parametrize("box", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_decoding_equals_segment_anythings(module, features, num_masks, num_objects, box, mask):
    sam = SamModel(module)
    prompts = make_prompts(num_objects, box=box, mask=mask)
    features_before = features.clone()
    decoded = sam.decode(features, prompts, sam.letterbox(FRAME_HW), num_masks=num_masks)
    assert decoded.low_res_logits.shape == (num_objects, num_masks, 32, 32)
    expected = by_segment_anything(module, features, in_model(prompts, sam), num_masks)
    assert_near((decoded.low_res_logits, decoded.predicted_ious), expected)
    assert torch.equal(features, features_before)
    if mask:
        untouched = make_prompts(num_objects, box=box, mask=True).low_res_logits
        assert torch.equal(prompts.low_res_logits, untouched)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("objects_per_pass", [2, 5])
def test_objects_together_as_on_a_gpu(module, features, mask, objects_per_pass):
    prompts = in_model(make_prompts(5, box=True, mask=mask), SamModel(module))
    with torch.inference_mode():
        results = decode_masks(
            module,
            features,
            cell_positions(module.prompt_encoder),
            prompts,
            num_masks=3,
            objects_per_pass=objects_per_pass,
        )
    assert_near(results, by_segment_anything(module, features, prompts, 3))


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_nano_decodes_as_its_own_modules_do(capability, mask, monkeypatch):
    """So large that products run as convolutions where the processor gains by that."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    torch.manual_seed(0)
    module = build_nano()
    sam = SamModel(module)
    features = torch.randn(256, 64, 64)
    prompts = make_prompts(2, box=True, mask=False)
    if mask:
        prompts = replace(prompts, low_res_logits=9 * torch.randn(2, 256, 256))
    decoded = sam.decode(features, prompts, sam.letterbox(FRAME_HW))
    expected = by_segment_anything(module, features, in_model(prompts, sam), 3)
    assert_near((decoded.low_res_logits, decoded.predicted_ious), expected)


def of_another_class(module, sign: float):
    """The same weights, in a decoder that is not segment_anything's own and runs its own code."""

    class Other(type(module.mask_decoder)):
        def forward(self, **inputs):
            logits, ious = super().forward(**inputs)
            return sign * logits, ious

    changed = copy.deepcopy(module)
    changed.mask_decoder.__class__ = Other
    return changed


def test_a_decoder_of_another_class_runs_its_own_code(module, features):
    changed = of_another_class(module, -1)
    assert is_plain(module)
    assert not is_plain(changed)
    prompts = make_prompts(2, box=True, mask=True)
    letterbox = SamModel(module).letterbox(FRAME_HW)
    ours = SamModel(module).decode(features, prompts, letterbox).low_res_logits
    theirs = SamModel(changed).decode(features, prompts, letterbox).low_res_logits
    assert_near([theirs], [-ours])


@pytest.mark.parametrize(
    "make", [lambda module: module, lambda module: of_another_class(module, 1)]
)
def test_masks_are_mixed_by_weights_or_by_the_best(module, features, make):
    sam = SamModel(make(module))
    prompts, letterbox = make_prompts(20, box=True, mask=True), sam.letterbox(FRAME_HW)
    generator = torch.Generator().manual_seed(8)
    classifiers = torch.randn(20, 2, sam.num_pixel_channels, generator=generator)
    plain = sam.decode(features, prompts, letterbox, classifiers=classifiers)
    assert plain.classifier_logits.shape == (20, 2, 32, 32)
    weights = torch.randn(20, 3, generator=generator)
    best = torch.nn.functional.one_hot(plain.predicted_ious.argmax(dim=1), 3).float()
    assert not best[:, 0].all(), "the first mask always would pass"
    for mixing, as_weights in ((weights, weights), ("best", best)):
        mixed = sam.decode(features, prompts, letterbox, classifiers=classifiers, mixing=mixing)
        expected = torch.einsum("km,kmhw->khw", as_weights, plain.low_res_logits)[:, None]
        torch.testing.assert_close(mixed.low_res_logits, expected, atol=5e-4, rtol=1e-4)
        torch.testing.assert_close(mixed.predicted_ious, plain.predicted_ious)
        torch.testing.assert_close(
            mixed.classifier_logits, plain.classifier_logits, atol=5e-4, rtol=1e-4
        )


def test_each_object_has_its_own_best_mask():
    masks = torch.randn(3, 3, 4, 5)
    best = mix(masks, torch.tensor([[0.1, 0.2, 0.9], [0.5, 0.4, 0.3], [0.1, 0.6, 0.2]]), "best")
    assert torch.equal(best[:, 0], torch.stack([masks[0, 2], masks[1, 0], masks[2, 1]]))


@pytest.mark.parametrize("frame_hw", [(90, 160), (160, 90), (96, 96), (3, 160)])
def test_the_picture_alone_is_the_same_picture(module, features, frame_hw):
    sam = SamModel(module)
    prompts, letterbox = make_prompts(2, box=True, mask=False), sam.letterbox(frame_hw)
    whole = sam.decode(features, prompts, letterbox).low_res_logits
    part = sam.decode(features, prompts, letterbox, only_picture=True).low_res_logits
    assert part.shape == whole.shape
    for one, other in zip(part, whole, strict=True):
        assert_near([low_res_to_frame(one, letterbox)], [low_res_to_frame(other, letterbox)])
    assert (part == OUTSIDE).any() == (frame_hw[0] != frame_hw[1])
