"""``vos perseg``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from vos.cli.batch_progress import run_set
from vos.cli.command import Command, InputOption, OutputOption
from vos.cli.engine_options import engine_options, for_workers, make_engine
from vos.cli.method_options import image_config, image_method_options
from vos.cli.model_options import max_pixels_option, model_choice, model_options
from vos.cli.process import prepare_process
from vos.cli.tables import print_iou
from vos.errors import SourceError


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
    help="Name of the reference picture in each class, without its ending.",
)
@click.option(
    "--class",
    "classes",
    cls=InputOption,
    multiple=True,
    metavar="NAME",
    help="Run only this class. Repeatable.",
)
@click.option("--overlay", cls=OutputOption, is_flag=True, help="Also write overlays.")
@click.option(
    "--overwrite", cls=OutputOption, is_flag=True, help="Replace earlier results in this folder."
)
@max_pixels_option
@engine_options
@image_method_options
@model_options
def perseg_command(ctx: click.Context) -> None:
    """Find the object of each class in all pictures of the class, and score the results.

    ROOT holds Images/<class>/NN.jpg and Annotations/<class>/NN.png. Every pixel of the reference's
    mask that is not background belongs to one object. Results are FOLDER/<class>/NN.png. The
    reference is not scored. A class that fails does not stop the others; its error is printed at
    the end.
    """
    options = ctx.params
    config = image_config(ctx)
    prepare_process(options["num_threads"])

    from vos.batch.pending import Pending
    from vos.batch.sets import PictureClass, class_worker
    from vos.batch.worker import WorkerSettings
    from vos.sam.weights.registry import find_model
    from vos.score import evaluate_images
    from vos.sets.image_outputs import ImageOutputs
    from vos.sets.perseg import find_perseg_classes

    root, out = (for_workers(options[name], ctx) for name in ("root", "out"))
    max_pixels = options["max_pixels"]
    stem = options["reference_name"]
    found = find_perseg_classes(root, reference_name=stem, classes=options["classes"])
    outputs = {
        each.name: ImageOutputs(
            folder=out / each.name,
            overlay_alpha=0.5 if options["overlay"] else None,
            overwrite=options["overwrite"],
        )
        for each in found
    }
    for each in found:
        picture, mask = each.reference
        outputs[each.name].check_free(each.pictures, [picture, mask.parent])
    tasks = [
        PictureClass(
            name=each.name,
            found=each,
            outputs=outputs[each.name],
            model=model_choice(ctx),
            config=config,
            max_pixels=max_pixels,
        )
        for each in found
    ]
    find_model(options["model"])
    engine, num_threads = make_engine(ctx)
    worker = WorkerSettings(num_threads=num_threads, prepare=prepare_process)
    failures = run_set(
        engine,
        Pending(tasks, max_tries=options["max_tries"]),
        partial(class_worker, worker),
        num_tasks=len(tasks),
        unit="picture",
        quiet=options["quiet"],
        when_stopped=f"the results until now are in {out}",
    )
    done = [each.name for each in found if each.name not in failures]
    if done:
        print_iou(evaluate_images(root, out, reference_name=stem, classes=done))
    if failures:
        lines = [f"{name}: {error}" for name, error in failures.items()]
        raise SourceError(
            f"{len(failures)} of {len(found)} classes failed:\n  " + "\n  ".join(lines)
        )
