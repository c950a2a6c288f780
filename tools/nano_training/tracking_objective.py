"""The loss of the prior ``memory``: what the default asks of the model in each frame of a clip.

(a) A frame's cells take the labels of the cells that they resemble, of the reference and of the
frames before (``vos``'s dense correspondence). (b) Prompted by that map, its box and its inmost
point, in a window whose place and size are off, the decoder must give the whole object; (c) also
where the map is damaged. (d) What is remembered of a frame is the model's own mask. Last, a linear
classifier that is fitted to the decoder's pixels of the reference, as the tracker fits one, must
find the object's pixels in the later frames.

Left out is the projection of cells to 64 principal axes, by which the tracker loses nothing
(docs/tracking.md): it would cost an eigendecomposition per clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nano_training.clips import CONTEXT, STRIDE_PX, ClipBatch, normalise
from nano_training.decoder import (
    MASK_STRIDE_PX,
    Decoded,
    Prompts,
    classify,
    decode,
    in_reading_order,
    reduced_precision,
)
from nano_training.hint_objective import compute_hint_losses
from nano_training.objective import SimilarityHead, detail_weights, mask_ious, segmentation_loss

TEMPERATURE = 0.05
NUM_NEIGHBOURS = 10
PENALTY = 0.1
MOTION_SHARE = 0.35
NUM_RECENT = 1
PROMPT_GAIN = 2.0
"""These six as in the tracker."""

MAX_CELLS = 1024
"""Cells remembered of a frame, as in the tracker."""
MAX_QUERIES = 384
"""Cells of a frame whose correspondence counts in the loss."""

MASK_SHARE = 0.3
"""Of the loss of all three masks, beside the best one's."""
RIDGE = 0.03
"""Weight decay of the pixel classifier, over the variance of a channel."""
_EPS = 1e-4
_OUTSIDE = -1e4


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Cells of N views, the same number M of each.

    Attributes:
        values: (N, M, C) of unit length.
        shares: (N, M) the object's share.
        places_xy: (N, M, 2) frame pixels.
        is_inside: (N, M) bool, which lie on the picture.
    """

    values: Tensor
    shares: Tensor
    places_xy: Tensor
    is_inside: Tensor


def compute_clip_losses(
    sam: nn.Module, head: SimilarityHead, batch: ClipBatch
) -> dict[str, Tensor]:
    """Give the loss as ``total`` with its parts, and how well the batch was solved.

    Args:
        sam: The model.
        head: The scale of the pixel classifier's logits.
        batch: Clips.
    """
    num_clips, length = batch.masks.shape[:2]
    size_px = batch.images.shape[2]
    images = normalise(batch.images.flatten(0, 1))
    with reduced_precision(images.device):
        encoded = sam.image_encoder(images)
    features = encoded.float().unflatten(0, (num_clips, length))
    grid_hw = (features.shape[3], features.shape[4])
    truths = F.avg_pool2d(batch.masks.flatten(0, 1)[:, None].float(), MASK_STRIDE_PX)[:, 0]
    details = detail_weights(truths).unflatten(0, (num_clips, length))
    truths = truths.unflatten(0, (num_clips, length))
    shares = F.avg_pool2d(truths, STRIDE_PX // MASK_STRIDE_PX)
    cells = [_cells_of(batch, t, features[:, t], shares[:, t]) for t in range(length)]

    classifier, bias = None, None
    if batch.fits_head:
        asked = _prompt(batch, 0, batch.believed[:, 0], features.shape[-1])
        decoded = decode(sam, features[:, 0], asked[0], asked[1], size_px)
        classifier, bias = _fit_classifier(decoded, truths[:, 0], cells[0].is_inside)
    terms: dict[str, list[Tensor]] = {}
    if not batch.fits_head:
        # A batch without a classifier to fit has the time for hints.
        for t in (0, 1):
            asked = _prompt(batch, t, shares[:, t], features.shape[-1])
            inmost_xy = asked[0].points_xy[:, 0]
            hints = compute_hint_losses(
                sam, batch, t, features[:, t], truths[:, t], details[:, t], inmost_xy
            )
            for name, value in hints.items():
                terms.setdefault(name, []).append(value)
    memories = [_thin(cells[0], batch.noise[:, 0, 0], MAX_CELLS)]
    for t in range(1, length):
        found, values = _correspond(cells, memories, t, size_px, batch)
        maps = found.unflatten(1, grid_hw)
        is_damaged = batch.is_damaged[:, t, None, None]
        believed = torch.where(is_damaged, batch.believed[:, t], maps)
        prompts, low_res = _prompt(batch, t, believed, features.shape[-1])
        decoded = decode(sam, features[:, t], prompts, low_res, size_px)
        values |= _mask_losses(decoded, truths[:, t], details[:, t])
        own = decoded.best_logits
        remembered = own.sigmoid()
        if classifier is not None and bias is not None:
            logits = (
                classify(decoded.pixels.float(), classifier[:, None]) + bias[:, None, None, None]
            )
            logits = head.pixel_scale * logits
            values["head"] = 0.5 * segmentation_loss(logits, truths[:, t], details[:, t]).mean()
            values["Jhead"] = mask_ious(logits > 0, truths[:, t, None] > 0.5).mean()
            remembered = (remembered + logits[:, 0].sigmoid()) / 2
        values["Jcells"] = mask_ious(maps[:, None] > 0.5, shares[:, t, None] > 0.5).mean()
        for name, value in values.items():
            terms.setdefault(name, []).append(value)
        remembered_shares = F.avg_pool2d(remembered.detach(), STRIDE_PX // MASK_STRIDE_PX)
        own_cells = _Cells(
            cells[t].values, remembered_shares.flatten(1), cells[t].places_xy, cells[t].is_inside
        )
        recent = [*memories[1:], _thin(own_cells, batch.noise[:, t, 0], MAX_CELLS)]
        memories = [memories[0], *recent[-NUM_RECENT:]]
    parts = {name: torch.stack(values).mean() for name, values in terms.items()}
    losses = [value for name, value in parts.items() if not name.startswith("J")]
    parts["total"] = torch.stack(losses).sum()
    return parts


def _cells_of(batch: ClipBatch, t: int, features: Tensor, shares: Tensor) -> _Cells:
    height, width = features.shape[2:]
    values = features.permute(0, 2, 3, 1).flatten(1, 2)
    # F.normalize's gradient passes over the map a dozen times.
    values = values * torch.rsqrt(values.square().sum(dim=2, keepdim=True) + 1e-12)
    device = features.device
    xs = (torch.arange(width, device=device) + 0.5) * STRIDE_PX
    ys = (torch.arange(height, device=device) + 0.5) * STRIDE_PX
    contents_hw, windows_xyxy = batch.contents_hw[:, t], batch.windows_xyxy[:, t]
    is_inside = (ys < contents_hw[:, :1])[:, :, None] & (xs < contents_hw[:, 1:])[:, None]
    scale = _scale(batch, t)[:, None]
    columns = windows_xyxy[:, :1] + xs * scale
    rows = windows_xyxy[:, 1:2] + ys * scale
    places_xy = torch.stack(
        [
            columns[:, None].expand(-1, height, -1),
            rows[:, :, None].expand(-1, -1, width),
        ],
        dim=3,
    )
    return _Cells(values, shares.flatten(1), places_xy.flatten(1, 2), is_inside.flatten(1))


def _scale(batch: ClipBatch, t: int) -> Tensor:
    """Give (N,) frame pixels per model pixel."""
    windows_xyxy = batch.windows_xyxy[:, t]
    sides = windows_xyxy[:, 2:] - windows_xyxy[:, :2]
    return sides.amax(dim=1) / batch.images.shape[2]


def _spread(num: int, noise: Tensor) -> Tensor:
    """Give (N, num) numbers in [0, 1) that fill it evenly, another order for each noise."""
    return (torch.arange(num, device=noise.device) * 0.6180339887 + noise[:, None]) % 1.0


def _thin(cells: _Cells, noise: Tensor, max_num: int) -> _Cells:
    """Keep so many of each view, those of the object rather than others."""
    num = cells.shares.shape[1]
    if num <= max_num:
        return cells
    weights = torch.where(cells.shares > 0.05, 4.0, 1.0) * cells.is_inside + 1e-6
    ranks = _spread(num, noise).clamp(min=1e-6).log() / weights
    kept = ranks.topk(max_num, dim=1).indices
    return _Cells(
        cells.values.gather(1, kept[..., None].expand(-1, -1, cells.values.shape[2])),
        cells.shares.gather(1, kept),
        cells.places_xy.gather(1, kept[..., None].expand(-1, -1, 2)),
        cells.is_inside.gather(1, kept),
    )


def _correspond(
    cells: list[_Cells], memories: list[_Cells], t: int, size_px: int, batch: ClipBatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """Carry what is remembered to frame ``t``.

    The loss goes through the softmax over all remembered cells, for the ten nearest alone have no
    gradient where all of them are wrong. The map is that of the ten.

    Returns:
        (N, hw) shares, and the loss.
    """
    # Half the window and more is the object's size, at run time's context.
    scale = _scale(batch, t)
    radius_px = MOTION_SHARE * scale * size_px / CONTEXT + 3 * STRIDE_PX * scale
    keys = _keys(memories, PENALTY / radius_px.square())
    labels = torch.cat([memory.shares for memory in memories], dim=1)
    with torch.no_grad():
        values, nearest = (_queries(cells[t]) @ keys).topk(NUM_NEIGHBOURS, dim=2, sorted=False)
        votes = (values / TEMPERATURE).softmax(dim=2)
        own_labels = labels.gather(1, nearest.flatten(1)).view_as(votes)
        found = (votes * own_labels).sum(dim=2) * cells[t].is_inside
    asked = _thin(cells[t], batch.noise[:, t, 1], MAX_QUERIES)
    weights = ((_queries(asked) / TEMPERATURE) @ keys).softmax(dim=2)
    chances = (weights @ labels.clamp(_EPS, 1 - _EPS)[..., None])[..., 0]
    inside = asked.is_inside.float()
    of_object, of_others = asked.shares * inside, (1 - asked.shares) * inside
    loss = (-chances.log() * of_object).sum(1) / of_object.sum(1).clamp(min=1)
    loss = loss + (-(1 - chances).log() * of_others).sum(1) / of_others.sum(1).clamp(min=1)
    return found, {"cells": 0.5 * loss.mean()}


def _queries(cells: _Cells) -> Tensor:
    """Give (N, M, C + 4) cells, so that their products with :func:`_keys` know the distance."""
    places_xy = cells.places_xy
    squares = places_xy.square().sum(dim=2, keepdim=True)
    return torch.cat([cells.values, places_xy, squares, torch.ones_like(squares)], dim=2)


def _keys(memories: list[_Cells], weight: Tensor) -> Tensor:
    """Give (N, C + 4, K) remembered cells, as the tracker does.

    |q - m|^2 = |q|^2 - 2 q m + |m|^2, so that the penalty rides on the product of the cells. There
    is none for the reference, the first memory, which may be long ago.
    """
    keys = []
    for i, memory in enumerate(memories):
        own_weight = weight[:, None, None] * (i > 0)
        squares = memory.places_xy.square().sum(dim=2, keepdim=True)
        last = -own_weight * squares
        last = last.masked_fill(~memory.is_inside[..., None], _OUTSIDE)
        places = 2 * own_weight * memory.places_xy
        keys.append(
            torch.cat([memory.values, places, -own_weight * torch.ones_like(squares), last], dim=2)
        )
    return torch.cat(keys, dim=1).transpose(1, 2)


@torch.no_grad()
def _prompt(batch: ClipBatch, t: int, believed: Tensor, num_cells: int) -> tuple[Prompts, Tensor]:
    """Turn (N, h, w) shares into a point, a box and mask logits.

    Small parts, which the tracker drops, are smoothed away instead: what is connected cannot be
    told on a GPU without waiting for it.
    """
    noise = batch.noise[:, t]
    low_res = F.interpolate(believed[:, None], scale_factor=4, mode="bilinear")[:, 0]
    logits = low_res.logit(eps=_EPS) * PROMPT_GAIN
    highest = believed.amax(dim=(1, 2), keepdim=True)
    is_own = believed > (0.5 * highest).clamp(max=0.5)
    around = F.avg_pool2d(is_own[:, None].float(), 3, 1, 1)[:, 0]
    is_solid = is_own & (around > 0.4)
    is_solid = torch.where(is_solid.flatten(1).any(dim=1)[:, None, None], is_solid, is_own)
    depth = is_solid.float()
    inner = depth
    for _ in range(num_cells // 4):
        inner = -F.max_pool2d(-F.pad(inner[:, None], (1, 1, 1, 1)), 3, 1)[:, 0]
        depth = depth + inner
    inmost = (depth * believed).flatten(1).argmax(dim=1)
    centre = torch.stack([inmost % num_cells, inmost // num_cells], dim=1) + 0.5
    points_xy = (centre + 0.8 * (noise[:, 2:4] - 0.5)) * STRIDE_PX - 0.5
    columns, rows = is_solid.any(dim=1), is_solid.any(dim=2)
    sides = []
    for line in (columns, rows):
        first = line.float().argmax(dim=1)
        last = num_cells - 1 - line.flip(1).float().argmax(dim=1)
        sides.append((first, last + 1))
    (x0, x1), (y0, y1) = sides
    low, high = torch.stack([x0, y0], dim=1), torch.stack([x1, y1], dim=1)
    margin = 0.5 + 0.5 * (noise[:, 4:8] - 0.5)
    boxes_xyxy = torch.cat([low - margin[:, :2], high + margin[:, 2:]], dim=1) * STRIDE_PX - 0.5
    limit = batch.contents_hw[:, t].flip(1).repeat(1, 2) - 1
    boxes_xyxy = torch.minimum(boxes_xyxy.clamp(min=0), limit)
    return Prompts(points_xy[:, None], boxes_xyxy), logits


def _mask_losses(decoded: Decoded, truth: Tensor, details: Tensor) -> dict[str, Tensor]:
    losses = segmentation_loss(decoded.logits, truth, details)
    ious = mask_ious(decoded.logits.detach() > 0, truth[:, None] > 0.5)
    chosen = decoded.scores.detach().argmax(dim=1, keepdim=True)
    return {
        # The tracker takes the mask of the highest predicted IoU.
        "mask": losses.amin(dim=1).mean()
        + MASK_SHARE * losses.mean()
        + 0.3 * losses.gather(1, chosen).mean(),
        "iou": F.mse_loss(decoded.scores, ious),
        "Jmask": ious.gather(1, chosen).mean(),
    }


def _fit_classifier(decoded: Decoded, truth: Tensor, is_inside: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a linear classifier to the reference's pixels, by ridge regression of +-1.

    The tracker's logistic regression has no closed solution to differentiate.

    Returns:
        (N, D) weights and (N,) bias.
    """
    rows = decoded.pixels.float().flatten(1, 3)
    wanted = 2 * in_reading_order(truth).flatten(1) - 1
    weights = is_inside[:, :, None].expand(-1, -1, 16).flatten(1).float()
    weights = weights / weights.sum(dim=1, keepdim=True)
    mean = torch.einsum("np,npd->nd", weights, rows)
    centred = rows - mean[:, None]
    weighted = centred * weights[..., None]
    moments = weighted.transpose(1, 2) @ centred
    ridge = RIDGE * moments.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-6
    moments = moments + ridge[:, None, None] * torch.eye(moments.shape[1], device=rows.device)
    offset = (weights * wanted).sum(dim=1)
    products = torch.einsum("npd,np->nd", weighted, wanted - offset[:, None])
    # Unlike solve it does not wait for the device to say whether it worked.
    solved: Tensor = torch.linalg.solve_ex(moments, products[..., None]).result[..., 0]
    return solved, offset - torch.einsum("nd,nd->n", solved, mean)
