"""From a model's name to a SamModel that is ready to run."""

from __future__ import annotations

import os
from pathlib import Path

from vos.errors import CheckpointError
from vos.sam.architectures import build_module
from vos.sam.checkpoints import load_weights, read_state_dict
from vos.sam.download import fetch, sha256_of
from vos.sam.model import SamModel, available_device
from vos.sam.nano import fuse_batch_norm
from vos.sam.registry import find_model


def load_sam(
    name: str = "nano",
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> SamModel:
    """Build a registered model and load its weights.

    Args:
        name: ``nano``, which is embedded, or ``mobile_sam``, ``vit_b``, ``vit_l``, ``vit_h``,
            which are downloaded once to the cache folder.
        checkpoint: A weights file of that architecture, instead of the registered one.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps``; ``auto`` takes the best there is.
        dtype: Arithmetic of the image encoder; ``auto`` is bfloat16 on a CUDA device that has
            it, else float32.

    Raises:
        UnknownModelError: no such model.
        DeviceError: the device is absent.
        DownloadError: the weights cannot be fetched.
        CheckpointError: the file is missing or holds no weights of this architecture.
    """
    spec = find_model(name)
    resolved = available_device(device)
    if checkpoint is None:
        path = fetch(spec)
        sha256 = spec.sha256
    else:
        path = Path(checkpoint)
        if not path.is_file():
            raise CheckpointError(f"there is no weights file {path}")
        sha256 = sha256_of(path)
