"""``vos run``, also ``vos-run``."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vos.cli.options import (
    Moment,
    inference_options,
    max_pixels_option,
    run_config,
)
from vos.cli.pull import pull
from vos.cli.references import (
    Boxes,
    Coordinates,
    FrameMask,
    Points,
    check_used,
    describe_references,
    later_reference,
    segment_hints,
)
from vos.config import Method, PriorPolicy, SkipPadding
from vos.errors import InputError
from vos.sam.fast.allocator import keep_freed_memory

if TYPE_CHECKING:
    from vos.records import Labels
    from vos.segment.forward import Progress


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
    type=Coordinates("X0,Y0,X1,Y1"),
    multiple=True,
    help="Instead of a mask: a box around an object. Repeatable, one object each; "
    "ID:X0,Y0,X1,Y1 names the object.",
)
@click.option(
    "--ref-point",
    "ref_points",
    type=Coordinates("X,Y"),
    multiple=True,
    help="Instead of a mask: a click on the object. Repeatable; all clicks are of "
    "object 1 unless ID:X,Y names another.",
)
@click.option(
    "--ref",
    "later_refs",
    type=FrameMask(),
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
    "--resume",
    is_flag=True,
    help="Go on with a run that broke off; the results are those of a run that did not.",
)
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How often to save what --resume needs.",
)
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
@max_pixels_option
@inference_options
def run_command(
    video: str,
    ref_mask: Path | None,
    ref_boxes: Boxes,
    ref_points: Points,
    later_refs: tuple[tuple[int, Path], ...],
    save_ref: Path | None,
    resize_mask: bool,
    out: Path,
    name: str | None,
    overwrite: bool,
    resume: bool,
    save_every: float,
    alpha: float,
    no_overlay: bool,
    start: int | float | None,
    end: int | float | None,
    every: int,
    decoder: Literal["av", "decord"],
    max_pixels: int,
    model: str,
    checkpoint: Path | None,
    device: str,
    dtype: str,
    skip_padding: SkipPadding,
    compiled: bool,
    batch_size: int | None,
    method: Method,
    prior: PriorPolicy | None,
    fit_steps: int,
    published: bool,
    quiet: bool,
) -> None:
    """Segment the objects of one mask in every frame of VIDEO.

    VIDEO is a file, a folder of images, or the URL of a stream. The mask belongs to the first
    frame used. Results are FOLDER/<name>/00000.png ... (palette PNGs, as in DAVIS),
    FOLDER/<name>.mp4 (overlay) and FOLDER/<name>.json (scores, boxes, settings).

    Ctrl-C finishes the frame in hand; the same command with --resume goes on. So it does after a
    crash, from what was saved last. Streams and cameras cannot be resumed.
    """
    for frame, _ in later_refs:
        check_used(frame, start, end, every)
    has_hints = bool(ref_boxes or ref_points)
    if (ref_mask is None) != has_hints:
        raise click.UsageError("give a --ref-mask, or else --ref-box and --ref-point")
    if resume and overwrite:
        raise click.UsageError("give either --resume or --overwrite")
    frames_with_ref = [frame for frame, _ in later_refs]
    if len(set(frames_with_ref)) < len(frames_with_ref):
        raise click.UsageError("give at most one --ref for each frame")
    from vos.masks import match_frame, read_mask, write_label_png
    from vos.run.outputs import Outputs, describe_run
    from vos.run.replacing import check_inputs_kept
    from vos.run.resume import (
        Selected,
        describe_source,
        going_on,
        is_finished,
        load_saved,
        open_again,
    )
    from vos.run.saving import write_and_save
    from vos.sam.load import load_sam
    from vos.segment.forward import segment_steps
    from vos.sink.tallies import ObjectTallies, report_objects
    from vos.source.sound import sound_of

    started = time.monotonic()
    inputs: list[str | Path] = [
        video,
        *([ref_mask] if ref_mask else []),
        *(mask for _, mask in later_refs),
    ]
    config = run_config(method, prior, fit_steps, published, batch_size)
    reference = None if ref_mask is None else read_mask(ref_mask, max_pixels=max_pixels)
    selected = Selected(video, start, end, every, decoder, max_pixels)
    with ExitStack() as stack:
        source = stack.enter_context(selected.open())
        if reference is not None:
            reference = match_frame(reference, source.info.frame_hw, resize=resize_mask)
        outputs = Outputs(
            folder=out,
            name=name or source.info.name,
            overlay_alpha=None if no_overlay else alpha,
            overwrite=overwrite,
        )
        outputs.check_inputs_kept(inputs)
        if save_ref is not None:
            check_inputs_kept(inputs, [save_ref])
        outputs.check_frame_size(source.info.frame_hw)
        described = describe_source(video)
        if resume and described is None:
            raise InputError(f"{video} can be read only once, so its run cannot be resumed")
        if not resume:
            outputs.check_free()
        later = {
            frame: later_reference(
                video, frame, mask, decoder, resize=resize_mask, max_pixels=max_pixels
            )
            for frame, mask in later_refs
        }
        keep_freed_memory()
        sam = load_sam(
            model, checkpoint, device, dtype, compiled=compiled, skip_padding=skip_padding
        )
        header = {
            **describe_run(video, sam, config),
            "selection": {"start": start, "end": end, "every": every, "decoder": decoder},
            "references": describe_references(reference, ref_boxes, ref_points, later),
            "overlay_alpha": outputs.overlay_alpha,
            "min_score": outputs.min_score,
            "source_file": described,
        }
        if resume and is_finished(outputs, header):
            click.echo("finished before: " + ", ".join(map(str, outputs.written)))
            return
        begin: Labels | Progress
        saved = load_saved(outputs, header, sam.device) if resume else None
        if saved is not None:
            source.close()
            info, frames = stack.enter_context(open_again(selected, saved.mark))
            begin = saved.progress
        else:
            if outputs.unfinished_folder.exists():  # it broke off before the first save
                outputs = replace(outputs, overwrite=True)
            outputs.check_free()
            info, frames = source.info, iter(source)
            if reference is None:
                first, reference = segment_hints(frames, ref_boxes, ref_points, sam)
                frames = chain([first], frames)
            if save_ref is not None:
                write_label_png(save_ref, reference)
            begin = reference
        tallies = ObjectTallies(outputs.min_score)
        steps = segment_steps(frames, begin, sam, config, later_references=later)
        if saved is not None:
            steps = going_on(steps, outputs)
        results = write_and_save(
            steps,
            outputs,
            info,
            header,
            sam,
            batch_size=batch_size,
            every_seconds=None if described is None else save_every,
            saved=saved,
            frames=frames,
            sound=None if no_overlay else sound_of(video, max_pixels=max_pixels),
            tallies=tallies,
            started=started,
        )
        num_before = 0 if saved is None else saved.num_frames
        pull(results, outputs, info.num_frames, num_before, quiet=quiet)
    for line in report_objects(tallies.rows()):
        click.echo(line)
