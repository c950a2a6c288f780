"""``vos synth``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import click

from vos.errors import InputError, OutputError


@click.command("synth", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", default="shapes", show_default=True, help="Name of the clip.")
@click.option("--frames", "num_frames", type=click.IntRange(1), default=48, show_default=True)
@click.option("--objects", "num_objects", type=click.IntRange(1), default=3, show_default=True)
@click.option("--size", default="640x360", show_default=True, metavar="WxH", help="Pixels.")
@click.option("--fps", type=click.IntRange(1), default=24, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace an earlier clip of this name.")
def synth_command(
    folder: Path,
    name: str,
    num_frames: int,
    num_objects: int,
    size: str,
    fps: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Write a clip of moving shapes and its exact masks.

    FOLDER/<name>.mp4 is the clip, FOLDER/Annotations/<name>/00000.png ... are the masks: the
    first is the reference for vos-run, all of them are the annotation for vos-eval.
    """
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"{size!r} is not of the form 640x360", param_hint="--size")
    if name != Path(name).name:
        raise InputError(f"the name must be a plain file name, got {name!r}")

    from vos.masks import write_label_png
    from vos.sink import write_video
    from vos.synthetic import ClipConfig, make_clip

    config = ClipConfig(
        num_frames=num_frames,
        frame_hw=(int(height), int(width)),
        num_objects=num_objects,
        frame_rate_hz=Fraction(fps),
        seed=seed,
    )
    video, masks_folder = folder / f"{name}.mp4", folder / "Annotations" / name
    if not overwrite and (video.exists() or masks_folder.exists()):
        raise OutputError(f"{video} or {masks_folder} is there already; pass --overwrite")
    try:
        masks_folder.mkdir(parents=True, exist_ok=True)
        for path in masks_folder.glob("*.png"):
            path.unlink()
        for frame, labels in make_clip(config):
            write_label_png(masks_folder / f"{frame.name}.png", labels)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error}") from error
    write_video(video, (frame for frame, _ in make_clip(config)), Fraction(fps))
    click.echo(f"{num_frames} frames: {video}, {masks_folder}")
