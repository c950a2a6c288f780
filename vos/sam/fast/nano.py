"""The embedded model's encoder, a convolution and all that follows it in one call of oneDNN.

torch writes a map, reads it for the bias, again for the activation and again for the sum with the
block's input. oneDNN does all of that while a part of the map is in registers. With one thread
torch takes another library altogether, and under autocast it casts every weight at every call.
Here weights are cast and put in oneDNN's order once. Sums are taken in another order, so results
differ from the module's in the last bits of its arithmetic.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.devices import bfloat16_units
from vos.sam.networks.nano import (
    NUM_EXACT_STAGES,
    STEM_STRIDE_PX,
    TAPPED_STAGES,
    TAPPED_STRIDES_PX,
    NanoEncoder,
    enlarge_twice,
    same_kernel,
)

_Activation = Literal["none", "relu6", "gelu"]
_ACTIVATIONS: Final[dict[_Activation, tuple[str, list[float], str]]] = {
    "none": ("none", [], ""),
    "relu6": ("hardtanh", [0.0, 6.0], ""),
    "gelu": ("gelu", [], "none"),
}
_NO_DILATION: Final = [1, 1]


def can_run_fused(encoder: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether an encoder is a :class:`NanoEncoder` that can run so.

    Args:
        encoder: Its batch norms must have been folded into the convolutions.
        device: Where it runs.
        dtype: In which arithmetic.
    """
    return (
        type(encoder) is NanoEncoder
        and isinstance(encoder.trunk.stem.norm, nn.Identity)
        and device.type == "cpu"
        and torch.backends.cpu.get_cpu_capability().startswith("AVX")
        and (dtype == torch.float32 or (dtype == torch.bfloat16 and len(bfloat16_units()) > 0))
        and _operators_are_known()
    )


@functools.cache
def _operators_are_known() -> bool:
    """Try torch's operators for oneDNN, which are private, so that any version may change them."""
    images = torch.linspace(-1, 1, 8 * 16).view(1, 8, 4, 4)
    weight, bias = torch.linspace(-8, 8, 64).view(8, 8, 1, 1), torch.linspace(-1, 1, 8)
    conv = SimpleNamespace(
        weight=weight, bias=bias, padding=(0, 0), stride=(1, 1), groups=1, in_channels=8
    )
    expected = F.conv2d(images, weight, bias)
    try:
        relu6 = _Convolution(conv, 4, torch.float32, "relu6")(images)
        total = _Convolution(conv, 4, torch.float32)(images, plus=images)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(relu6, F.relu6(expected), atol=1e-3) and torch.allclose(
        total, expected + images, atol=1e-3
    )


