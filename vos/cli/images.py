"""``vos images``."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vos.cli.options import image_config, image_options, max_pixels_option, print_progress
from vos.config import Method, RunConfig, SkipPadding
from vos.errors import SourceError
from vos.sam.fast.allocator import keep_freed_memory

if TYPE_CHECKING:
    from vos.sink.pictures import TrainingLayout

_PATH = click.Path(path_type=Path)


class _Pair(click.ParamType[tuple[Path, Path]]):
    """``IMAGE:MASK``, split at the colon that leaves a file on each side, else at the last."""

    name = "IMAGE:MASK"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Path, Path]:
        colons = [place for place, letter in enumerate(value) if letter == ":"]
        pairs = [(Path(value[:place]), Path(value[place + 1 :])) for place in colons]
        if not pairs or ":" in (value[0], value[-1]):
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        both = [pair for pair in pairs if pair[0].exists() and pair[1].exists()]
        return both[0] if both else pairs[-1]


@click.command("images", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("ref_image", type=_PATH)
@click.argument("ref_mask", type=_PATH)
@click.argument("images", type=_PATH, nargs=-1, required=True)
@click.option(
    "--ref",
    "more_references",
    type=_Pair(),
    multiple=True,
    help="A further reference picture and its mask. Repeatable.",
)
@click.option(
    "--instances",
    "num_instances",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="How often an object may be in a picture.",
)
@click.option(
    "--instance-ratio",
    type=click.FloatRange(0, 1),
    default=RunConfig().instance_similarity_ratio,
    show_default=True,
    help="A further instance needs this share of the first one's similarity.",
)
@click.option(
    "--maybe-absent",
    is_flag=True,
    help="Pictures may lack an object: it is left out where the evidence for it is weak.",
)
@click.option(
    "--published",
    is_flag=True,
    help="The published method to the letter: masks need not be in one piece.",
)
@click.option(
    "--out",
    type=_PATH,
    default=Path("results"),
    metavar="FOLDER",
    show_default=True,
    help="Folder of the results.",
)
@click.option(
    "--for",
    "training",
    type=click.Choice(["dreambooth", "onetrainer"]),
    help="Write a training set too: pictures, masks (white = learn) and cut-outs.",
)
@click.option("--resize-mask", is_flag=True, help="Accept masks of another size than the picture.")
@click.option("--overwrite", is_flag=True, help="Replace earlier results in this folder.")
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Opacity of the overlays' colours.",
)
@click.option("--no-overlay", is_flag=True, help="Write no overlays.")
@max_pixels_option
@image_options
def images_command(
    ref_image: Path,
    ref_mask: Path,
    images: tuple[Path, ...],
    more_references: tuple[tuple[Path, Path], ...],
    num_instances: int,
    instance_ratio: float,
    maybe_absent: bool,
    published: bool,
    out: Path,
    training: TrainingLayout | None,
    resize_mask: bool,
    overwrite: bool,
    alpha: float,
    no_overlay: bool,
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
    """Find the objects of REF_IMAGE, which REF_MASK marks, in IMAGES.

    IMAGES are pictures of any sizes, and folders of pictures. Results are FOLDER/<stem>.png
    (palette PNGs of object ids), FOLDER/overlays/<stem>.jpg and FOLDER/summary.json (scores,
    boxes, settings).
    """
    from vos.sam.load import load_sam
    from vos.sets.image_outputs import ImageOutputs
    from vos.sets.pictures import find_pictures, read_references, segment_pictures

    config = replace(
        image_config(method, fit_steps, batch_size, maybe_absent=maybe_absent),
        connected=not published,
        instance_similarity_ratio=instance_ratio,
    )
    pictures = find_pictures(images, max_pixels=max_pixels)
    outputs = ImageOutputs(
        folder=out,
        overlay_alpha=None if no_overlay else alpha,
        training=training,
        overwrite=overwrite,
    )
    reference_files = [(ref_image, ref_mask), *more_references]
    outputs.check_free(pictures.files, chain.from_iterable(reference_files))
    references = read_references(reference_files, resize=resize_mask, max_pixels=max_pixels)
    keep_freed_memory()
    sam = load_sam(model, checkpoint, device, dtype, compiled=compiled, skip_padding=skip_padding)
    pairs = segment_pictures(
        pictures, references, outputs, sam, config, num_instances=num_instances
    )
    print_progress(pairs, len(pictures.files), outputs.written, quiet=quiet, unit="picture")
    if pictures.failures:
        raise SourceError(
            f"{len(pictures.failures)} of {len(pictures.files)} pictures cannot be read: "
            + ", ".join(map(str, pictures.failures))
        )
