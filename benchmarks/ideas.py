"""Ideas for tracking, each alone on top of the published prior; ablation.py measures them.

They are experiments, not settings for users, and so are not part of vos. Each replaces one step of
:class:`published.Published`. None tests for absence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from published import METHOD, Published
from torch.nn import functional as F

from vos.config import AbsenceConfig
from vos.masks.boxes import box_centres_xy, grow_box_xyxy
from vos.records import Labels
from vos.sam.geometry import average_in_cells, cell_centres, masks_to_cells
from vos.sam.model import POSITIVE, Prompts, SamModel
from vos.track.published.encode import Encoded
from vos.track.published.locate import frame_similarities, mean_embeddings, target_embeddings
from vos.track.published.refine import Candidates, cascade
from vos.track.published.segment import accept

PADDING_LOGIT = -6.0  # of a mask prompt beyond the picture
VELOCITY_MEMORY = 0.5  # of the velocity and of its error, per frame
EMBEDDING_RATE = 0.1  # of the way to the newest frame's embedding
OUTWARDS = np.array([-1, -1, 1, 1])


class Logits(Published):
    """The previous mask's low-resolution logits prompt the first decoder call too.

    They are averaged from the logits at frame size, because those are what the cascade gives.
    """

    low_res: torch.Tensor | None = None

    def decode(self, encoded, rows, points_xy, boxes_xyxy):
        if boxes_xyxy is None or self.low_res is None:
            return super().decode(encoded, rows, points_xy, boxes_xyxy)
        labels = np.full(points_xy.shape[:2], POSITIVE)
        prompts = Prompts(points_xy, labels, boxes_xyxy, self.low_res[rows])
        decoded = self.sam.decode(encoded.features, prompts, self.letterbox_of(encoded))
        weights = self.targets.scale_weights[rows]
        low_res = torch.einsum("km,kmhw->khw", weights, decoded.low_res_logits)
        predicted_ious = torch.einsum("km,km->k", weights, decoded.predicted_ious)
        return cascade(encoded, points_xy, low_res, predicted_ious, self.sam)

    def learn(self, encoded, peaks, found, masks):
        letterbox = self.letterbox_of(encoded)
        pixels_hw = 4 * encoded.features.shape[1], 4 * encoded.features.shape[2]
        low_res = average_in_cells(found.logits, letterbox, pixels_hw)
        _, is_inside = cell_centres(letterbox, pixels_hw)
        self.low_res = low_res.masked_fill(~is_inside.to(low_res.device), PADDING_LOGIT)


class Motion(Published):
    """The box moves with the object's velocity, and each side grows by how wrong it has been."""

    def __init__(self, first: Encoded, reference: Labels, sam: SamModel) -> None:
        super().__init__(first, reference, sam)
        num_objects = len(self.targets.object_ids)
        self.velocities_xy = np.zeros((num_objects, 2))
        self.errors_xyxy = np.zeros((num_objects, 4))

    def boxes(self, frame_hw):
        grown = self.expected_xyxy() + OUTWARDS * self.errors_xyxy
        boxes_xyxy = np.rint(grown).astype(np.int64)
        return grow_box_xyxy(boxes_xyxy, METHOD.box_margin_px, frame_hw, beyond_px=1)

    def expected_xyxy(self) -> NDArray[np.float64]:
        return self.priors.boxes_xyxy + np.tile(self.velocities_xy, 2)

    def learn(self, encoded, peaks, found, masks):
        moved = (masks.boxes_xyxy - self.priors.boxes_xyxy).reshape(-1, 2, 2).mean(axis=1)
        errors = np.abs(masks.boxes_xyxy - self.expected_xyxy())
        # An object that is lost or found again is at rest, as far as anyone knows.
        is_followed = (masks.present & self.priors.has_box)[:, None]
        velocities = VELOCITY_MEMORY * self.velocities_xy + (1 - VELOCITY_MEMORY) * moved
        errors = VELOCITY_MEMORY * self.errors_xyxy + (1 - VELOCITY_MEMORY) * errors
        self.velocities_xy = np.where(is_followed, velocities, 0)
        self.errors_xyxy = np.where(is_followed, errors, 0)


class EmbeddingMax(Published):
    """A second target embedding follows confident frames; a pixel has the greater similarity.

    Confident is a mask that would be good enough for the return of a lost object.
    """

    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = staticmethod(torch.maximum)

    def __init__(self, first: Encoded, reference: Labels, sam: SamModel) -> None:
        super().__init__(first, reference, sam)
        self.recent = self.targets.embeddings.clone()

    def similarities(self, encoded):
        recent = frame_similarities(self.recent, encoded.features, self.letterbox_of(encoded))
        return self.combine(super().similarities(encoded), recent)

    def learn(self, encoded, peaks, found, masks):
        as_if_lost = np.ones_like(masks.present)
        is_confident = masks.present & accept(
            as_if_lost, peaks.similarities, found.predicted_ious, self.targets, AbsenceConfig()
        )
        rows = np.flatnonzero(is_confident)
        if len(rows):
            own = np.stack([masks.labels == masks.object_ids[row] for row in rows])
            newest = target_embeddings(encoded.features, cells_of(encoded, own, self.sam))
            mixed = self.recent[rows] * (1 - EMBEDDING_RATE) + newest * EMBEDDING_RATE
            self.recent[rows] = F.normalize(mixed, dim=1)


