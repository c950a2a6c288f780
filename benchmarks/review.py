"""How many of the frames that are wrong ``vos review`` names first.

    python benchmarks/review.py --davis ../shared/davis --results FOLDER
    python benchmarks/review.py --fit ../shared/train/*.tar --results FOLDER

The sequences of val.txt and hard.txt of a DAVIS 2016 root are tracked from their first annotation
with the default settings; what is in FOLDER already is taken from there. A frame is wrong where the
IoU with its annotation is below one half. A row is appended to benchmarks/review.csv: of the wrong
frames of all sequences, how many are in the first tenth of all frames, ordered by their risk, how
many could be there, and how many are if ordered by the score alone; of the faults (stretches of
wrong frames), how many are met by a line of the list, and the lines.

``--fit`` prints the weights of vos/review/risk.py instead. The videos of tar files, as
tools/train_nano.py reads them, are tracked four times, from several frames and with frames left
out, so that enough goes wrong; figures are of videos that the weights were not fitted to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rows import Row, append_row, environment
from scipy.optimize import minimize
from scipy.stats import rankdata

import vos
from vos.masks import read_label_png
from vos.review import find_doubtful
from vos.review.risk import SIGNS, risks_of, signs_of, tracks_of
from vos.sets.davis import davis_job, find_davis_sequences

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from nano_training.pairs import read_pairs
from unpack_videos import write_videos

RESULTS = Path(__file__).with_suffix(".csv")
WRONG_IOU = 0.5
FIRST_SHARE = 0.1
SAMPLINGS = ((1, 0), (3, 0), (2, 4), (4, 2))  # every, and the first frame
WEIGHT_DECAY = 1e-3
NUM_FOLDS = 6


@dataclass(frozen=True)
class Reviewed:
    """The frames of one sequence after its reference.

    Attributes:
        name: The sequence's.
        signs: (N, S), the signs of vos/review/risk.py.
        scores: (N,).
        risks: (N,).
        is_wrong: (N,) bool.
        is_listed: (N,) bool, whether a line of the list is of it.
        num_lines: Of the list.
    """

    name: str
    signs: NDArray[np.float64]
    scores: NDArray[np.float64]
    risks: NDArray[np.float64]
    is_wrong: NDArray[np.bool_]
    is_listed: NDArray[np.bool_]
    num_lines: int


@click.command()
@click.option("--davis", type=click.Path(path_type=Path), help="A DAVIS 2016 root.")
@click.option("--fit", "sources", type=click.Path(path_type=Path), multiple=True)
@click.argument("more_sources", nargs=-1, type=click.Path(path_type=Path))
@click.option("--results", required=True, type=click.Path(path_type=Path), help="Is kept.")
@click.option("--model", default="nano")
@click.option("--note", default="", help="A word on what this row is for.")
def main(
    davis: Path | None,
    sources: tuple[Path, ...],
    more_sources: tuple[Path, ...],
    results: Path,
    model: str,
    note: str,
) -> None:
    """Append a row, or fit."""
    vos.keep_freed_memory()
    sam = vos.load_sam(model, device="cpu", dtype="float32")
    if davis is None:
        root = results / "videos"
        if not root.exists():
            write_videos(read_pairs((*sources, *more_sources)), root, "train")
        print_weights(
            [
                each
                for every, first in SAMPLINGS
                for each in track(root, "train", results / f"{every}_{first}", sam, every, first)
            ]
        )
        return
    reviewed = [each for split in ("val", "hard") for each in track(davis, split, results, sam)]
    is_wrong = np.concatenate([each.is_wrong for each in reviewed])
    num_first = round(FIRST_SHARE * len(is_wrong))
    risks = np.concatenate([each.risks for each in reviewed])
    doubts = 1 - np.concatenate([each.scores for each in reviewed])
    faults = [list(faults_of(each.is_wrong)) for each in reviewed]
    met = [
        each.is_listed[first : last + 1].any()
        for each, stretches in zip(reviewed, faults, strict=True)
        for first, last in stretches
    ]
    row: Row = {
        **environment(),
        "model": model,
        "weights": (sam.weights_sha256 or "")[:12],
        "frames": len(is_wrong),
        "wrong": int(is_wrong.sum()),
        "first_tenth": num_first,
        "wrong_in_first_tenth": first_wrong(risks, is_wrong),
        "at_best": min(num_first, int(is_wrong.sum())),
        "by_score_alone": first_wrong(doubts, is_wrong),
        "area_under_roc": round(area_under_roc(risks, is_wrong), 4),
        "faults": len(met),
        "faults_listed": int(np.sum(met)),
        "lines": sum(each.num_lines for each in reviewed),
        "per_sequence": " ".join(
            f"{each.name}={int(each.is_wrong[each.is_listed].sum())}/{each.is_wrong.sum()}"
            for each in reviewed
        ),
        "note": note,
    }
    append_row(RESULTS, row)


def track(
    root: Path, split: str, folder: Path, sam: vos.SamModel, every: int = 1, first: int = 0
) -> Iterator[Reviewed]:
    """Track sequences whose results are not there yet, and compare with the annotation."""
    for sequence in find_davis_sequences(root, year=2016, split=split):
        annotations = root / "Annotations" / "480p" / sequence.name
        paths = sorted(annotations.glob("*.png"))
        if len(paths) <= first + every or not read_label_png(paths[first]).any():
            continue
        job = davis_job(sequence, vos.JobOutputs(folder=folder, overlay_alpha=None))
        job = replace(
            job,
            references=(replace(job.references[0], mask=paths[first]),),
            selection=replace(job.selection, start=sequence.first_index + first, every=every),
        )
        vos.run_job(job, sam, resume=True)
        yield review(vos.read_results(folder, sequence.name), annotations)


def review(results: vos.Results, annotations: Path) -> Reviewed:
    """Compare results of one object with its annotation, but for the reference."""
    signs = signs_of(tracks_of(results), 0)
    doubts = find_doubtful(results)
    indices = [frame.index for frame in results.frames]
    is_listed = [any(d.first_index <= i <= d.last_index for d in doubts) for i in indices]
    ious = [
        overlap(results.labels(number) > 0, read_label_png(annotations / f"{frame.name}.png") > 0)
        for number, frame in enumerate(results.frames)
    ]
    return Reviewed(
        name=results.name,
        signs=signs.values[1:],
        scores=np.array([frame.scores[0] for frame in results.frames], np.float64)[1:],
        risks=risks_of(signs)[1:],
        is_wrong=np.array(ious)[1:] < WRONG_IOU,
        is_listed=np.array(is_listed)[1:],
        num_lines=len(doubts),
    )


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union; 1 where both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def first_wrong(risks: NDArray[np.float64], is_wrong: NDArray[np.bool_]) -> int:
    """How many wrong frames are in the first tenth."""
    first = np.argsort(-risks, kind="stable")[: round(FIRST_SHARE * len(risks))]
    return int(is_wrong[first].sum())


def faults_of(is_wrong: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last frame of each stretch of wrong ones."""
    edges = np.flatnonzero(np.diff(np.pad(is_wrong.astype(np.int8), 1)))
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


