"""A stand-in with SAM's attributes that segments by colour, so that tests need no weights.

A cell's features say how close it is to each colour of a small palette. Asked for a point, the
decoder answers with everything of the colour at that point, whatever it is: like SAM, it always
finds something, so whether the *object* is there must be decided by who asks.
"""

import torch
from torch import nn
from torch.nn import functional as F

PALETTE = ((0, 0, 0), (220, 40, 40), (40, 200, 40), (60, 60, 230), (230, 220, 50), (200, 60, 200))
STRIDE_PX = 4


class _Encoder(nn.Module):
    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.img_size = image_size
        self.register_buffer("palette", torch.tensor(PALETTE, dtype=torch.float32))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = F.avg_pool2d(images, STRIDE_PX)
        difference = cells[:, None] - self.palette[None, :, :, None, None]
        return torch.softmax(-difference.square().sum(2) / 2000, dim=1)


class _PromptEncoder(nn.Module):
    def forward(self, points, boxes, masks):
        coordinates, _ = points
        if not coordinates.shape[1]:
            coordinates = boxes.reshape(-1, 2, 2).mean(1, keepdim=True)
        empty = coordinates.new_zeros(len(coordinates), 1, 1, 1)
        return coordinates, empty

    def get_dense_pe(self) -> torch.Tensor:
        return torch.zeros(1, 1, 1, 1)


class _Transformer(nn.Module):
    """Has the places that PerSAM's guidance hooks into, and does nothing there."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.final_attn_token_to_image = nn.Identity()


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = _Transformer()

    def forward(
        self,
        image_embeddings,
        image_pe,
        sparse_prompt_embeddings,
        dense_prompt_embeddings,
        multimask_output,
    ):
        features = image_embeddings[0]
        cells = (sparse_prompt_embeddings[:, 0] / STRIDE_PX).long()
        height, width = features.shape[1:]
        asked = features[:, cells[:, 1].clamp(0, height - 1), cells[:, 0].clamp(0, width - 1)]
        similarity = torch.einsum("ck,chw->khw", F.normalize(asked, dim=0), features)
        logits = F.interpolate(20 * (similarity - 0.5)[:, None], scale_factor=4.0, mode="bilinear")
        num_masks = 3 if multimask_output else 1
        predicted_ious = torch.tensor([[0.8, 0.9, 0.7]])[:, :num_masks]
        return logits.expand(-1, num_masks, -1, -1), predicted_ious.expand(len(cells), -1)


class ColourSam(nn.Module):
    """The stand-in; pictures are 128 model pixels."""

    def __init__(self, image_size: int = 128) -> None:
        super().__init__()
        self.image_encoder = _Encoder(image_size)
        self.prompt_encoder = _PromptEncoder()
        self.mask_decoder = _Decoder()
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.register_buffer("pixel_std", torch.ones(3, 1, 1))
