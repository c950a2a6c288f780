"""A long run: memory, open files, threads and time per frame must not grow with the video.

The clip is drawn on the fly, and the model is the stand-in that segments by colour, so that the
frames are many and what is measured is everything around a model: reading ahead, tracking, all
sinks, saving the state. What a model adds is the same for every frame. The last thousand frames
are compared with the first, after a warm-up: the median CPU time of all threads together, as such
and over that of a baseline in the same stretch, which is to encode the first frame once more at
every tenth. The baseline cannot grow with the video, so its own change is the machine's.

    python benchmarks/endurance.py                # 20000 frames
    python benchmarks/endurance.py --frames 3000
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np
from rows import Row, append_row, environment, peak_mib

RESULTS = Path(__file__).with_suffix(".csv")
STAND_IN = Path(__file__).resolve().parents[1] / "tests"
WARM_UP, PART = 200, 1000
HEIGHT, WIDTH, SIDE = 64, 112, 24
SAM_SIDE = 128
BASELINE_EVERY = 10


@click.command()
@click.option("--frames", "num_frames", type=click.IntRange(WARM_UP + 2 * PART), default=20_000)
@click.option("--save-every", type=click.FloatRange(0), default=5.0, help="Seconds.")
def main(num_frames: int, save_every: float) -> None:
    """Print and append one row."""
    sys.path.insert(0, str(STAND_IN))
    import torch
    from colour_sam import PALETTE, ColourSam

    import vos
    from vos.records import SourceInfo
    from vos.run.outputs import Outputs
    from vos.run.saving import write_and_save
    from vos.segment.forward import segment_steps

    torch.set_num_threads(1)
    vos.keep_freed_memory()

    def draw(t: int) -> tuple[np.ndarray, np.ndarray]:
        rgb = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        away = abs(t % 200 - 100)
        for object_id, (x, y) in {1: (away * 2 // 3, 4), 2: (80 - away * 2 // 3, 36)}.items():
            part = slice(y, y + SIDE), slice(x, x + SIDE)
            rgb[part], labels[part] = PALETTE[object_id], object_id
        return rgb, labels

    sam = vos.SamModel(ColourSam(SAM_SIDE))
    frames = vos.frames_from_arrays(draw(t)[0] for t in range(num_frames))
    steps = segment_steps(frames, draw(0)[1], sam)
    wall_ms, cpu_ms, baseline_ms = (np.full(num_frames, np.nan) for _ in range(3))
    sum_j = 0.0
    taken: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        outputs = Outputs(folder=Path(folder), name="clip")
        info = SourceInfo("clip", (HEIGHT, WIDTH))
        results = write_and_save(steps, outputs, info, {}, sam, every_seconds=save_every)
        started = time.perf_counter(), time.process_time()
        for t, (_, masks) in enumerate(results):
            wall_ms[t] = (time.perf_counter() - started[0]) * 1000
            cpu_ms[t] = (time.process_time() - started[1]) * 1000
            ours, theirs = masks.labels == 1, draw(t)[1] == 1
            sum_j += (ours & theirs).sum() / (ours | theirs).sum()
            if t in (WARM_UP + PART, num_frames - 10):
                taken.append(now())
            if t % BASELINE_EVERY == 0:
                before = time.process_time()
                sam.encode([draw(0)[0]])
                baseline_ms[t] = (time.process_time() - before) * 1000
            started = time.perf_counter(), time.process_time()
    first = slice(WARM_UP, WARM_UP + PART)
    last = slice(num_frames - PART, num_frames)
    row: Row = {
        **environment(),
        "frames": num_frames,
        "height": HEIGHT,
        "width": WIDTH,
        "save_every_seconds": save_every,
        "mean_j": round(float(sum_j / num_frames), 4),
    }
    for name, ms in (("wall", wall_ms), ("cpu", cpu_ms), ("baseline_cpu", baseline_ms)):
        for part, when in (("first", first), ("last", last)):
            low, middle, high = np.nanpercentile(ms[when], [10, 50, 90])
            row[f"{name}_ms_{part}"] = round(float(middle), 3)
            row[f"{name}_ms_{part}_p10_p90"] = f"{low:.2f}-{high:.2f}"
        ratio = float(row[f"{name}_ms_last"]) / float(row[f"{name}_ms_first"])
        row[f"{name}_ratio_last_to_first"] = round(ratio, 4)
    own, machine = row["cpu_ratio_last_to_first"], row["baseline_cpu_ratio_last_to_first"]
    row["cpu_ratio_over_baseline"] = round(float(own) / float(machine), 4)
    for name in taken[0]:
        row[f"{name}_first"], row[f"{name}_last"] = (each[name] for each in taken)
    row["peak_mib"] = peak_mib()
    append_row(RESULTS, row)


def now() -> Row:
    """What the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory_mib": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "open_files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


if __name__ == "__main__":
    main()
