"""What each clean-up of exports does to J and F of finished results.

Soft and feathered edges are cut at one half of their opacity. The results are those of
``vos davis``; the default of the model ``nano`` takes a quarter of a second a frame on one core.

    vos davis ../shared/davis --year 2016 --split val --out runs/val
    python benchmarks/clean_up.py ../shared/davis runs/val
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
from rows import append_row, environment

import vos
from vos.export.clean_up import CleanUp, smooth_in_time
from vos.masks import write_label_png
from vos.run.read_results import Results
from vos.track.masks import measure

RESULTS = Path(__file__).with_suffix(".csv")
SETTINGS = (
    CleanUp(),
    CleanUp(soft=True),
    *(CleanUp(feather_px=px) for px in (2.0, 4.0)),
    *(CleanUp(grow_px=px) for px in (-2.0, -1.0, 1.0, 2.0)),
    *(CleanUp(fill_holes_px=px) for px in (50, 500)),
    *(CleanUp(min_area_px=px) for px in (50, 500)),
    *(CleanUp(smooth_time=frames) for frames in (3, 5)),
)


@click.command()
@click.argument("davis", type=click.Path(path_type=Path))
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--split", default="val", show_default=True, help="A list of DAVIS 2016.")
def main(davis: Path, results: Path, split: str) -> None:
    """Print and append one row per clean-up."""
    names = (davis / "ImageSets" / "2016" / f"{split}.txt").read_text().split()
    for clean_up in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                write_cleaned(vos.read_results(results, name), clean_up, Path(folder, name))
            scores = vos.evaluate(davis, folder, year=2016, split=split)
        changed = {
            name: value
            for name in ("soft", "feather_px", "grow_px", "fill_holes_px", "min_area_px")
            if (value := getattr(clean_up, name))
        }
        if clean_up.smooth_time > 1:
            changed["smooth_time"] = clean_up.smooth_time
        row = {
            **environment(),
            "split": split,
            "clean_up": " ".join(f"{key}={value}" for key, value in changed.items()) or "none",
            "j_mean": round(scores.statistics.j_mean, 4),
            "f_mean": round(scores.statistics.f_mean, 4),
        }
        append_row(RESULTS, row)


def write_cleaned(results: Results, clean_up: CleanUp, folder: Path) -> None:
    """Write the label maps of one sequence after clean-up."""
    folder.mkdir()
    triples = ((None, each, results.labels(n)) for n, each in enumerate(results.frames))
    if clean_up.smooth_time > 1:
        triples = smooth_in_time(triples, clean_up.smooth_time)
    for _, frame, labels in triples:
        mask = clean_up.alpha(measure(clean_up.clean(labels), (1,), frame.scores[:1])) > 0.5
        write_label_png(folder / f"{frame.name}.png", mask.astype(np.uint8))


if __name__ == "__main__":
    main()
