"""DINOv2 (arXiv 2304.07193) by transformers' ``Dinov2Model``: features of patches of 14 x 14 px."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from vos.sam.networks.transformers_models import filled

_TRAINED_PX: Final = 518
_SIZES: Final = {  # channels, layers, heads
    "dinov2-small": (384, 12, 6),
    "dinov2-base": (768, 12, 12),
    "dinov2-large": (1024, 24, 16),
}


def load_dinov2(name: str, state_dict: Mapping[str, Tensor], *, origin: str) -> nn.Module:
    """Build a registered DINOv2 with its weights.

    Args:
        name: As in the registry.
        state_dict: CPU tensors by the names of the published file.
        origin: What to call the weights in messages, such as the file's name.

    Raises:
        CheckpointError: the weights are not those of this model.
    """
    from transformers import Dinov2Model

    model: nn.Module = filled(Dinov2Model, dinov2_config(name), state_dict, origin=origin)
    return model


def dinov2_config(name: str) -> Any:
    """Give the ``Dinov2Config`` of a registered model, as published."""
    from transformers import Dinov2Config

    num_channels, num_layers, num_heads = _SIZES[name]
    return Dinov2Config(
        hidden_size=num_channels,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        image_size=_TRAINED_PX,
    )
