"""The small seeded models of the golden results, built with segment_anything's classes."""

import json
from functools import partial
from pathlib import Path

import torch

from vos.sam.networks.segment_anything_modules import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

TINY = {
    "image_size": 128,
    "prompt_embed_dim": 32,
    "encoder_embed_dim": 32,
    "encoder_depth": 1,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [0],
    "window_size": 4,
    "transformer_mlp_dim": 64,
    "iou_head_hidden_dim": 32,
}
"""Settings of a model that is smaller still, for tests without golden results."""


def small_sam(settings: dict) -> torch.nn.Module:
    """A Sam with the sizes of a golden case's settings and fresh random weights."""
    size, dim = settings["image_size"], settings["prompt_embed_dim"]
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=size,
            patch_size=16,
            embed_dim=settings["encoder_embed_dim"],
            depth=settings["encoder_depth"],
            num_heads=settings["encoder_num_heads"],
            mlp_ratio=4,
            out_chans=dim,
            qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=settings["window_size"],
            global_attn_indexes=settings["encoder_global_attn_indexes"],
        ),
        prompt_encoder=PromptEncoder(dim, (size // 16, size // 16), (size, size), 16),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=dim, mlp_dim=settings["transformer_mlp_dim"], num_heads=8
            ),
            transformer_dim=dim,
            iou_head_depth=3,
            iou_head_hidden_dim=settings["iou_head_hidden_dim"],
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )


def golden_sam(folder: Path, case: str) -> tuple[torch.nn.Module, dict]:
    """The model of one golden case with its weights, and the case's settings."""
    settings = json.loads((folder / f"{case}.json").read_text())
    module = small_sam(settings)
    module.load_state_dict(torch.load(folder / f"{case}.pth", weights_only=True))
    return module, settings
