"""Fit the weights of vos/track/memory/trust.py: from what speaks for a mask to its expected IoU.

    python tools/calibrate_score.py ../shared/train/*.tar --check ../shared/davis

The videos of the sources (group ``davis16``: every second frame of the training sequences of DAVIS
2016) are tracked from their first mask with the default settings; a logistic regression then
explains each frame's IoU by its evidence. Printed are the weights, and how far expected and true
IoU are apart: for each video by weights that were fitted to the others, and for the sequences of
``--check`` (a DAVIS 2016 root), of which nothing was used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from unittest import mock

import click
import numpy as np
from nano_training.pairs import read_pairs
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import spearmanr

import vos
from vos.masks import read_mask
from vos.sets.davis import find_davis_sequences
from vos.track.memory import trust

_WEIGHT_DECAY = 1e-3
_NUM_BINS = 10

SPLITS = ("val", "hard")
"""Of the sequences that nothing is fitted to."""

Clip = Iterable[tuple[NDArray[np.uint8], NDArray[np.bool_]]]


@dataclass(frozen=True)
class Tracked:
    """The frames of one video in which the object was found.

    Attributes:
        evidence: (N, E).
        ious: (N,) with the annotation.
    """

    evidence: NDArray[np.float64]
    ious: NDArray[np.float64]


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", type=click.Path(path_type=Path), help="A DAVIS 2016 root, val and hard.")
@click.option("--model", default="nano")
def main(sources: tuple[Path, ...], check: Path | None, model: str) -> None:
    """Fit, and say how good the fit is."""
    sam = vos.load_sam(model, dtype="float32")
    training = []
    for (_, name), frames in sorted(read_pairs(sources).videos.items()):
        pictures = (frames[number].decode() for number in sorted(frames))
        training.append(track(((rgb, labels > 0) for rgb, labels in pictures), sam))
        print(f"{name}: {len(training[-1].ious)} frames, mean IoU {training[-1].ious.mean():.3f}")
    weights = fit(training)
    print("weights:", ", ".join(f"{weight:.2f}" for weight in weights[:-1]), f"{weights[-1]:.2f}")
    others = [fit(training[:n] + training[n + 1 :]) for n in range(len(training))]
    report("left-out videos", training, others)
    if check is not None:
        shipped = np.array([*trust.WEIGHTS, trust.BIAS])
        every: list[Tracked] = []
        for split in SPLITS:
            if not (check / "ImageSets" / "2016" / f"{split}.txt").exists():
                continue
            sequences = find_davis_sequences(check, year=2016, split=split)
            unseen = [track(read_sequence(check, each.name), sam) for each in sequences]
            every += unseen
            for title, part in ((split, unseen), ("all so far", every)):
                report(f"{title}, weights of vos", part, [shipped] * len(part))
                report(f"{title}, new weights", part, [weights] * len(part))


def read_sequence(root: Path, name: str) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Give the annotated frames of a DAVIS sequence."""
    annotations = root / "Annotations" / "480p" / name
    with vos.open_source(root / "JPEGImages" / "480p" / name) as frames:
        for frame in frames:
            yield frame.rgb, read_mask(annotations / f"{frame.name}.png") > 0


def track(clip: Clip, sam: vos.SamModel) -> Tracked:
    """Follow one object with the default settings, and keep what spoke for it in each frame."""
    pictures, masks = zip(*clip, strict=True)
    seen: list[trust.Evidence] = []
    rows, ious = [], []

    def listen(evidence: trust.Evidence) -> float:
        seen.append(evidence)
        return 1.0

    with mock.patch("vos.track.memory.follow.expected_iou", listen):
        frames = vos.frames_from_arrays(pictures)
        results = vos.segment_video(frames, masks[0].astype(np.uint8), sam)
        next(results)
        for (_, found), truth in zip(results, masks[1:], strict=True):
            own = found.labels > 0
            if found.present[0] and (own | truth).any():
                rows.append(astuple(seen[-1]))
                ious.append((own & truth).sum() / (own | truth).sum())
    return Tracked(np.array(rows).reshape(len(rows), -1), np.array(ious))


def fit(videos: list[Tracked]) -> NDArray[np.float64]:
    """Give the weights, and last the bias, by logistic regression on fractional targets."""
    evidence = np.concatenate([each.evidence for each in videos])
    ious = np.concatenate([each.ious for each in videos])
    mean, deviation = evidence.mean(axis=0), evidence.std(axis=0)
    rows = np.column_stack([(evidence - mean) / deviation, np.ones(len(evidence))])

    def loss(weights: NDArray[np.float64]) -> float:
        logits = rows @ weights
        errors = np.logaddexp(0, logits) - ious * logits
        return float(errors.mean() + _WEIGHT_DECAY * np.square(weights[:-1]).sum())

    weights = minimize(loss, np.zeros(rows.shape[1])).x
    scaled = weights[:-1] / deviation
    return np.append(scaled, weights[-1] - scaled @ mean)


def report(title: str, videos: list[Tracked], weights: list[NDArray[np.float64]]) -> None:
    """Print how far expected and true IoU are apart, one set of weights for each video."""
    pairs = [(video, own) for video, own in zip(videos, weights, strict=True) if len(video.ious)]
    expected = np.concatenate(
        [1 / (1 + np.exp(-video.evidence @ own[:-1] - own[-1])) for video, own in pairs]
    )
    ious = np.concatenate([video.ious for video, _ in pairs])
    likeness = np.concatenate([video.evidence[:, 0] for video, _ in pairs])
    print(
        f"{title}: {len(ious)} frames, mean IoU {ious.mean():.3f}, expected {expected.mean():.3f}"
    )
    for name, scores in (("expected IoU", expected), ("likeness alone", likeness)):
        bins = np.array_split(np.argsort(scores), _NUM_BINS)
        gaps = [len(own) * abs(scores[own].mean() - ious[own].mean()) for own in bins]
        print(
            f"  {name}: mean error {np.abs(scores - ious).mean():.3f}, calibration error "
            f"{sum(gaps) / len(ious):.3f}, rank correlation {spearmanr(scores, ious)[0]:.2f}"
        )


if __name__ == "__main__":
    main()
