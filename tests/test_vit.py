"""The ViT encoder with a fused attention, against segment_anything's own forward."""

import pytest
import torch
from golden_model import TINY, small_sam

from vos.sam.fast import vit
from vos.sam.fast.vit import encode_with_vit, is_plain_vit
from vos.sam.fast.windows import cut, join
from vos.sam.model import SamModel

# A window that divides the 8 cells and one that does not, without and with global attention.
SHAPES = [(4, []), (3, []), (4, [0]), (3, [1])]


def encoder_of(window: int, global_blocks: list[int]) -> torch.nn.Module:
    torch.manual_seed(0)
    settings = TINY | {
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
@pytest.mark.parametrize("queries", [1, 24, 200])
def test_features_equal_segment_anythings(window, global_blocks, batch, queries, monkeypatch):
    monkeypatch.setattr(vit, "_CPU_QUERIES", queries)
    encoder = encoder_of(window, global_blocks)
    images = torch.randn(batch, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    expected = encoder(images)
    torch.testing.assert_close(encode_with_vit(encoder, images), expected, atol=2e-5, rtol=2e-5)


@torch.no_grad()
def test_relative_positions_count_below_and_beside():
    encoder = encoder_of(3, [1])
    images = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    before = encode_with_vit(encoder, images)
    for name in ("rel_pos_h", "rel_pos_w"):
        changed = encoder_of(3, [1])
        changed.blocks[1].attn.get_parameter(name).mul_(-1)
        assert (encode_with_vit(changed, images) - before).abs().max() > 1e-3


@torch.no_grad()
def test_a_model_uses_it_and_only_for_the_published_class(monkeypatch):
    encoder = encoder_of(4, [])
    assert is_plain_vit(encoder)

    class Other(type(encoder)):
        def forward(self, images):
            return 2 * super().forward(images)

    module = small_sam(TINY)
    module.image_encoder.__class__ = Other
    assert not is_plain_vit(module.image_encoder)
    picture = torch.randint(0, 256, (128, 128, 3), dtype=torch.uint8).numpy()
    doubled = SamModel(module).encode([picture])
    module.image_encoder.__class__ = type(encoder)
    torch.testing.assert_close(2 * SamModel(module).encode([picture]), doubled)


@pytest.mark.parametrize("cells_hw", [(8, 8), (7, 5), (3, 10), (1, 1)])
@pytest.mark.parametrize("side", [1, 3, 4])
def test_windows_join_to_what_was_cut(cells_hw, side):
    cells = torch.randn(2, *cells_hw, 5)
    windows = cut(cells, side)
    assert windows.shape[1:] == (side * side, 5)
    assert torch.equal(join(windows, side, cells_hw), cells)


def test_a_window_holds_neighbours():
    cells = torch.arange(12.0).view(1, 2, 6, 1)
    assert cut(cells, 2)[1, :, 0].tolist() == [2, 3, 8, 9]
