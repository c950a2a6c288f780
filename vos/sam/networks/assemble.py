"""SAM around any image encoder: its prompt encoder, its mask decoder, and a faster norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.networks.segment_anything_modules import (
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

CHANNELS: Final = 256
"""Channels of the features that SAM's decoder was made for."""

_NORM_EPS: Final = 1e-6


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell, as segment_anything's ``LayerNorm2d``.

    One pass over the map instead of six. Channels-last tensors, which the encoders run on, reach
    the fused kernel without a copy.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.eps = _NORM_EPS
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        return norm_last(x.permute(0, 2, 3, 1), self).permute(0, 3, 1, 2)


def norm_last(cells: Tensor, norm: Any) -> Tensor:
    """Apply a :class:`ChannelNorm` or ``LayerNorm2d`` to a map whose channels are last."""
    return F.layer_norm(cells, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def assemble_sam(
    image_encoder: nn.Module,
    *,
    input_px: int,
    num_cells: int,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
) -> nn.Module:
    """Put SAM's own prompt encoder and mask decoder behind an image encoder.

    Args:
        image_encoder: Gives 256 channels.
        input_px: Side of its square input, model pixels.
        num_cells: Feature cells along that side.
        pixel_mean: Of each colour, in 0..255.
        pixel_std: Of each colour.

    Returns:
        segment_anything's ``Sam`` in evaluation mode, its new parts with random weights.
    """
    sam = Sam(
        image_encoder=image_encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=CHANNELS,
            image_embedding_size=(num_cells, num_cells),
            input_image_size=(input_px, input_px),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8
            ),
            transformer_dim=CHANNELS,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=list(pixel_mean),
        pixel_std=list(pixel_std),
    )
    return with_channel_norm(sam).eval()


def with_channel_norm(sam: nn.Module) -> nn.Module:
    """Put a :class:`ChannelNorm` into a new ``Sam``'s upscaling, whose map is its largest.

    It is there for training and guided calls; elsewhere :mod:`vos.sam.fast.decoder` upscales.
    """
    upscaling = sam.get_submodule("mask_decoder.output_upscaling")
    upscaling.register_module("1", ChannelNorm(CHANNELS // 4))
    return sam
