"""What cells are compared by: SAM's image embedding, or with it the features of another model.

A cell's vector is made of each model's features at unit length, times the square root of that
model's weight. The product of two such vectors is the weighted sum of the models' cosines, and the
vectors have unit length, so that whoever compares cells needs to know nothing of this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from vos.sam.geometry import Letterbox, frame_to_cells

_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, eq=False)
class Matcher:
    """A model of features, on one device.

    Attributes:
        name: What to call it in results.
        network: transformers' ``Dinov2Model``, or what is called and configured like it.
        weight: Share of its cosine similarity, in (0, 1]; the rest is that of SAM's.
        device: Where the network is.
        dtype: Arithmetic of the network: ``float32``, ``bfloat16`` or ``float16``.
        weights_sha256: Hash of its weights file, where it is known.
    """

    name: str
    network: nn.Module
    weight: float
    device: torch.device
    dtype: str = "float32"
    weights_sha256: str | None = None

    @torch.inference_mode()
    def encode(self, rgb: NDArray[np.uint8], max_patches: int) -> torch.Tensor:
        """Give the features of a picture's patches.

        The picture keeps its own size, to the nearest whole patch along each side; only one of
        more patches than ``max_patches`` is made smaller.

        Args:
            rgb: (H, W, 3) uint8.
            max_patches: Patches along its longer side, at most.

        Returns:
            (D, p, q) float32 on the device; the patches cover the picture.
        """
        network: Any = self.network
        patch_px = int(network.config.patch_size)
        patches_hw = fit_patches((rgb.shape[0], rgb.shape[1]), patch_px, max_patches)
        height, width = (num * patch_px for num in patches_hw)
        if (height, width) != rgb.shape[:2]:
            rgb = np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
        pixels = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).float() / 255
        images = (pixels - pixels.new_tensor(_MEAN)) / pixels.new_tensor(_STD)
        with torch.autocast(
            self.device.type, dtype=getattr(torch, self.dtype), enabled=self.dtype != "float32"
        ):
            tokens = network(images.permute(2, 0, 1)[None]).last_hidden_state
        # The first token is of the picture as a whole.
        patches: torch.Tensor = tokens[0, 1:].T.float().unflatten(1, patches_hw)
        return patches

    def match(
        self, image_embedding: torch.Tensor, rgb: NDArray[np.uint8], letterbox: Letterbox
    ) -> torch.Tensor:
        """Put SAM's features and this model's of one picture together.

        Args:
            image_embedding: (C, h, w) of SAM, over its padded input.
            rgb: (H, W, 3) uint8, the picture.
            letterbox: Where the picture lies in SAM's input.

        Returns:
            (C + D, h, w) vectors of unit length; those of the padding repeat the picture's border.
        """
        cells_hw = image_embedding.shape[1], image_embedding.shape[2]
        patches = self.encode(rgb, max(cells_hw))
        cells, _ = frame_to_cells(patches, letterbox, cells_hw)
        return self._join([image_embedding, cells], dim=0)

    def balance(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Give each model its weight again in (K, C + D) means of :meth:`match`'s vectors.

        The mean of unequal vectors is shorter than they are, and not by the same share in both.
        """
        num_channels = int(self.network.config.hidden_size)  # type: ignore[union-attr, arg-type]
        own, further = embeddings[:, :-num_channels], embeddings[:, -num_channels:]
        return self._join([own, further], dim=1)

    def _join(self, parts: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
        weights = (1 - self.weight, self.weight)
        return torch.cat(
            [
                math.sqrt(weight) * F.normalize(part, dim=dim)
                for part, weight in zip(parts, weights, strict=True)
            ],
            dim=dim,
        )


def fit_patches(picture_hw: tuple[int, int], patch_px: int, max_patches: int) -> tuple[int, int]:
    """Give the rows and columns of patches that come nearest to a picture's own size.

    Args:
        picture_hw: Its height and width.
        patch_px: Side of a patch.
        max_patches: Along the longer side, at most; the other side keeps its proportion.

    Returns:
        At least 1 each.
    """
    scale = min(1 / patch_px, max_patches / max(picture_hw))
    height, width = (max(1, int(side * scale + 0.5)) for side in picture_hw)
    return height, width
