"""What flows through vos: frozen records, passed from stage to stage.

Dimension letters, used in every docstring of the package:

====  ==========================================================
B     batch: frames encoded together
K     objects; constant for the whole video
C     channels of the model's features
H W   frame pixels (height, width)
h w   feature cells (height, width)
S     side of the model's square input, model pixels
====  ==========================================================

Pixel coordinates are frame pixels unless a name says ``model``: x to the right, y down, the
centre of the top left pixel is (0, 0). A box is ``(x0, y0, x1, y1)`` with both corners inside.
Time is presentation time in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError

if TYPE_CHECKING:
    import torch

Labels = NDArray[np.uint8]
"""(H, W) uint8: 0 is background, any other value the id of the object there."""

MAX_OBJECT_ID = 254
"""Highest legal object id; 255 is DAVIS' void."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture.

    Attributes:
        index: Position in the source, counted from 0 over all of its frames, skipped ones too.
        pts_seconds: Presentation time in seconds.
        name: Stem for files that belong to this frame, such as ``00000``.
        rgb: (H, W, 3) uint8, RGB.
    """

    index: int
    pts_seconds: float
    name: str
    rgb: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Check the picture's layout.

        Raises:
            InputError: ``rgb`` is not a non-empty (H, W, 3) uint8 array.
        """
        rgb = self.rgb
        if (
            not isinstance(rgb, np.ndarray)
            or rgb.dtype != np.uint8
            or rgb.ndim != 3
            or rgb.shape[2] != 3
            or rgb.size == 0
        ):
            got = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else repr(type(rgb))
            raise InputError(f"a frame must be a non-empty (H, W, 3) uint8 array, got {got}")

    @property
    def frame_hw(self) -> tuple[int, int]:
        """Height and width in frame pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known about a source before its frames are read.

    Attributes:
        name: Name for the results: the file's stem or the folder's name.
        frame_hw: Height and width in pixels after rotation.
        frame_rate_hz: Average frame rate of what is delivered, or None where it is unknown.
        num_frames: Expected number of delivered frames, or None where it is unknown; a hint for
            progress bars, never relied upon.
        pixel_aspect: Width of a pixel as it is shown, over its height; None where it is unknown.
    """

    name: str
    frame_hw: tuple[int, int]
    frame_rate_hz: Fraction | None = None
    num_frames: int | None = None
    pixel_aspect: Fraction | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A frame with its image features.

    Attributes:
        frame: The picture the features belong to.
        features: (C, h, w) float32 on the model's device; empty where the tracker encodes parts of
            the frame by itself.
    """

    frame: Frame
    features: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What personalisation learned from the reference, one row per object.

    Attributes:
        object_ids: (K,) ascending ids, 1 to 254.
        embeddings: (K, C) float32, unit length: the target embedding (arXiv 2305.03048, 3.1).
        scale_weights: (K, 3) float32, rows sum to 1: weights of SAM's three masks (3.3).
        peak_similarities: (K,) float32, the similarity maximum on the reference frame itself.
        predicted_ious: (K,) float32, SAM's own estimate for the object's final reference mask.
        prompt_embeddings: (K, C) float32, what training-free PerSAM adds to the decoder's tokens
            (3.2), or None: then the method is PerSAM-F.
        yet_to_come: Ids of the objects that no reference has shown so far; their rows above mean
            nothing.
    """

    object_ids: tuple[int, ...]
    embeddings: torch.Tensor
    scale_weights: torch.Tensor
    peak_similarities: NDArray[np.float32]
    predicted_ious: NDArray[np.float32]
    prompt_embeddings: torch.Tensor | None = None
    yet_to_come: frozenset[int] = frozenset()

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """(K,) bool: which objects a reference has shown."""
        return np.array([object_id not in self.yet_to_come for object_id in self.object_ids])

    def __post_init__(self) -> None:
        """Check that the object axis agrees everywhere.

        Raises:
            InputError: the object axes differ, or an id is out of range or out of order.
        """
        ids = self.object_ids
        if list(ids) != sorted(set(ids)) or not ids or ids[0] < 1 or ids[-1] > MAX_OBJECT_ID:
            raise InputError(f"object ids must ascend within 1..{MAX_OBJECT_ID}, got {ids}")
        for name in ("embeddings", "scale_weights", "peak_similarities", "predicted_ious"):
            num_rows = getattr(self, name).shape[0]
            if num_rows != len(ids):
                raise InputError(f"{name} has {num_rows} rows for {len(ids)} objects")


@dataclass(frozen=True, slots=True, eq=False)
class Priors:
    """What one frame hands to the next, one row per object.

    Attributes:
        boxes_xyxy: (K, 4) int64 frame pixels, where the object was; meaningless without a box.
        has_box: (K,) bool, whether the row above may be used as a prompt.
        is_lost: (K,) bool, whether the object was absent from the previous frame.
    """

    boxes_xyxy: NDArray[np.int64]
    has_box: NDArray[np.bool_]
    is_lost: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class FrameMasks:
    """The result for one frame.

    Attributes:
        labels: (H, W) uint8 label map: 0 background, else the reference's object id.
        object_ids: (K,) the ids of the rows below, the same in every frame.
        scores: (K,) float32 in [0, 1], trust in the object's mask; 0 where it is absent. With
            the method ``memory`` it is the expected IoU with the truth, else what
            ``vos.track.published.segment`` says.
        present: (K,) bool, False while the object is lost.
        boxes_xyxy: (K, 4) int64 frame pixels, tight around those pixels of the label map that
            bear the object's id; zeros where it is absent.
        areas_px: (K,) int64, pixels of the label map that bear the object's id.
    """

    labels: Labels
    object_ids: tuple[int, ...]
    scores: NDArray[np.float32]
    present: NDArray[np.bool_]
    boxes_xyxy: NDArray[np.int64]
    areas_px: NDArray[np.int64]
