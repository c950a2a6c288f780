"""``vos synth``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("synth", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", default="shapes", show_default=True, help="Name of the clip.")
@click.option("--frames", "num_frames", type=click.IntRange(1), default=48, show_default=True)
@click.option("--objects", "num_objects", type=click.IntRange(1), default=3, show_default=True)
@click.option("--size", default="640x360", show_default=True, metavar="WxH", help="Pixels.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace an earlier clip of this name.")
def synth_command(
    folder: Path,
    name: str,
    num_frames: int,
    num_objects: int,
    size: str,
    seed: int,
    overwrite: bool,
) -> None:
    """Write a clip of moving shapes and its exact masks.

    FOLDER/<name>.mp4 is the clip, FOLDER/Annotations/<name>/00000.png ... are the masks; the
    first is the reference for vos-run, all of them are the annotation for vos-eval.
    """
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"{size!r} is not of the form 640x360", param_hint="--size")
