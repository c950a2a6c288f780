"""How good the masks are that SAM makes of a box or of one click, and how good they say they are.

    python benchmarks/hints.py --davis ../shared/davis --clips ../shared/clips
    python benchmarks/hints.py --fit ../shared/train/shard_0.tar --fit ../shared/train/shard_1.tar

From annotations are made: the tight box around the object, and a click where it is thickest. Of
DAVIS 2016 every tenth frame of the sequences of val.txt and hard.txt is taken, of the clips the
first frame. Two rows are appended to benchmarks/hints.csv: the IoU with the annotation, as the mean
of the sequences' means (a clip counts as a sequence); the mean IoU that the masks' scores expect,
and how far it is off over five bins; the median times, wall clock and processor, of the first hint
and of one that has a further click where the first mask was wrong most; the IoU after it; the peak.

``--fit`` prints the weights of vos/track/hint_parts.py instead, fitted to the objects of tar files
as tools/train_nano.py reads them, of which the tuned group is the videos.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rows import Row, append_row, environment, peak_mib
from scipy.optimize import minimize
from scipy.stats import spearmanr

import vos
from vos.errors import MaskError
from vos.hint import Click, Hint
from vos.masks import mask_box_xyxy, read_mask
from vos.track.hint_parts import Evidence
from vos.track.hints import HintSession

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from nano_training.pairs import read_pairs

RESULTS = Path(__file__).with_suffix(".csv")
KINDS = ("box", "click")
WEIGHT_DECAY = 1e-3
NUM_BINS = 5
MIN_AREA_SHARE = 0.002


@dataclass(frozen=True)
class Item:
    """One annotated object of one picture; ``name`` is that of its sequence."""

    name: str
    is_video: bool
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Answer:
    """What a hint gave."""

    name: str
    is_video: bool
    iou: float
    corrected_iou: float
    evidence: Evidence
    first_ms: tuple[float, float]
    further_ms: tuple[float, float]


@click.command()
@click.option("--davis", type=click.Path(path_type=Path), help="A DAVIS 2016 root.")
@click.option(
    "--clips", type=click.Path(path_type=Path), help="A folder of NAME.mp4, NAME_mask.png."
)
@click.option("--fit", "sources", type=click.Path(path_type=Path), multiple=True)
@click.option("--every", default=10, help="Of the frames of a sequence.")
@click.option("--model", default="nano")
@click.option("--checkpoint", type=click.Path(path_type=Path))
@click.option("--device", default="cpu")
@click.option("--threads", type=int, help="As torch decides if left out.")
@click.option("--results", default=RESULTS, type=click.Path(path_type=Path), help="The CSV.")
@click.option("--note", default="", help="A word on what these rows are for.")
def main(
    davis: Path | None,
    clips: Path | None,
    sources: tuple[Path, ...],
    every: int,
    model: str,
    checkpoint: Path | None,
    device: str,
    threads: int | None,
    results: Path,
    note: str,
) -> None:
    """Append a row for boxes and one for clicks, or fit."""
    if threads:
        torch.set_num_threads(threads)
    vos.keep_freed_memory()
    sam = vos.load_sam(model, checkpoint, device=device, dtype="float32")
    if sources:
        print_weights(list(training_items(sources)), sam)
        return
    items = [*davis_items(davis, every), *clip_items(clips)]
    for kind in KINDS:
        answers = [answer(item, kind, sam) for item in items]
        of_name = defaultdict(list)
        for each in answers:
            of_name[each.name].append(each.iou)
        means = {name: float(np.mean(ious)) for name, ious in of_name.items()}
        ious = np.array([each.iou for each in answers])
        expected = np.array([each.evidence.expected_iou for each in answers])
        row = {
            **environment(),
            "model": model,
            "weights": (sam.weights_sha256 or "")[:12],
            "device": device,
            "threads": torch.get_num_threads(),
            "kind": kind,
            "objects": len(answers),
            "mean_iou": round(float(np.mean(list(means.values()))), 4),
            "per_sequence": " ".join(f"{name}={mean:.3f}" for name, mean in means.items()),
            "mean_iou_corrected": round(
                float(np.mean([each.corrected_iou for each in answers])), 4
            ),
            "expected_iou": round(float(expected.mean()), 4),
            "iou_of_objects": round(float(ious.mean()), 4),
            "calibration_error": round(calibration_error(expected, ious), 4),
            **times("first", [each.first_ms for each in answers]),
            **times("further", [each.further_ms for each in answers]),
            "peak_mib": peak_mib(),
            "note": note,
        }
        append_row(results, row)


def davis_items(root: Path | None, every: int) -> Iterator[Item]:
    """Every so manieth annotated frame of the sequences that are reported."""
    splits = (
        [] if root is None else [root / "ImageSets" / "2016" / f"{n}.txt" for n in ("val", "hard")]
    )
    for name in [name for split in splits if split.exists() for name in split.read_text().split()]:
        for path in sorted((root / "Annotations" / "480p" / name).glob("*.png"))[::every]:
            mask = read_mask(path) > 0
            with vos.open_source(
                root / "JPEGImages" / "480p" / name / f"{path.stem}.jpg"
            ) as source:
                yield Item(name, True, next(source).rgb, mask)


def clip_items(folder: Path | None) -> Iterator[Item]:
    """The objects of each clip's first frame."""
    for video in sorted(folder.glob("*.mp4")) if folder else ():
        labels = read_mask(folder / f"{video.stem}_mask.png")
        with vos.open_source(video) as source:
            rgb = next(source).rgb
        for object_id in np.unique(labels[labels > 0]):
            yield Item(f"clip-{video.stem}", True, rgb, labels == object_id)


