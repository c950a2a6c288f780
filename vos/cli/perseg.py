"""``vos perseg``."""

from __future__ import annotations

from pathlib import Path

import click

from vos.cli.command import Command, InputOption, OutputOption
from vos.cli.method_options import image_config, image_method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.process import prepare_process
from vos.cli.progress import show_pictures
from vos.cli.tables import print_iou
from vos.errors import SourceError, VosError


@click.command("perseg", cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--out",
    cls=OutputOption,
    type=click.Path(path_type=Path),
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option(
    "--reference",
    "reference_name",
    cls=InputOption,
    default="00",
    show_default=True,
    metavar="STEM",
    help="Each class' reference.",
)
@click.option(
    "--class",
    "classes",
    cls=InputOption,
    multiple=True,
    metavar="NAME",
    help="Only it. Repeatable.",
)
@click.option("--overlay", cls=OutputOption, is_flag=True, help="Write overlays too.")
@click.option(
    "--overwrite", cls=OutputOption, is_flag=True, help="Replace earlier results in this folder."
)
@max_pixels_option
@image_method_options
@model_options
def perseg_command(ctx: click.Context) -> None:
    """Find each class' object in all of its pictures, and score the results.

    ROOT holds Images/<class>/NN.jpg and Annotations/<class>/NN.png. All that is not background
    in the reference's mask is one object. Results are FOLDER/<class>/NN.png. The reference is
    not scored. A class that fails is reported at the end; the others go on.
    """
    options = ctx.params
    config = image_config(ctx)
    prepare_process(options["num_threads"])

    from vos.run.run_job import load_model
    from vos.score import evaluate_images
    from vos.sets.image_outputs import ImageOutputs
    from vos.sets.perseg import find_perseg_classes
    from vos.sets.pictures import Pictures, read_references, segment_pictures

    root, max_pixels = options["root"], options["max_pixels"]
    stem = options["reference_name"]
    found = find_perseg_classes(root, reference_name=stem, classes=options["classes"])
    outputs = {
        each.name: ImageOutputs(
            folder=options["out"] / each.name,
            overlay_alpha=0.5 if options["overlay"] else None,
            overwrite=options["overwrite"],
        )
        for each in found
    }
    for each in found:
        picture, mask = each.reference
        outputs[each.name].check_free(each.pictures, [picture, mask.parent])
    sam = load_model(model_choice(ctx))
    failures: dict[str, str] = {}
    for number, each in enumerate(found, start=1):
        click.echo(f"[{number}/{len(found)}] {each.name}: {len(each.pictures)} pictures")
        pictures = Pictures(each.pictures, max_pixels=max_pixels)
        written = outputs[each.name].written
        try:
            references = read_references([each.reference], join_objects=True, max_pixels=max_pixels)
            results = segment_pictures(pictures, references, outputs[each.name], sam, config)
            show_pictures(results, len(each.pictures), written, quiet=options["quiet"])
        except VosError as error:
            failures[each.name] = str(error)
            click.echo(f"failed: {error}", err=True)
        if pictures.failures:
            failures[each.name] = "; ".join(map(str, pictures.failures.values()))
    done = [each.name for each in found if each.name not in failures]
    if done:
        print_iou(evaluate_images(root, options["out"], reference_name=stem, classes=done))
    if failures:
        lines = [f"{name}: {error}" for name, error in failures.items()]
        raise SourceError(
            f"{len(failures)} of {len(found)} classes failed:\n  " + "\n  ".join(lines)
        )
