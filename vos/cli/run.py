"""``vos run``, also ``vos-run``."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

import click

from vos.cli.command import Command, InputOption, ObjectsOption, OutputOption, version_option
from vos.cli.export import check_exports, export_option, run_exports, soft_option
from vos.cli.interrupt import stopping_on_interrupt
from vos.cli.method_options import method_config, method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.moments import Moment, MomentRange, ObjectRange
from vos.cli.process import prepare_process, without_garbage
from vos.cli.progress import Progress, speed
from vos.cli.references import BoxHint, ClickHint, FrameMask, preview, references_of
from vos.cli.stdin import StandardInput

_FILE = click.Path(path_type=Path)


class ObjectName(click.ParamType[tuple[int, str]]):
    """An object and what to call it: ``3:person``."""

    name = "id:name"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, str]:
        """Read the id and the name."""
        object_id, _, name = value.partition(":")
        if not (object_id.isdecimal() and len(object_id) <= 18 and name):
            self.fail(f"{value!r} is not ID:NAME, such as 3:person", param, ctx)
        return int(object_id), name


class ObjectColour(click.ParamType[tuple[int, tuple[int, int, int]]]):
    """An object and its colour: ``3:#ff8800``."""

    name = "id:#rrggbb"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, tuple[int, int, int]]:
        """Read the id and the colour."""
        match = re.fullmatch(r"([0-9]{1,18}):#?([0-9a-fA-F]{6})", value)
        if match is None:
            self.fail(f"{value!r} is not ID:#RRGGBB, such as 3:#ff8800", param, ctx)
        red, green, blue = bytes.fromhex(match[2])
        return int(match[1]), (red, green, blue)


