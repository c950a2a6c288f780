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

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError

Labels = NDArray[np.uint8]
"""(H, W) uint8: 0 is background, any other value the id of the object there."""

MAX_OBJECT_ID = 254
"""Highest legal object id; 255 is DAVIS' void."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture.

    Attributes:
        index: Number of the frame in the source, counted from 0 over all frames, skipped ones too.
        pts_seconds: Presentation time in seconds, counted from the source's first frame.
        name: Stem for files that belong to this frame: the index of a video's frame, such as
            ``00000``, or the stem of an image's file.
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
        frame_hw: Height and width in pixels after cropping and rotation.
        frame_rate_hz: Average frame rate of what is delivered, or None where it is unknown.
        num_frames: Expected number of delivered frames, or None where it is unknown; a hint for
            progress bars, never relied upon.
        sample_aspect_ratio: Width of a pixel by its height, where the frame is shown.
        start_seconds: Time of the source's first frame on the file's own clock, from which on
            ``Frame.pts_seconds`` counts; other streams of the file, such as sound, are on it too.
    """

    name: str
    frame_hw: tuple[int, int]
    frame_rate_hz: Fraction | None = None
    num_frames: int | None = None
    sample_aspect_ratio: Fraction = Fraction(1)
    start_seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class SoftEdges:
    """Opacity of objects at pixels near their outlines.

    Attributes:
        object_ids: (N,) uint8, whose opacity it is.
        pixels: (N,) int64, at which pixel: W times its row and its column.
        alpha: (N,) uint8, how opaque the object is there.
    """

    object_ids: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    alpha: NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: Iterable[SoftEdges]) -> SoftEdges:
        """Put edges of different objects together."""
        parts = [cls.nothing(), *parts]
        return cls(
            np.concatenate([each.object_ids for each in parts]),
            np.concatenate([each.pixels for each in parts]),
            np.concatenate([each.alpha for each in parts]),
        )

    @classmethod
    def nothing(cls) -> SoftEdges:
        """Give edges of which nothing is known."""
        return cls(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.uint8))

    def only(self, wanted: Collection[int]) -> SoftEdges:
        """Leave the edges of some objects, by id."""
        return self.where(np.isin(self.object_ids, [*wanted]))

    def where(self, is_kept: NDArray[np.bool_]) -> SoftEdges:
        """Leave some of the N entries."""
        return SoftEdges(self.object_ids[is_kept], self.pixels[is_kept], self.alpha[is_kept])


@dataclass(frozen=True, slots=True, eq=False)
class FrameMasks:
    """The result for one frame.

    Attributes:
        labels: (H, W) uint8 label map: 0 background, else the reference's object id.
        object_ids: (K,) the ids of the rows below, the same in every frame.
        scores: (K,) float32 in [0, 1], trust in the object's mask; 0 where it is absent. With
            the method ``memory`` it is the expected IoU with the truth, with ``persam-f`` and
            ``persam`` what ``vos.track.published.segment.scores`` says, with ``cutie`` and
            ``sam2.1-*`` the network's own mean probability. In pictures it is how
            likely it is that the mask lies on the object (``vos.track.published.presence``).
        present: (K,) bool, False while the object is lost.
        boxes_xyxy: (K, 4) int64 frame pixels, tight around those pixels of the label map that
            bear the object's id; zeros where it is absent.
        areas_px: (K,) int64, pixels of the label map that bear the object's id.
        edges: What is known of opacity at the outlines, with ``RunConfig.soft``; else None.
            ``vos.masks.edges.match_edges`` makes it agree with the label map.
    """

    labels: Labels
    object_ids: tuple[int, ...]
    scores: NDArray[np.float32]
    present: NDArray[np.bool_]
    boxes_xyxy: NDArray[np.int64]
    areas_px: NDArray[np.int64]
    edges: SoftEdges | None = None

    def to_supervision(self, names: Mapping[int, str] | None = None) -> Any:
        """Give the objects that are present as ``supervision.Detections``.

        Boxes have their right and bottom corner one pixel further out, where supervision wants it;
        ``tracker_id`` and ``class_id`` are the object's id.

        Args:
            names: What objects are called, by id, for ``data["class_name"]``; else ``object 1``.

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError("to_supervision needs the package supervision: install it") from error
        is_there = self.present & (self.areas_px > 0)
        ids = np.array(self.object_ids, np.int64)[is_there]
        names = names or {}
        return supervision.Detections(
            xyxy=(self.boxes_xyxy[is_there] + (0, 0, 1, 1)).astype(np.float32),
            mask=self.labels == ids[:, None, None],
            confidence=self.scores[is_there],
            class_id=ids,
            tracker_id=ids.copy(),
            data={"class_name": np.array([names.get(i, f"object {i}") for i in ids.tolist()], str)},
        )
