"""``vos perseg``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vos.cli.options import image_config, image_options, max_pixels_option, print_progress
from vos.config import Method, SkipPadding
from vos.errors import SourceError, VosError
from vos.sam.fast.allocator import keep_freed_memory

if TYPE_CHECKING:
    from vos.score.images import ImageEvaluation


@click.command("perseg", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("root", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option(
    "--reference",
    "reference_name",
    default="00",
    show_default=True,
    metavar="STEM",
    help="Each class' reference.",
)
@click.option("--class", "classes", multiple=True, metavar="NAME", help="Only it. Repeatable.")
@click.option("--overlay", is_flag=True, help="Write overlays too.")
@click.option("--overwrite", is_flag=True, help="Replace earlier results in this folder.")
@max_pixels_option
@image_options
def perseg_command(
    root: Path,
    out: Path,
    reference_name: str,
    classes: tuple[str, ...],
    overlay: bool,
    overwrite: bool,
    max_pixels: int,
    model: str,
    checkpoint: Path | None,
    device: str,
    dtype: str,
    skip_padding: SkipPadding,
    compiled: bool,
    batch_size: int | None,
    method: Method,
    fit_steps: int,
    quiet: bool,
) -> None:
    """Find each class' object in all of its pictures, and score the results.

    ROOT holds Images/<class>/NN.jpg and Annotations/<class>/NN.png. All that is not background
    in the reference's mask is one object. Results are FOLDER/<class>/NN.png. The reference is
    not scored. A class that fails is reported at the end; the others go on.
    """
    from vos.sam.load import load_sam
    from vos.score import evaluate_images
    from vos.sets.image_outputs import ImageOutputs
    from vos.sets.perseg import find_perseg_classes
    from vos.sets.pictures import Pictures, read_references, segment_pictures

    config = image_config(method, fit_steps, batch_size)
    found = find_perseg_classes(root, reference_name=reference_name, classes=classes)
    outputs = {
        each.name: ImageOutputs(
            folder=out / each.name, overlay_alpha=0.5 if overlay else None, overwrite=overwrite
        )
        for each in found
    }
    for each in found:
        picture, mask = each.reference
        outputs[each.name].check_free(each.pictures, [picture, mask.parent])
    keep_freed_memory()
    sam = load_sam(model, checkpoint, device, dtype, compiled=compiled, skip_padding=skip_padding)
    failures: dict[str, str] = {}
    for number, each in enumerate(found, start=1):
        click.echo(f"[{number}/{len(found)}] {each.name}: {len(each.pictures)} pictures")
        pictures = Pictures(each.pictures, max_pixels=max_pixels)
        try:
            references = read_references([each.reference], join_objects=True, max_pixels=max_pixels)
            pairs = segment_pictures(pictures, references, outputs[each.name], sam, config)
            print_progress(
                pairs,
                len(each.pictures),
                outputs[each.name].written,
                quiet=quiet,
                unit="picture",
            )
        except VosError as error:
            failures[each.name] = str(error)
            click.echo(f"failed: {error}", err=True)
        if pictures.failures:
            failures[each.name] = "; ".join(map(str, pictures.failures.values()))
    done = [each.name for each in found if each.name not in failures]
    if done:
        click.echo(_table(evaluate_images(root, out, reference_name=reference_name, classes=done)))
    if failures:
        lines = [f"{name}: {error}" for name, error in failures.items()]
        raise SourceError(
            f"{len(failures)} of {len(found)} classes failed:\n  " + "\n  ".join(lines)
        )


def _table(evaluation: ImageEvaluation) -> str:
    """Lay out IoU and boundary IoU per class, and their means."""
    rows = [("class", "images", "IoU", "boundary IoU")]
    for each in evaluation.classes:
        scores = f"{each.total.iou:.3f}", f"{each.total.boundary_iou:.3f}"
        rows.append((each.name, str(len(each.images)), *scores))
    num_images = sum(len(each.images) for each in evaluation.classes)
    means = f"{evaluation.mean_iou:.3f}", f"{evaluation.mean_boundary_iou:.3f}"
    rows.append(("mean over classes", str(num_images), *means))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    )
