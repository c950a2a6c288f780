"""Many videos: workers against one, a driver that is killed, and how long a manifest takes.

``python benchmarks/batch.py`` makes 200 synthetic clips, ten of them with a broken mask, segments
them with one worker and with two, of one thread each, kills the driver of a third run in the middle
and starts it again, and compares the results. Then it checks a manifest of 100,000 rows. Rows go to
``benchmarks/batch.csv``. ``--table`` only writes what a million clips would take, by the figures of
``benchmarks/pipeline.csv``, into ``docs/scale.md``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from rows import Row, append_row, environment, markdown, put_table

from vos.batch.manifest import open_manifest
from vos.batch.records import read_record
from vos.batch.stores import LocalStore
from vos.masks import write_label_png
from vos.sink import write_video
from vos.synthetic import ClipConfig, make_clip

HERE = Path(__file__).parent
NUM_BAD = 10
NUM_ROWS = 100_000

# Of the paper calculation.
FRAMES_PER_SECOND = 30
NUM_CORES = 2  # of the machines of pipeline.csv
PIXELS_OF_720P = 1280 * 720 / (854 * 480)
OF_PIXELS = ("read_ms", "resize_ms", "enlarge_ms", "merge_ms", "write_ms")
COST_OF_CORE_HOUR = 0.04
COLUMNS = {
    "model": "model",
    "method": "method",
    "cpu": "two cores of",
    "frame": "a frame of 720p, ms",
    "per_second": "frames per second and core",
    "hours": "core hours for an hour of video",
    "cost": f"at {COST_OF_CORE_HOUR} a core hour",
    "million": "core hours for a million clips",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        put_table(HERE.parent / "docs/scale.md", "batch", markdown(COLUMNS, paper()))
        return
    with TemporaryDirectory() as folder:
        append_row(HERE / "batch.csv", trial(Path(folder), args.clips, args.frames))


def trial(folder: Path, num_clips: int, num_frames: int) -> Row:
    make_clips(folder, num_clips, num_frames)
    names = {f"clip{number:03d}" for number in range(num_clips)}
    seconds, cpu_seconds = {}, {}
    for num_workers in (1, 2):
        before, started = cpu_seconds_of_children(), time.monotonic()
        code = drive(folder, f"workers{num_workers}", num_workers).wait()
        seconds[num_workers] = time.monotonic() - started
        cpu_seconds[num_workers] = cpu_seconds_of_children() - before
        counts = json.loads((folder / f"workers{num_workers}/batch.json").read_text())["counts"]
        assert code == 1, code
        assert counts == {"done": num_clips - NUM_BAD, "failed": NUM_BAD}, counts
    driver = drive(folder, "killed", 2)
    while len(before_kill := done(folder / "killed", names)) < num_clips // 2:
        time.sleep(0.2)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(5)
    before_kill = done(folder / "killed", names)
    drive(folder, "killed", 2).wait()
    report = json.loads((folder / "killed/batch.json").read_text())
    again = {job["name"] for job in report["jobs"] if job["state"] == "done"}
    assert not again & before_kill, again & before_kill
    assert report["counts"]["skipped"] == len(before_kill)
    label_maps = [results(folder / name) for name in ("workers1", "workers2", "killed")]
    assert label_maps[0] == label_maps[1] == label_maps[2]
    assert len(label_maps[0]) == (num_clips - NUM_BAD) * num_frames
    check_seconds, growth_mib = check_manifest(folder)
    load = os.getloadavg()[2]
    return {
        **environment(),
        "clips": num_clips,
        "bad": NUM_BAD,
        "frames": num_frames,
        "one_worker_s": round(seconds[1], 1),
        "two_workers_s": round(seconds[2], 1),
        "gain": round(seconds[1] / seconds[2], 2),
        "one_worker_cpu_s": round(cpu_seconds[1], 1),
        "two_workers_cpu_s": round(cpu_seconds[2], 1),
        "done_before_kill": len(before_kill),
        "done_after": len(again),
        "rows_checked": NUM_ROWS,
        "check_cpu_s": round(check_seconds, 2),
        "check_growth_mib": round(growth_mib, 1),
        "load_of_15_minutes": round(load, 1),
    }


def make_clips(folder: Path, num_clips: int, num_frames: int) -> None:
    rows = []
    for number in range(num_clips):
        name = f"clip{number:03d}"
        config = ClipConfig(
            num_frames=num_frames, frame_hw=(64, 96), num_objects=1, seed=number, has_texture=False
        )
        write_video(folder / f"{name}.mp4", (frame for frame, _ in make_clip(config)), Fraction(24))
        mask = folder / f"{name}.png"
        if number % (num_clips // NUM_BAD) == 0:
            mask.write_bytes(b"broken")
        else:
            write_label_png(mask, next(make_clip(config))[1])
        rows.append(json.dumps({"video": f"{name}.mp4", "mask": mask.name}))
    (folder / "jobs.jsonl").write_text("\n".join(rows))


def drive(folder: Path, out: str, num_workers: int) -> subprocess.Popen[bytes]:
    """Start ``vos batch`` with workers of one thread."""
    options = ("--workers", str(num_workers), "--threads", "1", "--quiet")
    command = [sys.executable, "-m", "vos", "batch", "jobs.jsonl", "--out", out, *options]
    environment = {**os.environ, "VOS_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def done(out: Path, names: set[str]) -> set[str]:
    records = {name: read_record(LocalStore(out), name) for name in names}
    return {name for name, record in records.items() if record and record.state == "done"}


def results(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.glob("clip*/*.png")}


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def check_manifest(folder: Path) -> tuple[float, float]:
    """Check many rows; give the seconds and by how much the peak memory grew."""
    path = folder / "many.jsonl"
    with path.open("w") as file:
        for number in range(NUM_ROWS):
            row = {"video": f"s3://bucket/{number}.mp4", "mask": f"s3://bucket/{number}.png"}
            file.write(json.dumps(row) + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    manifest = open_manifest(str(path))
    assert manifest.check() == NUM_ROWS
    seconds = time.process_time() - started
    assert Counter(task.name for task in manifest.tasks((3, 100))).total() == NUM_ROWS // 100
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return seconds, growth / 1024


def paper() -> list[dict[str, str]]:
    """What an hour of video and a million clips of 10 s take, one object, no overlay."""
    rows = []
    with (HERE / "pipeline.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["objects"] != "1" or row["dtype"] != "float32" or "skip" in row["settings"]:
                continue
            more = sum(float(row[stage]) for stage in OF_PIXELS) * (PIXELS_OF_720P - 1)
            frame_ms = float(row["whole_ms"]) - float(row["overlay_ms"]) + more
            hours = frame_ms / 1000 * FRAMES_PER_SECOND * NUM_CORES
            random = " (random weights)" if row["weights"] == "random" else ""
            rows.append(
                {
                    "model": row["model"] + random,
                    "method": "memory" if "memory" in row["settings"] else "persam-f",
                    "cpu": row["cpu"],
                    "frame": f"{frame_ms:.0f}",
                    "per_second": f"{1000 / frame_ms / NUM_CORES:.2f}",
                    "hours": f"{hours:.1f}",
                    "cost": f"{hours * COST_OF_CORE_HOUR:.2f}",
                    "million": f"{hours * 1e7 / 3600:,.0f}",
                }
            )
    return rows


if __name__ == "__main__":
    main()
