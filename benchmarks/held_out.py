"""Judge weights of the embedded model on the training videos that were held out; a CSV row each.

    python benchmarks/held_out.py runs/a/step_*.safetensors --data shard_0.tar ... --csv curve.csv

Checkpoints are chosen by this and never on a set that the result is reported on. The videos are
those that ``tools/train_nano.py`` leaves out with the same ``--hold-out``. J&F is of the default,
of the published settings, and of SAM's own masks with the true mask as prompt in every frame, which
is what the model could do at best.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from davis import score_segmenter, segment_sequence

import vos
from vos.masks import read_mask, write_label_png
from vos.run.outputs import Outputs
from vos.sam.geometry import average_in_cells, low_res_to_frame
from vos.sets.davis import DavisSequence
from vos.track.memory.crops import encode_crops, window_around
from vos.track.memory.motion import box_of
from vos.track.memory.prompts import decode_crop, make_prompts

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from nano_training.pairs import hold_out, read_pairs
from unpack_videos import write_videos

MEMORY = vos.Memory()


@click.command()
@click.argument("weights", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=Path, multiple=True, required=True, help="As of the training.")
@click.option("--hold-out", "num_held_out", type=int, default=6, show_default=True)
@click.option(
    "--seen",
    "num_seen",
    type=int,
    default=0,
    show_default=True,
    help="So many videos that were trained on, too, for a second curve.",
)
@click.option("--csv", "table", type=click.Path(path_type=Path), help="Rows are appended to it.")
def main(
    weights: tuple[Path, ...],
    data: tuple[Path, ...],
    num_held_out: int,
    num_seen: int,
    table: Path | None,
) -> None:
    """Print and keep the figures of each of WEIGHTS."""
    vos.keep_freed_memory()
    seen, unseen = hold_out(read_pairs(data), num_held_out)
    # Those that would be held out next are as good a choice as any.
    splits = {"held_out": unseen, "seen": hold_out(seen, num_seen)[1]}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for split, pairs in splits.items():
            if pairs.pairs:
                write_videos(pairs, root, split)
        for path in weights:
            sam = vos.load_sam("nano", checkpoint=path, dtype="float32")
            for split, pairs in splits.items():
                if pairs.pairs:
                    row = {"weights": str(path), "split": split, **judge(root, split, sam)}
                    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
                    if table is not None:
                        append(table, row)


def judge(root: Path, split: str, sam: vos.SamModel) -> dict[str, float]:
    """Give mean J and F of three ways to segment a split, and J&F of each sequence."""

    def by_default(sequence: DavisSequence, outputs: Outputs) -> int:
        return segment_sequence(sequence, outputs, sam, vos.RunConfig())

    def as_published(sequence: DavisSequence, outputs: Outputs) -> int:
        return segment_sequence(sequence, outputs, sam, vos.RunConfig.published())

    def with_true_prompts(sequence: DavisSequence, outputs: Outputs) -> int:
        return segment_with_true_prompts(root, sequence, outputs, sam)

    row: dict[str, float] = {}
    began = time.monotonic()
    for name, segment in (
        ("default", by_default),
        ("published", as_published),
        ("true_prompt", with_true_prompts),
    ):
        scores, _, _ = score_segmenter(root, 2016, split, segment)
        figures = scores.statistics.measures()
        row[name] = round(figures["J&F-Mean"], 4)
        row[f"{name}_J"] = round(figures["J-Mean"], 4)
        row[f"{name}_F"] = round(figures["F-Mean"], 4)
        for sequence in scores.sequences:
            own = sequence.statistics.measures()["J&F-Mean"]
            row[f"{name}_{sequence.name}"] = round(own, 4)
    row["seconds"] = round(time.monotonic() - began)
    return row


def segment_with_true_prompts(
    root: Path, sequence: DavisSequence, outputs: Outputs, sam: vos.SamModel
) -> int:
    """Write SAM's own mask of each frame, prompted by its annotation in the default's window."""
    annotations = root / "Annotations" / "480p" / sequence.name
    outputs.masks_folder.mkdir(parents=True)
    num_frames = 0
    with vos.open_source(sequence.images_dir) as frames:
        for frame in frames:
            mask = read_mask(annotations / f"{frame.name}.png") > 0
            labels = np.zeros(mask.shape, np.uint8)
            if mask.any():
                context = MEMORY.context or 1.0
                window = window_around(box_of(mask), mask.shape, context, MEMORY.min_window_share)
                (crop,) = encode_crops(frame, [window], sam)
                own = torch.from_numpy(np.ascontiguousarray(mask[crop.slices])).float()
                shares = average_in_cells(own[None], crop.letterbox, crop.cells_hw)[0]
                prompts = make_prompts(crop, shares) or make_prompts(crop, shares / shares.max())
                if prompts is not None:
                    nothing = torch.zeros(1, 1, sam.num_pixel_channels)
                    logits = low_res_to_frame(
                        decode_crop(crop, [prompts], nothing, sam)[0], crop.letterbox
                    )[0]
                    labels[crop.slices] = logits.numpy() > 0
            write_label_png(outputs.masks_folder / f"{frame.name}.png", labels)
            num_frames += 1
    return num_frames


def append(table: Path, row: dict[str, object]) -> None:
    """Add a row; rows of other splits have other sequences."""
    rows: list[dict[str, object]] = []
    if table.exists():
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
    names = dict.fromkeys(name for each in (*rows, row) for name in each)
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(names), restval="")
        writer.writeheader()
        writer.writerows([*rows, row])


if __name__ == "__main__":
    main()
