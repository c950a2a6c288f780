"""What references at other frames are worth, and corrections; a CSV row for each sequence.

    python benchmarks/references.py ../shared/davis --year 2016
    python benchmarks/references.py ../shared/moseg

Each sequence is segmented from the annotation of its first frame, of its middle one, of both, and
of these and the last; then results from the first are updated with the true mask of the first frame
whose IoU is below .7. J&F is the mean over the frames whose annotation is given in none of these:
what is given would raise it by itself. How many those are is in the row, too, and J&F of each
object: where annotations are sparse it may be a single frame, in which a small object decides, or
none.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
from rows import append_row, environment

import vos
from vos.run.references import Reference
from vos.score.scores import SequenceScore
from vos.sets.davis import DavisSequence, davis_job, find_davis_sequences
from vos.sets.layout import mask_files
from vos.source import image_files

RESULTS = Path(__file__).with_name("references.csv")
CORRECTED_BELOW = 0.7


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--year", type=int, default=2017, show_default=True, help="2016 joins all objects.")
@click.option("--sequence", "names", multiple=True, help="Only this one. Repeatable.")
def main(root: Path, year: int, names: tuple[str, ...]) -> None:
    """Print and keep the figures of every sequence of ROOT."""
    vos.keep_freed_memory()
    sam = vos.load_sam("nano")
    for sequence in find_davis_sequences(root, year=year):
        if not names or sequence.name in names:
            judge(root, sequence, sam)


def judge(root: Path, sequence: DavisSequence, sam: vos.SamModel) -> None:
    """Do the jobs of one sequence and append its row."""
    annotations = mask_files(sequence.reference.parent)
    stems = [path.stem for path in image_files(sequence.images_dir)]
    given = [annotations[0], annotations[len(annotations) // 2], annotations[-1]]
    variants = {"first": [0], "middle": [1], "first_middle": [0, 1], "first_middle_last": [0, 1, 2]}
    row = {**environment(), "data": root.name, "sequence": sequence.name, "frames": len(stems)}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name, numbers in variants.items():
            job = make_job(sequence, folder / name, [given[number] for number in numbers], stems)
            result = vos.run_job(job, sam)
            scores = score(root, sequence, folder / name)
            left_out = [path.stem for path in given]
            row[name] = mean(scores, left_out)
            row[f"{name}_objects"] = " ".join(f"{each:.3f}" for each in means(scores, left_out))
            row["scored"] = sum(stem not in left_out for stem in scores.frame_names)
            row[f"{name}_passes"] = round(result.num_done / len(stems), 3)
        scores = score(root, sequence, folder / "first")
        wrong = first_wrong(scores)
        row |= {"corrected": -1, "before": row["first"], "after": row["first"], "again": 0.0}
        if wrong is not None:
            left_out = [given[0].stem, wrong]
            row["before"] = mean(scores, left_out)
            correction = sequence.reference.with_name(f"{wrong}.png")
            job = make_job(sequence, folder / "first", [given[0], correction], stems)
            again = set()
            vos.run_job(job, sam, lambda done: again.add(done.frame.index), update=True)
            row["corrected"] = stems.index(wrong)
            row["after"] = mean(score(root, sequence, folder / "first"), left_out)
            row["again"] = round(len(again) / len(stems), 3)
    append_row(RESULTS, row)


def make_job(sequence: DavisSequence, folder: Path, masks: list[Path], stems: list[str]) -> vos.Job:
    """Give the job with the annotations of some frames as references."""
    job = davis_job(sequence, vos.JobOutputs(folder=folder, overlay_alpha=None))
    references = tuple(
        Reference(frame=stems.index(mask.stem), mask=mask, join_objects=sequence.join_objects)
        for mask in masks
    )
    return vos.Job(source=job.source, references=references, outputs=job.outputs, config=job.config)


def score(root: Path, sequence: DavisSequence, folder: Path) -> SequenceScore:
    """Score all annotated frames but the first and the last."""
    year = 2016 if sequence.join_objects else 2017
    return vos.evaluate(root, folder, year=year, sequences=[sequence.name]).sequences[0]


def mean(scores: SequenceScore, left_out: list[str]) -> float:
    """Give the mean J&F of all scored frames but some; NaN where none is left."""
    per_object = means(scores, left_out)
    return round(float(np.mean(per_object)), 4) if per_object else float("nan")


def means(scores: SequenceScore, left_out: list[str]) -> list[float]:
    """Give the same of each object; nothing where no frame is left."""
    kept = [name not in left_out for name in scores.frame_names]
    if not any(kept):
        return []
    return [(each.j[kept].mean() + each.f[kept].mean()) / 2 for each in scores.objects]


def first_wrong(scores: SequenceScore) -> str | None:
    """Give the name of the first frame in which an object's IoU is too low."""
    wrong = np.flatnonzero(np.min([each.j for each in scores.objects], axis=0) < CORRECTED_BELOW)
    return scores.frame_names[wrong[0]] if len(wrong) else None


if __name__ == "__main__":
    main()
