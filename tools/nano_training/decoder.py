"""SAM's decoder for training: many views, each with its own prompts, and the pixels' embeddings.

The arithmetic is segment_anything's, in another order. Its two transposed convolutions are
products whose results stay where they are until only masks are left to be put in order, which
saves most of the time that the large maps took; the mask that nobody asks for is left out. Nothing
waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MASK_STRIDE_PX = 2
"""Model pixels per pixel of the decoder's masks."""

_FIRST_MASK = 1  # the one before it is for a single answer, which the tracker never asks for


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Prompts of B views with P points each, in model pixels; ``boxes_xyxy`` (B, 4) or None."""

    points_xy: Tensor
    boxes_xyxy: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What the decoder says of B views.

    Attributes:
        logits: (B, 3, 4h, 4w) masks, float32.
        scores: (B, 3) predicted IoU, float32.
        pixels: (B, h, w, 16, D) embeddings of the masks' pixels; see :func:`classify`.
    """

    logits: Tensor
    scores: Tensor
    pixels: Tensor

    @property
    def best_logits(self) -> Tensor:
        """The (B, 4h, 4w) mask of the highest predicted IoU, without gradients."""
        best = self.scores.argmax(dim=1)
        index = best[:, None, None, None].expand(-1, 1, *self.logits.shape[2:])
        return self.logits.gather(1, index)[:, 0].detach()


def reduced_precision(device: torch.device) -> torch.autocast:
    """Convolve and multiply in bfloat16.

    Only encoder and decoder run in it: its 8 bits would round the prompts' coordinates to a
    pixel and more, and tie the largest similarities.
    """
    return torch.autocast(device.type, torch.bfloat16)


def decode(
    sam: nn.Module, features: Tensor, prompts: Prompts, mask_logits: Tensor | None, size_px: int
) -> Decoded:
    """Run the decoder on B views, one set of prompts each.

    Args:
        sam: The model.
        features: (B, C, h, w).
        prompts: One set for each view; all points are positive.
        mask_logits: (B, 4h, 4w) or None.
        size_px: Side of the views, model pixels.
    """
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    grid_hw = (features.shape[2], features.shape[3])
    sparse = _embed_sparse(encoder, prompts, size_px)
    if mask_logits is None:
        dense = encoder.no_mask_embed.weight[..., None, None]
    else:
        dense = encoder.mask_downscaling(mask_logits[:, None])
    positions = encoder.pe_layer(grid_hw)[None]
    with reduced_precision(features.device):
        asked = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([asked.expand(len(sparse), -1, -1), sparse], dim=1)
        cells = (features + dense).bfloat16()
        tokens, cells = decoder.transformer(cells, positions.bfloat16(), tokens)
        num_masks = len(decoder.mask_tokens.weight)
        scores = decoder.iou_prediction_head(tokens[:, 0])
        classifiers = torch.stack(
            [
                decoder.output_hypernetworks_mlps[i](tokens[:, 1 + i])
                for i in range(_FIRST_MASK, num_masks)
            ],
            dim=1,
        )
        pixels = _upscale(decoder.output_upscaling, cells).unflatten(1, grid_hw)
        logits = classify(pixels, classifiers)
    return Decoded(logits.float(), scores[:, _FIRST_MASK:].float(), pixels)


def classify(pixels: Tensor, classifiers: Tensor) -> Tensor:
    """Multiply (B, h, w, 16, D) embeddings by (B, M, D) classifiers: (B, M, 4h, 4w)."""
    num_views, height, width, _, _ = pixels.shape
    flat = pixels.flatten(1, 3) @ classifiers.transpose(1, 2)
    # Cells, then halves of a cell, then quarters; of each pair of axes rows come first.
    parts = flat.unflatten(1, (height, width, 2, 2, 2, 2))
    ordered = parts.permute(0, 7, 1, 3, 5, 2, 4, 6)
    return ordered.reshape(num_views, -1, 4 * height, 4 * width)


def in_reading_order(maps: Tensor) -> Tensor:
    """Put (B, 4h, 4w) maps into the order of ``pixels``: (B, h, w, 16)."""
    num_views, height, width = maps.shape
    parts = maps.reshape(num_views, height // 4, 2, 2, width // 4, 2, 2)
    return parts.permute(0, 1, 4, 2, 5, 3, 6).reshape(num_views, height // 4, width // 4, 16)


def _embed_sparse(encoder: nn.Module, prompts: Prompts, size_px: int) -> Tensor:
    """Embed points and box as the prompt encoder does, without its indexing by booleans."""
    size_hw = (size_px, size_px)
    # Pixels' centres.
    points = encoder.pe_layer.forward_with_coords(prompts.points_xy + 0.5, size_hw)
    points = points + encoder.point_embeddings[1].weight
    if prompts.boxes_xyxy is None:
        nothing = encoder.not_a_point_embed.weight.expand(len(points), 1, -1)
        return torch.cat([points, nothing], dim=1)
    corners = (prompts.boxes_xyxy + 0.5).reshape(-1, 2, 2)
    corners = encoder.pe_layer.forward_with_coords(corners, size_hw)
    kinds = torch.cat([encoder.point_embeddings[2].weight, encoder.point_embeddings[3].weight])
    return torch.cat([points, corners + kinds], dim=1)


def _upscale(upscaling: nn.Module, cells: Tensor) -> Tensor:
    """Give (B, N, C) cells' sixteen pixels each: (B, N, 16, D)."""
    halves = _split_in_four(cells, upscaling[0])
    norm = upscaling[1]
    halves = F.gelu(F.layer_norm(halves, norm.weight.shape, norm.weight, norm.bias, norm.eps))
    quarters = F.gelu(_split_in_four(halves, upscaling[3]))
    return quarters.flatten(2, 3)


def _split_in_four(values: Tensor, conv: nn.Module) -> Tensor:
    """Apply a transposed convolution of kernel and stride 2 to (..., C): (..., 4, D)."""
    num_in, num_out = conv.weight.shape[:2]
    weight = conv.weight.permute(2, 3, 1, 0).reshape(4 * num_out, num_in)
    return F.linear(values, weight, conv.bias.repeat(4)).unflatten(-1, (4, num_out))
