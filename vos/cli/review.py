"""``vos review``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vos.errors import InputError, OutputError

if TYPE_CHECKING:
    from vos.review import Doubt
    from vos.run.read_results import Results

_MAX_PANELS = 36


@click.command("review", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("results_path", metavar="RESULTS", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the results, if RESULTS holds several.")
@click.option(
    "--max",
    "max_lines",
    type=click.IntRange(1),
    metavar="N",
    help="List only the N worst.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of lines.")
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help=f"Also draw the listed frames, at most {_MAX_PANELS}, each cropped to the object.",
)
@click.option("--source", metavar="VIDEO", help="Path of the video for --sheet, if it was moved.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.png if it exists.")
def review_command(
    results_path: Path,
    name: str | None,
    max_lines: int | None,
    as_json: bool,
    sheet: Path | None,
    source: str | None,
    overwrite: bool,
) -> None:
    """List the frames of RESULTS that are likely wrong, worst first.

    \b
      vos review results/ --sheet sheet.png
      vos-run video.mp4 ... --ref 83:fixed.png --update

    RESULTS is a folder that vos-run wrote. Each line is a stretch of frames in which the mask of
    one object is likely wrong. It names the worst frame, what speaks against the mask, and the
    risk: the probability that its IoU with the true mask is below 0.5. vos review reads only the
    scores, boxes and times in the summary, so it misses errors that the tracker did not notice.
    """  # noqa: D301
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise InputError(f"the name of a sheet must end in .png, got {sheet}")
    if sheet is not None and not overwrite and sheet.exists():
        raise OutputError(f"{sheet} exists already; pass --overwrite")
    from vos.review import find_doubtful
    from vos.run.read_results import read_results

    results = read_results(results_path, name)
    doubts = find_doubtful(results)[:max_lines]
    if as_json:
        click.echo(json.dumps([asdict(doubt) for doubt in doubts], indent=2))
    else:
        for doubt in doubts:
            click.echo(_line(doubt))
        if not doubts:
            click.echo(f"nothing doubtful in {len(results.frames)} frames")
    if sheet is not None and doubts:
        _write_sheet(sheet, results, doubts[:_MAX_PANELS], source)
        click.echo(f"sheet: {sheet}", err=as_json)


def _line(doubt: Doubt) -> str:
    stretch = ""
    if doubt.first_index < doubt.last_index:
        stretch = f", frames {doubt.first_index}-{doubt.last_index}"
    return (
        f"frame {doubt.frame_index} at {doubt.pts_seconds:.3f} s, {doubt.object_name}: "
        f"{doubt.reason}{stretch} (risk {doubt.risk:.0%})"
    )


def _write_sheet(
    path: Path, results: Results, doubts: tuple[Doubt, ...], source: str | None
) -> None:
    from vos.review.sheet import draw_doubts
    from vos.run.replacing import check_inputs_kept
    from vos.sink.sheet import write_sheet

    folder, name = results.folder, results.name
    check_inputs_kept(
        [source or results.source, folder / name, results.summary_path, folder / f"{name}.mp4"],
        [path],
    )
    write_sheet(path, draw_doubts(results, doubts, source))
