"""Segment and score a DAVIS-layout set; append one row to benchmarks/results.csv.

    python benchmarks/davis.py ../shared/davis --year 2016 --split val --published
    python benchmarks/davis.py DAVIS --model vit_h --features dinov2-base --device cuda

Speed stands beside accuracy and memory. Frames per second are of the whole pipeline, from files to
files, without the overlay and without loading the model; the peak is the whole process'.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
from methods import chosen, method_option
from rows import append_row, environment, peak_mib

import vos
from vos.run.outputs import Outputs
from vos.sam.weights.registry import FEATURES
from vos.score.scores import Evaluation
from vos.sets.davis import DavisSequence, davis_job, find_davis_sequences
from vos.track.method import Model

RESULTS = Path(__file__).with_name("results.csv")


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--year", type=int, default=2017)
@click.option("--split")
@click.option("--model", default="nano")
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option("--features", type=click.Choice(list(FEATURES)), help="Beside SAM's own.")
@click.option("--features-weight", type=float, default=0.5)
@click.option("--features-checkpoint", type=click.Path(path_type=Path))
@click.option("--device", default="auto")
@click.option("--dtype", default="auto")
@method_option
@click.option(
    "--memory",
    "memory_settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of vos.Memory, the value as JSON. Repeatable.",
)
@click.option("--published", is_flag=True)
@click.option("--note", default="", help="A word on what this row is for.")
def main(
    root: Path,
    year: int,
    split: str | None,
    model: str,
    checkpoint: Path | None,
    features: str | None,
    features_weight: float,
    features_checkpoint: Path | None,
    device: str,
    dtype: str,
    method: str | None,
    memory_settings: tuple[str, ...],
    published: bool,
    note: str,
) -> None:
    """Print J and F of every sequence and append the overall row."""
    vos.keep_freed_memory()
    memory = {name: json.loads(value) for name, value in (s.split("=") for s in memory_settings)}
    config, settings = chosen(method or ("published" if published else "memory"))
    if memory:
        config = vos.RunConfig(method=replace(config.method, **memory))
    of_features = [] if features is None else [f"features={features}*{features_weight}"]
    settings = " ".join([settings, *of_features, *memory_settings])
    if isinstance(config.method, vos.Cutie | vos.Sam2):
        if features is not None:
            raise click.UsageError(f"--method {method} has features of its own")
        sam: Model = vos.load_network(config.method, checkpoint, device)
    else:
        further = None
        if features is not None:
            further = vos.Features(
                name=features, weight=features_weight, checkpoint=features_checkpoint
            )
        sam = vos.load_sam(
            model, checkpoint=checkpoint, device=device, dtype=dtype, features=further
        )
    scores, num_frames, seconds = run_and_score(root, year, split, sam, config)
    for sequence in scores.sequences:
        figures = sequence.statistics.measures()
        print(f"{sequence.name:16} J {figures['J-Mean']:.3f}  F {figures['F-Mean']:.3f}")
    figures = scores.statistics.measures()
    row = {
        **environment(),
        "data": root.name,
        "year": year,
        "model": sam.name,
        "weights": (sam.weights_sha256 or "")[:12],
        "device": str(sam.device),
        "dtype": sam.dtype,
        "settings": settings,
        "J&F": round(figures["J&F-Mean"], 4),
        "J": round(figures["J-Mean"], 4),
        "F": round(figures["F-Mean"], 4),
        "frames": num_frames,
        "frames_per_second": round(num_frames / seconds, 3),
        "peak_mib": peak_mib(),
        "note": note,
    }
    append_row(RESULTS, row)


def run_and_score(
    root: Path,
    year: int,
    split: str | None,
    sam: Model,
    config: vos.RunConfig,
) -> tuple[Evaluation, int, float]:
    """Scores of a set, its number of frames, and the seconds that segmenting them took."""

    def segment(sequence: DavisSequence, outputs: Outputs) -> int:
        return segment_sequence(sequence, outputs, sam, config)

    return score_segmenter(root, year, split, segment)


def segment_sequence(
    sequence: DavisSequence, outputs: Outputs, sam: Model, config: vos.RunConfig
) -> int:
    """Do the job of a sequence, and give its number of frames."""
    where = vos.JobOutputs(folder=outputs.folder, overlay_alpha=outputs.overlay_alpha)
    return vos.run_job(davis_job(sequence, where, config=config), sam).num_done


def score_segmenter(
    root: Path,
    year: int,
    split: str | None,
    segment: Callable[[DavisSequence, Outputs], int],
) -> tuple[Evaluation, int, float]:
    """The same, of whatever writes a sequence's results and gives its number of frames."""
    sequences = find_davis_sequences(root, year=year, split=split)
    seconds, num_frames = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        for sequence in sequences:
            outputs = Outputs(folder=Path(folder), name=sequence.name, overlay_alpha=None)
            started = time.perf_counter()
            num_frames += segment(sequence, outputs)
            seconds += time.perf_counter() - started
        names = [sequence.name for sequence in sequences]
        return vos.evaluate(root, folder, year=year, sequences=names), num_frames, seconds


if __name__ == "__main__":
    main()
