"""SAM's prompt encoder and mask decoder, the same arithmetic in another order.

segment_anything's own modules spend most of a call outside of what they compute: copies between
layouts, norms in six passes, masks that nobody asked for, and above all projections of all 4096
cells where only some ten tokens look at them. Here

- a cross attention never projects the cells. With the projection W, a query q and a cell x,
  q . (W x) is (W^T q) . x, so that the projection moves to the side of the few tokens; likewise
  the weighted sum of projected cells is the projection of the weighted sum. A bias of the keys adds
  the same to all scores of a query, which the softmax ignores;
- cells stay (cells, channels) from the features to the logits. A transposed convolution whose
  kernel is its stride is a product with each cell alone, so that only the finished logits are put
  in the order of pixels;
- of the last attention and of the masks only those tokens are computed that are asked for;
- the objects of a frame share its cells until their tokens have changed them.

Sums are taken in another order, so results differ from segment_anything's in the last bits only.
Nothing but the positional encoding is kept from call to call; weights may change at any time.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.assemble import norm_last
from vos.sam.products import linear
from vos.sam.segment_anything_modules import (
    MaskDecoder,
    PromptEncoder,
    TwoWayTransformer,
    is_own_class,
)

_CELLS_PER_CHUNK: Final = 2048


def is_plain(module: Any) -> bool:
    """Tell whether a module's prompts are decoded by exactly segment_anything's own classes."""
    parts = (
        (module.prompt_encoder, PromptEncoder),
        (module.mask_decoder, MaskDecoder),
        (getattr(module.mask_decoder, "transformer", None), TwoWayTransformer),
    )
    return all(is_own_class(part, own) for part, own in parts)


def num_pixel_channels(mask_decoder: Any) -> int:
    """Give the length of a pixel's embedding, which the mask tokens' classifiers look at."""
    upscaling: nn.ConvTranspose2d = mask_decoder.output_upscaling[3]
    return upscaling.out_channels


class Positions:
    """Positional encoding of a prompt encoder's cells, computed again only when it changes."""

    def __init__(self, prompt_encoder: Any) -> None:
        self._prompt_encoder = prompt_encoder
        self._known: tuple[object, Tensor] | None = None

    def encode(self) -> Tensor:
        """Give (cells, C)."""
        matrix = self._prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        # A tensor of inference mode cannot be told from what it was before.
        state = None if matrix.is_inference() else (matrix.data_ptr(), matrix._version)
        if self._known is None or state is None or self._known[0] != state:
            encoding = self._prompt_encoder.get_dense_pe()[0]
            self._known = state, encoding.flatten(1).T.contiguous()
        return self._known[1]


