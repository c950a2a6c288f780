"""Weights of SAM 2.1 as Meta publishes them, by the names that transformers has for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch

_HEADS: Final = (
    r"(iou_prediction_head|pred_obj_score_head|output_hypernetworks_mlps\.\d|object_pointer_proj)"
)

# Each is applied to what those before it have left.
_RENAMES: Final = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (_HEADS + r"\.layers\.0\.", r"\1.proj_in."),
    (_HEADS + r"\.layers\.1\.", r"\1.layers.0."),
    (_HEADS + r"\.layers\.2\.", r"\1.proj_out."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.mask_downsampler\.encoder\.12\.", ".mask_downsampler.final_conv."),
    (r"\.mask_downsampler\.encoder\.0\.", ".mask_downsampler.layers.0.conv."),
    (r"\.mask_downsampler\.encoder\.1\.", ".mask_downsampler.layers.0.layer_norm."),
    (r"\.mask_downsampler\.encoder\.3\.", ".mask_downsampler.layers.1.conv."),
    (r"\.mask_downsampler\.encoder\.4\.", ".mask_downsampler.layers.1.layer_norm."),
    (r"\.mask_downsampler\.encoder\.6\.", ".mask_downsampler.layers.2.conv."),
    (r"\.mask_downsampler\.encoder\.7\.", ".mask_downsampler.layers.2.layer_norm."),
    (r"\.mask_downsampler\.encoder\.9\.", ".mask_downsampler.layers.3.conv."),
    (r"\.mask_downsampler\.encoder\.10\.", ".mask_downsampler.layers.3.layer_norm."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.gamma$", ".scale"),
    (r"\.norm(\d?|_final_attn)\.", r".layer_norm\1."),
    (r"\.out_proj\.", ".o_proj."),
)

_POINTS: Final = "prompt_encoder.point_embeddings"
_NUM_POINTS: Final = 4
_POSITIONS: Final = "prompt_encoder.shared_embedding.positional_embedding"


def from_meta(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give weights of Meta's layout the names that transformers has for them.

    Four embeddings of points become one matrix, and one matrix is there twice.

    Args:
        weights: By Meta's names.
    """
    renamed = {_renamed(name): tensor for name, tensor in weights.items()}
    points = [f"{_POINTS}.{number}.weight" for number in range(_NUM_POINTS)]
    if all(name in renamed for name in points):
        joined = torch.cat([renamed.pop(name) for name in points])
        renamed["prompt_encoder.point_embed.weight"] = joined
    if _POSITIONS in renamed:
        renamed["shared_image_embedding.positional_embedding"] = renamed[_POSITIONS]
    return renamed


def is_from_meta(weights: Mapping[str, torch.Tensor]) -> bool:
    """Tell Meta's layout from that of transformers."""
    return any(name.startswith("image_encoder.") for name in weights)


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
