"""What shows the objects to the tracker: masks, boxes and clicks on frames of a video."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vos.config import STRICT
from vos.errors import InputError, MaskError
from vos.hint import Hint
from vos.masks import PaintedMask, match_frame, read_painted_mask
from vos.records import Frame, Labels

if TYPE_CHECKING:  # what reads results needs no torch
    from vos.sam.model import SamModel
    from vos.segment.forward import Step

_log = logging.getLogger("vos")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A mask, or clicks and boxes, of the objects in one frame.

    Attributes:
        frame: The frame, by index (int) or by time in seconds (float); None is the first frame
            used.
        mask: File of a mask, as :func:`vos.read_mask` reads it; or None with hints.
        hints: Boxes and clicks by object id, from which SAM makes the mask.
        resize: Whether a mask of another size than the frame is scaled to it.
        join_objects: Whether all objects of the mask count as one, as in DAVIS 2016.
    """

    __pydantic_config__: ClassVar = STRICT

    frame: int | float | None = None
    mask: Path | None = None
    hints: dict[int, Hint] = field(default_factory=dict)
    resize: bool = False
    join_objects: bool = False

    def __post_init__(self) -> None:
        """Check that there is a mask or a hint.

        Raises:
            InputError: there is neither, or there are both.
        """
        if (self.mask is None) == (not self.hints):
            got = "neither" if self.mask is None else "both"
            raise InputError(f"a reference is a mask, or else boxes and clicks; got {got}")

    def read_mask(self, *, max_pixels: int) -> PaintedMask | None:
        """Read the mask, not yet matched to its frame, and its colours; None for hints.

        Raises:
            MaskError: as :func:`vos.read_mask`.
        """
        if self.mask is None:
            return None
        painted = read_painted_mask(self.mask, max_pixels=max_pixels)
        if self.join_objects:
            return PaintedMask((painted.labels > 0).astype(np.uint8), {})
        return painted

    def fit(self, labels: Labels, frame_hw: tuple[int, int]) -> Labels:
        """Bring the mask to its frame's size.

        Raises:
            MaskError: the sizes differ, and it may not be scaled; the message names the file.
        """
        try:
            return match_frame(labels, frame_hw, resize=self.resize)
        except MaskError as error:
            raise MaskError(f"mask {self.mask}: {error}") from error

    def describe(self, painted: PaintedMask | None) -> dict[str, object]:
        """Say what tells it from other references, for the summary of a run.

        Args:
            painted: The mask that was read, or None for hints.
        """
        return {
            "frame": self.frame,
            "mask_sha256": None if painted is None else _hash(painted.labels),
            "hints": {
                str(object_id): asdict(hint) for object_id, hint in sorted(self.hints.items())
            },
        }


def segment_hints(
    frame: Frame, reference: Reference, sam: SamModel
) -> tuple[Labels, dict[int, float]]:
    """Make a mask of what the user pointed out on a frame.

    Returns:
        (H, W) label map, and by object id the IoU with the truth to expect, in [0, 1].

    Raises:
        InputError: a hint lies outside of the frame, or an id is out of range.
        MaskError: the model finds nothing there.
    """
    from vos.track.hints import reference_from_hints

    labels, scores = reference_from_hints(frame, reference.hints, sam)
    for object_id, score in scores.items():
        _log.info(
            "frame %d, object %d: mask from clicks or boxes, expected IoU %.2f",
            *(frame.index, object_id, score),
        )
    return labels, scores


def scored(
    steps: Generator[Step, None, None], scores_by_index: Mapping[int, Mapping[int, float]]
) -> Generator[Step, None, None]:
    """Give the masks of references that come from hints the scores that they deserve.

    Args:
        steps: Frames and their masks, in which every reference has a score of 1.
        scores_by_index: Scores by object id, by ``Frame.index``.

    Yields:
        The same steps.
    """
    with closing(steps):
        for step in steps:
            scores = scores_by_index.get(step.frame.index)
            if scores:
                ids = step.masks.object_ids
                known = zip(ids, step.masks.scores.tolist(), strict=True)
                changed = np.array([scores.get(*pair) for pair in known], dtype=np.float32)
                step = replace(step, masks=replace(step.masks, scores=changed))
            yield step


def check_frames_differ(references: Sequence[Reference]) -> None:
    """Make sure that no frame has two references, as far as it is known before the video is.

    Raises:
        InputError: one has.
    """
    frames = [reference.frame for reference in references]
    for frame in frames:
        if frames.count(frame) > 1:
            which = "the first frame" if frame is None else f"frame {frame}"
            raise InputError(f"{which} has several references; give one for each frame")


def _hash(labels: Labels) -> str:
    return hashlib.sha256(f"{labels.shape} {labels.dtype} ".encode() + labels.tobytes()).hexdigest()
