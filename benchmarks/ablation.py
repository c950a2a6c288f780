"""What each idea of tracking is worth, alone and together: accuracy, time and memory.

    python benchmarks/ablation.py --davis ../shared/davis --moseg ../shared/moseg     # everything
    python benchmarks/ablation.py --davis ../shared/davis --moseg ../shared/moseg \\
        --variant motion --variant memory
    python benchmarks/ablation.py --list
    python benchmarks/ablation.py --table              # the rows of the last weights, into the docs

Each variant (variants.py) runs in a process of its own, so that its peak memory is its own, and
becomes a row of benchmarks/ablation.csv. ``published`` always runs first: ``time_ratio`` is a
variant's time per frame over that of ``published`` in the same run. Frames per second and memory
are of the DAVIS root, counted as in benchmarks/davis.py.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import published
import torch
from davis import score_segmenter, segment_sequence
from rows import Row, append_row, environment, markdown, peak_mib, put_table
from variants import GROUPS, PUBLISHED, VARIANTS, Variant, compared_with

import vos
from vos.run.outputs import Outputs
from vos.sets.davis import DavisSequence

RESULTS = Path(__file__).with_suffix(".csv")
DOCUMENT = Path(__file__).parents[1] / "docs" / "tracking.md"
COLUMNS = ("variant", "", "J&F", "gain", "J, moseg", "gain", "frames/s", "time", "peak, MiB")


@click.command()
@click.option("--davis", type=click.Path(path_type=Path), help="DAVIS 2016 root.")
@click.option("--moseg", type=click.Path(path_type=Path), help="A root in the layout of 2017.")
@click.option(
    "--variant", "names", multiple=True, type=click.Choice(list(VARIANTS)), metavar="NAME"
)
@click.option("--model", default="nano")
@click.option("--threads", default=os.cpu_count())
@click.option(
    "--frames", "num_frames", type=click.IntRange(3), help="A trial on so many; keeps no row."
)
@click.option("--note", default="", help="A word on what these rows are for.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
@click.option("--list", "lists", is_flag=True, help="Say which variants there are.")
@click.option("--table", is_flag=True, help="Put the newest row of each into the docs.")
@click.option("--child", is_flag=True, hidden=True)
@click.option("--baseline", type=float, hidden=True)
def main(
    davis: Path | None,
    moseg: Path | None,
    names: tuple[str, ...],
    model: str,
    threads: int,
    num_frames: int | None,
    note: str,
    results: Path,
    lists: bool,
    table: bool,
    child: bool,
    baseline: float | None,
) -> None:
    """Append one row per variant."""
    if lists:
        for variant in VARIANTS.values():
            print(f"{variant.name:20} {variant.says}")
        return
    if table:
        write_table(results)
        return
    if davis is None or moseg is None:
        raise click.UsageError("--davis and --moseg are needed")
    if child:
        torch.set_num_threads(threads)
        vos.keep_freed_memory()
        row = measure(VARIANTS[names[0]], davis, moseg, model, baseline)
        append_row(results, {**environment(), **row, "threads": threads, "note": note})
        return
    with tempfile.TemporaryDirectory() as folder:
        if num_frames is not None:
            results = Path(folder) / "trial.csv"
            davis = first_frames(davis, Path(folder) / "davis", "2016", num_frames)
            moseg = first_frames(moseg, Path(folder) / "moseg", "2017", num_frames)
        own = ["--davis", str(davis), "--moseg", str(moseg), "--model", model, "--note", note]
        own += ["--threads", str(threads), "--results", str(results), "--child"]
        run_child(PUBLISHED.name, own)
        own += ["--baseline", newest_rows(results)[PUBLISHED.name]["frames_per_second"]]
        for name in names or VARIANTS:
            if name != PUBLISHED.name:
                run_child(name, own)


def run_child(name: str, settings: list[str]) -> None:
    """Append one variant's row, in a process of its own."""
    subprocess.run([sys.executable, __file__, "--variant", name, *settings], check=True)


