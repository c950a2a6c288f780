"""HQ-SAM (arXiv 2306.01567) by transformers' ``SamHQModel``, with the attributes of SAM's module.

HQ-SAM adds to each of SAM's masks one of its own, which is made of the pixels' embeddings and of
features of the encoder's first layer of global attention. Those must reach the decoder with the
image embedding: they are further channels of the features here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vos.sam.guidance import Guidance
from vos.sam.networks.transformers_models import filled
from vos.sam.weights.hub_names import with_hub_names

_PIXEL_MEAN: Final = (123.675, 116.28, 103.53)
_PIXEL_STD: Final = (58.395, 57.12, 57.375)

_SIZES: Final = {  # channels, heads, layers of global attention of which the last is the last
    "sam_hq_vit_b": (768, 12, (2, 5, 8, 11)),
    "sam_hq_vit_l": (1024, 16, (5, 11, 17, 23)),
    "sam_hq_vit_h": (1280, 16, (7, 15, 23, 31)),
}

# What the package's decoder computes on its way and does not return.
_WANTED: Final = (
    *("upscale_conv2", "mask_conv2", "encoder_conv2", "compress_vit_conv2"),
    "iou_prediction_head",
)


def load_sam_hq(name: str, state_dict: Mapping[str, Tensor], *, origin: str) -> nn.Module:
    """Build a registered HQ-SAM with its weights.

    Args:
        name: As in the registry.
        state_dict: CPU tensors by the names of the authors' file, or of a file of transformers.
        origin: What to call the weights in messages, such as the file's name.

    Raises:
        CheckpointError: the weights are not those of this model.
    """
    from transformers import SamHQModel

    config = sam_hq_config(name)
    with torch.device("meta"):
        hub_names = SamHQModel(config).state_dict()
    weights = with_hub_names(state_dict, hub_names)
    return SamHQ(filled(SamHQModel, config, weights, origin=origin))


def sam_hq_config(name: str) -> Any:
    """Give the ``SamHQConfig`` of a registered model, as published."""
    from transformers import SamHQConfig

    num_channels, num_heads, global_layers = _SIZES[name]
    return SamHQConfig(
        vision_config={
            "hidden_size": num_channels,
            "num_hidden_layers": global_layers[-1] + 1,
            "num_attention_heads": num_heads,
            "mlp_dim": 4 * num_channels,
            "global_attn_indexes": list(global_layers),
        },
        mask_decoder_config={"vit_dim": num_channels},
    )


class SamHQ(nn.Module):
    """A ``SamHQModel`` as :class:`vos.sam.model.SamModel` takes it.

    Args:
        model: The package's model, with its weights.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.image_encoder = _ImageEncoder(model.vision_encoder)
        self.prompt_encoder = _PromptEncoder(model)
        self.mask_decoder = _MaskDecoder(model.mask_decoder)
        self.register_buffer("pixel_mean", torch.tensor(_PIXEL_MEAN).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor(_PIXEL_STD).view(3, 1, 1))


class _ImageEncoder(nn.Module):
    """(B, 3, S, S) to (B, C + E, h, w): the image embedding, then the early features."""

    takes_only_squares = True

    def __init__(self, vision_encoder: Any) -> None:
        super().__init__()
        self.vision_encoder = vision_encoder
        self.img_size = int(vision_encoder.config.image_size)
        self.num_channels = int(vision_encoder.config.output_channels)

    def forward(self, images: Tensor) -> Tensor:
        encoded = self.vision_encoder(images)
        early = encoded.intermediate_embeddings[0].permute(0, 3, 1, 2)
        return torch.cat([encoded.last_hidden_state, early], dim=1)


