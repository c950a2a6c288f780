"""``vos export``, and ``--export`` of the commands that make results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from vos.cli.command import Command, InputOption, OutputOption
from vos.cli.progress import Progress

if TYPE_CHECKING:
    from vos.export.clip import ExportOptions
    from vos.run.read_results import Results

_PATH = click.Path(path_type=Path)
FORMAT_NAMES = (
    *("coco", "youtube-vis", "npz", "sav", "yolo", "cvat", "label-studio"),
    *("matte", "matte-mp4", "rgba", "exr", "prores", "vp9", "ffv1"),
    *("webp", "gif", "apng", "cutout", "sheet", "timeline"),
)


class CleanUpOption(click.Option):
    """What is done to the masks before."""

    heading: ClassVar[str] = "Clean-up"


export_option = click.option(
    "--export",
    "exports",
    cls=OutputOption,
    type=click.Choice(FORMAT_NAMES),
    metavar="FORMAT",
    multiple=True,
    help="Also export the results, as vos export does. vos export --help lists the formats. "
    "Repeatable.",
)

soft_option = click.option(
    "--soft",
    cls=OutputOption,
    is_flag=True,
    help="Keep soft edges from the tracker's logits in FOLDER/<name>.edges, and export with them.",
)


@click.command("export", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("results", type=_PATH)
@click.option(
    "--name",
    cls=InputOption,
    help="Name of the results, if the folder holds several.  [default: all of them]",
)
@click.option(
    "--source", cls=InputOption, metavar="VIDEO", help="Path of the video, if it was moved."
)
@click.option(
    "--to",
    "formats",
    cls=OutputOption,
    type=click.Choice(FORMAT_NAMES),
    metavar="FORMAT",
    multiple=True,
    required=True,
    help=f"Format: {', '.join(FORMAT_NAMES)}. Repeatable.",
)
@click.option(
    "--out",
    cls=OutputOption,
    type=_PATH,
    metavar="FOLDER",
    help="Folder of the exports, with a folder for each format.  [default: RESULTS/exports]",
)
@click.option("--overwrite", cls=OutputOption, is_flag=True, help="Replace earlier exports.")
@click.option(
    "--per-object",
    cls=OutputOption,
    is_flag=True,
    help="Write one video or sequence for each object, in formats for editors.",
)
@click.option(
    "--no-images",
    cls=OutputOption,
    is_flag=True,
    help="Write only the annotations, without the frames as pictures.",
)
@click.option(
    "--premultiply",
    cls=OutputOption,
    is_flag=True,
    help="rgba: multiply the colours by the opacity.  [default: straight alpha]",
)
@click.option(
    "--first-number",
    cls=OutputOption,
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of the first picture of a sequence for editors.",
)
@click.option(
    "--background",
    cls=OutputOption,
    default="white",
    show_default=True,
    metavar="COLOUR",
    help="cutout: what is behind the objects: blur, the name of a colour, or #RRGGBB.",
)
@click.option(
    "--soft",
    cls=CleanUpOption,
    is_flag=True,
    help="Let edges fade over 1.5 pixels: by the logits, if vos-run --soft kept them, else by the "
    "distance to the outline.",
)
@click.option(
    "--feather",
    "feather_px",
    cls=CleanUpOption,
    type=click.FloatRange(0),
    default=0,
    metavar="PX",
    help="Blur the edges by this many pixels.",
)
@click.option(
    "--grow",
    "grow_px",
    cls=CleanUpOption,
    type=float,
    default=0,
    metavar="PX",
    help="Grow objects by this many pixels; a negative number shrinks them.",
)
@click.option(
    "--fill-holes",
    "fill_holes_px",
    cls=CleanUpOption,
    type=click.IntRange(0),
    default=0,
    metavar="PX2",
    help="Fill holes of at most this many pixels.",
)
@click.option(
    "--min-area",
    "min_area_px",
    cls=CleanUpOption,
    type=click.IntRange(0),
    default=0,
    metavar="PX2",
    help="Remove pieces of an object with fewer pixels.",
)
@click.option(
    "--smooth-time",
    cls=CleanUpOption,
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Give each pixel the label that it has most often in the N frames around; N is odd.",
)
@click.option("-q", "--quiet", cls=OutputOption, is_flag=True, help="Print no progress.")
def export_command(ctx: click.Context) -> None:
    """Export finished results for editors, annotators and trainers.

    \b
      vos export results --to coco --to prores
      vos export results/clip.json --to matte --per-object --feather 2

    RESULTS is the folder that vos-run, vos davis or vos images wrote, or a summary in it. The files
    are FOLDER/<format>/<name>...; docs/exports.md says how to open them in each program. To go on
    with an export that broke off, repeat the command.
    """  # noqa: D301
    options = ctx.params
    if options["smooth_time"] % 2 == 0:
        raise click.UsageError(
            f"--smooth-time takes an odd number of frames, got {options['smooth_time']}"
        )

    from vos.export.clean_up import CleanUp
    from vos.export.clip import ExportOptions
    from vos.run.read_results import read_results, result_names

    clean_up_names = ("soft", "feather_px", "grow_px", "fill_holes_px", "min_area_px")
    export_options = ExportOptions(
        clean_up=CleanUp(
            smooth_time=options["smooth_time"],
            **{name: options[name] for name in clean_up_names},
        ),
        per_object=options["per_object"],
        images=not options["no_images"],
        premultiply=options["premultiply"],
        first_number=options["first_number"],
        background=options["background"],
    )
    names = [options["name"]]
    if options["name"] is None and options["results"].is_dir():
        names = [*result_names(options["results"])] or names
    if len(names) > 1 and options["source"] is not None:
        raise click.UsageError(
            "--source is the path of one video, and RESULTS holds several: choose one with --name"
        )
    for name in names:
        _export(
            ctx,
            read_results(options["results"], name),
            options["formats"],
            options["out"],
            export_options,
            options["source"],
            overwrite=options["overwrite"],
        )


def check_exports(ctx: click.Context, source: str) -> None:
    """Refuse ``--export`` of a source that cannot be read again, before its run.

    Raises:
        click.UsageError: a format needs the frames once more.
    """
    if not ctx.params["exports"]:
        return

    from vos.export.clip import ExportOptions
    from vos.export.formats import FORMATS
    from vos.source import can_read_again, is_url

    is_once = is_url(source) or (Path(source).exists() and not can_read_again(source))
    for name in ctx.params["exports"] if is_once else ():
        if FORMATS[name].needs_pixels(ExportOptions()):
            raise click.UsageError(
                f"--export {name} reads the frames again, and {source} can be read only once; "
                "export afterwards, with vos export --source"
            )


def run_exports(ctx: click.Context, folder: Path, name: str) -> None:
    """Export what a command has made, as its ``--export`` says.

    Raises:
        VosError: as :func:`vos.export.export.export_results`.
    """
    formats = ctx.params["exports"]
    if not formats:
        return

    from vos.export.clean_up import CleanUp
    from vos.export.clip import ExportOptions
    from vos.run.read_results import read_results

    # Whoever replaces or updates results wants their exports to follow.
    is_replaced = ctx.params["overwrite"] or ctx.params.get("update", False)
    results = read_results(folder, name)
    options = ExportOptions(clean_up=CleanUp(soft=ctx.params.get("soft", False)))
    _export(ctx, results, formats, None, options, None, overwrite=is_replaced)


def _export(
    ctx: click.Context,
    results: Results,
    formats: tuple[str, ...],
    out: Path | None,
    options: ExportOptions,
    source: str | None,
    *,
    overwrite: bool,
) -> None:
    from vos.export.export import export_results

    with Progress(quiet=ctx.params["quiet"]) as progress:
        exported = export_results(
            results,
            formats,
            out,
            options,
            source=source,
            overwrite=overwrite,
            on_frame=lambda frame: progress.show(frame.number + 1, len(results.frames)),
        )
    for each in exported:
        before = ", exported before" if each.was_complete else ""
        click.echo(f"{each.name}: {each.folder / results.name}*{before}")
