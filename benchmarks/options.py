"""What the options that change masks save and cost: time, agreement with the exact masks, J and F.

    python benchmarks/options.py ../shared/davis
    python benchmarks/options.py ../shared/davis --method memory --option bfloat16 --option compiled

Every frame of a DAVIS 2016 root is segmented by the embedded model, by the published method or
another: first ``exact``, which is float32 and nothing else, then each option, in a process of
its own. A row says how long a frame took (the median and the 10th and 90th percentile over the
frames after the reference, files to label maps in memory), its ratio to ``exact`` of the same run,
the mean and the least sequence's IoU with the exact masks, J&F, and the peak memory. Appended to
benchmarks/options.csv.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from methods import chosen, method_option
from rows import Row, append_row, environment, peak_mib, processor

import vos
from vos.masks import read_label_png, read_mask, write_label_png
from vos.sets.davis import find_davis_sequences

RESULTS = Path(__file__).with_suffix(".csv")
OPTIONS: dict[str, dict[str, str | bool]] = {
    "exact": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "skip_padding": {"dtype": "float32", "skip_padding": True},
    "bfloat16+skip_padding": {"dtype": "bfloat16", "skip_padding": True},
    "compiled": {"dtype": "float32", "compiled": True},
    "bfloat16+compiled": {"dtype": "bfloat16", "compiled": True},
}


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--option", "options", multiple=True, type=click.Choice(list(OPTIONS)))
@method_option
@click.option("--frames", "num_frames", type=int, help="Of each sequence; all if left out.")
@click.option("--note", default="", help="A word on what these rows are for.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
@click.option("--child", type=click.Path(path_type=Path), hidden=True)
def main(
    root: Path,
    options: tuple[str, ...],
    method: str | None,
    num_frames: int | None,
    note: str,
    results: Path,
    child: Path | None,
) -> None:
    """Append one row per option."""
    if child is not None:
        measure(root, options[0], method, num_frames, note, results, child)
        return
    wanted = ["exact", *(name for name in options or OPTIONS if name != "exact")]
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            own = ["--option", name, "--note", note, "--results", str(results), "--child", folder]
            own += ["--method", method] if method else []
            own += ["--frames", str(num_frames)] if num_frames else []
            subprocess.run([sys.executable, __file__, str(root), *own], check=True)


def measure(
    root: Path,
    option: str,
    method: str | None,
    num_frames: int | None,
    note: str,
    results: Path,
    folder: Path,
) -> None:
    """Segment all sequences with one option, and compare with the exact masks in the folder."""
    vos.keep_freed_memory()
    sam = vos.load_sam("nano", **OPTIONS[option])  # type: ignore[arg-type]
    config, settings = chosen(method)
    milliseconds: list[float] = []
    agreements = []
    sequences = find_davis_sequences(root, year=2016, split="val")
    sam.encode([np.zeros((480, 854, 3), dtype=np.uint8)])  # compiling is not a frame's time
    for sequence in sequences:
        (folder / option / sequence.name).mkdir(parents=True)
        ious = []
        with vos.open_source(sequence.images_dir, end=num_frames) as frames:
            reference = (read_mask(sequence.reference) > 0).astype(np.uint8)
            stream = vos.segment_video(frames, reference, sam, config)
            frame, masks = next(stream)
            write_label_png(folder / option / sequence.name / f"{frame.name}.png", masks.labels)
            started = time.perf_counter()
            for frame, masks in stream:
                milliseconds.append((time.perf_counter() - started) * 1e3)
                write_label_png(folder / option / sequence.name / f"{frame.name}.png", masks.labels)
                exact = read_label_png(folder / "exact" / sequence.name / f"{frame.name}.png") > 0
                own = masks.labels > 0
                union = np.count_nonzero(own | exact)
                ious.append(np.count_nonzero(own & exact) / union if union else 1.0)
                started = time.perf_counter()
        agreements.append(float(np.mean(ious)))
    own_peak_mib = peak_mib()
    scores = ""
    if num_frames is None:
        names = [sequence.name for sequence in sequences]
        evaluation = vos.evaluate(root, folder / option, year=2016, sequences=names)
        scores = f"{evaluation.statistics.measures()['J&F-Mean']:.4f}"
    path = folder / "exact_ms"
    if option == "exact":
        path.write_text(str(float(np.median(milliseconds))))
    low, median, high = np.percentile(milliseconds, (10, 50, 90)).tolist()
    row: Row = {
        **environment(),
        "cpu": processor(),
        "threads": torch.get_num_threads(),
        "settings": settings,
        "option": option,
        "frame_ms": round(median, 1),
        "frame_p10_p90_ms": f"{low:.1f}-{high:.1f}",
        "time_of_exact": round(median / float(path.read_text()), 3),
        "iou_with_exact": round(float(np.mean(agreements)), 4),
        "iou_with_exact_least": round(min(agreements), 4),
        "J&F": scores,
        "frames": len(milliseconds),
        "peak_mib": own_peak_mib,
        "note": note,
    }
    append_row(results, row)


if __name__ == "__main__":
    main()
