"""TinyViT (Wu et al., arXiv 2207.10666) as MobileSAM (arXiv 2306.14289) uses it: an image encoder.

Four stages, the first of MBConv blocks, the others of windowed attention, and SAM's neck. Other
than the classifier of the paper, the last stage keeps the resolution of the third, so that a
1024 pixel input gives SAM's 64 x 64 cells. Only inference is provided for: there is no drop path.

Modules bear the names that the published weights have.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.segment_anything_modules import LayerNorm2d

TINY_VIT_INPUT_PX: Final = 1024
"""Side of the model's square input."""

_DIMS: Final = (64, 128, 160, 320)
_DEPTHS: Final = (2, 2, 6, 2)
_HEADS: Final = (2, 4, 5, 10)
_WINDOWS: Final = (7, 7, 14, 7)
# Of the reduction that ends each stage but the last.
_STRIDES: Final = (2, 2, 1)
_EXPANSION: Final = 4
_OUT_CHANNELS: Final = 256
_NUM_CLASSES: Final = 1000


class TinyViT(nn.Module):
    """Image encoder: (B, 3, S, S) to (B, 256, S/16, S/16) for any S that is a multiple of 16.

    Height and width may differ. ``img_size`` is the S that the prompt encoder is built for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.img_size = TINY_VIT_INPUT_PX
        self.patch_embed = _PatchEmbedding(_DIMS[0])
        reductions = [
            _Reduction(dim, next_dim, stride)
            for (dim, next_dim), stride in zip(pairwise(_DIMS), _STRIDES, strict=True)
        ]
        blocks: list[list[nn.Module]] = [[_MBConv(_DIMS[0]) for _ in range(_DEPTHS[0])]]
        for dim, depth, num_heads, window in zip(
            _DIMS[1:], _DEPTHS[1:], _HEADS[1:], _WINDOWS[1:], strict=True
        ):
            blocks.append([_WindowBlock(dim, num_heads, window) for _ in range(depth)])
        self.layers = nn.ModuleList(map(_Stage, blocks, [*reductions, None]))
        # The classifier of the first training: in the published file, but never run.
        self.norm_head = nn.LayerNorm(_DIMS[-1])
        self.head = nn.Linear(_DIMS[-1], _NUM_CLASSES)
        self.neck = nn.Sequential(
            nn.Conv2d(_DIMS[-1], _OUT_CHANNELS, 1, bias=False),
            LayerNorm2d(_OUT_CHANNELS),
            nn.Conv2d(_OUT_CHANNELS, _OUT_CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(_OUT_CHANNELS),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalised images."""
        x = self.patch_embed(images)
        for stage in self.layers:
            x = stage(x)
        features: Tensor = self.neck(x)
        return features


class _NormedConv(nn.Module):
    """A convolution without bias and the batch norm after it."""

    def __init__(
        self, dim_in: int, dim_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            dim_in, dim_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.c(x))
        return y


class _PatchEmbedding(nn.Module):
    """Two convolutions, 4 model pixels per cell."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            _NormedConv(3, dim // 2, 3, stride=2), nn.GELU(), _NormedConv(dim // 2, dim, 3, stride=2)
        )

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.seq(images)
        return x


class _MBConv(nn.Module):
    """Widen, filter each channel, narrow; with a residual, and an activation after the sum."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim * _EXPANSION
        self.conv1 = _NormedConv(dim, hidden, 1)
        self.conv2 = _NormedConv(hidden, hidden, 3, groups=hidden)
        self.conv3 = _NormedConv(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(x + self.conv3(y))


class _Reduction(nn.Module):
    """Between two stages: more channels and, at stride 2, a quarter of the cells."""

    def __init__(self, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _NormedConv(dim_in, dim_out, 1)
        self.conv2 = _NormedConv(dim_out, dim_out, 3, stride=stride, groups=dim_out)
        self.conv3 = _NormedConv(dim_out, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        z: Tensor = self.conv3(y)
        return z


class _Stage(nn.Module):
    def __init__(self, blocks: list[nn.Module], downsample: _Reduction | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class _WindowBlock(nn.Module):
    """Attention within windows, a depthwise convolution across them, and an MLP."""

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _BiasedAttention(dim, num_heads, window)
        self.local_conv = _NormedConv(dim, dim, 3, groups=dim)
        self.mlp = _Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        cells = x.permute(0, 2, 3, 1)
        cells = cells + self._attend(cells)
        cells = self.local_conv(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return (cells + self.mlp(cells)).permute(0, 3, 1, 2)

    def _attend(self, cells: Tensor) -> Tensor:
        batch, height, width, dim = cells.shape
        side = self.window
        # Trained with zeros beyond the edge that take part in attention, so no mask hides them.
        padded = F.pad(cells, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = padded.shape[1] // side, padded.shape[2] // side
        windows = padded.view(batch, rows, side, columns, side, dim).transpose(2, 3)
        y = self.attn(windows.reshape(-1, side * side, dim))
        y = y.view(batch, rows, columns, side, side, dim).transpose(2, 3)
        return y.reshape(batch, rows * side, columns * side, dim)[:, :height, :width]


class _BiasedAttention(nn.Module):
    """Self-attention within a window, with a learned bias per head and distance.

    The bias depends on the absolute offset (|dy|, |dx|) alone, one table entry for each.
    """

    attention_bias_idxs: Tensor

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window * window))
        y, x = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij"))
        entries = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("attention_bias_idxs", entries, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        num_windows, num_tokens, dim = tokens.shape
        qkv = self.qkv(self.norm(tokens)).view(num_windows, num_tokens, self.num_heads, -1)
        query, key, value = qkv.transpose(1, 2).chunk(3, dim=-1)
        bias = self.attention_biases[None, :, self.attention_bias_idxs]
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        z: Tensor = self.proj(y.transpose(1, 2).reshape(num_windows, num_tokens, dim))
        return z


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, dim * _EXPANSION)
        self.fc2 = nn.Linear(dim * _EXPANSION, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return y
