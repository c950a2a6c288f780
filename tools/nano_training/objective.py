"""The loss: what the tracker asks of the model in each frame, as one number.

(a) The similarity map of one view's target embedding must peak on the object in the other view
(arXiv 2305.03048, 3.1). (b) From the similarity maximum, the previous frame's box and its centre
the decoder must give the mask, also as the weighted sum of its three masks (3.3). (c) Given its
own box and logits it must do so again (3.2, cascaded refinement). Its predicted IoU must be true,
since the tracker picks by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nano_training.clips import normalise
from nano_training.decoder import MASK_STRIDE_PX, Prompts, decode, reduced_precision
from nano_training.views import Batch
from vos.sam.networks.nano import STRIDE_PX

PEAK_SHARE = 0.75
"""Share of the first points that are the similarity maximum, the others a random object point."""


PIXEL_SCALE = 5.0

DETAIL_WIDTH_PX = 18
"""Parts narrower than so many model pixels count more, by ``DETAIL_GAIN``."""
DETAIL_GAIN = 3.0


class SimilarityHead(nn.Module):
    """What turns similarities and fitted classifiers into logits; used in training only.

    Scale and bias are for a cosine similarity, ``pixel_scale`` for a classifier of pixels that was
    fitted to +-1.
    """

    def __init__(self, scale: float = 10.0, bias: float = 0.5) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.bias = nn.Parameter(torch.tensor(bias))
        self.pixel_scale = nn.Parameter(torch.tensor(PIXEL_SCALE))

    def forward(self, similarity: Tensor) -> Tensor:
        return self.scale * (similarity - self.bias)


def compute_losses(sam: nn.Module, head: SimilarityHead, batch: Batch) -> dict[str, Tensor]:
    """Give the loss as ``total`` with its parts, and how well the batch was solved.

    Args:
        sam: The model.
        head: Similarity logits.
        batch: Views; partners share an object.
    """
    with reduced_precision(batch.images.device):
        features = sam.image_encoder(normalise(batch.images))
    features = features.float()
    size_px = batch.images.shape[1]
    similarity, occupied = _similarities(features, batch.masks)
    parts, hit = _similarity_losses(head(similarity), similarity, occupied)
    prompts = _draw_prompts(similarity, occupied, batch)
    shares = F.avg_pool2d(batch.masks[:, None].float(), MASK_STRIDE_PX)[:, 0]
    truth = shares >= 0.5
    details = detail_weights(shares)

    decoded = decode(sam, features, prompts, None, size_px)
    logits, scores = decoded.logits, decoded.scores
    ious = mask_ious(logits > 0, truth[:, None])
    weights = _draw_scale_weights(batch.noise[:, 4:6])
    combined = (logits * weights[:, :, None, None]).sum(dim=1)
    parts["mask1"] = _mask_loss(logits, shares, details)
    parts["combined"] = segmentation_loss(combined[:, None], shares, details).mean()
    parts["iou1"] = F.mse_loss(scores, ious)

    refined = prompts
    if prompts.boxes_xyxy is not None:
        boxes = tight_boxes(combined.detach() > 0, prompts.boxes_xyxy)
        refined = Prompts(prompts.points_xy, boxes)
    decoded = decode(sam, features, refined, combined.detach(), size_px)
    logits2, scores2 = decoded.logits, decoded.scores
    ious2 = mask_ious(logits2 > 0, truth[:, None])
    parts["mask2"] = _mask_loss(logits2, shares, details)
    parts["iou2"] = F.mse_loss(scores2, ious2)

    parts["total"] = torch.stack(list(parts.values())).sum()
    parts["J1"] = mask_ious(combined[:, None] > 0, truth[:, None]).mean()
    parts["J2"] = ious2.gather(1, scores2.argmax(dim=1, keepdim=True)).mean()
    parts["hit"] = hit
    return parts


def _similarities(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Compare each view with its partner's target embedding.

    Returns:
        (B, h, w) cosine similarities and (B, h, w) bool, the cells of the object itself.
    """
    grid_hw = features.shape[-2:]
    coverage = F.interpolate(masks[:, None].float(), grid_hw, mode="bilinear", align_corners=False)
    # An object that slips between the sampling points still has its best covered cell.
    pooled = F.adaptive_avg_pool2d(masks[:, None].float(), grid_hw)
    best = pooled == pooled.amax(dim=(2, 3), keepdim=True)
    is_missed = (coverage > 0).sum(dim=(2, 3), keepdim=True) == 0
    occupied = ((coverage > 0) | (best & is_missed))[:, 0]
    inside = occupied[:, None]
    mean = (features * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3))
    peak = features.masked_fill(~inside, -torch.inf).amax(dim=(2, 3))
    targets = F.normalize((mean + peak) / 2, dim=1)
    of_partner = targets.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    similarity = torch.einsum("bc,bchw->bhw", of_partner, F.normalize(features, dim=1))
    return similarity, occupied


