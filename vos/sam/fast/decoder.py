"""SAM's prompt encoder and mask decoder, the same arithmetic in another order.

segment_anything's own modules spend most of a call outside of what they compute: copies between
layouts, norms in six passes, masks that nobody wants, pixels of the padding, and above all
projections of all 4096 cells where only some ten tokens attend to them. Here

- the transformer does without these (:mod:`vos.sam.fast.two_way`);
- cells stay (cells, channels) from the features to the logits. A transposed convolution whose
  kernel is its stride is a product with each cell alone, so that only the finished logits are put
  in the order of pixels;
- of the last attention and of the masks only those tokens are computed that are needed, and
  where one mask is made of several, only that one;
- the objects of a frame share its cells until their tokens have changed them.

Sums are taken in another order, so results differ from segment_anything's in the last bits only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.fast.cells import Cells
from vos.sam.fast.products import linear
from vos.sam.fast.two_way import transform
from vos.sam.networks.assemble import norm_last
from vos.sam.networks.segment_anything_modules import (
    MaskDecoder,
    PromptEncoder,
    TwoWayTransformer,
    is_exactly,
)

OUTSIDE: Final = -32.0
"""The logit of pixels that were left out."""

Mixing = Tensor | Literal["best"] | None
"""What becomes of each object's M masks: their sum by (K, M) weights; the one of highest predicted
IoU; or None, and all are given."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelPrompts:
    """Prompts of K objects in model pixels, on the model's device.

    Attributes:
        points_xy: (K, P, 2) float32.
        point_labels: (K, P) 1 on the object, 0 beside it.
        boxes_xyxy: (K, 4) float32, or None.
        low_res_logits: (K, 4h, 4w) logits of an earlier call, or None.
    """

    points_xy: Tensor
    point_labels: Tensor
    boxes_xyxy: Tensor | None = None
    low_res_logits: Tensor | None = None

    def of(self, objects: slice) -> ModelPrompts:
        """Give those of some objects."""
        boxes, logits = self.boxes_xyxy, self.low_res_logits
        return ModelPrompts(
            self.points_xy[objects],
            self.point_labels[objects],
            None if boxes is None else boxes[objects],
            None if logits is None else logits[objects],
        )


def is_plain(module: Any) -> bool:
    """Tell whether a module's prompts are decoded by exactly segment_anything's own classes."""
    parts = (
        (module.prompt_encoder, PromptEncoder),
        (module.mask_decoder, MaskDecoder),
        (getattr(module.mask_decoder, "transformer", None), TwoWayTransformer),
    )
    return all(is_exactly(part, published) for part, published in parts)


def num_pixel_channels(mask_decoder: Any) -> int:
    """Give the length of a pixel's embedding, which the mask tokens' classifiers multiply."""
    upscaling: nn.ConvTranspose2d = mask_decoder.output_upscaling[3]
    return upscaling.out_channels


def cell_positions(prompt_encoder: Any) -> Tensor:
    """Give the (cells, C) positional encoding of a prompt encoder's cells."""
    encoding: Tensor = prompt_encoder.get_dense_pe()[0]
    return encoding.flatten(1).T.contiguous()


