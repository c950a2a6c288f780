"""A classifier of frame pixels, for objects thinner than the pixels of SAM's decoder.

A decoder pixel of a window is some frame pixels wide. A line, a wheel or a leg thinner than that
cannot be in its masks, whatever the prompts. Here the reference teaches how the pixels near the
object relate to the decoder's logits and to the colours around them: a small network is fitted to
them and corrects the enlarged logits. It is for such objects only: where the decoder's pixels hold
the shape, what is learned of one frame's edges costs more in other frames than it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.sam.geometry import average_in_cells, low_res_to_frame
from vos.track.memory.colours import Colours
from vos.track.memory.crops import Crop
from vos.track.memory.prompts import to_logits

_MIN_SELF_IOU: Final = 0.9  # IoU of a mask with itself in decoder pixels, below which it is thin
_LOGIT_RANGE: Final = 8.0
_OPEN: Final = 4.0  # logits within +-4 are open to correction, and so is what is next to them
_MAX_SIDE_PX: Final = 1024  # larger windows are corrected at this size
_NUM_HIDDEN: Final = 16
_MAX_PIXELS: Final = 60_000  # of a reference, to fit to
_MAX_ITERATIONS: Final = 60
_WEIGHT_DECAY: Final = 1e-3
_CONTRASTS: Final = (1, 2, 4)  # decoder pixels: how far a pixel's surroundings reach
_NEIGHBOURHOODS: Final = (2, 4, 8)
_AREA: Final = 16

Float = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class FineHead:
    """Weights of one object's network, N maps to 16 hidden units to a logit.

    Attributes:
        hidden: (16, N) float32.
        hidden_bias: (16,) float32.
        out: (16,) float32.
        direct: (N,) float32, past the hidden units.
        bias: () float32.
    """

    hidden: torch.Tensor
    hidden_bias: torch.Tensor
    out: torch.Tensor
    direct: torch.Tensor
    bias: torch.Tensor

    def correction(self, maps: torch.Tensor) -> torch.Tensor:
        """Give (M,) logits to add, from the (N, M) maps of M pixels."""
        units = F.silu(self.hidden @ maps + self.hidden_bias[:, None])
        return self.out @ units + self.direct @ maps + self.bias


def is_thin(crop: Crop, mask: NDArray[np.bool_]) -> bool:
    """Tell whether the decoder's pixels of a crop are too large for an (H, W) mask of the frame."""
    in_crop = torch.from_numpy(np.ascontiguousarray(mask[crop.slices]))
    shares = average_in_cells(in_crop[None].float(), crop.letterbox, crop.pixels_hw)
    back = low_res_to_frame(to_logits(shares), crop.letterbox)[0] > 0
    return float((back & in_crop).sum()) < _MIN_SELF_IOU * float((back | in_crop).sum())


def apply_fine_head(
    head: FineHead, crop: Crop, logits: torch.Tensor, colours: Colours | None
) -> torch.Tensor:
    """Correct a crop's (H, W) logits where they are open."""
    scaled = _Scaled.of(crop, logits)
    near = scaled.is_open()
    if not near.any():
        return logits
    before = torch.from_numpy(scaled.logits[near]).clamp(-_LOGIT_RANGE, _LOGIT_RANGE)
    maps = torch.from_numpy(scaled.maps(colours)[:, near])
    corrected = scaled.logits.copy()
    corrected[near] = (before + head.correction(maps)).numpy()
    full = torch.from_numpy(_resized(corrected, crop.letterbox.frame_hw))
    return full.to(logits.device)