def measure(variant: Variant, davis: Path, moseg: Path, model: str, baseline: float | None) -> Row:
    """Give a variant's figures.

    Args:
        variant: Which one.
        davis: DAVIS 2016 root.
        moseg: Root in the layout of 2017.
        model: Which model.
        baseline: Frames per second of ``published``; its own if None.
    """
    sam = vos.load_sam(model, device="cpu", dtype="float32")

    def segment(sequence: DavisSequence, outputs: Outputs) -> int:
        if variant.idea is not None:
            return published.segment_sequence(sequence, outputs, sam, variant.idea)
        return segment_sequence(sequence, outputs, sam, variant.config)

    of_davis, num_frames, seconds = score_segmenter(davis, 2016, "val", segment)
    frames_per_second = num_frames / seconds
    peak = peak_mib()
    of_moseg, _, _ = score_segmenter(moseg, 2017, "val", segment)
    sequences = (*of_davis.sequences, *of_moseg.sequences)
    return {
        "variant": variant.name,
        "weights": (sam.weights_sha256 or "")[:12],
        "J&F": round(of_davis.statistics.jf_mean, 4),
        "J_per_sequence": " ".join(f"{one.name}={one.statistics.j_mean:.3f}" for one in sequences),
        "J_moseg": round(of_moseg.statistics.j_mean, 4),
        "frames_per_second": round(frames_per_second, 3),
        "time_ratio": round((baseline or frames_per_second) / frames_per_second, 2),
        "peak_mib": peak,
    }


def first_frames(root: Path, short: Path, year: str, num_frames: int) -> Path:
    """Make a root of links to the first annotated frames of another one's sequences."""
    names = []
    for masks_dir in sorted((root / "Annotations" / "480p").iterdir()):
        masks = sorted(masks_dir.glob("*.png"))[:num_frames]
        images_dir = root / "JPEGImages" / "480p" / masks_dir.name
        names.append(masks_dir.name)
        for path in (*masks, *(images_dir / f"{mask.stem}.jpg" for mask in masks)):
            link = short / path.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    split = short / "ImageSets" / year / "val.txt"
    split.parent.mkdir(parents=True)
    split.write_text("".join(f"{name}\n" for name in names))
    return short


def newest_rows(results: Path) -> dict[str, dict[str, str]]:
    """Give the last row of each variant that was measured with the weights of the last row."""
    with results.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["variant"]: row for row in rows if row["weights"] == rows[-1]["weights"]}


def write_table(results: Path) -> None:
    """Put the rows of the last weights into docs/tracking.md."""
    rows = newest_rows(results)
    lines = [line_of(PUBLISHED, rows)] if PUBLISHED.name in rows else []
    for title, group in GROUPS.items():
        measured = [line_of(variant, rows) for variant in group if variant.name in rows]
        if measured:
            lines += [(f"**{title}**", *[""] * (len(COLUMNS) - 1)), *measured]
    places = {str(place): column for place, column in enumerate(COLUMNS)}
    text = markdown(places, [dict(zip(places, line, strict=True)) for line in lines])
    print(text)
    put_table(DOCUMENT, "ablation", text)


def line_of(variant: Variant, rows: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Give a variant's line of the table; gains are in points."""
    row = rows[variant.name]
    other = rows.get(compared_with(variant).name)

    def gain(name: str) -> str:
        if other is None or variant is PUBLISHED:
            return ""
        return f"{100 * (float(row[name]) - float(other[name])):+.1f}"

    return (
        f"`{variant.name}`",
        variant.says,
        f"{float(row['J&F']):.4f}",
        gain("J&F"),
        f"{float(row['J_moseg']):.4f}",
        gain("J_moseg"),
        f"{float(row['frames_per_second']):.1f}",
        f"{float(row['time_ratio']):.2f}",
        row["peak_mib"],
    )


if __name__ == "__main__":
    main()
