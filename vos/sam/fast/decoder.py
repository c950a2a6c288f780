"""SAM's prompt encoder and mask decoder, the same arithmetic in another order.

segment_anything's own modules spend most of a call outside of what they compute: copies between
layouts, norms in six passes, masks that nobody asked for, pixels of the padding, and above all
projections of all 4096 cells where only some ten tokens look at them. Here

- the transformer does without these (:mod:`vos.sam.fast.two_way`);
- cells stay (cells, channels) from the features to the logits. A transposed convolution whose
  kernel is its stride is a product with each cell alone, so that only the finished logits are put
  in the order of pixels;
- of the last attention and of the masks only those tokens are computed that are asked for, and
  where one mask is made of several, only that one;
- the objects of a frame share its cells until their tokens have changed them, and where they are
  many, to the end (:mod:`vos.sam.fast.shared_cells`).

Sums are taken in another order, so results differ from segment_anything's in the last bits only.
Nothing but the positional encoding is kept from call to call; weights may change at any time.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.errors import InputError
from vos.sam.fast.cells import Cells
from vos.sam.fast.padding import Thinned
from vos.sam.fast.products import linear
from vos.sam.fast.shared_cells import SharedCells
from vos.sam.fast.shared_maps import SharedMaps, share
from vos.sam.fast.two_way import Part, transform
from vos.sam.networks.assemble import norm_last
from vos.sam.networks.segment_anything_modules import (
    MaskDecoder,
    PromptEncoder,
    TwoWayTransformer,
    is_own_class,
)

OUTSIDE: Final = -32.0
"""The logit of pixels that were not asked for."""

Mixing = Tensor | Literal["best"] | None
"""What becomes of each object's M masks: their sum by (K, M) weights; the one of highest predicted
IoU; or None, and all are given."""


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
    mixing: Mixing = None,
    needed_hw: tuple[int, int] | None = None,
    thinned: Thinned | None = None,
    shared: SharedMaps | None = None,
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
        mixing: See :data:`Mixing`.
        needed_hw: Rows and columns of cells whose logits are needed, all if None; the others' are
            :data:`OUTSIDE`.
        thinned: Which cells stand for all, if not each for itself: the logits of the others are
            those of their stand-in.
        shared: What :func:`share_cells` made of the same features, position and cells, or None.

    Returns:
        (K, M + V, 4h, 4w) logits, (K, 1 + V, 4h, 4w) of mixed masks, and (K, M) predicted IoUs.
    """
    prompt_encoder, decoder = module.prompt_encoder, module.mask_decoder
    prompts, _ = prompt_encoder(points=points, boxes=boxes, masks=None)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
    wanted = slice(1, decoder.num_mask_tokens) if num_masks > 1 else slice(0, 1)

    cells_hw = (features.shape[1], features.shape[2])
    added = None
    if masks is not None:
        # The last layer makes few channels many; what comes of it is never needed by itself.
        added = prompt_encoder.mask_downscaling[:-1](masks[:, None]).flatten(2)
        added = added if thinned is None else added[:, :, thinned.kept]
    parts: list[Part]
    if shared is None:
        cells = _gather(prompt_encoder, features.flatten(1).T, added, position, thinned)
        groups = split_objects(len(tokens), features.device)
        parts = [(objects, cells.of(objects)) for objects in groups]
    else:
        num_cells = cells_hw[0] * cells_hw[1] if thinned is None else len(thinned.kept)
        if len(shared.upscaled) != num_cells:
            raise InputError(
                f"what is shared must be of {num_cells} cells, got {len(shared.upscaled)}"
            )
        parts = [
            (slice(n, n + 1), SharedCells.of_frame(shared, None if added is None else added[n]))
            for n in range(len(tokens))
        ]
    tokens, parts = transform(decoder.transformer, parts, tokens, wanted, are_alike=added is None)

    by_mask = [
        decoder.output_hypernetworks_mlps[n](tokens[:, 1 + place])
        for place, n in enumerate(range(decoder.num_mask_tokens)[wanted])
    ]
    ious = decoder.iou_prediction_head(tokens[:, 0])[:, wanted]
    # A mask is linear in its token's row, so that the rows are mixed in place of the masks.
    rows = mix(torch.stack(by_mask, dim=1), ious, mixing)
    if classifiers is not None:
        rows = torch.cat([rows, classifiers], dim=1)
    logits = [
        _upscale(decoder.output_upscaling, cells, rows[objects], cells_hw, needed_hw, thinned)
        for objects, cells in parts
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


def share_cells(
    module: Any, features: Tensor, position: Tensor, thinned: Thinned | None
) -> SharedMaps:
    """Compute what all objects of a frame share, of the same as :func:`decode_masks` is given."""
    cells, log_counts = features.flatten(1).T, None
    if thinned is not None:
        cells, position = cells[thinned.kept], position[thinned.kept]
        log_counts = thinned.log_counts
    upscaling, _ = _as_linear(module.mask_decoder.output_upscaling[0])
    return share(module, cells.contiguous(), position, upscaling, log_counts)


def split_objects(num_objects: int, device: torch.device) -> list[slice]:
    """Say which objects' cells are worked on together."""
    size = 1 if device.type == "cpu" else num_objects
    return [slice(first, first + size) for first in range(0, num_objects, size)]


def _gather(
    prompt_encoder: Any,
    cells: Tensor,
    added: Tensor | None,
    position: Tensor,
    thinned: Thinned | None,
) -> Cells:
    """Put features, what masks (K, E, N) add, and the (N, C) positional encoding together."""
    basis = log_counts = None
    if added is None:
        bias = prompt_encoder.no_mask_embed.weight
    else:
        last = prompt_encoder.mask_downscaling[-1]
        basis, bias = last.weight.flatten(1).T, last.bias
    if thinned is not None:
        cells, position = cells[thinned.kept], position[thinned.kept]
        log_counts = thinned.log_counts
    return Cells.of_frame(cells + bias, position, added, basis, log_counts)


def _upscale(
    upscaling: nn.Sequential,
    cells: Cells | SharedCells,
    by_mask: Tensor,
    cells_hw: tuple[int, int],
    needed_hw: tuple[int, int] | None,
    thinned: Thinned | None,
) -> Tensor:
    """Turn G objects' cells and the (G, M, C/8) tokens' answers into (G, M, 4h, 4w) logits."""
    first, norm, activation, second, last_activation = upscaling
    num_objects, num_masks, num_channels = by_mask.shape
    if needed_hw is not None:
        cells = cells.cut(cells_hw if thinned is None else thinned.exact_hw, needed_hw)
    weight, bias = _as_linear(second)
    chunks = []
    for rows in cells.projected(*_as_linear(first)):
        rows = activation(norm_last(rows.view(num_objects, -1, 4, rows.shape[2] // 4), norm))
        rows = last_activation(linear(rows, weight, bias)).view(num_objects, -1, num_channels)
        chunks.append(torch.unflatten(torch.bmm(by_mask, rows.mT), 2, (-1, 16)))
    logits = torch.cat(chunks, dim=2)
    if needed_hw is None and thinned is not None:
        logits = logits[:, :, thinned.stand_ins]
    num_rows, num_columns = needed_hw or cells_hw
    # Cell row, cell column, then (row, column) of the first and of the second quarter.
    grid = logits.view(num_objects, num_masks, num_rows, num_columns, 2, 2, 2, 2)
    pixels = grid.permute(0, 1, 2, 4, 6, 3, 5, 7)
    pixels = pixels.reshape(num_objects, num_masks, 4 * num_rows, 4 * num_columns)
    if (num_rows, num_columns) == cells_hw:
        return pixels
    beyond = (0, 4 * (cells_hw[1] - num_columns), 0, 4 * (cells_hw[0] - num_rows))
    return F.pad(pixels, beyond, value=OUTSIDE)


def _as_linear(conv: Any) -> tuple[Tensor, Tensor]:
    """Give the (4 out, in) weight and the bias by which a stride-2 kernel-2 one maps a cell."""
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)