def decode_masks(
    module: Any,
    features: Tensor,
    positions: Tensor,
    prompts: ModelPrompts,
    *,
    num_masks: int,
    objects_per_pass: int,
    classifiers: Tensor | None = None,
    mixing: Mixing = None,
    needed_hw: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Decode K objects' prompts on one frame.

    Args:
        module: A ``Sam`` for which :func:`is_plain` holds.
        features: (C, h, w) of the frame.
        positions: (cells, C) of the module, from :func:`cell_positions`.
        prompts: Of the K objects.
        num_masks: 3 for part, subpart and whole, 1 for the single answer.
        objects_per_pass: How many objects' cells are worked on together: one at a time stays in
            a CPU's cache, a GPU gains by all at once.
        classifiers: (K, V, C/8) further linear classifiers of the pixels, beside those that the
            tokens give, or None.
        mixing: See :data:`Mixing`.
        needed_hw: Rows and columns of cells whose logits are needed, all if None; the others' are
            :data:`OUTSIDE`.

    Returns:
        (K, M + V, 4h, 4w) logits, (K, 1 + V, 4h, 4w) of mixed masks, and (K, M) predicted IoUs.
    """
    decoder = module.mask_decoder
    points = prompts.points_xy, prompts.point_labels
    sparse, _ = module.prompt_encoder(points=points, boxes=prompts.boxes_xyxy, masks=None)
    learned = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([learned.expand(len(sparse), -1, -1), sparse], dim=1)
    wanted = slice(1, decoder.num_mask_tokens) if num_masks > 1 else slice(0, 1)

    masks = prompts.low_res_logits
    cells = _cells_of(module.prompt_encoder, features.flatten(1).T, positions, masks)
    starts = range(0, len(tokens), objects_per_pass)
    groups = [
        (objects, cells.of(objects)) for objects in (slice(n, n + objects_per_pass) for n in starts)
    ]
    tokens, groups = transform(decoder.transformer, groups, tokens, wanted, are_alike=masks is None)

    by_mask = [
        decoder.output_hypernetworks_mlps[n](tokens[:, row])
        for row, n in enumerate(range(decoder.num_mask_tokens)[wanted], start=1)
    ]
    ious = decoder.iou_prediction_head(tokens[:, 0])[:, wanted]
    # A mask is linear in its token's row, so that the rows are mixed instead of the masks.
    rows = mix(torch.stack(by_mask, dim=1), ious, mixing)
    if classifiers is not None:
        rows = torch.cat([rows, classifiers], dim=1)
    cells_hw = (features.shape[1], features.shape[2])
    logits = [
        _upscale(decoder.output_upscaling, cells, rows[objects], cells_hw, needed_hw)
        for objects, cells in groups
    ]
    return torch.cat(logits), ious


def mix(masks: Tensor, predicted_ious: Tensor, mixing: Mixing) -> Tensor:
    """Make one of each object's masks, or of what is linear in them.

    Args:
        masks: (K, M, ...).
        predicted_ious: (K, M).
        mixing: See :data:`Mixing`.

    Returns:
        (K, 1, ...); the masks as they are if ``mixing`` is None.
    """
    if mixing is None:
        return masks
    if isinstance(mixing, Tensor):
        return torch.einsum("km,km...->k...", mixing, masks)[:, None]
    objects = torch.arange(len(masks), device=masks.device)
    return masks[objects, predicted_ious.argmax(dim=1)][:, None]


def _cells_of(
    prompt_encoder: Any, features: Tensor, positions: Tensor, masks: Tensor | None
) -> Cells:
    """Put (N, C) features and positions and the embedding of (K, 4h, 4w) masks together."""
    if masks is None:
        return Cells.of_frame(features + prompt_encoder.no_mask_embed.weight, positions, None, None)
    # The last layer makes few channels many; what comes of it is never needed by itself.
    channels = prompt_encoder.mask_downscaling[:-1](masks[:, None]).flatten(2)
    last = prompt_encoder.mask_downscaling[-1]
    return Cells.of_frame(features + last.bias, positions, channels, last.weight.flatten(1).T)


def _upscale(
    upscaling: nn.Sequential,
    cells: Cells,
    by_mask: Tensor,
    cells_hw: tuple[int, int],
    needed_hw: tuple[int, int] | None,
) -> Tensor:
    """Turn G objects' cells and the tokens' (G, M, C/8) classifiers into (G, M, 4h, 4w) logits."""
    first, norm, activation, second, last_activation = upscaling
    num_objects, num_masks, num_channels = by_mask.shape
    if needed_hw is not None:
        cells = cells.crop(cells_hw, needed_hw)
    weight, bias = _as_linear(second)
    chunks = []
    for rows in cells.projected(*_as_linear(first)):
        rows = activation(norm_last(rows.view(num_objects, -1, 4, rows.shape[2] // 4), norm))
        rows = last_activation(linear(rows, weight, bias)).view(num_objects, -1, num_channels)
        chunks.append(torch.unflatten(torch.bmm(by_mask, rows.mT), 2, (-1, 16)))
    num_rows, num_columns = needed_hw or cells_hw
    # Cell row, cell column, then (row, column) of the first and of the second quarter.
    grid = torch.cat(chunks, dim=2).view(num_objects, num_masks, num_rows, num_columns, 2, 2, 2, 2)
    pixels = grid.permute(0, 1, 2, 4, 6, 3, 5, 7)
    pixels = pixels.reshape(num_objects, num_masks, 4 * num_rows, 4 * num_columns)
    if (num_rows, num_columns) == cells_hw:
        return pixels
    beyond = (0, 4 * (cells_hw[1] - num_columns), 0, 4 * (cells_hw[0] - num_rows))
    return F.pad(pixels, beyond, value=OUTSIDE)


def _as_linear(conv: Any) -> tuple[Tensor, Tensor]:
    """Give the (4 out, in) weight and the bias by which a stride-2 kernel-2 one maps a cell."""
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)
