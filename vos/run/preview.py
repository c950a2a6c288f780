"""What the references of a job are, before anything is tracked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vos.errors import InputError
from vos.masks import OBJECT_COLOURS
from vos.records import Frame, Labels
from vos.run.job import Job
from vos.run.references import Reference, segment_hints
from vos.run.run_job import load_model
from vos.sam.model import SamModel
from vos.sink.draw import draw_overlay
from vos.sink.sheet import draw_sheet
from vos.source import can_read_again, open_selection

_MAX_SHEET_WIDTH_PX = 1920


@dataclass(frozen=True, slots=True, eq=False)
class ShownReference:
    """A reference on its frame.

    Attributes:
        frame: The frame.
        labels: (H, W) label map, as it would be used.
        scores: By object id the IoU with the truth to expect, for masks made from hints.
        colours: (red, green, blue) of objects as the mask's file has them, by id.
    """

    frame: Frame
    labels: Labels
    scores: Mapping[int, float]
    colours: Mapping[int, tuple[int, int, int]]

    @property
    def areas_px(self) -> dict[int, int]:
        """Frame pixels of each object, by id."""
        ids, areas_px = np.unique(self.labels[self.labels > 0], return_counts=True)
        return dict(zip(ids.tolist(), areas_px.tolist(), strict=True))


def show_references(job: Job, sam: SamModel | None = None) -> list[ShownReference]:
    """Read or make all references of a job; nothing is tracked, and nothing is written.

    Args:
        job: The job.
        sam: Its model, if it is loaded already; else it is loaded if there are hints.

    Returns:
        The references in the order of their frames.

    Raises:
        InputError: a source that can be read only once has a reference of a later frame.
        VosError: as :func:`vos.run_job`.
    """
    shown = []
    for reference in job.references:
        painted = reference.read_mask(max_pixels=job.selection.max_pixels)
        frame = _frame_of(job, reference)
        if painted is None:
            sam = sam or load_model(job.sam)
            labels, scores = segment_hints(frame, reference, sam)
            shown.append(ShownReference(frame, labels, scores, {}))
        else:
            labels = reference.fit(painted.labels, frame.frame_hw)
            shown.append(ShownReference(frame, labels, {}, painted.colours))
    return sorted(shown, key=lambda each: each.frame.index)


def draw_references(shown: list[ShownReference], job: Job) -> NDArray[np.uint8]:
    """Draw references on their frames, one beside the other: (H, W, 3) uint8 RGB."""
    palette = OBJECT_COLOURS.copy()
    for each in shown:
        for object_id, rgb in each.colours.items():
            palette[object_id] = rgb
    for object_id, rgb in job.colours.items():
        palette[object_id] = rgb
    panels = [
        (
            draw_overlay(
                each.frame.rgb,
                each.labels,
                0.5 if job.outputs.overlay_alpha is None else job.outputs.overlay_alpha,
                scores=each.scores,
                min_score=job.outputs.min_score,
                palette=palette,
                names=job.names,
            ),
            f"frame {each.frame.index}, {each.frame.pts_seconds:.3f} s",
        )
        for each in shown
    ]
    height, width = shown[0].frame.frame_hw
    if len(panels) > 1 and 2 * width > _MAX_SHEET_WIDTH_PX:
        height, width = height * _MAX_SHEET_WIDTH_PX // (2 * width), _MAX_SHEET_WIDTH_PX // 2
    return draw_sheet(panels, (width, max(1, height)))


def _frame_of(job: Job, reference: Reference) -> Frame:
    selection = job.selection
    if reference.frame is not None:
        if not can_read_again(job.source):
            raise InputError(
                f"{job.source} can be read only once, so only references of its first frame can "
                f"be shown, got one of {reference.frame}"
            )
        selection = replace(selection, start=reference.frame, end=None, every=1)
    with open_selection(job.source, selection) as source:
        return next(source)
