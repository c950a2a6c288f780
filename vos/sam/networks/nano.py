"""The embedded model: segment_anything's ``Sam`` with a convolutional image encoder.

The encoder is an EfficientNet-Lite0 trunk (Tan and Le, arXiv 1905.11946, without squeeze and
excitation, with ReLU6) and a neck that merges its four scales into SAM's 256 channels at stride 8,
so that a 512 pixel input gives the 64 x 64 cells that SAM's decoder was made for. Prompt encoder
and mask decoder are SAM's own. Batch norm is frozen: it never sees a batch's statistics, neither
in training nor at run time.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.networks.assemble import CHANNELS, ChannelNorm, assemble_sam
from vos.sam.networks.batch_norm import FrozenBatchNorm

NANO_INPUT_PX: Final = 512
"""Side of the model's square input."""

STRIDE_PX: Final = 8
"""Model pixels per feature cell."""

_NECK_CHANNELS: Final = 128
_BatchNorm = partial(FrozenBatchNorm, eps=1e-3)

# EfficientNet-Lite0: (expansion, kernel, stride, channels in, channels out, blocks) of each stage.
_STAGES: Final = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
# Rounding their weights to bfloat16 changes the features by 3 %, rounding all others by 1 %.
NUM_EXACT_STAGES: Final = 2
"""First stages, which run in float32 whatever the arithmetic of the others."""

STEM_STRIDE_PX: Final = 2
TAPPED_STRIDES_PX: Final = (4, 8, 16, 32)
TAPPED_STAGES: Final = (1, 2, 4, 6)
"""The last stage at each of these strides."""


def build_nano() -> nn.Module:
    """Build the embedded model with random weights.

    Returns:
        segment_anything's ``Sam``, in evaluation mode, with ``image_encoder`` a
        :class:`NanoEncoder`. Input: (B, 3, 512, 512), RGB in 0..255 after ``pixel_mean`` and
        ``pixel_std``, padded right and bottom with zeros.
    """
    return assemble_sam(
        NanoEncoder(),
        input_px=NANO_INPUT_PX,
        num_cells=NANO_INPUT_PX // STRIDE_PX,
        pixel_mean=(127.0,) * 3,
        pixel_std=(128.0,) * 3,
    )


class NanoEncoder(nn.Module):
    """Image encoder: (B, 3, H, W) to (B, 256, H/8, W/8) for H and W that are multiples of 32.

    ``img_size`` is the side of the square input that the prompt encoder is built for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.img_size = NANO_INPUT_PX
        self.trunk = _Trunk()
        self.neck = _Neck()

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalised images."""
        features: Tensor = self.neck(*self.trunk(images))
        return features