class _PromptEncoder(nn.Module):
    """Takes K objects' prompts as segment_anything's does; the package calls them a batch."""

    dense_pe: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.prompt_encoder = model.prompt_encoder
        self.register_buffer("dense_pe", model.get_image_wide_positional_embeddings())

    def forward(
        self,
        points: tuple[Tensor, Tensor],
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        points_xy, labels = points
        sparse, dense = self.prompt_encoder(
            input_points=points_xy[:, None],
            input_labels=labels[:, None],
            input_boxes=None if boxes is None else boxes[:, None],
            input_masks=masks,
        )
        return sparse, dense

    def get_dense_pe(self) -> Tensor:
        return self.dense_pe


class _MaskDecoder(nn.Module):
    """Gives the masks in the order of SAM's tokens, which the package sorts by predicted IoU.

    And the (K, D, 4h, 4w) embeddings of pixels, of which all masks are linear functions: SAM's own
    channels, then HQ-SAM's.
    """

    takes_guidance = True

    def __init__(self, mask_decoder: Any) -> None:
        super().__init__()
        self.mask_decoder = mask_decoder
        self.num_channels = int(mask_decoder.hidden_size)
        self.num_pixel_channels = self.num_channels // 8 * 2

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        num_objects = len(sparse_prompt_embeddings)
        features = image_embeddings.expand(num_objects, -1, -1, -1)
        guided_by: dict[str, Tensor] = {}
        if guidance is not None:
            guided_by["attention_similarity"] = guidance.attention.flatten(1)[:, None, None]
            guided_by["target_embedding"] = guidance.embeddings[:, None, None]
        with repaired(self.mask_decoder), _outputs_of(self.mask_decoder, _WANTED) as outputs:
            masks, ious = self.mask_decoder(
                image_embeddings=features[:, : self.num_channels],
                image_positional_embeddings=image_pe.expand(num_objects, -1, -1, -1),
                sparse_prompt_embeddings=sparse_prompt_embeddings,
                dense_prompt_embeddings=dense_prompt_embeddings,
                multimask_output=multimask_output,
                hq_token_only=False,
                intermediate_embeddings=[features[:, self.num_channels :].permute(0, 2, 3, 1)],
                **guided_by,
            )
        by_sam = F.gelu(outputs["upscale_conv2"])
        by_hq = outputs["mask_conv2"] + outputs["encoder_conv2"] + outputs["compress_vit_conv2"]
        pixels = torch.cat([by_sam, by_hq], dim=1)
        masks, ious = masks[:, 0], ious[:, 0]
        if multimask_output:
            unsorted = outputs["iou_prediction_head"][:, 0, 1 : 1 + ious.shape[1]]
            of_token = unsorted.sort(dim=1, descending=True).indices.argsort(dim=1)
            objects = torch.arange(num_objects, device=masks.device)[:, None]
            masks, ious = masks[objects, of_token], ious[objects, of_token]
        return masks, ious, pixels


@contextmanager
def repaired(mask_decoder: Any) -> Iterator[None]:
    """Let a ``SamHQMaskDecoder`` make its masks of what its transformer says of the image.

    In the package (5.24) it makes them of the image embedding that went into the transformer, with
    rows and columns exchanged, and throws away what came out. The authors' decoder takes what came
    out, and so does this one while the context lasts. Where the package does so too, nothing
    changes.
    """
    cells: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: tuple[Tensor, ...]) -> None:
        cells[:] = [output[1]]

    def replace(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (cells[0].transpose(2, 3).reshape(inputs[0].shape),)

    with ExitStack() as hooks:
        kept = mask_decoder.transformer.register_forward_hook(keep)
        hooks.callback(kept.remove)
        replaced = mask_decoder.upscale_conv1.register_forward_pre_hook(replace)
        hooks.callback(replaced.remove)
        yield


@contextmanager
def _outputs_of(module: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """Collect what submodules give while the context lasts, by their names."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs[name] = output

    with ExitStack() as hooks:
        for name in names:
            hook = module.get_submodule(name).register_forward_hook(partial(keep, name))
            hooks.callback(hook.remove)
        yield outputs
