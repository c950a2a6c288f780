"""Batches of tiny clips with the stand-in model, for tests; processes import this module."""

import json
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from colour_sam import ColourSam
from interrupted_runs import contents, make_clip

import vos
from vos.batch.do_job import BatchSettings, JobWorker
from vos.batch.local import run_here, run_processes
from vos.batch.manifest import open_manifest
from vos.batch.outcome import Outcome
from vos.batch.pending import Pending
from vos.batch.worker import WorkerSettings
from vos.run.run_job import load_model

NUM_FRAMES = 3
DEFAULTS = vos.Job(
    source="x",
    references=(vos.Reference(mask=Path("x")),),
    outputs=vos.JobOutputs(overlay_alpha=None),
    config=vos.RunConfig.published(),
)


def stand_in(choice: vos.ModelChoice) -> vos.SamModel:
    torch.set_num_threads(1)
    return vos.SamModel(ColourSam(), name="colour", weights_sha256="0" * 64)


def load_stand_in_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of a set have the stand-in too, by the default of their settings."""
    defaults = WorkerSettings.__init__.__kwdefaults__
    assert defaults["load_model"] is load_model
    monkeypatch.setitem(defaults, "load_model", stand_in)


class Slow:
    """A model loader that takes its time with every picture."""

    def __call__(self, choice):
        sam = stand_in(choice)
        encode = sam.encode

        def slowly(*args, **options):
            time.sleep(0.05)
            return encode(*args, **options)

        sam.encode = slowly
        return sam


def make_batch(
    folder: Path, num_clips: int, bad: tuple[int, ...] = (), num_frames=NUM_FRAMES
) -> Path:
    """Write clips of different lengths and a manifest of all; bad ones have a mask of no size."""
    rows = []
    for number in range(num_clips):
        clip = folder / f"clip{number:03d}"
        clip.mkdir(parents=True)
        make_clip(clip, num_frames + number % 2)
        if number in bad:
            (clip / "mask.png").write_bytes(b"no mask")
        rows.append({"video": f"{clip.name}/clip.mp4", "mask": f"{clip.name}/mask.png"})
    return write_manifest(folder, rows)


def write_manifest(folder: Path, rows: list[dict]) -> Path:
    lines = [
        json.dumps({"name": Path(row["video"]).parent.name, **row} if "video" in row else row)
        for row in rows
    ]
    manifest = folder / "jobs.jsonl"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def run_batch(
    manifest: Path,
    out: Path | str,
    *,
    num_workers: int = 1,
    load_model=stand_in,
    shard=(0, 1),
    max_tries=3,
    should_stop=lambda: False,
    on_frames=lambda _: None,
    **settings,
) -> dict[str, Outcome]:
    """Do a batch; give the outcomes by name."""
    settings = BatchSettings(
        out=str(out),
        scratch=Path(manifest).parent / "scratch",
        worker=WorkerSettings(load_model=load_model),
        **settings,
    )
    tasks = open_manifest(str(manifest), DEFAULTS).tasks(shard)
    pending = Pending(tasks, max_tries=max_tries, retry_seconds=0.01, poll_seconds=0.2)
    engine = run_here
    if num_workers > 1:
        engine = partial(run_processes, environments=[{"OMP_NUM_THREADS": "1"}] * num_workers)
    outcomes = engine(
        pending, partial(JobWorker, settings), on_frames=on_frames, should_stop=should_stop
    )
    return {outcome.name: outcome for outcome in outcomes}


def states(outcomes: dict[str, Outcome]) -> dict[str, int]:
    found = [outcome.state for outcome in outcomes.values()]
    return {state: found.count(state) for state in found}


def results(out: Path) -> dict[str, bytes]:
    """All results but the batch's own files, without times."""
    return {name: data for name, data in contents(out).items() if not name.startswith(".batch")}
