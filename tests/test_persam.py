"""Training-free PerSAM: its guidance leaves nothing behind and lies where the picture does."""

import numpy as np
import pytest
import torch
from golden_model import TINY, small_sam
from hypothesis import given, settings
from hypothesis import strategies as st

from vos.errors import InputError
from vos.sam.geometry import Letterbox
from vos.sam.guidance import Guidance
from vos.sam.model import NEGATIVE, POSITIVE, Prompts, SamModel
from vos.track.published.persam import guide

FRAME_HW = (90, 160)
PROMPTS = Prompts(
    np.array([[[30, 40], [100, 20]], [[60, 70], [5, 5]]]),
    np.array([[POSITIVE, NEGATIVE], [POSITIVE, NEGATIVE]]),
)


@pytest.fixture(scope="module")
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return small_sam(TINY)


@pytest.fixture(scope="module")
def sam(module) -> SamModel:
    return SamModel(module)


@pytest.fixture(scope="module")
def features(sam) -> torch.Tensor:
    picture = np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8)
    return sam.encode([picture])[0]


def guidance(num_objects: int = 2) -> Guidance:
    generator = torch.Generator().manual_seed(1)
    return Guidance(
        torch.rand(num_objects, 8, 8, generator=generator),
        torch.randn(num_objects, 32, generator=generator),
    )


def num_hooks(module: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@torch.inference_mode()
def original(module, features, letterbox: Letterbox, num_masks: int):
    """segment_anything's own decoder, called without any code of ours."""
    points = torch.from_numpy(PROMPTS.points_xy).double()
    coordinates = letterbox.points_to_model(points).float()
    sparse, dense = module.prompt_encoder(
        points=(coordinates, torch.from_numpy(PROMPTS.point_labels)), boxes=None, masks=None
    )
    return module.mask_decoder(
        image_embeddings=features[None],
        image_pe=module.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=num_masks == 3,
    )


@pytest.mark.parametrize("num_masks", [1, 3])
def test_guidance_is_gone_after_the_call(sam, module, features, num_masks):
    letterbox = sam.letterbox(FRAME_HW)
    before = sam.decode(features, PROMPTS, letterbox, num_masks=num_masks)
    logits, ious = original(module, features, letterbox, num_masks)
    guided = sam.decode(features, PROMPTS, letterbox, num_masks=num_masks, guidance=guidance())
    assert (guided.low_res_logits - logits).abs().max() > 1e-3
    assert num_hooks(module) == 0
    plain = sam.decode(features, PROMPTS, letterbox, num_masks=num_masks)
    assert torch.equal(plain.low_res_logits, before.low_res_logits)
    assert torch.equal(plain.predicted_ious, before.predicted_ious)
    for ours, theirs in ((logits, before.low_res_logits), (ious, before.predicted_ious)):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_guidance_is_gone_after_an_error(sam, module, features):
    letterbox = sam.letterbox(FRAME_HW)
    before = sam.decode(features, PROMPTS, letterbox).low_res_logits
    with pytest.raises(RuntimeError):
        sam.decode(features, PROMPTS, letterbox, guidance=guidance(num_objects=3))
    assert num_hooks(module) == 0
    assert torch.equal(sam.decode(features, PROMPTS, letterbox).low_res_logits, before)


def test_each_object_has_its_own_guidance(sam, features):
    letterbox, both = sam.letterbox(FRAME_HW), guidance()
    together = sam.decode(features, PROMPTS, letterbox, num_masks=1, guidance=both)
    for k in range(2):
        alone = sam.decode(
            features,
            Prompts(PROMPTS.points_xy[k : k + 1], PROMPTS.point_labels[k : k + 1]),
            letterbox,
            num_masks=1,
            guidance=Guidance(both.attention[k : k + 1], both.embeddings[k : k + 1]),
        )
        torch.testing.assert_close(
            alone.low_res_logits[0], together.low_res_logits[k], atol=1e-4, rtol=1e-4
        )


@settings(max_examples=30)
@given(st.integers(20, 200), st.integers(20, 200), st.floats(0, 0.999), st.floats(0, 0.999))
def test_attention_lies_where_the_picture_does(height, width, down, right):
    """A bump at a place of the frame is brightest in the cell that holds this place."""
    letterbox = Letterbox((height, width), 128)
    x, y = int(right * width), int(down * height)
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    sigma_px = max(height, width) / 16
    bump = torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma_px**2))[None]
    attention = guide(bump, torch.zeros(1, 4), letterbox, (16, 16)).attention[0]
    row, column = divmod(int(attention.argmax()), 16)
    model_height, model_width = letterbox.resized_hw
    assert abs((column + 0.5) * 8 - (x + 0.5) * model_width / width) <= 9
    assert abs((row + 0.5) * 8 - (y + 0.5) * model_height / height) <= 9
    rows = -(-(model_height - 4) // 8) if model_height > 4 else 0
    columns = -(-(model_width - 4) // 8) if model_width > 4 else 0
    assert (attention[rows:] == 0).all()
    assert (attention[:, columns:] == 0).all()
    assert (attention[:rows, :columns] > 0).all()


def test_a_constant_map_gives_even_attention():
    flat = torch.full((1, 64, 64), 0.3)
    attention = guide(flat, torch.zeros(1, 4), Letterbox((64, 64), 128), (8, 8)).attention
    torch.testing.assert_close(attention, torch.full((1, 8, 8), 0.5))


def test_guidance_checks_its_rows():
    with pytest.raises(InputError, match="attention"):
        Guidance(torch.zeros(2, 8, 8), torch.zeros(1, 32))
