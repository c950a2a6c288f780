"""The scale fit against autograd on the loss as it is written in the paper."""

import pytest
import torch
from torch.nn import functional as F

from vos.config import FitConfig
from vos.errors import InputError
from vos.track.published.scale_fit import fit_scale_weights, loss_gradient


def written_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    probability = logits.sigmoid()
    dice = 1 - (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = probability * truth + (1 - probability) * (1 - truth)
    alpha = 0.25 * truth + 0.75 * (1 - truth)
    return dice + (alpha * cross_entropy * (1 - right) ** 2).mean(1)


def case(seed: int, num_objects: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(num_objects, 24, 31, generator=generator) > 0.6
    noise = torch.randn(num_objects, 3, 24, 31, generator=generator)
    helpful = torch.tensor([0.2, 3.0, 1.0])[None, :, None, None]
    return noise * 4 + helpful * (masks[:, None].float() * 2 - 1), masks


def test_gradient_is_the_derivative_of_the_written_loss():
    logits, masks = case(0)
    flat = logits[:, 0].flatten(1).double().requires_grad_()
    truth = masks.flatten(1).double()
    written_loss(flat, truth).sum().backward()
    sign = truth * 2 - 1
    ours = loss_gradient(flat.detach() * sign, sign) * sign
    torch.testing.assert_close(ours, flat.grad)


def test_gradient_survives_extreme_logits():
    signed = torch.tensor([[-1e4, -50.0, 0.0, 50.0, 1e4]])
    sign = torch.tensor([[1.0, -1.0, 1.0, -1.0, 1.0]])
    assert loss_gradient(signed, sign).isfinite().all()


@pytest.mark.parametrize("seed", range(4))
def test_fit_equals_plain_optimisation(seed):
    logits, masks = case(seed)
    weights = torch.full((2, 2), 1 / 3, requires_grad=True)
    optimizer = torch.optim.AdamW([weights], lr=1e-3, eps=1e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        all_three = torch.cat([1 - weights.sum(1, keepdim=True), weights], dim=1)
        mixed = torch.einsum("km,kmhw->khw", all_three, logits).flatten(1)
        optimizer.zero_grad()
        written_loss(mixed, masks.flatten(1).float()).sum().backward()
        optimizer.step()
        schedule.step()
    plain = torch.cat([1 - weights.sum(1, keepdim=True), weights], dim=1).detach()
    ours = fit_scale_weights(logits, masks, FitConfig(num_steps=300, learning_rate=1e-3))
    torch.testing.assert_close(ours, plain, atol=1e-3, rtol=0)
    assert (plain[:, 1] > 0.4).all(), "the fit should have found the helpful mask"


def test_objects_do_not_influence_each_other():
    logits, masks = case(7)
    config = FitConfig(num_steps=50)
    together = fit_scale_weights(logits, masks, config)
    alone = torch.cat(
        [fit_scale_weights(logits[i : i + 1], masks[i : i + 1], config) for i in (0, 1)]
    )
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_no_steps_leave_equal_weights():
    logits, masks = case(1)
    weights = fit_scale_weights(logits, masks, FitConfig(num_steps=0))
    torch.testing.assert_close(weights, torch.full((2, 3), 1 / 3))


def test_schedule_is_checked():
    with pytest.raises(InputError, match="num_steps"):
        FitConfig(num_steps=-1)
    with pytest.raises(InputError, match="learning_rate"):
        FitConfig(learning_rate=0)
