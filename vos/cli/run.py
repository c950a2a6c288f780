"""``vos run``, also ``vos-run``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vos.cli.options import Moment, inference_options, print_progress, run_config
from vos.config import Method, PriorPolicy
from vos.errors import DamagedSourceError, InputError, MaskError, SourceError

if TYPE_CHECKING:
    from vos.records import Frame, Labels
    from vos.sam.model import SamModel

_FRAME_MASK = re.compile(r"(?P<frame>\d+):(?P<mask>.+)")
_HINT = re.compile(r"(?:(?P<id>\d+):)?(?P<numbers>-?\d+(?:,-?\d+)+)")


class _Coordinates(click.ParamType[tuple[int | None, tuple[int, ...]]]):
    """``[ID:]X,Y[,...]`` in frame pixels, with a fixed number of values."""

    def __init__(self, form: str) -> None:
        self.name = form
        self.num_values = form.count(",") + 1

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, tuple[int, ...]]:
        match = _HINT.fullmatch(value.strip())
        numbers = tuple(map(int, match["numbers"].split(","))) if match else ()
        if match is None or len(numbers) != self.num_values:
            self.fail(f"{value!r} is not {self.name}, or ID:{self.name}, in pixels", param, ctx)
        return (int(match["id"]) if match["id"] else None), numbers


class _FrameMask(click.ParamType[tuple[int, Path]]):
    """``FRAME:MASK``: a frame's number and the file of its mask."""

    name = "FRAME:MASK"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, Path]:
        match = _FRAME_MASK.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not {self.name}, such as 120:mask.png", param, ctx)
        return int(match["frame"]), Path(match["mask"])


