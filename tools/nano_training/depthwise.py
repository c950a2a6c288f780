"""Depthwise convolutions whose gradients are computed in float32 on the CPU.

oneDNN's gradient of a depthwise kernel takes four to nine times as long in bfloat16 as in float32
(16 x 1152 x 8 x 8, 5 x 5, one core: 112 against 24 ms), which was 40 % of a training step. All else
stays in autocast's bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class ExactDepthwiseGradients(TorchFunctionMode):
    """While entered, depthwise convolutions on the CPU under autocast have float32 gradients."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d and torch.is_autocast_enabled("cpu") and args[0].device.type == "cpu":
            images, weight, bias, stride, padding, groups = _arguments(*args, **kwargs)
            if groups > 1:
                return _Depthwise.apply(images, weight, bias, stride, padding, groups)
        return func(*args, **kwargs)


def _arguments(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, list[int], list[int], int]:
    if dilation not in (1, (1, 1)):
        raise ValueError("dilated convolutions are none of this model's")
    return images, weight, bias, _twice(stride), _twice(padding), groups


def _twice(value: Any) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        groups: int,
    ) -> Tensor:
        images, weight = images.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding, ctx.groups = stride, padding, groups
        bias = None if bias is None else bias.bfloat16()
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(images, weight, bias, stride, padding, 1, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        gradient = gradients[0].to(torch.float32, memory_format=torch.channels_last)
        of_images, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient,
            images.float(),
            weight.float(),
            None,
            ctx.stride,
            ctx.padding,
            [1, 1],
            False,
            [0, 0],
            ctx.groups,
            [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False],
        )
        of_bias = gradient.sum(dim=(0, 2, 3)) if ctx.needs_input_grad[2] else None
        if of_images is not None:
            of_images = of_images.bfloat16()
        return of_images, of_weight, of_bias, None, None, None
