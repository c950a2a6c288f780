"""Objects of one kind in synthetic pictures: how many are found, and how many finds are right.

    python benchmarks/instances.py

One reference per scene, then pictures with one, two and four objects of its kind among one or two
others. First the overlap of the single find with the nearest object of the kind, with masks reduced
to their connected part and as published; then, for each ratio at which the search may stop, the
share of objects found and the share of finds that are objects (overlap above one half). Appended to
instances.csv beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rows import append_row, environment, peak_mib

import vos
from vos.records import Frame, Labels
from vos.synthetic import ClipConfig, Scene

RESULTS = Path(__file__).with_suffix(".csv")
FRAME_HW = (360, 480)
SEEDS = range(8)
NUM_OF_KIND = (1, 2, 4)
RATIOS = (0.7, 0.75, 0.8, 0.85, 0.9)


def main() -> None:
    """Print and append all rows."""
    sam = vos.load_sam("nano", device="cpu", dtype="float32")
    common = {**environment(), "weights": (sam.weights_sha256 or "")[:12]}
    for method in ("persam_f", "persam"):
        for is_connected in (True, False):
            config = with_settings(vos.RunConfig.for_images(method), connected=is_connected)
            overlaps = [
                max(overlap(masks.labels > 0, truth == k) for k in range(1, truth.max() + 1))
                for masks, truth in results(sam, config, num_instances=1)
            ]
            kind = "connected" if is_connected else "as published"
            row = {"method": method, "masks": kind, "stop_ratio": ""}
            figures = {"mean_iou": round(float(np.mean(overlaps)), 3), "found": "", "right": ""}
            append_row(RESULTS, {**common, **row, **figures, "peak_mib": peak_mib()})
    for ratio in RATIOS:
        config = with_settings(vos.RunConfig.for_images(), instance_similarity_ratio=ratio)
        num_there = num_finds = num_right = 0
        for masks, truth in results(sam, config, num_instances=6):
            missing = set(range(1, truth.max() + 1))
            num_there += len(missing)
            for found_id in np.unique(masks.labels)[1:]:
                num_finds += 1
                found = masks.labels == found_id
                hit = {k for k in missing if overlap(found, truth == k) > 0.5}
                num_right += bool(hit)
                missing -= hit
        row = {"method": "persam_f", "masks": "connected", "stop_ratio": ratio}
        figures = {
            "mean_iou": "",
            "found": round(num_right / num_there, 3),
            "right": round(num_right / num_finds, 3),
        }
        append_row(RESULTS, {**common, **row, **figures, "peak_mib": peak_mib()})


def with_settings(config: vos.RunConfig, **settings: bool | float) -> vos.RunConfig:
    """Change settings of the method."""
    return vos.RunConfig(method=replace(config.method, **settings))


def results(
    sam: vos.SamModel, config: vos.RunConfig, num_instances: int
) -> Iterator[tuple[vos.FrameMasks, Labels]]:
    """Search all pictures; give the masks and the exact labels of the kind's objects."""
    for seed in SEEDS:
        reference, labels = picture(seed, 1, 1)
        pictures = [picture(seed, n, 2 if n < 4 else 1) for n in NUM_OF_KIND]
        found = vos.segment_images(
            (frame for frame, _ in pictures),
            [(reference, (labels == 1).astype(np.uint8))],
            sam,
            config,
            num_instances=num_instances,
        )
        for (_, masks), (_, truth) in zip(found, pictures, strict=True):
            yield masks, truth


def picture(seed: int, num_of_kind: int, num_others: int) -> tuple[Frame, Labels]:
    """Draw a scene in which only the objects of the first kind bear labels, 1 and up."""
    num_kinds = 1 + num_others
    scene = Scene(
        ClipConfig(
            frame_hw=FRAME_HW,
            num_objects=num_kinds,
            num_distractors=(num_of_kind - 1) * num_kinds,
            seed=seed,
        )
    )
    kind = next(actor.look for actor in scene._actors if actor.label == 1)
    num_labelled = 0
    relabelled = []
    for actor in scene._actors:
        num_labelled += actor.look is kind
        relabelled.append(replace(actor, label=num_labelled if actor.look is kind else 0))
    scene._actors = sorted(relabelled, key=lambda actor: actor.label)
    return scene.draw(7)


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union."""
    return np.count_nonzero(found & truth) / max(1, np.count_nonzero(found | truth))


if __name__ == "__main__":
    main()