@click.command("run", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", metavar="VIDEO")
@click.option(
    "--ref-mask",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Mask of the first frame used: ids, black and white, or a colour per object.",
)
@click.option(
    "--ref-box",
    "ref_boxes",
    type=_Coordinates("X0,Y0,X1,Y1"),
    multiple=True,
    help="Instead of a mask: a box around an object. Repeatable, one object each; "
    "ID:X0,Y0,X1,Y1 names the object.",
)
@click.option(
    "--ref-point",
    "ref_points",
    type=_Coordinates("X,Y"),
    multiple=True,
    help="Instead of a mask: a click on the object. Repeatable; all clicks are of "
    "object 1 unless ID:X,Y names another.",
)
@click.option(
    "--ref",
    "later_refs",
    type=_FrameMask(),
    multiple=True,
    help="The mask of a later frame: it corrects that frame and is learned from there on. Its "
    "background says nothing of objects that it does not hold; new ones may appear in it. "
    "Repeatable.",
)
@click.option(
    "--save-ref",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the reference mask that is used as a PNG.",
)
@click.option("--resize-mask", is_flag=True, help="Accept a mask of another size than the video.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option("--name", help="Name of the results.  [default: the video's]")
@click.option("--overwrite", is_flag=True, help="Replace earlier results of this name.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Opacity of the overlay's colours.",
)
@click.option("--no-overlay", is_flag=True, help="Write no overlay video.")
@click.option("--start", type=Moment(), help="First frame: a number, or a time as 2.5s or 1:30.")
@click.option("--end", type=Moment(), help="First frame no longer used, likewise.")
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="Use every Nth frame."
)
@click.option(
    "--decoder",
    type=click.Choice(["av", "decord"]),
    default="av",
    show_default=True,
    help="Video decoder. decord reads ahead without bound: long videos fill the memory.",
)
@inference_options
def run_command(
    video: str,
    ref_mask: Path | None,
    ref_boxes: tuple[tuple[int | None, tuple[int, int, int, int]], ...],
    ref_points: tuple[tuple[int | None, tuple[int, int]], ...],
    later_refs: tuple[tuple[int, Path], ...],
    save_ref: Path | None,
    resize_mask: bool,
    out: Path,
    name: str | None,
    overwrite: bool,
    alpha: float,
    no_overlay: bool,
    start: int | float | None,
    end: int | float | None,
    every: int,
    decoder: Literal["av", "decord"],
    model: str,
    checkpoint: Path | None,
    device: str,
    dtype: str,
    batch_size: int | None,
    method: Method,
    prior: PriorPolicy,
    fit_steps: int,
    published: bool,
    quiet: bool,
) -> None:
    """Segment the objects of one mask in every frame of VIDEO.

    VIDEO is a file, a folder of images, or the URL of a stream. The mask belongs to the first
    frame used. Results are FOLDER/<name>/00000.png ... (palette PNGs, as in DAVIS),
    FOLDER/<name>.mp4 (overlay) and FOLDER/<name>.json (scores, boxes, settings).
    """
    for frame, _ in later_refs:
        _check_used(frame, start, end, every)
    has_hints = bool(ref_boxes or ref_points)
    if (ref_mask is None) != has_hints:
        raise click.UsageError("give a --ref-mask, or else --ref-box and --ref-point")

    frames_with_ref = [frame for frame, _ in later_refs]
    if len(set(frames_with_ref)) < len(frames_with_ref):
        raise click.UsageError("give at most one --ref for each frame")

    from vos.masks import match_frame, read_mask, write_label_png
    from vos.outputs import Outputs, describe_run, write_results
    from vos.pipeline import segment_video
    from vos.sam.load import load_sam
    from vos.source import open_source

    config = run_config(method, prior, fit_steps, published, batch_size)
    reference = None if ref_mask is None else read_mask(ref_mask)
    with open_source(video, start=start, end=end, every=every, decoder=decoder) as source:
        if reference is not None:
            reference = match_frame(reference, source.info.frame_hw, resize=resize_mask)
        outputs = Outputs(
            folder=out,
            name=name or source.info.name,
            overlay_alpha=None if no_overlay else alpha,
            overwrite=overwrite,
        )
        outputs.check_free()
        later = {
            frame: _later_reference(video, frame, mask, decoder, resize=resize_mask)
            for frame, mask in later_refs
        }
        sam = load_sam(model, checkpoint=checkpoint, device=device, dtype=dtype)
        frames: Iterator[Frame] = iter(source)
        if reference is None:
            first, reference = _reference_from_hints(frames, ref_boxes, ref_points, sam)
            frames = chain([first], frames)
        if save_ref is not None:
            write_label_png(save_ref, reference)
        header = describe_run(video, sam, config)
        with (
            closing(segment_video(frames, reference, sam, config, later_references=later)) as pairs,
            closing(write_results(pairs, outputs, source.info, header)) as results,
        ):
            try:
                print_progress(results, source.info.num_frames, outputs.written, quiet=quiet)
            except DamagedSourceError as error:
                raise DamagedSourceError(
                    f"{error}; the results of the good frames are in {outputs.masks_folder}"
                ) from error


def _check_used(frame: int, start: int | float | None, end: int | float | None, every: int) -> None:
    """Refuse a later reference of a frame that will not be used, as far as numbers tell."""
    first = start if isinstance(start, int) else None if start else 0
    is_skipped = first is not None and (frame <= first or (frame - first) % every != 0)
    if is_skipped or (isinstance(end, int) and frame >= end):
        raise InputError(
            f"--ref is for frame {frame}, which is not among the frames used after the first one"
        )


def _later_reference(
    video: str, frame: int, mask: Path, decoder: Literal["av", "decord"], *, resize: bool
) -> Labels:
    """Read the mask of a later frame; the frame itself is looked for before anything is written."""
    from vos.masks import match_frame, read_mask
    from vos.source import open_source

    labels = read_mask(mask)
    if "://" in video:  # a stream cannot be opened twice
        return labels
    with open_source(video, start=frame, end=frame + 1, decoder=decoder) as source:
        frame_hw = source.info.frame_hw
    try:
        return match_frame(labels, frame_hw, resize=resize)
    except MaskError as error:
        raise MaskError(f"{mask}: {error}") from error


def _reference_from_hints(
    frames: Iterator[Frame],
    boxes: tuple[tuple[int | None, tuple[int, int, int, int]], ...],
    points: tuple[tuple[int | None, tuple[int, int]], ...],
    sam: SamModel,
) -> tuple[Frame, Labels]:
    """Take the first frame and segment what the user pointed out in it."""
    from vos.sam.encode import encode
    from vos.track.reference import Hint, reference_from_hints

    boxes_by_id: dict[int, tuple[int, int, int, int]] = {}
    for object_id, box_xyxy in boxes:
        boxes_by_id[object_id or len(boxes_by_id) + 1] = box_xyxy
    points_by_id: dict[int, tuple[tuple[int, int], ...]] = {}
    for object_id, point_xy in points:
        points_by_id[object_id or 1] = (*points_by_id.get(object_id or 1, ()), point_xy)
    hints = {
        object_id: Hint(points_by_id.get(object_id, ()), boxes_by_id.get(object_id))
        for object_id in boxes_by_id.keys() | points_by_id.keys()
    }
    first = next(frames, None)
    if first is None:
        raise SourceError("the source holds no frame")
    (encoded,) = encode([first], sam, batch_size=1)
    return first, reference_from_hints(encoded, hints, sam)
