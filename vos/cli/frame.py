"""``vos frame``."""

from __future__ import annotations

import io
from pathlib import Path

import click

from vos.cli.model_options import max_pixels_option
from vos.cli.moments import Moment
from vos.errors import InputError, OutputError


@click.command("frame", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("video", metavar="VIDEO")
@click.argument("moment", metavar="FRAME", type=Moment())
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
@max_pixels_option
def frame_command(
    video: str, moment: int | float, out: Path, overwrite: bool, max_pixels: int
) -> None:
    """Write a frame of VIDEO as a PNG, to paint a mask on or to read pixel coordinates from.

    FRAME is a number, counted from 0, or a time such as 4.8s or 0:04.8, which means the first frame
    at or after that time. OUT is the PNG. Its pixels are exactly those that vos-run reads.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"OUT must end in .png, which keeps every pixel; got {out}")
    if not overwrite and out.exists():
        raise OutputError(f"{out} exists already; pass --overwrite")
    from PIL import Image

    from vos.files import write_whole
    from vos.run.replacing import check_inputs_kept
    from vos.source import open_source

    check_inputs_kept([video], [out])
    with open_source(video, start=moment, max_pixels=max_pixels) as source:
        frame = next(source)
    buffer = io.BytesIO()
    Image.fromarray(frame.rgb).save(buffer, format="PNG")
    write_whole(out, buffer.getvalue())
    height, width = frame.frame_hw
    click.echo(f"frame {frame.index} at {frame.pts_seconds:.3f} s, {width} x {height} px: {out}")
