"""A linear classifier of pixels, fitted to one object's reference: PerSAM-F's fit, taken further.

PerSAM-F (arXiv 2305.03048, 3.3) learns two weights: how SAM's three masks add up to the object's.
Each of those masks is itself a linear classifier of the decoder's pixel embeddings (arXiv
2304.02643, appendix A). So here the weights of all channels are learned, together with those of
the correspondence and of the colour, by logistic regression on the pixels of the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional as F

_WEIGHT_DECAY: Final = 1e-3
_BIAS_DECAY: Final = 1e-6
_MAX_STEPS: Final = 20
_STEP_SCALES: Final = (1.0, 0.5, 0.25, 0.125)
_MIN_GAIN: Final = 1e-6  # of the loss, nats per pixel


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Weights of one object's pixel classifier.

    Attributes:
        channels: (D,) float32, of the decoder's pixel embedding.
        maps: (E,) float32, of the further maps: correspondence and colour.
        bias: () float32.
    """

    channels: torch.Tensor
    maps: torch.Tensor
    bias: torch.Tensor

    def logits(self, channel_logits: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """Give the classifier's (h', w') logits.

        Args:
            channel_logits: (h', w'), what the decoder says with ``channels`` as classifier.
            maps: (E, h', w') further maps.
        """
        return channel_logits + torch.einsum("e,ehw->hw", self.maps, maps) + self.bias


def fit_head(channels: torch.Tensor, maps: torch.Tensor, shares: torch.Tensor) -> Head:
    """Fit a head to pixels whose object is known, by Newton's method.

    Args:
        channels: (D, N) the decoder's pixel embeddings.
        maps: (E, N) further maps.
        shares: (N,) the object's share of each pixel, in [0, 1].
    """
    rows = torch.cat([channels, maps])
    mean, deviation = rows.mean(dim=1, keepdim=True), rows.std(dim=1, keepdim=True) + 1e-6
    rows = torch.cat([(rows - mean) / deviation, torch.ones_like(rows[:1])])
    # The bias does not decay; it is held where all pixels are the object's, or none.
    decay = rows.new_full((len(rows),), _WEIGHT_DECAY)
    decay[-1] = _BIAS_DECAY

    def loss_of(weights: torch.Tensor, logits: torch.Tensor) -> float:
        error = F.binary_cross_entropy_with_logits(logits, shares)
        return float(error + (decay * weights.square()).sum())

    weights = rows.new_zeros(len(rows))
    logits = weights @ rows
    loss = loss_of(weights, logits)
    for _ in range(_MAX_STEPS):
        found = torch.sigmoid(logits)
        gradient = rows @ (found - shares) / len(shares) + 2 * decay * weights
        curvature = (rows * (found * (1 - found))) @ rows.T / len(shares) + 2 * decay.diag()
        step = torch.linalg.solve(curvature, gradient)
        # Far from the optimum a full step may lead beyond it.
        for scale in _STEP_SCALES:
            next_weights = weights - scale * step
            logits = next_weights @ rows
            next_loss = loss_of(next_weights, logits)
            if next_loss < loss:
                break
        else:
            break
        gain, weights, loss = loss - next_loss, next_weights, next_loss
        if gain < _MIN_GAIN:
            break
    weights, bias = weights[:-1] / deviation[:, 0], weights[-1]
    num_channels = len(channels)
    return Head(weights[:num_channels], weights[num_channels:], bias - weights @ mean[:, 0])
