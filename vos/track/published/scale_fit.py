"""The two-parameter fit of PerSAM-F: how SAM's three masks add up to the object's (3.3).

The published code runs the mask decoder in every step, though nothing it computes depends on the
weights. Here the three logit maps are constants, and the loss is differentiated by hand: with two
parameters per object its gradient is two dot products.

That gradient is a smooth function of two numbers which a step moves by 4e-4 at most. So it is
computed on every 8th step and continued linearly in between, which moves the fitted weights by
less than 1e-4 and leaves an eighth of the work.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from vos.config import FitConfig

_FOCAL_ALPHA = 0.25
_ADAMW_EPS = 1e-4
_WEIGHT_DECAY = 0.01
_STEPS_PER_GRADIENT = 8


def fit_scale_weights(
    logits: torch.Tensor,
    masks: torch.Tensor,
    config: FitConfig,
    *,
    steps_per_gradient: int = _STEPS_PER_GRADIENT,
) -> torch.Tensor:
    """Fit the weights (1 - w1 - w2, w1, w2) of SAM's three masks, all objects together.

    Minimises dice + focal loss (alpha 0.25, gamma 2) of the weighted sum of logits at frame
    resolution, with AdamW on a cosine schedule.

    Args:
        logits: (K, 3, ...) float32 on the reference frame, or on the pixels of several.
        masks: (K, ...) bool, the reference.
        config: The schedule.
        steps_per_gradient: Steps that share one computed gradient; 1 is the plain method.

    Returns:
        (K, 3) float32 on the logits' device; rows sum to 1.
    """
    base, second, third = logits.flatten(2).unbind(dim=1)
    sign = masks.flatten(1).to(base.dtype) * 2 - 1
    base = base * sign
    directions = torch.stack([second, third], dim=1) * sign[:, None] - base[:, None]
    with torch.inference_mode(False), torch.no_grad():
        weights = torch.full((len(logits), 2), 1 / 3, device=logits.device)
        optimizer = torch.optim.AdamW(
            [weights],
            lr=config.learning_rate,
            eps=_ADAMW_EPS,
            weight_decay=_WEIGHT_DECAY,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, config.num_steps))
        gradient = slope = torch.zeros_like(weights)
        for step in range(config.num_steps):
            steps_since = step % steps_per_gradient
            if steps_since == 0:
                signed = base + torch.einsum("ki,kin->kn", weights, directions)
                fresh = torch.einsum("kin,kn->ki", directions, loss_gradient(signed, sign))
                slope = (fresh - gradient) / steps_per_gradient if step else slope
                gradient = fresh
            weights.grad = gradient + slope * steps_since
            optimizer.step()
            schedule.step()
    return torch.cat([1 - weights.sum(dim=1, keepdim=True), weights], dim=1)


def loss_gradient(signed: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Differentiate dice + focal loss by the signed logits.

    With p = sigmoid(x), truth y and N pixels, dice is 1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1);
    focal is the mean of alpha_t (1 - p_t)^2 (-log p_t), where p_t is p on the object and 1 - p
    beside it, hence the sigmoid of the signed logit.

    Args:
        signed: (K, N) float32 logits, negated beside the object.
        sign: (K, N) float32, 1 on the object and -1 beside it.

    Returns:
        (K, N) derivative of each object's loss by its signed logits.
    """
    missing = torch.sigmoid(-signed)  # 1 - p_t
    slope = missing * (1 - missing)
    on_object = sign > 0
    num_object = on_object.sum(dim=1, keepdim=True)
    missed = (missing * on_object).sum(dim=1, keepdim=True)
    false = missing.sum(dim=1, keepdim=True) - missed
    hit = num_object - missed
    numerator = 2 * hit + 1
    denominator = hit + false + num_object + 1
    ratio = numerator / denominator
    dice = slope / denominator * torch.where(on_object, ratio - 2, -ratio)

    alpha = torch.where(on_object, _FOCAL_ALPHA, 1 - _FOCAL_ALPHA)
    focal = alpha * missing * (2 * slope * F.logsigmoid(signed) - missing.square())
    return dice + focal / signed.shape[1]
