"""The method driven the plain way: the baseline of benchmarks/pipeline.py.

Written from the method's description (arXiv 2305.03048): one frame at a time, one object at a time,
the encoder in float32, segment_anything's own decoder, all three masks enlarged to the frame and
summed there, the whole clip and all results in memory, and a fit whose every step runs the decoder
and differentiates through the loss. It shares the model's weights with vos and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from vos.masks import DAVIS_PALETTE
from vos.sam.networks.segment_anything_modules import LayerNorm2d

_MARGIN_PX = 10


@dataclass(frozen=True)
class PlainObject:
    """One object of the plain run."""

    embedding: torch.Tensor
    scale_weights: torch.Tensor


class PlainSam:
    """Drives a Sam's own modules, without any of vos' code between them."""

    def __init__(self, module: Any) -> None:
        self.module = copy.deepcopy(module)
        ours = self.module.mask_decoder.output_upscaling[1]
        theirs = LayerNorm2d(len(ours.weight))
        theirs.load_state_dict(ours.state_dict())
        self.module.mask_decoder.output_upscaling[1] = theirs
        self.module.eval().requires_grad_(False)
        self.side = int(self.module.image_encoder.img_size)

    def resized_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        scale = self.side / max(frame_hw)
        return int(frame_hw[0] * scale + 0.5), int(frame_hw[1] * scale + 0.5)

    # No gradient is asked for; where one could be, vos' TinyViT runs on whole maps, as published.
    @torch.enable_grad()
    def encode(self, picture: NDArray[np.uint8]) -> torch.Tensor:
        """(1, C, h, w) features."""
        height, width = self.resized_hw(picture.shape[:2])
        resized = np.array(Image.fromarray(picture).resize((width, height)))
        pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].float()
        return self.module.image_encoder(self.module.preprocess(pixels))

    def decode(
        self,
        features: torch.Tensor,
        frame_hw: tuple[int, int],
        points_xy: NDArray[np.int64],
        box_xyxy: NDArray[np.int64] | None = None,
        low_res: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(3, H, W) logits, (3,) predicted IoUs and (3, h', w') low-resolution logits."""
        height, width = self.resized_hw(frame_hw)
        scale = np.array([width / frame_hw[1], height / frame_hw[0]])
        points = torch.from_numpy(points_xy * scale).float()[None]
        box = None
        if box_xyxy is not None:
            box = torch.from_numpy(box_xyxy.reshape(2, 2) * scale).float().reshape(1, 4)
        sparse, dense = self.module.prompt_encoder(
            points=(points, torch.ones(points.shape[:2], dtype=torch.int64)),
            boxes=box,
            masks=None if low_res is None else low_res[None, None],
        )
        answers, ious = self.module.mask_decoder(
            image_embeddings=features,
            image_pe=self.module.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        logits = self.module.postprocess_masks(answers, (height, width), frame_hw)
        return logits[0], ious[0], answers[0]

    def similarity(
        self, features: torch.Tensor, embedding: torch.Tensor, frame_hw: tuple[int, int]
    ) -> torch.Tensor:
        """(H, W) cosine similarity with an object."""
        cells = features[0] / features[0].norm(dim=0)
        height, width = cells.shape[1:]
        flat = (embedding[None] @ cells.flatten(1)).reshape(1, 1, height, width)
        large = F.interpolate(flat, scale_factor=4, mode="bilinear")
        return self.module.postprocess_masks(large, self.resized_hw(frame_hw), frame_hw)[0, 0]

    @torch.no_grad()
    def personalize(
        self, features: torch.Tensor, mask: NDArray[np.bool_], num_steps: int
    ) -> PlainObject:
        """Learn one object; ``num_steps`` may be fewer than the method's 800 to time them."""
        frame_hw = mask.shape
        height, width = self.resized_hw(frame_hw)
        canvas = torch.zeros(1, 1, self.side, self.side)
        resized = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height))
        canvas[0, 0, :height, :width] = torch.from_numpy(np.array(resized)) / 255
        cells = F.interpolate(canvas, size=features.shape[2:], mode="bilinear")[0, 0] > 0.5
        if not cells.any():
            cells.view(-1)[cells.numel() // 2] = True
        own = features[0][:, cells]
        embedding = own.mean(dim=1) / 2 + own.max(dim=1)[0] / 2
        embedding = embedding / embedding.norm()
        peak = self._peak(self.similarity(features, embedding, frame_hw))
        box = tight_box(mask)
        points_xy = np.stack([peak, (box[:2] + box[2:]) // 2])
        weights = torch.full((2,), 1 / 3)
        weights.requires_grad_(True)
        optimizer = torch.optim.AdamW([weights], lr=4e-4, eps=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 800)
        truth = torch.from_numpy(mask).flatten().float()
        for _ in range(num_steps):
            with torch.enable_grad():
                logits, _, _ = self.decode(features, frame_hw, points_xy, box)
                all_weights = torch.stack([1 - weights.sum(), weights[0], weights[1]])
                summed = (logits * all_weights[:, None, None]).sum(dim=0).flatten()
                loss = _dice(summed, truth) + _focal(summed, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        fitted = weights.detach()
        return PlainObject(embedding, torch.stack([1 - fitted.sum(), fitted[0], fitted[1]]))

    @torch.no_grad()
    def segment(
        self,
        picture: NDArray[np.uint8],
        objects: Sequence[PlainObject],
        boxes_xyxy: NDArray[np.int64],
    ) -> NDArray[np.uint8]:
        """One frame's label map; each object has the box of the frame before."""
        frame_hw = picture.shape[:2]
        features = self.encode(picture)
        all_logits = [torch.zeros(frame_hw)]
        for one, box in zip(objects, boxes_xyxy, strict=True):
            peak = self._peak(self.similarity(features, one.embedding, frame_hw))
            low = np.maximum(box[:2] - _MARGIN_PX, 0)
            high = np.minimum(box[2:] + _MARGIN_PX, np.array(frame_hw[::-1]) - 1)
            points_xy = np.stack([peak, (low + high) // 2])
            logits, _, low_res = self.decode(
                features, frame_hw, points_xy, np.concatenate([low, high])
            )
            weights = one.scale_weights[:, None, None]
            mask, low_res = (logits * weights).sum(dim=0), (low_res * weights).sum(dim=0)
            for _ in range(2):
                if not (mask > 0).any():
                    break
                refined = tight_box((mask > 0).numpy())
                logits, ious, answers = self.decode(features, frame_hw, points_xy, refined, low_res)
                best = int(ious.argmax())
                mask, low_res = logits[best], answers[best]
            all_logits.append(mask)
        return torch.stack(all_logits).argmax(dim=0).numpy().astype(np.uint8)

    @staticmethod
    def _peak(similarity: torch.Tensor) -> NDArray[np.int64]:
        row, column = divmod(int(similarity.argmax()), similarity.shape[1])
        return np.array([column, row])


def run_plainly(
    sam: PlainSam,
    pictures: Sequence[NDArray[np.uint8]],
    objects: Sequence[PlainObject],
    reference: NDArray[np.uint8],
    folder: Path,
) -> list[NDArray[np.uint8]]:
    """All frames after the reference, which are kept and written at the end."""
    labels = [reference]
    boxes = np.stack([tight_box(reference == k + 1) for k in range(len(objects))])
    for picture in pictures:
        labels.append(sam.segment(picture, objects, boxes))
        for k, box in enumerate(boxes):
            if (labels[-1] == k + 1).any():
                box[:] = tight_box(labels[-1] == k + 1)
    for index, own in enumerate(labels[1:]):
        image = Image.fromarray(own)
        image.putpalette(DAVIS_PALETTE.tobytes())
        image.save(folder / f"{index:05d}.png")
    return labels


def tight_box(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(x0, y0, x1, y1) of a mask that is not empty."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max(), rows.max()])


def _dice(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    share = logits.sigmoid()
    return 1 - (2 * (share * truth).sum() + 1) / (share.sum() + truth.sum() + 1)


def _focal(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    share = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = share * truth + (1 - share) * (1 - truth)
    alpha = 0.25 * truth + 0.75 * (1 - truth)
    return (alpha * cross_entropy * (1 - right) ** 2).mean()
