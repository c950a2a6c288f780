"""What one click makes of a mask that was found in another way, as by tracking; a CSV row each.

    python benchmarks/corrections.py ../shared/davis

Of the middle frame of each sequence of DAVIS 2016 the annotation is spoiled: three tenths of it are
cut off, or a copy of them is added beside it. The contour is made rough, and one click is set where
the fault is thickest. The rows have the mean IoU with the annotation: of the spoiled mask, of what
the click gives without it, and of the mask that :meth:`HintSession.correct` makes of it. A
correction that is refused counts as what the page shows then: for a click on a missing part, the
mask of the click alone; for a click on what is too much, the mask before it.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rows import append_row, environment

import vos
from vos.hint import Click, Hint
from vos.masks import mask_box_xyxy, read_mask
from vos.track.hints import HintSession

RESULTS = Path(__file__).with_suffix(".csv")
CUT_SHARE = 0.3
Mask = NDArray[np.bool_]


@click.command()
@click.argument("root", type=click.Path(path_type=Path))
def main(root: Path) -> None:
    """Print and keep the figures of ROOT."""
    sam = vos.load_sam("nano")
    lists = [(root / f"ImageSets/2016/{name}.txt").read_text() for name in ("val", "hard")]
    names = " ".join(lists).split()
    rng = np.random.default_rng(0)
    for kind in ("missing", "too much"):
        rows = []
        for name in names:
            files = sorted((root / "Annotations/480p" / name).glob("*.png"))
            truth = read_mask(files[len(files) // 2]) > 0
            picture = root / "JPEGImages/480p" / name / f"{files[len(files) // 2].stem}.jpg"
            rgb = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
            spoiled = spoil(truth, kind, rng.uniform(0, 2 * np.pi))
            rows.append(measure(HintSession(rgb, sam), spoiled, truth))
            print(f"{name:18} {kind:9}", *(f"{each:.3f}" for each in rows[-1][:3]), flush=True)
        before, alone, corrected, cpu_ms = np.array(rows).T
        row = {
            "fault": kind,
            "num_frames": len(rows),
            "iou_before": f"{before.mean():.3f}",
            "iou_click_alone": f"{alone.mean():.3f}",
            "iou_corrected": f"{corrected.mean():.3f}",
            "num_worse": int((corrected < before - 0.005).sum()),
            "cpu_ms": f"{np.median(cpu_ms):.0f}",
        }
        append_row(RESULTS, row | environment())


def spoil(truth: Mask, kind: str, angle: float) -> Mask:
    """Cut a part off on the side of an angle, or add a copy of it further out."""
    height, width = truth.shape
    y, x = np.mgrid[:height, :width]
    along = x * np.cos(angle) + y * np.sin(angle)
    part = truth & (along > np.quantile(along[truth], 1 - CUT_SHARE))
    if kind == "missing":
        spoiled = truth & ~part
    else:
        step = np.sqrt(truth.sum()) / 2
        spoiled = truth.copy()
        ys, xs = np.nonzero(part)
        ys, xs = ys + round(step * np.sin(angle)), xs + round(step * np.cos(angle))
        is_inside = (ys >= 0) & (ys < height) & (xs >= 0) & (xs < width)
        spoiled[ys[is_inside], xs[is_inside]] = True
    return cv2.medianBlur(spoiled.astype(np.uint8) * 255, 9) > 0


def measure(session: HintSession, spoiled: Mask, truth: Mask) -> tuple[float, ...]:
    """Give the IoU before, of the click alone, and after; and the correction's processor time."""
    missing, extra = truth & ~spoiled, spoiled & ~truth
    is_missing = missing.sum() > extra.sum()
    fault = np.pad((missing if is_missing else extra).astype(np.uint8), 1)
    depth = cv2.distanceTransform(fault, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = map(int, np.unravel_index(depth.argmax(), depth.shape))
    point = Click(column, row, is_positive=bool(is_missing))
    began = time.process_time()
    done = session.correct(spoiled, [point])
    cpu_ms = 1000 * (time.process_time() - began)
    x0, y0, x1, y1 = map(int, mask_box_xyxy(spoiled))
    boxes = () if is_missing else ((x0, y0, x1, y1),)
    alone = session.reference({1: Hint((point,), boxes)})[0] > 0
    refused = alone if is_missing else spoiled
    masks = (spoiled, alone, refused if done is None else done[0])
    ious = ((mask & truth).sum() / (mask | truth).sum() for mask in masks)
    return (*ious, cpu_ms)


if __name__ == "__main__":
    main()