def same_kernel(conv: nn.Conv2d) -> tuple[Tensor, int]:
    """Give the kernel and the padding with which a stride of 2 halves an even size exactly.

    The padding is TensorFlow's "same", which the trunk was trained with: at stride 2 the odd
    pixel goes right and bottom.

    Returns:
        The (out, in / groups, k, k) kernel, and the padding of each side, pixels.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    if stride == 1:
        return conv.weight, kernel // 2
    # The odd pixel becomes a leading row and column of zeros in the kernel: the same sums, and the
    # convolution pads by itself instead of on a copy of the activations.
    return F.pad(conv.weight, (1, 0, 1, 0)), (kernel - stride) // 2 + 1


def _convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
    weight, padding = same_kernel(conv)
    return F.conv2d(x, weight, conv.bias, conv.stride, padding, groups=conv.groups)


class _Stem(nn.Module):
    """First convolution: RGB to 32 channels at stride 2."""

    def __init__(self, num_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, num_out, 3, stride=STEM_STRIDE_PX, bias=False)
        self.norm = _BatchNorm(num_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.norm(_convolve(x, self.conv)), inplace=True)


class _InvertedResidual(nn.Module):
    """EfficientNet-Lite block: expand, convolve each channel, project."""

    def __init__(self, expansion: int, kernel: int, stride: int, num_in: int, num_out: int) -> None:
        super().__init__()
        num_hidden = num_in * expansion
        self.expands = expansion > 1
        if self.expands:
            self.expand_conv = nn.Conv2d(num_in, num_hidden, 1, bias=False)
            self.expand_norm = _BatchNorm(num_hidden)
        self.depthwise_conv = nn.Conv2d(
            num_hidden, num_hidden, kernel, stride=stride, groups=num_hidden, bias=False
        )
        self.depthwise_norm = _BatchNorm(num_hidden)
        self.project_conv = nn.Conv2d(num_hidden, num_out, 1, bias=False)
        self.project_norm = _BatchNorm(num_out)
        self.is_residual = stride == 1 and num_in == num_out

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = x
        if self.expands:
            hidden = self.expand_norm(_convolve(hidden, self.expand_conv))
            hidden = F.relu6(hidden, inplace=True)
        hidden = self.depthwise_norm(_convolve(hidden, self.depthwise_conv))
        hidden = F.relu6(hidden, inplace=True)
        hidden = self.project_norm(_convolve(hidden, self.project_conv))
        return x + hidden if self.is_residual else hidden


def _build_stage(
    expansion: int, kernel: int, stride: int, num_in: int, num_out: int, num_blocks: int
) -> nn.Sequential:
    first = _InvertedResidual(expansion, kernel, stride, num_in, num_out)
    others = (
        _InvertedResidual(expansion, kernel, 1, num_out, num_out) for _ in range(num_blocks - 1)
    )
    return nn.Sequential(first, *others)


class _Trunk(nn.Module):
    """EfficientNet-Lite0 without its classifier; gives maps at strides 4, 8, 16, 32.

    The first stages run in float32 under autocast too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Stem(_STAGES[0][3])
        self.stages = nn.ModuleList(_build_stage(*stage) for stage in _STAGES)

    def forward(self, images: Tensor) -> list[Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            x = self.stem(images)
            maps = [x := stage(x) for stage in self.stages[:NUM_EXACT_STAGES]]
        maps += [x := stage(x) for stage in self.stages[NUM_EXACT_STAGES:]]
        return [maps[index] for index in TAPPED_STAGES]


class _Refine(nn.Module):
    """Residual block of a 5 x 5 depthwise convolution and a two-layer perceptron per cell."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(num_channels)
        self.depthwise = nn.Conv2d(
            num_channels, num_channels, 5, padding=2, groups=num_channels, bias=False
        )
        self.expand = nn.Conv2d(num_channels, 2 * num_channels, 1)
        self.project = nn.Conv2d(2 * num_channels, num_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.expand(self.depthwise(self.norm(x))))
        refined: Tensor = x + self.project(hidden)
        return refined


def _build_downsample(num_channels: int) -> nn.Sequential:
    layers: dict[str, nn.Module] = {
        "depthwise": nn.Conv2d(
            num_channels, num_channels, 3, stride=2, padding=1, groups=num_channels, bias=False
        ),
        "pointwise": nn.Conv2d(num_channels, num_channels, 1),
    }
    return nn.Sequential(OrderedDict(layers))


def _build_output(num_in: int, num_out: int) -> nn.Sequential:
    layers: dict[str, nn.Module] = {
        "project": nn.Conv2d(num_in, num_out, 1, bias=False),
        "norm1": ChannelNorm(num_out),
        "depthwise": nn.Conv2d(num_out, num_out, 3, padding=1, groups=num_out, bias=False),
        "pointwise": nn.Conv2d(num_out, num_out, 1, bias=False),
        "norm2": ChannelNorm(num_out),
    }
    return nn.Sequential(OrderedDict(layers))


class _Neck(nn.Module):
    """Merges the trunk's maps; ``c<n>`` and ``p<n>`` are at stride n."""

    def __init__(self) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Conv2d(_STAGES[stage][4], _NECK_CHANNELS, 1) for stage in TAPPED_STAGES
        )
        self.refine16 = _Refine(_NECK_CHANNELS)
        self.downsample = _build_downsample(_NECK_CHANNELS)
        self.refine8 = nn.Sequential(_Refine(_NECK_CHANNELS), _Refine(_NECK_CHANNELS))
        self.output = _build_output(_NECK_CHANNELS, CHANNELS)

    def forward(self, c4: Tensor, c8: Tensor, c16: Tensor, c32: Tensor) -> Tensor:
        p4, p8, p16, p32 = (
            lateral(c) for lateral, c in zip(self.lateral, (c4, c8, c16, c32), strict=True)
        )
        p16 = self.refine16(p16 + enlarge_twice(p32))
        p8 = self.refine8(p8 + enlarge_twice(p16) + self.downsample(p4))
        features: Tensor = self.output(p8)
        return features


def enlarge_twice(x: Tensor) -> Tensor:
    """Double the sides of (B, C, h, w) maps, bilinear."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