@click.command("run", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", type=StandardInput())
@click.option(
    "--start",
    cls=InputOption,
    type=Moment(),
    help="First frame to use: a number, counted from 0, or a time such as 2.5s or 1:30.",
)
@click.option(
    "--end",
    cls=InputOption,
    type=Moment(),
    help="Stop before this frame: a number, or a time.",
)
@click.option(
    "--every",
    cls=InputOption,
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Use every Nth frame.",
)
@click.option(
    "--decoder",
    cls=InputOption,
    type=click.Choice(["av", "decord"]),
    default="av",
    show_default=True,
    help="Video decoder. decord reads ahead without limit: long videos fill the memory.",
)
@max_pixels_option
@click.option(
    "--ref-mask",
    cls=ObjectsOption,
    type=StandardInput(),
    metavar="FILE",
    help="Mask of the first frame used: a picture of object ids, of one colour per object, or in "
    "black and white.",
)
@click.option(
    "--ref-point",
    "ref_points",
    cls=ObjectsOption,
    type=ClickHint(),
    multiple=True,
    help="Click on the object, instead of a mask. X and Y are pixels from the top left corner. "
    "!X,Y or -X,Y is a click beside it. FRAME is a number or a time such as 4.8s or 0:04.8. "
    "Without it, the first frame used. ID is the object; without it, object 1. Examples: 120:X,Y "
    "is in frame 120; 120:2:X,Y is object 2 in frame 120; :2:X,Y is object 2 in the first frame. "
    "Repeatable.",
)
@click.option(
    "--ref-box",
    "ref_boxes",
    cls=ObjectsOption,
    type=BoxHint(),
    multiple=True,
    help="Box around the object, instead of a mask: left, top, right and bottom in pixels. FRAME "
    "and ID as above. Boxes of one frame without ID are objects 1, 2, ... Repeatable.",
)
@click.option(
    "--ref",
    "later_refs",
    cls=ObjectsOption,
    type=FrameMask(),
    multiple=True,
    help="Mask of any frame, given by number or time. vos tracks its objects from there in both "
    "directions, until another mask shows them. An object that the mask does not show may still "
    "be in the frame. Repeatable.",
)
@click.option(
    "--absent",
    "absent",
    cls=ObjectsOption,
    type=ObjectRange(),
    multiple=True,
    help="Frames in which an object is absent, from FIRST to LAST inclusive. It has no mask there. "
    "After them, vos searches the whole frame for it. Repeatable.",
)
@click.option(
    "--drop",
    "dropped",
    cls=ObjectsOption,
    type=click.IntRange(1, 254),
    multiple=True,
    metavar="ID",
    help="Leave out an object that a mask shows. Repeatable.",
)
@click.option(
    "--rename",
    "names",
    cls=ObjectsOption,
    type=ObjectName(),
    multiple=True,
    help="Name of an object in the overlay, the summary and exports. Repeatable.",
)
@click.option(
    "--colour",
    "colours",
    cls=ObjectsOption,
    type=ObjectColour(),
    multiple=True,
    help="Colour of an object in the overlay and in vos app. Label maps keep the palette of "
    "DAVIS. Repeatable.",
)
@click.option(
    "--range",
    "tracked",
    cls=ObjectsOption,
    type=MomentRange(),
    help="Track and write only the frames from FIRST to LAST inclusive. Masks may be of other "
    "frames.",
)
@click.option(
    "--causal",
    cls=ObjectsOption,
    is_flag=True,
    help="Segment each frame from earlier frames only: a mask counts from its frame on, and vos "
    "tracks nothing backwards.",
)
@click.option(
    "--resize-mask",
    cls=ObjectsOption,
    is_flag=True,
    help="Accept masks of another size than the video, and resize them.",
)
@click.option(
    "--save-ref",
    cls=ObjectsOption,
    type=_FILE,
    metavar="FILE",
    help="Write the mask of the first reference as a PNG, as vos uses it.",
)
@click.option(
    "--preview",
    cls=ObjectsOption,
    type=_FILE,
    metavar="FILE.png",
    help="Draw the masks of all references on their frames, and stop.",
)
@click.option(
    "--out",
    cls=OutputOption,
    type=_FILE,
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option("--name", cls=OutputOption, help="Name of the results.  [default: the video's]")
@click.option(
    "--overwrite", cls=OutputOption, is_flag=True, help="Replace earlier results of this name."
)
@click.option(
    "--resume",
    cls=OutputOption,
    is_flag=True,
    help="Go on with a run that broke off. The results are the same as without the break.",
)
@click.option(
    "--update",
    cls=OutputOption,
    is_flag=True,
    help="Track again only what changed since the last run: masks, clicks, boxes, --absent, "
    "--drop, --range, --rename, --colour. All other label maps stay as they are.",
)
@click.option(
    "--save-every",
    cls=OutputOption,
    type=click.FloatRange(0),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Time between two saved states, from which --resume goes on.",
)
@click.option(
    "--alpha",
    cls=OutputOption,
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Opacity of the overlay's colours.",
)
@click.option(
    "--min-score",
    cls=OutputOption,
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="A mask with a lower score is doubtful: its contour is dashed in the overlay.",
)
@click.option("--no-overlay", cls=OutputOption, is_flag=True, help="Write no overlay video.")
@soft_option
@export_option
@method_options
@model_options
@version_option
def run_command(ctx: click.Context) -> None:
    """Segment objects in every frame of VIDEO, from masks, clicks or boxes in any frame.

    \b
      vos-run video.mp4 --ref-mask mask.png
      vos-run video.mp4 --ref-point 120:410,220 --out results
      vos-run video.mp4 --ref-mask mask.png --ref 120:fixed.png --update

    VIDEO is a file, a folder of images, the URL of a stream, or - for the standard input. The mask
    may be - instead. Results are FOLDER/<name>/00000.png ... (palette PNGs, as in DAVIS),
    FOLDER/<name>.mp4 (overlay) and FOLDER/<name>.json (scores, boxes, settings).

    After Ctrl-C, vos finishes the current frame; the same command with --resume goes on. After a
    crash, --resume goes on from the last saved state. Streams and cameras cannot be resumed.
    """  # noqa: D301
    options = ctx.params
    if options["resume"] + options["overwrite"] + options["update"] > 1:
        raise click.UsageError("give only one of --resume, --overwrite and --update")
    config = replace(method_config(ctx), soft=options["soft"])
    prepare_process(options["num_threads"])
    if options["quiet"]:
        logging.getLogger("vos").setLevel(logging.WARNING)
    references = references_of(ctx)
    check_exports(ctx, options["video"])

    with without_garbage():
        from vos.run.job import Absence, Job, JobOutputs
        from vos.run.run_job import run_job
        from vos.sink.tallies import report_objects
        from vos.source import Selection

    job = Job(
        source=options["video"],
        references=references,
        selection=Selection(
            options["start"],
            options["end"],
            options["every"],
            options["decoder"],
            options["max_pixels"],
        ),
        outputs=JobOutputs(
            folder=options["out"],
            name=options["name"],
            overlay_alpha=None if options["no_overlay"] else options["alpha"],
            min_score=options["min_score"],
            reference_path=options["save_ref"],
        ),
        model=model_choice(ctx),
        config=config,
        names=dict(options["names"]),
        colours=dict(options["colours"]),
        absences=tuple(
            Absence(object_id=object_id, first=first, last=last)
            for object_id, first, last in options["absent"]
        ),
        dropped=options["dropped"],
        tracked=options["tracked"],
        causal=options["causal"],
    )
    if options["preview"] is not None:
        preview(job, options["preview"], overwrite=options["overwrite"])
        return
    with stopping_on_interrupt() as stop, Progress(quiet=options["quiet"]) as progress:
        result = run_job(
            job,
            on_progress=progress.show_job,
            resume=options["resume"],
            overwrite=options["overwrite"],
            update=options["update"],
            save_every_seconds=options["save_every"],
            should_stop=stop.is_set,
        )
    written = ", ".join(map(str, result.outputs.written))
    pace = speed(result.num_done, result.num_before, result.seconds)
    click.echo(f"{'finished before' if result.was_complete else pace}: {written}")
    for line in report_objects(result.tallies, result.outputs.names):
        click.echo(line)
    if not result.is_complete:
        raise click.Abort(result.what_is_left)
    run_exports(ctx, result.outputs.folder, result.outputs.name)
