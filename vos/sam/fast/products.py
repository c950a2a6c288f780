"""Products of many rows with one matrix, by the faster of a processor's two libraries.

torch multiplies float32 matrices on a CPU in MKL, which uses half of the vector unit of AMD's
processors with AVX-512. It convolves in oneDNN, which uses all of it. The rows of a matrix are the
pixels of a picture whose channels are last in memory, and their product with a weight is a
convolution by one pixel: the same sums, and on such processors up to twice as fast.

Elsewhere nothing is to be gained: with AVX2 both use all of the vector unit, and a convolution's
gradient takes three times as long as the product; on a GPU a convolution may round to TF32, half
precision goes to oneDNN anyway, and products that are small do not pay for the reordering of the
weight. With one thread torch convolves in MKL as well.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

_FEWEST_ROWS: Final = 256
_FEWEST_OUTPUTS: Final = 16


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do what ``F.linear`` does.

    Args:
        rows: (..., A).
        weight: (B, A).
        bias: (B,), or None.

    Returns:
        (..., B).
    """
    num_outputs, length = weight.shape
    num_rows = rows.numel() // max(length, 1)
    if not _pays_as_convolution(rows, num_rows, num_outputs):
        return F.linear(rows, weight, bias)
    kernel = weight.contiguous().view(num_outputs, length, 1, 1)
    # Rows in another order of memory would give results in another order, slowly.
    pixels = rows.reshape(num_rows, length).contiguous()
    result = F.conv2d(_as_picture(pixels), kernel, bias)
    result = result.permute(0, 2, 3, 1)
    return result.reshape(*rows.shape[:-1], num_outputs)


def weighted_sums(weights: Tensor, rows: Tensor) -> Tensor:
    """Sum rows by weights: ``weights.T @ rows``.

    A product that sums over pixels is, to a convolution by one pixel, the gradient of its kernel.

    Args:
        weights: (R, N).
        rows: (R, C).

    Returns:
        (N, C).
    """
    num_rows, num_sums = weights.shape
    if not _pays_as_convolution(rows, num_rows, num_sums):
        return weights.T @ rows
    size = (num_sums, rows.shape[1], 1, 1)
    sums: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
        _as_picture(rows), size, _as_picture(weights)
    )
    return sums.view(size[:2])


def plus_product(rows: Tensor, weights: Tensor, values: Tensor) -> Tensor:
    """Give ``rows + weights @ values``.

    Args:
        rows: (R, C).
        weights: (R, N).
        values: (N, C).

    Returns:
        (R, C).
    """
    if not _pays_as_convolution(weights, len(weights), values.shape[1]):
        return torch.addmm(rows, weights, values)
    return linear(weights, values.T).add_(rows)


def apply(layer: Any, rows: Tensor) -> Tensor:
    """Run an ``nn.Linear`` so; a layer of any other class, or with hooks, runs as it is.

    Args:
        layer: Maps (..., A) to (..., B).
        rows: (..., A).

    Returns:
        (..., B).
    """
    if type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks:
        return linear(rows, layer.weight, layer.bias)
    result: Tensor = layer(rows)
    return result


def _as_picture(rows: Tensor) -> Tensor:
    """See (R, C) rows as (1, C, R, 1), the pixels of a picture."""
    return rows[None, :, None].permute(0, 3, 1, 2)


def _pays_as_convolution(rows: Tensor, num_rows: int, num_outputs: int) -> bool:
    return (
        torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and num_rows >= _FEWEST_ROWS
        and num_outputs >= _FEWEST_OUTPUTS
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not _casts()
    )


def _casts() -> bool:
    """Tell whether autocast is on; torch 2.4 has renamed the question."""
    if hasattr(torch, "get_autocast_dtype"):
        return torch.is_autocast_enabled("cpu")
    return torch.is_autocast_cpu_enabled()
