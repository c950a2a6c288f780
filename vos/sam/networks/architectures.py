"""The network of each registered model, without its weights."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import nn

from vos.sam.networks.assemble import CHANNELS, assemble_sam
from vos.sam.networks.nano import build_nano
from vos.sam.networks.segment_anything_modules import ImageEncoderViT
from vos.sam.networks.tiny_vit import TinyViT
from vos.sam.weights.registry import find_model

_INPUT_PX: Final = 1024
_PATCH_PX: Final = 16

# Channels, blocks, heads, and the blocks whose attention spans the whole image (Kirillov et al.,
# arXiv 2304.02643, appendix A).
_VIT_SIZES: Final = {
    "vit_b": (768, 12, 12, (2, 5, 8, 11)),
    "vit_l": (1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": (1280, 32, 16, (7, 15, 23, 31)),
}


def build_module(name: str) -> nn.Module:
    """Build a registered model's network, for ``checkpoints.load_weights`` to fill.

    Args:
        name: As in the registry.

    Returns:
        segment_anything's ``Sam``, in evaluation mode, on the CPU. The image encoders of vit_b,
        vit_l and vit_h are without storage (torch's device ``meta``) until weights are loaded,
        which saves the seconds and gigabytes that drawing random ones would take.

    Raises:
        UnknownModelError: the name is not registered.
    """
    find_model(name)
    if name == "nano":
        return build_nano()
    if name == "mobile_sam":
        return _build_sam(TinyViT())
    # Only here is that safe: it has no buffer, which a state dict could leave out.
    with torch.device("meta"):
        image_encoder = _build_vit(*_VIT_SIZES[name])
    return _build_sam(image_encoder)


def _build_vit(
    embed_dim: int, depth: int, num_heads: int, global_attention: tuple[int, ...]
) -> nn.Module:
    return ImageEncoderViT(
        img_size=_INPUT_PX,
        patch_size=_PATCH_PX,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=4,
        out_chans=CHANNELS,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=global_attention,
    )


def _build_sam(image_encoder: nn.Module) -> nn.Module:
    return assemble_sam(
        image_encoder,
        input_px=_INPUT_PX,
        num_cells=_INPUT_PX // _PATCH_PX,
        pixel_mean=(123.675, 116.28, 103.53),
        pixel_std=(58.395, 57.12, 57.375),
    )
