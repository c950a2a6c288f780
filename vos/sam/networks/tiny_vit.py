"""The image encoder of MobileSAM (arXiv 2306.14289): TinyViT (Wu et al., arXiv 2207.10666).

A stage of MBConv blocks, three of windowed attention, and SAM's neck. Unlike the paper's
classifier, the last stage keeps the resolution of the third, so that an input of 1024 pixels
gives the 64 x 64 cells that SAM's decoder was made for. Only inference is provided for: there is
no drop path, and batch norm is frozen.

Modules bear the names under which MobileSAM's weights were published.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.fast.products import apply
from vos.sam.fast.strips import by_rows, in_strips
from vos.sam.networks.assemble import CHANNELS, ChannelNorm, assemble_sam
from vos.sam.networks.batch_norm import FrozenBatchNorm
from vos.sam.networks.segment_anything_modules import window_partition, window_unpartition

TINY_VIT_INPUT_PX: Final = 1024
"""Side of the model's square input."""

_CHANNELS_PER_HEAD: Final = 32
_EXPANSION: Final = 4


def build_mobile_sam() -> nn.Module:
    """Build MobileSAM with random weights: segment_anything's ``Sam`` around :class:`TinyViT`."""
    return assemble_sam(
        TinyViT(),
        input_px=TINY_VIT_INPUT_PX,
        num_cells=TINY_VIT_INPUT_PX // 16,
        pixel_mean=(123.675, 116.28, 103.53),
        pixel_std=(58.395, 57.12, 57.375),
    )


class TinyViT(nn.Module):
    """Image encoder: (B, 3, S, S) to (B, 256, S/16, S/16) for any S that is a multiple of 16.

    Height and width may differ. ``img_size`` is the S that the prompt encoder is built for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.img_size = TINY_VIT_INPUT_PX
        self.patch_embed = _PatchEmbedding(64)
        self.layers = nn.Sequential(
            _Stage([_MBConv(64) for _ in range(2)], _Reduction(64, 128, stride=2)),
            _Stage([_WindowBlock(128, 7) for _ in range(2)], _Reduction(128, 160, stride=2)),
            _Stage([_WindowBlock(160, 14) for _ in range(6)], _Reduction(160, 320, stride=1)),
            _Stage([_WindowBlock(320, 7) for _ in range(2)], None),
        )
        # The classifier of TinyViT's own training: in the published file, never run.
        self.norm_head = nn.LayerNorm(320)
        self.head = nn.Linear(320, 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(320, CHANNELS, 1, bias=False),
            ChannelNorm(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            ChannelNorm(CHANNELS),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Encode normalised images."""
        # With the channels last in memory, the views as cells and back copy nothing.
        x = self.patch_embed(images.contiguous(memory_format=torch.channels_last))
        features: Tensor = self.neck(self.layers(x))
        return features


class _BatchNorm(FrozenBatchNorm):
    """Has a counter that the published file holds and nothing uses."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        self.register_buffer("num_batches_tracked", torch.tensor(0))


class _NormedConv(nn.Module):
    """A convolution without bias and the batch norm after it."""

    def __init__(
        self, dim_in: int, dim_out: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            dim_in, dim_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.bn = _BatchNorm(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.c(x))
        return result


class _PatchEmbedding(nn.Module):
    """Model pixels to cells of 4 x 4."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            _NormedConv(3, dim // 2, 3, stride=2),
            nn.GELU(),
            _NormedConv(dim // 2, dim, 3, stride=2),
        )

    def forward(self, images: Tensor) -> Tensor:
        inner: _NormedConv = self.seq[0]  # type: ignore[assignment]
        return in_strips(
            self.seq, images, values_per_pixel=inner.c.out_channels / 4, reach=4, stride=4
        )


class _MBConv(nn.Module):
    """Widen, filter each channel, narrow; the activation follows the residual sum."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        wide = dim * _EXPANSION
        self.conv1 = _NormedConv(dim, wide, 1)
        self.conv2 = _NormedConv(wide, wide, 3, groups=wide)
        self.conv3 = _NormedConv(wide, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return in_strips(self._run, x, values_per_pixel=self.conv1.c.out_channels, reach=1)

    def _run(self, x: Tensor) -> Tensor:
        y = F.gelu(self.conv1(x))
        y = F.gelu(self.conv2(y))
        return F.gelu(x + self.conv3(y))


class _Reduction(nn.Module):
    """Between two stages: more channels and, at stride 2, a quarter of the cells."""

    def __init__(self, dim_in: int, dim_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _NormedConv(dim_in, dim_out, 1)
        self.conv2 = _NormedConv(dim_out, dim_out, 3, stride=stride, groups=dim_out)
        self.conv3 = _NormedConv(dim_out, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv2.c
        return in_strips(
            self._run, x, values_per_pixel=conv.out_channels, reach=1, stride=conv.stride[0]
        )

    def _run(self, x: Tensor) -> Tensor:
        x = F.gelu(self.conv1(x))
        x = F.gelu(self.conv2(x))
        y: Tensor = self.conv3(x)
        return y


class _Stage(nn.Module):
    """Blocks of one resolution and the reduction after them, if any."""

    def __init__(self, blocks: list[nn.Module], downsample: _Reduction | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(x)
        return y if self.downsample is None else self.downsample(y)


class _WindowBlock(nn.Module):
    """Attention within windows, a depthwise convolution across them, and an MLP."""

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _WindowAttention(dim, window)
        self.local_conv = _NormedConv(dim, dim, 3, groups=dim)
        self.mlp = _Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        cells: Tensor = x.permute(0, 2, 3, 1)
        windows, padded_hw = window_partition(cells, self.window)
        attended = self.attn(windows.flatten(1, 2))
        cells_hw = x.shape[2], x.shape[3]
        cells = cells + window_unpartition(attended, self.window, padded_hw, cells_hw)
        cells = self.local_conv(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        cells = cells + self.mlp(cells)
        return cells.permute(0, 3, 1, 2)


class _WindowAttention(nn.Module):
    """Self-attention among the cells of a window, with a learned bias per head and distance."""

    attention_bias_idxs: Tensor

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        num_heads = dim // _CHANNELS_PER_HEAD
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window * window))
        y, x = torch.arange(window).repeat_interleave(window), torch.arange(window).repeat(window)
        # Two cells look up the entry (|dy|, |dx|) of each head's table, whatever their direction.
        entries = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("attention_bias_idxs", entries, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        num_windows, num_tokens, dim = tokens.shape
        qkv = apply(self.qkv, self.norm(tokens))
        qkv = qkv.view(num_windows, num_tokens, -1, 3 * _CHANNELS_PER_HEAD).transpose(1, 2)
        query, key, value = qkv.chunk(3, dim=-1)
        # Looked up anew each time, at 0.2 % of the run time: a table kept from one call to the
        # next goes stale when weights are loaded later. With four axes the fused kernel takes it.
        bias = self.attention_biases[None, :, self.attention_bias_idxs].to(query.dtype)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return apply(self.proj, y.transpose(1, 2).reshape(num_windows, num_tokens, dim))


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, dim * _EXPANSION)
        self.fc2 = nn.Linear(dim * _EXPANSION, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return by_rows(self._run, tokens, num_hidden=self.fc1.out_features)

    def _run(self, tokens: Tensor) -> Tensor:
        return apply(self.fc2, F.gelu(apply(self.fc1, self.norm(tokens))))
