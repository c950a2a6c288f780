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
_MAX_ITERATIONS: Final = 40


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
    """Fit a head to pixels whose object is known.

    Args:
        channels: (D, N) the decoder's pixel embeddings.
        maps: (E, N) further maps.
        shares: (N,) the object's share of each pixel, in [0, 1].
    """
    with torch.inference_mode(False), torch.enable_grad():
        rows = torch.cat([channels, maps]).clone()
        mean, deviation = rows.mean(dim=1, keepdim=True), rows.std(dim=1, keepdim=True) + 1e-6
        rows = (rows - mean) / deviation
        wanted = shares.clone()
        weights = torch.zeros(len(rows), device=rows.device, requires_grad=True)
        bias = torch.zeros((), device=rows.device, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weights, bias], max_iter=_MAX_ITERATIONS, line_search_fn="strong_wolfe"
        )

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            error = F.binary_cross_entropy_with_logits(weights @ rows + bias, wanted)
            value = error + _WEIGHT_DECAY * weights.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimizer.step(loss)  # type: ignore[no-untyped-call]
        weights = weights.detach() / deviation[:, 0]
        bias = bias.detach() - weights @ mean[:, 0]
    num_channels = len(channels)
    return Head(weights[:num_channels], weights[num_channels:], bias)
