"""Peak memory and time of every export format over thousands of small frames.

Each format exports a short and a long video in a process of its own, since a peak is never given
back. Frames and label maps are made on the fly: 64 x 48 pixels, two objects that move.

    python benchmarks/exports.py                     # 1000 and 10 000 frames
    python benchmarks/exports.py --to coco --frames 500 --frames 5000
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import click
import numpy as np
from rows import append_row, environment, peak_mib

from vos.cli.export import FORMAT_NAMES

RESULTS = Path(__file__).with_suffix(".csv")
HW = (48, 64)


@click.command()
@click.option("--frames", "lengths", type=int, multiple=True, default=(1000, 10_000))
@click.option("--to", "formats", multiple=True, default=FORMAT_NAMES)
@click.option("--soft", is_flag=True, help="Keep soft edges, and export with them.")
@click.option("--child", hidden=True, type=Path, help="Results to export in this process.")
def main(
    lengths: tuple[int, ...], formats: tuple[str, ...], soft: bool, child: Path | None
) -> None:
    """Print and append one row per format."""
    if child is not None:
        print(*measure(child, formats, soft))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = {
            length: make_results(Path(folder, str(length)), length, soft) for length in lengths
        }
        for name in formats:
            options = ["--soft"] if soft else []
            row = {**environment(), "format": " ".join([name, *options])}
            for length, path in results.items():
                command = [sys.executable, __file__, "--child", str(path), "--to", name, *options]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                peak, seconds = done.stdout.split()[-2:]
                row |= {f"peak_mib_{length}": int(peak), f"seconds_{length}": float(seconds)}
            append_row(RESULTS, row)


def measure(folder: Path, formats: tuple[str, ...], soft: bool) -> tuple[int, float]:
    """Export results; give the peak in MiB and the seconds that it took."""
    import vos
    from vos.export.clean_up import CleanUp
    from vos.export.clip import ExportOptions
    from vos.export.export import export_results

    results = vos.read_results(folder)
    with tempfile.TemporaryDirectory() as out:
        started = time.monotonic()
        options = ExportOptions(clean_up=CleanUp(soft=soft))
        export_results(results, formats, Path(out), options)
        return peak_mib(), round(time.monotonic() - started, 1)


def make_results(folder: Path, num_frames: int, soft: bool) -> Path:
    """Write a video and results of it; give the results' folder."""
    import vos
    from vos.records import SourceInfo
    from vos.run.outputs import Outputs
    from vos.run.results import write_results
    from vos.sink import write_video
    from vos.track.masks import measure as measure_labels

    def frames() -> Iterator[vos.Frame]:
        for index in range(num_frames):
            rgb = np.zeros((*HW, 3), np.uint8)
            rgb[:, index % HW[1]] = 200
            yield vos.Frame(index, index / 25, f"{index:05d}", rgb)

    def pairs() -> Iterator[tuple[vos.Frame, vos.FrameMasks]]:
        for frame in frames():
            labels = np.zeros(HW, np.uint8)
            x = frame.index % 40
            labels[5:25, x : x + 20], labels[10:15, x + 5 : x + 9] = 1, 0
            labels[30:40, 20:40] = 2
            yield frame, measure_labels(labels, (1, 2), np.array([0.9, 0.7], np.float32))

    source = folder / "clip.mp4"
    write_video(source, frames(), Fraction(25))
    outputs = Outputs(folder=folder / "results", name="clip", overlay_alpha=None, soft=soft)
    header = {"job": {}, "source": str(source), "selection": {}, "versions": {}}
    info = SourceInfo("clip", HW, Fraction(25), num_frames)
    for _ in write_results(pairs(), outputs, info, header):
        pass
    return outputs.folder


if __name__ == "__main__":
    main()
