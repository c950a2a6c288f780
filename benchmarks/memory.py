"""Peak memory of a long clip against a short one: it must not grow with the video's length.

Each length runs in a process of its own, since a peak is never given back. The clip is synthetic
and made on the fly; the model is the embedded one. The masks go to a temporary folder. Speed is
measured elsewhere (davis.py, model.py).

    python benchmarks/memory.py                # 200 and 2000 frames
    python benchmarks/memory.py --frames 50 --frames 400
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import click
import numpy as np
from rows import append_row, environment, peak_mib

RESULTS = Path(__file__).with_suffix(".csv")


@click.command()
@click.option("--frames", "lengths", type=int, multiple=True, default=(200, 2000))
@click.option("--size", default=(360, 640), type=(int, int), help="Height and width.")
@click.option("--child", type=int, hidden=True)
def main(lengths: tuple[int, ...], size: tuple[int, int], child: int | None) -> None:
    """Print and append one row per length."""
    if child is not None:
        measure(child, size)
        return
    baseline_mib = None
    for num_frames in sorted(lengths):
        command = [sys.executable, __file__, "--child", str(num_frames), "--size", *map(str, size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, mean_j = map(float, done.stdout.split()[-2:])
        baseline_mib = baseline_mib or peak
        row = {
            **environment(),
            "frames": num_frames,
            "height": size[0],
            "width": size[1],
            "peak_mib": peak,
            "ratio_to_shortest": round(peak / baseline_mib, 4),
            "mean_j": round(mean_j, 4),
        }
        append_row(RESULTS, row)


def measure(num_frames: int, size: tuple[int, int]) -> None:
    """Run one length; print peak MiB and mean J over frames."""
    import vos
    from vos.records import SourceInfo
    from vos.run.outputs import Outputs
    from vos.run.results import write_results
    from vos.synthetic import ClipConfig, make_clip

    config = ClipConfig(num_frames=num_frames, frame_hw=size, num_objects=1, seed=1)
    reference = next(make_clip(config))[1]
    vos.keep_freed_memory()
    sam = vos.load_sam("nano")
    sums = np.zeros(2)
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(folder=Path(folder), name="clip")
        pairs = vos.segment_video((frame for frame, _ in make_clip(config)), reference, sam)
        with closing(write_results(pairs, outputs, SourceInfo("clip", size), {})) as results:
            for (_, masks), (_, truth) in zip(results, make_clip(config), strict=True):
                ours, theirs = masks.labels == 1, truth == 1
                union = (ours | theirs).sum()
                sums += ((ours & theirs).sum() / union if union else 1, 1)
    print(peak_mib(), sums[0] / sums[1])


if __name__ == "__main__":
    main()
