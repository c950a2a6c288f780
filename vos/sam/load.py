"""From a model's name to a SamModel that is ready to run."""

from __future__ import annotations

import logging
import os
import pkgutil
from collections.abc import Callable
from pathlib import Path

import torch

from vos.config import Features
from vos.errors import CheckpointError
from vos.sam.devices import available_device, bfloat16_units
from vos.sam.matching import Matcher
from vos.sam.model import SamModel
from vos.sam.networks.architectures import build_module
from vos.sam.networks.batch_norm import fuse_batch_norms
from vos.sam.weights.checkpoints import load_weights, read_state_dict
from vos.sam.weights.download import fetch, sha256_of
from vos.sam.weights.hub_names import with_original_names
from vos.sam.weights.registry import ModelSpec, check_installed, find_features, find_model

_log = logging.getLogger("vos")


def load_sam(
    name: str = "nano",
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    *,
    compiled: bool = False,
    skip_padding: bool = False,
    features: Features | None = None,
) -> SamModel:
    """Build a registered model and load its weights.

    Args:
        name: ``nano``, which is embedded, or ``mobile_sam``, ``vit_b``, ``vit_l``, ``vit_h``,
            ``sam_hq_vit_b``, ``sam_hq_vit_l``, ``sam_hq_vit_h``, which are downloaded once to the
            cache folder; the last three need the extra ``models``.
        checkpoint: A weights file of that architecture, instead of the registered one; its names
            may be those of segment_anything or, of SAM's own ViTs, of transformers.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``; ``auto`` takes the best there is.
        dtype: Arithmetic of the image encoder; ``auto`` is bfloat16 on a CUDA device that has
            it, else float32. bfloat16 on a processor that does not multiply it is logged as a
            warning.
        compiled: As of :class:`SamModel`.
        skip_padding: As of :class:`SamModel`.
        features: A further model whose features cells are compared by, or None. It needs the
            extra ``models``.

    Raises:
        UnknownModelError: no such model.
        MissingPackageError: the package of the model's network is not installed.
        DeviceError: the device is absent.
        DownloadError: the weights cannot be fetched.
        CheckpointError: the file is missing or holds no weights of this architecture.
    """
    spec = find_model(name)
    check_installed(spec)
    resolved = available_device(device)
    used_dtype = best_dtype(resolved) if dtype == "auto" else dtype
    matcher = None if features is None else load_matcher(features, resolved, used_dtype)
    path, sha256 = _weights_file(spec, checkpoint)
    if spec.extra is None:
        module = build_module(spec.name)
        load_weights(module, with_original_names(read_state_dict(path)), origin=str(path))
        fuse_batch_norms(module)
    else:
        module = _load_of_extra(spec, path)
    if dtype == "bfloat16" and resolved.type == "cpu" and not bfloat16_units():
        _log.warning(
            "this processor has no instructions for bfloat16: the image encoder will be many times "
            "slower than in float32; leave out --dtype"
        )
    return SamModel(
        module,
        resolved,
        used_dtype,
        compiled=compiled,
        skip_padding=skip_padding,
        name=spec.name,
        weights_sha256=sha256,
        matcher=matcher,
    )


def load_matcher(features: Features, device: torch.device, dtype: str) -> Matcher:
    """Build a registered model of features and load its weights.

    Args:
        features: Which model, and its weight beside SAM.
        device: Where it runs.
        dtype: Arithmetic of it: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        VosError: as :func:`load_sam`.
    """
    spec = find_features(features.name)
    check_installed(spec)
    path, sha256 = _weights_file(spec, features.checkpoint)
    network = _load_of_extra(spec, path)
    return Matcher(
        name=spec.name,
        network=network.to(device).eval().requires_grad_(False),
        weight=features.weight,
        device=device,
        dtype=dtype,
        weights_sha256=sha256,
    )


def best_dtype(device: torch.device) -> str:
    """Name the arithmetic of the image encoder that ``auto`` stands for on a device.

    A processor with AMX encodes nearly twice as fast in bfloat16, but after fifteen frames the
    default's masks have a mean IoU of .98 with those of float32, so that it must be asked for.
    """
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bfloat16" if has_bfloat16 else "float32"


def _load_of_extra(spec: ModelSpec, path: Path) -> torch.nn.Module:
    build: Callable[..., torch.nn.Module] = pkgutil.resolve_name(spec.builder)
    return build(spec.name, read_state_dict(path), origin=str(path))


def _weights_file(spec: ModelSpec, checkpoint: str | os.PathLike[str] | None) -> tuple[Path, str]:
    """Give the file to load and its hash."""
    if checkpoint is not None:
        return Path(checkpoint), _hash(Path(checkpoint))
    path = fetch(spec)
    return path, spec.sha256 or _hash(path)


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"cannot read the weights file {path}: {error}") from error
