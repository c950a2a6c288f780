"""DINOv2 (arXiv 2304.07193) by transformers' ``Dinov2Model``: features of patches of 14 x 14 px."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from vos.sam.networks.transformers_models import filled

_TRAINED_PX: Final = 518


def load_dinov2_small(state_dict: Mapping[str, Tensor], *, origin: str) -> nn.Module:
    """Build DINOv2 ViT-S/14 with these weights."""
    return _load(state_dict, origin, num_channels=384, num_layers=12, num_heads=6)


def load_dinov2_base(state_dict: Mapping[str, Tensor], *, origin: str) -> nn.Module:
    """Build DINOv2 ViT-B/14 with these weights."""
    return _load(state_dict, origin, num_channels=768, num_layers=12, num_heads=12)


def load_dinov2_large(state_dict: Mapping[str, Tensor], *, origin: str) -> nn.Module:
    """Build DINOv2 ViT-L/14 with these weights."""
    return _load(state_dict, origin, num_channels=1024, num_layers=24, num_heads=16)


def _load(
    state_dict: Mapping[str, Tensor],
    origin: str,
    *,
    num_channels: int,
    num_layers: int,
    num_heads: int,
) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=num_channels,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        image_size=_TRAINED_PX,
    )
    model: nn.Module = filled(Dinov2Model, config, state_dict, origin=origin)
    return model
