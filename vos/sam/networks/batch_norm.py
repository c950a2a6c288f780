"""Batch norm with stored statistics, which a convolution can take over once weights are loaded."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights


class FrozenBatchNorm(nn.Module):
    """Batch norm that always uses its stored statistics: an affine map of each channel."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def fuse_batch_norms(module: nn.Module) -> None:
    """Fold every frozen batch norm below ``module`` into the convolution before it, in place.

    The outputs stay the same up to rounding, and a pass over the activations is saved. The state
    dict loses the norms' entries and gains the convolutions' biases, so weights are loaded before,
    never after. A norm's convolution is the child before it of the same parent.
    """
    for parent in module.modules():
        for (_, conv), (name, norm) in itertools.pairwise(list(parent.named_children())):
            if isinstance(norm, FrozenBatchNorm) and isinstance(conv, nn.Conv2d):
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight,
                    conv.bias,
                    norm.running_mean,
                    norm.running_var,
                    norm.eps,
                    norm.weight,
                    norm.bias,
                )
                setattr(parent, name, nn.Identity())
