"""What a frame with many objects costs, against one with a single object, frame by frame in turns.

    python benchmarks/objects.py                              # the published method, ten objects
    python benchmarks/objects.py --method memory --objects 3

Synthetic clips of 854 x 480 px, of one object and of more, are segmented beside one another, a
frame of each in turn, so that a machine that others slow down does so to both. From pictures in
memory to label maps, without reading or writing, in milliseconds of the processor. The ratio is the
median of the pairs' ratios, with its quartiles; J is the mean IoU with the clip's exact masks, and
the peak that of both together. Rows are appended to benchmarks/objects.csv.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click
import numpy as np
import torch
from methods import chosen, method_option
from rows import append_row, environment, peak_mib, processor

import vos
from vos.sam.model import SamModel
from vos.synthetic import ClipConfig, make_clip

RESULTS = Path(__file__).with_suffix(".csv")
FRAME_HW = (480, 854)
NUM_WARM = 2


class Clip:
    """A clip that is segmented again and again, a frame whenever one is asked for."""

    def __init__(self, num_objects: int, num_frames: int, sam: SamModel, config: vos.RunConfig):
        clip = ClipConfig(num_objects=num_objects, num_frames=num_frames, frame_hw=FRAME_HW)
        frames, self.truths = zip(*make_clip(clip), strict=True)
        self.pictures = [frame.rgb for frame in frames]
        self.object_ids = [number for number in np.unique(self.truths[0]) if number]
        self.sam, self.config = sam, config
        self.ious: list[float] = []

    def frames_ms(self) -> Iterator[float]:
        """Milliseconds of each frame but the first ones of each round."""
        while True:
            source = vos.frames_from_arrays(self.pictures)
            pairs = vos.segment_video(source, self.truths[0], self.sam, self.config)
            with closing(pairs):
                for number, truth in enumerate(self.truths):
                    started = time.process_time()
                    _, masks = next(pairs)
                    spent_ms = (time.process_time() - started) * 1e3
                    if number >= NUM_WARM:
                        self.score(masks.labels, truth)
                        yield spent_ms

    def score(self, labels: vos.records.Labels, truth: vos.records.Labels) -> None:
        for object_id in self.object_ids:
            ours, theirs = labels == object_id, truth == object_id
            union = np.count_nonzero(ours | theirs)
            self.ious.append(np.count_nonzero(ours & theirs) / union if union else 1.0)


@click.command()
@click.option("--model", default="nano")
@click.option("--objects", "num_objects", default=10)
@method_option
@click.option("--skip-padding", is_flag=True)
@click.option("--threads", default=os.cpu_count())
@click.option("--pairs", "num_pairs", default=32, help="Frames of each clip that are timed.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
def main(
    model: str,
    num_objects: int,
    method: str | None,
    skip_padding: bool,
    threads: int,
    num_pairs: int,
    results: Path,
) -> None:
    """Append one row."""
    torch.set_num_threads(threads)
    vos.keep_freed_memory()
    config, settings = chosen(method)
    sam = vos.load_sam(model, device="cpu", skip_padding=skip_padding)
    clips = [Clip(number, NUM_WARM + 8, sam, config) for number in (1, num_objects)]
    times = [clip.frames_ms() for clip in clips]
    spent_ms = np.array([[next(each) for each in times] for _ in range(num_pairs)])
    medians = np.median(spent_ms, axis=0).round(1).tolist()
    ratios = spent_ms[:, 1] / spent_ms[:, 0]
    low, ratio, high = np.percentile(ratios, [25, 50, 75]).round(2).tolist()
    row = {
        **environment(),
        "cpu": processor(),
        "threads": threads,
        "model": model,
        "settings": settings,
        "skip_padding": skip_padding,
        "objects": num_objects,
        "one_ms": medians[0],
        "many_ms": medians[1],
        "ratio": ratio,
        "ratio_quartiles": f"{low}-{high}",
        "one_j": round(float(np.mean(clips[0].ious)), 4),
        "many_j": round(float(np.mean(clips[1].ious)), 4),
        "peak_mib": peak_mib(),
    }
    append_row(results, row)


if __name__ == "__main__":
    main()