def area_under_roc(risks: NDArray[np.float64], is_wrong: NDArray[np.bool_]) -> float:
    """How likely a wrong frame has a higher risk than one that is not."""
    num_wrong, num_right = is_wrong.sum(), (~is_wrong).sum()
    ranks = rankdata(risks)[is_wrong].sum() - num_wrong * (num_wrong + 1) / 2
    return float(ranks / (num_wrong * num_right))


def print_weights(reviewed: list[Reviewed]) -> None:
    """Fit, and say how good weights are that were fitted to other videos."""
    names = sorted({each.name for each in reviewed})
    is_wrong = np.concatenate([each.is_wrong for each in reviewed])
    risks = np.zeros(len(is_wrong))
    folds = np.concatenate(
        [np.full(len(each.is_wrong), names.index(each.name) % NUM_FOLDS) for each in reviewed]
    )
    signs = np.concatenate([each.signs for each in reviewed])
    for fold in range(NUM_FOLDS):
        weights = fit(signs[folds != fold], is_wrong[folds != fold])
        logits = signs[folds == fold] @ weights[:-1] + weights[-1]
        risks[folds == fold] = 1 / (1 + np.exp(-logits))
    doubts = 1 - np.concatenate([each.scores for each in reviewed])
    print(
        f"{len(is_wrong)} frames, {is_wrong.sum()} wrong, expected {risks.sum():.0f}; in the first "
        f"tenth {first_wrong(risks, is_wrong)}, by the score alone {first_wrong(doubts, is_wrong)};"
        f" area under ROC {area_under_roc(risks, is_wrong):.3f}, by the score alone "
        f"{area_under_roc(doubts, is_wrong):.3f}"
    )
    weights = fit(signs, is_wrong).round(2).tolist()
    print("weights:", dict(zip(SIGNS, weights[:-1], strict=True)), "bias:", weights[-1])


def fit(signs: NDArray[np.float64], is_wrong: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give weights, none of them negative, and last the bias, by logistic regression."""
    scales = signs.std(axis=0) + 1e-6
    rows = np.column_stack([signs / scales, np.ones(len(signs))])

    def loss(weights: NDArray[np.float64]) -> float:
        logits = rows @ weights
        errors = np.logaddexp(0, logits) - is_wrong * logits
        return float(errors.mean() + WEIGHT_DECAY * np.square(weights[:-1]).sum())

    bounds = [(0, None)] * signs.shape[1] + [(None, None)]
    weights = minimize(loss, np.zeros(rows.shape[1]), bounds=bounds, method="L-BFGS-B").x
    return np.append(weights[:-1] / scales, weights[-1])


if __name__ == "__main__":
    main()
