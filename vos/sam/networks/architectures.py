"""The network of each registered model, without its weights."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from vos.sam.networks.assemble import with_channel_norm
from vos.sam.networks.segment_anything_modules import (
    build_sam_vit_b,
    build_sam_vit_h,
    build_sam_vit_l,
)
from vos.sam.weights.registry import find_model


def build_module(name: str) -> nn.Module:
    """Build a registered model's network, for ``checkpoints.load_weights`` to fill.

    Args:
        name: As in the registry.

    Returns:
        segment_anything's ``Sam``, in evaluation mode, on the CPU. The parameters of vit_b, vit_l
        and vit_h hold no numbers until weights are loaded, which saves the seconds and gigabytes
        that drawing random ones would take.

    Raises:
        UnknownModelError: the name is not registered.
    """
    build: Callable[[], nn.Module] = pkgutil.resolve_name(find_model(name).builder)
    return build()


def build_vit_b() -> nn.Module:
    """Build SAM with its base image encoder, without numbers."""
    return _without_numbers(build_sam_vit_b)


def build_vit_l() -> nn.Module:
    """Build SAM with its large image encoder, without numbers."""
    return _without_numbers(build_sam_vit_l)


def build_vit_h() -> nn.Module:
    """Build SAM with its huge image encoder, without numbers."""
    return _without_numbers(build_sam_vit_h)


class _Undrawn(TorchFunctionMode):
    """Leaves parameters as they are allocated.

    torch's device ``meta`` would too, but imports torch's compiler, which takes a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _without_numbers(build: Callable[[], nn.Module]) -> nn.Module:
    with _Undrawn():
        return with_channel_norm(build()).eval()
