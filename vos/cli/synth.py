"""``vos synth``."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import click

from vos.errors import InputError, OutputError
from vos.files import make_folder, write_whole
from vos.run.names import name_fault


@click.command("synth", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", default="shapes", show_default=True, help="Name of the clip.")
@click.option(
    "--frames",
    "num_frames",
    type=click.IntRange(1),
    default=48,
    show_default=True,
    metavar="N",
    help="Number of frames.",
)
@click.option(
    "--objects",
    "num_objects",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="Number of shapes.",
)
@click.option("--size", default="640x360", show_default=True, metavar="WxH", help="Size in pixels.")
@click.option(
    "--fps",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    metavar="N",
    help="Frames per second.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Another seed draws another clip.",
)
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
    """Draw a clip of moving shapes, and write its exact masks.

    FOLDER/<name>.mp4 is the clip. FOLDER/Annotations/<name>/00000.png ... are the masks: take the
    first as the reference of vos-run, and all of them as the annotations of vos-eval.
    FOLDER/<name>.synth.json lists these files; --overwrite replaces them and no others.
    """
    width, _, height = size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"{size!r} is not of the form 640x360", param_hint="--size")
    if fault := name_fault(name):
        raise InputError(f"a clip cannot be named {name!r}: {fault}")

    from vos.masks import write_label_png
    from vos.run.replacing import Ledger
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
    masks = [masks_folder / f"{index:05d}.png" for index in range(num_frames)]
    ledger = Ledger(
        folder=folder,
        summary=folder / f"{name}.synth.json",
        journal=folder / f".{name}.synth.files",
        result_files=(video, folder / f"{name}.synth.json"),
        result_folders=(masks_folder,),
    )
    if not overwrite and (video.exists() or masks_folder.exists()):
        raise OutputError(f"{video} or {masks_folder} exists already; pass --overwrite")
    results = [ledger.summary, video, *masks]
    ledger.check_free(results)
    ledger.remove_written()
    make_folder(masks_folder)
    files = [path.relative_to(folder).as_posix() for path in results]
    write_whole(ledger.summary, f'{{\n"files": {json.dumps(files)}\n}}\n'.encode())
    for frame, labels in make_clip(config):
        write_label_png(masks_folder / f"{frame.name}.png", labels)
    write_video(video, (frame for frame, _ in make_clip(config)), Fraction(fps))
    click.echo(f"{num_frames} frames: {video}, {masks_folder}")
