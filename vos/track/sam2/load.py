"""From Meta's published weights to a network that is ready to run."""

from __future__ import annotations

from pathlib import Path

import torch

from vos.config import Sam2Size
from vos.sam.weights.checkpoints import load_weights, read_state_dict
from vos.sam.weights.download import fetch, sha256_of
from vos.track.registry import NETWORKS
from vos.track.sam2.checkpoint import from_meta, is_from_meta
from vos.track.sam2.network import Sam2Network, build_sam2


def load_sam2(size: Sam2Size, checkpoint: Path | None, device: torch.device) -> Sam2Network:
    """Build SAM 2.1 and load its weights.

    Args:
        size: Which of its networks.
        checkpoint: A weights file with Meta's names or those of transformers, or None for Meta's
            own.
        device: Where it computes.

    Raises:
        MissingPackageError: transformers is not installed.
        DownloadError: the weights cannot be fetched.
        CheckpointError: the file holds no weights of this network.
    """
    network = build_sam2(size)
    spec = NETWORKS[f"sam2.1-{size}"]
    path = fetch(spec) if checkpoint is None else checkpoint
    weights = read_state_dict(path)
    load_weights(
        network, from_meta(weights) if is_from_meta(weights) else weights, origin=str(path)
    )
    sha256 = spec.sha256 if checkpoint is None else sha256_of(path)
    return Sam2Network(network, device, spec.name, sha256)