def _similarity_losses(
    logits: Tensor, similarity: Tensor, occupied: Tensor
) -> tuple[dict[str, Tensor], Tensor]:
    losses = F.binary_cross_entropy_with_logits(logits, occupied.float(), reduction="none")
    losses, inside = losses.flatten(1), occupied.flatten(1)
    on_object = (losses * inside).sum(1) / inside.sum(1)
    outside = losses.masked_fill(inside, 0)
    off_object = outside.sum(1) / (~inside).sum(1).clamp(min=1)
    # Distractors are few cells; they decide where the maximum lies.
    hardest = outside.topk(max(1, outside.shape[1] // 25), dim=1).values.mean(1)
    balanced = (0.5 * on_object + 0.3 * off_object + 0.2 * hardest).mean()
    shares = (20.0 * similarity.flatten(1)).log_softmax(dim=1)
    on_peak = shares.masked_fill(~inside, -torch.inf).logsumexp(dim=1)
    peaks = similarity.flatten(1).argmax(dim=1, keepdim=True)
    hit = inside.gather(1, peaks).float().mean()
    return {"similarity": balanced, "peak": -0.15 * on_peak.mean()}, hit


def _draw_prompts(similarity: Tensor, occupied: Tensor, batch: Batch) -> Prompts:
    width = similarity.shape[-1]
    noise = batch.noise
    peaks = similarity.detach().flatten(1).argmax(dim=1)
    own = occupied.flatten(1)
    # The first cell that as many of the object's come before as the noise says.
    counts = own.cumsum(dim=1)
    random_cells = (counts > noise[:, 1:2] * counts[:, -1:]).int().argmax(dim=1)
    is_hit = own.gather(1, peaks[:, None])[:, 0]
    uses_peak = noise[:, 0] < PEAK_SHARE
    if not batch.has_boxes:
        # Nothing but the point tells which object is meant, so it must lie on it.
        uses_peak = uses_peak & is_hit
    cells = torch.where(uses_peak, peaks, random_cells)
    centres = torch.stack([cells % width, cells // width], dim=1) + 0.5
    points = (centres + 0.8 * (noise[:, 2:4] - 0.5)) * STRIDE_PX - 0.5
    if not batch.has_boxes:
        return Prompts(points[:, None], None)
    boxes = batch.boxes_xyxy
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Prompts(torch.stack([points, middles], dim=1), boxes)


def _draw_scale_weights(noise: Tensor) -> Tensor:
    """Turn (B, 2) noise into (B, 3) weights from where the scale fit usually ends.

    That is 1/3 each or less of the first.
    """
    first = 0.45 * noise[:, 0]
    split = 0.4 + 0.2 * noise[:, 1]
    rest = 1 - first
    return torch.stack([first, rest * split, rest * (1 - split)], dim=1)


def _mask_loss(logits: Tensor, shares: Tensor, details: Tensor) -> Tensor:
    """SAM's loss of the best of three masks, and a little of all three."""
    losses = segmentation_loss(logits, shares, details)
    return losses.amin(dim=1).mean() + 0.15 * losses.mean()


def segmentation_loss(logits: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Give 20 x focal + dice of (B, M, h, w) logits against (B, h, w) shares, as (B, M).

    A pixel at the object's edge is partly its own: where the outline runs is in its share. The
    (B, h, w) weights are of the focal loss.
    """
    wanted = truth[:, None].float()
    chances = logits.sigmoid()
    # log(1 + e^x) - xy is the binary cross-entropy, without the two more passes of torch's own.
    cross = F.softplus(logits) - logits * wanted
    wrong = (chances - wanted).square()
    gains = 0.75 - 0.5 * wanted
    if weights is not None:
        gains = gains * weights[:, None]
    focal = (gains * wrong * cross).mean(dim=(2, 3))
    overlap = (chances * wanted).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (chances.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3)) + 1)
    return 20 * focal + dice


@torch.no_grad()
def detail_weights(truth: Tensor) -> Tensor:
    """Weigh thin parts of (B, h, w) shares, and thin gaps, more than the rest.

    They are few pixels, and no other loss misses them; in a video they are what drops out of the
    mask first, and what is not remembered does not come back.
    """
    reach = DETAIL_WIDTH_PX // MASK_STRIDE_PX // 2

    def grow(maps: Tensor) -> Tensor:
        return F.max_pool2d(maps, 2 * reach + 1, 1, reach)

    maps = truth[:, None].float()
    opened, closed = grow(-grow(-maps)), -grow(-grow(maps))
    return 1 + DETAIL_GAIN * (closed - opened)[:, 0]


def mask_ious(masks: Tensor, truth: Tensor) -> Tensor:
    overlap = (masks & truth).sum(dim=(2, 3)).float()
    return overlap / (masks | truth).sum(dim=(2, 3)).clamp(min=1)


def tight_boxes(masks: Tensor, fallback: Tensor) -> Tensor:
    """Give (B, 4) boxes in model pixels around (B, h, w) masks; the fallback's where empty."""
    columns, rows = masks.any(dim=1), masks.any(dim=2)
    edges = []
    for line in (columns, rows):
        first = line.float().argmax(dim=1)
        last = line.shape[1] - 1 - line.flip(1).float().argmax(dim=1)
        edges.append((first, last))
    (x0, x1), (y0, y1) = edges
    cells = torch.stack([x0, y0, x1, y1], dim=1).float()
    boxes = (cells + 0.5) * MASK_STRIDE_PX - 0.5
    return torch.where(columns.any(dim=1)[:, None], boxes, fallback)
