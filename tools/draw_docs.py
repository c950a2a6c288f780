"""Draw the pictures of README.md and of the model card from synthetic clips.

    python tools/draw_docs.py docs/

``pictures.json`` says of which weights they are and how good the masks are; the card has these
figures, and a test compares both with the weights that are there. The clips are vos' own, so the
pictures may be shared freely; the masks are the embedded model's.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import click
import numpy as np
from PIL import Image

import vos
from vos.sink import draw_overlay
from vos.synthetic import ClipConfig, make_clip

_SIZE = (270, 480)
_SHOWN = (12, 24, 30, 36)
_HARD = (
    ClipConfig(frame_hw=_SIZE, seed=4, crosses=True),
    ClipConfig(frame_hw=_SIZE, seed=4, num_distractors=3, overlaps=True),
    ClipConfig(frame_hw=_SIZE, seed=4, has_occluder=True),
)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(folder: Path) -> None:
    """Write followed.webp, nano_failures.png and pictures.json into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    sam = vos.load_sam("nano", dtype="float32", device="cpu")
    followed, _ = strip(ClipConfig(frame_hw=_SIZE, seed=4, has_occluder=False), sam, range(48))
    first, *others = (Image.fromarray(overlay) for overlay in followed[::2])
    first.save(
        folder / "followed.webp",
        save_all=True,
        append_images=others,
        duration=80,
        loop=0,
        quality=55,
        method=6,
    )
    hard = [strip(config, sam, _SHOWN) for config in _HARD]
    save(folder / "nano_failures.png", [overlays for overlays, _ in hard])
    figures = {"weights_sha256": sam.weights_sha256, "mean_j": [round(j, 2) for _, j in hard]}
    (folder / "pictures.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")


def strip(
    config: ClipConfig, sam: vos.SamModel, shown: Collection[int]
) -> tuple[list[np.ndarray], float]:
    """Overlays of some frames of a clip, segmented from its first mask, and the mean J of all."""
    _, reference = next(make_clip(config))
    frames = (frame for frame, _ in make_clip(config))
    overlays, overlaps = [], []
    results = vos.segment_video(frames, reference, sam)
    for (frame, masks), (_, truth) in zip(results, make_clip(config), strict=True):
        if frame.index in shown:
            overlays.append(draw_overlay(frame.rgb, masks.labels, alpha=0.45))
        for object_id in masks.object_ids:
            ours, theirs = masks.labels == object_id, truth == object_id
            union = np.count_nonzero(ours | theirs)
            overlaps.append(np.count_nonzero(ours & theirs) / union if union else 1.0)
    mean_j = float(np.mean(overlaps))
    print(f"{config}: mean J {mean_j:.3f}")
    return overlays, mean_j


def save(path: Path, rows: list[list[np.ndarray]]) -> None:
    """Save a grid of pictures."""
    grid = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    height, width = grid.shape[0] * 2 // 3, grid.shape[1] * 2 // 3
    Image.fromarray(grid).resize((width, height), Image.Resampling.LANCZOS).quantize(192).save(path)


if __name__ == "__main__":
    main()