def decode_masks(
    module: Any,
    features: Tensor,
    points: tuple[Tensor, Tensor],
    boxes: Tensor | None,
    masks: Tensor | None,
    num_masks: int,
    position: Tensor,
    classifiers: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode K objects' prompts on one frame.

    Args:
        module: A ``Sam`` for which :func:`is_plain` holds.
        features: (C, h, w) of the frame.
        points: (K, P, 2) model pixels and their (K, P) labels.
        boxes: (K, 4) model pixels, or None.
        masks: (K, 4h, 4w) logits of an earlier call, or None.
        num_masks: 3 for part, subpart and whole, 1 for the single answer.
        position: (cells, C), from :class:`Positions`.
        classifiers: (K, V, C/8) further linear classifiers of the pixels, beside those that the
            tokens give, or None.

    Returns:
        (K, M + V, 4h, 4w) logits and (K, M) predicted IoUs.
    """
    prompt_encoder, decoder = module.prompt_encoder, module.mask_decoder
    prompts, _ = prompt_encoder(points=points, boxes=boxes, masks=None)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
    wanted = slice(1, decoder.num_mask_tokens) if num_masks > 1 else slice(0, 1)

    cells_hw = (features.shape[1], features.shape[2])
    cells = features.flatten(1).T[None]
    if masks is None:
        cells = cells + prompt_encoder.no_mask_embed.weight
    else:
        cells = cells + _embed_masks(prompt_encoder.mask_downscaling, masks)
    tokens, cells = _transform(decoder.transformer, cells, position, tokens, wanted)

    by_mask = [
        decoder.output_hypernetworks_mlps[n](tokens[:, 1 + place])
        for place, n in enumerate(range(decoder.num_mask_tokens)[wanted])
    ]
    rows = torch.stack(by_mask, dim=1)
    if classifiers is not None:
        rows = torch.cat([rows, classifiers], dim=1)
    logits = _upscale(decoder.output_upscaling, cells, rows, cells_hw)
    return logits, decoder.iou_prediction_head(tokens[:, 0])[:, wanted]


def _embed_masks(downscaling: Any, masks: Tensor) -> Tensor:
    """Turn (K, 4h, 4w) logits into (K, cells, C); strides are kernels here, so patches are rows."""
    first, first_norm, _, second, second_norm, _, last = downscaling
    rows = masks[..., None]
    for conv, norm, activation in (
        (first, first_norm, downscaling[2]),
        (second, second_norm, downscaling[5]),
    ):
        num_objects, height, width, channels = rows.shape
        patches = rows.reshape(num_objects, height // 2, 2, width // 2, 2, channels)
        patches = patches.permute(0, 1, 3, 5, 2, 4).flatten(3)
        rows = F.linear(patches, conv.weight.flatten(1), conv.bias)
        rows = activation(norm_last(rows, norm))
    return linear(rows.flatten(1, 2), last.weight.flatten(1), last.bias)


def _transform(
    transformer: Any, cells: Tensor, position: Tensor, tokens: Tensor, wanted: slice
) -> tuple[Tensor, Tensor]:
    """Run the two-way transformer.

    Args:
        transformer: segment_anything's ``TwoWayTransformer``.
        cells: (K or 1, cells, C); may be overwritten.
        position: (cells, C) positional encoding.
        tokens: (K, T, C): IoU token, mask tokens, prompts.
        wanted: Which mask tokens are asked for.

    Returns:
        The (K, 1 + M, C) IoU token and wanted mask tokens, and the (K, cells, C) cells.
    """
    queries = tokens
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(queries, queries, queries)
        else:
            placed = queries + tokens
            queries = queries + layer.self_attn(placed, placed, queries)
        queries = layer.norm1(queries)
        placed_cells = cells + position
        found = _look_at_cells(
            layer.cross_attn_token_to_image, queries + tokens, placed_cells, cells
        )
        queries = layer.norm2(queries + found)
        queries = layer.norm3(queries + layer.mlp(queries))
        cells = layer.norm4(
            _look_at_tokens(
                layer.cross_attn_image_to_token, cells, placed_cells, queries + tokens, queries
            )
        )
    own = [0, *range(1, tokens.shape[1])[wanted]]
    queries, tokens = queries[:, own], tokens[:, own]
    found = _look_at_cells(
        transformer.final_attn_token_to_image, queries + tokens, cells + position, cells
    )
    return transformer.norm_final_attn(queries + found), cells


def _look_at_cells(attention: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from (K, T, C) tokens to (K or 1, cells, C) cells."""
    heads = attention.num_heads
    num_objects, num_tokens, channels = queries.shape
    per_head = attention.q_proj(queries).unflatten(2, (heads, -1))
    scale = per_head.shape[3] ** -0.5
    key_weight = attention.k_proj.weight.unflatten(0, (heads, -1)) * scale
    folded = torch.einsum("kthd,hdc->kthc", per_head, key_weight).flatten(1, 2)
    weights = torch.softmax(_scores(keys, folded), dim=-1)
    seen = _matmul(weights, values).view(num_objects, num_tokens, heads, channels)
    value_weight = attention.v_proj.weight.unflatten(0, (heads, -1))
    mixed = torch.einsum("kthc,hdc->kthd", seen, value_weight).flatten(2) + attention.v_proj.bias
    result: Tensor = attention.out_proj(mixed)
    return result


def _look_at_tokens(
    attention: Any, cells: Tensor, placed_cells: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Attend from (K or 1, cells, C) cells to (K, T, C) tokens; add the result to the cells."""
    heads = attention.num_heads
    num_objects, num_tokens, _ = keys.shape
    key_heads = attention.k_proj(keys).unflatten(2, (heads, -1))
    value_heads = attention.v_proj(values).unflatten(2, (heads, -1))
    scale = key_heads.shape[3] ** -0.5
    query_weight = attention.q_proj.weight.unflatten(0, (heads, -1)) * scale
    query_bias = attention.q_proj.bias.unflatten(0, (heads, -1)) * scale
    folded = torch.einsum("kthd,hdc->kthc", key_heads, query_weight).flatten(1, 2)
    offsets = torch.einsum("kthd,hd->kth", key_heads, query_bias).flatten(1)
    scores = _scores(placed_cells, folded, offsets).view(num_objects, num_tokens, -1)
    weights = torch.softmax(scores, dim=1).view(num_objects, num_tokens * heads, -1)
    out_weight = attention.out_proj.weight.unflatten(1, (heads, -1))
    answers = torch.einsum("kthd,chd->kthc", value_heads, out_weight)
    # The weights of a head sum to 1, so that its share of the bias rides on every answer.
    answers = (answers + attention.out_proj.bias / heads).flatten(1, 2)
    if len(cells) == num_objects:
        return cells.baddbmm_(weights.mT, answers)
    return torch.baddbmm(cells.expand(num_objects, -1, -1), weights.mT, answers)


def _scores(cells: Tensor, rows: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Multiply (K or 1, cells, C) by (K, n, C) and add (K, n); gives (K, n, cells)."""
    if len(rows) > 1:
        scores = _matmul(rows, cells.mT)
        return scores if offsets is None else scores + offsets[..., None]
    bias = None if offsets is None else offsets[0]
    return linear(cells[0], rows[0], bias).T.contiguous()[None]


def _matmul(rows: Tensor, shared: Tensor) -> Tensor:
    """Multiply (K, n, a) by (K or 1, a, b); where all share it, as one product."""
    if len(shared) < len(rows):
        return (rows.flatten(0, 1) @ shared[0]).view(*rows.shape[:2], -1)
    return torch.bmm(rows, shared)


def _upscale(
    upscaling: nn.Sequential, cells: Tensor, by_mask: Tensor, cells_hw: tuple[int, int]
) -> Tensor:
    """Turn (K, cells, C) cells and the (K, M, C/8) tokens' answers into (K, M, 4h, 4w) logits."""
    first, norm, activation, second, last_activation = upscaling
    num_objects, num_cells, _ = cells.shape
    num_masks = by_mask.shape[1]
    weights, biases = zip(*(_as_linear(conv) for conv in (first, second)), strict=True)
    logits = cells.new_empty(num_objects, num_masks, num_cells, 16)
    # In chunks, because the intermediate maps are large, and stay in the processor's cache so.
    step = _CELLS_PER_CHUNK if cells.device.type == "cpu" else num_cells
    for begin in range(0, num_cells, step):
        rows = linear(cells[:, begin : begin + step], weights[0], biases[0])
        rows = activation(norm_last(rows.view(num_objects, -1, 4, weights[0].shape[0] // 4), norm))
        rows = linear(rows, weights[1], biases[1])
        rows = last_activation(rows).view(num_objects, -1, by_mask.shape[2])
        own = torch.bmm(by_mask, rows.mT)
        logits[:, :, begin : begin + step] = own.view(num_objects, num_masks, -1, 16)
    height, width = cells_hw
    # Cell row, cell column, then (row, column) of the first and of the second quarter.
    grid = logits.view(num_objects, num_masks, height, width, 2, 2, 2, 2)
    pixels = grid.permute(0, 1, 2, 4, 6, 3, 5, 7)
    return pixels.reshape(num_objects, num_masks, 4 * height, 4 * width)


def _as_linear(conv: Any) -> tuple[Tensor, Tensor]:
    """Give the (4 out, in) weight and the bias by which a stride-2 kernel-2 one maps a cell."""
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)
