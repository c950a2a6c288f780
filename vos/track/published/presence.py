"""How likely it is that what was found in a picture is the object, and what speaks for it.

SAM's predicted IoU and the similarity peak say how well something is cut out, not whether it is
the object: they are about the same in pictures without it. Two things differ. Each of the object's
cells in the reference has a counterpart in the mask, nearly as close as in a mirrored copy of the
reference; and the mask has the reference's colours.

The weights are a logistic regression on pictures with and without the objects of the training
sequences of DAVIS 2016, with the embedded weights; ``tools/calibrate_presence.py`` fits them and
says how well they do on other videos (docs/images.md). The evidence is relative to the reference
itself or does not ask the model, so that it means the same for other weights, if not to the second
digit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vos.records import Labels
from vos.sam.geometry import masks_to_cells, resize_for_model
from vos.sam.model import SamModel
from vos.track.published.encode import Encoded, encode

WEIGHTS: Final = (-9.43, -3.52)
"""Of the fields of :class:`Evidence`, in their order."""

BIAS: Final = 5.16

_MIN_COVERAGE: Final = 0.5
_NUM_BINS: Final = (4, 32, 32)
_RANGES: Final = (0, 256) * 3
_MIN_DISTANCE: Final = 0.02  # that of photographs is above .04, of drawings below
_MAX_LOG: Final = 2.0
_HALF: Final = 128  # of 255


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """What a mask shows.

    Attributes:
        cells: (N, C) float32 of unit length, the features of its cells; at least one cell.
        colours: (4, 32, 32) float32, smoothed histogram of its pixels over CIE L*, a* and b*.
    """

    cells: torch.Tensor
    colours: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceAppearance:
    """What a reference shows of an object.

    Attributes:
        appearance: Of the mask that was drawn.
        mirrored_distance: Mean distance of its cells to the mirrored reference's.
    """

    appearance: Appearance
    mirrored_distance: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks against a mask being the object; 0 is as good as the reference itself.

    Attributes:
        colour_distance: Hellinger distance of the two histograms, in [0, 1].
        log_distance_ratio: Mean cosine distance of the reference's cells, each to the nearest one
            in the mask, over that to the mirrored reference; as a natural logarithm in [-2, 2].
    """

    colour_distance: float
    log_distance_ratio: float


def describe(encoded: Encoded, masks: NDArray[np.bool_], sam: SamModel) -> list[Appearance]:
    """Describe what masks show.

    Args:
        encoded: The picture and its features.
        masks: (R, H, W), none of them empty.
        sam: The model.
    """
    # It takes a sixth of a second to import, and the default method has no use for it.
    from scipy.ndimage import uniform_filter

    letterbox = sam.letterbox(encoded.frame.frame_hw)
    features = sam.image_embedding(encoded.features)
    cells_hw = features.shape[1], features.shape[2]
    lab = cv2.cvtColor(resize_for_model(encoded.frame.rgb, letterbox), cv2.COLOR_RGB2LAB)
    appearances = []
    for mask, cells in zip(
        masks, masks_to_cells(masks, letterbox, cells_hw, _MIN_COVERAGE), strict=True
    ):
        shares = resize_for_model(mask.astype(np.uint8) * np.uint8(255), letterbox)
        is_object = (shares >= min(_HALF, shares.max())).astype(np.uint8)
        counts = cv2.calcHist([lab], [0, 1, 2], is_object, _NUM_BINS, _RANGES)
        vectors = features[:, torch.from_numpy(cells).to(features.device)].T
        smooth = uniform_filter(counts, 3, mode="constant")
        appearances.append(Appearance(F.normalize(vectors, dim=1), smooth))
    return appearances


@torch.inference_mode()
def describe_references(
    references: Sequence[tuple[Encoded, Labels]],
    object_ids: Sequence[int],
    sam: SamModel,
    batch_size: int | None,
) -> list[list[ReferenceAppearance]]:
    """Describe the objects of references.

    Args:
        references: Pictures and their (H, W) label maps.
        object_ids: (K,) all objects.
        sam: The model; it encodes each reference once more, mirrored.
        batch_size: Pictures per call; see :func:`vos.track.published.encode.encode`.

    Returns:
        For each of the objects one record for each reference that holds it.
    """
    flipped = (
        replace(encoded.frame, rgb=np.ascontiguousarray(encoded.frame.rgb[:, ::-1]))
        for encoded, _ in references
    )
    mirrored = encode(flipped, sam, batch_size)
    known: dict[int, list[ReferenceAppearance]] = {object_id: [] for object_id in object_ids}
    for (encoded, labels), encoded_mirrored in zip(references, mirrored, strict=True):
        ids = [object_id for object_id in object_ids if (labels == object_id).any()]
        masks = np.stack([labels == object_id for object_id in ids])
        drawn = describe(encoded, masks, sam)
        mirror_images = describe(encoded_mirrored, masks[:, :, ::-1], sam)
        for object_id, appearance, mirror_image in zip(ids, drawn, mirror_images, strict=True):
            distance = _mean_distance(appearance, mirror_image)
            known[object_id].append(ReferenceAppearance(appearance, distance))
    return list(known.values())


def compare(reference: ReferenceAppearance, found: Appearance) -> Evidence:
    """Compare what was found with what a reference shows."""
    known = reference.appearance
    colours = cv2.compareHist(known.colours, found.colours, cv2.HISTCMP_BHATTACHARYYA)
    ratio = _mean_distance(known, found) / reference.mirrored_distance
    return Evidence(colours, float(np.clip(math.log(ratio), -_MAX_LOG, _MAX_LOG)))


def presence(references: Sequence[ReferenceAppearance], found: Appearance) -> float:
    """Give the score of a mask: how likely it is that it lies on the object, in [0, 1].

    Above one half more speaks for it than against it, where half of the pictures hold the object.
    Of several references the one that speaks most for it counts.

    Args:
        references: What is known of the object, at least one.
        found: What the mask shows.
    """
    return max(probability(compare(reference, found)) for reference in references)


def probability(evidence: Evidence) -> float:
    """Give the share of masks with such evidence that were right, in [0, 1]."""
    pairs = zip(WEIGHTS, astuple(evidence), strict=True)
    return 1 / (1 + math.exp(-sum(weight * part for weight, part in pairs) - BIAS))


def _mean_distance(known: Appearance, found: Appearance) -> float:
    """Average over the known cells the cosine distance to the nearest found one."""
    similarities = (known.cells @ found.cells.T).amax(dim=1)
    return max(1 - float(similarities.mean()), _MIN_DISTANCE)
