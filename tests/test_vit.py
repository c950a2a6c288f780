"""The ViT encoder with a fused attention, against segment_anything's own forward."""

import numpy as np
import pytest
import torch
from golden_model import TINY, small_sam

from vos.sam.fast.vit import encode_with_vit, is_plain_vit
from vos.sam.model import SamModel
from vos.sam.networks.architectures import build_module

# A window that divides the 16 cells and one that does not, without and with global attention,
# whose queries come in two chunks.
SHAPES = [(4, []), (3, []), (4, [0]), (3, [1])]
SIDE_PX = 256


def encoder_of(window: int, global_blocks: list[int]) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = TINY | {
        "image_size": SIDE_PX,
        "encoder_depth": 2,
        "window_size": window,
        "encoder_global_attn_indexes": global_blocks,
    }
    encoder = small_sam(settings).image_encoder
    with torch.no_grad():  # the relative positions start as zeros
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder.eval()


@torch.no_grad()
@pytest.mark.parametrize(("window", "global_blocks"), SHAPES)
@pytest.mark.parametrize("batch", [1, 2])
def test_features_equal_segment_anythings(window, global_blocks, batch):
    encoder = encoder_of(window, global_blocks)
    images = torch.randn(batch, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1))
    expected = encoder(images)
    torch.testing.assert_close(encode_with_vit(encoder, images), expected, atol=2e-5, rtol=2e-5)


@torch.no_grad()
def test_features_of_the_real_size_equal_segment_anythings():
    """The first block of vit_b, on 64 x 64 cells."""
    encoder = build_module("vit_b").image_encoder
    encoder.blocks = encoder.blocks[:1]
    encoder = encoder.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.parameters():
        parameter.normal_(0, 0.02, generator=generator)
    images = torch.randn(1, 3, 1024, 1024, generator=generator)
    torch.testing.assert_close(
        encode_with_vit(encoder, images), encoder(images), atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_another_class_runs_its_own_code():
    module = small_sam(TINY)
    published = type(module.image_encoder)
    assert is_plain_vit(module.image_encoder)

    class Doubled(published):
        def forward(self, images):
            return 2 * super().forward(images)

    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    plain = SamModel(module).encode([picture])
    module.image_encoder.__class__ = Doubled
    assert not is_plain_vit(module.image_encoder)
    doubled = SamModel(module).encode([picture])
    torch.testing.assert_close(doubled, 2 * plain, atol=1e-4, rtol=1e-4)