class FusedNano:
    """Encodes as a :class:`NanoEncoder`, whose weights must not change afterwards.

    Args:
        encoder: For which :func:`can_run_fused` holds.
        dtype: float32, or bfloat16 for all but the first stages.
    """

    def __init__(self, encoder: Any, dtype: torch.dtype) -> None:
        self._dtype = dtype
        side = encoder.img_size
        trunk, neck = encoder.trunk, encoder.neck
        self._stem = _Convolution(trunk.stem.conv, side, torch.float32, "relu6", is_same=True)
        side //= STEM_STRIDE_PX
        self._stages: list[list[_Block]] = []
        for index, stage in enumerate(trunk.stages):
            stage_dtype = torch.float32 if index < NUM_EXACT_STAGES else dtype
            self._stages.append([])
            for block in stage:
                self._stages[-1].append(_Block(block, side, stage_dtype))
                side //= block.depthwise_conv.stride[0]
        sides = [encoder.img_size // stride_px for stride_px in TAPPED_STRIDES_PX]
        self._lateral = [
            _Convolution(conv, side, dtype) for conv, side in zip(neck.lateral, sides, strict=True)
        ]
        self._refine16 = _Refine(neck.refine16, sides[2], dtype)
        self._down_depthwise = _Convolution(neck.downsample.depthwise, sides[0], dtype)
        self._down_pointwise = _Convolution(neck.downsample.pointwise, sides[1], dtype)
        self._refine8 = [_Refine(each, sides[1], dtype) for each in neck.refine8]
        output = neck.output
        self._project = _Convolution(output.project, sides[1], dtype)
        self._norm1 = _Norm(output.norm1, dtype)
        self._depthwise = _Convolution(output.depthwise, sides[1], dtype)
        self._pointwise = _Convolution(output.pointwise, sides[1], dtype)
        self._norm2 = _Norm(output.norm2, dtype)

    def __call__(self, images: Tensor) -> Tensor:
        """Encode normalised images, (B, 3, H, W) float32 to (B, 256, H/8, W/8)."""
        with torch.autocast("cpu", enabled=False):
            return self._encode(images)

    def _encode(self, images: Tensor) -> Tensor:
        x = self._stem(images)
        maps = []
        for index, stage in enumerate(self._stages):
            x = x if index < NUM_EXACT_STAGES else x.to(self._dtype)
            for block in stage:
                x = block(x)
            maps.append(x)
        c4, c8, c16, c32 = (maps[index].to(self._dtype) for index in TAPPED_STAGES)
        lateral4, lateral8, lateral16, lateral32 = self._lateral
        p16 = self._refine16(lateral16(c16, plus=enlarge_twice(lateral32(c32))))
        p8 = lateral8(c8, plus=enlarge_twice(p16))
        p8 = self._down_pointwise(self._down_depthwise(lateral4(c4)), plus=p8)
        for refine in self._refine8:
            p8 = refine(p8)
        return self._norm2(self._pointwise(self._depthwise(self._norm1(self._project(p8)))))


class _Convolution:
    """A convolution, with an activation or a sum after it.

    Args:
        conv: The layer.
        side: Of the square maps that it is laid out for; it takes others too.
        dtype: Its arithmetic.
        activation: What follows it.
        is_same: Whether it is of the trunk, which pads as TensorFlow does.
    """

    def __init__(
        self,
        conv: Any,
        side: int,
        dtype: torch.dtype,
        activation: _Activation = "none",
        *,
        is_same: bool = False,
    ) -> None:
        weight, padding = same_kernel(conv) if is_same else (conv.weight, conv.padding[0])
        self._shape = [padding, padding], list(conv.stride), _NO_DILATION, conv.groups
        size = [1, conv.in_channels, side, side]
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.detach().to(dtype), *self._shape, size
        )
        self._bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self._activation = _ACTIVATIONS[activation]

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        kernel = self._weight, self._bias, *self._shape
        operator = torch.ops.mkldnn._convolution_pointwise
        if plus is None:
            result: Tensor = operator(x, *kernel, *self._activation)
        else:
            result = operator.binary(x, plus, *kernel, "add", 1.0, None, [], None)
        return result


class _Block:
    """The trunk's inverted residual: expand, convolve each channel, project."""

    def __init__(self, block: Any, side: int, dtype: torch.dtype) -> None:
        self._expand = None
        if block.expands:
            self._expand = _Convolution(block.expand_conv, side, dtype, "relu6", is_same=True)
        self._depthwise = _Convolution(block.depthwise_conv, side, dtype, "relu6", is_same=True)
        side //= block.depthwise_conv.stride[0]
        self._project = _Convolution(block.project_conv, side, dtype, is_same=True)
        self._is_residual = block.is_residual

    def __call__(self, x: Tensor) -> Tensor:
        hidden = self._depthwise(x if self._expand is None else self._expand(x))
        return self._project(hidden, plus=x if self._is_residual else None)


class _Refine:
    """The neck's residual block."""

    def __init__(self, refine: Any, side: int, dtype: torch.dtype) -> None:
        self._norm = _Norm(refine.norm, dtype)
        self._depthwise = _Convolution(refine.depthwise, side, dtype)
        self._expand = _Convolution(refine.expand, side, dtype, "gelu")
        self._project = _Convolution(refine.project, side, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        return self._project(self._expand(self._depthwise(self._norm(x))), plus=x)


class _Norm:
    """A channel norm; its statistics are float32, whatever it reads and writes."""

    def __init__(self, norm: Any, dtype: torch.dtype) -> None:
        self._weight, self._bias = norm.weight.detach().to(dtype), norm.bias.detach().to(dtype)
        self._eps = norm.eps

    def __call__(self, x: Tensor) -> Tensor:
        cells = x.permute(0, 2, 3, 1)
        normalised = F.layer_norm(cells, self._weight.shape, self._weight, self._bias, self._eps)
        return normalised.permute(0, 3, 1, 2)
