"""SAM's ViT encoder with a fused attention, on segment_anything's own module and weights.

segment_anything builds the (cells, cells) matrix of scores of every head, adds the two parts of
the relative position to it and takes the softmax, each a pass over up to 800 MB. Here the sum of
both parts is the additive bias of torch's scaled_dot_product_attention, and on a CPU the queries
come in chunks, so that the bias stays small too. The norms of the neck are fused. Nothing else
differs; results agree to the last bits.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from vos.sam.fast.products import apply
from vos.sam.networks.assemble import norm_last
from vos.sam.networks.segment_anything_modules import (
    ImageEncoderViT,
    is_exactly,
    window_partition,
    window_unpartition,
)

_CPU_QUERIES: Final = 200  # a whole window of 14 x 14 cells, three rows of the whole map


def is_plain_vit(encoder: Any) -> bool:
    """Tell whether an encoder is exactly segment_anything's ``ImageEncoderViT``."""
    return is_exactly(encoder, ImageEncoderViT)


def encode_with_vit(encoder: Any, images: Tensor) -> Tensor:
    """Encode normalised images.

    Args:
        encoder: segment_anything's ``ImageEncoderViT``.
        images: (B, 3, H, W) at most as large as the encoder's input, multiples of its patch.

    Returns:
        (B, C, h, w) features.
    """
    x = encoder.patch_embed(images)
    if encoder.pos_embed is not None:
        x = x + encoder.pos_embed[:, : x.shape[1], : x.shape[2]]
    for block in encoder.blocks:
        x = _run_block(block, x)
    first, first_norm, second, second_norm = encoder.neck
    x = norm_last(first(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), first_norm)
    x = norm_last(second(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), second_norm)
    return x.permute(0, 3, 1, 2)


def _run_block(block: Any, x: Tensor) -> Tensor:
    """Run one transformer block on (B, h, w, C) cells."""
    cells, side = block.norm1(x), block.window_size
    if side > 0:
        windows, padded_hw = window_partition(cells, side)
        attended = _attend(block.attn, windows)
        attended = window_unpartition(attended, side, padded_hw, (x.shape[1], x.shape[2]))
    else:
        attended = _attend(block.attn, cells)
    x = x + attended
    mlp = block.mlp
    return x + apply(mlp.lin2, mlp.act(apply(mlp.lin1, block.norm2(x))))


def _attend(attention: Any, cells: Tensor) -> Tensor:
    """Let all (B, h, w, C) cells of a map attend to each other."""
    batch, height, width, channels = cells.shape
    heads = attention.num_heads
    qkv = apply(attention.qkv, cells).view(batch, height * width, 3, heads, -1)
    queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
    step = max(1, _CPU_QUERIES // width) if cells.device.type == "cpu" else height
    parts = []
    for top in range(0, height, step):
        some = queries[:, :, top * width : (top + step) * width]
        bias = None
        if attention.use_rel_pos:
            bias = _position_bias(attention, some, top, (height, width))
        parts.append(
            F.scaled_dot_product_attention(
                some, keys, values, attn_mask=bias, scale=attention.scale
            )
        )
    mixed = torch.cat(parts, dim=2).transpose(1, 2)
    return apply(attention.proj, mixed.reshape(batch, height, width, channels))


def _position_bias(attention: Any, queries: Tensor, top: int, cells_hw: tuple[int, int]) -> Tensor:
    """Give the (B, heads, rows * w, h * w) scores that queries give to relative positions."""
    height, width = cells_hw
    batch, heads, num_queries, _ = queries.shape
    num_rows = num_queries // width
    by_cell = queries.reshape(batch, heads, num_rows, width, -1)
    below = _relative(attention.rel_pos_h, torch.arange(top, top + num_rows), height)
    beside = _relative(attention.rel_pos_w, torch.arange(width), width)
    vertical = torch.einsum("bnhwc,hkc->bnhwk", by_cell, below.to(queries.dtype))
    horizontal = torch.einsum("bnhwc,wkc->bnhwk", by_cell, beside.to(queries.dtype))
    # Contiguous parts make a contiguous sum, which the fused kernel takes without a copy.
    bias = vertical.contiguous()[..., :, None] + horizontal.contiguous()[..., None, :]
    return bias.reshape(batch, heads, num_queries, height * width)


def _relative(table: Tensor, queries: Tensor, num_keys: int) -> Tensor:
    """Look up the (queries, keys, C) embedding of each distance; the table's middle is 0."""
    distances = queries[:, None] - torch.arange(num_keys) + len(table) // 2
    return table[distances.to(table.device)]
