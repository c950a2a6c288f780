"""The loss of what users point out: a box, or one click, must give the whole object.

As ``vos.track.hints`` asks: first with the hint alone, then again with the mask that this gave, its
box and its inmost point (arXiv 2305.03048, 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nano_training.clips import STRIDE_PX, ClipBatch
from nano_training.decoder import Decoded, Prompts, decode
from nano_training.objective import mask_ious, segmentation_loss, tight_boxes

INMOST_SHARE = 0.7
"""How often a click is at the inmost point of the object, and not just anywhere on it."""
BOX_JITTER = 0.03
"""How far the side of a drawn box is off, over the box's own side."""
SCORE_GAIN = 2.0
"""Of the predicted IoU's loss: nothing but the score says which of three masks was meant."""


def compute_hint_losses(
    sam: nn.Module,
    batch: ClipBatch,
    t: int,
    features: Tensor,
    truth: Tensor,
    details: Tensor,
    inmost_xy: Tensor,
) -> dict[str, Tensor]:
    """Give the losses of a box and of a click in one frame of each clip.

    Args:
        sam: The model.
        batch: The clips.
        t: The frame.
        features: (N, C, h, w) of the frame.
        truth: (N, 4h, 4w) the object's share of each pixel of the decoder.
        details: (N, 4h, 4w) weights of its pixels.
        inmost_xy: (N, 2) model pixels, about the inmost point of the object.
    """
    size_px = batch.images.shape[2]
    noise = batch.noise[:, t]
    fallback = torch.cat([inmost_xy, inmost_xy], dim=1)
    boxes_xyxy = tight_boxes(truth > 0.5, fallback)
    sides_px = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).repeat(1, 2)
    drawn_xyxy = boxes_xyxy + 2 * BOX_JITTER * (noise[:, 4:8] - 0.5) * sides_px
    clicks_xy = torch.where(
        noise[:, :1] < INMOST_SHARE, inmost_xy, _any_point(truth, noise[:, 1:2], fallback)
    )
    nothing = inmost_xy[:, None][:, :0]
    losses = {}
    for name, prompts in (
        ("box", Prompts(nothing, drawn_xyxy)),
        ("click", Prompts(clicks_xy[:, None], None)),
    ):
        first = decode(sam, features, prompts, None, size_px)
        low_res = first.best_logits
        if name == "box":
            refined = Prompts(inmost_xy[:, None], drawn_xyxy)
        else:
            refined = Prompts(clicks_xy[:, None], tight_boxes(low_res > 0, fallback))
        second = decode(sam, features, refined, low_res, size_px)
        losses[name] = (_loss(first, truth, details) + _loss(second, truth, details)) / 2
        losses[f"J{name}"] = mask_ious(second.best_logits[:, None] > 0, truth[:, None] > 0.5).mean()
    return losses


def _any_point(truth: Tensor, noise: Tensor, fallback: Tensor) -> Tensor:
    """Give (N, 2) model pixels on (N, 4h, 4w) objects, which ones by (N, 1) noise."""
    stride_px = STRIDE_PX // 4
    counts = (truth > 0.5).flatten(1).cumsum(dim=1)
    chosen = (counts > noise * counts[:, -1:]).int().argmax(dim=1)
    width = truth.shape[2]
    points = (torch.stack([chosen % width, chosen // width], dim=1) + 0.5) * stride_px - 0.5
    return torch.where(counts[:, -1:] > 0, points, fallback[:, :2])


def _loss(decoded: Decoded, truth: Tensor, details: Tensor) -> Tensor:
    losses = segmentation_loss(decoded.logits, truth, details)
    ious = mask_ious(decoded.logits.detach() > 0, truth[:, None] > 0.5)
    chosen = decoded.scores.detach().argmax(dim=1, keepdim=True)
    scores = SCORE_GAIN * (decoded.scores - ious).square().mean()
    return losses.amin(dim=1).mean() + 0.3 * losses.gather(1, chosen).mean() + scores