def training_items(sources: Iterable[Path]) -> Iterator[Item]:
    """First, middle and last frame of the training videos, and one object of some other images."""
    pairs = read_pairs(sources)
    random = np.random.default_rng(0)
    for (_, name), frames in sorted(pairs.videos.items()):
        numbers = sorted(frames)
        for number in (numbers[0], numbers[len(numbers) // 2], numbers[-1]):
            rgb, labels = frames[number].decode()
            yield Item(name, True, rgb, labels > 0)
    for group in ("coco", "duts"):
        images = pairs.by_group.get(group, [])
        for index in random.permutation(len(images))[:40]:
            rgb, labels = images[index].decode()
            ids, areas = np.unique(labels[labels > 0], return_counts=True)
            large = ids[areas >= MIN_AREA_SHARE * labels.size]
            if len(large):
                yield Item(images[index].name, False, rgb, labels == random.choice(large))


def hint_of(mask: NDArray[np.bool_], kind: str) -> Hint:
    """The tight box around a mask, or a click where it is thickest."""
    if kind == "box":
        x0, y0, x1, y1 = mask_box_xyxy(mask).tolist()
        return Hint(boxes_xyxy=((x0, y0, x1, y1),))
    return Hint(clicks=(inmost_click(mask),))


def inmost_click(mask: NDArray[np.bool_]) -> Click:
    depths = cv2.distanceTransform(
        np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    row, column = np.unravel_index(int(depths[1:-1, 1:-1].argmax()), mask.shape)
    return Click(int(column), int(row))


def answer(item: Item, kind: str, sam: vos.SamModel, *, is_corrected: bool = True) -> Answer:
    """Hint at one object, and then click on the thickest error."""
    session = HintSession(item.rgb, sam)
    hint = hint_of(item.mask, kind)
    found, evidence, first_ms = segment(session, hint)
    iou = overlap(found, item.mask)
    corrected_iou, further_ms = iou, (0.0, 0.0)
    if is_corrected:
        error = inmost_click(found ^ item.mask)
        further = Click(error.x, error.y, is_positive=bool(item.mask[error.y, error.x]))
        further_hint = Hint((*hint.clicks, further), hint.boxes_xyxy)
        corrected, _, further_ms = segment(session, further_hint)
        corrected_iou = overlap(corrected, item.mask)
    return Answer(item.name, item.is_video, iou, corrected_iou, evidence, first_ms, further_ms)


def times(name: str, spent_ms: list[tuple[float, float]]) -> Row:
    """The medians of wall and of processor time."""
    wall_ms, cpu_ms = np.median(spent_ms, axis=0).round().tolist()
    return {f"{name}_ms": wall_ms, f"{name}_cpu_ms": cpu_ms}


def segment(
    session: HintSession, hint: Hint
) -> tuple[NDArray[np.bool_], Evidence, tuple[float, float]]:
    """Give mask, evidence and spent time; nothing at all where nothing is found."""
    found = np.zeros(session.frame.frame_hw, dtype=np.bool_)
    evidence = Evidence(0, 0, 0, 0)
    started, cpu_started = time.perf_counter(), time.process_time()
    with suppress(MaskError):
        for part in session.segment(hint):
            found[part.slices] |= (part.logits > 0).cpu().numpy()
            evidence = part.evidence
    spent = time.perf_counter() - started, time.process_time() - cpu_started
    return found, evidence, (spent[0] * 1e3, spent[1] * 1e3)


def overlap(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth)


def print_weights(items: list[Item], sam: vos.SamModel) -> None:
    """Fit the scores to training objects, and say how far off they are on those left out."""
    answers = [answer(item, kind, sam, is_corrected=False) for kind in KINDS for item in items]
    for kind, own in zip(KINDS, np.array_split(np.array(answers, dtype=object), 2), strict=True):
        for group, is_own in (("videos", True), ("images", False)):
            ious = [each.iou for each in own if each.is_video == is_own]
            print(f"{kind}, {group}: {len(ious)} objects, mean IoU {np.mean(ious):.4f}")
    evidence = np.array([astuple(each.evidence) for each in answers])
    ious = np.array([each.iou for each in answers])
    names = sorted({each.name for each in answers})
    folds = np.array([names.index(each.name) % NUM_BINS for each in answers])
    expected = np.zeros(len(ious))
    for fold in range(NUM_BINS):
        weights = fit(evidence[folds != fold], ious[folds != fold])
        logits = evidence[folds == fold] @ weights[:-1] + weights[-1]
        expected[folds == fold] = 1 / (1 + np.exp(-logits))
    print(
        f"left out: mean IoU {ious.mean():.3f}, expected {expected.mean():.3f}, "
        f"calibration error {calibration_error(expected, ious):.3f}, "
        f"mean error {np.abs(expected - ious).mean():.3f}, "
        f"rank correlation {spearmanr(expected, ious)[0]:.2f}"
    )
    print("weights and bias:", fit(evidence, ious).round(2).tolist())


def fit(evidence: NDArray[np.float64], ious: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give weights, and last the bias, by logistic regression on fractional targets."""
    mean, deviation = evidence.mean(axis=0), evidence.std(axis=0)
    rows = np.column_stack([(evidence - mean) / deviation, np.ones(len(evidence))])

    def loss(weights: NDArray[np.float64]) -> float:
        logits = rows @ weights
        errors = np.logaddexp(0, logits) - ious * logits
        return float(errors.mean() + WEIGHT_DECAY * np.square(weights[:-1]).sum())

    weights = minimize(loss, np.zeros(rows.shape[1])).x
    scaled = weights[:-1] / deviation
    return np.append(scaled, weights[-1] - scaled @ mean)


def calibration_error(expected: NDArray[np.float64], ious: NDArray[np.float64]) -> float:
    """Give the mean distance of expected and true mean IoU, over bins of equal size."""
    bins = np.array_split(np.argsort(expected), NUM_BINS)
    gaps = [len(own) * abs(expected[own].mean() - ious[own].mean()) for own in bins]
    return float(sum(gaps) / len(ious))


if __name__ == "__main__":
    main()
