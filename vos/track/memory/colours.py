"""What colours an object and its surroundings have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

_NUM_BINS: Final = 16
_FLOOR: Final = 1e-5
_REACH: Final = 4  # bins: how far the smoothing sees, with a deviation of one bin


@dataclass(frozen=True, slots=True, eq=False)
class Colours:
    """How much more likely a colour is on the object than beside it.

    Attributes:
        log_ratios: (16, 16, 16) float32 over red, green and blue.
    """

    log_ratios: torch.Tensor

    def look_up(self, rgb: torch.Tensor) -> torch.Tensor:
        """Give (h, w) log ratios of (3, h, w) float colours in [0, 255]."""
        red, green, blue = (rgb * (_NUM_BINS / 256)).long().clamp_(0, _NUM_BINS - 1)
        return self.log_ratios[red, green, blue]


def learn_colours(rgb: torch.Tensor, shares: torch.Tensor) -> Colours:
    """Compare the smoothed histograms of the object's pixels and of the others.

    Args:
        rgb: (3, N) float colours in [0, 255].
        shares: (N,) the object's share of each pixel, in [0, 1].
    """
    red, green, blue = (rgb * (_NUM_BINS / 256)).long().clamp_(0, _NUM_BINS - 1)
    bins = (red * _NUM_BINS + green) * _NUM_BINS + blue
    logs = []
    blur = _blur()
    for weights in (shares, 1 - shares):
        counts = np.bincount(bins.cpu().numpy(), weights.cpu().numpy(), _NUM_BINS**3)
        cube = counts.reshape(_NUM_BINS, _NUM_BINS, _NUM_BINS)
        smooth = np.einsum("ri,gj,bk,ijk->rgb", blur, blur, blur, cube, optimize=True)
        logs.append(np.log(smooth / max(smooth.sum(), 1e-12) + _FLOOR))
    ratios = torch.from_numpy(logs[0] - logs[1]).float()
    return Colours(ratios.to(rgb.device))


def _blur() -> NDArray[np.float64]:
    """Give the (16, 16) matrix of a Gaussian; beyond its ends a histogram is mirrored.

    scipy.ndimage has this too, but takes a sixth of a second to import.
    """
    mirrored = np.pad(np.eye(_NUM_BINS), ((_REACH, _REACH), (0, 0)), mode="symmetric")
    weights = np.exp(-0.5 * np.arange(-_REACH, _REACH + 1) ** 2)
    shifted = [mirrored[first : first + _NUM_BINS] for first in range(len(weights))]
    blur: NDArray[np.float64] = np.tensordot(weights / weights.sum(), shifted, axes=1)
    return blur