def fit_fine_head(
    samples: Sequence[tuple[Crop, NDArray[np.bool_], torch.Tensor]], colours: Colours | None
) -> FineHead | None:
    """Fit a network to crops of references.

    Args:
        samples: Crops, each with the frame's (H, W) mask and the crop's (H, W) logits.
        colours: The object's colours, if they are to be seen.

    Returns:
        The network; None where no logit is open.
    """
    all_maps, all_logits, all_wanted = [], [], []
    for crop, mask, logits in samples:
        scaled = _Scaled.of(crop, logits)
        near = scaled.is_open()
        wanted = _resized(mask[crop.slices].astype(np.float32), scaled.logits.shape)
        all_maps.append(scaled.maps(colours)[:, near])
        all_logits.append(scaled.logits[near])
        all_wanted.append(wanted[near])
    num_pixels = sum(len(each) for each in all_wanted)
    if num_pixels < 2:
        return None
    every = -(-num_pixels // _MAX_PIXELS)
    rows, before, truth = (
        torch.from_numpy(np.concatenate(each, axis=-1)[..., ::every].astype(np.float32))
        for each in (all_maps, all_logits, all_wanted)
    )
    return _fit(rows, before.clamp(-_LOGIT_RANGE, _LOGIT_RANGE), truth)


def _fit(maps: torch.Tensor, logits: torch.Tensor, wanted: torch.Tensor) -> FineHead:
    # torch.optim imports the compiler, which takes a second.
    from scipy.optimize import minimize

    mean, deviation = maps.mean(dim=1, keepdim=True), maps.std(dim=1, keepdim=True) + 1e-4
    rows = (maps - mean) / deviation
    num_maps = len(maps)
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(_NUM_HIDDEN, num_maps, generator=random) / num_maps**0.5
    out = torch.randn(_NUM_HIDDEN, generator=random) * 0.01
    first = [hidden, torch.zeros(_NUM_HIDDEN), out, torch.zeros(num_maps), torch.zeros(())]

    def network_of(values: torch.Tensor) -> FineHead:
        parts = torch.split(values, [each.numel() for each in first])
        return FineHead(*(part.view(each.shape) for part, each in zip(parts, first, strict=True)))

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.inference_mode(False), torch.enable_grad():
            weights = torch.from_numpy(values).float().requires_grad_()
            network = network_of(weights)
            error = F.binary_cross_entropy_with_logits(logits + network.correction(rows), wanted)
            size = network.hidden.square().sum() / _NUM_HIDDEN + network.out.square().sum()
            value = error + _WEIGHT_DECAY * (size + network.direct.square().sum())
            (gradient,) = torch.autograd.grad(value, weights)
        return float(value.detach()), gradient.double().numpy()

    start = torch.cat([each.flatten() for each in first]).double().numpy()
    options = {"maxiter": _MAX_ITERATIONS, "maxcor": _MAX_ITERATIONS}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    fitted = network_of(torch.from_numpy(found.x).float())
    # The maps' normalisation becomes part of the weights.
    hidden, direct = fitted.hidden / deviation[:, 0], fitted.direct / deviation[:, 0]
    shift = mean[:, 0]
    return FineHead(
        hidden,
        fitted.hidden_bias - hidden @ shift,
        fitted.out,
        direct,
        fitted.bias - direct @ shift,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """A crop's colours and logits at the size they are corrected at.

    Attributes:
        rgb: (H, W, 3) uint8.
        logits: (H, W) float32.
        pixel_px: Side of a decoder pixel at this size.
    """

    rgb: NDArray[np.uint8]
    logits: Float
    pixel_px: float

    @classmethod
    def of(cls, crop: Crop, logits: torch.Tensor) -> _Scaled:
        height, width = crop.letterbox.frame_hw
        scale = min(1.0, _MAX_SIDE_PX / max(height, width))
        size_hw = max(1, round(height * scale)), max(1, round(width * scale))
        rgb = _resized(crop.rgb, size_hw)
        side_px = max(size_hw) / max(crop.pixels_hw)
        return cls(rgb, _resized(logits.cpu().numpy(), size_hw), side_px)

    def is_open(self) -> NDArray[np.bool_]:
        """Say which pixels have an undecided logit within two decoder pixels."""
        kernel = np.ones((_odd(2 * self.pixel_px),) * 2, dtype=np.uint8)
        highest, lowest = cv2.dilate(self.logits, kernel), cv2.erode(self.logits, kernel)
        is_open: NDArray[np.bool_] = (highest > -_OPEN) & (lowest < _OPEN)
        return is_open

    def maps(self, colours: Colours | None) -> Float:
        """Give (N, H, W) maps of what is at a pixel and around it."""
        rgb = self.rgb.astype(np.float32) / 255
        shares = 1 / (1 + np.exp(-self.logits))
        maps = [
            np.clip(self.logits, -_LOGIT_RANGE, _LOGIT_RANGE) / 4,
            shares,
            *np.moveaxis(rgb, 2, 0),
        ]
        if colours is not None:
            layers = torch.from_numpy(np.moveaxis(self.rgb, 2, 0).astype(np.float32))
            log_ratios = colours.look_up(layers.to(colours.log_ratios.device))
            maps.append(log_ratios.cpu().numpy() / 4)
        for reach in _CONTRASTS:
            maps.extend(4 * np.moveaxis(rgb - self._blurred(rgb, reach), 2, 0))
        for reach in _NEIGHBOURHOODS:
            maps.extend(self._between(rgb, shares, reach))
        maps.append(self._blurred(shares, _AREA))
        return np.stack(maps).astype(np.float32, copy=False)

    def _between(self, rgb: Float, shares: Float, reach: int) -> tuple[Float, Float]:
        """Project each colour on the line between those of object and background around it.

        0 is the background's mean colour and 1 the object's, as in matting; then the log ratio of
        how much of each there is.
        """
        inside = self._blurred(shares, reach) + 1e-3
        outside = self._blurred(1 - shares, reach) + 1e-3
        inside_rgb = self._blurred(rgb * shares[..., None], reach) / inside[..., None]
        outside_rgb = self._blurred(rgb * (1 - shares[..., None]), reach) / outside[..., None]
        apart = inside_rgb - outside_rgb
        along = ((rgb - outside_rgb) * apart).sum(axis=2) / ((apart * apart).sum(axis=2) + 3e-3)
        return np.clip(along, -1, 2), np.log(inside / outside) / 4

    def _blurred(self, picture: Float, reach: int) -> Float:
        """Average over a square twice, a good likeness of a Gaussian."""
        side = _odd(reach * self.pixel_px)
        once = cv2.blur(picture, (side, side), borderType=cv2.BORDER_REFLECT_101)
        twice: NDArray[Any] = cv2.blur(once, (side, side), borderType=cv2.BORDER_REFLECT_101)
        return twice


def _odd(reach_px: float) -> int:
    return 2 * round(reach_px) + 1


def _resized(picture: NDArray[Any], size_hw: tuple[int, ...]) -> NDArray[Any]:
    if picture.shape[:2] == size_hw:
        return picture
    shrinks = picture.shape[0] > size_hw[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(picture, (size_hw[1], size_hw[0]), interpolation=how)
