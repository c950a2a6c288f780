"""Fit the weights of vos/track/published/presence.py: from evidence to how likely it is right.

    python tools/calibrate_presence.py ../shared/train/*.tar --check ../shared/davis

Each training sequence of DAVIS 2016 (group ``davis16`` of the sources) gives a reference, its first
frame. As many pictures have its object as lack it: frames far from the first, and the object of
such frames cut out, resized, mirrored and put into another picture; frames of the other sequences,
and pictures of the groups ``coco``, ``duts`` and ``pets``. All are seen in another light than the
reference: exposure, contrast and white balance change. A find is right if its IoU with the object
is above one half. A logistic regression explains that by the evidence.

Printed are the weights, and how well scores tell right finds from pictures without the object: for
each sequence by weights that were fitted to the others, and for the sequences of ``--check`` (a
DAVIS 2016 root), of which nothing was used: the reference is the first frame, the pictures are five
later ones of the same sequence and two of each other one, as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from unittest import mock

import click
import cv2
import numpy as np
from calibrate_score import Tracked, fit
from nano_training.pairs import Pair, read_pairs
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import mannwhitneyu

import vos
from vos.config import PersamF, RunConfig
from vos.records import Frame
from vos.score.measures import region_j
from vos.sets.davis import find_davis_sequences
from vos.sets.pictures import read_picture
from vos.source import image_files
from vos.track.published import presence

NUM_FAR = NUM_OTHER_VIDEOS = 4
NUM_PASTED = NUM_STILLS = 3
STILL_GROUPS = ("coco", "duts", "pets")
RIGHT_IOU = 0.5
NUM_BINS = 10

Rgb = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Picture = tuple[Rgb, Mask | None]
"""A picture, and where the object is in it, if it is."""


@dataclass(frozen=True)
class Searched:
    """The pictures that one reference was searched in.

    Attributes:
        name: Of the reference.
        evidence: (N, E).
        ious: (N,) of the finds with the object; 0 where it is absent.
        is_there: (N,) whether the picture has the object.
    """

    name: str
    evidence: NDArray[np.float64]
    ious: NDArray[np.float64]
    is_there: NDArray[np.bool_]

    @property
    def is_right(self) -> NDArray[np.bool_]:
        return self.ious > RIGHT_IOU


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", type=click.Path(path_type=Path), help="A DAVIS 2016 root.")
@click.option("--model", default="nano", show_default=True)
def main(sources: tuple[Path, ...], check: Path | None, model: str) -> None:
    """Fit, and say how good the fit is."""
    sam = vos.load_sam(model, dtype="float32")
    training = []
    for name, reference, pictures in training_sets(sources):
        training.append(search(name, reference, pictures, sam))
        print(f"{name}: right in {training[-1].is_right.sum()} of {training[-1].is_there.sum()}")
    weights = fit(targets(training))
    print("weights:", ", ".join(f"{weight:.2f}" for weight in weights[:-1]), f"{weights[-1]:.2f}")
    others = [fit(targets(training[:n] + training[n + 1 :])) for n in range(len(training))]
    report("left-out sequences", training, others)
    if check is not None:
        unseen = [search(*each, sam) for each in check_sets(check)]
        shipped = np.array([*presence.WEIGHTS, presence.BIAS])
        for title, used in (("weights of vos", shipped), ("new weights", weights)):
            report(f"{check.name}, {title}", unseen, [used] * len(unseen))


def training_sets(
    sources: Iterable[Path], seed: int = 0
) -> Iterator[tuple[str, tuple[Rgb, Mask], list[Picture]]]:
    """Give each training sequence's reference and the pictures to search."""
    rng = np.random.default_rng(seed)
    pairs = read_pairs(sources)
    videos = {
        name: [frames[number] for number in sorted(frames)]
        for (_, name), frames in sorted(pairs.videos.items())
    }
    stills = [pair for group in STILL_GROUPS for pair in pairs.by_group[group]]
    for name, frames in videos.items():
        far = frames[max(1, len(frames) // 5) :]
        chosen = [far[i] for i in np.linspace(0, len(far) - 1, NUM_FAR).astype(int)]
        pictures: list[Picture] = [object_of(pair) for pair in chosen]
        for pair, ground in zip(chosen, draw(rng, stills, NUM_PASTED), strict=False):
            pictures.append(paste(*object_of(pair), ground.decode()[0], rng))
        others = [pair for other, video in videos.items() if other != name for pair in video]
        absent = draw(rng, others, NUM_OTHER_VIDEOS) + draw(rng, stills, NUM_STILLS)
        pictures += [(pair.decode()[0], None) for pair in absent]
        yield name, object_of(frames[0]), [(relit(rgb, rng), mask) for rgb, mask in pictures]


def check_sets(root: Path) -> Iterator[tuple[str, tuple[Rgb, Mask], list[Picture]]]:
    """Give each sequence's first frame, five later ones and two of each other sequence."""
    sequences = {}
    for each in find_davis_sequences(root, year=2016):
        files = image_files(each.images_dir)
        chosen = [files[i] for i in np.linspace(0, len(files) - 1, 6).astype(int)]
        sequences[each.name] = [read_annotated(file, each.reference.parent) for file in chosen]
    for name, (first, *later) in sequences.items():
        pictures: list[Picture] = [(rgb, mask if mask.any() else None) for rgb, mask in later]
        for other, frames in sequences.items():
            if other != name:
                pictures += [(frames[i][0], None) for i in (2, 5)]
        yield name, first, pictures


def read_annotated(file: Path, annotations: Path) -> tuple[Rgb, Mask]:
    """Read a frame of a sequence, and where its object is."""
    with Image.open(annotations / f"{file.stem}.png") as annotation:
        return read_picture(file).rgb, np.array(annotation) > 0


def object_of(pair: Pair) -> tuple[Rgb, Mask]:
    """Give a frame, and where its object is."""
    rgb, labels = pair.decode()
    return rgb, labels > 0


def draw(rng: np.random.Generator, pairs: list[Pair], count: int) -> list[Pair]:
    """Give some of many, each once."""
    return [pairs[i] for i in rng.choice(len(pairs), count, replace=False)]


def paste(rgb: Rgb, mask: Mask, ground: Rgb, rng: np.random.Generator) -> tuple[Rgb, Mask]:
    """Cut an object out, resize it, perhaps mirror it, and put it somewhere into a picture."""
    rows, columns = np.nonzero(mask)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    cut, share = rgb[box], mask[box].astype(np.float32)
    if rng.random() < 0.5:
        cut, share = cut[:, ::-1], share[:, ::-1]
    room = 0.8 * np.divide(ground.shape[:2], share.shape).min()
    height, width = np.maximum(8, np.multiply(share.shape, min(rng.uniform(0.6, 1.3), room)))
    size = int(width), int(height)
    cut, share = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (cut, share))
    y, x = (
        rng.integers(whole - part + 1)
        for whole, part in zip(ground.shape[:2], share.shape, strict=True)
    )
    there = np.s_[y : y + share.shape[0], x : x + share.shape[1]]
    picture, truth = ground.copy(), np.zeros(ground.shape[:2], dtype=np.bool_)
    blended = ground[there] + share[..., None] * (cut.astype(np.float32) - ground[there])
    picture[there] = blended.round().clip(0, 255).astype(np.uint8)
    truth[there] = share > 0.5
    return picture, truth


def relit(rgb: Rgb, rng: np.random.Generator) -> Rgb:
    """Change exposure, contrast and white balance."""
    gains = rng.uniform(0.75, 1.25) * rng.uniform(0.92, 1.08, 3)
    return (255 * (rgb / 255) ** rng.uniform(0.75, 1.3) * gains).clip(0, 255).astype(np.uint8)


def search(
    name: str, reference: tuple[Rgb, Mask], pictures: list[Picture], sam: vos.SamModel
) -> Searched:
    """Search pictures as ``vos images`` does, and keep what spoke for each find."""
    seen: list[presence.Evidence] = []
    rows, ious, is_there = [], [], []

    def listen(evidence: presence.Evidence) -> float:
        seen.append(evidence)
        return 1.0

    config = RunConfig(method=replace(PersamF.for_images(), connected=True))
    rgb, mask = reference
    shown = [(Frame(0, 0.0, name, rgb), mask.astype(np.uint8))]
    frames = [Frame(n, 0.0, str(n), picture) for n, (picture, _) in enumerate(pictures)]
    with mock.patch("vos.track.published.presence.probability", listen):
        found = vos.segment_images(frames, shown, sam, config)
        for (_, masks), (_, truth) in zip(found, pictures, strict=True):
            if not masks.present[0]:
                continue
            labelled = masks.labels > 0
            rows.append(astuple(seen[-1]))
            is_there.append(truth is not None)
            ious.append(0.0 if truth is None else region_j(truth, labelled))
    return Searched(name, np.array(rows), np.array(ious), np.array(is_there))


def targets(searched: list[Searched]) -> list[Tracked]:
    """Give what is to be explained: whether a find is right."""
    return [Tracked(each.evidence, each.is_right.astype(np.float64)) for each in searched]


def report(title: str, searched: list[Searched], weights: list[NDArray[np.float64]]) -> None:
    """Print how well scores tell right finds from others, one set of weights per reference."""
    scores = np.concatenate(
        [
            1 / (1 + np.exp(-each.evidence @ fitted[:-1] - fitted[-1]))
            for each, fitted in zip(searched, weights, strict=True)
        ]
    )
    is_right = np.concatenate([each.is_right for each in searched])
    is_there = np.concatenate([each.is_there for each in searched])
    wrong = is_there & ~is_right
    shares = np.where(is_there, 0.5 / is_there.sum(), 0.5 / (~is_there).sum())
    errors = np.abs(scores - is_right)
    bins = np.minimum(scores * NUM_BINS, NUM_BINS - 1).astype(int)
    gaps = np.bincount(bins, shares * (scores - is_right))
    print(f"{title}: {len(scores)} pictures")
    for kind, rows in (
        ("right", is_right),
        ("wrong, object elsewhere", wrong),
        ("absent", ~is_there),
    ):
        print(
            f"  {kind}: {(scores[rows] >= 0.5).sum()} of {rows.sum()} have a score of 0.5 or more"
        )
    print(
        f"  ROC AUC {auc(scores[is_right], scores[~is_there]):.3f} (right, absent), "
        f"{auc(scores[is_there], scores[~is_there]):.3f} (there, absent)"
    )
    print(
        f"  if half of the pictures had the object: calibration error {np.abs(gaps).sum():.3f}, "
        f"mean error {shares @ errors:.3f}"
    )
    parts = np.concatenate([each.evidence for each in searched])
    for name, part in zip(presence.Evidence.__slots__, -parts.T, strict=True):
        print(f"  ROC AUC by {name} alone: {auc(part[is_right], part[~is_there]):.3f}")


def auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Give the probability that one of the first is above one of the second."""
    return float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))


if __name__ == "__main__":
    main()
