"""The references of ``vos run``: masks of frames, boxes and clicks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vos.errors import InputError, MaskError, SourceError

if TYPE_CHECKING:
    from vos.records import Frame, Labels
    from vos.sam.model import SamModel

# Python refuses to read numbers of thousands of digits.
_FRAME_MASK = re.compile(r"(?P<frame>\d{1,18}):(?P<mask>.+)")
_HINT = re.compile(r"(?:(?P<id>\d{1,18}):)?(?P<numbers>-?\d{1,18}(?:,-?\d{1,18})+)")

Boxes = tuple[tuple[int | None, tuple[int, int, int, int]], ...]
Points = tuple[tuple[int | None, tuple[int, int]], ...]


class Coordinates(click.ParamType[tuple[int | None, tuple[int, ...]]]):
    """``[ID:]X,Y[,...]`` in frame pixels, with a fixed number of values."""

    def __init__(self, form: str) -> None:
        self.name = form
        self.num_values = form.count(",") + 1

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, tuple[int, ...]]:
        """Read the id, if any, and the numbers."""
        match = _HINT.fullmatch(value.strip())
        numbers = tuple(map(int, match["numbers"].split(","))) if match else ()
        if match is None or len(numbers) != self.num_values:
            self.fail(f"{value!r} is not {self.name}, or ID:{self.name}, in pixels", param, ctx)
        return (int(match["id"]) if match["id"] else None), numbers


class FrameMask(click.ParamType[tuple[int, Path]]):
    """``FRAME:MASK``: a frame's number and the file of its mask."""

    name = "FRAME:MASK"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, Path]:
        """Read the frame's number and the file's path."""
        match = _FRAME_MASK.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not {self.name}, such as 120:mask.png", param, ctx)
        return int(match["frame"]), Path(match["mask"])


def check_used(frame: int, start: int | float | None, end: int | float | None, every: int) -> None:
    """Refuse a later reference of a frame that will not be used, as far as numbers tell."""
    first = start if isinstance(start, int) else None if start else 0
    is_skipped = first is not None and (frame <= first or (frame - first) % every != 0)
    if is_skipped or (isinstance(end, int) and frame >= end):
        raise InputError(
            f"--ref is for frame {frame}, which is not among the frames used after the first one"
        )


def later_reference(
    video: str,
    frame: int,
    mask: Path,
    decoder: Literal["av", "decord"],
    *,
    resize: bool,
    max_pixels: int,
) -> Labels:
    """Read the mask of a later frame; the frame itself is looked for before anything is written."""
    from vos.masks import match_frame, read_mask
    from vos.source import open_source

    labels = read_mask(mask, max_pixels=max_pixels)
    if not Path(video).is_file() and not Path(video).is_dir():  # it cannot be opened twice
        return labels
    with open_source(
        video, start=frame, end=frame + 1, decoder=decoder, max_pixels=max_pixels
    ) as source:
        frame_hw = source.info.frame_hw
    try:
        return match_frame(labels, frame_hw, resize=resize)
    except MaskError as error:
        raise MaskError(f"{mask}: {error}") from error


def segment_hints(
    frames: Iterator[Frame],
    boxes: Boxes,
    points: Points,
    sam: SamModel,
) -> tuple[Frame, Labels]:
    """Take the first frame and segment what the user pointed out in it."""
    from vos.hint import Box, Click, Hint
    from vos.track.hints import reference_from_hints

    boxes_by_id: dict[int, tuple[Box, ...]] = {}
    for object_id, box_xyxy in boxes:
        own = object_id or len(boxes_by_id) + 1
        boxes_by_id[own] = (*boxes_by_id.get(own, ()), box_xyxy)
    clicks_by_id: dict[int, tuple[Click, ...]] = {}
    for object_id, point_xy in points:
        clicks_by_id[object_id or 1] = (*clicks_by_id.get(object_id or 1, ()), Click(*point_xy))
    hints = {
        object_id: Hint(clicks_by_id.get(object_id, ()), boxes_by_id.get(object_id, ()))
        for object_id in boxes_by_id.keys() | clicks_by_id.keys()
    }
    first = next(frames, None)
    if first is None:
        raise SourceError("the source holds no frame")
    labels, _ = reference_from_hints(first, hints, sam)
    return first, labels


def describe_references(
    reference: Labels | None, boxes: Boxes, points: Points, later: Mapping[int, Labels]
) -> dict[str, object]:
    """Say which references a run has, for its summary: hashes of the masks, the hints."""
    return {
        "mask_sha256": None if reference is None else _hash(reference),
        "boxes": boxes,
        "points": points,
        "later_masks_sha256": {str(frame): _hash(mask) for frame, mask in sorted(later.items())},
    }


def _hash(labels: Labels) -> str:
    return hashlib.sha256(f"{labels.shape} {labels.dtype} ".encode() + labels.tobytes()).hexdigest()
