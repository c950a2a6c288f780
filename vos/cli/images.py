"""``vos images``."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import click

from vos.cli.command import Command, MethodOption, ObjectsOption, OutputOption
from vos.cli.export import export_option, run_exports
from vos.cli.method_options import INSTANCE_RATIO, image_config, image_method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.process import prepare_process
from vos.cli.progress import show_pictures
from vos.errors import SourceError

_PATH = click.Path(path_type=Path)


class _Pair(click.ParamType[tuple[Path, Path]]):
    """``IMAGE:MASK``, split at the colon that leaves a file on each side, else at the last."""

    name = "IMAGE:MASK"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, Path]:
        colons = [index for index, letter in enumerate(value) if letter == ":"]
        pairs = [(Path(value[:index]), Path(value[index + 1 :])) for index in colons]
        if not pairs or ":" in (value[0], value[-1]):
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        both = [pair for pair in pairs if pair[0].exists() and pair[1].exists()]
        return both[0] if both else pairs[-1]


@click.command("images", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref_image", type=_PATH)
@click.argument("ref_mask", type=_PATH)
@click.argument("images", type=_PATH, nargs=-1, required=True)
@click.option(
    "--ref",
    "more_references",
    cls=ObjectsOption,
    type=_Pair(),
    multiple=True,
    help="A further reference picture and its mask. Repeatable.",
)
@click.option(
    "--instances",
    "num_instances",
    cls=ObjectsOption,
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="How often an object may appear in one picture.",
)
@click.option(
    "--instance-ratio",
    cls=ObjectsOption,
    type=click.FloatRange(0, 1),
    default=INSTANCE_RATIO,
    show_default=True,
    help="A further instance needs at least this share of the similarity of the first one.",
)
@click.option(
    "--maybe-absent",
    cls=ObjectsOption,
    is_flag=True,
    help="Allow pictures without the object: leave it out where its score is below 0.5.",
)
@click.option(
    "--published",
    cls=MethodOption,
    is_flag=True,
    help="Exactly the published method: a mask may have several pieces.",
)
@click.option(
    "--out",
    cls=OutputOption,
    type=_PATH,
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option(
    "--for",
    "training",
    cls=OutputOption,
    type=click.Choice(["dreambooth", "onetrainer"]),
    help="Also write a training set: pictures, masks (white = learn) and cut-outs.",
)
@click.option(
    "--resize-mask",
    cls=ObjectsOption,
    is_flag=True,
    help="Accept masks of another size than the picture, and resize them.",
)
@click.option(
    "--overwrite", cls=OutputOption, is_flag=True, help="Replace earlier results in this folder."
)
@click.option(
    "--alpha",
    cls=OutputOption,
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Opacity of the overlays' colours.",
)
@click.option("--no-overlay", cls=OutputOption, is_flag=True, help="Write no overlays.")
@export_option
@max_pixels_option
@image_method_options
@model_options
def images_command(ctx: click.Context) -> None:
    """Find the objects of REF_IMAGE, which REF_MASK marks, in IMAGES.

    IMAGES are pictures of any size, and folders of pictures. Results are FOLDER/<stem>.png
    (palette PNGs of object ids), FOLDER/overlays/<stem>.jpg and FOLDER/summary.json (scores,
    boxes, settings).
    """
    options = ctx.params
    config = image_config(
        ctx,
        maybe_absent=options["maybe_absent"],
        connected=not options["published"],
        instance_ratio=options["instance_ratio"],
    )
    prepare_process(options["num_threads"])

    from vos.run.run_job import load_model
    from vos.sets.image_outputs import ImageOutputs
    from vos.sets.pictures import find_pictures, read_references, segment_pictures

    max_pixels = options["max_pixels"]
    pictures = find_pictures(options["images"], max_pixels=max_pixels)
    outputs = ImageOutputs(
        folder=options["out"],
        overlay_alpha=None if options["no_overlay"] else options["alpha"],
        training=options["training"],
        overwrite=options["overwrite"],
    )
    reference_files = [(options["ref_image"], options["ref_mask"]), *options["more_references"]]
    outputs.check_free(pictures.files, chain.from_iterable(reference_files))
    references = read_references(
        reference_files, resize=options["resize_mask"], max_pixels=max_pixels
    )
    sam = load_model(model_choice(ctx))
    results = segment_pictures(
        pictures, references, outputs, sam, config, num_instances=options["num_instances"]
    )
    show_pictures(results, len(pictures.files), outputs.written, quiet=options["quiet"])
    run_exports(ctx, outputs.folder, outputs.summary_path.stem)
    if pictures.failures:
        raise SourceError(
            f"{len(pictures.failures)} of {len(pictures.files)} pictures cannot be read: "
            + ", ".join(map(str, pictures.failures))
        )
