"""From Cutie's published weights to a network that is ready to run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import torch

from vos.errors import CheckpointError
from vos.sam.weights.checkpoints import load_weights, read_state_dict
from vos.sam.weights.download import fetch, sha256_of
from vos.track.cutie.network import CutieNetwork, build_cutie
from vos.track.registry import CUTIE_MD5, NETWORKS

_TRAINING_ONLY: Final = "aux_computer."


def load_cutie(checkpoint: Path | None, device: torch.device) -> CutieNetwork:
    """Build Cutie and load its weights.

    Args:
        checkpoint: A weights file, or None for the published one.
        device: Where it computes.

    Raises:
        MissingPackageError: rf-cutie is not installed.
        DownloadError: the weights cannot be fetched.
        CheckpointError: the file holds no weights of this network, or is not the published one.
    """
    network = build_cutie()
    path = checkpoint
    if path is None:
        path = fetch(NETWORKS["cutie"])
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if md5 != CUTIE_MD5:
            raise CheckpointError(
                f"{path} is not what Cutie's authors publish: its MD5 is {md5}, not {CUTIE_MD5}; "
                "remove it, and it is fetched again"
            )
    weights = {
        name: tensor
        for name, tensor in read_state_dict(path).items()
        if not name.startswith(_TRAINING_ONLY)
    }
    load_weights(network, weights, origin=str(path))
    return CutieNetwork(network, device, sha256_of(path))