class EmbeddingMean(EmbeddingMax):
    """The same, and a pixel has the mean of both similarities."""

    combine = staticmethod(lambda reference, recent: (reference + recent) / 2)


class Contrast(Published):
    """From the similarity to the object that to its background is taken.

    The background is the mean of the reference's cells within the object's box, grown by half of
    its sides, that hold none of the object.
    """

    def __init__(self, first: Encoded, reference: Labels, sam: SamModel) -> None:
        super().__init__(first, reference, sam)
        self.background = torch.zeros_like(self.targets.embeddings)
        for row, object_id in enumerate(self.targets.object_ids):
            own = reference == object_id
            x0, y0, x1, y1 = self.masks.boxes_xyxy[row]
            reach_x, reach_y = (x1 - x0 + 1) // 2, (y1 - y0 + 1) // 2
            near = np.zeros_like(own)
            rows = slice(max(0, y0 - reach_y), y1 + reach_y + 1)
            near[rows, max(0, x0 - reach_x) : x1 + reach_x + 1] = True
            features = first.features
            own_share, near_share = average_in_cells(
                torch.from_numpy(np.stack([own, near])).to(features.device).float(),
                self.letterbox_of(first),
                (features.shape[1], features.shape[2]),
            )
            is_background = (own_share == 0) & (near_share > 0.5)
            if is_background.any():
                mean = features[:, is_background].mean(dim=1)
                self.background[row] = F.normalize(mean, dim=0)

    def similarities(self, encoded):
        background = frame_similarities(
            self.background, encoded.features, self.letterbox_of(encoded)
        )
        return super().similarities(encoded) - background


class Hypotheses(Motion):
    """Each object is looked for in three ways, and the likeliest mask is its own.

    The ways are the previous box, the box of :class:`Motion`, and the similarity peak without a
    box. Those with a box are one batch of the decoder; without one its prompts are fewer. Likely is
    predicted IoU x similarity of the mask's mean embedding to the target x continuity of the area.
    """

    def __init__(self, first: Encoded, reference: Labels, sam: SamModel) -> None:
        super().__init__(first, reference, sam)
        self.areas_px = self.masks.areas_px.astype(np.float64)

    def find(self, encoded, peaks):
        still = Published.boxes(self, encoded.frame.frame_hw)
        moved = super().boxes(encoded.frame.frame_hw)
        winners = []
        for row, peak_xy in enumerate(peaks.points_xy):
            ways = [self.decode(encoded, np.array([row]), peak_xy[None, None], None)]
            if self.priors.has_box[row]:
                boxes = np.stack([still[row], moved[row]])
                points = np.stack([np.tile(peak_xy, (2, 1)), box_centres_xy(boxes)], axis=1)
                ways.append(self.decode(encoded, np.array([row, row]), points, boxes))
            logits = torch.cat([way.logits for way in ways])
            predicted_ious = np.concatenate([way.predicted_ious for way in ways])
            likeliest = int(self.likelihoods(encoded, row, logits > 0, predicted_ious).argmax())
            winners.append((logits[likeliest], predicted_ious[likeliest]))
        all_logits, all_ious = zip(*winners, strict=True)
        return Candidates(torch.stack(all_logits), np.array(all_ious))

    def likelihoods(
        self,
        encoded: Encoded,
        row: int,
        masks: torch.Tensor,
        predicted_ious: NDArray[np.float32],
    ) -> NDArray[np.float64]:
        """Say how likely each of (N, H, W) masks is the object's; an empty one is not."""
        areas_px = masks.sum(dim=(1, 2)).cpu().numpy()
        likelihoods = np.zeros(len(masks))
        (rows,) = areas_px.nonzero()
        if len(rows):
            cells = cells_of(encoded, masks.cpu().numpy()[rows], self.sam)
            embeddings = F.normalize(mean_embeddings(encoded.features, cells), dim=1)
            similarities = (embeddings @ self.targets.embeddings[row]).cpu().numpy().clip(0)
            ratios = areas_px[rows] / self.areas_px[row]
            continuity = np.minimum(ratios, 1 / ratios)
            likelihoods[rows] = predicted_ious[rows].clip(0) * similarities * continuity
        return likelihoods

    def learn(self, encoded, peaks, found, masks):
        super().learn(encoded, peaks, found, masks)
        self.areas_px = np.where(masks.present, masks.areas_px, self.areas_px)


def cells_of(encoded: Encoded, masks: NDArray[np.bool_], sam: SamModel) -> NDArray[np.bool_]:
    """Give the (N, h, w) feature cells of (N, H, W) masks, none of them empty."""
    features = encoded.features
    letterbox = sam.letterbox(encoded.frame.frame_hw)
    cells_hw = (features.shape[1], features.shape[2])
    return masks_to_cells(masks, letterbox, cells_hw, METHOD.min_cell_coverage)
