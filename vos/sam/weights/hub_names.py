"""SAM's weights by the names that the package transformers gives them, as on its hub.

Many fine-tuned SAMs are published only so, and the authors of HQ-SAM publish theirs only by the
names of segment_anything. The tensors are the same; only the names differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from torch import Tensor

_OF_HUB: Final = "vision_encoder."
_ORIGINAL: Final = "image_encoder."

# The positions' matrix, which the hub's files may hold a second time.
_TWIN: Final = "prompt_encoder.shared_embedding.positional_embedding"

_RULES: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"^shared_image_embedding\.positional_embedding$",
            "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        ),
        (r"^vision_encoder\.", "image_encoder."),
        (r"^image_encoder\.layers\.", "image_encoder.blocks."),
        (r"^image_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
        (r"^image_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
        (r"^image_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
        (r"^image_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
        (r"^image_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
        (r"^prompt_encoder\.point_embed\.", "prompt_encoder.point_embeddings."),
        (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
        (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
        (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
        (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
        (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
        (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
        (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
        (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
        (r"^mask_decoder\.hq_token\.", "mask_decoder.hf_token."),
        (r"^mask_decoder\.hq_mask_mlp\.", "mask_decoder.hf_mlp."),
        (r"^mask_decoder\.compress_vit_", "mask_decoder.compress_vit_feat."),
        (r"^mask_decoder\.encoder_", "mask_decoder.embedding_encoder."),
        (r"^mask_decoder\.mask_(?=conv|norm)", "mask_decoder.embedding_maskfeature."),
        (r"(compress_vit_feat|embedding_\w+)\.conv1\.", r"\1.0."),
        (r"(compress_vit_feat|embedding_\w+)\.norm\.", r"\1.1."),
        (r"(compress_vit_feat|embedding_\w+)\.conv2\.", r"\1.3."),
        # Of the decoder's small networks the last two layers move up before the first comes in.
        (r"(mlps\.\d+|hf_mlp|iou_prediction_head)\.layers\.0\.", r"\1.layers.1."),
        (r"(mlps\.\d+|hf_mlp|iou_prediction_head)\.proj_out\.", r"\1.layers.2."),
        (r"(mlps\.\d+|hf_mlp|iou_prediction_head)\.proj_in\.", r"\1.layers.0."),
        (r"\.layer_norm(\d|_final_attn)\.", r".norm\1."),
    )
)


def with_original_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give weights the names of segment_anything, where they have those of transformers.

    Args:
        state_dict: Tensors by name; those of anything but transformers' SAMs stay.
    """
    if not any(name.startswith(_OF_HUB) for name in state_dict):
        return dict(state_dict)
    return {_original(name): tensor for name, tensor in state_dict.items() if name != _TWIN}


def with_hub_names(state_dict: Mapping[str, Tensor], hub_names: Iterable[str]) -> dict[str, Tensor]:
    """Give weights the names of transformers, where they have those of segment_anything.

    Args:
        state_dict: Tensors by name; those by other names stay.
        hub_names: The names in the network of transformers.
    """
    left = dict(state_dict)
    if not any(name.startswith(_ORIGINAL) for name in left):
        return left
    pairs = [(name, _original(name)) for name in hub_names if name != _TWIN]
    return {name: left.pop(original) for name, original in pairs if original in left} | left


def _original(name: str) -> str:
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name
